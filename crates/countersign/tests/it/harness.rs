//! A company to attack: a real server on real sockets, two apps behind it, and its people.
//!
//! The public address is `https://localhost` while the listener has a port of its own, as behind a port mapping: every
//! authority is then written without a port, just as the rows of the attack table are.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod stream;
pub(crate) mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use config::ServerConfig;
use countersign::cli::Global;
use countersign::client::Client as Operator;
use countersign::roles::serve::{ServeOptions, Server};
use countersign::system::{SystemClock, SystemIds};
use model::{Clock, Timestamp};
use pki::jose::VerifyingKeys;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestCa;

use self::app::RecordingApp;
use self::browser::Browser;
use self::wire::{Answer, Door, Wire};

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Where people sign in.
pub(crate) const AUTH: &str = "localhost";
pub(crate) const WIKI: &str = "wiki.localhost";
pub(crate) const PAYROLL: &str = "payroll.localhost";
/// Covered by the certificate, served by nobody.
pub(crate) const OTHER: &str = "other.localhost";
pub(crate) const ISSUER: &str = "https://localhost";

/// Stops soon.
pub(crate) const OPTIONS: ServeOptions =
    ServeOptions { drain_delay: Duration::ZERO, drain: Duration::from_secs(1), log_reserves: 0 };

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// The real time, plus what a test has jumped over.
#[derive(Default)]
pub(crate) struct JumpingClock {
    real: SystemClock,
    ahead: AtomicI64,
}

impl JumpingClock {
    pub(crate) fn jump(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.real.now().0 + self.ahead.load(Ordering::SeqCst))
    }
}

/// Everything at once.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) operator: Operator,
    pub(crate) clock: Arc<JumpingClock>,
    pub(crate) door: Door,
    pub(crate) wiki: RecordingApp,
    pub(crate) payroll: RecordingApp,
    folder: TempDir,
    /// People may set a password with one-time codes.
    has_passwords: bool,
}

impl World {
    /// A fresh server: no configuration, no people.
    pub(crate) async fn fresh() -> Self {
        Self::started(OPTIONS).await
    }

    pub(crate) async fn started(options: ServeOptions) -> Self {
        Self::with(options, |_| String::new()).await
    }

    /// With what `more` says of the server's folder behind the usual process configuration.
    pub(crate) async fn with(options: ServeOptions, more: impl FnOnce(&std::path::Path) -> String) -> Self {
        Self::started_with(options, false, more).await
    }

    /// The usual apps and policies, and passwords for who wants them.
    pub(crate) async fn with_passwords() -> Self {
        let world = Self::started_with(OPTIONS, true, |_| String::new()).await;
        world.apply("", POLICIES).await;
        world
    }

    async fn started_with(
        options: ServeOptions,
        has_passwords: bool,
        more: impl FnOnce(&std::path::Path) -> String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new();
        let issued = ca.issue(&[AUTH, WIKI, PAYROLL, OTHER]);
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("chain.pem"), &issued.chain_pem).unwrap();
        std::fs::write(at("key.pem"), issued.key_pem.expose()).unwrap();
        let text = server_toml(&folder.path().display().to_string(), has_passwords) + &more(folder.path());
        let config = ServerConfig::parse("server.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let clock = Arc::new(JumpingClock::default());
        let server = Server::start(config, options, clock.clone(), Arc::new(SystemIds)).await.unwrap();
        let operator = Operator::find(&Global { json: false, socket: Some(server.socket.clone()) }).unwrap();
        let door = Door::new(server.addresses[0], ca);
        let (wiki, payroll) = (RecordingApp::start().await, RecordingApp::start().await);
        Self { server, operator, clock, door, wiki, payroll, folder, has_passwords }
    }

