//! One request on its way to a verdict. Synchronous from end to end: nothing here waits (rulings R-17).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use http_gate::{CanonicalRequest, GateRefusal, GateSettings, Presented, RawRequest};
use model::app::{CONTROL_APP, Explain};
use model::directory::ADMINS_GROUP;
use model::record::{AuditRecord, RecordType};
use model::seams::{Durability, ReservedContext};
use model::{
    AccessRequest, Action, App, AppName, Decision, Effect, Explanation, Principal, Reason, ResourceRef, Session,
    SessionLookup, Timestamp, TokenHash, UserEntry, UserState,
};

use super::origin::{self, CrossSite};
use super::{Judged, Outcome};
use crate::assertion::{self, Subject};
use crate::completion::PendingCompletion;
use crate::connection::ConnectionInfo;
use crate::fact_builder::{self, RequestView};
use crate::gateway::Gateway;
use crate::permit::Permit;
use crate::record;
use crate::refusal::{self, Caller, Detail, Refusal, Visit};
use crate::reserved_call::{BODY_MAX_ANONYMOUS, BODY_MAX_SIGNED_IN, ReservedCall};
use crate::routing::{self, HostEntry, Reserved, RoutedRoute};
use crate::sign_in::{self, Asked};
use crate::snapshot::GatewaySnapshot;
use crate::streams::{Opening, StreamGuard};
use crate::trace::Trace;

/// Policies can read the path of any request, and the door does not see which do, so `;` is always taken as ambiguous
/// unless the app opens it (GW-4).
const POLICIES_USE_PATHS: bool = true;

/// A request being judged.
pub(super) struct Case<'a> {
    gateway: &'a Arc<Gateway>,
    connection: &'a ConnectionInfo,
    snapshot: Arc<GatewaySnapshot>,
    generation: u64,
    now: Timestamp,
    trace: Trace,
    visit: Visit,
    record: AuditRecord,
    /// As browsers write it.
    authority: String,
}

/// Who is at the door.
enum Standing {
    /// Nobody, and what to tell them.
    Nobody(Reason),
    /// A person with a live session.
    Person { session: Arc<Session>, user: Arc<UserEntry> },
}

/// What is asked for.
struct Goal<'r> {
    app: Arc<App>,
    resource: ResourceRef,
    action: Action,
    is_public: bool,
    kind: GoalKind<'r>,
}

enum GoalKind<'r> {
    /// An app behind us.
    Upstream(&'r RoutedRoute, Arc<model::Upstream>),
    /// Ours.
    InProcess { max_body_bytes: Option<u64>, on_app: Option<AppName> },
}

impl<'a> Case<'a> {
    /// Reads the generation before anything that can be withdrawn, then the one snapshot.
    pub(super) fn begin(gateway: &'a Arc<Gateway>, raw: &RawRequest, connection: &'a ConnectionInfo) -> Self {
        let generation = gateway.streams.generation();
        let snapshot = gateway.snapshot.load_full();
        let now = gateway.now();
        let sent = crate::visit::text(raw.fields(), "traceparent");
        let trace = Trace::begin(sent, connection.is_peer_trusted, gateway.ids.as_ref());
        let visit = Visit {
            access: gateway.new_access_id(now),
            decision: gateway.new_decision_id(now),
            trace_id: Arc::clone(&trace.trace_id),
            caller: Caller::Code,
            origin: crate::visit::text(raw.fields(), "origin").map(Arc::from),
            app: None,
            identity: None,
            is_tls: connection.tls.is_some(),
        };
        let mut record = record::begin(RecordType::AccessDecision, visit.access, now, &trace, connection);
        record.decision.decision_id = Some(visit.decision);
        record::add_raw(&mut record, raw);
        record::add_nobody(&mut record);
        let authority = raw.host().authority(default_port(connection));
        Self { gateway, connection, snapshot, generation, now, trace, visit, record, authority }
    }

