//! `cargo xtask drill-peers`: the drill against other proxies, and the table of docs/drill.md.
//!
//! Each proxy gets the same task in its own words: TLS with HTTP/2, one upstream, `/admin` and DELETE refused, a header
//! `X-Forwarded-User` that only it sets. What it was told is in `configs`, and is what an operator finds in its manual.
//!
//! A proxy that is not installed is said to be missing, and the table is then not written.

mod configs;
mod table;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{Repo, output_of, run as execute};

pub(crate) use configs::PEERS;

/// How long a proxy may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long one may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The name all of them are asked for.
pub(crate) const HOST: &str = "app.localhost";

/// The first column.
const OURS: &str = "Countersign";

/// A proxy and how it is told what to do.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Where it comes from.
    pub(crate) package: &'static str,
    /// What it was told beyond its defaults, in a sentence for the table.
    pub(crate) note: &'static str,
    /// The program, if it is installed.
    pub(crate) find: fn(&Repo) -> Option<PathBuf>,
    /// Its arguments after writing its files.
    pub(crate) arrange: fn(&Place) -> Result<Vec<String>>,
    /// The argument that prints its version.
    pub(crate) version: &'static str,
}

/// Where a proxy finds what it needs.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) upstream: u16,
    /// False for plain HTTP.
    pub(crate) is_tls: bool,
}

impl Place {
    /// Writes a file into the folder and gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path.display().to_string())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A running proxy; it is ended when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: one that is killed outright leaves its workers behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let is_chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|chosen| chosen == name);
    let peers: Vec<&Peer> = PEERS.iter().filter(|peer| is_chosen(peer.name)).collect();
    if peers.is_empty() && !is_chosen(OURS) {
        bail!("there are {OURS}, {}", PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", "));
    }
    if let Some(missing) = peers.iter().find(|peer| (peer.find)(repo).is_none()) {
        bail!("{} is missing; `cargo xtask peers` installs {}", missing.name, missing.package);
    }
    execute(repo.cargo().args(["build", "--locked", "--package", "countersign"]))?;
    let binary = repo.target.join("debug").join("countersign");
    let mut cards = Vec::new();
    if is_chosen(OURS) {
        cards.push((OURS.to_owned(), env!("CARGO_PKG_VERSION").to_owned(), ours(repo)?));
    }
    for peer in &peers {
        let (version, card) = drill(repo, peer, &binary)?;
        cards.push((peer.name.to_owned(), version, card));
    }
    let text = table::of(&cards, &peers);
    if arguments.is_empty() {
        table::write(repo, &text)?;
    }
    println!("{text}");
    Ok(())
}

/// Our own card: a server with people who sign in is what the test of the product has.
fn ours(repo: &Repo) -> Result<Value> {
    let file = repo.target.join("drill-card.json");
    let test = ["test", "--locked", "--package", "countersign", "--test", "it", "--", "attacks::drill::"];
    execute(repo.cargo().args(test).env("COUNTERSIGN_DRILL_CARD", &file))?;
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn drill(repo: &Repo, peer: &Peer, binary: &Path) -> Result<(String, Value)> {
    let upstream = free_port()?;
    let (running, place) = start(repo, peer, upstream, true)?;
    println!("drilling {} on port {}", peer.name, place.port);
    let mut command = Command::new(binary);
    command.args(["drill", "gateway", "--json", "--deny-path", "/admin", "--deny-method", "DELETE"]);
    command.args(["--identity-header", "X-Forwarded-User", "--host", &format!("{HOST}:{}", place.port)]);
    command.args(["--target", &format!("https://127.0.0.1:{}", place.port)]);
    command.args(["--echo", &format!("127.0.0.1:{upstream}")]);
    let output = command.stderr(Stdio::inherit()).output()?;
    drop(running);
    if output.status.code() == Some(2) {
        bail!("{} could not be judged", peer.name);
    }
    let card = serde_json::from_slice(&output.stdout).context("the drill printed no score card")?;
    Ok((version(repo, peer), card))
}

/// Starts `peer` in front of `upstream` and waits until it listens.
pub(crate) fn start(repo: &Repo, peer: &Peer, upstream: u16, is_tls: bool) -> Result<(Running, Place)> {
    let program = (peer.find)(repo).with_context(|| format!("{} is not installed", peer.name))?;
    let folder = repo.target.join("drill-peers").join(if is_tls { "tls" } else { "plain" }).join(peer.name);
    std::fs::create_dir_all(&folder)?;
    let place = Place { folder, port: free_port()?, upstream, is_tls };
    if is_tls {
        certificate(&place)?;
    }
    let arguments = (peer.arrange)(&place)?;
    let log = File::create(place.folder.join("stderr.log"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let running = Running { child: command.spawn().with_context(|| format!("cannot start {}", peer.name))? };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", place.port)).is_err() {
        if begun.elapsed() > START_LIMIT {
            bail!("{} does not listen; see {}", peer.name, place.path("stderr.log"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((running, place))
}

/// A self-signed certificate: `cert.pem`, `key.pem`, and both in `both.pem`.
fn certificate(place: &Place) -> Result<()> {
    let (cert, key) = (place.path("cert.pem"), place.path("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={HOST}"), "-addext", &format!("subjectAltName=DNS:{HOST}")]);
    openssl.args(["-keyout", &key, "-out", &cert]);
    output_of(&mut openssl).context("`openssl req` failed; is openssl installed?")?;
    let both = format!("{}{}", std::fs::read_to_string(cert)?, std::fs::read_to_string(key)?);
    place.write("both.pem", &both).map(drop)
}

/// The first number with dots that the program prints about itself.
fn version(repo: &Repo, peer: &Peer) -> String {
    let program = (peer.find)(repo);
    let output = program.and_then(|program| Command::new(program).arg(peer.version).output().ok());
    let text = output.map_or(String::new(), |output| {
        [output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    });
    // Three numbers: a path may hold two.
    let is_version = |word: &&str| word.split('.').filter(|number| !number.is_empty()).count() == 3;
    text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .find(is_version)
        .unwrap_or("of unknown version")
        .to_owned()
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
