//! Answers of our own endpoints: pages with their headers, redirects, JSON.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::http::reserved::status;

/// A page with the headers of UI-20.
pub(crate) fn page(code: StatusCode, html: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(html));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(pages::HTML));
    for (name, value) in pages::PAGE_HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// A page whose form ends at another host of ours: browsers hold the redirect of a form against `form-action` too (UI-20).
/// `authority` comes from an opened ticket of an app that is served.
pub(crate) fn page_towards(code: StatusCode, html: String, authority: Option<&str>) -> Response<Bytes> {
    let mut response = page(code, html);
    let policy = authority.map(pages::csp_towards).and_then(|policy| HeaderValue::try_from(policy).ok());
    if let Some(policy) = policy {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// 303, never cached.
pub(crate) fn see_other(url: &str) -> Response<Bytes> {
    let Ok(location) = HeaderValue::try_from(url) else {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = status(StatusCode::SEE_OTHER);
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON, never cached.
pub(crate) fn json(code: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A problem a script shows to the person.
pub(crate) fn problem(code: StatusCode, name: &str, detail: &str) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        code: &'a str,
        detail: &'a str,
    }
    let body = Problem {
        r#type: format!("urn:countersign:problem:{name}"),
        title: code.canonical_reason().unwrap_or("Refused"),
        status: code.as_u16(),
        code: name,
        detail,
    };
    let mut response = json(code, &body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Something below does not answer. What exactly is for the operator's log: the reader may be a stranger.
pub(crate) fn unavailable(failure: &crate::Failure) -> Response<Bytes> {
    tracing::error!(%failure, "a step of a sign-in could not be carried out");
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This cannot be done right now. Try again in a minute.")
}

/// Says when to try again, where something was tried too often.
pub(crate) fn retry_after(mut response: Response<Bytes>, secs: Option<u64>) -> Response<Bytes> {
    if let Some(secs) = secs {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

/// Adds a `Set-Cookie`.
pub(crate) fn with_cookie(mut response: Response<Bytes>, cookie: &str) -> Response<Bytes> {
    if let Ok(mut value) = HeaderValue::try_from(cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// A value of a query or form (`application/x-www-form-urlencoded`); the first of its name.
pub(crate) fn parameter(encoded: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(encoded).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
