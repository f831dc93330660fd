//! Findings made by asking what would change an answer (L-3, L-5, L-15; PO-42): a condition is evaluated over made-up
//! facts, then over what remedies make of them.
//!
//! Not a proof: a few kinds of facts are tried, with the words the condition itself compares with. What they do not reach
//! is not told. Invariant: only Cedar's evaluator says whether a condition holds; nothing here reads its meaning off it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal};
use model::app::{CONTROL_APP, HostPattern};
use model::decision::{FixKind, PolicySet};
use model::policy_test::FactInput;
use model::{
    Action, App, AppName, Directory, Facts, GroupId, Principal, ResourceRef, RouteName, Timestamp, UserEntry, UserId,
    UserState,
};

use crate::analysis::path_of;
use crate::compile::{CompiledPolicies, CompiledPolicy};
use crate::context::{self, Needs};
use crate::entities::{self, Apps, EntityStore, Kind, Uid, principal_uid};
use crate::index::{Part, Question};
use crate::kernel::{Asked, Parsed};
use crate::lint::is_own;
use crate::policy_test::{clean_facts, set_fact};
use crate::problem::{Finding, FindingKind};
use crate::schema::{BuiltinSchema, Offer};
use crate::search::{self, Set};

/// The most policies asked about; each costs up to a few thousand evaluations of its condition.
const MAX_ASKED: usize = 2_000;
/// The most remedies of which every combination is tried on one condition.
const MAX_OFFERS: usize = 7;
/// The most words of one condition that are put into the facts.
const MAX_WORDS: usize = 64;
/// A Friday, 08:00 UTC.
const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

/// Findings about forbids and remedies, and findings about pages nobody can reach who needs them.
pub(crate) fn findings(policies: &CompiledPolicies, apps: &Apps) -> Vec<Finding> {
    let forbids = policies.policies.iter().filter(|policy| is_own(policy) && policy.set != PolicySet::Permit);
    let mut found: Vec<Finding> =
        forbids.take(MAX_ASKED).filter_map(|forbid| of_forbid(policies, apps, forbid)).collect();
    for action in [Action::PortalSignin, Action::PortalEnrol, Action::PortalRecover] {
        let place = ResourceRef { app: AppName::new(CONTROL_APP), route: None };
        let shut = shutting(policies, apps, &place, action);
        let tell = |policy: &Arc<CompiledPolicy>| Finding {
            declared_at: policy.declared_at.clone(),
            kind: FindingKind::UnreachableFix,
            message: format!(
                "`{}` keeps a device nothing is known of from `{action}`, where what it asks for is done; scope it by \
                 `action in Action::\"door\"`",
                policy.id
            ),
        };
        found.extend(shut.iter().map(tell));
    }
    found.extend(policies.remedies().entries().iter().filter_map(|entry| page(policies, apps, entry)));
    found
}

/// Whether a soft forbid stays whatever is done, or a forbid comes by what is done.
fn of_forbid(policies: &CompiledPolicies, apps: &Apps, forbid: &Arc<CompiledPolicy>) -> Option<Finding> {
    let schema = &policies.schema;
    let needs = Needs::of(forbid.reads.paths.iter());
    let offers: Vec<&Offer> =
        schema.remedies.iter().filter(|offer| needs.meets(&offer.touches)).take(MAX_OFFERS).collect();
    let tell = |kind, message: String| {
        Some(Finding { declared_at: forbid.declared_at.clone(), kind, message: format!("`{}` {message}", forbid.id) })
    };
    if offers.is_empty() {
        let is_soft = forbid.set == PolicySet::SoftForbid;
        let message = "asks for a step-up, but no remedy changes any fact it reads; leave `@class` out".to_owned();
        return is_soft.then(|| tell(FindingKind::NoRemedy, message)).flatten();
    }
    let scene = Scene::of(forbid, apps, schema)?;
    let (mut holds_somewhere, mut ends_somewhere) = (false, false);
    for base in scene.bases(forbid) {
        let held = scene.holds(forbid, schema, &base)?;
        for set in 1..=search::all(offers.len()) {
            let done = with(&base, &offers, set);
            match (held, scene.holds(forbid, schema, &done)?) {
                (true, false) => ends_somewhere = true,
                (false, true) => {
                    let message = format!("forbids once somebody did {}, and not before", names(&offers, set));
                    return tell(FindingKind::RemedyCloses, message);
                }
                _ => {}
            }
        }
        holds_somewhere |= held;
    }
    let stays = forbid.set == PolicySet::SoftForbid && holds_somewhere && !ends_somewhere;
    let message = format!(
        "asks for a step-up, but still holds after {}, alone or together; leave `@class` out or change what it asks for",
        names(&offers, search::all(offers.len()))
    );
    stays.then(|| tell(FindingKind::NoRemedy, message)).flatten()
}

