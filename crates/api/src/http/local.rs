//! The API on the Unix socket: the caller is `local-operator`, asked about and recorded like anybody.
//! Who may connect at all is checked by the binary before a request is read.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Method;
use model::app::{AppName, CONTROL_APP};
use model::record::{AuditRecord, EndCause, RecordType};
use model::seams::Durability;
use model::{AccessId, AccessRequest, Action, DecisionId, Effect, Facts, ResourceRef, RouteName};

use super::{LOCAL_BODY_BYTES, to_the_end, v1};
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;

/// The router the local socket serves.
pub fn local_router(control: Arc<ControlPlane>, portal: Arc<super::Portal>) -> Router {
    v1::router(Arc::clone(&control), portal)
        .layer(axum::middleware::from_fn_with_state(control, decide))
        .layer(DefaultBodyLimit::max(LOCAL_BODY_BYTES))
}

async fn decide(State(control): State<Arc<ControlPlane>>, mut request: Request, next: Next) -> Response {
    let now = control.now();
    let access_id = AccessId(control.ids.uuid_v7(now));
    let actor = Actor::local_operator(access_id);
    let (question, record) = question(&control, &actor, &request);
    let decision = control.published().pdp.decide(&question, now);
    let end = completion_of(&record);
    let record = with_decision(record, &decision, DecisionId(control.ids.uuid_v7(now)));
    if let Err(error) = control.recorder.append(record, Durability::Strict).await {
        return Failure::unavailable(error).into_response();
    }
    if decision.effect != Effect::Allow {
        let message = format!("{} ({})", decision.reason.sentence(), decision.reason.audit_code());
        return Failure::Forbidden { message }.into_response();
    }
    request.extensions_mut().insert(actor);
    let response = if request.method().is_safe() {
        next.run(request).await
    } else {
        let half_way = || Failure::unavailable("the operation failed half-way; look at the record").into_response();
        to_the_end(next.run(request)).await.unwrap_or_else(half_way)
    };
    finish(&control, end, response.status()).await;
    response
}

/// The end of the access, waiting for what it will say.
fn completion_of(decision: &AuditRecord) -> AuditRecord {
    let mut end = AuditRecord::new(RecordType::AccessCompletion, decision.access_id, decision.time, decision.door);
    end.who = decision.who.clone();
    end.what = decision.what.clone();
    end
}

/// The operation is done and recorded as such; that its answer left is only told when the log can.
async fn finish(control: &ControlPlane, mut end: AuditRecord, status: http::StatusCode) {
    let began = end.time;
    end.time = control.now();
    end.completion.status = Some(status.as_u16());
    end.completion.end_cause = Some(EndCause::Closed);
    end.completion.duration_ns = u64::try_from(end.time.since(began).as_nanos()).ok();
    if let Err(error) = control.recorder.append(end, Durability::Standard).await {
        tracing::error!(%error, "the end of a local call could not be recorded");
    }
}

fn question(control: &ControlPlane, actor: &Actor, request: &Request) -> (AccessRequest, AuditRecord) {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (route, action) = match (path.starts_with("/api/v1/audit"), is_read) {
        (true, true) if path.starts_with("/api/v1/audit/export") => ("api-audit-export", Action::AuditExport),
        (true, true) => ("api-audit", Action::AuditRead),
        (_, true) => ("api-read", Action::AdminRead),
        (_, false) => ("api-write", Action::AdminWrite),
    };
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.request.door = "control".to_owned();
    facts.request.method = request.method().as_str().to_owned();
    facts.request.path = path.to_owned();
    facts.request.original_path = path.to_owned();
    facts.request.route = route.to_owned();
    facts.request.tell_time(control.now(), control.published().time_zone(), None);
    let resource = ResourceRef { app: AppName::new(CONTROL_APP), route: Some(RouteName::new(route)) };
    let mut record = control.actor_record(actor, RecordType::AccessDecision);
    record.what.app = Some(Arc::from(CONTROL_APP));
    record.what.resource = Some(Arc::from(resource.to_string()));
    record.what.resource_type = Some("Route");
    record.what.action = Some(action.as_str());
    record.what.method = Some(Arc::from(request.method().as_str()));
    record.what.route = Some(Arc::from(route));
    record.what.url_path = Some(Arc::from(path));
    let question = AccessRequest {
        principal: actor.principal.clone(),
        action,
        resource,
        facts,
        is_public_path: false,
        session_ends: None,
        step_up: model::decision::StepUpContext::browser(),
    };
    (question, record)
}

fn with_decision(mut record: AuditRecord, decision: &model::Decision, id: DecisionId) -> AuditRecord {
    record.decision.decision_id = Some(id);
    record.decision.effect = Some(decision.effect);
    record.decision.reason = Some(decision.reason);
    record.decision.policies = decision.policies.iter().map(|policy| Arc::clone(&policy.id)).collect();
    record.decision.valid_until = Some(decision.hold_until);
    record.pins.policy_set_hash = Some(decision.pins.policy_hash);
    record.pins.schema_hash = Some(decision.pins.schema_hash);
    record.pins.entities_version = Some(decision.pins.entities_version);
    record.pins.entity_slice = Some(Arc::clone(&decision.pins.entity_slice));
    record.pins.context = Some(Arc::clone(&decision.pins.context));
    record.pins.engine_version = Some(decision.pins.engine_version);
    record
}
