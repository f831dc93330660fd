//! Tables of questions against the answers people expect (PO-38).
//!
//! Pure like every decision: people are made up for their question, the clock stands still, nothing is recorded.
//! Invariant: a row is judged by the engine that doors ask, over the same compiled policies.

mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::decision::{FactRead, StepUpContext};
use model::directory::{GroupEntry, close_groups};
use model::facts::PostureFact;
use model::policy_test::{BaseFacts, PolicyTest, TestPrincipal, TestQuestion, TestRow};
use model::{
    AccessRequest, Action, App, Directory, Effect, Facts, GroupId, PolicyDecisionPoint, Principal, Remedy, TimeZone,
    Timestamp, UserEntry, UserId, UserState,
};

pub use facts::{FactError, fact_names, fact_values, set_fact};

use crate::compile::CompiledPolicies;
use crate::engine::Engine;

/// When every row is asked: a Friday, 08:00 UTC.
const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);
/// The fact that says when it is.
const EPOCH: &str = "request.epoch_secs";
/// How old a made-up person's account is.
const ACCOUNT_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What became of all rows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TestReport {
    /// In the order of tables and rows.
    pub rows: Vec<RowResult>,
    /// Rows that cannot be asked, with what is wrong: a fact that does not exist.
    pub unusable: Vec<(Arc<str>, String)>,
    /// Which policies the rows reach.
    pub coverage: Coverage,
}

impl TestReport {
    /// Rows that got something else than they want.
    pub fn failed(&self) -> impl Iterator<Item = &RowResult> {
        self.rows.iter().filter(|row| !row.wrong.is_empty())
    }
}

/// What became of a row.
#[derive(Clone, PartialEq, Debug)]
pub struct RowResult {
    /// Its table.
    pub test: String,
    /// Its name.
    pub row: String,
    /// Where it stands.
    pub declared_at: Arc<str>,
    /// What differs, one sentence each: `wants ALLOW, got DENY (deny.default)`. Empty: as wanted.
    pub wrong: Vec<String>,
    /// The verdict.
    pub got: Effect,
    /// The policies that decided.
    pub policies: Vec<Arc<str>>,
    /// What the policies that decided, and the nearest permits, read.
    pub facts: Vec<FactRead>,
    /// The row of the table that gets what this one wants and differs least, with the facts that differ.
    pub nearest: Option<(String, Vec<String>)>,
}

/// Which of the operator's policies the rows reach.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// How many there are, built-in ones left out.
    pub policies: usize,
    /// Those that never decided an answer, sorted.
    pub never_determining: Vec<Arc<str>>,
    /// Those whose condition was never seen true, sorted.
    pub never_true: Vec<Arc<str>>,
    /// Those whose condition was never seen false, sorted; policies without condition left out.
    pub never_false: Vec<Arc<str>>,
}

impl Coverage {
    /// How many in a hundred decided some answer, rounded down.
    pub fn percent(&self) -> usize {
        let reached = self.policies - self.never_determining.len().min(self.policies);
        (reached * 100).checked_div(self.policies).unwrap_or(100)
    }
}

/// Asks every row.
///
/// # Errors
/// Two apps of one name.
pub fn run_tests(
    policies: &Arc<CompiledPolicies>,
    apps: &[Arc<App>],
    groups: &BTreeMap<GroupId, Arc<GroupEntry>>,
    tests: &[PolicyTest],
) -> Result<TestReport, crate::EngineError> {
    let mut report = TestReport::default();
    let mut seen = Seen::default();
    for test in tests {
        let mut asked: Vec<(&TestRow, Facts, RowResult)> = Vec::new();
        for row in &test.rows {
            match facts_of(&row.question, policies, apps) {
                Ok(facts) => {
                    let result = ask(policies, apps, groups, (test, row), &facts, &mut seen)?;
                    asked.push((row, facts, result));
                }
                Err(error) => {
                    report.unusable.push((row.declared_at.clone(), format!("the row `{}`: {error}", row.name)))
                }
            }
        }
        let nearest: Vec<_> = asked.iter().map(|failed| nearest_row(failed, &asked)).collect();
        report.rows.extend(asked.into_iter().zip(nearest).map(|((_, _, row), nearest)| RowResult { nearest, ..row }));
    }
    report.coverage = seen.coverage(policies);
    Ok(report)
}

