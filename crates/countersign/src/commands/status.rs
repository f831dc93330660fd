//! `countersign status`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

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
            let beside = if member == "apps" { ", and the built-in one with pages and console" } else { "" };
            say!("{name:<14} {}{beside}", output::text(&status, member));
        }
        record(status.get("audit").unwrap_or(&Value::Null));
        for gateway in status.get("gateways").and_then(Value::as_array).into_iter().flatten() {
            let text = |member| output::text(gateway, member);
            let why = text("why");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            say!("{:<14} {} is {}, heard {}{why}", "gateway", text("name"), text("state"), text("heard"));
        }
        if let Some(errors) = policy_errors(&status).filter(|errors| *errors > 0) {
            say!(
                "\n{errors} answers met a policy that cannot be evaluated; the server's log names it (docs/metrics.md)."
            );
        }
        if status.get("administrators").and_then(Value::as_u64) == Some(1) {
            say!("\nThere is one administrator only: add a second one to the group `admins`.");
        }
        if status.get("needs_set_up").and_then(Value::as_bool) == Some(true) {
            say!("\nThere is no administrator yet: run `countersign admin setup-link`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How the record is; every alert that is not over with what to do about it.
pub(crate) fn record(audit: &Value) {
    let free = output::text(audit, "free_percent");
    let free = if free.is_empty() { "unknown free".to_owned() } else { format!("{free} % free") };
    say!(
        "{:<14} {}, {free}, {} of {} reserve segments",
        "record",
        output::text(audit, "state"),
        output::text(audit, "reserves_ready"),
        output::text(audit, "reserves_wanted"),
    );
    for sink in audit.get("sinks").and_then(Value::as_array).into_iter().flatten() {
        let text = |member| output::text(sink, member);
        say!("{:<14} {} {}, {} records behind", "sink", text("name"), text("state"), text("behind"));
    }
    for alert in audit.get("alerts").and_then(Value::as_array).into_iter().flatten() {
        if alert.get("active").and_then(Value::as_bool) == Some(true) {
            let text = |member| output::text(alert, member);
            say!(
                "\nALERT {}: {} (since {}, seen {} times)",
                text("kind"),
                text("detail"),
                text("since"),
                text("count")
            );
            say!("      {}", text("what_to_do"));
        }
    }
}

/// How many answers met a policy that cannot be evaluated (PO-3).
fn policy_errors(status: &Value) -> Option<u64> {
    status.get("counters")?.get("countersign_policy_errors_total")?.as_u64()
}
