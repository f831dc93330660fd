//! One evaluation of a slice in three sets (policy.md PO-2, PO-3).
//!
//! Invariants: any evaluation error in the slice decides, whatever else holds (Cedar itself would skip the erroring
//! policy, T-1); hard forbids come before permits, permits before soft forbids.

use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, Decision, Entities, PolicySet as CedarPolicySet, Request};
use model::decision::PolicySet;

use crate::compile::CompiledPolicy;
use crate::slice::Slice;

/// What a slice says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// A permit holds and no forbid does.
    Allow,
    /// A policy raised an error.
    Error,
    /// A hard forbid holds.
    HardForbid,
    /// No permit holds.
    NotPermitted,
    /// A permit and a soft forbid hold.
    SoftForbid,
}

/// A verdict with the policies that decided, sorted by id.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) determining: Vec<Arc<CompiledPolicy>>,
    /// Policy id and cause.
    pub(crate) errors: Vec<(String, String)>,
}

/// Evaluates the enforced policies of `slice`.
pub(crate) fn evaluate(slice: &Slice, request: &Request, entities: &Entities) -> Outcome {
    let merged = answer(&slice.all, request, entities);
    if !merged.errors.is_empty() {
        let determining = merged.errors.iter().filter_map(|(id, _)| slice.member(id).cloned()).collect();
        return Outcome { verdict: Verdict::Error, determining, errors: merged.errors };
    }
    let holding = |ids: &[String]| -> Vec<_> { ids.iter().filter_map(|id| slice.member(id).cloned()).collect() };
    let outcome = |verdict, determining| Outcome { verdict, determining, errors: Vec::new() };
    let held = holding(&merged.satisfied);
    if merged.is_allowed {
        return outcome(Verdict::Allow, held);
    }
    let (hard, soft): (Vec<_>, Vec<_>) = held.into_iter().partition(|policy| policy.set == PolicySet::HardForbid);
    if !hard.is_empty() {
        return outcome(Verdict::HardForbid, hard);
    }
    if soft.is_empty() || !answer(&slice.permits, request, entities).is_allowed {
        return outcome(Verdict::NotPermitted, Vec::new());
    }
    outcome(Verdict::SoftForbid, soft)
}

/// Ids of shadow policies that would have refused, sorted: forbids that hold, and policies that raise an error.
pub(crate) fn would_refuse(slice: &Slice, request: &Request, entities: &Entities) -> Vec<Arc<str>> {
    let Some(shadow) = &slice.shadow else { return Vec::new() };
    let answer = answer(shadow, request, entities);
    let mut ids: Vec<Arc<str>> = answer.errors.into_iter().map(|(id, _)| Arc::from(id)).collect();
    ids.extend(answer.satisfied.into_iter().map(Arc::from));
    ids.sort();
    ids
}

struct Answer {
    is_allowed: bool,
    satisfied: Vec<String>,
    errors: Vec<(String, String)>,
}

fn answer(policies: &CedarPolicySet, request: &Request, entities: &Entities) -> Answer {
    let response = Authorizer::new().is_authorized(request, policies, entities);
    let mut satisfied: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    satisfied.sort_unstable();
    let mut errors: Vec<(String, String)> = response.diagnostics().errors().map(cause).collect();
    errors.sort_unstable();
    Answer { is_allowed: response.decision() == Decision::Allow, satisfied, errors }
}

fn cause(error: &AuthorizationError) -> (String, String) {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => (error.policy_id().to_string(), error.inner().to_string()),
    }
}