    /// The verdict.
    pub(super) fn judge(mut self, raw: RawRequest) -> Judged {
        let snapshot = Arc::clone(&self.snapshot);
        let is_our_port = raw.host().port_or(default_port(self.connection)) == self.connection.public_port;
        let Some(entry) = snapshot.routing.host(raw.host().name()).filter(|_| is_our_port) else {
            let refusal = self.visit.misdirected();
            return self.refused(Effect::Deny, Reason::UnknownHost, refusal);
        };
        self.visit.app = Some(Arc::clone(entry.first_app()));
        let settings = GateSettings {
            path: entry.path_settings(),
            has_path_rules: POLICIES_USE_PATHS,
            passes_odd_header_names: entry.passes_odd_header_names(),
            judges_method_override: entry.judges_method_override(),
            owned_names: &[],
        };
        match raw.canonicalise(&settings) {
            Ok(request) => self.judge_request(entry, request, &settings),
            Err(gate) => self.gate_refused(&gate),
        }
    }

    fn judge_request(mut self, entry: &HostEntry, request: CanonicalRequest, settings: &GateSettings<'_>) -> Judged {
        self.visit.caller = Caller::of(&request);
        record::add_request(&mut self.record, &request);
        let standing = self.standing(&request);
        let routed = entry.route(request.match_path(), request.method());
        let reserved = routing::reserved(request.match_path());
        if let (Some(routed), Reserved::No) = (routed, reserved) {
            self.visit.app = Some(Arc::clone(&routed.app));
        }
        let goal = match (reserved, routed) {
            (Reserved::Known, _) => reserved_goal(entry.first_app()),
            (Reserved::No, Some(routed)) => match self.app_goal(routed, &request) {
                Some(goal) => goal,
                None => return self.not_found(&standing, &request),
            },
            (Reserved::Unknown, _) | (Reserved::No, None) => return self.not_found(&standing, &request),
        };
        let request = match (&goal.kind, routed.and_then(|routed| routed.route.rewrite.as_ref())) {
            (GoalKind::Upstream(..), Some(rewrite)) => match request.rewritten(rewrite, settings) {
                Ok(request) => request,
                Err(gate) => return self.gate_refused(&gate),
            },
            _ => request,
        };
        record::add_request(&mut self.record, &request);
        record::add_resource(&mut self.record, &goal.app, &goal.resource, goal.action);
        if self.is_foreign(&request, &goal) {
            let refusal = self.visit.denied(Reason::OriginRefused, &Detail::default());
            return self.refused(Effect::Deny, Reason::OriginRefused, refusal);
        }
        self.ask(request, goal, standing)
    }

    /// Who the session cookie stands for. A cookie that is doubled, damaged or unknown here counts as absent, and the
    /// record says so (ID-55, ATK-48).
    fn standing(&mut self, request: &CanonicalRequest) -> Standing {
        let hash = match &request.credentials().session {
            Presented::Absent => return Standing::Nobody(Reason::LoginRequired),
            Presented::Ambiguous => {
                self.note("the session cookie came twice or damaged; counted as absent");
                return Standing::Nobody(Reason::LoginRequired);
            }
            Presented::Once(secret) => TokenHash::of(secret.expose()),
        };
        let session = match self.gateway.sessions.look_up(&hash, request.host().name(), self.now) {
            SessionLookup::Live(session) => session,
            SessionLookup::Expired => return Standing::Nobody(Reason::SessionExpired),
            SessionLookup::Revoked => return Standing::Nobody(Reason::SessionRevoked),
            SessionLookup::Unknown => {
                self.note(&format!("the session cookie {} is not known on this host", hash.prefix()));
                return Standing::Nobody(Reason::LoginRequired);
            }
        };
        match self.snapshot.directory.users.get(&session.user) {
            Some(user) if user.state == UserState::Active => {
                record::add_person(&mut self.record, &session, user);
                self.visit.identity = Some(Arc::from(user.email.as_str()));
                Standing::Person { session, user: Arc::clone(user) }
            }
            _ => Standing::Nobody(Reason::UserDisabled),
        }
    }

    fn note(&mut self, text: &str) {
        self.record.decision.reason_text = Some(Arc::from(text));
    }

