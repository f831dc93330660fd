//! `countersign demo`: everything on this machine, with two sample apps; `--tour` plays a visit through real sockets and
//! checks it. Not for anything but this machine: it listens on loopback only.

pub mod assertion;
pub mod browser;
pub mod https;
pub mod passkey;
pub mod payroll;
pub mod running;
pub mod sample;
pub mod stage;
pub mod tour;
pub mod websocket;
pub mod wiki;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use data_encoding::HEXLOWER;
use model::Ids;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::running::{ALICE, FirstStep, Running};
use self::stage::{AUTH_HOST, PAYROLL_HOST, Stage, WIKI_HOST};
use self::tour::step::Outcome;
use crate::cli::Global;
use crate::output;
use crate::say;
use crate::system::SystemIds;

/// The demo's folder when none is named.
const FOLDER: &str = "countersign-demo";
/// Its port when none is named.
const PORT: u16 = 8443;

/// Everything on this machine, with two sample apps.
#[derive(Args)]
#[command(
    after_help = "A wiki and a payroll on loopback, behind the gateway: alice is an engineer, bob a contractor, carol \
the administrator.\nIt prints their one-time links and keeps running until Ctrl-C; the next start in the same folder \
knows them again.\n\nExamples:\n  countersign demo\n  countersign demo --tour            a visit played through and checked, then gone\n  countersign demo --data /tmp/d --port 9443 --fresh"
)]
pub struct Demo {
    /// Where keys, store, record and files are kept (default: `countersign-demo` here; with --tour a temporary folder)
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where browsers connect, on loopback (default: 8443; with --tour a free one)
    #[arg(long)]
    port: Option<u16>,
    /// Play a visit with software passkeys, check every step, and stop; exit code 1 if one is not as promised
    #[arg(long)]
    tour: bool,
    /// Let people set a password with one-time codes beside their passkey
    #[arg(long)]
    passwords: bool,
    /// Forget an earlier demo in the same folder first
    #[arg(long)]
    fresh: bool,
}

