//! Both directions of the upstream side: the request as written from its canonical form and nothing else, and the
//! response fields that may reach a client (GW-35, GW-64).
//!
//! It opens no connection. ATK-12, ATK-29.
//!
//! Invariant: parsing what is serialised gives the request that was serialised.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version};

use crate::cookies;
use crate::fields::list_members;
use crate::headers;
use crate::request::{CanonicalRequest, Framing};

/// A request on its way upstream.
#[derive(Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// What was judged.
    pub request: &'a CanonicalRequest,
    /// `Host` upstream; `None` sends the original (GW-74).
    pub host: Option<&'a str>,
    /// What we add: assertion, forwarded fields, trace. They replace fields of the same name.
    pub extra: &'a HeaderMap,
}

impl UpstreamRequest<'_> {
    /// The head in HTTP/1.1 bytes.
    pub fn write_head(&self, output: &mut BytesMut) {
        let request = self.request;
        output.reserve(
            256 + request.fields().iter().map(|field| field.name.len() + field.value.len() + 4).sum::<usize>(),
        );
        output.put_slice(request.method_bytes());
        output.put_u8(b' ');
        output.put_slice(request.path().as_bytes());
        if let Some(query) = request.query() {
            output.put_u8(b'?');
            output.put_slice(query.as_bytes());
        }
        output.put_slice(b" HTTP/1.1\r\n");
        put_field(output, b"host", self.host_value().as_bytes());
        for field in request.fields() {
            if !self.is_replaced(field.name()) {
                put_field(output, &field.name, &field.value);
            }
        }
        for (name, value) in self.extra {
            put_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
        for (name, value) in self.per_hop(Version::HTTP_11) {
            put_field(output, name.as_str().as_bytes(), value.as_bytes());
        }
        output.put_slice(b"\r\n");
    }

    /// The head for an HTTP/1.1 client connection: origin-form target, `host`, framing and connection fields.
    ///
    /// # Errors
    /// None for a request that the gate made, unless `host` is not a header value; treat any as a failure of ours.
    pub fn to_http1(&self) -> Result<Parts, http::Error> {
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.path_and_query()?);
        let mut parts = self.parts(Version::HTTP_11, Uri::from_parts(uri)?)?;
        parts.headers.insert(header::HOST, HeaderValue::try_from(self.host_value())?);
        Ok(parts)
    }

    /// The head for an HTTP/2 client connection: `:scheme`, `:authority`, no connection fields.
    ///
    /// # Errors
    /// As [`Self::to_http1`].
    pub fn to_http2(&self, scheme: Scheme) -> Result<Parts, http::Error> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(scheme);
        uri.authority = Some(Authority::try_from(self.host_value())?);
        uri.path_and_query = Some(self.path_and_query()?);
        self.parts(Version::HTTP_2, Uri::from_parts(uri)?)
    }

    fn parts(&self, version: Version, uri: Uri) -> Result<Parts, http::Error> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(self.request.method_bytes())?;
        parts.uri = uri;
        parts.version = version;
        parts.headers.reserve(self.request.fields().len() + self.extra.len() + 4);
        for field in self.request.fields() {
            if !self.is_replaced(field.name()) {
                let value = HeaderValue::from_maybe_shared(field.value.clone())?;
                parts.headers.append(HeaderName::from_bytes(&field.name)?, value);
            }
        }
        for (name, value) in self.extra {
            parts.headers.append(name, value.clone());
        }
        parts.headers.extend(self.per_hop(version));
        Ok(parts)
    }

    /// Fields about this hop, made from what the gate understood.
    fn per_hop(&self, version: Version) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let is_http1 = version == Version::HTTP_11;
        let request = self.request;
        let framing = match request.framing() {
            Framing::None => None,
            Framing::ContentLength(length) => Some((header::CONTENT_LENGTH, HeaderValue::from(length))),
            Framing::Chunked if is_http1 => Some((header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
            Framing::Chunked => None,
        };
        let upgrade = (is_http1 && request.is_websocket()).then(|| {
            [
                (header::CONNECTION, HeaderValue::from_static("upgrade")),
                (header::UPGRADE, HeaderValue::from_static("websocket")),
            ]
        });
        let te = request.accepts_trailers().then(|| (header::TE, HeaderValue::from_static("trailers")));
        let names = request.trailer_names().join(b", ".as_slice());
        let trailer = HeaderValue::try_from(names).ok().filter(|names| !names.is_empty());
        framing
            .into_iter()
            .chain(upgrade.into_iter().flatten())
            .chain(te)
            .chain(trailer.map(|names| (header::TRAILER, names)))
    }

    fn path_and_query(&self) -> Result<PathAndQuery, http::Error> {
        Ok(PathAndQuery::try_from(self.request.target())?)
    }

    fn host_value(&self) -> String {
        self.host.map_or_else(|| self.request.host().to_string(), str::to_owned)
    }

    fn is_replaced(&self, name: &str) -> bool {
        !self.extra.is_empty() && self.extra.contains_key(name)
    }
}

fn put_field(output: &mut BytesMut, name: &[u8], value: &[u8]) {
    output.put_slice(name);
    output.put_slice(b": ");
    output.put_slice(value);
    output.put_slice(b"\r\n");
}

/// Response fields about one connection; [`crate::h1`] and `h2` write their own.
const PER_HOP_RESPONSE_NAMES: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Takes out of an upstream's response (or its trailers) what no client may get: fields of the upstream's connection
/// and those its `Connection` names, `Alt-Svc`, whatever only we may set, and cookies that claim our names.
pub fn sanitise_response(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| list_members(value.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    if headers.get_all(header::SET_COOKIE).iter().any(|cookie| cookies::sets_ours(cookie.as_bytes())) {
        let kept: Vec<HeaderValue> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|cookie| !cookies::sets_ours(cookie.as_bytes()))
            .cloned()
            .collect();
        headers.remove(header::SET_COOKIE);
        for cookie in kept {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

fn is_dropped(name: &HeaderName) -> bool {
    *name == header::ALT_SVC
        || PER_HOP_RESPONSE_NAMES.contains(&name.as_str())
        || headers::is_owned(name.as_str().as_bytes())
}
