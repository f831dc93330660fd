//! `countersign plan`, and the summary that `apply` and `policy rollback` print: what changes, and who could reach what.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::apply::{read, warnings};
use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// How many lines of people and apps are printed; `--json` has all.
const MAX_LINES: usize = 40;

/// What a plan lists, and what becomes of what is not declared any more.
const KINDS: [(&str, &str); 6] = [
    ("apps", "removed"),
    ("policies", "removed"),
    ("tests", "removed"),
    ("remedies", "removed"),
    ("groups", "removed"),
    ("users", "disabled"),
];

/// Show what an apply would do; changes nothing.
#[derive(Args)]
#[command(
    after_help = "Who could reach an app is worked out with the engine, for everybody, with every factor proven: what a person could get at best.\n\nExample:\n  countersign plan -f config/"
)]
pub struct Plan {
    /// A folder (or file) with .yaml, .cedar and .pem files
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    files: PathBuf,
}

impl Plan {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        of_files(&self.files, global).await
    }
}

/// Asks the server what an apply of these files would do and prints it.
pub async fn of_files(files: &std::path::Path, global: &Global) -> Result<ExitCode> {
    let answer = Client::find(global)?.post("/api/v1/config/plan", &json!({ "files": read(files)? })).await?;
    if global.json {
        output::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    warnings(&answer);
    summary(&answer);
    if let Some(why) = answer.get("lockout").and_then(Value::as_str) {
        say!("apply would refuse: {why}; `--allow-lockout` overrides");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a plan.
pub fn summary(plan: &Value) {
    let mut is_quiet = true;
    for (kind, gone) in KINDS {
        let Some(delta) = plan.get(kind) else { continue };
        for (word, member) in [("added", "added"), ("changed", "changed"), (gone, "removed")] {
            let names = output::text(delta, member);
            if !names.is_empty() {
                say!("{kind} {word}: {}", audit::render::escape(&names));
                is_quiet = false;
            }
        }
    }
    let enabled = output::text(plan, "enabled");
    if !enabled.is_empty() {
        say!("users enabled again: {}", audit::render::escape(&enabled));
        is_quiet = false;
    }
    for (member, word) in [("joined", "joins"), ("left", "leaves")] {
        is_quiet &= !lines(plan, member, word, |row| output::text(row, "group"));
    }
    for (member, word) in [("gained", "could now reach"), ("lost", "could no longer reach")] {
        is_quiet &=
            !lines(plan, member, word, |row| format!("{} ({})", output::text(row, "app"), output::text(row, "action")));
    }
    match plan.get("unexamined").and_then(Value::as_u64) {
        Some(0) | None => {}
        Some(more) => say!("{more} pairs of person and app were not looked at: there are too many"),
    }
    match plan.get("live_already").and_then(Value::as_bool) {
        _ if !is_quiet => {}
        Some(false) => say!("nothing changes but how it is written, or files that apps name"),
        Some(true) | None => say!("nothing changes"),
    }
}

/// Prints a line for each person and thing of a list, at most [`MAX_LINES`]; says whether there was any.
fn lines(plan: &Value, member: &str, word: &str, what: impl Fn(&Value) -> String) -> bool {
    let rows = plan.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for row in rows.iter().take(MAX_LINES) {
        say!("{} {word} {}", audit::render::escape(&output::text(row, "user")), audit::render::escape(&what(row)));
    }
    if rows.len() > MAX_LINES {
        say!("… and {} more like these ({word}); --json has all", rows.len() - MAX_LINES);
    }
    !rows.is_empty()
}