/// What the rows showed of policies.
#[derive(Default)]
struct Seen {
    determining: BTreeSet<Arc<str>>,
    held: BTreeSet<Arc<str>>,
    failed: BTreeSet<Arc<str>>,
}

impl Seen {
    fn coverage(&self, policies: &CompiledPolicies) -> Coverage {
        let own: Vec<_> = policies.policies.iter().filter(|policy| !policy.is_builtin()).collect();
        let without = |set: &BTreeSet<Arc<str>>, is_asked: fn(&crate::compile::CompiledPolicy) -> bool| {
            let missed = own.iter().filter(|policy| is_asked(policy) && !set.contains(&policy.id));
            missed.map(|policy| policy.id.clone()).collect()
        };
        Coverage {
            policies: own.len(),
            never_determining: without(&self.determining, |policy| !policy.is_shadow),
            never_true: without(&self.held, |_| true),
            never_false: without(&self.failed, |policy| !policy.condition.is_empty()),
        }
    }
}

fn ask(
    policies: &Arc<CompiledPolicies>,
    apps: &[Arc<App>],
    groups: &BTreeMap<GroupId, Arc<GroupEntry>>,
    (test, row): (&PolicyTest, &TestRow),
    facts: &Facts,
    seen: &mut Seen,
) -> Result<RowResult, crate::EngineError> {
    let (principal, directory) = person(&row.question.principal, groups);
    let apps: Vec<Arc<App>> = apps.iter().map(|app| as_asked(app, &row.question)).collect();
    let engine = Engine::new(Arc::clone(policies), &apps, directory, 0)?;
    let request = AccessRequest {
        principal,
        action: row.question.action,
        resource: row.question.resource.clone(),
        facts: facts.clone(),
        is_public_path: false,
        session_ends: None,
        step_up: StepUpContext::browser(),
    };
    for (id, holds) in engine.conditions(&request, NOW) {
        if holds { &mut seen.held } else { &mut seen.failed }.insert(id);
    }
    let explanation = engine.explain(&request, NOW);
    let decision = &explanation.decision;
    let decided: Vec<Arc<str>> = decision.policies.iter().map(|policy| policy.id.clone()).collect();
    seen.determining.extend(decided.iter().cloned());
    let mut read: Vec<FactRead> = explanation.policies.iter().flat_map(|part| part.facts.iter().cloned()).collect();
    read.sort_by(|a, b| a.path.cmp(&b.path));
    read.dedup();
    Ok(RowResult {
        test: test.name.clone(),
        row: row.name.clone(),
        declared_at: row.declared_at.clone(),
        wrong: wrong(row, decision),
        got: decision.effect,
        policies: decided,
        facts: read,
        nearest: None,
    })
}

/// What differs from what the row wants.
fn wrong(row: &TestRow, decision: &model::Decision) -> Vec<String> {
    let list = |words: Vec<&str>| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
    let mut wrong = Vec::new();
    if row.want != decision.effect {
        wrong.push(format!("wants {}, got {} ({})", row.want, decision.effect, decision.reason));
    }
    let decided: BTreeSet<String> = decision.policies.iter().map(|policy| policy.id.to_string()).collect();
    if let Some(by) = row.by.as_ref().filter(|by| **by != decided) {
        let words = |ids: &BTreeSet<String>| list(ids.iter().map(String::as_str).collect());
        wrong.push(format!("wants it decided by {}, it was by {}", words(by), words(&decided)));
    }
    let offered: BTreeSet<Remedy> = decision.fix.iter().map(|fix| fix.remedy).collect();
    if let Some(fix) = row.fix.as_ref().filter(|fix| **fix != offered) {
        let words = |fix: &BTreeSet<Remedy>| list(fix.iter().map(|remedy| remedy.as_str()).collect());
        wrong.push(format!("wants the fix {}, got {}", words(fix), words(&offered)));
    }
    wrong
}

/// For a row that failed: the one that gets the verdict it wants with the fewest differing facts.
fn nearest_row(
    (row, facts, result): &(&TestRow, Facts, RowResult),
    all: &[(&TestRow, Facts, RowResult)],
) -> Option<(String, Vec<String>)> {
    if result.wrong.is_empty() {
        return None;
    }
    let others = all.iter().filter(|(other, _, got)| other.name != row.name && got.got == row.want);
    others
        .map(|(other, its_facts, _)| {
            let mut differing = crate::explain::differing(facts, its_facts);
            if other.question.principal != row.question.principal {
                differing.push("the principal".to_owned());
            }
            if other.question.action != row.question.action {
                differing.push("the action".to_owned());
            }
            if (&other.question.resource, other.question.sensitivity, other.question.is_requestable)
                != (&row.question.resource, row.question.sensitivity, row.question.is_requestable)
            {
                differing.push("the resource".to_owned());
            }
            (other.name.clone(), differing)
        })
        .min_by_key(|(_, differing)| differing.len())
}

