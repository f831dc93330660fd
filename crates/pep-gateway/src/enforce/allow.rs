//! What follows an ALLOW: a permit for the upstream, or a call of one of our own endpoints.
//!
//! Invariant: the stream is in the table before anything else is prepared.

use std::sync::Arc;

use http::header::FORWARDED;
use http::{HeaderName, HeaderValue};
use http_gate::CanonicalRequest;
use http_gate::client_address::forwarded;
use model::seams::ReservedContext;
use model::{AccessRequest, App, AppName, Decision, Effect, Principal, Reason, Timestamp, TokenHash, Upstream};

use super::case::{Case, Goal};
use super::standing::Standing;
use super::{Judged, Outcome};
use crate::assertion::{self, Subject, Who};
use crate::completion::PendingCompletion;
use crate::permit::Permit;
use crate::refusal::{self, Detail};
use crate::reserved_call::{BODY_MAX_ANONYMOUS, BODY_MAX_SIGNED_IN, ReservedCall, Verdict};
use crate::routing::RoutedRoute;
use crate::streams::{Opening, StreamGuard};
use crate::unsigned_headers::{self, Told};

impl Case<'_> {
    /// ALLOW for an app: the stream first, then everything that goes with it.
    pub(super) fn forward(
        self,
        request: CanonicalRequest,
        goal: &Goal,
        (routed, upstream): (&RoutedRoute, &Arc<Upstream>),
        standing: &Standing,
        question: AccessRequest,
        decision: &Decision,
    ) -> Judged {
        let Some(stream) = self.open_stream(&request, goal, standing, question, decision) else {
            let refusal = self.visit.denied(Reason::FactsStale, &Detail::default());
            return self.refused(Effect::Deny, Reason::FactsStale, refusal);
        };
        let upstream_authority = upstream.host.clone().unwrap_or_else(|| self.authority.clone());
        let signed = match self.assertion(&request, goal, standing, decision, &upstream_authority) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(%error, "no assertion can be signed; the request is refused");
                return self.internal();
            }
        };
        if let Standing::Person { session, .. } = standing {
            self.gateway.sessions.touch(session.id, self.now);
        }
        let token = signed.as_ref().map(|signed| signed.token.as_ref());
        let mut upstream_headers = self.upstream_headers(&request, &goal.app, token);
        let told = match standing {
            Standing::Nobody(_) => None,
            Standing::Person { user, .. } => Some(Told::person(user)),
            Standing::Service { service, .. } => Some(Told::service(service)),
        };
        if let Some(told) = told.filter(|_| !goal.is_public) {
            match unsigned_headers::fields(&goal.app, &told) {
                Ok(fields) => upstream_headers.extend(fields),
                Err(error) => {
                    tracing::warn!(%error, request = %self.visit.access, app = %goal.app.name, "a request is refused");
                    return self.unsayable();
                }
            }
        }
        let jti = signed.map(|signed| signed.jti);
        let permit = Permit {
            request,
            app: Arc::clone(&goal.app),
            max_body_bytes: routed.route.max_body_bytes,
            upstream: Arc::clone(upstream),
            upstream_authority,
            upstream_headers,
            response_headers: self.visit.response_headers(),
            visit: self.visit.clone(),
            stream,
            completion: PendingCompletion::new(self.gateway, self.now, jti),
        };
        self.closed(Outcome::Forward(Box::new(permit)))
    }

    /// The stream, unless the right to it was withdrawn while it was judged.
    fn open_stream(
        &self,
        request: &CanonicalRequest,
        goal: &Goal,
        standing: &Standing,
        question: AccessRequest,
        decision: &Decision,
    ) -> Option<StreamGuard> {
        let (session, service, hold_until) = match standing {
            Standing::Nobody(_) => (None, None, decision.hold_until),
            Standing::Person { session, .. } => (Some(session.id), None, decision.hold_until),
            Standing::Service { proof, ends, .. } => (None, Some(*proof), decision.hold_until.min(*ends)),
        };
        let stream = self.gateway.streams.register(Opening {
            access: self.visit.access,
            protocol: self.connection.protocol,
            is_websocket: request.is_websocket(),
            session,
            service,
            client: self.client.ip(),
            host: request.host().name().to_owned(),
            routed_path: goal.routed_path.clone(),
            question,
            max_staleness: goal.app.max_staleness,
            hold_until,
            opened: self.now,
        });
        if self.gateway.streams.generation() != self.generation {
            stream.judge_again();
        }
        (!stream.is_cut()).then_some(stream)
    }

    /// Who asks, signed for this request. Public paths and nobody get none (GW-6).
    fn assertion(
        &self,
        request: &CanonicalRequest,
        goal: &Goal,
        standing: &Standing,
        decision: &Decision,
        authority: &str,
    ) -> Result<Option<assertion::Signed>, pki::jose::KeyError> {
        let who = match standing {
            Standing::Nobody(_) => return Ok(None),
            Standing::Person { session, user } => Who::Person { user, session },
            Standing::Service { service, proof, .. } => Who::Service { service, token: proof.token },
        };
        if goal.is_public || !goal.app.assertion.is_enabled {
            return Ok(None);
        }
        let subject = Subject {
            issuer: &self.gateway.settings.auth_url,
            app: goal.app.name.as_str(),
            settings: &goal.app.assertion,
            who,
            decision,
            decision_id: self.visit.decision,
            trace_id: &self.trace.trace_id,
            method: request.method(),
            authority,
            target: &request.target(),
        };
        self.gateway.assertions.make(&subject, self.gateway.ids.as_ref(), self.now).map(Some)
    }

    /// What only we may say to the app; the serialiser lets each replace what the client sent under its name.
    fn upstream_headers(
        &self,
        request: &CanonicalRequest,
        app: &App,
        assertion: Option<&str>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let scheme = if self.visit.is_tls { "https" } else { "http" };
        let values = [
            (HeaderName::from_static("x-forwarded-for"), self.client.ip().to_string()),
            (HeaderName::from_static("x-forwarded-proto"), scheme.to_owned()),
            (HeaderName::from_static("x-forwarded-host"), self.authority.clone()),
            (HeaderName::from_static("traceparent"), self.trace.to_header()),
            (refusal::REQUEST_ID, self.visit.access.to_string()),
            (refusal::DECISION, self.visit.decision.to_string()),
        ];
        let assertion = assertion.map(|token| (HeaderName::from_static(assertion::HEADER), token.to_owned()));
        // The vendors' part of a trace that is not continued belongs to the other trace (Trace Context §3.5).
        let is_foreign_state = !self.connection.is_client_trusted() && request.fields().contains("tracestate");
        let no_state = is_foreign_state.then(|| (HeaderName::from_static("tracestate"), String::new()));
        let forwarded = app.sends_forwarded.then(|| forwarded(self.client.ip(), scheme, &self.authority)).flatten();
        values
            .into_iter()
            .chain(assertion)
            .chain(no_state)
            .filter_map(|(name, value)| {
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(name == assertion::HEADER);
                Some((name, value))
            })
            .chain(forwarded.map(|value| (FORWARDED, value)))
            .collect()
    }

    /// ALLOW for one of our own endpoints.
    pub(super) fn reserve(
        self,
        request: CanonicalRequest,
        (max_body_bytes, on_app): (Option<u64>, Option<AppName>),
        standing: Standing,
        (question, hold_until): (AccessRequest, Timestamp),
    ) -> Judged {
        let (principal, session, limit) = match standing {
            Standing::Nobody(_) => (Principal::Anonymous, None, BODY_MAX_ANONYMOUS),
            Standing::Service { service, .. } => (Principal::Workload(service.principal()), None, BODY_MAX_ANONYMOUS),
            Standing::Person { session, user } => {
                self.gateway.sessions.touch(session.id, self.now);
                (Principal::User(user.id), Some(session), max_body_bytes.unwrap_or(BODY_MAX_SIGNED_IN))
            }
        };
        let context = ReservedContext {
            access_id: self.visit.access,
            decision_id: self.visit.decision,
            trace_id: Arc::clone(&self.trace.trace_id),
            principal,
            session,
            login_binding: request.credentials().login.once().map(|secret| TokenHash::of(secret.expose())),
            host: request.host().name().to_owned(),
            authority: self.authority.clone(),
            client: self.client,
            app: on_app,
            now: self.now,
        };
        let call = ReservedCall {
            request,
            context,
            max_body_bytes: limit,
            visit: self.visit.clone(),
            completion: PendingCompletion::new(self.gateway, self.now, None),
            verdict: Verdict { question, generation: self.generation, hold_until },
        };
        self.closed(Outcome::Reserved(Box::new(call)))
    }
}
