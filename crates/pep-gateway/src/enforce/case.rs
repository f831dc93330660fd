//! One request on its way to a verdict. Synchronous from end to end: nothing here waits.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http_gate::client_address::client_address;
use http_gate::{CanonicalRequest, GateSettings, RawRequest};
use model::app::CONTROL_APP;
use model::decision::{DrivenFixes, StepUpContext};
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;
use model::{
    AccessRequest, Action, App, AppName, Decision, Effect, Principal, Reason, Remedy, ResourceRef, Session, Timestamp,
    Upstream,
};

use super::Judged;
use super::origin::{self, CrossSite};
use super::standing::Standing;
use crate::connection::ConnectionInfo;
use crate::cross_origin::{self, Preflighted};
use crate::fact_builder::{self, LocalTime, RequestView};
use crate::gateway::Gateway;
use crate::record;
use crate::refusal::{Caller, Detail, Visit};
use crate::reserved_call::BODY_MAX_ANONYMOUS;
use crate::routing::{self, HostEntry, Reserved, RoutedRoute};
use crate::snapshot::GatewaySnapshot;
use crate::trace::Trace;

/// Policies can read the path of any request, and the door does not see which do, so `;` is always taken as ambiguous
/// unless the app opens it (GW-4).
const POLICIES_USE_PATHS: bool = true;

/// What a page of another origin is told where nobody has said that it may call.
const NO_ORIGINS: &str = "No other origin may call this app: its operator can list this page's origin in `cors.origins`, or let the app \
     answer preflights itself with `cors.preflight: pass`.";

/// A request being judged.
pub(super) struct Case<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) connection: &'a ConnectionInfo,
    pub(super) snapshot: Arc<GatewaySnapshot>,
    pub(super) generation: u64,
    pub(super) now: Timestamp,
    pub(super) trace: Trace,
    pub(super) visit: Visit,
    pub(super) record: AuditRecord,
    pub(super) durability: Durability,
    /// Whose request it is: behind trusted peers, whom they name (GW-66).
    pub(super) client: SocketAddr,
    /// As browsers write it.
    pub(super) authority: String,
}

/// What is asked for.
pub(super) struct Goal {
    pub(super) app: Arc<App>,
    pub(super) resource: ResourceRef,
    pub(super) action: Action,
    pub(super) is_public: bool,
    /// The path that routes matched on, before any rewrite.
    pub(super) routed_path: String,
}

