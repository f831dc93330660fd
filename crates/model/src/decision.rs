//! The question and its answer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::action::Action;
use crate::app::{AppName, RouteName};
use crate::facts::Facts;
use crate::ids::{Digest32, UserId};
use crate::reason::Reason;
pub use crate::remedy::{FixKind, Remedy};
use crate::time::Timestamp;

/// Who asks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Principal {
    /// Nobody has proven anything yet. A Cedar `User::"anonymous"` that is in no group.
    Anonymous,
    /// A person.
    User(UserId),
    /// A workload by SPIFFE ID, or `local-operator`.
    Workload(Arc<str>),
}

/// The workload the local command line acts as.
pub const LOCAL_OPERATOR: &str = "local-operator";

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Anonymous => f.write_str("anonymous"),
            Principal::User(id) => write!(f, "{id}"),
            Principal::Workload(name) => f.write_str(name),
        }
    }
}

/// What is reached. Without a route it is the app itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceRef {
    /// The app.
    pub app: AppName,
    /// The route, when one matched.
    pub route: Option<RouteName>,
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.route {
            Some(route) => write!(f, "{}/{route}", self.app),
            None => write!(f, "{}", self.app),
        }
    }
}

/// May this principal, on this device, do this action on this resource, in this context?
#[derive(Clone, PartialEq, Debug)]
pub struct AccessRequest {
    /// Who.
    pub principal: Principal,
    /// Doing what.
    pub action: Action,
    /// To what.
    pub resource: ResourceRef,
    /// In what context, device included.
    pub facts: Facts,
    /// The door matched an exact public path of the app with GET or HEAD (GW-6).
    pub is_public_path: bool,
    /// When the session the answer leans on ends; caps `hold_until`.
    pub session_ends: Option<Timestamp>,
    /// What the door knows about the person's attempts to mend a refusal.
    pub step_up: StepUpContext,
}

/// What bounds a STEP_UP (PO-9, PO-11, PO-12). Counted outside the engine, which has no memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepUpContext {
    /// Which kinds of fix the door can lead to.
    pub drives: DrivenFixes,
    /// The fix sets of the rounds this session completed for this app and class of action in the last
    /// [`crate::session::ROUND_WINDOW`], each sorted. Twice the same and still refused is DENY `step_up_loop`.
    pub completed_rounds: Vec<Vec<Remedy>>,
    /// Set when the person asked for too many fixes in a minute ([`crate::seams::FixBudget`]): only this set is tried.
    pub only_fix: Option<Arc<[Remedy]>>,
}

impl StepUpContext {
    /// A browser or a client of the API, which can be sent anywhere; nothing was tried yet.
    pub fn browser() -> Self {
        Self { drives: DrivenFixes::ALL, ..Self::default() }
    }
}

/// So many completed rounds with one fix set are enough: the next one would not help either (PO-9).
pub const MAX_SAME_ROUNDS: usize = 2;
/// A rule that asks for a fresher proof than this cannot be met by a person: there, running out counts as not helping.
pub const SHORTEST_PROOF_SECS: i64 = 30;

/// Whether asking for `fix` once more leads nowhere (PO-9): it was done [`MAX_SAME_ROUNDS`] times lately, and although what
/// was proven `step_up_age_secs` ago, for this app and action, is still as fresh as it asks for, it is asked for again. A
/// proof that has only run out, or was given for another action, is no loop.
pub fn is_loop(completed_rounds: &[Vec<Remedy>], fix: &[Fix], step_up_age_secs: i64) -> bool {
    let is_fresh = |fix: &Fix| step_up_age_secs <= fix.max_age_secs.max(SHORTEST_PROOF_SECS);
    let remedies: BTreeSet<Remedy> = fix.iter().map(|fix| fix.remedy).collect();
    let is_same = |round: &&Vec<Remedy>| round.iter().eq(&remedies);
    completed_rounds.iter().filter(is_same).count() >= MAX_SAME_ROUNDS
        && fix.iter().filter(|fix| fix.remedy.kind() == FixKind::Auth).all(is_fresh)
}

/// The three answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Effect {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// No, but yes if a fact the person can change were different.
    StepUp,
}

impl Effect {
    /// `ALLOW`, `DENY` or `STEP_UP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "ALLOW",
            Effect::Deny => "DENY",
            Effect::StepUp => "STEP_UP",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which kinds of fix a door can lead a person to (PO-12). What it cannot drive is DENY with the fix as advice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DrivenFixes {
    /// It can show a sign-in page, or name its address.
    pub auth: bool,
    /// It can say what to do about the device.
    pub device: bool,
    /// It can say where to ask for approval.
    pub grant: bool,
}

impl DrivenFixes {
    /// Browsers: everything.
    pub const ALL: DrivenFixes = DrivenFixes { auth: true, device: true, grant: true };
    /// Packets, and questions nobody waits at.
    pub const NONE: DrivenFixes = DrivenFixes { auth: false, device: false, grant: false };

