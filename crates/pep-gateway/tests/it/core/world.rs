//! A small company at one door: alice (engineering, payroll), bob (contractors), carol (admins), two apps and the
//! control plane.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::app::{
    AppName, AssertionBinding, AssertionSettings, Balance, CONTROL_APP, CrossOrigin, Explain, HostPattern, PathProfile,
    PathSettings, Preflight, Rewrite, RouteName, Sensitivity, UpstreamName, UpstreamScheme, UpstreamTarget,
    UpstreamTimeouts, UpstreamTls,
};
use model::directory::close_groups;
use model::record::AuditRecord;
use model::{
    AccessRequest, Action, ActionClass, App, Clock, Decision, Directory, Effect, Fix, GroupId, PolicyDecisionPoint,
    Principal, Reason, Recorder, Remedy, Route, SessionId, Timestamp, TokenHash, Upstream, UserEntry, UserId,
    UserState,
};
use pep_gateway::listener::TrustedPeers;
use pep_gateway::{
    ConnectionInfo, Gateway, GatewayParts, GatewaySettings, GatewaySnapshot, Outcome, Permit, Protocol, Refusal,
    TlsInfo,
};
use pki::jose::{KeyRing, SigningKey};
use pki::seal::{Kek, Sealer};
use testkit::{FakeFixBudget, FakePdp, FakeRecorder, FakeReserved, FakeSessions, SeqIds, SimClock};
use uuid::Uuid;

pub(crate) const AUTH_URL: &str = "https://localhost:8443";
pub(crate) const COOKIE_SECRET_CHARS: usize = 43;

pub(crate) const ALICE: UserId = UserId(Uuid::from_u128(0xa11ce));
pub(crate) const BOB: UserId = UserId(Uuid::from_u128(0xb0b));
pub(crate) const CAROL: UserId = UserId(Uuid::from_u128(0xca401));

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) recorder: Arc<FakeRecorder>,
    pub(crate) reserved: Arc<FakeReserved>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) fixes: Arc<FakeFixBudget>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(apps(), |directory| rules(Arc::clone(directory)))
    }

    pub(crate) fn with(apps: Vec<App>, rules: impl FnOnce(&Arc<Directory>) -> FakePdp) -> Self {
        let recorder = Arc::new(FakeRecorder::default());
        Self::of(apps, rules, Arc::clone(&recorder), recorder)
    }

    /// A company whose records go elsewhere.
    pub(crate) fn recorded_by(recorder: Arc<dyn Recorder>) -> Self {
        Self::of(apps(), |directory| rules(Arc::clone(directory)), Arc::default(), recorder)
    }

    fn of(
        apps: Vec<App>,
        rules: impl FnOnce(&Arc<Directory>) -> FakePdp,
        recorder: Arc<FakeRecorder>,
        records_to: Arc<dyn Recorder>,
    ) -> Self {
        let clock = Arc::new(SimClock::default());
        let sessions = Arc::new(FakeSessions::default());
        let reserved = Arc::new(FakeReserved::saying("ours"));
        let keys = Arc::new(ArcSwap::from_pointee(KeyRing::new(SigningKey::generate("gw1").unwrap(), clock.now())));
        let sealer = || Arc::new(Kek::from_bytes(&[7; 32]).unwrap().sealer(pki::return_ticket::PURPOSE).unwrap());
        let fixes = Arc::new(FakeFixBudget::default());
        let directory = Arc::new(directory());
        let pdp = Arc::new(rules(&directory));
        let gateway = Gateway::new(GatewayParts {
            settings: GatewaySettings { auth_url: AUTH_URL.to_owned() },
            snapshot: GatewaySnapshot::new(1, apps.into_iter().map(Arc::new).collect(), pdp, directory),
            sessions: Arc::clone(&sessions) as _,
            recorder: records_to,
            reserved: Arc::clone(&reserved) as _,
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SeqIds::default()),
            return_sealer: sealer(),
            assertion_keys: Arc::clone(&keys),
            fixes: Arc::clone(&fixes) as _,
        });
        Self { gateway, sessions, recorder, reserved, clock, keys, sealer: sealer(), fixes }
    }

    /// Signs `user` in and gives the `Cookie` value good on `host`.
    pub(crate) fn sign_in(&self, user: UserId, host: &str) -> (SessionId, String) {
        let id = SessionId(Uuid::from_u128(user.0.as_u128() << 8 | self.sessions.all().len() as u128));
        let secret = format!("{:A<COOKIE_SECRET_CHARS$}", id.to_string());
        let now = self.clock.now();
        self.sessions.open(testkit::session(id, user, now));
        self.sessions.bind(id, host, TokenHash::of(secret.as_bytes()), now);
        (id, format!("__Host-countersign={secret}"))
    }

    pub(crate) async fn ask(&self, request: &str) -> Outcome {
        self.gateway.enforce(raw(request), &connection()).await
    }

    /// The refusal of a request that must be refused; its record must be there.
    pub(crate) async fn refused(&self, request: &str) -> Refusal {
        match self.ask(request).await {
            Outcome::Refuse(refusal) => {
                let record = self.last_record();
                assert_eq!(record.access_id, refusal.access_id(), "the refusal of {request:?} left no record");
                assert_ne!(record.decision.effect, Some(Effect::Allow), "{request:?}");
                assert_eq!(record.completion.status, Some(refusal.status().as_u16()), "{request:?}");
                assert!(!refusal.status().is_success(), "{request:?}");
                refusal
            }
            Outcome::Forward(_) => panic!("forwarded: {request:?}"),
            Outcome::Preflight(_) => panic!("a preflight was answered: {request:?}"),
            Outcome::Reserved(_) => panic!("answered in process: {request:?}"),
        }
    }

    pub(crate) async fn permitted(&self, request: &str) -> Box<Permit> {
        match self.ask(request).await {
            Outcome::Forward(permit) => permit,
            Outcome::Reserved(_) => panic!("answered in process: {request:?}"),
            Outcome::Preflight(refusal) | Outcome::Refuse(refusal) => {
                panic!("{} {:?} for {request:?}", refusal.status(), refusal.reason())
            }
        }
    }

    pub(crate) fn last_record(&self) -> AuditRecord {
        self.recorder.records().pop().expect("a record")
    }

    /// Publishes another version of people or rules.
    pub(crate) fn publish(&self, directory: Directory, rules: impl FnOnce(&Arc<Directory>) -> FakePdp) {
        let old = self.gateway.snapshot();
        let directory = Arc::new(directory);
        let pdp: Arc<dyn PolicyDecisionPoint> = Arc::new(rules(&directory));
        self.gateway.publish(GatewaySnapshot::new(old.version + 1, Arc::clone(&old.apps), pdp, directory));
    }
}

