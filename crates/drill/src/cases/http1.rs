//! Cases that are bytes of an HTTP/1.1 client.

use http_gate::attacks::{ATTACKED_HOST, ATTACKS, Attack, AttackedApp};

use super::{Case, Need, Play};
use crate::judge::FORGED;
use crate::target::Options;

/// The attacks whose rows of the gate's table are sent to any proxy.
const FROM_TABLE: &[&str] = &["ATK-1", "ATK-2", "ATK-3", "ATK-4", "ATK-5", "ATK-6", "ATK-7", "ATK-8"];
/// Rows that only our own gate has to refuse: RFC 9110 and 9112 give them one meaning.
const ONLY_OURS: &[&str] = &[
    "ATK-3 a leading zero",
    "ATK-5 websocket with a zero length",
    "ATK-6 delete in a value",
    "ATK-6 escape in a value",
    "ATK-8 no host on http/1.0",
];
/// What the table calls the path that must not be reached.
const TABLE_DENIED: &str = "/admin";

/// Every case of HTTP/1.1.
pub(super) fn cases(options: &Options) -> Vec<Case> {
    let mut cases: Vec<Case> = ATTACKS
        .iter()
        .filter(|row| FROM_TABLE.contains(&row.id()))
        .filter_map(|row| from_table(options, row))
        .collect();
    for (attack, name, target) in PATHS {
        let target = target.replace("DENIED", denied(options));
        cases.push(Case::new(attack, *name, &[Need::Rule], get(options, &target, "")));
    }
    for (name, host) in HOSTS {
        let host =
            host.replace("UPPER", &options.target.host.to_ascii_uppercase()).replace("HOST", &options.target.host);
        let port = options.target.authority.strip_prefix(&options.target.host).unwrap_or_default();
        let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", denied(options), host.replace("PORT", port));
        cases.push(Case::new("ATK-18", *name, &[Need::Rule], request(options, &head, "")));
    }
    cases.extend(rewrites(options));
    cases.extend(methods(options));
    cases.extend(identity(options));
    cases
}

/// Paths that lead to the refused one in the eyes of some app.
const PATHS: &[(&str, &str, &str)] = &[
    ("ATK-13", "the refused path itself", "DENIED"),
    ("ATK-13", "a path below it", "DENIED/x"),
    ("ATK-13", "two slashes", "/DENIED"),
    ("ATK-13", "a dot segment", "/.DENIED"),
    ("ATK-13", "a dot-dot segment", "/x/..DENIED"),
    ("ATK-13", "an encoded dot-dot segment", "/x/%2e%2eDENIED"),
    ("ATK-13", "a half encoded dot-dot segment", "/x/.%2EDENIED"),
    ("ATK-13", "dots and an encoded slash", "/x/..%2f..DENIED"),
    ("ATK-13", "an encoded leading slash", "/%2fDENIED"),
    ("ATK-13", "an encoded backslash", "/x%5c..DENIED"),
    ("ATK-13", "a backslash", "/x\\..DENIED"),
    ("ATK-13", "a dot-dot segment with parameters", "/x/..;DENIED"),
    ("ATK-13", "a dot-dot segment with a named parameter", "/x/..;a=bDENIED"),
    ("ATK-13", "parameters", "DENIED;x"),
    ("ATK-13", "parameters of the root", "/;xDENIED"),
    ("ATK-13", "a dot-dot segment behind parameters", "/x;/..DENIED"),
    ("ATK-13", "encoded nul", "DENIED%00.png"),
    ("ATK-13", "a doubly encoded dot-dot segment", "/x/%252e%252eDENIED"),
    ("ATK-13", "a doubly encoded dot-dot segment, digits encoded", "/x/%25%32%65%25%32%65DENIED"),
    ("ATK-13", "a slash behind", "DENIED/"),
    ("ATK-13", "two slashes behind", "DENIED//"),
    ("ATK-13", "a dot segment behind", "DENIED/."),
    ("ATK-13", "above the root", "/../..DENIED"),
    ("ATK-14", "the host as the first segment", "//HOSTDENIED"),
    ("ATK-14", "three slashes", "//DENIED"),
    ("ATK-14", "an absolute target with two slashes", "SCHEME://HOST/DENIED"),
    ("ATK-15", "a number sign behind", "DENIED#/x"),
    ("ATK-15", "a number sign before", "/x#/..DENIED"),
    ("ATK-15", "an encoded number sign behind", "DENIED%23"),
    ("ATK-15", "an encoded number sign and a segment", "DENIED/%23"),
    ("ATK-16", "a public path in the query", "DENIED?/favicon.ico"),
    ("ATK-16", "a picture in the query", "DENIED?x.png"),
    ("ATK-16", "two question marks", "DENIED??/"),
    ("ATK-19", "the path of certificates", "/.well-known/acme-challenge/..DENIED"),
    ("ATK-19", "the path of certificates, encoded", "/.well-known/acme-challenge/%2e%2e/%2e%2eDENIED"),
    ("ATK-19", "a probe's path", "/ping/..DENIED"),
];

