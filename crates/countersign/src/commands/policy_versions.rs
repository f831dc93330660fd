//! `countersign policy versions` and `policy rollback`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{plan, policy_approvals};
use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// Make an earlier version live again; live at the door when this answers.
#[derive(Args)]
#[command(
    after_help = "The whole version comes back: apps, policies, and the people and groups its files declared.\nOpen streams that it does not allow are cut.\n\nExample:\n  countersign policy rollback --reason 'version 7 locked the night shift out'"
)]
pub struct Rollback {
    /// Which version; without it, the newest one below the live one
    #[arg(value_name = "VERSION")]
    to: Option<u64>,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Go back even if nobody could administer afterwards
    #[arg(long)]
    allow_lockout: bool,
}

impl Rollback {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let body = json!({ "version": self.to, "reason": self.reason, "allow_lockout": self.allow_lockout });
        let answer = Client::find(global)?.post("/api/v1/config/rollback", &body).await?;
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        if policy_approvals::waits(&answer) {
            return Ok(ExitCode::SUCCESS);
        }
        plan::summary(answer.get("plan").unwrap_or(&Value::Null));
        say!(
            "configuration {} is live again in place of {} after {} ms; {} streams cut",
            output::text(&answer, "version"),
            output::text(&answer, "before"),
            output::text(&answer, "ms"),
            output::text(&answer, "streams_cut"),
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the kept versions, newest first.
pub async fn versions(global: &Global) -> Result<ExitCode> {
    let answer = Client::find(global)?.get("/api/v1/config").await?;
    if global.json {
        output::json(&answer);
    } else {
        let columns = [
            ("VERSION", "version"),
            ("LIVE", "live"),
            ("RUNS ON", "runs_on"),
            ("APPLIED", "applied_at"),
            ("BY", "author"),
            ("REASON", "reason"),
            ("DIGEST", "digest"),
        ];
        output::list(&answer, "versions", &columns);
    }
    Ok(ExitCode::SUCCESS)
}