/// A request through the gate, from `METHOD target host` and header lines, separated by newlines.
pub(crate) fn raw(text: &str) -> http_gate::RawRequest {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut first = lines.next().expect("a first line").split(' ');
    let (method, target, host) = (first.next().unwrap(), first.next().unwrap(), first.next().unwrap());
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut gate = http_gate::h1::ServerConnection::new();
    gate.receive(head.as_bytes());
    match gate.next_event() {
        Ok(http_gate::h1::Event::Head(raw)) => *raw,
        other => panic!("{other:?} for {head:?}"),
    }
}

pub(crate) fn connection() -> ConnectionInfo {
    let client: SocketAddr = "192.0.2.7:50000".parse().unwrap();
    ConnectionInfo {
        peer: client,
        client,
        listener: Arc::from("127.0.0.1:8443"),
        public_port: 8443,
        protocol: Protocol::Http1,
        tls: Some(TlsInfo {
            version: "1.3",
            group: Arc::from("X25519MLKEM768"),
            is_post_quantum: true,
            sni: None,
            alpn: Some(Arc::from("http/1.1")),
        }),
        trusted_peers: Arc::new(TrustedPeers::NONE),
    }
}

/// What the policies of the company say, as one function of the question.
pub(crate) fn rules(directory: Arc<Directory>) -> FakePdp {
    FakePdp::new(move |question, now| judge(&directory, question, now))
}

pub(crate) fn judge(directory: &Directory, question: &AccessRequest, now: Timestamp) -> Decision {
    let answer = |effect, reason| testkit::decision(effect, reason, now);
    if question.is_public_path {
        return answer(Effect::Allow, Reason::AllowPublic);
    }
    if question.action.class() == ActionClass::Portal {
        return answer(Effect::Allow, Reason::Allow);
    }
    let Principal::User(id) = &question.principal else {
        return answer(Effect::Deny, Reason::LoginRequired);
    };
    let group = match question.resource.app.as_str() {
        "wiki" => "engineering",
        "payroll" => "payroll",
        _ => "admins",
    };
    let user = directory.users.get(id).expect("the door asks about known people only");
    if !user.groups.contains(&GroupId::new(group)) {
        return answer(Effect::Deny, Reason::NotPermitted);
    }
    if question.action == Action::HttpDelete && question.facts.auth.step_up_age_secs > 300 {
        let fix = Fix { remedy: Remedy::Passkey, acr_values: "phr".to_owned(), max_age_secs: 300, facts: Vec::new() };
        return Decision { fix: vec![fix], ..answer(Effect::StepUp, Reason::StepUpRequired) };
    }
    answer(Effect::Allow, Reason::Allow)
}

