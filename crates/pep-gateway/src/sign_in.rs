//! The way to the auth host and back (GW-11, GW-12; R-14): the sealed return ticket and the login-binding cookie.
//!
//! Invariants: the ticket names the host the door serves and a target of that host; it is bound to a secret only this
//! browser holds; nothing here signs anybody in.

use http::HeaderValue;
use http_gate::cookies::LOGIN_COOKIE;
use http_gate::{CanonicalRequest, Presented};
use model::{Action, App, Fix, SessionId, Timestamp, TokenHash};
use pki::return_ticket::{MAX_INLINE_TARGET_BYTES, ReturnTarget, ReturnTicket, is_local_target};
use pki::secret::random_token;
use pki::step_up_ticket::StepUpTicket;

use crate::gateway::Gateway;
use crate::refusal::WayBack;
use crate::visit::{Caller, text};

/// The way to the sign-in page.
pub(crate) fn to_login(gateway: &Gateway, asked: &Asked<'_>) -> WayBack {
    let url = format!("{}/login?app={}", gateway.settings.auth_url, asked.app.name);
    with_ticket(gateway, asked, url)
}

/// The way to the page where a person does what `fix` asks for, for `action` in this app alone. The demand goes
/// sealed: what the page asks for and what it notes as done is not read from the address (GW-17).
pub(crate) fn to_step_up(
    gateway: &Gateway,
    asked: &Asked<'_>,
    session: SessionId,
    action: Action,
    fix: &[Fix],
) -> WayBack {
    let mut url = format!("{}/step-up?app={}&action={action}", gateway.settings.auth_url, asked.app.name);
    let bare = |fix: &Fix| Fix { facts: Vec::new(), ..fix.clone() };
    let demand = StepUpTicket {
        session,
        app: asked.app.name.clone(),
        action,
        fix: fix.iter().map(bare).collect(),
        created: asked.now,
    };
    if let Ok(sealed) = demand.seal(&gateway.return_sealer, gateway.ids.as_ref()) {
        url.push_str("&demand=");
        url.push_str(&sealed);
    }
    with_ticket(gateway, asked, url)
}

/// What the way back is made of.
pub(crate) struct Asked<'a> {
    pub(crate) app: &'a App,
    pub(crate) request: &'a CanonicalRequest,
    /// The authority as browsers write it.
    pub(crate) authority: &'a str,
    pub(crate) caller: Caller,
    pub(crate) now: Timestamp,
}

/// Adds `rt`. Code gets one only in a browser that already has its login cookie: twenty fetches that each set another
/// one would undo each other (GW-11). Without `rt` the auth host leads to the app's front page.
fn with_ticket(gateway: &Gateway, asked: &Asked<'_>, mut url: String) -> WayBack {
    let (binding, set_cookie) = match &asked.request.credentials().login {
        Presented::Once(secret) => (TokenHash::of(secret.expose()), None),
        Presented::Absent | Presented::Ambiguous => {
            if matches!(asked.caller, Caller::Code | Caller::WebSocket) {
                return WayBack { url, set_cookie: None };
            }
            let secret = random_token(gateway.ids.as_ref());
            (TokenHash::of(secret.expose().as_bytes()), login_cookie(secret.expose()))
        }
    };
    let ticket = ReturnTicket {
        authority: asked.authority.to_owned(),
        target: return_target(gateway, asked),
        binding,
        created: asked.now,
    };
    if let Ok(sealed) = ticket.seal(&gateway.return_sealer, gateway.ids.as_ref()) {
        url.push_str("&rt=");
        url.push_str(&sealed);
    }
    WayBack { url, set_cookie }
}

/// Where to come back to: the page asked for, or, when it was no page, the page it was asked from.
fn return_target(gateway: &Gateway, asked: &Asked<'_>) -> ReturnTarget {
    let target = match asked.caller {
        Caller::Navigation | Caller::Frame => original_target(asked.request),
        Caller::Code | Caller::Form | Caller::WebSocket => referring_target(asked),
    };
    let target = Some(target).filter(|target| is_local_target(target)).unwrap_or_else(|| "/".to_owned());
    if target.len() <= MAX_INLINE_TARGET_BYTES {
        return ReturnTarget::Inline(target);
    }
    match gateway.reserved().park_target(&target, asked.now) {
        Some(key) => ReturnTarget::Parked(key),
        None => ReturnTarget::Inline("/".to_owned()),
    }
}

/// The target as the browser asked for it, before any rewrite.
fn original_target(request: &CanonicalRequest) -> String {
    match request.query() {
        Some(query) => format!("{}?{query}", request.original_path()),
        None => request.original_path().to_owned(),
    }
}

/// The path of a `Referer` of the same origin.
fn referring_target(asked: &Asked<'_>) -> String {
    text(asked.request.fields(), "referer")
        .and_then(|referer| referer.strip_prefix("https://"))
        .and_then(|rest| rest.strip_prefix(asked.authority))
        .filter(|target| target.starts_with('/'))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

/// Always `Secure`, whatever anybody says about the scheme (ATK-28).
fn login_cookie(secret: &str) -> Option<HeaderValue> {
    let mut cookie =
        HeaderValue::try_from(format!("{LOGIN_COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax")).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}
