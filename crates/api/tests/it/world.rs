//! A control plane with an administrator, a person and two apps; no doors, no sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use api::control::{GatewayControl, GatewayLine, GatewayToken, KeyControl, KeyLine, KeyState, assemble, check_files};
use api::http::{Portal, PortalParts, ReservedEndpoints, local_router};
use api::{ApiSettings, ControlPlane, ControlPlaneParts, DoorControl, Published};
use arc_swap::ArcSwap;
use audit::log::MIN_SEGMENT_BYTES;
use audit::{AuditLog, DailyKeyStore, Day, KeyStoreError, LogConfig, LogSeams, SealKey, SubjectKeys};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use config::SourceFile;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use model::record::{AuditRecord, RecordType};
use model::seams::ReservedContext;
use model::{
    AccessId, App, AppName, BoxFuture, Clock, DecisionId, Ids, Principal, ReservedService, Session, SessionControl,
    SessionId, SessionView, Timestamp, TokenHash, UserId, UserState,
};
use pip_identity::links::Links;
use pip_identity::passkeys::{Passkeys, RelyingParty};
use pip_identity::password_hash::HashCost;
use pip_identity::passwords::Setter;
use pip_identity::store::{DirectoryChange, GroupRow, MembershipRow, MembershipSource, Origin, UserRow};
use pip_identity::throttle::Throttle;
use pip_identity::{Accounts, DirectoryStore, PasswordRules, People};
use pki::return_ticket::{PURPOSE, ReturnTarget, ReturnTicket};
use pki::{Kek, KeyRing, Sealer, SigningKey};
use serde_json::Value;
use store::{KeyStore, Note, SealedSecret, SecretKind, Store};
use testkit::{FakeRecorder, FakeSessionControl, FakeSessions, SeqIds, SimClock};
use tower::ServiceExt;
use uuid::Uuid;

use crate::flaky::Flaky;

use crate::device::Device;

pub(crate) const AUTH: &str = "auth.test";
/// Long enough, and nobody's.
pub(crate) const PASSWORD: &str = "correct zebra lantern orbit";
pub(crate) const ALICE: UserId = UserId(Uuid::from_u128(0xA11CE));
pub(crate) const DAVE: UserId = UserId(Uuid::from_u128(0xDA7E));
pub(crate) const ERIN: UserId = UserId(Uuid::from_u128(0xE217));
pub(crate) const CAROL: UserId = UserId(Uuid::from_u128(0xCA201));

/// An app anybody in `staff` may open, and one that nobody may and that says nothing of itself.
pub(crate) const APPS: &[(&str, &str)] = &[
    (
        "wiki.yaml",
        "apiVersion: countersign/v1\nkind: App\nmetadata:\n  name: wiki\nspec:\n  title: Wiki\n  hosts: [wiki.test]\n  sensitivity: low\n  label: internal\n  upstreams:\n    main:\n      targets: [\"http://127.0.0.1:8081\"]\n",
    ),
    (
        "vault.yaml",
        "apiVersion: countersign/v1\nkind: App\nmetadata:\n  name: vault\nspec:\n  title: Merger Papers\n  hosts: [vault.test]\n  explain: none\n  logout:\n    clear_site_data: true\n  sensitivity: critical\n  label: restricted\n  upstreams:\n    main:\n      targets: [\"http://127.0.0.1:8082\"]\n",
    ),
    (
        "wiki.cedar",
        "@id(\"staff\")\npermit (principal in Group::\"staff\", action in Action::\"http\", resource in App::\"wiki\");\n",
    ),
];

pub(crate) struct World {
    pub(crate) clock: Arc<SimClock>,
    pub(crate) ids: Arc<SeqIds>,
    pub(crate) recorder: Arc<FakeRecorder>,
    pub(crate) sessions: Arc<FakeSessions>,
    pub(crate) session_control: Arc<FakeSessionControl>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) log: Arc<AuditLog>,
    pub(crate) control: Arc<ControlPlane>,
    pub(crate) portal: Arc<Portal>,
    pub(crate) endpoints: Arc<ReservedEndpoints>,
    pub(crate) local: Router,
    pub(crate) return_sealer: Arc<Sealer>,
    pub(crate) passkeys: Arc<Passkeys>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) people_store: Arc<Flaky>,
    pub(crate) store: Arc<Store>,
    _folder: tempfile::TempDir,
}

