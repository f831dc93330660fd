//! Requests that the gate accepts, written as the gate writes them, through other servers: each must hand on the same
//! method, host, path and body (GW-68). If one reads more or less in them than we do, what we judged is not what an app
//! behind it gets.
//!
//! Invariants: equal seeds, equal requests; nothing is sent that the gate did not accept and serialise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use http_gate::attacks::AttackedApp;
use http_gate::h1::{Event, ServerConnection};
use http_gate::upstream::UpstreamRequest;
use http_gate::{CanonicalRequest, Framing, GateSettings};

use crate::DrillError;
use crate::echo::{Arrived, Echo, MARKER};
use crate::target::Target;
use crate::wire::exchange;

/// The host that everybody serves.
pub const HOST: &str = "app.localhost";
/// How long one server may take for one request.
const LIMIT: Duration = Duration::from_secs(5);

/// One accepted request.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// As written upstream.
    pub bytes: Vec<u8>,
    /// What was judged.
    pub method: String,
    /// `path[?query]` that was judged.
    pub target: String,
    /// The host that was judged.
    pub host: String,
    /// What the client sent as body.
    pub body: Vec<u8>,
    marker: String,
    is_strict: bool,
}

/// How one server handed them on.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// Byte for byte as we read it.
    pub same: usize,
    /// The same path in another percent-encoding.
    pub respelled: usize,
    /// The same path without its empty segments, under the profile `base` alone: it keeps them, and says that an app may
    /// not.
    pub merged: usize,
    /// Not handed on, by status; 0 is no answer.
    pub refused: BTreeMap<u16, usize>,
    /// Read as something else: what we judged, and what arrived.
    pub different: Vec<String>,
}

/// Makes requests that are mostly odd and always accepted.
pub struct Generator {
    state: u64,
    number: u64,
}

impl Generator {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(2).wrapping_add(1), number: 0 }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
        usize::try_from(self.next() % count).ok().and_then(|at| choices.get(at)).copied().unwrap_or_default()
    }

    fn some_of(&mut self, choices: &[&str], most: u64) -> String {
        (0..self.next() % (most + 1)).map(|_| self.one_of(choices)).collect()
    }

    /// The next accepted request.
    pub fn accepted(&mut self) -> Accepted {
        loop {
            self.number += 1;
            let marker = format!("d{:06}", self.number);
            let raw = self.raw(&marker);
            let app = if self.next().is_multiple_of(4) { AttackedApp::Base } else { AttackedApp::Strict };
            if let Some(accepted) = accept(&raw, app, marker) {
                return accepted;
            }
        }
    }

    fn raw(&mut self, marker: &str) -> Vec<u8> {
        // The servers refuse DELETE by their rule, and HEAD echoes nothing.
        let method = self.one_of(&["GET", "POST", "PUT", "PATCH", "OPTIONS", "PROPFIND"]);
        let mut target = String::from("/");
        target.push_str(&self.some_of(PATH_PIECES, 7));
        if self.next().is_multiple_of(3) {
            target.push('?');
            target.push_str(&self.some_of(QUERY_PIECES, 6));
        }
        let host = self.one_of(&[HOST, "APP.localhost", "app.localhost.", "App.LocalHost"]);
        let fields: String = (0..self.next() % 4).map(|_| self.one_of(FIELDS)).collect();
        let body = self.some_of(BODY_PIECES, 6);
        let framed = match self.next() % 3 {
            _ if method == "GET" || method == "OPTIONS" => "\r\n".to_owned(),
            0 => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            1 if !body.is_empty() => {
                let (first, second) = body.split_at(body.ceil_char_boundary(body.len() / 2));
                let chunk = |part: &str| match part.is_empty() {
                    true => String::new(),
                    false => format!("{:x};a=b\r\n{part}\r\n", part.len()),
                };
                format!("Transfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n", chunk(first), chunk(second))
            }
            _ => "Content-Length: 0\r\n\r\n".to_owned(),
        };
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{MARKER}: {marker}\r\n{fields}{framed}").into_bytes()
    }
}

const PATH_PIECES: &[&str] = &[
    "a", "B", "x.y", "...", ".a", "a.", "%41", "%7e", "%2d", "%3a", "%3F", "%23", "%20", "%25", "%c3%a9", "%3B", "%40",
    "/", "/", "-", "_", "~", "!", "$", "&", "'", "(", ")", "*", "+", ",", "=", ":", "@", "//", "/../", "/./",
    "%2e%2e/", "\\", "[", "|", "%5B", "%7C", "%22", "%3C", "{", "^",
];
const QUERY_PIECES: &[&str] = &[
    "a=1", "&", "b=%2F", "?", "/", "..", ";", "%20", "+", "=", "%zz", "%", "//", "@", ":", "[", "]", "{", "|", "\\",
    "'", "%00", "%41",
];
const FIELDS: &[&str] = &[
    "Accept: */*\r\n",
    "X-A: 1\r\n",
    "X-A: a, b\r\n",
    "Cookie: a=b; c=d\r\n",
    "Referer: https://app.localhost/x?y\r\n",
    "TE: trailers\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "X-Empty:\r\n",
    "Range: bytes=0-\r\n",
    "Authorization: Basic YTpi\r\n",
    "X-Utf: \u{e9}\r\n",
    "Upgrade: h2c\r\n",
    "Expect: 100-continue\r\n",
];
const BODY_PIECES: &[&str] = &[
    "a",
    "GET / HTTP/1.1\r\n",
    "\r\n",
    "0\r\n\r\n",
    "\0",
    "\u{e9}",
    "5\r\nabcde\r\n",
    "Host: x\r\n\r\n",
    "----",
    "{}",
];