impl Demo {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        start_log();
        match self.tour {
            true => self.guide(global).await,
            false => self.stay(global).await,
        }
    }

    /// The tour, in a folder of its own that is gone afterwards unless one was named.
    async fn guide(self, global: &Global) -> Result<ExitCode> {
        let started = Instant::now();
        let temporary = TemporaryFolder::new()?;
        let folder = self.data.unwrap_or_else(|| temporary.0.clone());
        if self.fresh {
            Stage::remove(&folder)?;
        }
        let running = Running::start_with(&folder, self.port.unwrap_or(0), self.passwords)
            .await
            .context("the demo does not start")?;
        if !global.json {
            say!(
                "The demo serves on {} after {:.0} ms.\n",
                running.door.url(AUTH_HOST, "/"),
                started.elapsed().as_secs_f64() * 1e3
            );
        }
        let played = tokio::select! {
            played = tour::play(&running, |outcome| show(outcome, global.json)) => played,
            _ = wait_for_stop() => Err(anyhow!("the tour was broken off")),
        };
        running.stop().await;
        let outcomes = played?;
        let failed = outcomes.iter().filter(|outcome| !outcome.ok).count();
        if !global.json {
            let total = started.elapsed().as_secs_f64();
            match failed {
                0 => say!("\nAll {} steps are as promised ({total:.1} s).", outcomes.len()),
                failed => say!("\n{failed} of {} steps are NOT as promised ({total:.1} s).", outcomes.len()),
            }
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn stay(self, global: &Global) -> Result<ExitCode> {
        let folder = self.data.unwrap_or_else(|| PathBuf::from(FOLDER));
        if self.fresh {
            Stage::remove(&folder)?;
        }
        let running = Running::start_with(&folder, self.port.unwrap_or(PORT), self.passwords)
            .await
            .context("the demo does not start; `--port` and `--data` choose another place")?;
        match global.json {
            true => output::json(&as_json(&running)),
            false => announce(&running),
        }
        wait_for_stop().await?;
        if !global.json {
            say!("stopping");
        }
        tokio::select! {
            () = running.stop() => {}
            stopped = wait_for_stop() => stopped?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A private folder that goes when the tour ends.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self> {
        let mut random = [0; 8];
        SystemIds.fill_random(&mut random);
        let name = format!("countersign-tour-{}", HEXLOWER.encode(&random));
        Ok(Self(std::env::temp_dir().join(name)))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn show(outcome: &Outcome, is_json: bool) {
    if is_json {
        say!("{}", serde_json::to_string(outcome).unwrap_or_default());
        return;
    }
    let mark = if outcome.ok { "ok  " } else { "FAIL" };
    say!("{:>2}  {mark}  {}", outcome.step, outcome.title);
    say!("          {:<28} {:>8.1} ms", outcome.verdict, outcome.ms);
    for line in &outcome.seen {
        say!("          {line}");
    }
    for line in &outcome.failures {
        say!("          NOT AS PROMISED: {line}");
    }
}

/// Only what is wrong, beside what the demo says itself; `RUST_LOG` shows more.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init().ok();
}

async fn wait_for_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

fn link(step: &FirstStep) -> &str {
    match step {
        FirstStep::Link(url) => url,
        FirstStep::SignIn => "has a passkey of an earlier run: just sign in",
    }
}

fn as_json(running: &Running) -> Value {
    let link = |step: &FirstStep| match step {
        FirstStep::Link(url) => Some(url.clone()),
        FirstStep::SignIn => None,
    };
    json!({
        "folder": running.stage.folder(),
        "server_toml": running.stage.server_toml(),
        "socket": running.socket(),
        "ca": running.stage.ca_file(),
        "spki_sha256": running.stage.spki,
        "auth_url": running.door.url(AUTH_HOST, "/"),
        "wiki_url": running.door.url(WIKI_HOST, "/"),
        "payroll_url": running.door.url(PAYROLL_HOST, "/"),
        "links": { "carol": link(&running.carol), "alice": link(&running.alice), "bob": link(&running.bob) },
    })
}

/// How the reader calls this binary: after `cargo run` it is not on the path.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "countersign".to_owned(), |path| path.display().to_string())
}

fn announce(running: &Running) {
    let (door, stage) = (&running.door, &running.stage);
    say!("Countersign demo: everything on this machine, files in {}\n", stage.folder().display());
    say!("  wiki      {}", door.url(WIKI_HOST, "/"));
    say!("  payroll   {}", door.url(PAYROLL_HOST, "/"));
    say!("  sign-in   {}\n", door.url(AUTH_HOST, "/"));
    say!("Open each link in a browser profile of its own and create a passkey; each works once:\n");
    say!(
        "  carol, administrator (within 10 minutes; then: countersign admin setup-link)\n    {}",
        link(&running.carol)
    );
    say!("  alice, engineer: wiki and payroll\n    {}", link(&running.alice));
    say!("  bob, contractor: sees why not\n    {}\n", link(&running.bob));
    say!("Trust the certificate (its authority is limited to localhost names) in one of these ways:\n");
    say!("  {}", trust_command(&stage.ca_file()));
    say!("  chromium --user-data-dir=$(mktemp -d) --ignore-certificate-errors-spki-list={}\n", stage.spki);
    say!("Look behind it, in another terminal:\n");
    say!("  export COUNTERSIGN_SOCKET='{}'", running.socket().display());
    let program = program();
    say!("  {program} audit query");
    say!("  {program} group remove {} {}\n", ALICE.group, ALICE.email);
    say!("Ctrl-C stops it; the next start in this folder knows everybody again.");
}

/// Makes this user's browsers trust the authority: nothing system-wide, no root.
fn trust_command(ca: &Path) -> String {
    match cfg!(target_os = "macos") {
        true => {
            format!("security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db {}", ca.display())
        }
        false => format!(
            "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n countersign-demo -i '{}'   (Debian: libnss3-tools)",
            ca.display()
        ),
    }
}
