//! Single values: paths, hosts, cookies, the address of a client.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_gate::client_address::{ProxyHeader, TrustedPeers, client_address as address_of, read_proxy_header};
use http_gate::cookies::{CONSOLE_COOKIE, LOGIN_COOKIE, Presented, SESSION_COOKIE, cut};
use http_gate::path::{normalise, path_matches};
use http_gate::{CanonicalHost, Credentials, Fields};
use model::app::PathProfile;

use crate::driver::app;

/// First the app's settings, then a path.
pub(crate) fn path(data: &[u8]) {
    let Some((choice, target)) = data.split_first() else { return };
    // Whoever asks has cut the query off.
    let raw = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let app = app(*choice);
    let settings = app.path();
    let Ok(normal) = normalise(raw, &settings, app.has_path_rules()) else { return };
    let text = normal.escape_ascii().to_string();
    assert!(normal.is_ascii() && normal.starts_with(b"/"), "{text}");
    assert!(!normal.iter().any(|byte| b"\\#?".contains(byte) || !byte.is_ascii_graphic()), "{text}");
    let mut segments = normal.split(|&byte| byte == b'/').skip(1);
    assert!(!segments.any(|segment| matches!(segment, b"." | b"..")), "{text} climbs");
    let again = normalise(&normal, &settings, app.has_path_rules());
    assert!(again.as_ref().is_ok_and(|again| *again == normal), "{text} is no fixed point: {again:?}");
    if settings.profile == PathProfile::Strict {
        // Nothing but unreserved characters may have been decoded, so that an upstream decoding once reads the same.
        assert_eq!(decoded(raw), decoded(&normal), "{text} is not what was sent");
    }
    let folded = text.to_ascii_lowercase();
    assert!(!folded.contains("%2e") && !folded.contains("%00"), "{text} holds an encoded dot or nul");
    assert!(path_matches("/", &text) && path_matches(&text, &text), "{text} does not match itself");
}

/// Percent-decoded once, as an upstream would.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let triplet = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = triplet.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { rest.get(3..).unwrap_or_default() } else { after };
    }
    out
}

pub(crate) fn host(data: &[u8]) {
    let Some(host) = CanonicalHost::parse(data) else { return };
    let text = host.to_string();
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{text}");
    assert!(!text.contains(['/', '@', '\\', ',', '#', '?', '%']), "{text}");
    assert_eq!(CanonicalHost::parse(text.as_bytes()), Some(host), "{text} is no fixed point");
}

/// One `Cookie` value a line.
pub(crate) fn cookies(data: &[u8]) {
    let values: Vec<Bytes> = data.split(|&byte| byte == b'\n').map(Bytes::copy_from_slice).collect();
    let mut credentials = Credentials::default();
    let left = cut(&values, &mut credentials);
    let pairs = |value: &[u8]| -> Vec<Vec<u8>> {
        value
            .split(|&byte| byte == b';')
            .map(|pair| pair.trim_ascii().to_vec())
            .filter(|pair| !pair.is_empty())
            .collect()
    };
    let before: Vec<Vec<u8>> = values.iter().flat_map(|value| pairs(value)).collect();
    let after = pairs(left.as_deref().unwrap_or_default());
    let is_ours = |pair: &[u8]| name_of(pair).to_ascii_lowercase().starts_with(b"__host-countersign");
    assert!(!after.iter().any(|pair| is_ours(pair)), "a cookie of ours is left");
    let others: Vec<Vec<u8>> = before.iter().filter(|pair| !is_ours(pair)).cloned().collect();
    assert_eq!(others, after, "a cookie of the app's was lost or made up");
    // A value that was taken stood in the input once.
    let taken = [&credentials.session, &credentials.login, &credentials.console];
    for (presented, name) in taken.into_iter().zip([SESSION_COOKIE, LOGIN_COOKIE, CONSOLE_COOKIE]) {
        // Only the exact spelling counts, without white space before the equals sign.
        let is_exact = |pair: &&Vec<u8>| pair.split(|&byte| byte == b'=').next() == Some(name.as_bytes());
        let stood = before.iter().filter(is_exact).count();
        let fits = match presented {
            Presented::Absent => stood == 0,
            Presented::Once(_) => stood == 1,
            Presented::Ambiguous => stood >= 1,
        };
        assert!(fits, "{name} stood {stood} times");
    }
    let mut again = Credentials::default();
    assert_eq!(left.clone().and_then(|left| cut(&[left], &mut again)), left, "cutting twice changes something");
    assert!(again == Credentials::default(), "something was left for a second cut");
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// The start of a connection of a trusted peer.
pub(crate) fn client_address(data: &[u8]) {
    let whole = read_proxy_header(data);
    if let Ok(ProxyHeader::Present { length, .. }) = whole {
        assert!(length <= data.len(), "longer than what is there");
        let exact = read_proxy_header(data.get(..length).unwrap_or_default());
        assert_eq!(exact, whole, "bytes behind the header change it");
    }
    for end in 0..data.len().min(64) {
        let part = read_proxy_header(data.get(..end).unwrap_or_default());
        // A refusal or a whole header stands; only "more" may become something else.
        if !matches!(part, Ok(ProxyHeader::NeedMore | ProxyHeader::Absent)) {
            assert_eq!(part, whole, "the first {end} bytes are read differently");
        }
    }
    let peer = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4711));
    assert_eq!(address_of(peer, &TrustedPeers::new(Vec::new()), &Fields::default()), Ok(peer));
}