/// Who would answer.
enum Server<'r> {
    /// An app behind us.
    Upstream(&'r RoutedRoute, &'r Arc<Upstream>),
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
        let trace = Trace::begin(sent, connection.is_client_trusted(), gateway.ids.as_ref());
        let visit = Visit {
            access: gateway.new_access_id(now),
            decision: gateway.new_decision_id(now),
            trace_id: Arc::clone(&trace.trace_id),
            caller: Caller::Code,
            origin: crate::visit::text(raw.fields(), "origin").map(Arc::from),
            app: None,
            cors: Arc::default(),
            identity: None,
            is_tls: connection.tls.is_some(),
            is_localhost: is_localhost(raw.host().name()),
        };
        let mut record = record::begin(RecordType::AccessDecision, visit.access, now, &trace, connection);
        record.decision.decision_id = Some(visit.decision);
        record::add_raw(&mut record, raw);
        record::add_nobody(&mut record);
        let authority = raw.host().authority(default_port(connection));
        Self {
            gateway,
            connection,
            snapshot,
            generation,
            now,
            trace,
            visit,
            record,
            durability: Durability::Standard,
            client: connection.client,
            authority,
        }
    }

    /// The verdict.
    pub(super) fn judge(mut self, raw: RawRequest) -> Judged {
        match client_address(self.connection.client, &self.connection.trusted_peers, raw.fields()) {
            Ok(client) => self.client = client,
            Err(gate) => return self.gate_refused(&gate),
        }
        record::add_client(&mut self.record, self.client);
        let snapshot = Arc::clone(&self.snapshot);
        let is_our_port = raw.host().port_or(default_port(self.connection)) == self.connection.public_port;
        let Some(entry) = snapshot.routing.host(raw.host().name()).filter(|_| is_our_port) else {
            let refusal = self.visit.misdirected();
            return self.refused(Effect::Deny, Reason::UnknownHost, refusal);
        };
        self.visit.app = Some(Arc::clone(entry.first_app()));
        self.visit.cors = Arc::clone(&entry.first_app().cors);
        self.record.what.app = Some(Arc::from(entry.first_app().name.as_str()));
        let settings = GateSettings {
            path: entry.path_settings(),
            has_path_rules: POLICIES_USE_PATHS,
            passes_odd_header_names: entry.passes_odd_header_names(),
            judges_method_override: entry.judges_method_override(),
            owned_names: entry.owned_names(),
        };
        match raw.canonicalise(&settings) {
            Ok(request) => self.judge_request(entry, request, &settings),
            Err(gate) => self.gate_refused(&gate),
        }
    }

    fn judge_request(mut self, entry: &HostEntry, request: CanonicalRequest, settings: &GateSettings<'_>) -> Judged {
        self.visit.caller = Caller::of(&request);
        record::add_request(&mut self.record, &request);
        let reserved = routing::reserved(request.match_path());
        // A preflight asks for somebody else's request, so it is that request's route whose settings answer.
        let preflight = cross_origin::requested_method(&request).filter(|_| reserved == Reserved::No);
        let routed = entry.route(request.match_path(), preflight.unwrap_or(request.method()));
        if let (Some(routed), Reserved::No) = (routed, reserved) {
            self.visit.app = Some(Arc::clone(&routed.app));
            self.visit.cors = Arc::clone(routed.route.cors.as_ref().unwrap_or(&routed.app.cors));
        }
        let asked = match (reserved, routed) {
            (Reserved::No, Some(routed)) => routed.app.name.clone(),
            (Reserved::No, None) => entry.first_app().name.clone(),
            _ => AppName::new(CONTROL_APP),
        };
        let standing = match self.standing(&request, &asked) {
            Ok(standing) => standing,
            Err(reason) => {
                let refusal = self.visit.credential(reason);
                return self.refused(Effect::Deny, reason, refusal);
            }
        };
        if reserved == Reserved::No && self.is_stale() {
            let refusal = self.visit.denied(Reason::FactsStale, &Detail::default());
            return self.refused(Effect::Deny, Reason::FactsStale, refusal);
        }
        let found = match (reserved, routed) {
            (Reserved::Known, _) => Some(reserved_goal(entry.first_app(), &request)),
            (Reserved::No, Some(routed)) => app_goal(routed, &request),
            (Reserved::Unknown, _) | (Reserved::No, None) => None,
        };
        let Some((mut goal, server)) = found else {
            return self.not_found(&standing, &request);
        };
        if let (Some(_), Server::Upstream(..)) = (preflight, &server) {
            match cross_origin::preflight(&self.visit.cors, &request) {
                Preflighted::Answered => return self.preflight_answered(&goal),
                Preflighted::ForApp => goal.is_public = true,
                Preflighted::ForeignOrigin => return self.origin_refused(None),
                Preflighted::NotConfigured => return self.origin_refused(Some(NO_ORIGINS)),
            }
        }
        let request = match &server {
            Server::Upstream(RoutedRoute { route, .. }, _) => match &route.rewrite {
                Some(rewrite) => match request.rewritten(rewrite, settings) {
                    Ok(request) => {
                        record::add_request(&mut self.record, &request);
                        request
                    }
                    Err(gate) => return self.gate_refused(&gate),
                },
                None => request,
            },
            Server::InProcess { .. } => request,
        };
        record::add_resource(&mut self.record, &goal.app, &goal.resource, goal.action);
        if self.is_foreign(&request, &goal, &server) {
            return self.origin_refused(None);
        }
        self.ask(request, goal, server, standing)
    }

    /// Whether nobody has confirmed for too long who may still be let in (GW-47). Our own pages go on: they are how
    /// people sign out, and every change behind them waits for the control loop itself.
    fn is_stale(&self) -> bool {
        let limit = self.visit.app.as_ref().filter(|app| !app.is_control_plane()).map(|app| app.max_staleness);
        limit.is_some_and(|limit| self.gateway.streams.is_stale(limit))
    }

    fn is_foreign(&self, request: &CanonicalRequest, goal: &Goal, server: &Server<'_>) -> bool {
        let scheme = if self.visit.is_tls { "https" } else { "http" };
        let own_origin = format!("{scheme}://{}", self.authority);
        if request.is_websocket() {
            return !origin::lets_websocket_open(request, &goal.app, &own_origin);
        }
        let rule = match server {
            Server::InProcess { .. } => CrossSite::OwnOriginOnly,
            Server::Upstream(routed, _) => {
                let of_route = routed.route.refuses_cross_site_writes;
                match of_route.unwrap_or(goal.app.refuses_cross_site_writes) {
                    true => CrossSite::WritesRefused,
                    false => CrossSite::Allowed,
                }
            }
        };
        origin::is_foreign_write(request, &self.visit.cors, &own_origin, rule)
    }

    fn ask(mut self, request: CanonicalRequest, goal: Goal, server: Server<'_>, standing: Standing) -> Judged {
        let question = self.question(&request, &goal, &standing);
        let Some(decision) = self.decide(&question, goal.action) else {
            return self.internal();
        };
        match (decision.effect, server) {
            (Effect::Allow, Server::Upstream(routed, upstream)) => {
                self.forward(request, &goal, (routed, upstream), &standing, question, &decision)
            }
            (Effect::Allow, Server::InProcess { max_body_bytes, on_app }) => {
                self.reserve(request, (max_body_bytes, on_app), standing, (question, decision.hold_until))
            }
            (Effect::Deny | Effect::StepUp, _) => self.explain(&request, &goal, &standing, &question, &decision),
        }
    }

    /// The engine's answer, into the record; `None` when the engine failed.
    pub(super) fn decide(&mut self, question: &AccessRequest, action: Action) -> Option<Decision> {
        let pdp = &self.snapshot.pdp;
        let Ok(mut decision) = catch_unwind(AssertUnwindSafe(|| pdp.decide(question, self.now))) else {
            tracing::error!(request = %self.visit.access, "the policy engine panicked; the request is refused");
            return None;
        };
        decision.eval_ns = u64::try_from(self.gateway.now().since(self.now).as_nanos()).unwrap_or(u64::MAX);
        if decision.reason == Reason::PolicyError {
            self.sound_alarm(&decision);
        }
        if decision.is_search_exhausted {
            self.gateway.metrics.fix_search_exhausted();
        }
        self.count_fix(question, &decision);
        record::add_decision(&mut self.record, &decision, self.snapshot.version);
        if decision.is_audit_strict || is_always_strict(action) {
            self.durability = Durability::Strict;
        }
        Some(decision)
    }

    /// Every request such a policy covers is refused until it is mended (PO-3).
    fn sound_alarm(&self, decision: &Decision) {
        if !self.gateway.metrics.policy_error(self.now) {
            return;
        }
        let policies: Vec<&str> = decision.policies.iter().map(|policy| &*policy.id).collect();
        tracing::error!(request = %self.visit.access, policy = ?policies, "a policy cannot be evaluated; requests are refused");
    }

    /// A refusal of a person had its fixes computed, unless the last set was repeated (PO-11).
    fn count_fix(&self, question: &AccessRequest, decision: &Decision) {
        let is_person = matches!(question.principal, Principal::User(_));
        if decision.effect == Effect::Allow || !is_person {
            return;
        }
        if question.step_up.only_fix.is_some() {
            return self.gateway.metrics.fix_repeated();
        }
        let fix: Vec<Remedy> = decision.fix.iter().map(|fix| fix.remedy).collect();
        self.gateway.fixes.computed(&question.principal, &question.resource.app, &fix, self.now);
    }

    pub(super) fn question(&self, request: &CanonicalRequest, goal: &Goal, standing: &Standing) -> AccessRequest {
        let view = RequestView {
            method: request.method(),
            host: request.host().name(),
            path: request.match_path(),
            original_path: request.original_path(),
            route: goal.resource.route.as_ref().map_or("", |route| route.as_str()),
            is_websocket: request.is_websocket(),
            headers: fact_builder::context_headers(request, &goal.app),
            door: self.record.door,
            zones: fact_builder::zones(&goal.app, self.client.ip()),
        };
        let (principal, session) = match standing {
            Standing::Nobody(_) => (Principal::Anonymous, None),
            Standing::Person { session, user } => (Principal::User(user.id), Some(session.as_ref())),
            Standing::Service { service, .. } => (Principal::Workload(service.principal()), None),
        };
        let ends = match standing {
            Standing::Service { ends, .. } => Some(*ends),
            _ => session.map(Session::ends_at),
        };
        let signed_in = session.map(|session| (session, &goal.resource.app, goal.action));
        let clock = LocalTime { now: self.now, zone: &self.snapshot.time_zone, app: &goal.app };
        let mut facts = fact_builder::build(view, self.connection, signed_in, clock);
        if matches!(standing, Standing::Service { .. }) {
            fact_builder::add_machine(&mut facts);
        }
        AccessRequest {
            principal,
            action: goal.action,
            resource: goal.resource.clone(),
            facts,
            is_public_path: goal.is_public,
            session_ends: ends,
            step_up: self.step_up(standing, goal),
        }
    }

    /// What bounds a STEP_UP. Whoever comes over HTTP can be told everything, in a page or in JSON (PO-12); who is not
    /// signed in is sent to sign in and told nothing.
    fn step_up(&self, standing: &Standing, goal: &Goal) -> StepUpContext {
        let Standing::Person { session, user } = standing else { return StepUpContext::default() };
        let (app, principal) = (&goal.resource.app, Principal::User(user.id));
        StepUpContext {
            drives: DrivenFixes::ALL,
            completed_rounds: session.completed_rounds(app, goal.action, self.now),
            only_fix: self.gateway.fixes.exhausted(&principal, app, self.now),
        }
    }
}

