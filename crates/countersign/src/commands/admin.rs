//! `countersign admin setup-link` (ID-1) and `countersign admin recover` (ID-2).

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// First administrator.
#[derive(Subcommand)]
pub enum Admin {
    /// Make a link through which the first administrator enrols; valid for 10 minutes, once
    SetupLink,
    /// Make a link that opens an administrator's account again; only from this machine, and every administrator is told
    Recover {
        /// E-mail address or id of an active administrator
        user: String,
    },
}

impl Admin {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let (link, whose) = match self {
            Admin::SetupLink => {
                let link = client.post("/api/v1/setup-link", &serde_json::json!({})).await?;
                (link, "whoever is to administer".to_owned())
            }
            Admin::Recover { user } => {
                let link = client.post("/api/v1/admin-recovery", &serde_json::json!({ "user": user })).await?;
                (link, user)
            }
        };
        if global.json {
            output::json(&link);
        } else {
            say!("{}", output::text(&link, "url"));
            say!(
                "Valid until {}, once. It was not mailed: open it in the browser of {whose}.",
                output::text(&link, "expires")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
