//! `countersign app`, but for `add`, which needs no server.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;

use super::app_add::AppAdd;
use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// Apps: add, list, show, and who would get what.
#[derive(Subcommand)]
pub enum App {
    /// Write the file of one more app beside the others, checked; nothing is live before the next apply
    Add(AppAdd),
    /// All apps
    List,
    /// One app
    #[command(after_help = "Example:\n  countersign app show payroll")]
    Show {
        /// App name
        app: String,
    },
    /// What a person would get now, with a passkey used just now, and why
    #[command(after_help = "Example:\n  countersign app explain payroll --user alice@example.org --action http.delete")]
    Explain {
        /// App name
        app: String,
        /// E-mail address or id
        #[arg(long)]
        user: String,
        /// e.g. http.get, http.delete; without it what the route does
        #[arg(long)]
        action: Option<String>,
        /// Route name; without it the front page
        #[arg(long)]
        route: Option<String>,
    },
}

impl App {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = || Client::find(global);
        let answer = match &self {
            App::Add(add) => return add.run(global),
            App::List => client()?.get("/api/v1/apps").await?,
            App::Show { app } => client()?.get(&format!("/api/v1/apps/{}", segment(app))).await?,
            App::Explain { app, user, action, route } => {
                let mut query = vec![("user", user.clone())];
                query.extend(action.iter().map(|action| ("action", action.clone())));
                query.extend(route.iter().map(|route| ("route", route.clone())));
                client()?.get_with(&format!("/api/v1/apps/{}/explain", segment(app)), &query).await?
            }
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            App::Add(_) => {}
            App::List => {
                let columns = [
                    ("APP", "name"),
                    ("TITLE", "title"),
                    ("HOSTS", "hosts"),
                    ("SENSITIVITY", "sensitivity"),
                    ("DECLARED", "declared_at"),
                ];
                output::list(&answer, "apps", &columns);
            }
            App::Show { .. } => {
                for member in ["name", "title", "hosts", "public_paths", "sensitivity", "label", "declared_at"] {
                    say!("{member:<13} {}", output::text(&answer, member));
                }
                say!("");
                output::list(
                    &answer,
                    "routes",
                    &[
                        ("ROUTE", "name"),
                        ("PATH", "path"),
                        ("METHODS", "methods"),
                        ("UPSTREAM", "upstream"),
                        ("ACTION", "action"),
                    ],
                );
                say!("");
                output::list(&answer, "upstreams", &[("UPSTREAM", "name"), ("TARGETS", "targets")]);
            }
            App::Explain { .. } => explain(&answer),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints an answer with what explains it.
pub(super) fn explain(answer: &Value) {
    say!("{} ({})", output::text(answer, "verdict"), output::text(answer, "reason"));
    say!("{}", output::text(answer, "sentence"));
    if let Some(asked) = answer.get("asked").and_then(Value::as_str) {
        say!("asked: {asked}");
    }
    let stages = output::text(answer, "failed_stages");
    if !stages.is_empty() && stages != "-" {
        say!("failed: {stages}");
    }
    for policy in answer.get("policies").and_then(Value::as_array).into_iter().flatten() {
        let part = if policy.get("determining").and_then(Value::as_bool) == Some(true) { "decided" } else { "nearest" };
        say!(
            "\n{part}: {} ({}, {})",
            output::text(policy, "id"),
            output::text(policy, "set"),
            output::text(policy, "declared_at")
        );
        for condition in policy.get("failing_conditions").and_then(Value::as_array).into_iter().flatten() {
            say!("  not met: {}", condition.as_str().unwrap_or_default());
        }
        for fact in policy.get("facts").and_then(Value::as_array).into_iter().flatten() {
            let age =
                fact.get("age_secs").and_then(Value::as_i64).map(|age| format!(", {age} s old")).unwrap_or_default();
            let (path, value) = (output::text(fact, "path"), output::text(fact, "value"));
            say!("  {path} = {value} (from {}{age})", output::text(fact, "source"));
        }
    }
    for fix in answer.get("fix").and_then(Value::as_array).into_iter().flatten() {
        say!("\nwould help: {} (not older than {} s)", output::text(fix, "text"), output::text(fix, "max_age"));
    }
    say!("\nholds until {}, policies {}", output::text(answer, "hold_until"), output::text(answer, "policy_hash"));
}
