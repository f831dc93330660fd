//! `countersign policy proposals`, `policy approve` and `policy withdraw`: configurations that wait for the approval of
//! others. Persons approve signed in as themselves, on the console or over the API; whoever calls this is the machine.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::apply::warnings;
use super::plan;
use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// What waits for approval, or one of it: what it would change, and its files with --json.
#[derive(Args)]
#[command(after_help = "Example:\n  countersign policy proposals sha256:4f0c…")]
pub struct Proposals {
    /// Only this one
    digest: Option<String>,
}

/// Make what waits for approval live without it, when nobody is there who could approve.
#[derive(Args)]
#[command(
    after_help = "Persons approve on the console (its notices lead there) or with POST /api/v1/config/proposals/DIGEST/approve.\nThe command line is the machine, and no person: it can only break the glass.\n\nExample:\n  countersign policy approve sha256:4f0c… --break-glass 'everybody is locked out and the others sleep'"
)]
pub struct Approve {
    /// Which; `countersign policy proposals` shows all
    digest: String,
    /// Why there is no time for approvals; on record before it happens
    #[arg(long, value_name = "REASON")]
    break_glass: Option<String>,
}

/// Take back, or refuse for good, what waits for approval.
#[derive(Args)]
#[command(after_help = "Example:\n  countersign policy withdraw sha256:4f0c…")]
pub struct Withdraw {
    /// Which; `countersign policy proposals` shows all
    digest: String,
}

impl Proposals {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        match self.digest {
            Some(digest) => {
                let answer = client.get(&path(&digest)).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    warnings(&answer);
                    plan::summary(answer.get("plan").unwrap_or(&Value::Null));
                    one(answer.get("proposal").unwrap_or(&Value::Null));
                }
            }
            None => {
                let answer = client.get("/api/v1/config/proposals").await?;
                if global.json {
                    output::json(&answer);
                } else {
                    let columns = [
                        ("PROPOSED", "proposed_at"),
                        ("BY", "author"),
                        ("APPROVED", "counted"),
                        ("OF", "needed"),
                        ("UNTIL", "expires_at"),
                        ("REASON", "reason"),
                        ("DIGEST", "digest"),
                    ];
                    output::list(&answer, "proposals", &columns);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Approve {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let body = match &self.break_glass {
            Some(reason) => json!({ "break_glass": reason }),
            None => json!({}),
        };
        let answer = Client::find(global)?.post(&format!("{}/approve", path(&self.digest)), &body).await?;
        if global.json {
            output::json(&answer);
        } else {
            warnings(&answer);
            plan::summary(answer.get("plan").unwrap_or(&Value::Null));
            let (version, cut) = (output::text(&answer, "version"), output::text(&answer, "streams_cut"));
            say!("configuration {version} is live without approval; {cut} streams cut");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Withdraw {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let answer = Client::find(global)?.delete(&path(&self.digest)).await?;
        if global.json {
            output::json(&answer);
        } else {
            say!("withdrawn");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says that an apply or a rollback waits, if it does.
pub(super) fn waits(answer: &Value) -> bool {
    let Some(proposal) = answer.get("proposal") else { return false };
    warnings(answer);
    plan::summary(answer.get("plan").unwrap_or(&Value::Null));
    one(proposal);
    say!("nothing is live yet: others approve it on the console");
    true
}

fn one(proposal: &Value) {
    let word = |name: &str| output::text(proposal, name);
    say!("{} proposed by {} at {}", word("digest"), word("author"), word("proposed_at"));
    if !word("reason").is_empty() {
        say!("reason: {}", word("reason"));
    }
    if proposal.get("allow_lockout").and_then(Value::as_bool) == Some(true) {
        say!("it may go live even if nobody could administer afterwards");
    }
    for approval in proposal.get("approvals").and_then(Value::as_array).into_iter().flatten() {
        let counts = approval.get("counts").and_then(Value::as_bool) == Some(true);
        let note = if counts { "" } else { ", which does not count: disabled, or no administrator any more" };
        say!("approved by {} at {}{note}", output::text(approval, "user"), output::text(approval, "at"));
    }
    say!("{} of {} approvals; open until {}", word("counted"), word("needed"), word("expires_at"));
}

fn path(digest: &str) -> String {
    format!("/api/v1/config/proposals/{}", segment(digest))
}