/// The facts once a set of remedies is done.
fn with(base: &Facts, offers: &[&Offer], set: Set) -> Facts {
    let mut facts = base.clone();
    let done = offers.iter().enumerate().filter(|(at, _)| set & search::bit(*at) != 0);
    done.flat_map(|(_, offer)| &offer.changes).for_each(|change| change.apply(&mut facts));
    facts
}

fn names(offers: &[&Offer], set: Set) -> String {
    let done = offers.iter().enumerate().filter(|(at, _)| set & search::bit(*at) != 0);
    let names: Vec<String> = done.map(|(_, offer)| format!("`{}`", offer.remedy.as_str())).collect();
    names.join(", ")
}

/// The page of a remedy for a device, on a host of an app that lets no such device in.
fn page(policies: &CompiledPolicies, apps: &Apps, entry: &model::remedy::RemedyEntry) -> Option<Finding> {
    let page = entry.page.as_deref().filter(|_| entry.remedy.kind() == FixKind::Device)?;
    let rest = page.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let path = rest.strip_prefix(authority).and_then(|rest| rest.split(['?', '#']).next()).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let app = apps.iter().find(|app| app.hosts.iter().any(|pattern| answers(pattern, &host)))?;
    let is_below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
    };
    let route = app.routes.iter().find(|route| is_below(&route.path_prefix));
    let place = ResourceRef { app: app.name.clone(), route: route.map(|route| route.name.clone()) };
    let shut = shutting(policies, apps, &place, Action::HttpGet);
    let first = shut.first()?;
    Some(Finding {
        declared_at: entry.declared_at.to_string(),
        kind: FindingKind::UnreachableFix,
        message: format!(
            "the page of the remedy `{}` is in the app `{}`, which `{}` keeps devices from that need it",
            entry.remedy.as_str(),
            app.name,
            first.id
        ),
    })
}

fn answers(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(exact) => exact == host,
        HostPattern::Wildcard(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
    }
}

/// The forbids that hold for a device nothing is known of, and not for a perfect one.
fn shutting(policies: &CompiledPolicies, apps: &Apps, place: &ResourceRef, action: Action) -> Vec<Arc<CompiledPolicy>> {
    let schema = &policies.schema;
    let Some(scene) = Scene::new(place.clone(), action, &BTreeSet::new(), apps, schema) else { return Vec::new() };
    let perfect = clean_facts(action, NOW);
    let unknown = Facts { device: Facts::unknown().device, ..perfect.clone() };
    let question = Question::new(principal_uid(&scene.principal), &[], place, action);
    let is_shut = |policy: &&Arc<CompiledPolicy>| {
        policy.set != PolicySet::Permit
            && !policy.is_shadow
            && policy.scope.covers(&question)
            && scene.holds(policy, schema, &unknown) == Some(true)
            && scene.holds(policy, schema, &perfect) == Some(false)
    };
    policies.policies.iter().filter(is_shut).cloned().collect()
}

/// A made-up question.
struct Scene {
    principal: Principal,
    action: Action,
    store: EntityStore,
}

impl Scene {
    /// One that the scope of `policy` covers; `None` if it speaks of workloads, which never step up, or of what is not
    /// declared.
    fn of(policy: &CompiledPolicy, apps: &Apps, schema: &BuiltinSchema) -> Option<Self> {
        let groups = match &policy.scope.principal {
            Part::Any | Part::Is(Kind::User) => BTreeSet::new(),
            Part::In(Uid { kind: Kind::Group, id }) | Part::IsIn(Kind::User, Uid { kind: Kind::Group, id }) => {
                BTreeSet::from([GroupId::new(id)])
            }
            _ => return None,
        };
        let action =
            Action::ALL.iter().copied().find(|action| policy.scope.actions & crate::schema::bit(*action) != 0)?;
        Self::new(resource(&policy.scope.resource, apps)?, action, &groups, apps, schema)
    }

    fn new(
        resource: ResourceRef,
        action: Action,
        groups: &BTreeSet<GroupId>,
        apps: &Apps,
        schema: &BuiltinSchema,
    ) -> Option<Self> {
        let id = UserId(uuid::Uuid::from_u128(1));
        let user = UserEntry {
            id,
            name: String::new(),
            email: String::new(),
            is_email_verified: false,
            state: UserState::Active,
            groups: groups.iter().cloned().collect(),
            direct_groups: groups.clone(),
            is_external: false,
            created_at: NOW,
            epoch: 0,
            tags: BTreeMap::new(),
        };
        let directory = Directory { users: HashMap::from([(id, Arc::new(user))]), ..Directory::default() };
        let principal = Principal::User(id);
        let store = entities::build(&principal, &resource, apps, &directory, &schema.cedar, NOW)?;
        Some(Self { principal, action, store })
    }

