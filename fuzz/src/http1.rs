//! Bytes of an HTTP/1.1 client.

use http_gate::GateCode;
use http_gate::attacks::{ATTACKED_HOST, AttackedApp};

use crate::driver::{Seen, app, check_round_trip, drive, pieces};

/// How many bytes in front of the input say how it is cut.
const CUTS: usize = 4;

/// First the app's settings, then the cuts, then what the client sends.
pub(crate) fn head(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let Some((cuts, sent)) = rest.split_at_checked(CUTS) else { return };
    let app = app(*choice);
    let whole = check_cuts(sent, cuts, app);
    for exchange in &whole.exchanges {
        check_round_trip(&exchange.request, app);
    }
}

/// Checks that cutting `sent` changes nothing; gives what is seen of the whole.
fn check_cuts(sent: &[u8], cuts: &[u8], app: AttackedApp) -> Seen {
    let whole = drive([sent], app);
    let cut = drive(pieces(sent, cuts), app);
    if whole.refused.is_some_and(|refusal| refusal.code == GateCode::UpgradeEarlyBytes) {
        // Cut before the early bytes, the head is judged before they come; either way the connection is refused.
        assert!(cut.refused.is_some(), "early bytes passed because they came in two pieces");
        return whole;
    }
    assert_eq!(whole.refused, cut.refused, "cut differently, refused differently");
    if whole.refused.is_none() {
        assert_eq!(whole, cut, "cut differently, read differently");
        return whole;
    }
    // Of a body that is refused, more or less may have been passed on before.
    let whole_ones = |seen: &Seen| seen.exchanges.iter().filter(|exchange| exchange.is_whole).count();
    assert_eq!(whole_ones(&whole), whole_ones(&cut), "cut differently, read differently");
    assert_eq!(whole.output, cut.output, "cut differently, answered differently");
    whole
}

/// The cuts, then a chunked body.
pub(crate) fn chunked_body(data: &[u8]) {
    let Some((cuts, body)) = data.split_at_checked(CUTS) else { return };
    let mut sent =
        format!("POST / HTTP/1.1\r\nHost: {ATTACKED_HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")
            .into_bytes();
    sent.extend_from_slice(body);
    let seen = check_cuts(&sent, cuts, AttackedApp::Strict);
    let Some(exchange) = seen.exchanges.first().filter(|exchange| exchange.is_whole) else { return };
    let plain = plainly(body);
    assert_eq!(Some(&exchange.body), plain.as_ref(), "accepted, but a plain reading differs");
}

/// The body by the grammar of RFC 9112 §7.1 alone, read the simplest way: no limits, everything at hand.
fn plainly(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, after) = rest.split_at(end);
        let size = line.split(|&byte| byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        rest = after.get(2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