/// Doors that remember the newest version.
#[derive(Default)]
pub(crate) struct Doors {
    versions: Mutex<Vec<u64>>,
    certificates: Mutex<Vec<api::control::ShownCertificate>>,
}

impl Doors {
    /// Directory versions in the order they were published.
    pub(crate) fn published(&self) -> Vec<u64> {
        self.versions.lock().unwrap().clone()
    }

    /// Shows a certificate that ends then.
    pub(crate) fn show_certificate(&self, name: &str, not_after: Timestamp) {
        let shown = api::control::ShownCertificate { names: vec![name.to_owned()], not_after };
        self.certificates.lock().unwrap().push(shown);
    }
}

impl DoorControl for Doors {
    fn publish(&self, published: &Published) {
        self.versions.lock().unwrap().push(published.directory.version);
    }

    fn is_covered(&self, _: &str) -> bool {
        true
    }

    fn has_certificate(&self, _: &str) -> bool {
        true
    }

    fn certificates(&self) -> Vec<api::control::ShownCertificate> {
        self.certificates.lock().unwrap().clone()
    }
}

/// Signing keys of which every rotation is kept.
struct OneKey(Arc<Store>);

impl KeyControl for OneKey {
    fn list(&self, _: Timestamp) -> Vec<KeyLine> {
        Vec::new()
    }

    fn due(&self, _: Timestamp) -> Vec<&'static str> {
        Vec::new()
    }

    fn rotate<'a>(
        &'a self,
        _: &'a str,
        note: &'a (dyn Fn(&KeyLine) -> Note + Send + Sync),
    ) -> BoxFuture<'a, Result<KeyLine, String>> {
        let line = KeyLine {
            purpose: "receipt",
            kid: "receipt-1".to_owned(),
            signs_from: Timestamp(0),
            state: KeyState::Coming,
        };
        let ring = SealedSecret {
            kind: SecretKind::SigningKeyRing,
            name: "receipt".to_owned(),
            sealed: line.kid.clone().into_bytes(),
            put_at: Timestamp(0),
        };
        Box::pin(async move {
            self.0.put_secret(ring, Some(note(&line))).await.map_err(|error| error.to_string())?;
            Ok(line)
        })
    }
}

/// Gateways of which every invitation and removal succeeds.
struct OneGateway;

impl GatewayControl for OneGateway {
    fn list(&self) -> Vec<GatewayLine> {
        Vec::new()
    }

    fn invite<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<GatewayToken, String>> {
        let (token, control) = (pki::SecretText::new("secret".to_owned()), "https://control.test".to_owned());
        Box::pin(std::future::ready(Ok(GatewayToken { token, control, expires: Timestamp(0) })))
    }

    fn remove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn keys(&self) -> pki::Jwks {
        pki::Jwks::default()
    }

    fn ticket_sealers(&self) -> Vec<Arc<pki::Sealer>> {
        Vec::new()
    }
}

#[derive(Default)]
struct Keys(Mutex<BTreeMap<Day, [u8; 32]>>);

impl SubjectKeys for Keys {
    fn key_for(&self, _: &UserId) -> Option<SealKey> {
        None
    }
}

