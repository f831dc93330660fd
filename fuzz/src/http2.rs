//! Header lists as the `h2` crate hands them over.

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_gate::h2::raw_request;

use crate::driver::{app, canonicalise, check_round_trip};

/// The most fields looked at; more are refused for their number alone.
const MOST_FIELDS: usize = 40;

/// First the app's settings, then whether a body follows, then lines: method, target, and fields as `name: value`.
pub(crate) fn lists(data: &[u8]) {
    let [choice, body, rest @ ..] = data else { return };
    let mut lines = rest.split(|&byte| byte == b'\n');
    let (Some(method), Some(target)) = (lines.next(), lines.next()) else { return };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else { return };
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version) = (method, uri, Version::HTTP_2);
    for line in lines.take(MOST_FIELDS) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(2..).unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value)) {
            parts.headers.append(name, value);
        }
    }
    let app = app(*choice);
    if let Ok(raw) = raw_request(&parts, body & 1 == 0)
        && let Ok(request) = canonicalise(raw, app)
    {
        check_round_trip(&request, app);
    }
}