    /// Whether `kind` can be driven.
    pub fn drives(self, kind: FixKind) -> bool {
        match kind {
            FixKind::Auth => self.auth,
            FixKind::Device => self.device,
            FixKind::Grant => self.grant,
        }
    }
}

/// One remedy with what the door must ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fix {
    /// Which.
    pub remedy: Remedy,
    /// The level to reach: `phr` for a passkey, `urn:countersign:acr:mfa` for a second factor, the session's own for a
    /// re-authentication; empty when [`Remedy::kind`] is not `auth`.
    pub acr_values: String,
    /// How fresh, in seconds: the literal the policy compares with, else what the resource's sensitivity asks for.
    pub max_age_secs: i64,
    /// Which facts it has to change, as paths, sorted: `context.device.encrypted`.
    pub facts: Vec<Arc<str>>,
}

/// Which of the three sets a policy belongs to (PO-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicySet {
    /// Forbids for good.
    HardForbid,
    /// Permits.
    Permit,
    /// Forbids, remediable.
    SoftForbid,
}

impl PolicySet {
    /// `permit`, `hard` or `soft`.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicySet::HardForbid => "hard",
            PolicySet::Permit => "permit",
            PolicySet::SoftForbid => "soft",
        }
    }
}

/// A policy that decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeterminingPolicy {
    /// `<file stem>/<@id>` (PO-24).
    pub id: Arc<str>,
    /// Its set.
    pub set: PolicySet,
}

/// What the answer was computed from, so that it can be recomputed (AUD-36).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pins {
    /// Schema, policies, pack parameters and engine version together.
    pub policy_hash: Digest32,
    /// The schema alone.
    pub schema_hash: Digest32,
    /// Version of directory and apps.
    pub entities_version: u64,
    /// Version of the engine, e.g. `cedar-policy 4.14.1`.
    pub engine_version: &'static str,
    /// The canonical context bytes (deterministic CBOR) the evaluation read.
    pub context: Arc<[u8]>,
    /// The entities the evaluation read, stored once per hash.
    pub entity_slice: Arc<EntitySlice>,
}

/// The entities of one (principal, action, resource) in canonical bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntitySlice {
    /// SHA-256 of `bytes`.
    pub hash: Digest32,
    /// Canonical form.
    pub bytes: Arc<[u8]>,
}

/// The answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// Yes, no, or not yet.
    pub effect: Effect,
    /// Why.
    pub reason: Reason,
    /// The policies that decided, sorted by id.
    pub policies: Vec<DeterminingPolicy>,
    /// Shadow policies that would have refused, sorted (GW-26, PO-34).
    pub would: Vec<Arc<str>>,
    /// The irreducible set that, done together, turns the answer into ALLOW. With STEP_UP the door drives it; with
    /// DENY it is advice, because a hard forbid holds or the door cannot drive it (PO-5, PO-12). Sorted by remedy.
    pub fix: Vec<Fix>,
    /// Until when the answer holds if no fact changes (PO-14).
    pub hold_until: Timestamp,
    /// The facts the policies of the slice read, sorted: `context.auth.mfa`, `resource.sensitivity`. A change of none of
    /// them cannot change the answer (PO-13).
    pub read_set: Arc<[Arc<str>]>,
    /// A policy that decided carries `@audit("strict")`.
    pub is_audit_strict: bool,
    /// The search for a fix ran into its limits, so that the answer is DENY without one (PO-5).
    pub is_search_exhausted: bool,
    /// What it was computed from.
    pub pins: Pins,
    /// How long the evaluation took; filled by the door, which has the clock.
    pub eval_ns: u64,
}

/// A fact a policy read, for the admin explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FactRead {
    /// `context.auth.step_up_age_secs`.
    pub path: String,
    /// As policies see it.
    pub value: String,
    /// Which room brought it.
    pub source: &'static str,
    /// Its age in seconds where it has one.
    pub age_secs: Option<i64>,
    /// The evidence level of a posture fact (PO-15).
    pub level: Option<i64>,
}

/// A policy's part in an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyPart {
    /// Its id.
    pub id: Arc<str>,
    /// Its set.
    pub set: PolicySet,
    /// `file.cedar:12`.
    pub declared_at: String,
    /// The version it came with: the start of the policy hash.
    pub version: String,
    /// The policy's own title, if it has one.
    pub title: Option<String>,
    /// Whether it decided; otherwise it is a nearest permit.
    pub is_determining: bool,
    /// For a nearest permit: which of its conditions are false, as source text.
    pub failing_conditions: Vec<String>,
    /// Facts it reads.
    pub facts: Vec<FactRead>,
    /// The evaluation error, if it had one.
    pub error: Option<String>,
}

/// An answer made readable (PO-15).
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The answer explained.
    pub decision: Decision,
    /// `identity`, `device`, `network`, `anomaly`, `permission`: the first that failed, and later ones.
    pub failed_stages: Vec<&'static str>,
    /// Determining policies first, then the nearest permits.
    pub policies: Vec<PolicyPart>,
    /// The facts that would have to change for an ALLOW, as they are now: those of the fix, and for a workload, which
    /// gets none, what it lacks (PO-10).
    pub unmet: Vec<FactRead>,
    /// One sentence for the person; no thresholds, lists or other people's groups.
    pub user_text: String,
}
