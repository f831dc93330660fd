//! From the parts of a head, whatever the HTTP version, to a well-formed [`RawRequest`]: method, target form, host,
//! body framing, connection options, upgrade, expectation, trailer names.
//!
//! It does not know bytes on the wire (that is `h1`) or the app's settings (that is [`crate::request`]).
//! GW-36, GW-67; ATK-1 to ATK-3, ATK-5, ATK-8, ATK-20, ATK-23.
//!
//! Invariant: whatever two parsers could read in two ways about where this request ends or whom it is for is refused.

use bytes::Bytes;

use crate::fields::{Field, Fields, Offset, is_token_byte, list_members};
use crate::headers;
use crate::host::CanonicalHost;
use crate::limits::{MAX_METHOD_BYTES, MAX_TARGET_BYTES, MAX_TRAILERS};
use crate::refusal::{GateCode, GateRefusal};
use crate::request::{Framing, HttpVersion, Offsets, RawRequest};

/// A head as its wire format gave it.
pub(crate) struct Head {
    pub(crate) version: HttpVersion,
    pub(crate) method: Bytes,
    pub(crate) method_offset: usize,
    pub(crate) target: Bytes,
    pub(crate) target_offset: usize,
    /// `:authority` with the default port of `:scheme`.
    pub(crate) authority: Option<(Bytes, u16)>,
    pub(crate) fields: Vec<Field>,
    /// HTTP/2 says it in frames, not in fields.
    pub(crate) is_end_of_stream: bool,
}

/// Methods by name; other spellings of these are refused, other tokens are methods of their own (RFC 9110 §9.1).
const KNOWN_METHODS: &[&str] = &[
    "ACL",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MERGE",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REPORT",
    "SEARCH",
    "TRACE",
    "TRACK",
    "UNLOCK",
];
/// Never served: tunnels are another door's, and TRACE echoes credentials (RFC 9110 §9.3.8).
const NEVER_SERVED: &[&[u8]] = &[b"CONNECT", b"TRACE", b"TRACK"];

/// Fields that may come once, beside those that frame the message.
const SINGLETONS: &[&str] = &[
    "access-control-request-method",
    "authorization",
    "content-type",
    "expect",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
];

/// What `Connection` may name: hop-by-hop fields that are dropped anyway.
const CONNECTION_OPTIONS: &[&[u8]] = &[b"close", b"http2-settings", b"keep-alive", b"te", b"upgrade"];

/// Fields that may not be trailers (RFC 9110 §6.5.1), beside owned and connection fields.
const NEVER_TRAILERS: &[&str] = &[
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks a head and makes the request.
pub(crate) fn assemble(head: Head) -> Result<RawRequest, GateRefusal> {
    check_method(&head.method).map_err(|refusal| refusal.shifted(head.method_offset))?;
    let target = Target::parse(&head)?;
    let facts = Facts::gather(&head.fields, head.version)?;
    let host = one_host(facts.host, &target, &head)?;
    let is_websocket = facts.is_websocket(&head)?;
    let framing = match (facts.content_length, facts.is_chunked) {
        (Some(length), _) => Framing::ContentLength(length),
        (None, true) => Framing::Chunked,
        (None, false) if head.version == HttpVersion::Http2 && !head.is_end_of_stream => Framing::Chunked,
        (None, false) => Framing::None,
    };
    Ok(RawRequest {
        version: head.version,
        method: head.method,
        host,
        path: target.path,
        query: target.query,
        framing,
        expects_continue: facts.expects_continue && framing.has_body() && head.version != HttpVersion::Http10,
        is_websocket,
        accepts_trailers: facts.accepts_trailers,
        declared_trailers: facts.declared_trailers,
        wants_close: facts.wants_close || head.version == HttpVersion::Http10,
        offsets: target.offsets,
        fields: Fields(head.fields),
    })
}

/// A method is a token, as sent; GW-67.
pub(crate) fn check_method(method: &[u8]) -> Result<(), GateRefusal> {
    if method.len() > MAX_METHOD_BYTES {
        return Err(GateRefusal::new(GateCode::MethodTooLong, MAX_METHOD_BYTES));
    }
    if method.is_empty() {
        return Err(GateRefusal::new(GateCode::Method, 0));
    }
    if let Some(at) = method.iter().position(|&byte| !is_token_byte(byte)) {
        return Err(GateRefusal::new(GateCode::Method, at));
    }
    let has_lower_case = method.iter().any(u8::is_ascii_lowercase);
    if has_lower_case && KNOWN_METHODS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(method)) {
        return Err(GateRefusal::new(GateCode::MethodCase, 0));
    }
    if NEVER_SERVED.contains(&method) {
        return Err(GateRefusal::new(GateCode::MethodNotAllowed, 0));
    }
    Ok(())
}

