//! One evaluation of a slice in three sets (PO-2, PO-3).
//!
//! Invariants: any evaluation error in the slice decides, whatever else holds (Cedar itself would skip the erroring
//! policy, T-1); hard forbids come before permits, permits before soft forbids.

use std::sync::Arc;

use cedar_policy::Entities;
use model::decision::PolicySet;

use crate::compile::CompiledPolicy;
use crate::kernel::Asked;
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
    /// Soft forbids that hold but did not decide, because something before them did.
    pub(crate) pending: Vec<Arc<CompiledPolicy>>,
    /// Whether a permit holds, whatever forbids.
    pub(crate) permits_hold: bool,
    /// Policy id and cause.
    pub(crate) errors: Vec<(Arc<str>, String)>,
}

/// Evaluates the enforced policies of `slice`, every one of them once.
pub(crate) fn evaluate(slice: &Slice, asked: &Asked, entities: &Entities) -> Outcome {
    let judge = asked.judge(entities);
    let (mut hard, mut permits, mut soft) = (Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut errors) = (Vec::new(), Vec::new());
    for policy in &slice.members {
        match judge.holds(&policy.condition) {
            Ok(false) => {}
            Ok(true) => match policy.set {
                PolicySet::HardForbid => hard.push(policy.clone()),
                PolicySet::Permit => permits.push(policy.clone()),
                PolicySet::SoftForbid => soft.push(policy.clone()),
            },
            Err(cause) => {
                errors.push((policy.id.clone(), cause));
                failed.push(policy.clone());
            }
        }
    }
    let permits_hold = !permits.is_empty();
    let (verdict, determining, pending) = match () {
        () if !errors.is_empty() => (Verdict::Error, failed, Vec::new()),
        () if !hard.is_empty() => (Verdict::HardForbid, hard, soft),
        () if !permits_hold => (Verdict::NotPermitted, Vec::new(), soft),
        () if !soft.is_empty() => (Verdict::SoftForbid, soft, Vec::new()),
        () => (Verdict::Allow, permits, Vec::new()),
    };
    Outcome { verdict, determining, pending, permits_hold, errors }
}

/// Ids of shadow policies that would have refused, sorted: forbids that hold, and policies that raise an error. A shadow
/// permit never grants.
pub(crate) fn would_refuse(slice: &Slice, asked: &Asked, entities: &Entities) -> Vec<Arc<str>> {
    if slice.shadow.is_empty() {
        return Vec::new();
    }
    let judge = asked.judge(entities);
    let refuses = |policy: &&Arc<CompiledPolicy>| match judge.holds(&policy.condition) {
        Ok(holds) => holds && policy.set != PolicySet::Permit,
        Err(_) => true,
    };
    slice.shadow.iter().filter(refuses).map(|policy| policy.id.clone()).collect()
}