fn as_asked(app: &Arc<App>, question: &TestQuestion) -> Arc<App> {
    if app.name != question.resource.app {
        return Arc::clone(app);
    }
    let mut app = App::clone(app);
    app.sensitivity = question.sensitivity.or(app.sensitivity);
    app.is_requestable = question.is_requestable.unwrap_or(app.is_requestable);
    Arc::new(app)
}

fn person(who: &TestPrincipal, groups: &BTreeMap<GroupId, Arc<GroupEntry>>) -> (Principal, Arc<Directory>) {
    let nobody = || Arc::new(Directory { groups: groups.clone(), ..Directory::default() });
    match who {
        TestPrincipal::Anonymous => (Principal::Anonymous, nobody()),
        TestPrincipal::Workload(id) => (Principal::Workload(Arc::clone(id)), nobody()),
        TestPrincipal::User { name, groups: direct, is_external } => {
            let id = UserId(uuid::Uuid::from_u128(1));
            let user = UserEntry {
                id,
                name: name.clone(),
                email: name.clone(),
                is_email_verified: name.contains('@'),
                state: UserState::Active,
                groups: close_groups(direct, groups),
                direct_groups: direct.clone(),
                is_external: *is_external,
                created_at: NOW - ACCOUNT_AGE,
                epoch: 0,
                tags: BTreeMap::new(),
            };
            let users = [(id, Arc::new(user))].into_iter().collect();
            (Principal::User(id), Arc::new(Directory { users, groups: groups.clone(), ..Directory::default() }))
        }
    }
}

/// The facts a question is asked with.
///
/// # Errors
/// A fact that does not exist, or a value that does not fit it.
fn facts_of(question: &TestQuestion, policies: &CompiledPolicies, apps: &[Arc<App>]) -> Result<Facts, FactError> {
    let mut facts = match question.base {
        BaseFacts::Clean => clean_facts(question.action, NOW),
        BaseFacts::Unknown => Facts::unknown(),
    };
    if let Some(route) = &question.resource.route {
        route.as_str().clone_into(&mut facts.request.route);
    }
    let app = apps.iter().find(|app| app.name == question.resource.app).map(Arc::as_ref);
    let zone = &policies.settings().time_zone;
    if question.base == BaseFacts::Clean {
        facts.request.tell_time(NOW, zone, app);
    }
    for (name, value) in &question.facts {
        set_fact(&mut facts, name, value)?;
        if name == EPOCH {
            // Another moment is another hour on every clock.
            facts.request.tell_time(Timestamp::from_unix_secs(facts.request.epoch_secs), zone, app);
        }
    }
    Ok(facts)
}

/// Signed in with a second factor just now, on a managed device in order, without risk; never stepped up.
pub fn clean_facts(action: Action, now: Timestamp) -> Facts {
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.auth.acr = "phr".to_owned();
    facts.auth.amr = ["hwk".to_owned(), "user".to_owned()].into();
    (facts.auth.mfa, facts.auth.phishing_resistant, facts.auth.auth_age_secs) = (true, true, 0);
    (facts.session.age_secs, facts.session.idle_secs) = (0, 0);
    let seen = PostureFact { ok: true, age_secs: 10, level: 1 };
    facts.device.known = true;
    facts.device.owner_is_principal = true;
    facts.device.postures_mut().into_iter().for_each(|fact| *fact = seen);
    (facts.risk.known, facts.risk.points, facts.risk.anomaly, facts.risk.age_secs) = (true, 0, 100, 0);
    facts.net.zones.insert(model::access::ADDRESS_KNOWN.to_owned());
    facts.request.door = "http".to_owned();
    facts.request.method = action.as_str().strip_prefix("http.").unwrap_or("").to_ascii_uppercase();
    facts.request.path = "/".to_owned();
    facts.request.original_path = "/".to_owned();
    facts.request.tls_version = "1.3".to_owned();
    facts.request.tell_time(now, &TimeZone::utc(), None);
    facts
}