/// The target of a request: origin-form, or absolute-form whose authority is checked against `Host` and then dropped.
struct Target {
    path: Bytes,
    query: Option<Bytes>,
    /// Authority of an absolute target with its scheme's default port.
    authority: Option<(Bytes, u16)>,
    offsets: Offsets,
}

impl Target {
    fn parse(head: &Head) -> Result<Self, GateRefusal> {
        let (target, offset) = (&head.target, head.target_offset);
        if target.len() > MAX_TARGET_BYTES {
            return Err(GateRefusal::new(GateCode::TargetTooLong, offset + MAX_TARGET_BYTES));
        }
        if let Some(at) = target.iter().position(|byte| !byte.is_ascii_graphic()) {
            return Err(GateRefusal::new(GateCode::PathCharacter, offset + at));
        }
        let (authority, start) = match absolute_form(target) {
            Some((start, port)) => {
                let rest = target.slice(start..);
                let length = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
                (Some((rest.slice(..length), port)), start + length)
            }
            None if target.starts_with(b"/") => (None, 0),
            None => return Err(GateRefusal::new(GateCode::TargetForm, offset)),
        };
        let rest = target.slice(start..);
        let mark = rest.iter().position(|&byte| byte == b'?');
        let path = rest.slice(..mark.unwrap_or(rest.len()));
        Ok(Self {
            path: if path.is_empty() { Bytes::from_static(b"/") } else { path },
            query: mark.map(|mark| rest.slice(mark + 1..)),
            authority,
            offsets: Offsets {
                path: Offset(offset + start),
                query: Offset(offset + start + mark.map_or(0, |mark| mark + 1)),
            },
        })
    }
}

/// Where the authority starts, and the default port.
fn absolute_form(target: &[u8]) -> Option<(usize, u16)> {
    [(b"http://".as_slice(), 80), (b"https://".as_slice(), 443)].into_iter().find_map(|(scheme, port)| {
        let is_absolute = target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        is_absolute.then_some((scheme.len(), port))
    })
}

/// `Host`, an absolute target and `:authority` must all name the same host (ATK-8).
fn one_host(field: Option<&Field>, target: &Target, head: &Head) -> Result<CanonicalHost, GateRefusal> {
    let parse = |raw: &[u8], offset| CanonicalHost::parse(raw).ok_or(GateRefusal::new(GateCode::Host, offset));
    let host = field.map(|field| parse(&field.value, field.offset.0)).transpose()?;
    let named = target.authority.as_ref().or(head.authority.as_ref());
    let named = named.map(|(raw, port)| Ok((parse(raw, head.target_offset)?, *port))).transpose()?;
    match (host, named) {
        (Some(host), None) => Ok(host),
        (None, Some((named, _))) if head.version == HttpVersion::Http2 => Ok(named),
        (Some(host), Some((named, default))) => {
            let is_same = host.name() == named.name() && host.port_or(default) == named.port_or(default);
            is_same.then_some(host).ok_or(GateRefusal::new(GateCode::AuthorityMismatch, head.target_offset))
        }
        (None, _) => Err(GateRefusal::new(GateCode::HostMissing, 0)),
    }
}

/// What the fields say about message and connection.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a Field>,
    content_length: Option<u64>,
    is_chunked: bool,
    wants_close: bool,
    names_upgrade: bool,
    upgrade: Option<&'a Field>,
    offers_websocket: bool,
    websocket_key: Option<&'a Field>,
    websocket_version: Option<&'a Field>,
    expects_continue: bool,
    accepts_trailers: bool,
    declared_trailers: Vec<Bytes>,
}