/// What a matched route asks for; `None` when its upstream is missing, which `config` rules out.
fn app_goal<'r>(routed: &'r RoutedRoute, request: &CanonicalRequest) -> Option<(Goal, Server<'r>)> {
    let app = &routed.app;
    let server = match &routed.upstream {
        _ if app.is_control_plane() => Server::InProcess { max_body_bytes: routed.route.max_body_bytes, on_app: None },
        Some(upstream) => Server::Upstream(routed, upstream),
        None => return None,
    };
    let goal = Goal {
        resource: ResourceRef { app: app.name.clone(), route: Some(routed.route.name.clone()) },
        action: routed.route.action.unwrap_or_else(|| Action::of_http_method(request.method())),
        is_public: routing::is_public(app, request.method(), request.match_path()),
        routed_path: request.match_path().to_owned(),
        app: Arc::clone(app),
    };
    Some((goal, server))
}

/// Our endpoints on every host: the way in, decided as `portal.signin` on the built-in app.
fn reserved_goal<'r>(host_app: &Arc<App>, request: &CanonicalRequest) -> (Goal, Server<'r>) {
    let goal = Goal {
        app: Arc::clone(host_app),
        resource: ResourceRef { app: AppName::new(CONTROL_APP), route: None },
        action: Action::PortalSignin,
        is_public: false,
        routed_path: request.match_path().to_owned(),
    };
    let on_app = (!host_app.is_control_plane()).then(|| host_app.name.clone());
    (goal, Server::InProcess { max_body_bytes: Some(BODY_MAX_ANONYMOUS), on_app })
}

/// Administration is on disk before it is answered, whatever the policies say (AUD-17).
fn is_always_strict(action: Action) -> bool {
    matches!(action, Action::AdminWrite | Action::AuditErase | Action::PolicyPublish)
}

fn default_port(connection: &ConnectionInfo) -> u16 {
    if connection.tls.is_some() { 443 } else { 80 }
}

/// Names that stay on this machine (RFC 6761 §6.3): other servers of its owner share them.
fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}
