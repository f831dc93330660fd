//! The attack table as data: what a hostile client sends on one HTTP/1.1 connection, and what the gate
//! makes of it. The gate's own tests and the product's real-socket tests run the same rows.
//!
//! It holds the rows a parser can decide: ATK-1 to ATK-9, ATK-13 to ATK-18 and ATK-20 to ATK-23. Rows of HTTP/2 and of
//! responses are code, because they are no bytes of a client's HTTP/1.1.
//!
//! Invariants: every name starts with the id of its attack; a row is sent to [`ATTACKED_HOST`]; nothing but what
//! `judged` lists may reach an upstream.

use std::collections::BTreeSet;

use model::app::{PathOpening, PathProfile, PathSettings, Rewrite};

use crate::refusal::GateCode;

/// The host every row is sent to.
pub const ATTACKED_HOST: &str = "wiki.localhost";

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// `ATK-1 content-length before transfer-encoding`.
    pub name: &'static str,
    /// The app behind [`ATTACKED_HOST`].
    pub app: AttackedApp,
    /// Everything the client sends.
    pub sent: &'static str,
    /// The requests found in it, in order, each answered before the next.
    pub judged: &'static [Judged],
    /// Why and at which byte of the next request the gate stops reading; `None` if it does not. A request whose body
    /// is refused is in `judged`, and its upstream request must be cut short.
    pub refused: Option<(GateCode, usize)>,
}

impl Attack {
    /// `ATK-1`.
    pub fn id(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// What to send where [`ATTACKED_HOST`] is served as `authority`, e.g. `wiki.localhost:8443`. Offsets differ then.
    pub fn sent_to(&self, authority: &str) -> String {
        self.sent.replace(ATTACKED_HOST, authority)
    }
}

/// A request as judged and sent upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Method.
    pub method: &'static str,
    /// `path[?query]`.
    pub target: &'static str,
    /// Every field that goes upstream but host, framing and connection fields.
    pub fields: &'static [(&'static str, &'static str)],
}

/// How the app that a row is sent to is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttackedApp {
    /// Profile `base`.
    Base,
    /// Profile `decode_and_merge_slashes`.
    DecodeAndMerge,
    /// `path.allow: [empty_segment]`.
    EmptySegment,
    /// `path.allow: [encoded_percent]`.
    EncodedPercent,
    /// `path.allow: [encoded_slash]`.
    EncodedSlash,
    /// `method_override: judge`.
    JudgesOverride,
    /// Profile `merge_slashes`.
    Merge,
    /// No rule depends on the path.
    NoPathRules,
    /// `header_names: pass`.
    PassesOddNames,
    /// The default: strict, with a rule that depends on the path.
    Strict,
    /// A route with `rewrite: { strip_prefix: /api }`.
    StripsApi,
}

impl AttackedApp {
    /// Its path settings.
    pub fn path(self) -> PathSettings {
        let (profile, opening) = match self {
            AttackedApp::Base => (PathProfile::Base, None),
            AttackedApp::Merge => (PathProfile::MergeSlashes, None),
            AttackedApp::DecodeAndMerge => (PathProfile::DecodeAndMergeSlashes, None),
            AttackedApp::EmptySegment => (PathProfile::Strict, Some(PathOpening::EmptySegment)),
            AttackedApp::EncodedPercent => (PathProfile::Strict, Some(PathOpening::EncodedPercent)),
            AttackedApp::EncodedSlash => (PathProfile::Strict, Some(PathOpening::EncodedSlash)),
            _ => (PathProfile::Strict, None),
        };
        PathSettings { profile, allow: BTreeSet::from_iter(opening), is_case_insensitive: false }
    }

    /// True if some rule depends on the path.
    pub fn has_path_rules(self) -> bool {
        self != AttackedApp::NoPathRules
    }

    /// The rewrite of its route.
    pub fn rewrite(self) -> Option<Rewrite> {
        (self == AttackedApp::StripsApi).then(|| Rewrite::StripPrefix("/api".to_owned()))
    }
}

macro_rules! refusal {
    () => {
        None
    };
    ($code:ident $offset:literal) => {
        Some((GateCode::$code, $offset))
    };
}

/// A GET of `$target` with further header lines.
macro_rules! get {
    ($target:literal) => {
        get!($target, "")
    };
    ($target:literal, $fields:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nHost: wiki.localhost\r\n", $fields, "\r\n")
    };
}

/// A POST with further header lines and a body.
macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: wiki.localhost\r\n", $fields, "\r\n", $body)
    };
}

/// A chunked POST, whose head is well formed.
macro_rules! chunked {
    ($body:literal) => {
        post!("Transfer-Encoding: chunked\r\n", $body)
    };
}

