//! `countersign service-account`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// Programs that ask in their own name; they never sign in.
#[derive(Subcommand)]
pub enum ServiceAccount {
    /// All service accounts
    List,
    /// One service account
    Show {
        /// Name
        name: String,
    },
    /// Make a service account; it opens nothing until it has a token and a rule
    Create {
        /// Name: a-z, 0-9 and `-`; cannot be changed later
        name: String,
        /// Name for people
        #[arg(long, default_value = "")]
        title: String,
        /// Who answers for it: e-mail address or id
        #[arg(long)]
        owner: Option<String>,
        /// Group to be in; may be given again
        #[arg(long = "group")]
        groups: Vec<String>,
    },
    /// Put a service account into exactly these groups; streams it loses the right to are cut
    Groups {
        /// Name
        name: String,
        /// Groups; none takes it out of all
        groups: Vec<String>,
    },
    /// Disable a service account: its tokens are gone for good and their streams are cut
    Disable {
        /// Name
        name: String,
    },
    /// Let a service account have tokens again; it has none until you make one
    Enable {
        /// Name
        name: String,
    },
    /// Delete a service account with its tokens
    Delete {
        /// Name
        name: String,
    },
}

impl ServiceAccount {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let answer = match &self {
            ServiceAccount::List => client.get("/api/v1/service-accounts").await?,
            ServiceAccount::Show { name } => client.get(&path(name)).await?,
            ServiceAccount::Create { name, title, owner, groups } => {
                let body = json!({ "name": name, "title": title, "owner": owner, "groups": groups });
                client.post("/api/v1/service-accounts", &body).await?
            }
            ServiceAccount::Groups { name, groups } => {
                client.post(&format!("{}/groups", path(name)), &json!({ "groups": groups })).await?
            }
            ServiceAccount::Disable { name } => client.post(&format!("{}/disable", path(name)), &json!({})).await?,
            ServiceAccount::Enable { name } => client.post(&format!("{}/enable", path(name)), &json!({})).await?,
            ServiceAccount::Delete { name } => client.delete(&path(name)).await?,
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            ServiceAccount::List => {
                let columns = [
                    ("NAME", "name"),
                    ("TITLE", "title"),
                    ("STATE", "state"),
                    ("OWNER", "owner"),
                    ("GROUPS", "groups"),
                ];
                output::list(&answer, "service_accounts", &columns);
            }
            ServiceAccount::Show { .. } | ServiceAccount::Create { .. } => {
                for member in ["name", "title", "principal", "state", "owner", "groups", "tokens"] {
                    say!("{member:<9} {}", output::text(&answer, member));
                }
            }
            ServiceAccount::Groups { name, .. } => say!("the groups of {name} are set"),
            ServiceAccount::Disable { name } => say!("{name} is disabled and has no tokens any more"),
            ServiceAccount::Enable { name } => {
                say!("{name} is enabled; `countersign service-token create` makes a token")
            }
            ServiceAccount::Delete { name } => say!("{name} is deleted"),
        }
        output::revocations(&answer);
        Ok(ExitCode::SUCCESS)
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/service-accounts/{}", segment(name))
}
