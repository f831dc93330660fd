//! Requests that another site's page makes in a person's name (GW-39, ID-60, ATK-44).

use http_gate::CanonicalRequest;
use model::App;
use model::app::CrossOrigin;

use crate::visit::text;

/// Whether `Origin` lets a WebSocket open: the same origin, or one the app names. With a cookie for a credential, no
/// origin is a foreign one; so is a doubled one.
pub(super) fn lets_websocket_open(request: &CanonicalRequest, app: &App, own_origin: &str) -> bool {
    match text(request.fields(), "origin") {
        Some(origin) => origin == own_origin || app.websocket_origins.contains(origin),
        None => false,
    }
}

/// How strictly cross-site requests are met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CrossSite {
    /// As the app expects them (ID-60 default).
    Allowed,
    /// Unsafe methods from another site are refused, but for origins the app lists.
    WritesRefused,
    /// Unsafe methods from another *origin* are refused: our own endpoints.
    OwnOriginOnly,
}

/// Whether a request is a write made by another site's page. Callers that are no browser send neither header.
pub(super) fn is_foreign_write(
    request: &CanonicalRequest,
    cors: &CrossOrigin,
    own_origin: &str,
    rule: CrossSite,
) -> bool {
    let is_safe = matches!(request.method(), "GET" | "HEAD" | "OPTIONS");
    if is_safe || rule == CrossSite::Allowed {
        return false;
    }
    let fields = request.fields();
    let is_listed = |origin: &str| rule == CrossSite::WritesRefused && cors.origins.contains(origin);
    if fields.contains("origin") {
        match text(fields, "origin") {
            Some(origin) if origin == own_origin => return false,
            Some(origin) if is_listed(origin) => return false,
            // A sibling host of the same site: the app's business, never ours.
            Some(_) if rule == CrossSite::WritesRefused => {
                return text(fields, "sec-fetch-site") != Some("same-site");
            }
            _ => return true,
        }
    }
    match text(fields, "sec-fetch-site") {
        Some("same-origin" | "none") => false,
        Some("same-site") => rule == CrossSite::OwnOriginOnly,
        Some(_) => true,
        None => fields.contains("sec-fetch-site"),
    }
}
