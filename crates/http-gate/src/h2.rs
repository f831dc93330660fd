//! HTTP/2 header lists under the same rules as HTTP/1.1 heads (GW-64, GW-37; ATK-9).
//!
//! The `h2` crate decodes frames and HPACK and resets streams whose pseudo-headers are malformed; what it hands over
//! is judged here. It cuts `:path` at `#` before we see it: then neither rule nor upstream sees more.
//!
//! Invariant: a request made here obeys everything that one from `h1` does.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, uri::Scheme};

use crate::fields::{Field, Fields, find_no_value_byte, is_token_byte};
use crate::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_HEADERS_BYTES, MAX_TRAILERS, MAX_TRAILERS_BYTES};
use crate::refusal::{GateCode, GateRefusal};
use crate::request::{CanonicalRequest, HttpVersion, RawRequest};
use crate::structure::{self, Head};

/// The overhead of a field in the size of a list (RFC 9113 §6.5.2), in place of HTTP/1.1's colon, space and line end.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// Judges a header list. `is_end_of_stream`: no DATA frame follows.
///
/// # Errors
/// The rule broken: answer with its status or reset the stream; nothing goes upstream.
pub fn raw_request(parts: &Parts, is_end_of_stream: bool) -> Result<RawRequest, GateRefusal> {
    let default_port = match parts.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        Some(_) => return Err(GateRefusal::new(GateCode::PseudoHeader, 0)),
        // `h2` drops a valid scheme when `:authority` is missing.
        None => 443,
    };
    let Some(target) = parts.uri.path_and_query() else {
        return Err(GateRefusal::new(GateCode::TargetForm, 0));
    };
    let authority = parts.uri.authority().map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    structure::assemble(Head {
        version: HttpVersion::Http2,
        method: Bytes::copy_from_slice(parts.method.as_str().as_bytes()),
        method_offset: 0,
        target: Bytes::copy_from_slice(target.as_str().as_bytes()),
        target_offset: 0,
        authority: authority.map(|authority| (authority, default_port)),
        fields: fields(&parts.headers)?,
        is_end_of_stream,
    })
}

/// Judges the trailers of a request: declared names only.
///
/// # Errors
/// The rule broken: reset the stream and cut the upstream request short.
pub fn trailers(trailers: &HeaderMap, request: &CanonicalRequest) -> Result<Fields, GateRefusal> {
    if trailers.len() > MAX_TRAILERS {
        return Err(GateRefusal::new(GateCode::TooManyTrailers, 0));
    }
    let fields = fields(trailers)?;
    if size(&fields) > MAX_TRAILERS_BYTES {
        return Err(GateRefusal::new(GateCode::TrailersTooLarge, MAX_TRAILERS_BYTES));
    }
    let is_declared = |field: &Field| request.declared_trailers().any(|name| name == field.name());
    match fields.iter().all(is_declared) {
        true => Ok(Fields(fields)),
        false => Err(GateRefusal::new(GateCode::TrailerUndeclared, 0)),
    }
}

fn fields(headers: &HeaderMap) -> Result<Vec<Field>, GateRefusal> {
    if headers.len() > MAX_HEADERS {
        return Err(GateRefusal::new(GateCode::TooManyHeaders, 0));
    }
    let fields = headers
        .iter()
        .map(|(name, value)| field(name.as_str().as_bytes(), value.as_bytes()))
        .collect::<Result<Vec<Field>, GateRefusal>>()?;
    match size(&fields) > MAX_HEADERS_BYTES {
        true => Err(GateRefusal::new(GateCode::HeadersTooLarge, MAX_HEADERS_BYTES)),
        false => Ok(fields),
    }
}

/// One field; white space around a value is malformed in HTTP/2 (RFC 9113 §8.2.1).
fn field(name: &[u8], value: &[u8]) -> Result<Field, GateRefusal> {
    if name.len() + value.len() + FIELD_OVERHEAD_BYTES > MAX_HEADER_BYTES {
        return Err(GateRefusal::new(GateCode::HeaderTooLong, MAX_HEADER_BYTES));
    }
    let is_name = !name.is_empty() && name.iter().all(|&byte| is_token_byte(byte));
    if !is_name || name.iter().any(u8::is_ascii_uppercase) {
        return Err(GateRefusal::new(GateCode::HeaderName, 0));
    }
    if value.trim_ascii().len() != value.len() {
        return Err(GateRefusal::new(GateCode::HeaderValue, 0));
    }
    if let Some(at) = find_no_value_byte(value) {
        return Err(GateRefusal::new(GateCode::HeaderValue, at));
    }
    Ok(Field::new(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value), 0))
}

fn size(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.name.len() + field.value.len() + FIELD_OVERHEAD_BYTES).sum()
}