    /// The same server stopped and started again at the same address.
    pub(crate) async fn restarted(self) -> Self {
        let Self { server, clock, door, wiki, payroll, folder, has_passwords, .. } = self;
        let address = server.addresses[0];
        server.stop().await;
        let text = server_toml(&folder.path().display().to_string(), has_passwords).replacen(
            "address = \"127.0.0.1:0\"",
            &format!("address = \"{address}\""),
            1,
        );
        let config = ServerConfig::parse("server.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let server = Server::start(config, OPTIONS, clock.clone(), Arc::new(SystemIds)).await.unwrap();
        let operator = Operator::find(&Global { json: false, socket: Some(server.socket.clone()) }).unwrap();
        Self { server, operator, clock, door, wiki, payroll, folder, has_passwords }
    }

    /// A server with the usual apps and policies.
    pub(crate) async fn open() -> Self {
        let world = Self::fresh().await;
        world.apply("", POLICIES).await;
        world
    }

    /// Applies the usual apps with `wiki` added to the wiki's specification, and `policies`.
    pub(crate) async fn apply(&self, wiki: &str, policies: &str) -> Value {
        let apps = format!(
            "{}---\n{}---\n{GROUPS}",
            app_yaml("wiki", WIKI, &self.wiki, wiki),
            app_yaml("payroll", PAYROLL, &self.payroll, "  sensitivity: critical\n  explain: none\n"),
        );
        let files = json!([{ "name": "apps.yaml", "text": apps }, { "name": "rules.cedar", "text": policies }]);
        let body = json!({ "files": files, "reason": "test" });
        match self.operator.post("/api/v1/config/apply", &body).await {
            Ok(applied) => applied,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// The first administrator, signed in on the auth host.
    pub(crate) async fn carol(&self) -> Browser {
        let link = self.operator.post("/api/v1/setup-link", &json!({})).await.unwrap();
        let mut carol = Browser::new(&self.door);
        carol.enrol(link["url"].as_str().unwrap(), json!({ "name": "Carol", "email": "carol@example.org" })).await;
        carol
    }

    /// Somebody in `group`, invited and signed in on the auth host.
    pub(crate) async fn person(&self, name: &str, group: &str) -> Browser {
        self.person_called(name, name, group).await
    }

    /// The same with a name of their choice.
    pub(crate) async fn person_called(&self, name: &str, shown: &str, group: &str) -> Browser {
        let email = email(name);
        let new = json!({ "email": email, "name": shown, "groups": [group] });
        self.operator.post("/api/v1/users", &new).await.unwrap_or_else(|error| panic!("{error:#}"));
        let link = self.operator.post("/api/v1/invites", &json!({ "user": email })).await.unwrap();
        let mut person = Browser::new(&self.door);
        person.enrol(link["url"].as_str().unwrap(), json!({})).await;
        person
    }

    /// A connection that speaks HTTP/1.1 in raw bytes.
    pub(crate) async fn wire(&self) -> Wire {
        self.door.http1().await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut wire = self.wire().await;
        wire.send(bytes).await;
        wire.answer().await
    }

    /// Records of the last day that match.
    pub(crate) async fn records(&self, filters: &[(&str, String)]) -> Vec<Value> {
        let answer = self.operator.get_with("/api/v1/audit/records", filters).await.unwrap();
        answer["records"].as_array().unwrap().clone()
    }

    /// The records of the access that an answer names, which there must be.
    pub(crate) async fn records_of(&self, answer: &Answer) -> Vec<Value> {
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no request id: {answer:?}")).to_owned();
        let found = self.records(&[("access", id.clone())]).await;
        assert!(!found.is_empty(), "no record of {id}: {answer:?}");
        found
    }

    /// The keys published under `path` of the auth host.
    pub(crate) async fn keys(&self, path: &str) -> VerifyingKeys {
        let answer = self.ask(request("GET", AUTH, path, "", "")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        VerifyingKeys::parse(&answer.text()).unwrap()
    }

    /// Every byte the apps were sent.
    pub(crate) fn seen_by_apps(&self) -> Vec<u8> {
        [self.wiki.bytes(), self.payroll.bytes()].concat()
    }

    pub(crate) fn audit_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("data/audit")
    }

    /// Keys on disk that nothing may ever repeat: a line of the TLS key, and the key-encryption key.
    pub(crate) fn own_secrets(&self) -> Vec<String> {
        let tls = std::fs::read_to_string(self.folder.path().join("key.pem")).unwrap();
        let kek = std::fs::read(self.folder.path().join("data/kek")).unwrap();
        let kek = String::from_utf8(kek).map(|text| text.trim().to_owned()).unwrap_or_default();
        let line = tls.lines().nth(1).unwrap().to_owned();
        [line, kek].into_iter().filter(|secret| !secret.is_empty()).collect()
    }

    /// Every byte of the record on disk.
    pub(crate) fn record_on_disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut folders = vec![self.audit_folder()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
        }
        assert!(!all.is_empty());
        all
    }
}

pub(crate) fn email(name: &str) -> String {
    format!("{name}@example.org")
}

/// A request with a cookie header, if any, and further header lines.
pub(crate) fn request(method: &str, host: &str, target: &str, cookie: &str, more: &str) -> String {
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{cookie}{more}\r\n")
}

/// What browsers add to a top-level navigation.
pub(crate) const NAVIGATION: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// Engineers and administrators use both apps; a write to the payroll takes a fresh passkey.
pub(crate) const POLICIES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action in Action::"http", resource in App::"wiki");
@id("engineers-payroll")
permit (principal in Group::"engineering", action in Action::"http", resource in App::"payroll");
@id("admins")
permit (principal in Group::"admins", action in Action::"http", resource in App::"wiki");
@id("admins-payroll")
permit (principal in Group::"admins", action in Action::"http", resource in App::"payroll");
@id("fresh-passkey")
@class("step_up")
forbid (principal, action in Action::"write", resource in App::"payroll")
unless { context.auth.phishing_resistant && context.auth.step_up_age_secs <= 300 };
"#;

const GROUPS: &str = "apiVersion: countersign/v1
kind: Group
metadata: { name: engineering }
spec: { title: Engineering, membership: external }
---
apiVersion: countersign/v1
kind: Group
metadata: { name: contractors }
spec: { title: Contractors, membership: external }
";

fn app_yaml(name: &str, host: &str, app: &RecordingApp, more: &str) -> String {
    format!(
        "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: {name} }}\nspec:\n  hosts: [{host}]\n{more}  upstreams:\n    web: {{ targets: [\"http://{}\"] }}\n",
        app.address
    )
}

fn server_toml(folder: &str, has_passwords: bool) -> String {
    format!(
        r#"data_dir = "{folder}/data"
auth_url = "{ISSUER}"

[[certificate]]
name = "test"
cert = "{folder}/chain.pem"
key = "{folder}/key.pem"

[[listener]]
address = "127.0.0.1:0"
certificates = ["test"]

[identity]
rp_id = "localhost"
rp_name = "Countersign"
domains = ["example.org"]
passwords = {has_passwords}

[audit]
origin = "countersign.test"
segment = "4MiB"
mask = ["/reset/{{token}}"]
low_space = 0
critical_space = 0

[admin]
listen = "127.0.0.1:0"

[gateways]
listen = "127.0.0.1:0"
"#
    )
}
