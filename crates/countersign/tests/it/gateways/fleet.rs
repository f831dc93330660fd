//! A control plane and gateways as an operator runs them: real processes in folders of their own, on loopback.
//!
//! Invariant: only processes started here are ever killed, by their own handles.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use countersign::cli::Global;
use countersign::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::TestCa;

use crate::harness::app::RecordingApp;
use crate::harness::browser::Browser;
use crate::harness::wire::Door;
use crate::harness::{AUTH, ISSUER, WIKI, email};

/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// Ports below those the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// One process and its folder.
pub(super) struct Node {
    name: String,
    folder: PathBuf,
    args: Vec<String>,
    admin: SocketAddr,
    /// For browsers.
    pub(super) door: Door,
    child: Option<Child>,
}

impl Node {
    pub(super) fn spawn(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(&self.args)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Starts it and waits until it says that it is ready.
    pub(super) fn start(&mut self) {
        let began = Instant::now();
        self.spawn();
        while !self.is_ready() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "{} ended at its start ({ended:?}):\n{}", self.name, self.log());
            assert!(began.elapsed() < START_LIMIT, "{} is not ready:\n{}", self.name, self.log());
            std::thread::sleep(POLL);
        }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "{} ended by itself ({status}):\n{}", self.name, self.log());
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.folder.join("data/feed/state")
    }

    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.admin) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// All of them.
pub(super) struct Fleet {
    pub(super) control: Node,
    pub(super) feed: SocketAddr,
    pub(super) gateways: Vec<Node>,
    pub(super) wiki: RecordingApp,
    ca: TestCa,
    folder: TempDir,
}

impl Fleet {
    /// A control plane with the wiki, and gateways of these names that have joined and are ready.
    pub(super) async fn start(names: &[&str], staleness: &str) -> Self {
        let (folder, ca, wiki) = (tempfile::tempdir().unwrap(), TestCa::new(), RecordingApp::start().await);
        let (address, admin, feed) = (free_address(), free_address(), free_address());
        let home = folder.path().join("control");
        fs::create_dir(&home).unwrap();
        certificate(&ca, &home);
        fs::write(home.join("server.toml"), server_toml(address, admin, feed)).unwrap();
        let mut control = Node {
            name: "control".to_owned(),
            args: vec!["serve".into(), "-c".into(), home.join("server.toml").display().to_string()],
            folder: home,
            admin,
            door: Door::trusting(address, ca.root_pem()),
            child: None,
        };
        control.start();
        let mut fleet = Self { control, feed, gateways: Vec::new(), wiki, ca, folder };
        fleet.apply(&format!("  max_staleness: {staleness}\n")).await;
        for name in names {
            fleet.prepare(name);
            let token = fleet.token(name).await;
            let joined = fleet.join(fleet.gateways.len() - 1, &token);
            assert!(joined.status.success(), "{joined:?}");
            fleet.gateways.last_mut().unwrap().start();
        }
        fleet
    }

    /// Files for a gateway that has not joined.
    pub(super) fn prepare(&mut self, name: &str) {
        let home = self.folder.path().join(name);
        fs::create_dir(&home).unwrap();
        certificate(&self.ca, &home);
        let (address, admin) = (free_address(), free_address());
        fs::write(home.join("gateway.toml"), gateway_toml(address, admin)).unwrap();
        self.gateways.push(Node {
            name: name.to_owned(),
            args: vec!["gateway".into(), "run".into(), "-c".into(), home.join("gateway.toml").display().to_string()],
            folder: home,
            admin,
            door: Door::trusting(address, self.ca.root_pem()),
            child: None,
        });
    }

    pub(super) fn operator(&self) -> Client {
        let socket = self.control.folder.join("data/control.sock");
        Client::find(&Global { json: false, socket: Some(socket) }).unwrap()
    }

    pub(super) async fn token(&self, name: &str) -> String {
        let answer = self.operator().post(&format!("/api/v1/gateways/{name}/token"), &json!({})).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// `countersign gateway join`.
    pub(super) fn join(&self, index: usize, token: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["gateway", "join", "--control", &format!("https://{}", self.feed), "--token", token, "-c"])
            .arg(self.gateways[index].folder.join("gateway.toml"))
            .output()
            .unwrap()
    }

