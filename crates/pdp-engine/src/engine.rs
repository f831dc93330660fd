//! One immutable version that decides (PO-1 to PO-4, PO-10; R-17).
//!
//! Invariants: a question is judged against exactly one version of policies, apps and directory; every way out of
//! [`Engine::judge`] that is not a satisfied permit is DENY or STEP_UP; STEP_UP is only said after the remedied question
//! was evaluated to ALLOW.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use model::decision::{DeterminingPolicy, EntitySlice, Pins, PolicySet};
use model::directory::SERVICE_PREFIX;
use model::ids::Digest32;
use model::{
    AccessRequest, Action, App, AppName, Decision, Directory, Effect, Explanation, Facts, Fix, PolicyDecisionPoint,
    Principal, Reason, ResourceRef, Timestamp, UserState,
};
use papaya::Equivalent;

use crate::cache::{Cache, MAX_ENTRIES};
use crate::canonical::{context_bytes, entity_bytes};
use crate::compile::{CompiledPolicies, CompiledPolicy};
use crate::context::{self, Needs};
use crate::entities::{self, Apps, EntityStore, groups_of, principal_uid};
use crate::evaluate::{Outcome, Verdict, evaluate, would_refuse};
use crate::explain;
use crate::findings;
use crate::hold::hold_until;
use crate::kernel::Asked;
use crate::problem::Finding;
use crate::slice::{Slice, SliceKey};

/// What the pins of a decision name: the evaluator, as pinned in Cargo.toml.
pub const ENGINE_VERSION: &str = "cedar-policy 4.14.1";

/// Why an engine could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EngineError {
    /// Two apps of one name.
    #[error("the app `{0}` is declared twice; rename one of them")]
    DuplicateApp(AppName),
}

/// One immutable version of policies, apps and directory. Making a new one after a change of apps or people is cheap:
/// policies, index and slices are shared.
pub struct Engine {
    policies: Arc<CompiledPolicies>,
    apps: Apps,
    unreachable: BTreeSet<AppName>,
    directory: Arc<Directory>,
    entities_version: u64,
    slots: Cache<SlotKey, Arc<Slot>>,
    stores: Cache<StoreKey, Arc<EntityStore>>,
    no_entities: Arc<EntitySlice>,
}

/// What a kind of question is evaluated with.
pub(crate) struct Slot {
    pub(crate) slice: Arc<Slice>,
    pub(crate) store: Arc<EntityStore>,
}

#[derive(PartialEq, Eq, Hash)]
struct SlotKey {
    principal: Principal,
    resource: ResourceRef,
    action: Action,
}

/// [`SlotKey`] by reference; hashes alike.
#[derive(PartialEq, Eq, Hash)]
struct SlotQuery<'a> {
    principal: &'a Principal,
    resource: &'a ResourceRef,
    action: Action,
}

