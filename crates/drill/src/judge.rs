//! What arrived, judged. The same rules for every case and every proxy.

use crate::card::{Outcome, Verdict};
use crate::echo::Arrived;
use crate::misbehaviour::POISON;
use crate::target::Options;

/// Of what arrived, the most that a score card shows.
const MOST_SHOWN: usize = 120;
/// The value that forged fields carry.
pub(crate) const FORGED: &str = "drill-forged";
/// A field that only an injected line can make.
pub(crate) const INJECTED: &str = "x-admin";

/// The request ended with its connection and never became whole.
const CUT_SHORT: &[&str] = &["gate_body_truncated", "gate_head_truncated"];
/// What the echo refuses although it has one reading: it is the app's to take or leave.
const LEFT_TO_THE_APP: &[&str] = &[
    "gate_expectation ",
    "gate_method_case ",
    "gate_method_not_allowed ",
    "gate_target_form ",
    "gate_trailer_forbidden ",
    "gate_trailer_undeclared ",
    "gate_upgrade ",
];

/// What a case sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent<'a> {
    /// How many requests the bytes hold when they are read as the client means them.
    pub(crate) requests: usize,
    /// The first line, to tell forwarded from normalised.
    pub(crate) line: &'a str,
    /// The status that came back, for words only.
    pub(crate) status: Option<u16>,
    /// True over HTTP/2, where a line end in a field is part of it and ends no line.
    pub(crate) is_http2: bool,
}

/// The verdict over what arrived.
pub(crate) fn judge(options: &Options, sent: Sent<'_>, arrived: &[Arrived]) -> Verdict {
    for one in arrived {
        if let Some(verdict) = judge_one(options, sent, one) {
            return verdict;
        }
    }
    let is_left = |one: &&Arrived| one.refused.as_deref().is_some_and(|refusal| starts_with(refusal, LEFT_TO_THE_APP));
    if let Some(left) = arrived.iter().find(is_left) {
        return Verdict::of(Outcome::Forwarded, format!("left to the app: {}", line(left)));
    }
    let whole: Vec<&Arrived> = arrived.iter().filter(|one| one.is_whole).collect();
    if whole.len() > sent.requests {
        let lines: Vec<String> = whole.iter().map(|one| line(one)).collect();
        return Verdict::of(
            Outcome::Smuggled,
            format!("{} requests reached the app: {}", lines.len(), lines.join(", ")),
        );
    }
    let Some(first) = whole.first() else {
        let status = sent.status.map_or("no answer".to_owned(), |status| format!("status {status}"));
        let seen = if arrived.is_empty() { status } else { format!("never whole at the app, {status}") };
        return Verdict::of(Outcome::Refused, seen);
    };
    let outcome = if sent.line.starts_with(&line(first)) { Outcome::Forwarded } else { Outcome::Normalised };
    Verdict::of(outcome, format!("the app read {}", line(first)))
}

/// What is wrong with one request whatever the case.
fn judge_one(options: &Options, sent: Sent<'_>, one: &Arrived) -> Option<Verdict> {
    if let Some(refusal) = &one.refused
        && !starts_with(refusal, CUT_SHORT)
        && !starts_with(refusal, LEFT_TO_THE_APP)
    {
        return Some(Verdict::of(Outcome::Unchanged, format!("reached the app although {refusal}: {}", line(one))));
    }
    if let Some(reading) = readings(&one.target).into_iter().find(|reading| options.is_denied(reading)) {
        let seen = format!("{} reached the app, which may read `{reading}`", line(one));
        return Some(Verdict::of(Outcome::Bypassed, seen));
    }
    if let Some(method) = options.deny_method.as_deref()
        && is_method(one, method)
    {
        return Some(Verdict::of(
            Outcome::Bypassed,
            format!("{} reached the app, which may read it as {method}", line(one)),
        ));
    }
    if sent.is_http2
        && let Some((name, value)) = one.fields.iter().find(|(name, _)| canonical(name) == INJECTED)
    {
        return Some(Verdict::of(Outcome::Smuggled, format!("the app read a line that was none: `{name}: {value}`")));
    }
    let is_owned = |name: &str| options.identity_headers.iter().any(|owned| canonical(owned) == canonical(name));
    if let Some((name, value)) = one.fields.iter().find(|(name, value)| is_owned(name) && value.contains(FORGED)) {
        return Some(Verdict::of(Outcome::Leaked, format!("the client's own `{name}: {value}` reached the app")));
    }
    one.fields
        .iter()
        .any(|(_, value)| value.contains(POISON))
        .then(|| Verdict::of(Outcome::Leaked, "bytes of another answer reached the app"))
}

