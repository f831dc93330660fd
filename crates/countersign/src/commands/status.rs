//! `countersign status`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// Prints what the running server is doing.
pub async fn run(global: &Global) -> Result<ExitCode> {
    let status = Client::find(global)?.get("/api/v1/status").await?;
    if global.json {
        output::json(&status);
    } else {
        for (name, member) in [
            ("version", "version"),
            ("sign-in pages", "auth_url"),
            ("configuration", "config_version"),
            ("policies", "policy_hash"),
            ("apps", "apps"),
            ("users", "users"),
            ("sessions", "sessions"),
        ] {
            say!("{name:<14} {}", output::text(&status, member));
        }
        if status.get("needs_set_up").and_then(serde_json::Value::as_bool) == Some(true) {
            say!("\nThere is no administrator yet: run `countersign admin setup-link`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
