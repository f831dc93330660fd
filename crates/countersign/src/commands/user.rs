//! `countersign user`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// People.
#[derive(Subcommand)]
pub enum User {
    /// Everybody
    List,
    /// One person
    Show {
        /// E-mail address or id
        user: String,
    },
    /// Add a person; invite them with `countersign invite`
    Add {
        /// E-mail address
        email: String,
        /// Display name
        #[arg(long)]
        name: String,
        /// A group to be in; may be given several times
        #[arg(long = "group")]
        groups: Vec<String>,
        /// From outside the organisation
        #[arg(long)]
        external: bool,
    },
    /// End a person's access everywhere, at once
    Disable {
        /// E-mail address or id
        user: String,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
    /// Let a person sign in again; revives no session
    Enable {
        /// E-mail address or id
        user: String,
    },
    /// Remove a person with everything that is theirs
    Delete {
        /// E-mail address or id
        user: String,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
}

impl User {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let answer = match &self {
            User::List => client.get("/api/v1/users").await?,
            User::Show { user } => client.get(&path(user)).await?,
            User::Add { email, name, groups, external } => {
                let body = serde_json::json!({ "email": email, "name": name, "groups": groups, "external": external });
                client.post("/api/v1/users", &body).await?
            }
            User::Disable { user, force } => {
                client.post(&format!("{}/disable?force={force}", path(user)), &Value::Null).await?
            }
            User::Enable { user } => client.post(&format!("{}/enable", path(user)), &Value::Null).await?,
            User::Delete { user, force } => client.delete(&format!("{}?force={force}", path(user))).await?,
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            User::List => {
                let columns = [
                    ("EMAIL", "email"),
                    ("NAME", "name"),
                    ("STATE", "state"),
                    ("GROUPS", "groups"),
                    ("SESSIONS", "sessions"),
                    ("ID", "id"),
                ];
                output::list(&answer, "users", &columns);
            }
            User::Show { .. } | User::Add { .. } => {
                for member in ["id", "email", "name", "state", "groups", "external", "created_at", "sessions"] {
                    say!("{member:<11} {}", output::text(&answer, member));
                }
                if matches!(self, User::Add { .. }) {
                    say!("\nInvite them: countersign invite {}", output::text(&answer, "email"));
                }
            }
            User::Disable { user, .. } => say!("{user} is disabled"),
            User::Enable { user } => say!("{user} may sign in again"),
            User::Delete { user, .. } => say!("{user} is deleted"),
        }
        output::revocations(&answer);
        Ok(ExitCode::SUCCESS)
    }
}

fn path(user: &str) -> String {
    format!("/api/v1/users/{}", segment(user))
}
