//! Policy text → checked, indexed, immutable policies (PO-24, PO-25, PO-32).
//!
//! Invariants: all problems are reported at once and nothing half-compiled exists; ids are unique; the order of files
//! and of policies in them changes nothing; formatting does not change [`CompiledPolicies::policy_hash`].

use std::borrow::Borrow;
use std::collections::HashSet;
use std::sync::Arc;

use model::decision::PolicySet;
use model::ids::Digest32;
use model::{App, Freshness, PolicySettings, Reason, RemedyList};

use crate::analysis::{Reads, TimeUse};
use crate::annotations::Stage;
use crate::cache::{Cache, MAX_ENTRIES};
use crate::compilation::{self, Compiled};
use crate::engine::ENGINE_VERSION;
use crate::entities::Uid;
use crate::index::{Index, Part, PolicyScope, Question};
use crate::kernel::Condition;
use crate::problem::{Finding, FindingKind, PolicyProblem};
use crate::schema::BuiltinSchema;
use crate::slice::{Slice, SliceKey};
use crate::source::PolicySource;

/// Parser and validator recurse as deeply as policies nest; a caller's thread may have less (T-13).
const COMPILE_STACK_BYTES: usize = 64 * 1024 * 1024;
/// More policies than this without resource scope are a finding (L-13).
const UNSCOPED_POLICIES: usize = 20;

/// A policy that passed every check.
pub(crate) struct CompiledPolicy {
    pub(crate) id: Arc<str>,
    pub(crate) set: PolicySet,
    pub(crate) is_shadow: bool,
    pub(crate) is_audit_strict: bool,
    pub(crate) stage: Stage,
    pub(crate) reason: Option<Reason>,
    pub(crate) title: Option<String>,
    pub(crate) declared_at: String,
    pub(crate) scope: PolicyScope,
    pub(crate) reads: Reads,
    pub(crate) text: Box<str>,
    pub(crate) condition: Condition,
    pub(crate) unknown_annotations: Vec<String>,
}

impl CompiledPolicy {
    pub(crate) fn is_builtin(&self) -> bool {
        self.id.starts_with("builtin/")
    }
}

/// A policy as listed for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyListing {
    /// `<file stem>/<@id>`.
    pub id: Arc<str>,
    /// Its set.
    pub set: PolicySet,
    /// `@mode("shadow")`: recorded, never enforced.
    pub is_shadow: bool,
    /// Its own title, if it has one.
    pub title: Option<String>,
    /// `crm.cedar:12`.
    pub declared_at: String,
    /// The text that runs.
    pub cedar: String,
}

/// What a version of policies is made from.
#[derive(Debug)]
pub struct PolicyInput<'a, A> {
    /// `.cedar` files.
    pub policies: &'a [PolicySource],
    /// `.cedarschema` files: remedies for facts of the built-in schema.
    pub schemas: &'a [PolicySource],
    /// Whose simple rules become policies (PO-16).
    pub apps: &'a [A],
    /// What operators declare about remedies.
    pub remedies: &'a RemedyList,
    /// What they set about decisions.
    pub settings: &'a PolicySettings,
}

/// One immutable version of policies: validated, indexed, hashed. Share it by `Arc` between engines.
pub struct CompiledPolicies {
    pub(crate) schema: Arc<BuiltinSchema>,
    /// Sorted by id.
    pub(crate) policies: Vec<Arc<CompiledPolicy>>,
    index: Index,
    /// Principals that scopes name; all others of a kind share slices.
    named: HashSet<Uid>,
    slices: Cache<SliceKey, Arc<Slice>>,
    findings: Vec<Finding>,
    policy_hash: Digest32,
    remedies: Arc<RemedyList>,
    settings: PolicySettings,
}

impl CompiledPolicies {
    /// Checks and compiles `sources` together with the built-in policies.
    ///
    /// # Errors
    /// Every problem found, sorted by file and line; what runs should stay as it was.
    pub fn compile(sources: &[PolicySource]) -> Result<CompiledPolicies, Vec<PolicyProblem>> {
        Self::compile_for::<App>(sources, &[])
    }

    /// [`Self::compile`], together with the simple rules of `apps` as policies (PO-16).
    ///
    /// # Errors
    /// Every problem found, sorted by file and line; one in a simple rule has the rule's line.
    pub fn compile_for<A: Borrow<App>>(
        sources: &[PolicySource],
        apps: &[A],
    ) -> Result<CompiledPolicies, Vec<PolicyProblem>> {
        let (remedies, settings) = (RemedyList::default(), PolicySettings::default());
        let (remedies, settings) = (&remedies, &settings);
        Self::compile_all(&PolicyInput { policies: sources, schemas: &[], apps, remedies, settings })
    }