const HOSTS: &[(&str, &str)] = &[
    ("mixed case", "UPPERPORT"),
    ("a trailing dot", "HOST.PORT"),
    ("a trailing dot in upper case", "UPPER.PORT"),
    ("two trailing dots", "HOST..PORT"),
    ("a padded port", "HOST:00443"),
    ("an empty port", "HOST:"),
    ("port zero", "HOST:0"),
    ("user-info", "x@HOSTPORT"),
    ("an encoded dot", "HOST%2ePORT"),
    ("an address as a number", "0x7f000001"),
    ("another host", "other.localhost"),
    ("no name", ""),
];

/// Writes a header name in another way.
type Spell = fn(&str) -> String;

/// Spellings of a header name that apps fold into one.
const SPELLINGS: &[(&str, &str, Spell)] = &[
    ("ATK-21", "as it is", str::to_owned),
    ("ATK-22", "odd case", |name| {
        let swap = |(at, letter): (usize, char)| {
            if at % 2 == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
        };
        name.chars().enumerate().map(swap).collect()
    }),
    ("ATK-22", "underscores", |name| name.replace('-', "_")),
    ("ATK-22", "dots", |name| name.replace('-', ".")),
    ("ATK-22", "one underscore", |name| name.replacen('-', "_", 1)),
    ("ATK-22", "tildes", |name| name.replace('-', "~")),
];

fn denied(options: &Options) -> &str {
    options.deny_path.as_deref().unwrap_or("/refused")
}

/// A row of the gate's table, sent to this target.
fn from_table(options: &Options, row: &Attack) -> Option<Case> {
    // Rows that differ by settings of ours mean nothing elsewhere; the absolute form is spelled for one port.
    if row.app != AttackedApp::Strict || row.sent.contains("WIKI.") || ONLY_OURS.contains(&row.name) {
        return None;
    }
    let sent = addressed(row.sent, &options.target.host, &options.target.authority);
    let sent = sent.replace(TABLE_DENIED, denied(options)).replace("POST / ", &format!("POST {} ", options.allow_path));
    let hides = row.sent.contains(TABLE_DENIED);
    let needs: &[Need] = if hides { &[Need::Rule] } else { &[] };
    let name = row.name.split_once(' ').map_or(row.name, |(_, name)| name);
    let attack = FROM_TABLE.iter().find(|id| **id == row.id())?;
    let requests = row.judged.len().max(1);
    Some(Case::new(attack, name, needs, Play::Http1 { sent: with_credentials(options, &sent), requests }))
}

/// The table's host as this target's. Where a port or a dot follows in the table, only the name is replaced.
fn addressed(sent: &str, host: &str, authority: &str) -> String {
    let mut pieces = sent.split(ATTACKED_HOST);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(if piece.starts_with([':', '.', '@']) { host } else { authority });
        text.push_str(piece);
    }
    text
}

/// Credentials and a place for the marker behind the first host field.
fn with_credentials(options: &Options, sent: &str) -> Vec<u8> {
    let lines: String = options.credentials.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut text = String::new();
    let mut rest = sent;
    // Every request in the bytes brings them, so that nothing but the proxy stands between it and the app.
    while let Some(at) = rest.find("\r\nHost: ") {
        let Some(end) = rest.get(at + 2..).and_then(|line| line.find("\r\n")) else { break };
        let (before, after) = rest.split_at(at + 2 + end + 2);
        text.push_str(before);
        text.push_str("MARKER");
        text.push_str(&lines);
        rest = after;
    }
    text.push_str(rest);
    text.into_bytes()
}

