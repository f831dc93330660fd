//! `countersign doctor`: what an operator would look at when something is wrong, looked at in one go. It changes nothing
//! and every finding that is not fine says what to do.

mod local;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::cli::Global;
use crate::output;
use crate::say;

/// Look at certificates, listeners, disk, clock, keys and who may do what.
#[derive(Args)]
#[command(
    after_help = "With -c the files of a process are looked at, whether it runs or not; without it only a running server is.\nExit code: 0 all fine, also with warnings; 1 something is broken.\n\nExample:\n  countersign doctor -c server.toml"
)]
pub struct Doctor {
    /// The TOML file of the process
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Nothing to do.
    Fine,
    /// Works, but not for long or not as it should.
    Warning,
    /// Does not work.
    Broken,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    /// What was looked at: `certificate main`.
    subject: String,
    state: State,
    /// What was seen.
    seen: String,
    /// What to do; empty when nothing is.
    remedy: String,
}

impl Finding {
    fn fine(subject: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { subject: subject.into(), state: State::Fine, seen: seen.into(), remedy: String::new() }
    }

    fn warning(subject: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), state: State::Warning, seen: seen.into(), remedy: remedy.into() }
    }

    fn broken(subject: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), state: State::Broken, seen: seen.into(), remedy: remedy.into() }
    }
}

impl Doctor {
    /// Looks, and tells.
    ///
    /// # Errors
    /// The configuration cannot be read at all.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let mut findings = Vec::new();
        let mut socket = global.socket.clone();
        if let Some(config) = &self.config {
            let looked = local::look(config);
            socket = socket.or(looked.socket);
            findings.extend(looked.findings);
        }
        let global = Global { socket, ..global.clone() };
        findings.extend(server::look(&global, self.config.is_some()).await);
        let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Fine);
        if global.json {
            output::json(&json!({ "state": worst, "findings": findings }));
        } else {
            print(&findings);
        }
        Ok(if worst == State::Broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.state {
            State::Fine => "fine   ",
            State::Warning => "WARNING",
            State::Broken => "BROKEN ",
        };
        let subject = audit::render::escape(&finding.subject);
        let mut seen = finding.seen.lines().map(audit::render::escape);
        say!("{mark}  {subject:<24} {}", seen.next().unwrap_or_default());
        seen.for_each(|line| say!("{:<34}{line}", ""));
        if !finding.remedy.is_empty() {
            say!("{:<9}{:<24} -> {}", "", "", audit::render::escape(&finding.remedy));
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    say!(
        "\n{} looked at: {} fine, {} warnings, {} broken",
        findings.len(),
        count(State::Fine),
        count(State::Warning),
        count(State::Broken)
    );
}
