//! A small company: wiki, payroll and the built-in app; alice (engineering), bob (contractor), carol (admin).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::app::{
    AppName, AssertionBinding, AssertionSettings, CONTROL_APP, Explain, HostPattern, PathProfile, PathSettings, Route,
    RouteName, Sensitivity, UpstreamName,
};
use model::directory::{GroupEntry, close_groups};
use model::{
    AccessRequest, Action, App, Decision, Directory, Effect, Facts, GroupId, PolicyDecisionPoint, Principal,
    ResourceRef, Timestamp, UserEntry, UserId, UserState,
};
use pdp_engine::{CompiledPolicies, Engine, PolicySource};

pub(crate) const NOW: Timestamp = Timestamp(1_795_340_000_000_000_000);

pub(crate) const ALICE: u128 = 1;
pub(crate) const BOB: u128 = 2;
pub(crate) const CAROL: u128 = 3;
pub(crate) const DAVE_DISABLED: u128 = 4;

pub(crate) fn user(id: u128) -> Principal {
    Principal::User(UserId(uuid::Uuid::from_u128(id)))
}

pub(crate) fn directory_with(alice_groups: &[&str]) -> Arc<Directory> {
    let group = |id: &str, parents: &[&str]| {
        let parents = parents.iter().map(|parent| GroupId::new(parent)).collect();
        (GroupId::new(id), Arc::new(GroupEntry { id: GroupId::new(id), title: id.into(), parents }))
    };
    let groups = BTreeMap::from([
        group("staff", &[]),
        group("engineering", &["staff"]),
        group("contractors", &[]),
        group("admins", &["staff"]),
    ]);
    let entry = |id: u128, name: &str, direct: &[&str], state| {
        let id = UserId(uuid::Uuid::from_u128(id));
        let direct_groups: BTreeSet<GroupId> = direct.iter().map(|group| GroupId::new(group)).collect();
        let entry = UserEntry {
            id,
            name: name.into(),
            email: format!("{name}@example.com"),
            is_email_verified: true,
            state,
            groups: close_groups(&direct_groups, &groups),
            direct_groups,
            is_external: name == "bob",
            created_at: NOW - Duration::from_secs(10 * 86_400),
            epoch: 0,
            tags: BTreeMap::from([("team".to_owned(), BTreeSet::from(["blue".to_owned()]))]),
        };
        (id, Arc::new(entry))
    };
    let users = [
        entry(ALICE, "alice", alice_groups, UserState::Active),
        entry(BOB, "bob", &["contractors"], UserState::Active),
        entry(CAROL, "carol", &["admins"], UserState::Active),
        entry(DAVE_DISABLED, "dave", &["engineering"], UserState::Disabled),
    ];
    Arc::new(Directory {
        version: 1,
        users: users.into_iter().collect(),
        groups: groups.clone(),
        ..Directory::default()
    })
}

pub(crate) fn directory() -> Arc<Directory> {
    directory_with(&["engineering"])
}

pub(crate) fn app(name: &str, sensitivity: Option<Sensitivity>, routes: &[&str]) -> Arc<App> {
    let route = |route: &&str| Route {
        name: RouteName::new(route),
        path_prefix: format!("/{route}"),
        methods: None,
        upstream: UpstreamName::new("main"),
        rewrite: None,
        max_body_bytes: None,
        action: None,
        access: None,
        cors: None,
        refuses_cross_site_writes: None,
    };
    Arc::new(App {
        name: AppName::new(name),
        title: name.to_owned(),
        hosts: vec![HostPattern::Exact(format!("{name}.localhost"))],
        routes: routes.iter().map(route).collect(),
        public_paths: BTreeSet::new(),
        upstreams: BTreeMap::new(),
        sensitivity,
        label: "internal".to_owned(),
        is_requestable: false,
        labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
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
        declared_at: format!("{name}.yaml:1"),
    })
}

fn requestable(mut app: Arc<App>) -> Arc<App> {
    Arc::make_mut(&mut app).is_requestable = true;
    app
}

pub(crate) fn apps() -> Vec<Arc<App>> {
    vec![
        app(CONTROL_APP, Some(Sensitivity::Critical), &["console", "portal"]),
        requestable(app("payroll", Some(Sensitivity::High), &["records"])),
        app("typo", None, &["all"]),
        app("wiki", Some(Sensitivity::Low), &["pages"]),
    ]
}

pub(crate) fn source(text: &str) -> PolicySource {
    PolicySource { file: "t.cedar".to_owned(), text: text.to_owned() }
}

pub(crate) fn compile(text: &str) -> Arc<CompiledPolicies> {
    match CompiledPolicies::compile(&[source(text)]) {
        Ok(policies) => Arc::new(policies),
        Err(problems) => {
            let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", listed.join("\n"))
        }
    }
}

pub(crate) fn engine(text: &str) -> Engine {
    Engine::new(compile(text), &apps(), directory(), 7).unwrap()
}

/// Signed in with a synced passkey an hour ago; never stepped up.
pub(crate) fn signed_in() -> Facts {
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.auth.acr = "phr".to_owned();
    facts.auth.idp = "local".to_owned();
    facts.auth.mfa = true;
    facts.auth.phishing_resistant = true;
    facts.auth.auth_age_secs = 3600;
    facts.session.age_secs = 3600;
    facts.session.idle_secs = 1;
    facts.request.epoch_secs = NOW.unix_secs();
    (facts.request.minute_of_day, facts.request.weekday) = NOW.minute_and_weekday();
    facts
}

pub(crate) fn resource(path: &str) -> ResourceRef {
    match path.split_once('/') {
        Some((app, route)) => ResourceRef { app: AppName::new(app), route: Some(RouteName::new(route)) },
        None => ResourceRef { app: AppName::new(path), route: None },
    }
}

pub(crate) fn ask(principal: Principal, action: Action, path: &str) -> AccessRequest {
    AccessRequest {
        facts: if principal == Principal::Anonymous { Facts::unknown() } else { signed_in() },
        principal,
        action,
        resource: resource(path),
        is_public_path: false,
        session_ends: None,
        step_up: model::decision::StepUpContext::browser(),
    }
}

pub(crate) fn decide(engine: &Engine, request: &AccessRequest) -> Decision {
    engine.decide(request, NOW)
}

/// `ALLOW allow t/a,t/b`
pub(crate) fn short(decision: &Decision) -> String {
    let ids: Vec<&str> = decision.policies.iter().map(|policy| &*policy.id).collect();
    format!("{} {} {}", decision.effect, decision.reason, ids.join(",")).trim_end().to_owned()
}

/// `enrol+reauth`
pub(crate) fn fixes(decision: &Decision) -> String {
    decision.fix.iter().map(|fix| fix.remedy.as_str()).collect::<Vec<_>>().join("+")
}

pub(crate) fn is_allowed(engine: &Engine, request: &AccessRequest) -> bool {
    decide(engine, request).effect == Effect::Allow
}
