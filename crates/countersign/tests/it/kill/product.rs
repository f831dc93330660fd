//! The product as an operator runs it: the real binary in a folder of its own, started, killed and started again.
//!
//! Invariant: only the process started here is ever killed, by its own handle.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::cli::Global;
use countersign::client::Client;
use pki::tls::ALPN_HTTP11;
use serde_json::Value;
use tempfile::TempDir;
use testkit::TestCa;

use crate::harness::wire::Door;
use crate::harness::{AUTH, ISSUER, WIKI};

/// Segments this small are full every few kills.
const SEGMENT: &str = "1MiB";
/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often the admin port is tried during a start.
const POLL: Duration = Duration::from_millis(1);
/// Ports below those the system gives to outgoing connections, so that none is taken while the product is dead.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The binary and everything it needs.
pub(super) struct Product {
    folder: TempDir,
    /// Where people connect.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
    /// For browsers.
    pub(super) door: Door,
    /// For clients that keep their connections.
    pub(super) tls: Arc<rustls::ClientConfig>,
    child: Option<Child>,
}

impl Product {
    /// Files ready to serve from; nothing runs yet.
    pub(super) fn new() -> Self {
        let (folder, ca) = (tempfile::tempdir().unwrap(), TestCa::new());
        let (address, admin) = (free_address(), free_address());
        let issued = ca.issue(&[AUTH, WIKI]);
        fs::write(folder.path().join("cert.pem"), &issued.chain_pem).unwrap();
        pki::private_file::create(&folder.path().join("key.pem"), issued.key_pem.expose().as_bytes()).unwrap();
        fs::write(folder.path().join("server.toml"), server_toml(address, admin)).unwrap();
        let tls = ca.client_config(&[ALPN_HTTP11]);
        Self { folder, address, admin, door: Door::new(address, ca), tls, child: None }
    }

    /// Starts the binary and waits until it says that it is ready. Gives how long that took.
    pub(super) fn start(&mut self) -> Duration {
        let began = Instant::now();
        self.spawn();
        while !self.is_ready() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "`serve` ended at its start ({ended:?}):\n{}", self.log_tail());
            assert!(began.elapsed() < START_LIMIT, "`serve` is not ready:\n{}", self.log_tail());
            std::thread::sleep(POLL);
        }
        began.elapsed()
    }

    /// Starts the binary and does not wait.
    pub(super) fn spawn(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "-c"])
            .arg(self.folder.path().join("server.toml"))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL: no handler runs, nothing is flushed, nobody is told.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_none(), "`serve` ended by itself ({status}):\n{}", self.log_tail());
    }

    /// The operator's way in.
    pub(super) fn client(&self) -> Client {
        let socket = self.folder.path().join("data/control.sock");
        Client::find(&Global { json: false, socket: Some(socket) }).unwrap()
    }

    /// The folder of the record.
    pub(super) fn audit_folder(&self) -> PathBuf {
        self.folder.path().join("data/audit")
    }

    /// What each start so far said of the log it found, oldest first.
    pub(super) fn log_openings(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.log_file()).unwrap();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.map(|entry| entry["fields"].clone()).filter(|f| f["message"] == "the audit log is open").collect()
    }

    /// Everything in the process log that should never be there. Whether the machine holds its clock synchronised is not
    /// ours to say.
    pub(super) fn alarms(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log_file()).unwrap();
        let is_alarm = |line: &&str| line.contains("\"ERROR\"") || line.contains("panicked");
        let is_of_the_machine = |line: &&str| line.contains("\"alert\":\"clock_unsynchronised\"");
        log.lines().filter(is_alarm).filter(|line| !is_of_the_machine(line)).map(str::to_owned).collect()
    }

    /// What the process log says of any of `accesses`.
    pub(super) fn log_of(&self, accesses: &[String]) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap();
        log.lines().filter(|line| accesses.iter().any(|access| line.contains(access))).collect::<Vec<_>>().join("\n")
    }

    /// Resident memory in KiB, where the system tells it.
    pub(super) fn resident_kib(&self) -> Option<u64> {
        let pid = self.child.as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// The admin port is bound before anything is served and answers once everything is.
    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.admin) else { return false };
        stream.set_read_timeout(Some(START_LIMIT)).unwrap();
        let mut answer = String::new();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    fn log_tail(&self) -> String {
        tail(&self.log_file())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
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

fn server_toml(address: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"data_dir = "data"
auth_url = "{ISSUER}"

[[certificate]]
name = "test"
cert = "cert.pem"
key = "key.pem"

[[listener]]
address = "{address}"
certificates = ["test"]

[identity]
rp_id = "{AUTH}"
rp_name = "Countersign"
domains = ["example.org"]

[audit]
origin = "kill.test"
segment = "{SEGMENT}"

[admin]
listen = "{admin}"
"#
    )
}
