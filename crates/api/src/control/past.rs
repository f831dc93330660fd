//! A recorded decision asked again, of the policies and the directory of now (PO-39).
//!
//! Nothing is guessed: principal, action and resource are columns of the record, and the facts are the very bytes the
//! decision was computed from. What is not recorded is how often a person had tried to mend it; as far as the reason
//! tells, it is put back.

use std::sync::Arc;

use audit::{Column, StoredRecord, Value};
use model::decision::{MAX_SAME_ROUNDS, StepUpContext};
use model::{
    AccessRequest, Action, AppName, DecisionId, Effect, Explanation, Facts, Fix, Principal, Reason, Remedy,
    ResourceRef, RouteName, Timestamp,
};
use pdp_engine::decode_context;

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

/// The facts that hold a path.
const MASKABLE: [&str; 3] = ["context.request.original_path", "context.request.path", "context.request.segments"];
/// Instead of their values.
const MASKED: &str = "masked";

/// A recorded decision, as a question that can be asked again.
pub struct Past {
    /// The record of it.
    pub record: StoredRecord,
    /// What was asked.
    pub request: AccessRequest,
}

/// What came of asking again.
pub struct Judged {
    /// The answer of now.
    pub explanation: Explanation,
    /// Every set of remedies that would open it now.
    pub ways_in: Vec<Vec<Fix>>,
    /// Other policies run now.
    pub has_other_policies: bool,
    /// Person, groups or app are not what they were; `None` when the record does not say what they were.
    pub has_other_entities: Option<bool>,
    /// Effect or reason are others than recorded.
    pub is_other_answer: bool,
}

impl ControlPlane {
    /// The decision with this id, its own or that of its access, for a reader with the right `audit.read`.
    ///
    /// # Errors
    /// The right is missing, nothing was decided under the id (says what was searched), or what it was computed from is
    /// not there any more.
    pub async fn past_decision(self: &Arc<Self>, actor: &Actor, id: &str) -> Result<Past, Failure> {
        if !self.may(actor, Action::AuditRead) {
            let message = "a recorded decision is part of the record: reading it takes the right `audit.read`";
            return Err(Failure::Forbidden { message: message.to_owned() });
        }
        let id: DecisionId = id.parse().map_err(|error| Failure::invalid("decision", error))?;
        let access = self.sealed_access(actor);
        let this = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || {
            let record = this.log.decision(id, access).map_err(not_found)?;
            let context = this.log.context(&record).map_err(Failure::unavailable)?;
            Ok::<_, Failure>((record, context))
        });
        let found = found.await.map_err(Failure::unavailable)?;
        self.record_query(actor, &format!("explain decision {id}")).await?;
        let (record, context) = found?;
        let Some(context) = context else { return Err(no_facts(&record)) };
        let facts = decode_context(&context).map_err(|error| Failure::Conflict { message: error.to_string() })?;
        let request = self.request_of(&record, facts).ok_or_else(|| no_facts(&record))?;
        Ok(Past { record, request })
    }

    fn request_of(&self, record: &StoredRecord, facts: Facts) -> Option<AccessRequest> {
        let principal = match (record.subject_id(), record.text(Column::SubjectKind)) {
            (Some(id), _) => Principal::User(id),
            (None, Some("service" | "workload")) => Principal::Workload(Arc::from(record.text(Column::Subject)?)),
            (None, _) => Principal::Anonymous,
        };
        let action: Action = record.text(Column::Action)?.parse().ok()?;
        let app = AppName::new(record.text(Column::App)?);
        let route = record.text(Column::Route).map(RouteName::new);
        // As the door finds it; which paths are public is part of the apps of now.
        let is_read = matches!(facts.request.method.as_str(), "GET" | "HEAD");
        let declared = self.published().apps.iter().find(|known| known.name == app).cloned();
        let is_public_path = is_read && declared.is_some_and(|app| app.public_paths.contains(&facts.request.path));
        let resource = ResourceRef { app, route };
        let step_up = step_up_of(record, &principal);
        Some(AccessRequest { principal, action, resource, facts, is_public_path, session_ends: None, step_up })
    }
}

impl Past {
    /// When it was decided; the answer of now is for that moment, because its facts are.
    pub fn time(&self) -> Timestamp {
        self.record.time()
    }

    /// Whether the path was recorded otherwise than asked for: part of it is secret (`audit.mask`), and stays so.
    pub fn is_masked(&self) -> bool {
        let asked = &self.request.facts.request;
        self.record.text(Column::UrlPath).is_some_and(|path| path != asked.path && path != asked.original_path)
    }

    /// Asks the policies of now.
    pub fn judge(&self, control: &ControlPlane) -> Judged {
        let pdp = &control.published().pdp;
        let mut explanation = pdp.explain(&self.request, self.time());
        if self.is_masked() {
            mask(&mut explanation);
        }
        let ways_in = pdp.ways_in(&self.request, self.time());
        let decision = &explanation.decision;
        let digest = |column| match self.record.get(column) {
            Some(Value::Digest(digest)) => Some(*digest),
            _ => None,
        };
        Judged {
            has_other_policies: digest(Column::PolicySetHash) != Some(decision.pins.policy_hash),
            has_other_entities: digest(Column::EntitySliceHash).map(|was| was != decision.pins.entity_slice.hash),
            is_other_answer: self.record.text(Column::Effect) != Some(decision.effect.as_str())
                || self.record.text(Column::Reason) != Some(decision.reason.audit_code()),
            explanation,
            ways_in,
        }
    }
}

/// Takes out of an explanation what the record masks.
pub(crate) fn mask(explanation: &mut Explanation) {
    let parts = explanation.policies.iter_mut().flat_map(|part| &mut part.facts);
    for fact in parts.chain(&mut explanation.unmet) {
        if MASKABLE.contains(&fact.path.as_str()) {
            MASKED.clone_into(&mut fact.value);
        }
    }
}

/// What the door knew of the person's attempts, as far as the record tells.
fn step_up_of(record: &StoredRecord, principal: &Principal) -> StepUpContext {
    if !matches!(principal, Principal::User(_)) {
        return StepUpContext::default();
    }
    let mut step_up = StepUpContext::browser();
    if record.text(Column::Reason) == Some(Reason::StepUpLoop.audit_code()) {
        let mut tried: Vec<Remedy> = record.list(Column::StepUp).iter().filter_map(|id| id.parse().ok()).collect();
        tried.sort();
        step_up.completed_rounds = vec![tried; MAX_SAME_ROUNDS];
    }
    step_up
}

fn not_found(error: audit::ExplainError) -> Failure {
    match error {
        audit::ExplainError::Query(error) => Failure::unavailable(error),
        unknown => Failure::NotFound { message: unknown.to_string() },
    }
}

/// A refusal before anything was asked has no facts; others lost them.
fn no_facts(record: &StoredRecord) -> Failure {
    let why = match record.get(Column::PolicySetHash) {
        None => "no policy was asked: it was refused before",
        Some(_) => "the facts it was computed from are erased with their key, or were too long to keep",
    };
    let effect = record.text(Column::Effect).unwrap_or(Effect::Deny.as_str());
    let reason = record.text(Column::Reason).unwrap_or("-");
    Failure::Conflict { message: format!("the decision was {effect} ({reason}), but cannot be asked again: {why}") }
}