    /// Whether a condition holds; `None` where it cannot be evaluated.
    fn holds(&self, policy: &CompiledPolicy, schema: &BuiltinSchema, facts: &Facts) -> Option<bool> {
        let (principal, resource) = &self.store.names;
        let context = context::build(facts, &Needs::ALL);
        let asked = Asked::new(principal, &schema.action(self.action)?.name, resource, &context);
        asked.judge(&self.store.entities).holds(&policy.condition).ok()
    }

    /// Facts of somebody in order and of somebody of whom only the sign-in is known, from a good and from a bad place; each
    /// also with the words the condition compares with.
    fn bases(&self, policy: &CompiledPolicy) -> Vec<Facts> {
        let clean = clean_facts(self.action, NOW);
        let mut bare = Facts { auth: Facts::unknown().auth, device: Facts::unknown().device, ..clean.clone() };
        bare.auth.authenticated = true;
        let adverse = |facts: &Facts| {
            let mut facts = facts.clone();
            (facts.net.tor, facts.net.high_risk_country) = (true, true);
            (facts.risk.points, facts.risk.anomaly) = (100, 1_000);
            facts
        };
        let plain = [clean.clone(), bare.clone(), adverse(&clean), adverse(&bare)];
        let words = words(policy);
        let spoken = |facts: &Facts| {
            let mut facts = facts.clone();
            for (path, value) in &words {
                // What is no fact, or one of another type, stays as it is.
                let name = path.strip_prefix("context.").unwrap_or(path);
                let _is_set = set_fact(&mut facts, name, &FactInput::Text(value.clone()));
                let _is_set = set_fact(&mut facts, name, &FactInput::Texts([value.clone()].into()));
            }
            facts
        };
        let spoken: Vec<Facts> = if words.is_empty() { Vec::new() } else { plain.iter().map(spoken).collect() };
        plain.into_iter().chain(spoken).collect()
    }
}

/// A declared resource that a scope covers.
fn resource(part: &Part, apps: &Apps) -> Option<ResourceRef> {
    let first_route = |app: &App| app.routes.first().map(|route| route.name.clone());
    let app = |name: &str| apps.find(&AppName::new(name));
    match part {
        Part::Any | Part::Is(Kind::App) => {
            apps.iter().min_by(|a, b| a.name.cmp(&b.name)).map(|app| ResourceRef { app: app.name.clone(), route: None })
        }
        Part::Is(Kind::Route) => {
            let app = apps.iter().filter(|app| !app.routes.is_empty()).min_by(|a, b| a.name.cmp(&b.name))?;
            Some(ResourceRef { app: app.name.clone(), route: first_route(app) })
        }
        Part::Eq(Uid { kind: Kind::App, id })
        | Part::In(Uid { kind: Kind::App, id })
        | Part::IsIn(Kind::App, Uid { kind: Kind::App, id }) => {
            app(id).map(|app| ResourceRef { app: app.name.clone(), route: None })
        }
        Part::IsIn(Kind::Route, Uid { kind: Kind::App, id }) => {
            let app = app(id)?;
            Some(ResourceRef { app: app.name.clone(), route: Some(first_route(app)?) })
        }
        Part::Eq(Uid { kind: Kind::Route, id }) | Part::In(Uid { kind: Kind::Route, id }) => {
            let (name, route) = id.split_once('/')?;
            let known = app(name)?.routes.iter().any(|known| known.name.as_str() == route);
            known.then(|| ResourceRef { app: AppName::new(name), route: Some(RouteName::new(route)) })
        }
        _ => None,
    }
}

/// The first word that each fact is compared with.
fn words(policy: &CompiledPolicy) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(tree) = Parsed::one(&policy.text).and_then(|parsed| parsed.tree()) {
        for clause in tree.clauses() {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            gather(expr, &mut found);
        }
    }
    found
}

fn gather(expr: &Expr, found: &mut BTreeMap<String, String>) {
    match expr {
        Expr::BinaryOp { op, left, right } => {
            let texts = |expr: &Expr| match expr {
                Expr::Literal(Literal::String(text)) => Some(text.to_string()),
                Expr::Set(members) => members.iter().find_map(|member| match member.as_ref() {
                    Expr::Literal(Literal::String(text)) => Some(text.to_string()),
                    _ => None,
                }),
                _ => None,
            };
            let is_comparison = {
                use BinaryOp as Op;
                matches!(op, Op::Eq | Op::NotEq | Op::Contains | Op::ContainsAny | Op::ContainsAll)
            };
            for (fact, word) in [(left, right), (right, left)].into_iter().filter(|_| is_comparison) {
                if let (Some(path), Some(text), true) = (path_of(fact), texts(word), found.len() < MAX_WORDS) {
                    found.entry(path).or_insert(text);
                }
            }
            gather(left, found);
            gather(right, found);
        }
        Expr::UnaryOp { expr, .. } => gather(expr, found),
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            [cond, then_expr, else_expr].into_iter().for_each(|expr| gather(expr, found));
        }
        _ => {}
    }
}
