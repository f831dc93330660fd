//! Refusals: the same no in the tongue of whoever asked (GW-8, GW-9, GW-16, GW-18, ; RFC 9457, RFC 9470).
//!
//! Invariants: a refusal is never 2xx and never cached; it shows no token and nothing of the input unescaped; only a
//! top-level navigation is redirected, and only to the auth host; a script of another site can read a 401 only if the
//! app lists its origin.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_gate::GateRefusal;
use model::app::Explain;
use model::{AccessId, DecisionId, Fix, Reason};
use serde::Serialize;

pub(crate) use crate::visit::{Caller, Visit};

/// One year (GW-76).
const HSTS: &str = "max-age=31536000";
/// When to come back after 503.
const RETRY_AFTER_SECS: &str = "5";
/// JSON answers load nothing.
const JSON_CSP: &str = "default-src 'none'; frame-ancestors 'none'";
const PROBLEM_JSON: &str = "application/problem+json";
const ACCESS_CONTROL_ALLOW_ORIGIN: HeaderName = http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
const ACCESS_CONTROL_ALLOW_CREDENTIALS: HeaderName = http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
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

/// What a refused person may read beside the sentence.
#[derive(Clone, Default)]
pub(crate) struct Detail {
    /// Replaces the reason's own sentence.
    pub(crate) sentence: Option<String>,
    /// Policies, for administrators of an app with `explain: full`.
    pub(crate) policies: Vec<String>,
}

/// RFC 9457 with our members.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<&'a str>,
    request: String,
    decision: String,
    trace: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fix: Vec<FixMember<'a>>,
}