impl<'a> Facts<'a> {
    fn gather(fields: &'a [Field], version: HttpVersion) -> Result<Self, GateRefusal> {
        let mut facts = Facts::default();
        let mut seen = 0u32;
        for field in fields {
            let refuse = |code| Err(GateRefusal::new(code, field.offset.0));
            if let Some(index) = SINGLETONS.iter().position(|name| field.is_named(name)) {
                if seen & (1 << index) != 0 {
                    return refuse(GateCode::HeaderDoubled);
                }
                seen |= 1 << index;
            }
            match &*field.name {
                b"host" if facts.host.is_some() => return refuse(GateCode::HostDoubled),
                b"host" => facts.host = Some(field),
                b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
                    if version == HttpVersion::Http2 =>
                {
                    return refuse(GateCode::ConnectionSpecific);
                }
                b"content-length" if facts.is_chunked => return refuse(GateCode::ContentLengthAndTransferEncoding),
                b"transfer-encoding" if facts.content_length.is_some() => {
                    return refuse(GateCode::ContentLengthAndTransferEncoding);
                }
                b"content-length" => facts.take_content_length(field)?,
                b"transfer-encoding" => facts.take_transfer_encoding(field, version)?,
                b"connection" => facts.take_connection(field)?,
                b"upgrade" => facts.take_upgrade(field),
                b"expect" if !field.value.eq_ignore_ascii_case(b"100-continue") => {
                    return refuse(GateCode::Expectation);
                }
                b"expect" => facts.expects_continue = true,
                b"te" => facts.take_te(field, version)?,
                b"trailer" => facts.take_trailer(field)?,
                b"sec-websocket-key" => facts.websocket_key = Some(field),
                b"sec-websocket-version" => facts.websocket_version = Some(field),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn take_content_length(&mut self, field: &Field) -> Result<(), GateRefusal> {
        let length = parse_content_length(&field.value).filter(|_| self.content_length.is_none());
        self.content_length = Some(length.ok_or(GateRefusal::new(GateCode::ContentLength, field.offset.0))?);
        Ok(())
    }

    fn take_transfer_encoding(&mut self, field: &Field, version: HttpVersion) -> Result<(), GateRefusal> {
        let is_chunked = field.value.eq_ignore_ascii_case(b"chunked");
        if !is_chunked || self.is_chunked || version == HttpVersion::Http10 {
            return Err(GateRefusal::new(GateCode::TransferEncoding, field.offset.0));
        }
        self.is_chunked = true;
        Ok(())
    }

    fn take_connection(&mut self, field: &Field) -> Result<(), GateRefusal> {
        for option in list_members(&field.value) {
            let Some(known) = CONNECTION_OPTIONS.iter().find(|known| known.eq_ignore_ascii_case(option)) else {
                return Err(GateRefusal::new(GateCode::ConnectionOption, field.offset.0));
            };
            match *known {
                b"close" => self.wants_close = true,
                b"upgrade" => self.names_upgrade = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn take_upgrade(&mut self, field: &'a Field) {
        self.upgrade = Some(field);
        self.offers_websocket |= list_members(&field.value).any(|token| token.eq_ignore_ascii_case(b"websocket"));
    }

    fn take_te(&mut self, field: &Field, version: HttpVersion) -> Result<(), GateRefusal> {
        for coding in list_members(&field.value) {
            if coding.eq_ignore_ascii_case(b"trailers") {
                self.accepts_trailers = true;
            } else if version == HttpVersion::Http2 {
                return Err(GateRefusal::new(GateCode::ConnectionSpecific, field.offset.0));
            }
        }
        Ok(())
    }

    fn take_trailer(&mut self, field: &Field) -> Result<(), GateRefusal> {
        let refuse = |code| GateRefusal::new(code, field.offset.0);
        for name in list_members(&field.value) {
            if self.declared_trailers.len() == MAX_TRAILERS {
                return Err(refuse(GateCode::TooManyTrailers));
            }
            let name = name.to_ascii_lowercase();
            if !is_trailer_name(&name) {
                return Err(refuse(GateCode::TrailerForbidden));
            }
            self.declared_trailers.push(Bytes::from(name));
        }
        Ok(())
    }

    /// A well-formed upgrade to WebSocket (RFC 6455 §4.1). Other upgrades are not taken: the request is an ordinary
    /// one and what follows it is parsed as the next (ATK-4). None may have a body (ATK-5).
    fn is_websocket(&self, head: &Head) -> Result<bool, GateRefusal> {
        let Some(upgrade) = self.upgrade else { return Ok(false) };
        if self.content_length.is_some() || self.is_chunked {
            return Err(GateRefusal::new(GateCode::UpgradeBody, upgrade.offset.0));
        }
        if !(self.offers_websocket && self.names_upgrade && head.version == HttpVersion::Http11) {
            return Ok(false);
        }
        let has_key = self.websocket_key.is_some_and(|key| is_websocket_key(&key.value));
        let is_version_13 = self.websocket_version.is_some_and(|version| *version.value == *b"13");
        if &*head.method == b"GET" && has_key && is_version_13 {
            return Ok(true);
        }
        Err(GateRefusal::new(GateCode::Upgrade, upgrade.offset.0))
    }
}

/// Plain decimal without sign, padding or leading zero, at most what 64 bits hold.
pub(crate) fn parse_content_length(value: &[u8]) -> Option<u64> {
    let is_plain = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_plain {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// 16 bytes in base64 (RFC 6455 §4.1).
fn is_websocket_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.strip_suffix(b"==") {
        Some(digits) => digits.len() == 22 && digits.iter().all(is_base64),
        None => false,
    }
}

/// True for a lower-case name that may be a trailer.
fn is_trailer_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| is_token_byte(byte))
        && !name.starts_with(b":")
        && !NEVER_TRAILERS.iter().any(|never| never.as_bytes() == name)
        && !headers::is_owned(name)
}