    /// What a matched route asks for; `None` when its upstream is missing, which `config` rules out.
    fn app_goal<'r>(&self, routed: &'r RoutedRoute, request: &CanonicalRequest) -> Option<Goal<'r>> {
        let app = &routed.app;
        let kind = match &routed.upstream {
            _ if app.is_control_plane() => {
                GoalKind::InProcess { max_body_bytes: routed.route.max_body_bytes, on_app: None }
            }
            Some(upstream) => GoalKind::Upstream(routed, Arc::clone(upstream)),
            None => return None,
        };
        Some(Goal {
            resource: ResourceRef { app: app.name.clone(), route: Some(routed.route.name.clone()) },
            action: routed.route.action.unwrap_or_else(|| Action::of_http_method(request.method())),
            is_public: routing::is_public(app, request.method(), request.match_path()),
            app: Arc::clone(app),
            kind,
        })
    }

    fn is_foreign(&self, request: &CanonicalRequest, goal: &Goal<'_>) -> bool {
        let scheme = if self.visit.is_tls { "https" } else { "http" };
        let own_origin = format!("{scheme}://{}", self.authority);
        if request.is_websocket() {
            return !origin::lets_websocket_open(request, &goal.app, &own_origin);
        }
        let rule = match &goal.kind {
            GoalKind::InProcess { .. } => CrossSite::OwnOriginOnly,
            GoalKind::Upstream(..) if goal.app.refuses_cross_site_writes => CrossSite::WritesRefused,
            GoalKind::Upstream(..) => CrossSite::Allowed,
        };
        origin::is_foreign_write(request, &goal.app, &own_origin, rule)
    }

    fn ask(mut self, request: CanonicalRequest, goal: Goal<'_>, standing: Standing) -> Judged {
        let question = self.question(&request, &goal, &standing);
        let pdp = &self.snapshot.pdp;
        let Ok(mut decision) = catch_unwind(AssertUnwindSafe(|| pdp.decide(&question, self.now))) else {
            tracing::error!(access = %self.visit.access, "the policy engine panicked; the request is refused");
            let refusal = self.visit.denied(Reason::Internal, &Detail::default());
            return self.refused(Effect::Deny, Reason::Internal, refusal);
        };
        decision.eval_ns = u64::try_from(self.gateway.now().since(self.now).as_nanos()).unwrap_or(u64::MAX);
        record::add_decision(&mut self.record, &decision, self.snapshot.version);
        match (decision.effect, &goal.kind) {
            (Effect::Allow, GoalKind::Upstream(..)) => self.forward(request, goal, standing, question, decision),
            (Effect::Allow, GoalKind::InProcess { .. }) => self.reserve(request, goal, standing, &decision),
            (Effect::Deny | Effect::StepUp, _) => self.explain(&request, &goal, &standing, &question, &decision),
        }
    }

    fn question(&self, request: &CanonicalRequest, goal: &Goal<'_>, standing: &Standing) -> AccessRequest {
        let view = RequestView {
            method: request.method(),
            host: request.host().name(),
            path: request.match_path(),
            original_path: request.original_path(),
            route: goal.resource.route.as_ref().map_or("", |route| route.as_str()),
            is_websocket: request.is_websocket(),
            headers: fact_builder::context_headers(request, &goal.app),
            door: self.record.door,
        };
        let (principal, session) = match standing {
            Standing::Nobody(_) => (Principal::Anonymous, None),
            Standing::Person { session, user } => (Principal::User(user.id), Some(session.as_ref())),
        };
        let signed_in = session.map(|session| (session, &goal.resource.app, goal.action));
        AccessRequest {
            principal,
            action: goal.action,
            resource: goal.resource.clone(),
            facts: fact_builder::build(view, self.connection, signed_in, self.now),
            is_public_path: goal.is_public,
            session_ends: session.map(Session::ends_at),
        }
    }

    /// ALLOW for an app: the stream first, then everything that goes with it.
    fn forward(
        self,
        request: CanonicalRequest,
        goal: Goal<'_>,
        standing: Standing,
        question: AccessRequest,
        decision: Decision,
    ) -> Judged {
        let GoalKind::Upstream(routed, upstream) = &goal.kind else {
            let refusal = self.visit.denied(Reason::Internal, &Detail::default());
            return self.refused(Effect::Deny, Reason::Internal, refusal);
        };
        let Some(stream) = self.open_stream(&request, &standing, question, &decision) else {
            let refusal = self.visit.denied(Reason::FactsStale, &Detail::default());
            return self.refused(Effect::Deny, Reason::FactsStale, refusal);
        };
        let upstream_authority = upstream.host.clone().unwrap_or_else(|| self.authority.clone());
        let signed = match self.assertion(&request, &goal, &standing, &decision, &upstream_authority) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(%error, "no assertion can be signed; the request is refused");
                let refusal = self.visit.denied(Reason::Internal, &Detail::default());
                return self.refused(Effect::Deny, Reason::Internal, refusal);
            }
        };
        if let Standing::Person { session, .. } = &standing {
            self.gateway.sessions.touch(session.id, self.now);
        }
        let upstream_headers = self.upstream_headers(signed.as_ref().map(|signed| signed.token.as_ref()));
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
        self.allowed(Outcome::Forward(Box::new(permit)), &decision, goal.action)
    }

    /// The stream, unless the right to it was withdrawn while it was judged.
    fn open_stream(
        &self,
        request: &CanonicalRequest,
        standing: &Standing,
        question: AccessRequest,
        decision: &Decision,
    ) -> Option<StreamGuard> {
        let session = match standing {
            Standing::Nobody(_) => None,
            Standing::Person { session, .. } => Some(session.id),
        };
        let stream = self.gateway.streams.register(Opening {
            access: self.visit.access,
            protocol: self.connection.protocol,
            is_websocket: request.is_websocket(),
            session,
            question,
            hold_until: decision.hold_until,
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
        goal: &Goal<'_>,
        standing: &Standing,
        decision: &Decision,
        authority: &str,
    ) -> Result<Option<assertion::Signed>, pki::jose::KeyError> {
        let Standing::Person { session, user } = standing else {
            return Ok(None);
        };
        if goal.is_public || !goal.app.assertion.is_enabled {
            return Ok(None);
        }
        let subject = Subject {
            issuer: &self.gateway.settings.auth_url,
            app: goal.app.name.as_str(),
            settings: &goal.app.assertion,
            user,
            session,
            decision,
            decision_id: self.visit.decision,
            trace_id: &self.trace.trace_id,
            method: request.method(),
            authority,
            target: &request.target(),
        };
        self.gateway.assertions.make(&subject, self.gateway.ids.as_ref(), self.now).map(Some)
    }

    /// What only we may say to the app: the gate has removed any of these that the client sent.
    fn upstream_headers(&self, assertion: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        let scheme = if self.visit.is_tls { "https" } else { "http" };
        let values = [
            (HeaderName::from_static("x-forwarded-for"), self.connection.client.ip().to_canonical().to_string()),
            (HeaderName::from_static("x-forwarded-proto"), scheme.to_owned()),
            (HeaderName::from_static("x-forwarded-host"), self.authority.clone()),
            (HeaderName::from_static("traceparent"), self.trace.to_header()),
            (refusal::REQUEST_ID, self.visit.access.to_string()),
            (refusal::DECISION, self.visit.decision.to_string()),
        ];
        let assertion = assertion.map(|token| (HeaderName::from_static(assertion::HEADER), token.to_owned()));
        values
            .into_iter()
            .chain(assertion)
            .filter_map(|(name, value)| {
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(name == assertion::HEADER);
                Some((name, value))
            })
            .collect()
    }

    /// ALLOW for one of our own endpoints.
    fn reserve(self, request: CanonicalRequest, goal: Goal<'_>, standing: Standing, decision: &Decision) -> Judged {
        let GoalKind::InProcess { max_body_bytes, on_app } = goal.kind else {
            let refusal = self.visit.denied(Reason::Internal, &Detail::default());
            return self.refused(Effect::Deny, Reason::Internal, refusal);
        };
        let (principal, session, limit) = match standing {
            Standing::Nobody(_) => (Principal::Anonymous, None, BODY_MAX_ANONYMOUS),
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
            client: self.connection.client,
            app: on_app,
            now: self.now,
        };
        let call = ReservedCall {
            request,
            context,
            max_body_bytes: limit,
            visit: self.visit.clone(),
            completion: PendingCompletion::new(self.gateway, self.now, None),
        };
        self.allowed(Outcome::Reserved(Box::new(call)), decision, goal.action)
    }

    /// DENY or STEP_UP, in the tongue of whoever asked.
    fn explain(
        self,
        request: &CanonicalRequest,
        goal: &Goal<'_>,
        standing: &Standing,
        question: &AccessRequest,
        decision: &Decision,
    ) -> Judged {
        let asked = self.asked(&goal.app, request);
        let user = match standing {
            // The way in itself is never answered by sending people to the way in.
            Standing::Nobody(reason) if goal.action.class() != model::ActionClass::Portal => {
                let refusal = self.visit.login(*reason, &sign_in::to_login(self.gateway, &asked));
                return self.refused(Effect::Deny, *reason, refusal);
            }
            Standing::Nobody(_) => None,
            Standing::Person { user, .. } => Some(user),
        };
        let detail = user.map(|user| self.detail(&goal.app, user, question)).unwrap_or_default();
        let refusal = match decision.effect {
            Effect::StepUp => {
                let way = sign_in::to_step_up(self.gateway, &asked, goal.action);
                self.visit.step_up(decision.reason, &decision.fix, &detail, &way)
            }
            Effect::Allow | Effect::Deny => self.visit.denied(decision.reason, &detail),
        };
        self.refused(decision.effect, decision.reason, refusal)
    }

    /// What this person may read about the refusal (GW-16, rulings R-12).
    fn detail(&self, app: &App, user: &UserEntry, question: &AccessRequest) -> Detail {
        if app.explain == Explain::None {
            return Detail::default();
        }
        let pdp = &self.snapshot.pdp;
        let explained = catch_unwind(AssertUnwindSafe(|| pdp.explain(question, self.now)));
        let Ok(Explanation { user_text, policies, .. }) = explained else {
            return Detail::default();
        };
        let is_admin = user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP);
        let shows_policies = app.explain == Explain::Full && is_admin;
        Detail {
            sentence: Some(user_text).filter(|text| !text.is_empty()),
            policies: policies
                .iter()
                .filter(|policy| shows_policies && policy.is_determining)
                .map(|policy| policy.id.to_string())
                .collect(),
        }
    }

    fn asked<'b>(&'b self, app: &'b App, request: &'b CanonicalRequest) -> Asked<'b> {
        Asked { app, request, authority: &self.authority, caller: self.visit.caller, now: self.now }
    }

    /// Nothing is there. Who is not signed in learns only that they have to be.
    fn not_found(self, standing: &Standing, request: &CanonicalRequest) -> Judged {
        if let (Standing::Nobody(reason), Some(app), Reserved::No) =
            (standing, &self.visit.app, routing::reserved(request.match_path()))
        {
            let way = sign_in::to_login(self.gateway, &self.asked(app, request));
            let refusal = self.visit.login(*reason, &way);
            return self.refused(Effect::Deny, *reason, refusal);
        }
        let refusal = self.visit.not_found("Nothing is served at this address.");
        self.refused(Effect::Deny, Reason::NotPermitted, refusal)
    }

    fn gate_refused(mut self, gate: &GateRefusal) -> Judged {
        record::add_gate_refusal(&mut self.record, gate);
        let refusal = refusal::gate(gate, self.visit.access, self.visit.decision);
        self.closed(Durability::Standard, Outcome::Refuse(refusal))
    }

    fn refused(mut self, effect: Effect, reason: Reason, refusal: Refusal) -> Judged {
        record::refuse(&mut self.record, effect, reason, refusal.status().as_u16());
        self.closed(Durability::Standard, Outcome::Refuse(refusal))
    }

    fn allowed(self, verdict: Outcome, decision: &Decision, action: Action) -> Judged {
        let is_strict = decision.is_audit_strict
            || matches!(action, Action::AdminWrite | Action::AuditErase | Action::PolicyPublish);
        self.closed(if is_strict { Durability::Strict } else { Durability::Standard }, verdict)
    }

    fn closed(self, durability: Durability, verdict: Outcome) -> Judged {
        Judged { record: self.record, durability, visit: self.visit, verdict }
    }
}

/// Our endpoints on every host: the way in, decided as `portal.signin` on the built-in app (rulings R-5).
fn reserved_goal<'r>(host_app: &Arc<App>) -> Goal<'r> {
    Goal {
        app: Arc::clone(host_app),
        resource: ResourceRef { app: AppName::new(CONTROL_APP), route: None },
        action: Action::PortalSignin,
        is_public: false,
        kind: GoalKind::InProcess {
            max_body_bytes: Some(BODY_MAX_ANONYMOUS),
            on_app: (!host_app.is_control_plane()).then(|| host_app.name.clone()),
        },
    }
}

fn default_port(connection: &ConnectionInfo) -> u16 {
    if connection.tls.is_some() { 443 } else { 80 }
}