fn request(options: &Options, head: &str, body: &str) -> Play {
    Play::Http1 { sent: with_credentials(options, &format!("{head}\r\n{body}")), requests: 1 }
}

fn get(options: &Options, target: &str, fields: &str) -> Play {
    let scheme = if options.target.is_tls { "https" } else { "http" };
    let target = target.replace("SCHEME", scheme).replace("HOST", &options.target.authority);
    request(options, &format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{fields}", options.target.authority), "")
}

fn rewrites(options: &Options) -> Vec<Case> {
    let prefix = options.stripped_prefix.as_deref().unwrap_or("/stripped");
    let denied = denied(options);
    let encoded = prefix.replacen('/', "/%", 1);
    let cases = [
        ("the refused path behind the prefix", format!("{prefix}{denied}")),
        ("two slashes behind the prefix", format!("{prefix}/{denied}")),
        ("a dot-dot segment behind the prefix", format!("{prefix}/x/..{denied}")),
        ("a dot-dot segment that leaves the prefix", format!("{prefix}/..{denied}")),
        ("an encoded slash behind the prefix", format!("{prefix}%2f{}", denied.trim_start_matches('/'))),
        ("a broken triplet in the prefix", format!("{encoded}{denied}")),
    ];
    let case = |(name, target): (&str, String)| {
        Case::new("ATK-17", name, &[Need::Rule, Need::Strip], get(options, &target, ""))
    };
    cases.into_iter().map(case).collect()
}

fn methods(options: &Options) -> Vec<Case> {
    let method = options.deny_method.as_deref().unwrap_or("DELETE");
    let (path, host) = (&options.allow_path, &options.target.authority);
    let mixed =
        format!("{}{}", method.get(..1).unwrap_or_default(), method.get(1..).unwrap_or_default().to_lowercase());
    let plain = |method: &str, fields: &str| {
        request(options, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}"), "")
    };
    let overridden = |name: &str| plain("POST", &format!("Content-Length: 0\r\n{name}: {method}\r\n"));
    let needs = &[Need::Method];
    vec![
        Case::new("ATK-20", "the refused method itself", needs, plain(method, "")),
        Case::new("ATK-20", "in lower case", needs, plain(&method.to_lowercase(), "")),
        Case::new("ATK-20", "in mixed case", needs, plain(&mixed, "")),
        Case::new("ATK-20", "X-HTTP-Method-Override", needs, overridden("X-HTTP-Method-Override")),
        Case::new("ATK-20", "X-HTTP-Method", needs, overridden("X-HTTP-Method")),
        Case::new("ATK-20", "X-Method-Override", needs, overridden("X-Method-Override")),
        Case::new("ATK-20", "an override with underscores", needs, overridden("X_HTTP_Method_Override")),
    ]
}

fn identity(options: &Options) -> Vec<Case> {
    let fallback = vec!["X-Identity".to_owned()];
    let names = if options.identity_headers.is_empty() { &fallback } else { &options.identity_headers };
    let lines = |spell: &dyn Fn(&str) -> String| -> String {
        names.iter().map(|name| format!("{}: {FORGED}\r\n", spell(name))).collect()
    };
    let needs = &[Need::Identity];
    let play = |fields: &str| get(options, &options.allow_path, fields);
    let mut cases: Vec<Case> =
        SPELLINGS.iter().map(|(attack, name, spell)| Case::new(attack, *name, needs, play(&lines(spell)))).collect();
    let twice = format!("{}{}", lines(&str::to_owned), lines(&str::to_owned));
    cases.push(Case::new("ATK-22", "twice", needs, play(&twice)));
    let named: String = names.iter().map(|name| format!("Connection: {name}\r\n{name}: {FORGED}\r\n")).collect();
    cases.push(Case::new("ATK-23", "its own headers named in Connection", needs, play(&named)));
    cases
}