#[derive(Serialize)]
struct FixMember<'a> {
    kind: &'static str,
    acr_values: Vec<&'a str>,
    max_age: i64,
    url: &'a str,
}

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
            Caller::Frame => {
                let page = pages::Frame { login_url: way.url.clone(), request_id: self.access.to_string() };
                let mut refusal = self.page(StatusCode::UNAUTHORIZED, reason, page.render());
                // This page is made to be framed; it holds one link and nothing that can be clicked by mistake.
                let csp = pages::CSP.replace("frame-ancestors 'none'; ", "");
                put(&mut refusal.response, http::header::CONTENT_SECURITY_POLICY, &csp);
                refusal
            }
            Caller::Form => {
                let fix = pages::FixLink { text: "Sign in".to_owned(), url: way.url.clone() };
                self.denied_page(StatusCode::UNAUTHORIZED, reason, &Detail::default(), vec![fix])
            }
            Caller::Code | Caller::WebSocket => {
                let mut refusal = self.problem(StatusCode::UNAUTHORIZED, reason, None, Some(&way.url), Vec::new());
                put(&mut refusal.response, WWW_AUTHENTICATE, "Countersign");
                refusal
            }
        };
        self.set_cookie(&mut refusal, way);
        refusal
    }

    /// An answer that no sign-in would change.
    pub(crate) fn denied(&self, reason: Reason, detail: &Detail) -> Refusal {
        let status = status_of(reason);
        match self.caller {
            Caller::Code | Caller::WebSocket => {
                self.problem(status, reason, detail.sentence.as_deref(), None, Vec::new())
            }
            Caller::Form | Caller::Frame | Caller::Navigation => self.denied_page(status, reason, detail, Vec::new()),
        }
    }

    /// Allowed once the person confirms (RFC 9470 §3 for code).
    pub(crate) fn step_up(&self, reason: Reason, fixes: &[Fix], detail: &Detail, way: &WayBack) -> Refusal {
        let mut refusal = match self.caller {
            Caller::Code | Caller::WebSocket => self.step_up_problem(reason, fixes, detail, way),
            Caller::Form | Caller::Frame | Caller::Navigation => {
                let link = |fix: &Fix| pages::FixLink { text: fix.remedy.text().to_owned(), url: way.url.clone() };
                let links = fixes.iter().map(link).collect();
                self.denied_page(StatusCode::FORBIDDEN, reason, detail, links)
            }
        };
        self.set_cookie(&mut refusal, way);
        refusal
    }

    /// Nothing is served under this name. The name is not repeated (GW-3).
    pub(crate) fn misdirected(&self) -> Refusal {
        self.problem(StatusCode::MISDIRECTED_REQUEST, Reason::UnknownHost, None, None, Vec::new())
    }

    /// No route, or no such endpoint of ours.
    pub(crate) fn not_found(&self) -> Refusal {
        let (status, reason, sentence) =
            (StatusCode::NOT_FOUND, Reason::NotPermitted, "Nothing is served at this address.");
        match self.caller {
            Caller::Code | Caller::WebSocket => self.problem(status, reason, Some(sentence), None, Vec::new()),
            Caller::Form | Caller::Frame | Caller::Navigation => {
                let page = pages::Notice {
                    heading: "Nothing here".to_owned(),
                    paragraphs: vec![sentence.to_owned()],
                    command: None,
                    links: Vec::new(),
                    request_id: Some(self.access.to_string()),
                };
                self.page(status, reason, page.render())
            }
        }
    }

    /// The upstream or a limit failed after the decision.
    pub(crate) fn failed(&self, reason: Reason, what: &str) -> Refusal {
        let sentence = format!("{} ({what})", reason.sentence());
        self.denied(reason, &Detail { sentence: Some(sentence), policies: Vec::new() })
    }

    fn redirect(&self, reason: Reason, way: &WayBack) -> Refusal {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        put(&mut response, LOCATION, &way.url);
        put(&mut response, http::header::REFERRER_POLICY, "no-referrer");
        self.finish(response, reason)
    }

    fn denied_page(&self, status: StatusCode, reason: Reason, detail: &Detail, fixes: Vec<pages::FixLink>) -> Refusal {
        let explain = self.app.as_ref().map_or(Explain::None, |app| app.explain);
        let is_bare = explain == Explain::None && fixes.is_empty();
        let facts = if detail.policies.is_empty() {
            Vec::new()
        } else {
            vec![pages::Fact { name: "Policies".to_owned(), value: detail.policies.join(", ") }]
        };
        let sentence = if is_bare { "You cannot open this." } else { self.sentence(reason, detail) };
        let heading = match (status, fixes.is_empty()) {
            (StatusCode::UNAUTHORIZED, _) => "Please sign in",
            (_, false) => "One more step",
            (status, true) if status.is_server_error() => "Not available right now",
            (_, true) => "You cannot open this",
        };
        let page = pages::Denied {
            heading: heading.to_owned(),
            app_title: self.app.as_ref().filter(|_| !is_bare).map(|app| app.title.clone()),
            sentence: sentence.to_owned(),
            facts,
            fixes,
            identity: self.identity.as_deref().map(str::to_owned),
            sign_out_url: format!("{}/logout", crate::routing::RESERVED_PREFIX),
            request_id: self.access.to_string(),
        };
        self.page(status, reason, page.render())
    }

    fn sentence<'a>(&self, reason: Reason, detail: &'a Detail) -> &'a str {
        match &detail.sentence {
            Some(sentence) => sentence,
            None => reason.sentence(),
        }
    }

    fn page(&self, status: StatusCode, reason: Reason, html: String) -> Refusal {
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        put(&mut response, CONTENT_TYPE, pages::HTML);
        for (name, value) in pages::PAGE_HEADERS {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        self.finish(response, reason)
    }

    fn step_up_problem(&self, reason: Reason, fixes: &[Fix], detail: &Detail, way: &WayBack) -> Refusal {
        let members = fixes
            .iter()
            .map(|fix| FixMember {
                kind: "auth",
                acr_values: fix.acr_values.split(' ').filter(|acr| !acr.is_empty()).collect(),
                max_age: fix.max_age_secs,
                url: &way.url,
            })
            .collect();
        let status = StatusCode::UNAUTHORIZED;
        let mut refusal = self.problem(status, reason, detail.sentence.as_deref(), None, members);
        if let Some(fix) = fixes.first() {
            let acr = fix.acr_values.replace(['"', '\\'], "");
            let challenge = format!(
                "Bearer error=\"insufficient_user_authentication\", error_description=\"{}\", acr_values=\"{acr}\", \
                 max_age=\"{}\"",
                reason.sentence(),
                fix.max_age_secs,
            );
            put(&mut refusal.response, WWW_AUTHENTICATE, &challenge);
        }
        refusal
    }

    fn problem(
        &self,
        status: StatusCode,
        reason: Reason,
        detail: Option<&str>,
        login_url: Option<&str>,
        fix: Vec<FixMember<'_>>,
    ) -> Refusal {
        let code = reason.problem_code();
        let is_bare =
            status == StatusCode::FORBIDDEN && self.app.as_ref().is_none_or(|app| app.explain == Explain::None);
        let (code, sentence) = if is_bare { ("denied", "You cannot do this.") } else { (code, reason.sentence()) };
        let problem = Problem {
            r#type: format!("urn:countersign:problem:{code}"),
            title: sentence,
            status: status.as_u16(),
            code,
            detail: detail.filter(|_| !is_bare).unwrap_or(sentence),
            login_url,
            request: self.access.to_string(),
            decision: self.decision.to_string(),
            trace: &self.trace_id,
            fix,
        };
        // Strings and numbers always have a JSON form; without one the answer is only less helpful.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        put(&mut response, CONTENT_TYPE, PROBLEM_JSON);
        put(&mut response, http::header::CONTENT_SECURITY_POLICY, JSON_CSP);
        if status == StatusCode::UNAUTHORIZED {
            self.let_scripts_read(&mut response);
        }
        self.finish(response, reason)
    }

    /// GW-9: a 401 that a script of a listed origin can read.
    fn let_scripts_read(&self, response: &mut Response<Bytes>) {
        let Some(app) = self.app.as_ref().filter(|app| !app.cors_origins.is_empty()) else {
            return;
        };
        put(response, VARY, "Origin");
        if let Some(origin) = self.origin.as_deref().filter(|origin| app.cors_origins.contains(*origin)) {
            put(response, ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            put(response, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
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
