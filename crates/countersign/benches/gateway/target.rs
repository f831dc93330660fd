//! A proxy under measurement, and what all of them share: names, authority, certificate.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use countersign::demo::https::{FrontDoor, read};
use countersign::system::SystemClock;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use model::Clock;
use pki::{LocalCa, private_file};

use crate::machine;
use crate::upstream::BODY_BYTES;

/// Where people sign in; its name is also the passkeys' relying party.
pub(crate) const AUTH_HOST: &str = "localhost";
/// The app that is asked for.
pub(crate) const APP_HOST: &str = "bench.localhost";
/// Apps beside it that policies are about.
pub(crate) const OTHER_APPS: usize = 9;
const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How long a proxy may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What both kinds of proxy are given.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) ca_pem: String,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Place {
    /// An authority and one ECDSA P-256 certificate for all names.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let now = SystemClock::default().now();
        let ca = LocalCa::create("gateway bench", &["localhost"], now, CERTIFICATE_LIFE)?;
        let names: Vec<String> = hosts().collect();
        let names: Vec<&str> = std::iter::once(AUTH_HOST).chain(names.iter().map(String::as_str)).collect();
        let issued = ca.issue_server(&names, now, CERTIFICATE_LIFE)?;
        let place = Self {
            folder: folder.to_owned(),
            ca_pem: ca.certificate_pem().to_owned(),
            chain: folder.join("certificate.pem"),
            key: folder.join("certificate.key"),
        };
        std::fs::write(&place.chain, &issued.chain_pem)?;
        private_file::create(&place.key, issued.key_pem.expose().as_bytes())?;
        Ok(place)
    }
}

/// The host of every app: the one that is asked for, then the others.
pub(crate) fn hosts() -> impl Iterator<Item = String> {
    std::iter::once(APP_HOST.to_owned()).chain((1..=OTHER_APPS).map(|app| format!("app-{app}.localhost")))
}

/// A proxy that runs.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// What proves who asks.
    pub(crate) credential: (&'static str, String),
    pub(crate) door: FrontDoor,
    pub(crate) process: Process,
}

impl Target {
    /// What requests say as `Host`.
    pub(crate) fn authority(&self) -> String {
        format!("{APP_HOST}:{}", self.port)
    }

    async fn ask(&self, is_signed_in: bool) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::get("/").header(header::HOST, self.authority()).header(header::ACCEPT, "*/*");
        if is_signed_in {
            let (name, value) = &self.credential;
            request = request.header(*name, value);
        }
        let response = self.door.send(APP_HOST, request.body(Full::default())?).await?;
        Ok((response.status(), read(response).await?))
    }
}

/// Shows that a proxy lets this visitor in and nobody else.
pub(crate) async fn prove(target: &Target) -> Result<()> {
    let begun = Instant::now();
    let (status, body) = loop {
        match target.ask(true).await {
            Ok(answer) => break answer,
            Err(error) if begun.elapsed() > START_LIMIT => return Err(error).context(target.name),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let is_whole = status == StatusCode::OK && body.len() == BODY_BYTES;
    ensure!(is_whole, "{} answered {status} with {} bytes to a signed-in request", target.name, body.len());
    let (status, _) = target.ask(false).await?;
    ensure!(
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::SEE_OTHER),
        "{} answered {status} to a request without a credential",
        target.name
    );
    Ok(())
}

/// A child that ends with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program on the proxies' core; what it says goes to a file.
    pub(crate) fn on_proxy_core(program: &Path, arguments: &[&str], log: &Path, stdout: Stdio) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = Command::new("taskset");
        command.args(["-c", machine::PROXY_CORE]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(stdout).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", program.display()))?;
        Ok(Self(child))
    }

    /// `taskset` becomes the program, so the id is the program's.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A port nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    match std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|probe| probe.local_addr()) {
        Ok(address) => Ok(address.port()),
        Err(error) => bail!("no free port on loopback: {error}"),
    }
}