/// A well-formed upgrade to WebSocket, with further header lines and what follows.
macro_rules! websocket {
    ($fields:literal, $rest:literal) => {
        concat!(
            "GET /live HTTP/1.1\r\nHost: wiki.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            $fields,
            "\r\n",
            $rest
        )
    };
}

/// `name app bytes => [judged requests] refusal @ offset;`
macro_rules! attacks {
    ($($name:literal $app:ident $sent:expr =>
        $([$method:literal $target:literal {$($field:literal: $value:literal),*}]),* $($code:ident @ $offset:literal)?;)*) => {
        /// Every row, in the order of the specification.
        pub const ATTACKS: &[Attack] = &[$(Attack {
            name: $name,
            app: AttackedApp::$app,
            sent: $sent,
            judged: &[$(Judged { method: $method, target: $target, fields: &[$(($field, $value)),*] }),*],
            refused: refusal!($($code $offset)?),
        }),*];
    };
}

attacks! {
    "ATK-1 content-length before transfer-encoding" Strict post!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") => ContentLengthAndTransferEncoding @ 58;
    "ATK-1 transfer-encoding before content-length" Strict post!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n") => ContentLengthAndTransferEncoding @ 67;
    "ATK-1 transfer-encoding beside a zero length" Strict post!("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") => ContentLengthAndTransferEncoding @ 58;
    "ATK-1 an underscored transfer-encoding does not frame and does not pass" Strict post!("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", "0\r\n\r\n") => ["POST" "/" {}];
    "ATK-1 nor does it where odd names pass" PassesOddNames post!("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", "0\r\n\r\n") => ["POST" "/" {}];

    "ATK-2 identity, chunked" Strict post!("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 chunked, identity" Strict post!("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 chunked twice in one field" Strict post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 chunked in two fields" Strict post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") => TransferEncoding @ 67;
    "ATK-2 identity" Strict post!("Transfer-Encoding: identity\r\n", "") => TransferEncoding @ 39;
    "ATK-2 gzip" Strict post!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 empty" Strict post!("Transfer-Encoding:\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 quoted" Strict post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 a parameter" Strict post!("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n") => TransferEncoding @ 39;
    "ATK-2 a tab before" Strict post!("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n") => TransferEncoding @ 57;
    "ATK-2 a space behind" Strict post!("Transfer-Encoding: chunked \r\n", "0\r\n\r\n") => TransferEncoding @ 57;
    "ATK-2 a vertical tab before" Strict post!("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n") => HeaderValue @ 58;
    "ATK-2 on http/1.0" Strict "POST / HTTP/1.0\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => TransferEncoding @ 39;

    "ATK-3 a plus sign" Strict post!("Content-Length: +1\r\n", "a") => ContentLength @ 39;
    "ATK-3 a minus sign" Strict post!("Content-Length: -1\r\n", "a") => ContentLength @ 39;
    "ATK-3 a list" Strict post!("Content-Length: 1,1\r\n", "a") => ContentLength @ 39;
    "ATK-3 doubled and equal" Strict post!("Content-Length: 1\r\nContent-Length: 1\r\n", "a") => ContentLength @ 58;
    "ATK-3 doubled and different" Strict post!("Content-Length: 1\r\nContent-Length: 2\r\n", "a") => ContentLength @ 58;
    "ATK-3 hexadecimal" Strict post!("Content-Length: 0x1\r\n", "a") => ContentLength @ 39;
    "ATK-3 a leading zero" Strict post!("Content-Length: 01\r\n", "a") => ContentLength @ 39;
    "ATK-3 two leading spaces" Strict post!("Content-Length:  1\r\n", "a") => ContentLength @ 54;
    "ATK-3 a trailing space" Strict post!("Content-Length: 1 \r\n", "a") => ContentLength @ 54;
    "ATK-3 a trailing tab" Strict post!("Content-Length: 1\t\r\n", "a") => ContentLength @ 54;
    "ATK-3 empty" Strict post!("Content-Length:\r\n", "") => ContentLength @ 39;
    "ATK-3 a fraction" Strict post!("Content-Length: 1.0\r\n", "a") => ContentLength @ 39;
    "ATK-3 an exponent" Strict post!("Content-Length: 1e1\r\n", "a") => ContentLength @ 39;
    "ATK-3 more than 64 bits" Strict post!("Content-Length: 18446744073709551616\r\n", "a") => ContentLength @ 39;
    "ATK-3 full-width digits" Strict post!("Content-Length: \u{ff11}\r\n", "a") => ContentLength @ 39;

    "ATK-4 a request behind an unknown upgrade is judged alone" Strict concat!(get!("/", "Connection: Upgrade\r\nUpgrade: foo\r\n"), get!("/admin")) => ["GET" "/" {}], ["GET" "/admin" {}];
    "ATK-4 a request behind h2c is judged alone" Strict concat!(get!("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), get!("/admin")) => ["GET" "/" {}], ["GET" "/admin" {}];
    "ATK-4 websocket without the connection option is no upgrade" Strict concat!(get!("/", "Upgrade: websocket\r\n"), get!("/admin")) => ["GET" "/" {}], ["GET" "/admin" {}];
    "ATK-4 the connection option without upgrade is none" Strict concat!(get!("/", "Connection: upgrade\r\n"), get!("/admin")) => ["GET" "/" {}], ["GET" "/admin" {}];
    "ATK-4 the body of a get is not a second request" Strict concat!(get!("/", "Content-Length: 4\r\n"), "GET ", get!("/admin")) => ["GET" "/" {}], ["GET" "/admin" {}];

    "ATK-5 websocket with a length" Strict websocket!("Content-Length: 4\r\n", "abcd") => UpgradeBody @ 63;
    "ATK-5 websocket with a zero length" Strict websocket!("Content-Length: 0\r\n", "") => UpgradeBody @ 63;
    "ATK-5 websocket with a chunked body" Strict websocket!("Transfer-Encoding: chunked\r\n", "0\r\n\r\n") => UpgradeBody @ 63;
    "ATK-5 another upgrade with a body" Strict post!("Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n", "a") => UpgradeBody @ 60;
    "ATK-5 early bytes" Strict websocket!("", "GET /admin HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n") => UpgradeEarlyBytes @ 157;
    "ATK-5 websocket by post" Strict "POST /live HTTP/1.1\r\nHost: wiki.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" => Upgrade @ 64;
    "ATK-5 websocket without key" Strict get!("/", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n") => Upgrade @ 59;
    "ATK-5 websocket of another version" Strict get!("/", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") => Upgrade @ 59;
    "ATK-5 connect with a body" Strict "CONNECT wiki.localhost:443 HTTP/1.1\r\nHost: wiki.localhost:443\r\nContent-Length: 1\r\n\r\na" => MethodNotAllowed @ 0;

    "ATK-6 a bare line feed after the request line" Strict "GET / HTTP/1.1\nHost: wiki.localhost\r\n\r\n" => BareLf @ 14;
    "ATK-6 a bare line feed after a field" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost\n\r\n" => BareLf @ 36;
    "ATK-6 bare line feeds only" Strict "GET / HTTP/1.1\nHost: wiki.localhost\n\n" => BareLf @ 14;
    "ATK-6 a bare line feed as the end" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost\r\n\n" => BareLf @ 38;
    "ATK-6 a bare line feed in a value" Strict get!("/", "X-A: 1\nX-Admin: 1\r\n") => BareLf @ 44;
    "ATK-6 a bare carriage return in a value" Strict get!("/", "X-A: 1\rX-Admin: 1\r\n") => BareCr @ 44;
    "ATK-6 a bare carriage return in a name" Strict get!("/", "X\r-A: 1\r\n") => BareCr @ 39;
    "ATK-6 a bare carriage return in the request line" Strict "GET /\r HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => BareCr @ 5;
    "ATK-6 a doubled carriage return" Strict get!("/", "X-A: 1\r\r\n") => BareCr @ 44;
    "ATK-6 a folded line" Strict get!("/", "X-A: 1\r\n 2\r\n") => ObsFold @ 46;
    "ATK-6 a line folded with a tab" Strict get!("/", "X-A: 1\r\n\t2\r\n") => ObsFold @ 46;
    "ATK-6 a folded first field" Strict "GET / HTTP/1.1\r\n Host: evil.localhost\r\nHost: wiki.localhost\r\n\r\n" => ObsFold @ 16;
    "ATK-6 a space before the colon" Strict get!("/", "X-A : 1\r\n") => SpaceBeforeColon @ 41;
    "ATK-6 a tab before the colon of a length" Strict post!("Content-Length\t: 1\r\n", "a") => SpaceBeforeColon @ 53;
    "ATK-6 a space in a name" Strict get!("/", "X A: 1\r\n") => HeaderName @ 39;
    "ATK-6 an empty name" Strict get!("/", ": 1\r\n") => HeaderName @ 38;
    "ATK-6 a line without colon" Strict get!("/", "X-A\r\n") => HeaderName @ 38;
    "ATK-6 nul in a value" Strict get!("/", "X-A: 1\0\r\n") => HeaderValue @ 44;
    "ATK-6 nul in a name" Strict get!("/", "X\0-A: 1\r\n") => HeaderName @ 39;
    "ATK-6 nul in the target" Strict get!("/a\0b") => PathCharacter @ 6;
    "ATK-6 nul in the method" Strict "G\0T / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => Method @ 1;
    "ATK-6 delete in a value" Strict get!("/", "X-A: \u{7f}\r\n") => HeaderValue @ 43;
    "ATK-6 escape in a value" Strict get!("/", "X-A: \u{1b}[2J\r\n") => HeaderValue @ 43;
    "ATK-6 a non-ascii name" Strict get!("/", "X-\u{e9}: 1\r\n") => HeaderName @ 40;
    "ATK-6 two spaces in the request line" Strict "GET  / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 a tab in the request line" Strict "GET\t/ HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 a space in the target" Strict "GET /a b HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 a space before the method" Strict " GET / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 a space behind the version" Strict "GET / HTTP/1.1 \r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 no version" Strict "GET /\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 0;
    "ATK-6 version 0.9" Strict "GET / HTTP/0.9\r\nHost: wiki.localhost\r\n\r\n" => Version @ 6;
    "ATK-6 version 1.2" Strict "GET / HTTP/1.2\r\nHost: wiki.localhost\r\n\r\n" => Version @ 6;
    "ATK-6 a lower-case version" Strict "GET / http/1.1\r\nHost: wiki.localhost\r\n\r\n" => Version @ 6;
    "ATK-6 the http/2 preface" Strict "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" => Version @ 6;
    "ATK-6 two empty lines first" Strict "\r\n\r\nGET / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => RequestLine @ 2;

    "ATK-7 an extension with a line feed" Strict chunked!("1;a\nb\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] BareLf @ 72;
    "ATK-7 an extension with a carriage return" Strict chunked!("1;a\rb\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkExtensions @ 72;
    "ATK-7 an extension with nul" Strict chunked!("1;\0\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkExtensions @ 71;
    "ATK-7 a harmless extension is dropped" Strict chunked!("1;a=\"b\"\r\na\r\n0;c\r\n\r\n") => ["POST" "/" {}];
    "ATK-7 a size line ended by a line feed" Strict chunked!("1\na\r\n0\r\n\r\n") => ["POST" "/" {}] BareLf @ 70;
    "ATK-7 no size" Strict chunked!("\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 69;
    "ATK-7 a negative size" Strict chunked!("-1\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 69;
    "ATK-7 a size with 0x" Strict chunked!("0x1\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 70;
    "ATK-7 a size with an underscore" Strict chunked!("1_0\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 70;
    "ATK-7 a size behind a space" Strict chunked!(" 1\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 69;
    "ATK-7 a size before a space" Strict chunked!("1 \r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 70;
    "ATK-7 a size of nine digits" Strict chunked!("000000001\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 77;
    "ATK-7 a size that wraps 64 bits" Strict chunked!("10000000000000001\r\na\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkSize @ 77;
    "ATK-7 data longer than its size" Strict chunked!("1\r\nab\r\n0\r\n\r\n") => ["POST" "/" {}] ChunkData @ 73;
    "ATK-7 data ended by a line feed" Strict chunked!("1\r\na\n0\r\n\r\n") => ["POST" "/" {}] ChunkData @ 73;
    "ATK-7 data ended by a carriage return" Strict chunked!("1\r\na\r0\r\n\r\n") => ["POST" "/" {}] ChunkData @ 74;
    "ATK-7 a trailer that was not declared" Strict chunked!("0\r\nX-Admin: 1\r\n\r\n") => ["POST" "/" {}] TrailerUndeclared @ 72;
    "ATK-7 a declared trailer" Strict concat!(post!("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "0\r\nX-Sum: 1\r\n\r\n"), get!("/next")) => ["POST" "/" {}], ["GET" "/next" {}];
    "ATK-7 a declared trailer that frames" Strict post!("Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n", "0\r\n\r\n") => TrailerForbidden @ 67;
    "ATK-7 a declared trailer that only we may set" Strict post!("Transfer-Encoding: chunked\r\nTrailer: X_Countersign_Assertion\r\n", "0\r\n\r\n") => TrailerForbidden @ 67;
    "ATK-7 a folded trailer" Strict post!("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "0\r\nX-Sum: 1\r\n 2\r\n\r\n") => ["POST" "/" {}] ObsFold @ 98;
    "ATK-7 a request behind the last chunk is judged alone" Strict concat!(chunked!("1\r\na\r\n0\r\n\r\n"), get!("/admin")) => ["POST" "/" {}], ["GET" "/admin" {}];

    "ATK-8 two equal hosts" Strict get!("/", "Host: wiki.localhost\r\n") => HostDoubled @ 38;
    "ATK-8 two hosts" Strict get!("/", "Host: payroll.localhost\r\n") => HostDoubled @ 38;
    "ATK-8 two hosts in odd case" Strict get!("/", "hOsT: payroll.localhost\r\n") => HostDoubled @ 38;
    "ATK-8 no host" Strict "GET / HTTP/1.1\r\n\r\n" => HostMissing @ 0;
    "ATK-8 no host on http/1.0" Strict "GET / HTTP/1.0\r\n\r\n" => HostMissing @ 0;
    "ATK-8 an empty host" Strict "GET / HTTP/1.1\r\nHost:\r\n\r\n" => Host @ 16;
    "ATK-8 a list of hosts" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost, payroll.localhost\r\n\r\n" => Host @ 16;
    "ATK-8 a host with user-info" Strict "GET / HTTP/1.1\r\nHost: payroll.localhost@wiki.localhost\r\n\r\n" => Host @ 16;
    "ATK-8 a host with a path" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost/admin\r\n\r\n" => Host @ 16;
    "ATK-8 an absolute target of another host" Strict get!("http://payroll.localhost/") => AuthorityMismatch @ 4;
    "ATK-8 an absolute target of another port" Strict get!("https://wiki.localhost:8443/") => AuthorityMismatch @ 4;
    "ATK-8 an absolute target with user-info" Strict get!("https://wiki.localhost@payroll.localhost/") => Host @ 4;
    "ATK-8 an absolute target and no host" Strict "GET https://wiki.localhost/ HTTP/1.1\r\n\r\n" => HostMissing @ 0;
    "ATK-8 an absolute target of the same host is that path" Strict get!("https://WIKI.localhost:443/a?b") => ["GET" "/a?b" {}];
    "ATK-8 an absolute target without path" Strict get!("https://wiki.localhost?b") => ["GET" "/?b" {}];
    "ATK-8 another scheme" Strict get!("ftp://wiki.localhost/") => TargetForm @ 4;
    "ATK-8 authority-form" Strict get!("wiki.localhost:443") => TargetForm @ 4;
    "ATK-8 asterisk-form" Strict "OPTIONS * HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => TargetForm @ 8;
    "ATK-8 a relative target" Strict get!("admin") => TargetForm @ 4;

    "ATK-13 a dot-dot segment" Strict get!("/x/../admin") => PathDotSegment @ 7;
    "ATK-13 a dot-dot segment at the end" Strict get!("/x/..") => PathDotSegment @ 7;
    "ATK-13 a dot segment" Strict get!("/x/./admin") => PathDotSegment @ 7;
    "ATK-13 an encoded dot-dot segment" Strict get!("/x/%2e%2e/admin") => PathDotSegment @ 7;
    "ATK-13 a half encoded dot-dot segment" Strict get!("/x/.%2E/admin") => PathDotSegment @ 7;
    "ATK-13 dots and an encoded slash" Strict get!("/x/%2e%2e%2fadmin") => PathEncodedSlash @ 13;
    "ATK-13 a dot-dot segment with parameters" Strict get!("/x/..;/admin") => PathSemicolon @ 9;
    "ATK-13 a dot-dot segment with parameters where no rule depends on paths" NoPathRules get!("/x/..;a=b/admin") => PathDotSegment @ 7;
    "ATK-13 a dot-dot segment with an encoded semicolon" Strict get!("/x/..%3B/admin") => ["GET" "/x/..%3B/admin" {}];
    "ATK-13 three dots are a name" Strict get!("/x/.../admin") => ["GET" "/x/.../admin" {}];
    "ATK-13 an empty segment" Strict get!("/x//admin") => PathEmptySegment @ 7;
    "ATK-13 an encoded slash" Strict get!("/x%2Fadmin") => PathEncodedSlash @ 6;
    "ATK-13 an encoded slash in lower case" Strict get!("/x%2fadmin") => PathEncodedSlash @ 6;
    "ATK-13 a backslash" Strict get!("/x\\admin") => PathBackslash @ 6;
    "ATK-13 an encoded backslash" Strict get!("/x%5Cadmin") => PathBackslash @ 6;
    "ATK-13 a doubly encoded dot" Strict get!("/x/%252e%252e/admin") => PathEncodedPercent @ 7;
    "ATK-13 a doubly encoded slash" Strict get!("/x%252Fadmin") => PathEncodedPercent @ 6;
    "ATK-13 a doubly encoded slash whose digits are encoded" Strict get!("/x%25%32%46admin") => PathEncodedPercent @ 6;
    "ATK-13 a doubly encoded slash with one digit encoded" Strict get!("/x%252%66admin") => PathEncodedPercent @ 6;
    "ATK-13 an encoded percent sign before one encoded digit" Strict get!("/100%25%32x") => ["GET" "/100%252x" {}];
    "ATK-13 an encoded percent sign before no digits" Strict get!("/100%25") => ["GET" "/100%25" {}];
    "ATK-13 a semicolon" Strict get!("/admin;x") => PathSemicolon @ 10;
    "ATK-13 a semicolon where no rule depends on paths" NoPathRules get!("/admin;x") => ["GET" "/admin;x" {}];
    "ATK-13 encoded nul" Strict get!("/admin%00.png") => PathControl @ 10;
    "ATK-13 an encoded line end" Strict get!("/a%0d%0aX-Admin:1") => PathControl @ 6;
    "ATK-13 encoded delete" Strict get!("/a%7f") => PathControl @ 6;
    "ATK-13 a bad triplet" Strict get!("/a%zz") => PathTriplet @ 6;
    "ATK-13 a short triplet" Strict get!("/a%2") => PathTriplet @ 6;
    "ATK-13 a triplet of another tongue" Strict get!("/a%u002e") => PathTriplet @ 6;
    "ATK-13 an overlong slash" Strict get!("/x%c0%afadmin") => PathOverlong @ 6;
    "ATK-13 an overlong dot of three bytes" Strict get!("/x/%e0%80%ae") => PathOverlong @ 7;
    "ATK-13 an overlong slash of four bytes" Strict get!("/x/%f0%80%80%af") => PathOverlong @ 7;
    "ATK-13 real utf-8 is a name" Strict get!("/%e0%a0%80%c3%a9") => ["GET" "/%E0%A0%80%C3%A9" {}];
    "ATK-13 a raw non-ascii byte" Strict get!("/\u{e9}") => PathCharacter @ 5;
    "ATK-13 unreserved characters are decoded" Strict get!("/%61dmin%2Dx%7e") => ["GET" "/admin-x~" {}];
    "ATK-13 hex digits are upper case" Strict get!("/a%3a%3F") => ["GET" "/a%3A%3F" {}];
    "ATK-13 angle brackets" Strict get!("/<script>") => PathCharacter @ 5;
    "ATK-13 a quotation mark" Strict get!("/\"") => PathCharacter @ 5;
    "ATK-13 an encoded slash where it is open" EncodedSlash get!("/projects/a%2fb") => ["GET" "/projects/a%2Fb" {}];
    "ATK-13 dots beside an open encoded slash" EncodedSlash get!("/projects/..%2Fadmin") => PathDotSegment @ 14;
    "ATK-13 dots behind an open encoded slash" EncodedSlash get!("/projects/a%2F../admin") => PathDotSegment @ 18;
    "ATK-13 an encoded percent sign where it is open" EncodedPercent get!("/x/%2541") => ["GET" "/x/%2541" {}];
    "ATK-13 an empty segment where it is open" EmptySegment get!("/x//y") => ["GET" "/x//y" {}];
    "ATK-13 base resolves dot segments before rules see them" Base get!("/x/../admin") => ["GET" "/admin" {}];
    "ATK-13 base resolves encoded dots and backslashes" Base get!("/x\\%2e%2E/admin") => ["GET" "/admin" {}];
    "ATK-13 base cannot climb above the root" Base get!("/../../etc/passwd") => ["GET" "/etc/passwd" {}];
    "ATK-13 merge collapses slashes" Merge get!("//x///admin") => ["GET" "/x/admin" {}];
    "ATK-13 decode and merge decodes slashes first" DecodeAndMerge get!("/x%2f..%5cadmin") => ["GET" "/admin" {}];
    "ATK-13 no profile takes nul" DecodeAndMerge get!("/x%00") => PathControl @ 6;
    "ATK-13 no profile decodes twice" DecodeAndMerge get!("/x%252f..") => ["GET" "/x%252f.." {}];

    "ATK-14 a leading double slash" Strict get!("//payroll.localhost/admin") => PathEmptySegment @ 5;
    "ATK-14 a leading double slash is a path where it is open" EmptySegment get!("//payroll.localhost/admin") => ["GET" "//payroll.localhost/admin" {}];
    "ATK-14 a leading double slash under base is a path" Base get!("//payroll.localhost/admin") => ["GET" "//payroll.localhost/admin" {}];
    "ATK-14 a leading double slash in an absolute target" Strict get!("https://wiki.localhost//payroll.localhost/") => PathEmptySegment @ 27;
    "ATK-14 three slashes" Strict get!("///admin") => PathEmptySegment @ 5;

    "ATK-15 a number sign in the path" Strict get!("/admin#/public") => PathFragment @ 10;
    "ATK-15 a number sign in the query" Strict get!("/admin?a#b") => PathFragment @ 12;
    "ATK-15 a number sign under base" Base get!("/admin#/public") => PathFragment @ 10;
    "ATK-15 a number sign behind the authority" Strict get!("https://wiki.localhost#/public") => PathFragment @ 26;
    "ATK-15 an encoded number sign stays one" Strict get!("/admin%23/public") => ["GET" "/admin%23/public" {}];
    "ATK-15 an encoded number sign stays one under base" Base get!("/admin%23/public") => ["GET" "/admin%23/public" {}];

    "ATK-16 a public path in the query" Strict get!("/admin?/favicon.ico") => ["GET" "/admin?/favicon.ico" {}];
    "ATK-16 an encoded question mark is no query" Strict get!("/admin%3f/favicon.ico") => ["GET" "/admin%3F/favicon.ico" {}];
    "ATK-16 two question marks" Strict get!("/admin??/favicon.ico") => ["GET" "/admin??/favicon.ico" {}];
    "ATK-16 dot segments in the query stay there" Strict get!("/admin?/../public//x;y%2f%zz") => ["GET" "/admin?/../public//x;y%2f%zz" {}];
    "ATK-16 an empty query" Strict get!("/admin?") => ["GET" "/admin?" {}];
    "ATK-16 a quotation mark in the query" Strict get!("/admin?\"") => QueryCharacter @ 11;

    "ATK-17 the stripped path is judged and sent" StripsApi get!("/api/admin?x") => ["GET" "/admin?x" {}];
    "ATK-17 the prefix alone" StripsApi get!("/api") => ["GET" "/" {}];
    "ATK-17 a prefix of a segment is none" StripsApi get!("/apiary") => ["GET" "/apiary" {}];
    "ATK-17 a prefix once" StripsApi get!("/api/api/x") => ["GET" "/api/x" {}];
    "ATK-17 an encoded prefix is decoded first" StripsApi get!("/%61pi/admin") => ["GET" "/admin" {}];

    "ATK-18 mixed case" Strict "GET / HTTP/1.1\r\nHost: WIKI.LocalHost\r\n\r\n" => ["GET" "/" {}];
    "ATK-18 a trailing dot" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost.\r\n\r\n" => ["GET" "/" {}];
    "ATK-18 a trailing dot and a port" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost.:443\r\n\r\n" => ["GET" "/" {}];
    "ATK-18 full-width letters" Strict "GET / HTTP/1.1\r\nHost: \u{ff57}iki.localhost\r\n\r\n" => ["GET" "/" {}];
    "ATK-18 an ideographic full stop" Strict "GET / HTTP/1.1\r\nHost: wiki\u{3002}localhost\r\n\r\n" => ["GET" "/" {}];
    "ATK-18 two trailing dots" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost..\r\n\r\n" => Host @ 16;
    "ATK-18 an encoded dot" Strict "GET / HTTP/1.1\r\nHost: wiki%2elocalhost\r\n\r\n" => Host @ 16;
    "ATK-18 a bad a-label" Strict "GET / HTTP/1.1\r\nHost: xn--\u{61}.localhost\r\n\r\n" => Host @ 16;
    "ATK-18 half an address" Strict "GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n" => Host @ 16;
    "ATK-18 an address as a number" Strict "GET / HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n" => Host @ 16;
    "ATK-18 a zone id" Strict "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n" => Host @ 16;
    "ATK-18 port zero" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost:0\r\n\r\n" => Host @ 16;
    "ATK-18 an empty port" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost:\r\n\r\n" => Host @ 16;
    "ATK-18 a padded port" Strict "GET / HTTP/1.1\r\nHost: wiki.localhost:0443\r\n\r\n" => Host @ 16;

    "ATK-20 lower case" Strict "get / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodCase @ 0;
    "ATK-20 mixed case" Strict "DeLETE / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodCase @ 0;
    "ATK-20 trace" Strict "TRACE / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodNotAllowed @ 0;
    "ATK-20 track" Strict "TRACK / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodNotAllowed @ 0;
    "ATK-20 connect" Strict "CONNECT / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodNotAllowed @ 0;
    "ATK-20 no method" Strict " / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => Method @ 0;
    "ATK-20 a long method" Strict "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => MethodTooLong @ 32;
    "ATK-20 another token is a method of its own" Strict "FROB / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n" => ["FROB" "/" {}];
    "ATK-20 an override changes nothing" Strict get!("/", "X-HTTP-Method-Override: DELETE\r\n") => ["GET" "/" {}];
    "ATK-20 its kin change nothing" Strict get!("/", "X-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n") => ["GET" "/" {}];
    "ATK-20 an underscored override changes nothing" PassesOddNames get!("/", "X_HTTP_Method_Override: DELETE\r\n") => ["GET" "/" {}];
    "ATK-20 an override that is judged is the method" JudgesOverride post!("X-HTTP-Method-Override: DELETE\r\n", "") => ["DELETE" "/" {}];
    "ATK-20 two overrides" JudgesOverride post!("X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\n", "") => MethodOverride @ 71;
    "ATK-20 a lower-case override" JudgesOverride post!("X-HTTP-Method-Override: delete\r\n", "") => MethodOverride @ 39;
    "ATK-20 an override to trace" JudgesOverride post!("X-HTTP-Method-Override: TRACE\r\n", "") => MethodOverride @ 39;
    "ATK-20 an override to head, whose response has no body" JudgesOverride post!("X-HTTP-Method-Override: HEAD\r\n", "") => MethodOverride @ 39;
    "ATK-20 an override of a get" JudgesOverride get!("/", "X-HTTP-Method-Override: DELETE\r\n") => MethodOverride @ 38;
    "ATK-20 an override of a websocket" JudgesOverride websocket!("X-HTTP-Method-Override: DELETE\r\n", "") => MethodOverride @ 155;
    "ATK-20 options with a body is judged" Strict "OPTIONS / HTTP/1.1\r\nHost: wiki.localhost\r\nContent-Length: 1\r\n\r\na" => ["OPTIONS" "/" {}];

    "ATK-21 an assertion" Strict get!("/", "X-Countersign-Assertion: ey\r\nX-A: 1\r\n") => ["GET" "/" {"x-a": "1"}];
    "ATK-21 forwarded fields" Strict get!("/", "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-User: carol\r\nForwarded: for=1\r\nX-Real-IP: 1\r\n") => ["GET" "/" {}];
    "ATK-21 url fields" Strict get!("/", "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n") => ["GET" "/" {}];
    "ATK-21 envoy fields" Strict get!("/", "X-Envoy-Original-Path: /admin\r\nX-Forwarded-Client-Cert: Hash=1\r\n") => ["GET" "/" {}];
    "ATK-21 httpoxy" Strict get!("/", "Proxy: http://evil.localhost\r\n") => ["GET" "/" {}];
    "ATK-21 what is not ours stays as it is" Strict get!("/", "X-Forward: 1\r\nX-Original: a \t b\r\nAuthorization: Bearer ey\r\n") => ["GET" "/" {"x-forward": "1", "x-original": "a \t b", "authorization": "Bearer ey"}];

    "ATK-22 underscores" Strict get!("/", "X_Countersign_Assertion: ey\r\nX-Forwarded_User: carol\r\n") => ["GET" "/" {}];
    "ATK-22 dots" Strict get!("/", "X.Countersign.Assertion: ey\r\nX.Forwarded-User: carol\r\n") => ["GET" "/" {}];
    "ATK-22 other characters that cgi folds" PassesOddNames get!("/", "X~Countersign!Assertion: ey\r\nX-Forwarded'User: carol\r\n") => ["GET" "/" {}];
    "ATK-22 odd case" Strict get!("/", "x-COUNTERSIGN-assertion: ey\r\nX-fOrWaRdEd-uSeR: carol\r\n") => ["GET" "/" {}];
    "ATK-22 doubled" Strict get!("/", "X-Countersign-Assertion: a\r\nX-Countersign-Assertion: b\r\n") => ["GET" "/" {}];
    "ATK-22 other odd names are dropped" Strict get!("/", "My_Header: 1\r\nMy.Header: 1\r\nMy-Header: 1\r\n") => ["GET" "/" {"my-header": "1"}];
    "ATK-22 other odd names pass where they may" PassesOddNames get!("/", "My_Header: 1\r\nX_Forwarded_For: 1\r\n") => ["GET" "/" {"my_header": "1"}];
    "ATK-22 aliases of fields of the connection do not pass" PassesOddNames get!("/", "Proxy_Connection: 1\r\nAuthorization_: 1\r\nContent_Length: 5\r\n") => ["GET" "/" {"authorization_": "1"}];
    "ATK-22 authorization twice" Strict get!("/", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n") => HeaderDoubled @ 63;
    "ATK-22 origin twice" Strict get!("/", "Origin: https://a\r\nOrigin: https://b\r\n") => HeaderDoubled @ 57;

    "ATK-23 connection names the assertion" Strict get!("/", "Connection: X-Countersign-Assertion\r\n") => ConnectionOption @ 38;
    "ATK-23 connection names the cookie" Strict get!("/", "Connection: close, Cookie\r\nCookie: a=b\r\n") => ConnectionOption @ 38;
    "ATK-23 connection names the host" Strict get!("/", "Connection: Host\r\n") => ConnectionOption @ 38;
    "ATK-23 connection names a forwarded field" Strict get!("/", "Connection: keep-alive, X-Forwarded-For\r\n") => ConnectionOption @ 38;
    "ATK-23 connection names an app's field" Strict get!("/", "Connection: X-Custom\r\n") => ConnectionOption @ 38;
    "ATK-23 a second connection field" Strict get!("/", "Connection: keep-alive\r\nConnection: Authorization\r\n") => ConnectionOption @ 62;
    "ATK-23 connection names the length" Strict post!("Connection: Content-Length\r\nContent-Length: 1\r\n", "a") => ConnectionOption @ 39;
    "ATK-23 fields of the connection do not pass" Strict get!("/", "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n") => ["GET" "/" {}];
}
