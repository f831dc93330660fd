//! A judged request for one of our own endpoints, answered in process.
//!
//! Invariants: only `enforce` makes one, after an ALLOW whose record is kept; what was withdrawn while the body came is not
//! answered; the endpoint sees the canonical request, our cookies, and nothing a client says about who it is or where it
//! comes from.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_gate::CanonicalRequest;
use model::record::{AuditRecord, EndCause};
use model::seams::ReservedContext;
use model::{AccessRequest, Effect, Principal, Reason, Session, Timestamp, UserState};

use crate::completion::{Completion, PendingCompletion};
use crate::fact_builder::{self, LocalTime};
use crate::gateway::Gateway;
use crate::refusal::{Refusal, Visit};

/// The largest body our own endpoints take before authentication (GW-83).
pub const BODY_MAX_ANONYMOUS: u64 = 64 * 1024;
/// The largest body they take from a signed-in person where the route names no limit: a configuration to apply.
pub const BODY_MAX_SIGNED_IN: u64 = 4 * 1024 * 1024;

/// A request that one of our own endpoints answers.
pub struct ReservedCall {
    pub(crate) request: CanonicalRequest,
    pub(crate) context: ReservedContext,
    pub(crate) max_body_bytes: u64,
    pub(crate) visit: Visit,
    pub(crate) completion: PendingCompletion,
    pub(crate) verdict: Verdict,
}

/// The ALLOW a call rests on. A body may take its time, and a withdrawal finds no stream of ours to cut.
pub(crate) struct Verdict {
    pub(crate) question: AccessRequest,
    /// See `StreamTable::generation`; read before the facts were.
    pub(crate) generation: u64,
    pub(crate) hold_until: Timestamp,
}

impl Verdict {
    /// Whether it is still ALLOW; with the session as it is now.
    fn still_holds(&self, gateway: &Gateway, session: &mut Option<Arc<Session>>) -> bool {
        let now = gateway.now();
        if let Some(known) = session {
            let Some(live) = gateway.sessions.session(known.id, now) else { return false };
            *known = live;
        }
        if gateway.streams.generation() == self.generation && now < self.hold_until {
            return true;
        }
        let snapshot = gateway.snapshot();
        if let Principal::User(id) = &self.question.principal
            && snapshot.directory.users.get(id).is_none_or(|user| user.state != UserState::Active)
        {
            return false;
        }
        let name = &self.question.resource.app;
        let Some(app) = snapshot.apps.iter().find(|app| app.name == *name) else { return false };
        let clock = LocalTime { now, zone: &snapshot.time_zone, app };
        let question = fact_builder::refresh(self.question.clone(), session.as_deref(), clock);
        // A panic while judging is a refusal.
        let effect = catch_unwind(AssertUnwindSafe(|| snapshot.pdp.decide(&question, now).effect));
        effect.is_ok_and(|effect| effect == Effect::Allow)
    }
}

impl ReservedCall {
    /// The canonical request: its framing says whether a body follows.
    pub fn request(&self) -> &CanonicalRequest {
        &self.request
    }

    /// What the endpoint will know.
    pub fn context(&self) -> &ReservedContext {
        &self.context
    }

    /// How many body bytes to read at most; send [`Self::too_large`] beyond it, without reading on (ATK-11).
    pub fn max_body_bytes(&self) -> u64 {
        self.max_body_bytes
    }

    /// Calls the endpoint with the whole body, if the answer that let the request in still stands. The response is
    /// complete; send it as it is.
    pub async fn answer(mut self, body: Bytes) -> Response<Bytes> {
        let bytes_in = body.len() as u64;
        let gateway = Arc::clone(self.completion.gateway());
        if !self.verdict.still_holds(&gateway, &mut self.context.session) {
            return self.withdrawn(bytes_in);
        }
        let service = std::sync::Arc::clone(self.completion.gateway().reserved());
        let mut response = match to_http(&self.request, &self.context, body) {
            Some(request) => service.call(request).await,
            None => self.visit.denied(Reason::Internal, &crate::refusal::Detail::default()).into_response(),
        };
        for (name, value) in self.visit.response_headers() {
            response.headers_mut().insert(name, value);
        }
        let completion = Completion {
            status: Some(response.status().as_u16()),
            end_cause: EndCause::Closed,
            ..Completion::ended(EndCause::Closed)
        };
        self.completion.send(completion, bytes_in, response.body().len() as u64);
        response
    }

    /// The answer to a request whose permission went away while its body came.
    fn withdrawn(mut self, bytes_in: u64) -> Response<Bytes> {
        let refusal = self.visit.denied(Reason::SessionRevoked, &crate::refusal::Detail::default());
        let status = Some(refusal.status().as_u16());
        let completion = Completion { status, ..Completion::ended(EndCause::Revoked) };
        self.completion.send(completion, bytes_in, refusal.body().len() as u64);
        refusal.into_response()
    }

    /// The answer to a body beyond [`Self::max_body_bytes`].
    pub fn too_large(mut self) -> Refusal {
        let refusal = self.visit.failed(Reason::TooLarge, &format!("at most {} bytes", self.max_body_bytes));
        let completion =
            Completion { status: Some(StatusCode::PAYLOAD_TOO_LARGE.as_u16()), ..Completion::ended(EndCause::Refused) };
        self.completion.send(completion, 0, refusal.body().len() as u64);
        refusal
    }

    pub(crate) fn arm(&mut self, record: AuditRecord) {
        self.completion.arm(std::sync::Arc::new(record));
    }
}

impl Drop for ReservedCall {
    fn drop(&mut self) {
        self.completion.send(Completion::ended(EndCause::ClientAbort), 0, 0);
    }
}

/// The request for the router: canonical target, the client's remaining headers, our cookies.
fn to_http(request: &CanonicalRequest, context: &ReservedContext, body: Bytes) -> Option<Request<Bytes>> {
    let uri = Uri::builder()
        .scheme("https")
        .authority(context.authority.as_str())
        .path_and_query(request.target())
        .build()
        .ok()?;
    let mut built = Request::builder().method(request.method()).uri(uri).body(body).ok()?;
    let headers = built.headers_mut();
    for field in request.fields() {
        let name = HeaderName::from_bytes(field.name().as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(field.value().clone()).ok()?);
    }
    headers.insert(HOST, HeaderValue::try_from(context.authority.as_str()).ok()?);
    headers.remove(COOKIE);
    if let Some(cookies) = request.credentials().to_cookie_header() {
        headers.insert(COOKIE, cookies);
    }
    built.extensions_mut().insert(context.clone());
    Some(built)
}