impl DailyKeyStore for Keys {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        Ok(self.0.lock().unwrap().iter().map(|(day, key)| (*day, SealKey::new(*key))).collect())
    }

    fn save(&self, day: Day, key: &SealKey) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap().insert(day, *key.bytes());
        Ok(())
    }

    fn destroy(&self, day: Day) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap().remove(&day);
        Ok(())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|control| control).await
    }

    /// With another control of sessions around the fake one.
    pub(crate) async fn with<C: SessionControl + 'static>(
        wrap: impl FnOnce(Arc<FakeSessionControl>) -> Arc<C>,
    ) -> Self {
        Self::built(wrap, 0, &[]).await
    }

    /// Where so many others have to approve a configuration; dave and erin administer too.
    pub(crate) async fn asking(approvals: u8) -> Self {
        Self::built(|control| control, approvals, &[(DAVE, "dave", "admins"), (ERIN, "erin", "admins")]).await
    }

    async fn built<C: SessionControl + 'static>(
        wrap: impl FnOnce(Arc<FakeSessionControl>) -> Arc<C>,
        approvals: u8,
        more: &[(UserId, &str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, ids) = (Arc::<SimClock>::default(), Arc::new(SeqIds::seeded(7)));
        let store = Arc::new(Store::open(&folder.path().join("state.db"), clock.now()).await.unwrap());
        let people_store = Arc::new(Flaky::new(Arc::clone(&store)));
        let people = people(&people_store, &clock, &ids, more).await;
        let throttle = Arc::new(Throttle::new());
        let kek = Kek::from_bytes(&[1; pki::seal::KEK_BYTES]).unwrap();
        let sealer = kek.sealer(pip_identity::passwords::SEAL_PURPOSE).unwrap();
        let accounts = Accounts::new(&people, &throttle, sealer, password_rules()).unwrap();
        let accounts = Arc::new(accounts.where_admins_wait(true));
        let sessions = Arc::<FakeSessions>::default();
        let session_control = Arc::new(FakeSessionControl::new(Arc::clone(&sessions), Arc::clone(&clock)));
        let recorder = Arc::<FakeRecorder>::default();
        let doors = Arc::<Doors>::default();
        let groups = BTreeSet::from(["staff".to_owned(), "admins".to_owned()]);
        let checked = check_files(&files(APPS), &known(&groups), &model::PolicySettings::default())
            .unwrap_or_else(|failure| panic!("{failure:?}"));
        let (apps, policies) = checked.parts();
        let log = log(folder.path(), &clock, &ids);
        let control = ControlPlane::new(ControlPlaneParts {
            settings: ApiSettings {
                auth_url: format!("https://{AUTH}"),
                auth_host: AUTH.to_owned(),
                public_port: 443,
                session_idle: model::session::IDLE_DEFAULT,
                session_absolute: model::session::ABSOLUTE_DEFAULT,
                related_origins: vec!["https://auth.new.example".to_owned()],
                policy: model::PolicySettings::default(),
                approvals,
            },
            people: Arc::clone(&people),
            accounts: Arc::clone(&accounts),
            sessions: wrap(Arc::clone(&session_control)),
            session_view: Arc::clone(&sessions) as Arc<dyn SessionView>,
            configs: Arc::clone(&store) as Arc<dyn store::ConfigStore>,
            notes: Arc::clone(&store) as Arc<dyn store::OutboxStore>,
            preferences: Arc::clone(&store) as Arc<dyn store::PreferenceStore>,
            proposals: Arc::clone(&store) as Arc<dyn store::ProposalStore>,
            log: Arc::clone(&log),
            recorder: Arc::clone(&recorder) as Arc<dyn model::Recorder>,
            doors: Arc::clone(&doors) as Arc<dyn DoorControl>,
            published: assemble(0, apps, policies, people.directory()).unwrap(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::clone(&ids) as Arc<dyn Ids>,
        });
        control.set_keys(Arc::new(OneKey(Arc::clone(&store))));
        control.set_sinks(one_sink(&log, folder.path()));
        control.set_gateways(Arc::new(OneGateway));
        let return_sealer = Arc::new(kek.sealer(PURPOSE).unwrap());
        let ring =
            |owner| Arc::new(ArcSwap::from_pointee(KeyRing::new(SigningKey::generate(owner).unwrap(), clock.now())));
        let rp = RelyingParty::new(AUTH, "Countersign", &[format!("https://{AUTH}")]).unwrap();
        let passkeys = Arc::new(Passkeys::new(Arc::clone(&people), Arc::clone(&throttle), rp));
        let portal = Arc::new(Portal::new(PortalParts {
            control: Arc::clone(&control),
            passkeys: Arc::clone(&passkeys),
            links: Links::new(Arc::clone(&people)),
            return_sealer: Arc::clone(&return_sealer),
            form_sealer: kek.sealer("form-token").unwrap(),
            assertion_keys: ring("assertion"),
            receipt_keys: ring("receipt"),
        }));
        let endpoints = Arc::new(ReservedEndpoints::new(Arc::clone(&control), Arc::clone(&portal)));
        let local = local_router(Arc::clone(&control), Arc::clone(&portal));
        Self {
            clock,
            ids,
            recorder,
            sessions,
            session_control,
            doors,
            log,
            control,
            portal,
            endpoints,
            local,
            return_sealer,
            passkeys,
            accounts,
            people_store,
            store,
            _folder: folder,
        }
    }

    /// A live session of a person.
    pub(crate) fn session(&self, user: UserId, n: u128) -> Arc<Session> {
        let session = Session { id: SessionId(Uuid::from_u128(n)), ..self.fresh_session(user) };
        self.sessions.open(session.clone());
        Arc::new(session)
    }

    /// A sign-in of this moment that no door knows.
    pub(crate) fn fresh_session(&self, user: UserId) -> Session {
        let mut session = testkit::session(SessionId(Uuid::from_u128(0xffff)), user, self.clock.now());
        session.epochs.user = self.control.people().directory().users.get(&user).map_or(0, |user| user.epoch);
        session
    }

    /// A device with a passkey of the person behind `session`, whose sign-in is fresh.
    pub(crate) async fn device(&self, session: &Session) -> Device {
        let mut device = Device::at(&format!("https://{AUTH}"));
        let options = self.passkeys.start_registration(session).await.unwrap();
        let answer = device.create(&options).await;
        self.passkeys.finish_registration(session, &answer.json(), "Test key").await.unwrap();
        device
    }

    /// A script's step on the auth host in browser 9.
    pub(crate) async fn script(&self, session: Option<&Arc<Session>>, path: &str, body: &Value) -> Answer {
        let request =
            Request::post(path).header("content-type", "application/json").header("origin", format!("https://{AUTH}"));
        self.call(self.context(AUTH, session, Some(9)), request, &body.to_string()).await
    }

    /// A form of the auth host's own pages, sent in browser 9.
    pub(crate) async fn form(&self, session: Option<&Arc<Session>>, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", format!("https://{AUTH}"));
        self.call(self.context(AUTH, session, Some(9)), request, &body).await
    }

    /// A page of the auth host in browser 9.
    pub(crate) async fn page(&self, session: Option<&Arc<Session>>, path: &str) -> Answer {
        self.get(self.context(AUTH, session, Some(9)), path).await
    }

    /// The session as it is now.
    pub(crate) fn now(&self, session: &Session) -> Arc<Session> {
        self.sessions.session(session.id, self.clock.now()).unwrap()
    }

    /// Password and one-time codes for the person behind `session`, whose sign-in is fresh; the key.
    pub(crate) async fn pair(&self, session: &Session) -> Vec<u8> {
        let offer = self.accounts.passwords.start(Setter::Session(session)).await.unwrap();
        let key = data_encoding::BASE32_NOPAD.decode(offer.base32.as_bytes()).unwrap();
        let code = self.one_time_code(&key);
        self.accounts.passwords.finish(session, PASSWORD, &code).await.unwrap();
        self.clock.advance(std::time::Duration::from_secs(30));
        key
    }

    /// What an authenticator app shows now (RFC 6238).
    pub(crate) fn one_time_code(&self, key: &[u8]) -> String {
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
        mac.update(&pip_identity::totp::step_of(self.clock.now()).to_be_bytes());
        let tag = mac.finalize().into_bytes();
        let at = usize::from(tag[19] & 15);
        let word = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }

    /// What a door says about a request on `host`; an app host when it serves one of the apps.
    pub(crate) fn context(&self, host: &str, session: Option<&Arc<Session>>, browser: Option<u8>) -> ReservedContext {
        let now = self.clock.now();
        let app = host.strip_suffix(".test").filter(|name| *name != "auth").map(AppName::new);
        ReservedContext {
            access_id: AccessId(self.ids.uuid_v7(now)),
            decision_id: DecisionId(self.ids.uuid_v7(now)),
            trace_id: Arc::from("00000000000000000000000000000001"),
            principal: session.map_or(Principal::Anonymous, |session| Principal::User(session.user)),
            session: session.cloned(),
            login_binding: browser.map(browser_hash),
            host: host.to_owned(),
            authority: host.to_owned(),
            client: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 50_000)),
            app,
            now,
        }
    }

    /// A request through a door that let it pass.
    pub(crate) async fn call(&self, context: ReservedContext, request: http::request::Builder, body: &str) -> Answer {
        let mut request = request.body(Bytes::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(context);
        Answer::of(self.endpoints.call(request).await)
    }

    pub(crate) async fn get(&self, context: ReservedContext, path: &str) -> Answer {
        self.call(context, Request::get(path), "").await
    }

    /// A request on the local socket.
    pub(crate) async fn local(&self, method: &str, path: &str, body: &Value) -> Answer {
        let response = self.local.clone().oneshot(local_request(method, path, body)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer::of(Response::from_parts(parts, body))
    }

    /// The records beside decisions that were kept since `from`.
    pub(crate) fn kinds_since(&self, from: usize) -> Vec<&'static str> {
        let records = self.recorder.records();
        records[from..].iter().filter(|r| r.kind != RecordType::AccessDecision).map(|r| r.kind.as_str()).collect()
    }

    /// A ticket as the door of `host` seals it for a browser.
    pub(crate) fn ticket(&self, host: &str, browser: u8, target: &str) -> String {
        let ticket = ReturnTicket {
            authority: host.to_owned(),
            target: ReturnTarget::Inline(target.to_owned()),
            binding: browser_hash(browser),
            created: self.clock.now(),
        };
        ticket.seal(&self.return_sealer, self.ids.as_ref()).unwrap()
    }

    pub(crate) fn user_state(&self, user: UserId) -> UserState {
        self.control.published().directory.users[&user].state
    }
}

