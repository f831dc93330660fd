//! What a decision costs, end to end with facts, as the number of policies grows, beside a full scan by
//! stock Cedar. Plain `std::time`; run by `cargo bench -p pdp-engine`.
//!
//! The set: 60 % permits of a group on an app with four conditions, 20 % group on app with hours, 10 % for one person,
//! 10 % risk forbids of one app, and five global forbids. Users are in twelve groups; 64 mixed questions.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Context, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Schema};
use model::app::{
    AppName, AssertionBinding, AssertionSettings, Explain, PathProfile, PathSettings, Sensitivity, UpstreamName,
};
use model::{
    AccessRequest, Action, App, Directory, Effect, Facts, GroupId, PolicyDecisionPoint, Principal, ResourceRef, Route,
    RouteName, Timestamp, UserEntry, UserId, UserState,
};
use pdp_engine::{CompiledPolicies, Engine, PolicySource};
use serde_json::{Value, json};

/// Policies and the apps they are about: twenty to an app, as more policies come of more apps; in the last row two
/// hundred to an app.
const SIZES: [(usize, usize); 5] = [(10, 1), (100, 5), (1_000, 50), (10_000, 500), (10_000, 50)];
const GROUPS: usize = 200;
const GROUPS_PER_USER: usize = 12;
const USERS: usize = 16;
const QUESTIONS: usize = 64;
const NOW: Timestamp = Timestamp(1_795_340_000_000_000_000);
/// Stock Cedar gets fewer rounds where one takes tens of milliseconds.
const STOCK_BUDGET: Duration = Duration::from_secs(3);
const ROUNDS: usize = 400;

fn main() {
    println!("decide() end to end with facts, microseconds per call");
    println!(
        "{:>8} {:>6} {:>10} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "policies", "apps", "min", "p50", "p99", "allowed", "stock p50", "load ms"
    );
    for (size, apps) in SIZES {
        row(size, apps);
    }
    fix_row();
}

/// What a refusal costs that asks for three remedies, beside 100 other policies: every remedy the policies could react to
/// is tried (PO-5).
fn fix_row() {
    let text = format!("{}{THREE}", policies(100, 5));
    let source = PolicySource { file: "bench.cedar".to_owned(), text };
    let Ok(compiled) = CompiledPolicies::compile(&[source]) else { return eprintln!("the policies do not compile") };
    let engine = match Engine::new(Arc::new(compiled), &apps(5), Arc::new(directory()), 1) {
        Ok(engine) => engine,
        Err(error) => return eprintln!("{error}"),
    };
    let mut question = question(0, 5);
    question.step_up = model::decision::StepUpContext::browser();
    question.facts.auth.step_up_age_secs = 86_400;
    let told: Vec<String> = engine.decide(&question, NOW).fix.iter().map(|fix| fix.remedy.token()).collect();
    let mut times = Vec::with_capacity(ROUNDS * QUESTIONS);
    for _ in 0..ROUNDS * QUESTIONS {
        let started = Instant::now();
        let decision = engine.decide(&question, NOW);
        times.push(started.elapsed());
        std::hint::black_box(&decision);
    }
    times.sort();
    println!("\nfix set of three remedies ({}), microseconds per call", told.join(", "));
    println!("{:>10} {:>10} {:>10}", "min", "p50", "p99");
    println!("{:>10.2} {:>10.2} {:>10.2}", at(&times, 0), at(&times, 50), at(&times, 99));
}

/// Everybody may, with a fresh confirmation, an encrypted disk and a patched system.
const THREE: &str = r#"
@id("t0") permit (principal is User, action in Action::"http", resource in App::"app-0");
@id("t1") @class("step_up") forbid (principal is User, action in Action::"door", resource in App::"app-0")
unless { context.auth.step_up_age_secs <= 900 };
@id("t2") @class("step_up") forbid (principal is User, action in Action::"door", resource in App::"app-0")
unless { context.device.encrypted.ok && context.device.encrypted.age_secs <= 86400 };
@id("t3") @class("step_up") forbid (principal is User, action in Action::"door", resource in App::"app-0")
unless { context.device.os_patched.ok && context.device.os_patched.age_secs <= 86400 };
"#;