fn starts_with(refusal: &str, codes: &[&str]) -> bool {
    codes.iter().any(|code| refusal.starts_with(code))
}

fn line(one: &Arrived) -> String {
    let head = format!("{} {}", one.method, one.target);
    match head.char_indices().nth(MOST_SHOWN) {
        Some((at, _)) => format!("{}…", head.split_at(at).0.trim()),
        None => head.trim().to_owned(),
    }
}

/// The secret parts of a credential: the value of each cookie, or what follows the scheme.
pub(crate) fn secrets_of<'a>(name: &str, value: &'a str) -> Vec<&'a str> {
    match name.eq_ignore_ascii_case("cookie") {
        true => value.split(';').filter_map(|pair| pair.split_once('=')).map(|(_, secret)| secret.trim()).collect(),
        false => value.rsplit(' ').take(1).collect(),
    }
}

/// Whether any field of what arrived holds `secret`.
pub(crate) fn holds(one: &Arrived, secret: &str) -> bool {
    secret.len() >= 8 && one.fields.iter().any(|(_, value)| value.contains(secret))
}

/// A name as CGI and its heirs read it: case and every odd character are the same.
pub(crate) fn canonical(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

/// Whether an app may take `method` for this request's.
fn is_method(one: &Arrived, method: &str) -> bool {
    let overrides = ["x-http-method-override", "x-http-method", "x-method-override"];
    one.method.eq_ignore_ascii_case(method)
        || one
            .fields
            .iter()
            .any(|(name, value)| overrides.contains(&canonical(name).as_str()) && value.eq_ignore_ascii_case(method))
}

/// The paths an app may read in a target: as it stands; decoded once; with `\` for `/`; without parameters; without empty
/// segments; with dot segments resolved; cut at a nul or number sign. Decoding twice is a mistake of the app's own.
pub(crate) fn readings(target: &str) -> Vec<String> {
    let origin = without_authority(target);
    let raw = origin.split('?').next().unwrap_or_default();
    let mut found: Vec<String> = Vec::new();
    // A number sign ends a target only where it stands unencoded.
    for path in [until(raw, '#'), decoded(raw), decoded(&until(raw, '#'))] {
        for slashes in [path.clone(), path.replace('\\', "/")] {
            for cut in [slashes.clone(), until(&slashes, '\0')] {
                for bare in [cut.clone(), without_parameters(&cut)] {
                    for resolved in [bare.clone(), resolved(&bare), resolved(&merged(&bare))] {
                        found.push(merged(&resolved));
                        found.push(resolved);
                    }
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `http://host/path` as `/path`.
fn without_authority(target: &str) -> String {
    match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            rest.find('/').map_or("/".to_owned(), |at| rest.split_at(at).1.to_owned())
        }
        _ => target.to_owned(),
    }
}

fn until(path: &str, end: char) -> String {
    path.split(end).next().unwrap_or_default().to_owned()
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}

fn merged(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    format!("/{}", segments.join("/"))
}

fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_may_read_the_refused_path_in_all_of_these() {
        for target in [
            "/admin",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/x/..%2fadmin",
            "/%61dmin",
            "/admin;x",
            "/x/..;/admin",
            "/x%5c..%5cadmin",
            "/admin%00.png",
            "/admin#/x",
            "/admin?x",
            "http://host/admin",
            "/x/..//admin",
            "/%2e/admin",
            "/admin/x",
        ] {
            let readings = readings(target);
            assert!(readings.iter().any(|path| path == "/admin" || path == "/admin/x"), "{target}: {readings:?}");
        }
    }

    #[test]
    fn and_in_none_of_these() {
        for target in [
            "/",
            "/administrator",
            "/x?/admin",
            "/x/admin",
            "/%2561dmin",
            "/x/.../admin",
            "/x;/../y/admin",
            "/admin%23",
            "/%23/../x",
        ] {
            let readings = readings(target);
            assert!(
                !readings.iter().any(|path| http_gate::path::path_matches("/admin", path)),
                "{target}: {readings:?}"
            );
        }
    }
}
