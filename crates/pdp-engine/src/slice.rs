//! The policies of one kind of question, ready to evaluate (PO-29, PO-30).
//!
//! Invariant: a slice depends on the policies and on its key alone, never on directory or apps, so that it stays right
//! when those change.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::decision::PolicySet;
use model::{Action, GroupId, ResourceRef};

use crate::analysis::TimeUse;
use crate::compile::CompiledPolicy;
use crate::context::Needs;
use crate::entities::Uid;
use crate::schema::Offer;

/// What a slice depends on beside the policies.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SliceKey {
    /// The principal, or one stand-in for all of its kind that no policy names.
    pub(crate) principal: Uid,
    pub(crate) groups: Arc<[GroupId]>,
    pub(crate) resource: ResourceRef,
    pub(crate) action: Action,
}

/// The policies whose scope covers a question.
pub(crate) struct Slice {
    /// The enforced policies, sorted by id.
    pub(crate) members: Vec<Arc<CompiledPolicy>>,
    /// Shadow policies, sorted by id.
    pub(crate) shadow: Vec<Arc<CompiledPolicy>>,
    /// Whether any member is a permit.
    has_permits: bool,
    /// The facts the enforced policies read, sorted, for the answer (PO-13).
    pub(crate) read_set: Arc<[Arc<str>]>,
    /// Which facts any policy reads, shadow ones included.
    pub(crate) needs: Needs,
    /// How the enforced policies look at the clock.
    pub(crate) time: BTreeSet<TimeUse>,
    /// Whether one of them reads the age of the account.
    pub(crate) reads_age_days: bool,
}

impl Slice {
    /// Sorts out the policies that cover a question; they are sorted by id.
    pub(crate) fn new(covering: Vec<Arc<CompiledPolicy>>) -> Self {
        let needs = Needs::of(covering.iter().flat_map(|policy| &policy.reads.paths));
        let (shadow, members): (Vec<_>, Vec<_>) = covering.into_iter().partition(|policy| policy.is_shadow);
        let read: BTreeSet<&str> =
            members.iter().flat_map(|policy| policy.reads.paths.iter().map(String::as_str)).collect();
        Self {
            read_set: read.into_iter().map(Arc::from).collect(),
            has_permits: members.iter().any(|policy| policy.set == PolicySet::Permit),
            time: members.iter().flat_map(|policy| policy.reads.time.iter().cloned()).collect(),
            reads_age_days: members.iter().any(|policy| {
                policy.reads.paths.iter().any(|path| path == "principal" || path == "principal.age_days")
            }),
            needs,
            members,
            shadow,
        }
    }

    /// Whether a remedy can change the answer at all: there is a permit, and some policy reads what it touches.
    pub(crate) fn may_answer_to(&self, offer: &Offer) -> bool {
        self.has_permits && self.needs.meets(&offer.touches)
    }

    /// Whether an enforced policy reads the fact at `path`, a part of it, or a record it is in.
    pub(crate) fn reads(&self, path: &str) -> bool {
        let is_below = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
        self.read_set.iter().any(|read| **read == *path || is_below(read, path) || is_below(path, read))
    }
}
