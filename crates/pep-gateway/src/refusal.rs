//! Refusals: the same no in the tongue of whoever asked (GW-8, GW-9, GW-16, GW-18, ; RFC 9457, RFC 9470).
//!
//! Invariants: a refusal is never 2xx and never cached; it shows no token and nothing of the input unescaped; only a
//! top-level navigation is redirected, and only to the auth host; a script of another site can read a 401 only if the
//! app lists its origin.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_gate::GateRefusal;
use model::app::Explain;
use model::decision::FixKind;
use model::remedy::Languages;
use model::{AccessId, DecisionId, Fix, Reason, RemedyList};

mod challenge;
mod failed_facts;
mod page;
mod problem;

use problem::Extra;

use crate::cross_origin;
pub(crate) use crate::visit::{Caller, Visit};

/// One year (GW-76).
const HSTS: &str = "max-age=31536000";
/// When to come back after 503.
const RETRY_AFTER_SECS: &str = "5";
/// The request id header, to app and client (GW-34).
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The decision id header, to app and client (GW-34).
pub(crate) const DECISION: HeaderName = HeaderName::from_static("x-countersign-decision");

/// A finished answer that says no.
pub struct Refusal {
    response: Response<Bytes>,
    reason: Reason,
    access: AccessId,
    closes: bool,
}

/// Where a person signs in or confirms, and the cookie that ties the round trip to this browser.
#[derive(Clone, Debug)]
pub(crate) struct WayBack {
    pub(crate) url: String,
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// What a refused person may read beside the sentence (GW-16, PO-11).
#[derive(Clone, Default)]
pub(crate) struct Detail {
    /// Replaces the reason's own sentence.
    pub(crate) sentence: Option<String>,
    /// Policies, for administrators of an app with `explain: full`.
    pub(crate) policies: Vec<String>,
    /// What would mend it.
    pub(crate) fix: Vec<Fix>,
    /// The facts those remedies would change, as they are now.
    pub(crate) facts: Vec<FailedFact>,
    /// The operators' words about remedies.
    pub(crate) remedies: Arc<RemedyList>,
    /// What the person reads.
    pub(crate) languages: Languages,
}

impl Detail {
    /// What is told about a part of the fix, in the person's language.
    fn text(&self, fix: &Fix) -> &str {
        self.remedies.text(fix.remedy, &self.languages)
    }

    /// Where a part of the fix is done that no ceremony of ours does.
    fn page(&self, fix: &Fix) -> Option<&str> {
        self.remedies.page(fix.remedy).filter(|_| fix.remedy.kind() != FixKind::Auth)
    }
}

pub(crate) use failed_facts::{FailedFact, failed_facts};

impl Refusal {
    /// The response to send, as it is.
    pub fn into_response(self) -> Response<Bytes> {
        self.response
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The access it belongs to.
    pub fn access_id(&self) -> AccessId {
        self.access
    }

    /// True after malformed bytes: an HTTP/1.1 connection is closed behind the answer (GW-65).
    pub fn closes_connection(&self) -> bool {
        self.closes
    }
}

/// The answer to bytes the gate refused: code and offset, nothing of the input (GW-65).
pub(crate) fn gate(refusal: &GateRefusal, access: AccessId, decision: DecisionId) -> Refusal {
    let mut response = Response::new(Bytes::from(refusal.problem_json()));
    *response.status_mut() = refusal.status();
    *response.headers_mut() = refusal.headers();
    common_headers(&mut response, access, decision);
    Refusal { response, reason: Reason::Gate, access, closes: true }
}

impl Visit {
    /// Nobody is signed in, or no longer.
    pub(crate) fn login(&self, reason: Reason, way: &WayBack) -> Refusal {
        let mut refusal = match self.caller {
            Caller::Navigation => self.redirect(reason, way),
            Caller::Frame => self.framed_login(reason, way),
            Caller::Form => self.login_page(reason, way),
            Caller::Code | Caller::WebSocket => {
                let extra = Extra { login_url: Some(&way.url), ..Extra::default() };
                let mut refusal = self.problem(StatusCode::UNAUTHORIZED, reason, extra);
                put(&mut refusal.response, WWW_AUTHENTICATE, "Countersign");
                refusal
            }
        };
        self.set_cookie(&mut refusal, way);
        refusal
    }

    /// What a machine presented is not taken: JSON without a way to sign in, because nobody is there to go it (GW-52).
    pub(crate) fn credential(&self, reason: Reason) -> Refusal {
        let mut refusal = self.problem(status_of(reason), reason, Extra::default());
        if refusal.status() == StatusCode::UNAUTHORIZED {
            put(&mut refusal.response, WWW_AUTHENTICATE, "Countersign");
        }
        refusal
    }

    /// An answer that no sign-in would change.
    pub(crate) fn denied(&self, reason: Reason, detail: &Detail) -> Refusal {
        let status = status_of(reason);
        if self.tells_only_no(reason) {
            return Refusal { reason, ..self.bare() };
        }
        match self.caller {
            Caller::Code | Caller::WebSocket => {
                let sentence = detail.sentence.as_deref();
                self.problem(status, reason, Extra { sentence, detail: Some(detail), ..Extra::default() })
            }
            Caller::Form | Caller::Frame | Caller::Navigation => self.denied_page(status, reason, detail),
        }
    }