/// What the gate makes of `raw`, if it accepts all of it.
fn accept(raw: &[u8], app: AttackedApp, marker: String) -> Option<Accepted> {
    let mut connection = ServerConnection::new();
    connection.receive(raw);
    let mut request: Option<CanonicalRequest> = None;
    let mut body = Vec::new();
    loop {
        match connection.next_event().ok()? {
            Event::Head(head) => {
                let path = app.path();
                let settings = GateSettings {
                    path: &path,
                    has_path_rules: true,
                    passes_odd_header_names: false,
                    judges_method_override: false,
                    owned_names: &[],
                };
                request = Some(head.canonicalise(&settings).ok()?);
            }
            Event::Body(data) => body.extend_from_slice(&data),
            Event::End { .. } => {}
            Event::Waiting => break,
            Event::NeedMore | Event::Closed => return None,
        }
    }
    let request = request?;
    let mut bytes = BytesMut::new();
    UpstreamRequest { request: &request, host: None, extra: &HeaderMap::new() }.write_head(&mut bytes);
    let mut bytes = bytes.to_vec();
    match request.framing() {
        Framing::Chunked if body.is_empty() => bytes.extend_from_slice(b"0\r\n\r\n"),
        Framing::Chunked => {
            bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        Framing::None | Framing::ContentLength(_) => bytes.extend_from_slice(&body),
    }
    Some(Accepted {
        bytes,
        method: request.method().to_owned(),
        target: request.target(),
        host: request.host().name().to_owned(),
        body,
        marker,
        is_strict: app == AttackedApp::Strict,
    })
}

/// Sends `accepted` through the server at `address`, whose upstream is `echo`, and notes its view.
///
/// # Errors
/// The server is not there.
pub async fn look(address: SocketAddr, echo: &Echo, accepted: &Accepted, views: &mut Views) -> Result<(), DrillError> {
    let target = Target::resolve(&format!("http://{address}"), Some(HOST)).await?;
    echo.take();
    let reply = exchange(&target, &accepted.bytes, 1, LIMIT).await?;
    let arrived = echo.take();
    let mut mine = arrived.iter().filter(|one| one.is_whole || one.refused.is_some());
    let (first, second) = (mine.next(), mine.next());
    let Some(first) = first else {
        *views.refused.entry(reply.status().unwrap_or(0)).or_default() += 1;
        return Ok(());
    };
    match (compare(accepted, first), second) {
        (Likeness::Same, None) => views.same += 1,
        (Likeness::Respelled, None) => views.respelled += 1,
        (Likeness::Merged, None) if !accepted.is_strict => views.merged += 1,
        _ => views.different.push(format!("{} became {first:?} {second:?}", accepted.bytes.escape_ascii())),
    }
    Ok(())
}

/// How alike what was judged and what arrived are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Likeness {
    Same,
    /// Only the percent-encoding differs.
    Respelled,
    /// Only empty segments are missing, and perhaps the encoding differs.
    Merged,
    Different,
}

fn compare(accepted: &Accepted, one: &Arrived) -> Likeness {
    let is_rest = one.refused.is_none()
        && one.method == accepted.method
        && one.host == accepted.host
        && one.body == accepted.body
        && one.marker() == Some(accepted.marker.as_str());
    // The echo keeps targets as printable text.
    let target = accepted.target.as_bytes().escape_ascii().to_string();
    let (judged, arrived) = (decoded(&target), decoded(&one.target));
    match is_rest {
        true if one.target == target => Likeness::Same,
        true if judged == arrived => Likeness::Respelled,
        true if (merged(&judged.0), &judged.1) == (merged(&arrived.0), &arrived.1) => Likeness::Merged,
        _ => Likeness::Different,
    }
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    path.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    path
}

/// Path and query decoded once, apart, as an app would read them.
fn decoded(target: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let decode = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            let digits = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(value.unwrap_or(*first));
            rest = if value.is_some() { rest.get(3..).unwrap_or_default() } else { after };
        }
        bytes
    };
    match target.split_once('?') {
        Some((path, query)) => (decode(path), Some(decode(query))),
        None => (decode(target), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_requests_and_all_of_them_differ_from_what_a_browser_sends() {
        let list = |seed| {
            let mut generator = Generator::new(seed);
            (0..200).map(|_| generator.accepted().bytes).collect::<Vec<_>>()
        };
        assert_eq!(list(7), list(7));
        assert_ne!(list(7), list(8));
        let odd = list(7).iter().filter(|bytes| bytes.contains(&b'%')).count();
        assert!(odd > 50, "{odd}");
    }

    #[test]
    fn another_path_body_or_method_is_a_difference() {
        let accepted = Generator::new(1).accepted();
        let same = Arrived {
            method: accepted.method.clone(),
            target: accepted.target.as_bytes().escape_ascii().to_string(),
            host: accepted.host.clone(),
            fields: vec![(MARKER.to_owned(), accepted.marker.clone())],
            body: accepted.body.clone(),
            is_whole: true,
            ..Arrived::default()
        };
        assert_eq!(compare(&accepted, &same), Likeness::Same);
        for change in [
            |one: &mut Arrived| one.target.push('x'),
            |one: &mut Arrived| one.method.push('X'),
            |one: &mut Arrived| one.host.push('x'),
            |one: &mut Arrived| one.body.push(0),
            |one: &mut Arrived| one.refused = Some("gate_host".to_owned()),
        ] {
            let mut other = same.clone();
            change(&mut other);
            assert_eq!(compare(&accepted, &other), Likeness::Different, "{other:?}");
        }
    }
}
