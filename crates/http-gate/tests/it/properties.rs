//! Properties that hold for every input (GW-64): no panic, no dependence on how the input was cut, and what is
//! serialised parses back to what was serialised.

use http_gate::attacks::{ATTACKS, AttackedApp};
use http_gate::h1::{Event, ServerConnection};
use http_gate::{CanonicalRequest, GateCode, HttpVersion};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::{drive, serialise};

/// Cuts `bytes` at `cuts`.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let piece = &bytes[start..end];
            start = end;
            piece
        })
        .collect()
}

/// Lines that are mostly right and often nearly so.
fn any_field() -> impl Strategy<Value = String> {
    let name = select(vec![
        "Accept",
        "Connection",
        "Content-Length",
        "Cookie",
        "Host",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "X-Forwarded-For",
        "X_A",
        "X-A",
        "Authorization",
        "Expect",
        "x-http-method-override",
    ]);
    let value = select(vec![
        "1",
        "5",
        "chunked",
        "close",
        "keep-alive",
        "trailers",
        "x-sum",
        "websocket",
        "100-continue",
        "a=1; b=2",
        "wiki.localhost",
        "Countersign x",
        "Bearer x",
        "",
        "\u{e9}",
        "a\tb",
        "DELETE",
        "__Host-countersign=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; c=3",
    ]);
    let separator = prop_oneof![9 => Just(": "), 1 => select(vec![":", " : ", ":  "])];
    let end = prop_oneof![19 => Just("\r\n"), 1 => select(vec!["\n", "\r", "\r\n "])];
    (name, separator, value, end).prop_map(|(name, separator, value, end)| format!("{name}{separator}{value}{end}"))
}

fn any_request() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "FROB", "get"]);
    let target = prop_oneof![
        4 => "/([a-z%./]|%[0-9a-f]{2}){0,8}(\\?[a-z%/]{0,4})?",
        1 => Just("https://wiki.localhost/x".to_owned()),
    ];
    let version = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    let host = prop_oneof![9 => Just("Host: wiki.localhost:8443\r\n"), 1 => Just("")];
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = prop_oneof![9 => Just(""), 1 => Just(websocket)];
    let body =
        select(vec!["", "", "5\r\nabcde\r\n0\r\n\r\n", "abcde", "0\r\nx-sum: 1\r\n\r\n", "1;a\r\nb\r\n0\r\n\r\n", "z"]);
    (method, target, version, host, upgrade, prop::collection::vec(any_field(), 0..5), body).prop_map(
        |(method, target, version, host, upgrade, fields, body)| {
            format!("{method} {target} {version}\r\n{host}{upgrade}{}\r\n{body}", fields.concat())
        },
    )
}

fn any_app() -> impl Strategy<Value = AttackedApp> {
    select(vec![
        AttackedApp::Base,
        AttackedApp::DecodeAndMerge,
        AttackedApp::EncodedSlash,
        AttackedApp::JudgesOverride,
        AttackedApp::PassesOddNames,
        AttackedApp::Strict,
    ])
}

/// Checks that cutting `sent` changes nothing.
fn check_cuts(sent: &[u8], cuts: &[Index], app: AttackedApp) -> Result<(), TestCaseError> {
    let whole = drive([sent], app);
    let cut = drive(pieces(sent, cuts), app);
    let has_early_bytes = whole.refused.is_some_and(|refusal| refusal.code == GateCode::UpgradeEarlyBytes);
    if has_early_bytes {
        // Cut before the early bytes, the head is judged before they come; either way the connection is refused.
        prop_assert!(cut.refused.is_some());
    } else {
        prop_assert_eq!(whole.refused, cut.refused);
        // A body that is refused may have been passed on further before, or not so far.
        let bodies = |seen: &crate::support::Seen| match seen.refused {
            Some(_) => seen.bodies.split_last().map(|(_, before)| before.to_vec()),
            None => Some(seen.bodies.clone()),
        };
        prop_assert_eq!(bodies(&whole), bodies(&cut));
        prop_assert_eq!(&whole.requests, &cut.requests);
        prop_assert_eq!(&whole.trailers, &cut.trailers);
        prop_assert_eq!(&whole.output, &cut.output);
    }
    Ok(())
}

/// The same request, apart from the version the client spoke and what was for us or for its own hop.
fn is_same(one: &CanonicalRequest, other: &CanonicalRequest) -> bool {
    one.method() == other.method()
        && one.host() == other.host()
        && one.target() == other.target()
        && one.fields() == other.fields()
        && one.framing() == other.framing()
        && one.is_websocket() == other.is_websocket()
        && one.accepts_trailers() == other.accepts_trailers()
        && one.declared_trailers().eq(other.declared_trailers())
}

/// Checks that the request in `sent`, if there is one, is what an upstream reads.
fn check_round_trip(request: &CanonicalRequest, app: AttackedApp) -> Result<(), TestCaseError> {
    let head = serialise(request);
    let mut connection = ServerConnection::new();
    connection.receive(&head);
    let Ok(Event::Head(raw)) = connection.next_event() else {
        return Err(TestCaseError::fail(format!("does not parse: {}", head.escape_ascii())));
    };
    let again = crate::support::canonicalise(*raw, app).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
    prop_assert!(is_same(request, &again), "{:?} became {:?}", request, again);
    prop_assert_eq!(again.version(), HttpVersion::Http11);
    prop_assert_eq!(serialise(&again), head);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(sent: Vec<u8>, cuts in prop::collection::vec(any::<Index>(), 0..4)) {
        drive(pieces(&sent, &cuts), AttackedApp::Strict);
    }

    #[test]
    fn cutting_the_input_changes_nothing(
        requests in prop::collection::vec(any_request(), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        app in any_app(),
    ) {
        check_cuts(requests.concat().as_bytes(), &cuts, app)?;
    }

    #[test]
    fn cutting_an_attack_changes_nothing(
        attack in select(ATTACKS),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        check_cuts(attack.sent.as_bytes(), &cuts, attack.app)?;
    }

    #[test]
    fn damaging_an_attack_never_makes_it_panic(
        attack in select(ATTACKS),
        at: Index,
        byte: u8,
        cuts in prop::collection::vec(any::<Index>(), 0..3),
    ) {
        let mut sent = attack.sent.as_bytes().to_vec();
        let at = at.index(sent.len());
        sent[at] = byte;
        check_cuts(&sent, &cuts, attack.app)?;
    }

    #[test]
    fn what_is_serialised_parses_back_to_the_same(request in any_request(), app in any_app()) {
        for request in drive([request.as_bytes()], app).requests {
            check_round_trip(&request, app)?;
        }
    }
}

#[test]
fn every_row_that_passes_is_read_by_an_upstream_as_it_was_judged() {
    for attack in ATTACKS.iter().filter(|attack| attack.app.rewrite().is_none()) {
        for request in drive([attack.sent.as_bytes()], attack.app).requests {
            check_round_trip(&request, attack.app).unwrap_or_else(|failure| panic!("{}: {failure}", attack.name));
        }
    }
}