    /// Allowed once the person has done the whole set. What a sign-in page can drive is 401 with its challenge for code
    /// (RFC 9470 §3); a set without such a part is 403 (GW-18).
    pub(crate) fn step_up(&self, reason: Reason, detail: &Detail, way: &WayBack) -> Refusal {
        let has_ceremony = detail.fix.iter().any(|fix| fix.remedy.kind() == FixKind::Auth);
        let mut refusal = match self.caller {
            Caller::Code | Caller::WebSocket => {
                let status = if has_ceremony { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
                let extra = Extra { detail: Some(detail), fix_url: Some(&way.url), ..Extra::default() };
                let mut refusal = self.problem(status, reason, extra);
                if let Some(challenge) = challenge::insufficient_user_authentication(reason, &detail.fix) {
                    put(&mut refusal.response, WWW_AUTHENTICATE, &challenge);
                }
                refusal
            }
            Caller::Form | Caller::Frame | Caller::Navigation => self.step_up_page(reason, detail, &way.url),
        };
        if has_ceremony {
            self.set_cookie(&mut refusal, way);
        }
        refusal
    }

    /// Nothing is served under this name. The name is not repeated (GW-3).
    pub(crate) fn misdirected(&self) -> Refusal {
        self.problem(StatusCode::MISDIRECTED_REQUEST, Reason::UnknownHost, Extra::default())
    }

    /// The answer to a preflight of a listed origin (GW-10).
    pub(crate) fn preflight(&self) -> Refusal {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        cross_origin::answer_preflight(&self.cors, response.headers_mut());
        cross_origin::let_read(&self.cors, self.origin.as_deref(), response.headers_mut());
        self.finish(response, Reason::AllowPublic)
    }

    /// No route, or no such endpoint of ours.
    pub(crate) fn not_found(&self) -> Refusal {
        let (status, sentence) = (StatusCode::NOT_FOUND, "Nothing is served at this address.");
        match self.caller {
            Caller::Code | Caller::WebSocket => {
                self.problem(status, Reason::NotPermitted, Extra { sentence: Some(sentence), ..Extra::default() })
            }
            Caller::Form | Caller::Frame | Caller::Navigation => self.not_found_page(status, sentence),
        }
    }

    /// The upstream or a limit failed after the decision.
    pub(crate) fn failed(&self, reason: Reason, what: &str) -> Refusal {
        let sentence = format!("{} ({what})", reason.sentence());
        self.denied(reason, &Detail { sentence: Some(sentence), ..Detail::default() })
    }

    /// Whether the answer says no and nothing more: an app that explains nothing, to somebody no remedy was offered to
    /// (GW-16, PO-11). What is not about the person, such as an upstream that is down, is always said.
    fn tells_only_no(&self, reason: Reason) -> bool {
        let explains = self.app.as_ref().is_some_and(|app| app.explain != Explain::None);
        let was_offered = matches!(
            reason,
            Reason::GrantRequired
                | Reason::StepUpDevice
                | Reason::StepUpLoop
                | Reason::StepUpMfa
                | Reason::StepUpRequired
        );
        !explains && !was_offered && status_of(reason) == StatusCode::FORBIDDEN
    }

    /// No, and nothing more: the same bytes whether there is something or not, the ids of the record apart.
    pub(crate) fn bare(&self) -> Refusal {
        match self.caller {
            Caller::Code | Caller::WebSocket => {
                self.problem(StatusCode::FORBIDDEN, Reason::NotPermitted, Extra { is_bare: true, ..Extra::default() })
            }
            Caller::Form | Caller::Frame | Caller::Navigation => self.bare_page(),
        }
    }

    fn redirect(&self, reason: Reason, way: &WayBack) -> Refusal {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        put(&mut response, LOCATION, &way.url);
        put(&mut response, http::header::REFERRER_POLICY, "no-referrer");
        self.finish(response, reason)
    }

    fn set_cookie(&self, refusal: &mut Refusal, way: &WayBack) {
        if let Some(cookie) = &way.set_cookie {
            refusal.response.headers_mut().insert(SET_COOKIE, cookie.clone());
        }
    }

    fn finish(&self, mut response: Response<Bytes>, reason: Reason) -> Refusal {
        common_headers(&mut response, self.access, self.decision);
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            put(&mut response, http::header::RETRY_AFTER, RETRY_AFTER_SECS);
        }
        if self.sends_hsts() {
            put(&mut response, http::header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Refusal { response, reason, access: self.access, closes: false }
    }

    /// Headers that every forwarded response gets.
    pub(crate) fn response_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(3);
        let ids = [(REQUEST_ID, self.access.to_string()), (DECISION, self.decision.to_string())];
        for (name, id) in ids {
            if let Ok(value) = HeaderValue::try_from(id) {
                headers.push((name, value));
            }
        }
        if self.sends_hsts() {
            headers.push((http::header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS)));
        }
        headers
    }
}

/// The status of a refusal that no sign-in would change.
fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::AuditUnavailable | Reason::FactsStale | Reason::Internal | Reason::PdpUnreachable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::CredentialsAmbiguous | Reason::Gate => StatusCode::BAD_REQUEST,
        Reason::CredentialInvalid => StatusCode::UNAUTHORIZED,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Reason::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
        Reason::UpstreamDown => StatusCode::SERVICE_UNAVAILABLE,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::FORBIDDEN,
    }
}

fn common_headers(response: &mut Response<Bytes>, access: AccessId, decision: DecisionId) {
    put(response, CACHE_CONTROL, "no-store");
    put(response, http::header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(response, REQUEST_ID, &access.to_string());
    put(response, DECISION, &decision.to_string());
}

/// Sets a header. A value that no header can hold is left out; nothing of the input comes this way unencoded.
fn put(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
