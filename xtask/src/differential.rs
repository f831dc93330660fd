//! `cargo xtask differential --cases N [--seed S]`: what the gate accepts and writes, through nginx, HAProxy, Envoy and
//! Apache. The requests and the comparison are in `crates/drill`; here the servers are started.

use anyhow::{Context, Result, bail};

use crate::drill_peers::{PEERS, Running, free_port, start};
use crate::run::{Repo, run as execute};

/// Tells the test which servers there are.
pub(crate) const VARIABLE: &str = "COUNTERSIGN_DIFFERENTIAL";
/// When nothing is said.
const CASES: u64 = 5000;

/// Servers in front of a port where the test will listen; they end when dropped.
pub(crate) struct Servers {
    /// The value of [`VARIABLE`].
    pub(crate) told: String,
    pub(crate) missing: Vec<&'static str>,
    _running: Vec<Running>,
}

/// Starts those that are installed.
pub(crate) fn servers(repo: &Repo) -> Result<Servers> {
    let echo = free_port()?;
    let mut servers = Servers { told: format!("echo={echo}"), missing: Vec::new(), _running: Vec::new() };
    for peer in PEERS {
        if (peer.find)(repo).is_none() {
            servers.missing.push(peer.name);
            continue;
        }
        let (running, place) = start(repo, peer, echo, false)?;
        servers.told.push_str(&format!(" {}={}", peer.name, place.port));
        servers._running.push(running);
    }
    Ok(servers)
}

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let (mut cases, mut seed) = (CASES, 1);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--cases" => cases = value.parse().context("`--cases` takes a number")?,
            [name, value] if name == "--seed" => seed = value.parse().context("`--seed` takes a number")?,
            other => bail!("`{}`: there are --cases N and --seed S", other.join(" ")),
        }
    }
    let servers = servers(repo)?;
    if !servers.missing.is_empty() {
        bail!("{} missing; `cargo xtask peers` installs them", servers.missing.join(", "));
    }
    let test = ["test", "--locked", "--package", "drill", "--test", "it", "--", "differential::", "--nocapture"];
    let mut cargo = repo.cargo();
    cargo.args(test).env(VARIABLE, &servers.told);
    cargo
        .env("COUNTERSIGN_DIFFERENTIAL_CASES", cases.to_string())
        .env("COUNTERSIGN_DIFFERENTIAL_SEED", seed.to_string());
    execute(&mut cargo)
}