    /// Applies the wiki with `more` in its specification.
    pub(super) async fn apply(&self, more: &str) -> Value {
        let files = json!([
            { "name": "apps.yaml", "text": format!(
                "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: wiki }}\nspec:\n  hosts: [{WIKI}]\n{more}  upstreams:\n    web: {{ targets: [\"http://{}\"] }}\n---\napiVersion: countersign/v1\nkind: Group\nmetadata: {{ name: engineering }}\nspec: {{ title: Engineering, membership: external }}\n",
                self.wiki.address
            ) },
            { "name": "rules.cedar", "text": "@id(\"engineers\")\npermit (principal in Group::\"engineering\", action in Action::\"http\", resource in App::\"wiki\");\n" },
        ]);
        let body = json!({ "files": files, "reason": "test" });
        self.operator().post("/api/v1/config/apply", &body).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// An engineer whose browser finds the wiki at a gateway.
    pub(super) async fn engineer(&self, name: &str, gateway: usize) -> Browser {
        let new = json!({ "email": email(name), "name": name, "groups": ["engineering"] });
        self.operator().post("/api/v1/users", &new).await.unwrap_or_else(|error| panic!("{error:#}"));
        let link = self.operator().post("/api/v1/invites", &json!({ "user": email(name) })).await.unwrap();
        let mut person = Browser::new(&self.control.door);
        person.lead(WIKI, &self.gateways[gateway].door);
        person.enrol(link["url"].as_str().unwrap(), json!({})).await;
        person
    }

    /// The state of every gateway as operators see it, by name.
    pub(super) async fn states(&self) -> Vec<(String, String)> {
        let answer = self.operator().get("/api/v1/gateways").await.unwrap();
        let line = |line: &Value| (line["name"].as_str().unwrap().into(), line["state"].as_str().unwrap().into());
        answer["gateways"].as_array().unwrap().iter().map(line).collect()
    }

    /// Waits until a gateway stands so.
    pub(super) async fn until(&self, name: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let wanted = (name.to_owned(), state.to_owned());
        while !self.states().await.contains(&wanted) {
            assert!(Instant::now() < deadline, "{name} is not {state}: {:?}\n{}", self.states().await, self.logs());
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn logs(&self) -> String {
        let nodes = std::iter::once(&self.control).chain(&self.gateways);
        nodes.map(|node| format!("== {}\n{}\n", node.name, node.log())).collect()
    }
}

fn certificate(ca: &TestCa, home: &std::path::Path) {
    let issued = ca.issue(&[AUTH, WIKI]);
    fs::write(home.join("cert.pem"), &issued.chain_pem).unwrap();
    pki::private_file::create(&home.join("key.pem"), issued.key_pem.expose().as_bytes()).unwrap();
}

fn free_address() -> SocketAddr {
    let mut random = [0; 2];
    for _ in 0..100 {
        getrandom::fill(&mut random).unwrap();
        let port = PORTS.start + u16::from_be_bytes(random) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end);
}

const CERTIFICATE: &str = "[[certificate]]\nname = \"test\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\n[audit]\nsegment = \"1MiB\"\nlow_space = 0\ncritical_space = 0\n";

fn server_toml(address: SocketAddr, admin: SocketAddr, feed: SocketAddr) -> String {
    format!(
        "data_dir = \"data\"\nauth_url = \"{ISSUER}\"\n\n{CERTIFICATE}\n[[listener]]\naddress = \"{address}\"\ncertificates = [\"test\"]\n\n[identity]\nrp_id = \"{AUTH}\"\ndomains = [\"example.org\"]\n\n[admin]\nlisten = \"{admin}\"\n\n[gateways]\nlisten = \"{feed}\"\n"
    )
}

fn gateway_toml(address: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "data_dir = \"data\"\n\n{CERTIFICATE}\n[[listener]]\naddress = \"{address}\"\ncertificates = [\"test\"]\n\n[admin]\nlisten = \"{admin}\"\n"
    )
}