pub(crate) fn local_request(method: &str, path: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(serde_json::to_vec(body).unwrap()))
        .unwrap()
}

/// The hash of the login-binding cookie of browser `n`.
pub(crate) fn browser_hash(n: u8) -> TokenHash {
    TokenHash::of(&[n])
}

/// An answer, easy to look at.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: String,
    pub(crate) sets_session: bool,
    pub(crate) clear_site_data: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    fn of(response: Response<Bytes>) -> Self {
        let header =
            |name| response.headers().get(name).map(|value: &http::HeaderValue| value.to_str().unwrap().to_owned());
        let mut cookies = response.headers().get_all(header::SET_COOKIE).iter();
        Self {
            status: response.status(),
            location: header(header::LOCATION).unwrap_or_default(),
            sets_session: cookies.any(|cookie| cookie.as_bytes().starts_with(b"__Host-countersign=")),
            retry_after: header(header::RETRY_AFTER),
            clear_site_data: header(http::HeaderName::from_static("clear-site-data")),
            body: String::from_utf8_lossy(response.body()).into_owned(),
        }
    }

    /// The value of the first `name="…"` of the page.
    pub(crate) fn attribute(&self, name: &str) -> String {
        let found = self.body.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        found.unwrap_or_else(|| panic!("no `{name}` in {}", self.body)).to_owned()
    }

    /// The value of the hidden field or input `name` of the page.
    pub(crate) fn field(&self, name: &str) -> String {
        let rest = self.body.split(&format!("name=\"{name}\"")).nth(1);
        let value = rest.and_then(|rest| rest.split("value=\"").nth(1)).and_then(|rest| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no field `{name}` in {}", self.body)).to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
    texts.iter().map(|(name, text)| SourceFile { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

/// alice in `staff`, carol in `admins`, and whoever else; all have enrolled.
async fn people(
    store: &Arc<Flaky>,
    clock: &Arc<SimClock>,
    ids: &Arc<SeqIds>,
    more: &[(UserId, &str, &str)],
) -> Arc<People> {
    let group = |id: &str| model::GroupId::new(id);
    let mut changes = Vec::new();
    for name in ["staff", "admins"] {
        changes.push(DirectoryChange::PutGroup(GroupRow {
            id: group(name),
            title: name.to_owned(),
            parents: BTreeSet::new(),
            origin: Origin::Local,
            membership: MembershipSource::External,
        }));
    }
    for (id, name, of) in [(ALICE, "alice", "staff"), (CAROL, "carol", "admins")].iter().chain(more).copied() {
        changes.push(DirectoryChange::PutUser(UserRow {
            id,
            email: format!("{name}@corp.test"),
            name: name.to_owned(),
            state: UserState::Active,
            is_external: false,
            created_at: clock.now(),
            epoch: 1,
            tags: BTreeMap::new(),
            origin: Origin::Local,
            handle: [name.len() as u8 ^ name.as_bytes()[0]; pip_identity::store::USER_HANDLE_BYTES],
        }));
        changes.push(DirectoryChange::PutMembership(MembershipRow {
            group: group(of),
            user: id,
            source: MembershipSource::External,
        }));
    }
    let version = store.load().await.unwrap().version;
    store.apply(Some(version), changes).await.unwrap();
    Arc::new(People::load(store.clone(), clock.clone(), ids.clone()).await.unwrap())
}

/// Passwords are on, and a hash costs next to nothing.
fn password_rules() -> PasswordRules {
    PasswordRules {
        is_enabled: true,
        min_chars: 15,
        admins_need_passkey: true,
        cost: HashCost { memory_kib: 8, passes: 1 },
        issuer: "Corp".to_owned(),
        names: Vec::new(),
    }
}

/// A file beside the record, that nobody fills.
fn one_sink(log: &AuditLog, folder: &std::path::Path) -> Arc<audit::Sinks> {
    let settings = audit::SinkSettings {
        name: "copy".to_owned(),
        kind: "file",
        target: "a file".to_owned(),
        types: Vec::new(),
        is_from_start: true,
        batch_records: 1,
        batch_bytes: 1,
        batch_age: std::time::Duration::ZERO,
        alert_after: std::time::Duration::from_secs(1),
    };
    let file = audit::sinks::file::FileSink::new(folder.join("copy.jsonl"), 1 << 20, 1);
    audit::Sinks::new(log, folder.join("sinks"), vec![(settings, Arc::new(file))])
}

fn log(folder: &std::path::Path, clock: &Arc<SimClock>, ids: &Arc<SeqIds>) -> Arc<AuditLog> {
    let keys = Arc::<Keys>::default();
    let seams = LogSeams { clock: clock.clone(), ids: ids.clone(), subject_keys: keys.clone(), daily_keys: keys };
    let config = LogConfig {
        segment_bytes: MIN_SEGMENT_BYTES,
        reserves: 0,
        ..LogConfig::new(folder.join("audit"), "test/local".to_owned())
    };
    Arc::new(AuditLog::open(&config, seams).unwrap().0)
}

/// The action the doors ask for: the first route of the built-in app that has prefix and method, as they are sorted.
pub(crate) fn action_of(apps: &[Arc<App>], method: &str, path: &str) -> (model::Action, model::RouteName) {
    let app = apps.iter().find(|app| app.is_control_plane()).unwrap();
    let has_prefix = |prefix: &str| {
        prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let fits = |route: &&model::Route| {
        has_prefix(&route.path_prefix) && route.methods.as_ref().is_none_or(|methods| methods.contains(method))
    };
    let route = app.routes.iter().find(fits).unwrap();
    (route.action.unwrap(), route.name.clone())
}

pub(crate) fn has_text(records: &[AuditRecord], needle: &str) -> bool {
    records.iter().any(|record| format!("{:?}", record.change).contains(needle))
}

/// A process with certificates for everything.
fn known(groups: &BTreeSet<String>) -> config::Known<'_> {
    config::Known { auth_host: AUTH, is_covered: &|_| true, is_certificate: &|_| true, groups }
}