fn row(size: usize, app_count: usize) {
    let text = policies(size, app_count);
    let started = Instant::now();
    let source = PolicySource { file: "bench.cedar".to_owned(), text: text.clone() };
    let compiled = match CompiledPolicies::compile(&[source]) {
        Ok(compiled) => Arc::new(compiled),
        Err(problems) => return problems.iter().for_each(|problem| eprintln!("{problem}")),
    };
    let load = started.elapsed();
    let directory = Arc::new(directory());
    let engine = match Engine::new(compiled, &apps(app_count), directory.clone(), 1) {
        Ok(engine) => engine,
        Err(error) => return eprintln!("{error}"),
    };
    let questions = questions(app_count);
    let mut allowed = 0;
    for question in &questions {
        allowed += usize::from(engine.decide(question, NOW).effect == Effect::Allow);
    }
    let mut times = Vec::with_capacity(ROUNDS * questions.len());
    for _ in 0..ROUNDS {
        for question in &questions {
            let started = Instant::now();
            let decision = engine.decide(question, NOW);
            times.push(started.elapsed());
            std::hint::black_box(&decision);
        }
    }
    times.sort();
    let stock = stock(&text, &questions, &directory, app_count);
    println!(
        "{:>8} {:>6} {:>10.2} {:>10.2} {:>10.2} {:>7}/{} {:>12.1} {:>12.0}",
        size,
        app_count,
        at(&times, 0),
        at(&times, 50),
        at(&times, 99),
        allowed,
        questions.len(),
        at(&stock, 50),
        load.as_secs_f64() * 1e3,
    );
}

