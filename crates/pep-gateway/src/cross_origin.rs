//! CORS as the door answers it: preflights, and who may read an answer (GW-9, GW-10; Fetch §3.2, §4.8).
//!
//! Invariants: only exact origins an operator listed are ever named back, never `*`; a preflight tells nothing but the
//! lists of the configuration and lets nobody in.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_gate::CanonicalRequest;
use model::app::{CrossOrigin, Preflight};

use crate::visit::text;

/// How long a browser may keep the answer to a preflight, in seconds.
const MAX_AGE: &str = "600";

/// What becomes of a preflight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Preflighted {
    /// The door answers for this app.
    Answered,
    /// The app answers; nobody is asked who is asking.
    ForApp,
    /// The app lists origins, and this is none of them.
    ForeignOrigin,
    /// Nobody has said that other origins may call this app.
    NotConfigured,
}

/// What becomes of a preflight for something with these settings.
pub(crate) fn preflight(cors: &CrossOrigin, request: &CanonicalRequest) -> Preflighted {
    let origin = text(request.fields(), "origin");
    match cors.preflight {
        Preflight::App => Preflighted::ForApp,
        Preflight::Door if cors.origins.is_empty() => Preflighted::NotConfigured,
        Preflight::Door if origin.is_some_and(|origin| cors.origins.contains(origin)) => Preflighted::Answered,
        Preflight::Door => Preflighted::ForeignOrigin,
    }
}

/// The method a preflight asks for, by which its route is found.
pub(crate) fn requested_method(request: &CanonicalRequest) -> Option<&str> {
    request.is_preflight().then(|| text(request.fields(), "access-control-request-method")).flatten()
}

/// The fields of the answer to a preflight, beside those of [`let_read`].
pub(crate) fn answer_preflight(cors: &CrossOrigin, headers: &mut HeaderMap) {
    let list = |members: &std::collections::BTreeSet<String>| {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        HeaderValue::try_from(members.join(", ")).ok()
    };
    let values = [
        (ACCESS_CONTROL_ALLOW_METHODS, list(&cors.methods)),
        (ACCESS_CONTROL_ALLOW_HEADERS, list(&cors.headers)),
        (ACCESS_CONTROL_MAX_AGE, Some(HeaderValue::from_static(MAX_AGE))),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Lets scripts of a listed `origin` read an answer, with the person's cookies; for every other origin nothing of an
/// app's own permission is left. An app that answers preflights itself answers here too.
pub(crate) fn let_read(cors: &CrossOrigin, origin: Option<&str>, headers: &mut HeaderMap) {
    if cors.origins.is_empty() || cors.preflight == Preflight::App {
        return;
    }
    vary(headers);
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    let listed = origin.filter(|origin| cors.origins.contains(*origin));
    if let Some(origin) = listed.and_then(|origin| HeaderValue::try_from(origin).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Lets scripts of a listed origin read a refusal of the door, also where the app answers preflights itself: the app
/// has no part in it.
pub(crate) fn let_read_refusal(cors: &CrossOrigin, origin: Option<&str>, headers: &mut HeaderMap) {
    let_read(&CrossOrigin { preflight: Preflight::Door, ..cors.clone() }, origin, headers);
}

/// Adds `Origin` to `Vary` without losing what the app said.
fn vary(headers: &mut HeaderMap) {
    const ORIGIN: HeaderName = http::header::ORIGIN;
    let names_origin = headers.get_all(VARY).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(ORIGIN.as_str().as_bytes())
        })
    });
    if !names_origin {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}