pub(crate) fn directory() -> Directory {
    let people = [
        (ALICE, "Alice", "alice@corp.test", vec!["engineering", "payroll"]),
        (BOB, "Bob", "bob@corp.test", vec!["contractors"]),
        (CAROL, "Carol", "carol@corp.test", vec!["admins", "engineering", "payroll"]),
    ];
    let users: HashMap<UserId, Arc<UserEntry>> =
        people.into_iter().map(|(id, name, email, groups)| (id, Arc::new(user(id, name, email, &groups)))).collect();
    Directory { version: 1, users, ..Directory::default() }
}

pub(crate) fn user(id: UserId, name: &str, email: &str, groups: &[&str]) -> UserEntry {
    let direct_groups: BTreeSet<GroupId> = groups.iter().map(|group| GroupId::new(group)).collect();
    UserEntry {
        id,
        name: name.to_owned(),
        email: email.to_owned(),
        is_email_verified: true,
        state: UserState::Active,
        groups: close_groups(&direct_groups, &BTreeMap::new()),
        direct_groups,
        is_external: false,
        created_at: Timestamp(0),
        epoch: 0,
        tags: BTreeMap::new(),
    }
}

/// The directory after `change` to one person.
pub(crate) fn changed(id: UserId, change: impl FnOnce(&mut UserEntry)) -> Directory {
    let mut directory = directory();
    directory.version = 2;
    let entry = directory.users.get_mut(&id).expect("somebody of the company");
    let entry = Arc::make_mut(entry);
    change(entry);
    entry.groups = close_groups(&entry.direct_groups, &BTreeMap::new());
    directory
}

pub(crate) fn apps() -> Vec<App> {
    let mut wiki = app("wiki", &["wiki.localhost"]);
    wiki.public_paths.insert("/favicon.ico".to_owned());
    wiki.websocket_origins.insert("https://editor.localhost:8443".to_owned());
    wiki.cors = Arc::new(CrossOrigin {
        origins: ["https://editor.localhost:8443".to_owned()].into(),
        methods: ["GET", "PUT"].map(str::to_owned).into(),
        headers: ["x-draft".to_owned()].into(),
        preflight: Preflight::Door,
    });
    let mut payroll = app("payroll", &["payroll.localhost"]);
    payroll.title = "Payroll".to_owned();
    payroll.sensitivity = Some(Sensitivity::High);
    payroll.refuses_cross_site_writes = true;
    payroll.routes.insert(
        0,
        Route {
            name: RouteName::new("api"),
            path_prefix: "/api".to_owned(),
            methods: Some(["GET", "POST", "DELETE"].map(str::to_owned).into()),
            rewrite: Some(Rewrite::StripPrefix("/api".to_owned())),
            ..route("web", "/")
        },
    );
    vec![wiki, payroll, control()]
}

pub(crate) fn app(name: &str, hosts: &[&str]) -> App {
    App {
        name: AppName::new(name),
        title: name.to_owned(),
        hosts: hosts
            .iter()
            .map(|host| match host.strip_prefix("*.") {
                Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
                None => HostPattern::Exact((*host).to_owned()),
            })
            .collect(),
        routes: vec![route("web", "/")],
        public_paths: BTreeSet::new(),
        upstreams: BTreeMap::from([(UpstreamName::new("web"), upstream())]),
        sensitivity: Some(Sensitivity::Low),
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
        refuses_cross_site_writes: false,
        clears_site_data: false,
        access: None,
        sends_hsts: true,
        max_staleness: model::app::MAX_STALENESS_DEFAULT,
        declared_at: "apps.yaml:1".to_owned(),
    }
}

pub(crate) fn route(name: &str, prefix: &str) -> Route {
    Route {
        name: RouteName::new(name),
        path_prefix: prefix.to_owned(),
        methods: None,
        upstream: UpstreamName::new("web"),
        rewrite: None,
        max_body_bytes: None,
        action: None,
        access: None,
        cors: None,
        refuses_cross_site_writes: None,
    }
}

fn upstream() -> Upstream {
    Upstream {
        targets: vec![UpstreamTarget { scheme: UpstreamScheme::Http, host: "127.0.0.1".to_owned(), port: 9 }],
        balance: Balance::LeastRequest,
        health: None,
        tls: UpstreamTls::default(),
        host: None,
        timeouts: UpstreamTimeouts { connect: Duration::from_secs(1), ..UpstreamTimeouts::STANDARD },
    }
}

fn control() -> App {
    let mut control = app(CONTROL_APP, &["localhost"]);
    control.upstreams.clear();
    let with = |name, prefix, action| Route { action: Some(action), ..route(name, prefix) };
    control.routes = vec![
        with("login", "/login", Action::PortalSignin),
        with("api", "/api/v1", Action::AdminWrite),
        with("home", "/", Action::PortalRequest),
    ];
    control
}

/// The value of a response header.
pub(crate) fn header<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
    refusal.headers().get(name).map(|value| value.to_str().expect("printable"))
}

pub(crate) fn body(refusal: &Refusal) -> String {
    String::from_utf8(refusal.body().to_vec()).expect("utf-8")
}