fn at(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

fn policies(size: usize, apps: usize) -> String {
    let mut text = String::new();
    for n in 0..size.saturating_sub(5) {
        let (app, group, user) = (n / 10 % apps, n * 7 % GROUPS, n / 10 % USERS);
        text.push_str(&match n % 10 {
            0..=5 => format!(
                "@id(\"p{n}\") permit (principal in Group::\"group-{group}\", action in Action::\"http\", resource in \
                 App::\"app-{app}\") when {{ context.auth.mfa && context.risk.points < 50 && context.device.managed.ok \
                 && !context.net.tor }};\n"
            ),
            6 | 7 => format!(
                "@id(\"p{n}\") permit (principal in Group::\"group-{group}\", action in Action::\"http\", resource in \
                 App::\"app-{app}\") when {{ context.request.minute_of_day >= 480 && context.request.minute_of_day < \
                 1080 && context.request.weekday <= 5 }};\n"
            ),
            8 => format!(
                "@id(\"p{n}\") permit (principal == User::\"{}\", action, resource in App::\"app-{app}\");\n",
                user_id(user)
            ),
            _ => format!(
                "@id(\"p{n}\") @class(\"step_up\") forbid (principal is User, action in Action::\"write\", resource in \
                 App::\"app-{app}\") when {{ context.risk.points >= 30 && context.auth.step_up_age_secs > 900 }};\n"
            ),
        });
    }
    text.push_str(GLOBAL);
    text
}

const GLOBAL: &str = r#"
@id("g1") forbid (principal, action in Action::"door", resource) when { context.risk.anomaly > 800 };
@id("g2") forbid (principal, action in Action::"door", resource) when { context.net.tor || context.net.high_risk_country };
@id("g3") forbid (principal is User, action in Action::"door", resource) unless { context.device.managed.ok };
@id("g4") @class("step_up") forbid (principal is User, action in Action::"door", resource)
when { resource.sensitivity == "high" && !context.auth.mfa };
@id("g5") forbid (principal is User, action in Action::"door", resource)
when { principal.external && context.request.path like "/admin/*" };
"#;

fn user_id(n: usize) -> UserId {
    UserId(uuid::Uuid::from_u128(0x1000 + n as u128))
}

fn group(n: usize) -> GroupId {
    GroupId::new(&format!("group-{n}"))
}

fn directory() -> Directory {
    let user = |n: usize| {
        let groups: BTreeSet<GroupId> = (0..GROUPS_PER_USER).map(|g| group((n * 13 + g * 17) % GROUPS)).collect();
        let entry = UserEntry {
            id: user_id(n),
            name: format!("user {n}"),
            email: format!("user{n}@example.com"),
            is_email_verified: true,
            state: UserState::Active,
            groups: groups.iter().cloned().collect(),
            direct_groups: groups,
            is_external: false,
            created_at: Timestamp(0),
            epoch: 0,
            tags: BTreeMap::new(),
        };
        (entry.id, Arc::new(entry))
    };
    Directory { version: 1, users: (0..USERS).map(user).collect(), groups: BTreeMap::new(), ..Directory::default() }
}

fn apps(count: usize) -> Vec<Arc<App>> {
    (0..count).map(|n| Arc::new(app(n))).collect()
}

fn app(n: usize) -> App {
    App {
        name: AppName::new(&format!("app-{n}")),
        title: String::new(),
        hosts: Vec::new(),
        routes: vec![Route {
            name: RouteName::new("all"),
            path_prefix: "/".to_owned(),
            methods: None,
            upstream: UpstreamName::new("main"),
            rewrite: None,
            max_body_bytes: None,
            action: None,
            access: None,
            cors: None,
            refuses_cross_site_writes: None,
        }],
        public_paths: BTreeSet::new(),
        upstreams: BTreeMap::new(),
        sensitivity: Some(Sensitivity::Medium),
        label: "internal".to_owned(),
        is_requestable: false,
        labels: BTreeMap::new(),
        explain: Explain::Reason,
        assertion: AssertionSettings {
            is_enabled: true,
            groups: Vec::new(),
            binding: AssertionBinding { binds_target: true },
        },
        path: PathSettings { profile: PathProfile::Strict, allow: BTreeSet::new(), is_case_insensitive: false },
        websocket_origins: BTreeSet::new(),
        cors: Arc::default(),
        passes_odd_header_names: false,
        judges_method_override: false,
        sends_forwarded: false,
        unsigned_headers: BTreeMap::new(),
        context_headers: BTreeSet::new(),
        refuses_cross_site_writes: true,
        clears_site_data: false,
        access: None,
        sends_hsts: false,
        max_staleness: model::app::MAX_STALENESS_DEFAULT,
        declared_at: String::new(),
    }
}

fn questions(apps: usize) -> Vec<AccessRequest> {
    (0..QUESTIONS).map(|n| question(n, apps)).collect()
}

fn question(n: usize, apps: usize) -> AccessRequest {
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.auth.acr = "phr".to_owned();
    facts.auth.amr = ["hwk", "user"].map(str::to_owned).into();
    facts.auth.mfa = true;
    facts.auth.step_up_age_secs = 60;
    facts.device.managed.ok = true;
    facts.risk.points = 10;
    facts.request.method = "GET".to_owned();
    facts.request.host = format!("app-{}.example.com", n % apps);
    facts.request.path = "/records/2026/11/all".to_owned();
    facts.request.original_path = facts.request.path.clone();
    facts.request.segments = ["records", "2026", "11", "all"].map(str::to_owned).into();
    (facts.request.minute_of_day, facts.request.weekday) = NOW.minute_and_weekday();
    AccessRequest {
        principal: Principal::User(user_id(n % USERS)),
        action: if n.is_multiple_of(4) { Action::HttpPost } else { Action::HttpGet },
        resource: ResourceRef { app: AppName::new(&format!("app-{}", n % apps)), route: Some(RouteName::new("all")) },
        facts,
        is_public_path: false,
        session_ends: None,
        step_up: model::decision::StepUpContext::default(),
    }
}

/// Stock Cedar over all policies, one store of all entities, the context ready made: the evaluation alone.
fn stock(text: &str, questions: &[AccessRequest], directory: &Directory, apps: usize) -> Vec<Duration> {
    let prepared = prepare(text, questions, directory, apps);
    let Some((policies, entities, requests)) = prepared else { return Vec::new() };
    let authorizer = Authorizer::new();
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < STOCK_BUDGET && times.len() < ROUNDS * questions.len() {
        for request in &requests {
            let started = Instant::now();
            std::hint::black_box(authorizer.is_authorized(request, &policies, &entities));
            times.push(started.elapsed());
        }
    }
    times.sort();
    times
}

fn prepare(
    text: &str,
    questions: &[AccessRequest],
    directory: &Directory,
    apps: usize,
) -> Option<(PolicySet, Entities, Vec<Request>)> {
    let (schema, _) = Schema::from_cedarschema_str(include_str!("../assets/schema.cedarschema")).ok()?;
    let parsed = PolicySet::from_str(text).ok()?;
    let named =
        parsed.policies().enumerate().map(|(n, policy): (usize, &Policy)| policy.new_id(PolicyId::new(n.to_string())));
    let policies = PolicySet::from_policies(named).ok()?;
    let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
    let mut all: Vec<Value> = Vec::new();
    for user in directory.users.values() {
        let parents: Vec<Value> = user.groups.iter().map(|group| uid("Group", group.as_str())).collect();
        all.push(json!({ "uid": uid("User", &user.id.to_string()), "parents": parents,
            "attrs": { "external": false, "age_days": 100 } }));
    }
    for n in 0..apps {
        let attrs = json!({ "sensitivity": "medium", "label": "internal", "requestable": false });
        let name = format!("app-{n}");
        all.push(json!({ "uid": uid("App", &name), "parents": [], "attrs": attrs }));
        let parents = [uid("App", &name)];
        all.push(json!({ "uid": uid("Route", &format!("{name}/all")), "parents": parents, "attrs": attrs }));
    }
    let entities = Entities::from_json_value(Value::Array(all), Some(&schema)).ok()?;
    let request = |question: &AccessRequest| {
        let action = EntityUid::from_str(&format!("Action::\"{}\"", question.action)).ok()?;
        let context = Context::from_json_value(context(&question.facts), Some((&schema, &action))).ok()?;
        let principal = EntityUid::from_str(&format!("User::\"{}\"", question.principal)).ok()?;
        let resource = EntityUid::from_str(&format!("Route::\"{}\"", question.resource)).ok()?;
        Request::new(principal, action, resource, context, None).ok()
    };
    let requests: Option<Vec<Request>> = questions.iter().map(request).collect();
    Some((policies, entities, requests?))
}

fn context(facts: &Facts) -> Value {
    let unknown = json!({ "ok": false, "age_secs": 1_000_000_000, "level": 0 });
    let managed = json!({ "ok": facts.device.managed.ok, "age_secs": 1_000_000_000, "level": 0 });
    let request = &facts.request;
    json!({
        "auth": { "authenticated": true, "acr": "phr", "amr": facts.auth.amr, "idp": "", "mfa": facts.auth.mfa,
            "phishing_resistant": false, "passkey_synced": false, "auth_age_secs": 1_000_000_000,
            "step_up_age_secs": facts.auth.step_up_age_secs },
        "device": { "known": false, "id": "", "state": "", "ownership": "", "owner_is_principal": false, "key_level": 0,
            "managed": managed, "encrypted": unknown, "compliant": unknown, "os_patched": unknown, "firewall": unknown,
            "screen_lock": unknown, "edr": unknown },
        "net": { "zones": [], "country": "", "country_known": false, "asn": 0, "tor": false, "high_risk_country": false },
        "request": { "door": "", "method": request.method, "host": request.host, "path": request.path,
            "original_path": request.original_path, "segments": request.segments, "route": "", "headers": [],
            "grpc_service": "", "grpc_method": "", "websocket": false, "port": 0, "tls_version": "", "tls_pq": false,
            "epoch_secs": 0, "minute_of_day": request.minute_of_day, "weekday": request.weekday, "hours": request.hours },
        "risk": { "known": false, "points": facts.risk.points, "anomaly": 0, "signals": [], "age_secs": 1_000_000_000 },
        "session": { "age_secs": 1_000_000_000, "idle_secs": 1_000_000_000, "bound": false, "grants": [],
            "granted": false },
    })
}
