//! `countersign group`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// Groups and who is in them.
#[derive(Subcommand)]
pub enum Group {
    /// All groups
    List,
    /// One group
    Show {
        /// Group id
        group: String,
    },
    /// Make a group whose members are kept here
    Create {
        /// Group id: a-z, 0-9 and `-`; cannot be changed later
        group: String,
        /// Name for people
        #[arg(long)]
        title: Option<String>,
    },
    /// Put a person into a group
    Add {
        /// Group id
        group: String,
        /// E-mail address or id
        user: String,
    },
    /// Take a person out of a group; streams they lose the right to are cut
    Remove {
        /// Group id
        group: String,
        /// E-mail address or id
        user: String,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
    /// Delete a group
    Delete {
        /// Group id
        group: String,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
}

impl Group {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let answer = match &self {
            Group::List => client.get("/api/v1/groups").await?,
            Group::Show { group } => client.get(&path(group)).await?,
            Group::Create { group, title } => {
                client.post("/api/v1/groups", &serde_json::json!({ "id": group, "title": title })).await?
            }
            Group::Add { group, user } => client.put(&format!("{}/members/{}", path(group), segment(user))).await?,
            Group::Remove { group, user, force } => {
                client.delete(&format!("{}/members/{}?force={force}", path(group), segment(user))).await?
            }
            Group::Delete { group, force } => client.delete(&format!("{}?force={force}", path(group))).await?,
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            Group::List => {
                let columns = [("GROUP", "id"), ("TITLE", "title"), ("PARENTS", "parents"), ("MEMBERS", "members")];
                output::list(&answer, "groups", &columns);
            }
            Group::Show { .. } | Group::Create { .. } => {
                for member in ["id", "title", "parents", "members"] {
                    say!("{member:<8} {}", output::text(&answer, member));
                }
            }
            Group::Add { group, user } => say!("{user} is in {group}"),
            Group::Remove { group, user, .. } => say!("{user} is no longer in {group}"),
            Group::Delete { group, .. } => say!("{group} is deleted"),
        }
        output::revocations(&answer);
        Ok(ExitCode::SUCCESS)
    }
}

fn path(group: &str) -> String {
    format!("/api/v1/groups/{}", segment(group))
}