impl Equivalent<SlotKey> for SlotQuery<'_> {
    fn equivalent(&self, key: &SlotKey) -> bool {
        *self.principal == key.principal && *self.resource == key.resource && self.action == key.action
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct StoreKey {
    principal: Principal,
    resource: ResourceRef,
}

impl Engine {
    /// One version. `entities_version` moves whenever `apps` or `directory` do; it is pinned in every decision.
    ///
    /// # Errors
    /// Two apps of one name.
    pub fn new(
        policies: Arc<CompiledPolicies>,
        apps: &[Arc<App>],
        directory: Arc<Directory>,
        entities_version: u64,
    ) -> Result<Engine, EngineError> {
        let apps = Apps::new(apps).map_err(EngineError::DuplicateApp)?;
        let nothing = entity_bytes(&[]);
        Ok(Engine {
            unreachable: findings::unreachable_apps(&policies, &apps),
            policies,
            apps,
            directory,
            entities_version,
            slots: Cache::new(MAX_ENTRIES),
            stores: Cache::new(MAX_ENTRIES),
            no_entities: Arc::new(EntitySlice { hash: Digest32::of(&nothing), bytes: nothing }),
        })
    }

    /// The policies it decides by.
    pub fn policies(&self) -> &Arc<CompiledPolicies> {
        &self.policies
    }

    /// Apps that no permit can ever apply to, sorted (PO-1).
    pub fn unreachable_apps(&self) -> Vec<AppName> {
        self.unreachable.iter().cloned().collect()
    }

    /// What an operator should look at in apps and policies together, sorted. [`CompiledPolicies::findings`] has those
    /// of the policies alone.
    pub fn findings(&self) -> Vec<Finding> {
        findings::of(&self.policies, &self.apps, &self.directory, &self.unreachable)
    }

    /// Judges a question; the answer with all that explains it.
    pub(crate) fn judge(&self, request: &AccessRequest, now: Timestamp) -> Judgement {
        let slot = match self.admit(request, now) {
            Ok(slot) => slot,
            Err(settled) => return *settled,
        };
        let facts = settled(request);
        let Some(question) = self.question(request.action, &slot, &facts) else {
            return Judgement::refusal(Reason::Internal, Some(slot));
        };
        let outcome = evaluate(&slot.slice, &question, &slot.store.entities);
        let would = would_refuse(&slot.slice, &question, &slot.store.entities);
        let judged = match outcome.verdict {
            Verdict::Allow => Judgement::decided(Effect::Allow, Reason::Allow, outcome),
            Verdict::Error => Judgement::decided(Effect::Deny, Reason::PolicyError, outcome),
            Verdict::HardForbid | Verdict::NotPermitted | Verdict::SoftForbid => {
                self.refuse(request, &facts, &slot, outcome)
            }
        };
        Judgement { would, slot: Some(slot), ..judged }
    }

    /// What policies are to judge; otherwise the answer that needs none.
    fn admit(&self, request: &AccessRequest, now: Timestamp) -> Result<Arc<Slot>, Box<Judgement>> {
        let refusal = |reason| Err(Box::new(Judgement::refusal(reason, None)));
        if request.is_public_path {
            let slot = self.slot(request, now).filter(|_| self.apps.knows(&request.resource));
            let allowed = Judgement { effect: Effect::Allow, ..Judgement::refusal(Reason::AllowPublic, slot) };
            return Err(Box::new(allowed));
        }
        if !self.apps.knows(&request.resource) {
            return refusal(Reason::UnknownType);
        }
        if !self.may_ask(&request.principal) {
            return refusal(Reason::UserDisabled);
        }
        self.slot(request, now).map_or_else(|| refusal(Reason::Internal), Ok)
    }

    /// Neither disabled nor deleted. Nobody and workloads have no directory entry to be disabled in, service accounts
    /// apart; one that nobody has made yet may be asked about, and no door lets it in.
    fn may_ask(&self, principal: &Principal) -> bool {
        match principal {
            Principal::User(id) => self.directory.users.get(id).is_some_and(|user| user.state != UserState::Disabled),
            Principal::Workload(name) if name.starts_with(SERVICE_PREFIX) => {
                self.directory.service_of(name).is_none_or(|service| service.is_enabled)
            }
            Principal::Anonymous | Principal::Workload(_) => true,
        }
    }

    /// The app of this name.
    pub(crate) fn app(&self, name: &AppName) -> Option<&Arc<App>> {
        self.apps.find(name)
    }

    /// Whether no permit can ever apply to the app.
    pub(crate) fn is_unreachable(&self, app: &AppName) -> bool {
        self.unreachable.contains(app)
    }

    /// The question as Cedar takes it; `None` if it does not fit the schema, which the types of [`Facts`] rule out. Debug
    /// builds let Cedar check that too (PO-26).
    pub(crate) fn question(&self, action: Action, slot: &Slot, facts: &Facts) -> Option<Asked> {
        let schema = &self.policies.schema;
        let action = schema.action(action)?;
        if cfg!(debug_assertions) {
            context::build(facts, &Needs::ALL).validate(&schema.cedar, &action.uid).ok()?;
        }
        let (principal, resource) = &slot.store.names;
        Some(Asked::new(principal, &action.name, resource, &context::build(facts, &slot.slice.needs)))
    }

    /// Whether the condition of each policy whose scope covers the question holds, shadow ones included; one that raises
    /// an error holds as little as it fails.
    pub(crate) fn conditions(&self, request: &AccessRequest, now: Timestamp) -> Vec<(Arc<str>, bool)> {
        let Some(slot) = self.slot(request, now) else { return Vec::new() };
        let Some(asked) = self.question(request.action, &slot, &settled(request)) else { return Vec::new() };
        let judge = asked.judge(&slot.store.entities);
        let covering = slot.slice.members.iter().chain(&slot.slice.shadow);
        covering.filter_map(|policy| Some((policy.id.clone(), judge.holds(&policy.condition).ok()?))).collect()
    }

    /// Slice and entities of a question, from the caches or built now.
    fn slot(&self, request: &AccessRequest, now: Timestamp) -> Option<Arc<Slot>> {
        let AccessRequest { principal, resource, action, .. } = request;
        let query = SlotQuery { principal, resource, action: *action };
        if let Some(slot) = self.slots.get(&query).filter(|slot| slot.store.is_valid(now)) {
            return Some(slot);
        }
        let key = SliceKey {
            principal: principal_uid(principal),
            groups: groups_of(principal, &self.directory),
            resource: resource.clone(),
            action: *action,
        };
        let slot = Arc::new(Slot { slice: self.policies.slice(key), store: self.store(principal, resource, now)? });
        let key = SlotKey { principal: principal.clone(), resource: resource.clone(), action: *action };
        self.slots.insert(key, slot.clone());
        Some(slot)
    }

    fn store(&self, principal: &Principal, resource: &ResourceRef, now: Timestamp) -> Option<Arc<EntityStore>> {
        let key = StoreKey { principal: principal.clone(), resource: resource.clone() };
        if let Some(store) = self.stores.get(&key).filter(|store| store.is_valid(now)) {
            return Some(store);
        }
        let schema = &self.policies.schema.cedar;
        let store = Arc::new(entities::build(principal, resource, &self.apps, &self.directory, schema, now)?);
        self.stores.insert(key, store.clone());
        Some(store)
    }

    fn decision(&self, request: &AccessRequest, judged: &Judgement, now: Timestamp) -> Decision {
        let slot = judged.slot.as_deref();
        let mut until = hold_until(slot.map(|slot| &*slot.slice), &request.facts, request.session_ends, now);
        if let Some(slot) = slot.filter(|slot| slot.slice.reads_age_days) {
            until = until.min(slot.store.valid_until());
        }
        let part = |policy: &Arc<CompiledPolicy>| DeterminingPolicy { id: policy.id.clone(), set: policy.set };
        Decision {
            effect: judged.effect,
            reason: judged.reason,
            policies: judged.determining.iter().map(part).collect(),
            would: judged.would.clone(),
            fix: judged.fix.clone(),
            hold_until: until,
            read_set: slot.map_or_else(|| Arc::from([]), |slot| slot.slice.read_set.clone()),
            is_audit_strict: judged.determining.iter().any(|policy| policy.is_audit_strict),
            is_search_exhausted: judged.is_search_exhausted,
            pins: Pins {
                policy_hash: self.policies.policy_hash(),
                schema_hash: self.policies.schema_hash(),
                entities_version: self.entities_version,
                engine_version: ENGINE_VERSION,
                context: context_bytes(&settled(request)),
                entity_slice: slot.map_or(&self.no_entities, |slot| &slot.store.pinned).clone(),
            },
            eval_ns: 0,
        }
    }
}

impl PolicyDecisionPoint for Engine {
    fn decide(&self, request: &AccessRequest, now: Timestamp) -> Decision {
        self.decision(request, &self.judge(request, now), now)
    }

    fn explain(&self, request: &AccessRequest, now: Timestamp) -> Explanation {
        let judged = self.judge(request, now);
        let decision = self.decision(request, &judged, now);
        explain::explanation(self, request, judged, decision)
    }

    fn ways_in(&self, request: &AccessRequest, now: Timestamp) -> Vec<Vec<Fix>> {
        match (&request.principal, self.admit(request, now)) {
            (Principal::User(_), Ok(slot)) => self.all_ways(request, &settled(request), &slot),
            _ => Vec::new(),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("policies", &self.policies)
            .field("entities_version", &self.entities_version)
            .finish_non_exhaustive()
    }
}

/// An answer before it is written out.
pub(crate) struct Judgement {
    pub(crate) effect: Effect,
    pub(crate) reason: Reason,
    /// Sorted by id.
    pub(crate) determining: Vec<Arc<CompiledPolicy>>,
    /// Soft forbids that hold but did not decide.
    pub(crate) pending: Vec<Arc<CompiledPolicy>>,
    /// Policies were evaluated and no permit holds.
    pub(crate) lacks_permit: bool,
    pub(crate) would: Vec<Arc<str>>,
    pub(crate) fix: Vec<Fix>,
    /// The limits of the search ended it (PO-5).
    pub(crate) is_search_exhausted: bool,
    /// The facts that a fix would change, also where none is given.
    pub(crate) unmet: BTreeSet<Arc<str>>,
    pub(crate) errors: Vec<(Arc<str>, String)>,
    pub(crate) slot: Option<Arc<Slot>>,
}

impl Judgement {
    fn refusal(reason: Reason, slot: Option<Arc<Slot>>) -> Self {
        Self {
            effect: Effect::Deny,
            reason,
            determining: Vec::new(),
            pending: Vec::new(),
            lacks_permit: false,
            would: Vec::new(),
            fix: Vec::new(),
            is_search_exhausted: false,
            unmet: BTreeSet::new(),
            errors: Vec::new(),
            slot,
        }
    }

    pub(crate) fn decided(effect: Effect, reason: Reason, outcome: Outcome) -> Self {
        let Outcome { verdict, determining, pending, permits_hold, errors } = outcome;
        let lacks_permit = verdict != Verdict::Error && !permits_hold;
        Self { effect, determining, pending, lacks_permit, errors, ..Self::refusal(reason, None) }
    }
}

/// The facts as judged: nobody has proven anything, whatever the door says beside it.
pub(crate) fn settled(request: &AccessRequest) -> Cow<'_, Facts> {
    if request.principal != Principal::Anonymous || !request.facts.auth.authenticated {
        return Cow::Borrowed(&request.facts);
    }
    Cow::Owned(Facts { auth: Facts::unknown().auth, ..request.facts.clone() })
}

/// The reason of the earliest stage, then the first id, that gives one.
pub(crate) fn first_reason(forbids: &[Arc<CompiledPolicy>]) -> Reason {
    let first = forbids.iter().filter(|policy| policy.set != PolicySet::Permit).min_by_key(|policy| policy.stage);
    first.and_then(|policy| policy.reason).unwrap_or(Reason::Forbidden)
}