    /// Checks and compiles all there is to a version, the built-in policies included.
    ///
    /// # Errors
    /// Every problem found, sorted by file and line; one in a simple rule has the rule's line.
    pub fn compile_all<A: Borrow<App>>(input: &PolicyInput<'_, A>) -> Result<CompiledPolicies, Vec<PolicyProblem>> {
        let Compiled { schema, policies, canonical, mut findings } =
            stacker::grow(COMPILE_STACK_BYTES, || compilation::run(input))?;
        findings.extend(policies.iter().flat_map(|policy| findings_of(policy)));
        findings.extend(unscoped(&policies));
        findings.sort();
        Ok(Self {
            index: Index::new(policies.iter().map(|policy| &policy.scope)),
            named: policies.iter().filter_map(|policy| policy.scope.principal.named().cloned()).collect(),
            slices: Cache::new(MAX_ENTRIES),
            policy_hash: policy_hash(&schema, input.settings, &policies, &canonical),
            remedies: Arc::new(input.remedies.clone()),
            settings: input.settings.clone(),
            findings,
            policies,
            schema,
        })
    }

    /// Schema, policies and engine version together (PO-32).
    pub fn policy_hash(&self) -> Digest32 {
        self.policy_hash
    }

    /// The schema alone.
    pub fn schema_hash(&self) -> Digest32 {
        self.schema.hash
    }

    /// What operators declared about remedies.
    pub fn remedies(&self) -> &Arc<RemedyList> {
        &self.remedies
    }

    /// What operators set about decisions.
    pub fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// What an operator should look at.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Every policy, built-in ones included, sorted by id.
    pub fn policies(&self) -> Vec<PolicyListing> {
        self.policies
            .iter()
            .map(|policy| PolicyListing {
                id: policy.id.clone(),
                set: policy.set,
                is_shadow: policy.is_shadow,
                title: policy.title.clone(),
                declared_at: policy.declared_at.clone(),
                cedar: policy.text.to_string(),
            })
            .collect()
    }

    /// The slice of a question, from the cache or built now.
    pub(crate) fn slice(&self, mut key: SliceKey) -> Arc<Slice> {
        if !self.named.contains(&key.principal) {
            key.principal.id = String::new();
        }
        if let Some(slice) = self.slices.get(&key) {
            return slice;
        }
        let question = Question::new(key.principal.clone(), &key.groups, &key.resource, key.action);
        let candidates = self.index.candidates(&question);
        let covering = candidates
            .into_iter()
            .filter_map(|at| self.policies.get(at))
            .filter(|policy| policy.scope.covers(&question))
            .cloned()
            .collect();
        let slice = Arc::new(Slice::new(covering));
        self.slices.insert(key, slice.clone());
        slice
    }
}

impl std::fmt::Debug for CompiledPolicies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledPolicies")
            .field("policies", &self.policies.len())
            .field("policy_hash", &self.policy_hash)
            .finish_non_exhaustive()
    }
}

fn findings_of(policy: &CompiledPolicy) -> Vec<Finding> {
    let finding = |kind, message| Finding { declared_at: policy.declared_at.clone(), kind, message };
    let mut findings: Vec<Finding> = policy
        .unknown_annotations
        .iter()
        .map(|word| finding(FindingKind::UnknownAnnotation, format!("nothing reads the annotation `@{word}`")))
        .collect();
    let is_for_everyone =
        matches!(policy.scope.principal, Part::Any | Part::Is(_)) && policy.scope.resource == Part::Any;
    if policy.set == PolicySet::Permit && is_for_everyone && policy.condition.is_empty() && !policy.is_builtin() {
        let message = format!("`{}` permits everyone everything it names without any condition", policy.id);
        findings.push(finding(FindingKind::UnconditionalPermit, message));
    }
    if policy.reads.time.contains(&TimeUse::Opaque) {
        let message = format!(
            "`{}` compares a fact that moves with the clock with something else than a number, so its answers hold for \
             one second only; compare with a number",
            policy.id
        );
        findings.push(finding(FindingKind::ComparisonWithoutLiteral, message));
    }
    findings
}

fn unscoped(policies: &[Arc<CompiledPolicy>]) -> Option<Finding> {
    let mut unscoped = policies.iter().filter(|policy| policy.scope.resource.named().is_none() && !policy.is_builtin());
    let first = unscoped.next()?;
    let count = unscoped.count() + 1;
    (count > UNSCOPED_POLICIES).then(|| Finding {
        declared_at: first.declared_at.clone(),
        kind: FindingKind::UnscopedPolicies,
        message: format!("{count} policies name no resource and are read on every request; name an app where you can"),
    })
}

/// Over schema, settings and canonical forms, so that comments, spaces and the order of files and policies do not matter.
fn policy_hash(
    schema: &BuiltinSchema,
    settings: &PolicySettings,
    policies: &[Arc<CompiledPolicy>],
    canonical: &[String],
) -> Digest32 {
    let mut text = format!("countersign-policies/1\n{}\n{ENGINE_VERSION}\n", schema.hash);
    let Freshness { low, medium, high, critical } = settings.freshness;
    let fresh = [low, medium, high, critical].map(|window| window.as_secs());
    text.push_str(&format!("{fresh:?} {}\n", settings.time_zone));
    for (policy, json) in policies.iter().zip(canonical) {
        text.push_str(&format!("{}:{}{}:{json}\n", policy.id.len(), policy.id, json.len()));
    }
    Digest32::of(text.as_bytes())
}
