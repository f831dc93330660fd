//! `countersign invite` (ID-3, ID-4).

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// Make an invitation link for a person; it voids the one before.
#[derive(Args)]
#[command(
    after_help = "Example:\n  countersign user add ann@example.org --name Ann --group engineering\n  countersign invite ann@example.org"
)]
pub struct Invite {
    /// E-mail address or id; leave out to list links
    user: Option<String>,
}

impl Invite {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let Some(user) = self.user else {
            let links = client.get("/api/v1/invites").await?;
            if global.json {
                output::json(&links);
            } else {
                let columns = [
                    ("LINK", "id"),
                    ("KIND", "kind"),
                    ("USER", "user"),
                    ("BY", "created_by"),
                    ("ENDS", "expires"),
                    ("OPEN", "is_open"),
                ];
                output::list(&links, "links", &columns);
            }
            return Ok(ExitCode::SUCCESS);
        };
        let link = client.post("/api/v1/invites", &serde_json::json!({ "user": user })).await?;
        if global.json {
            output::json(&link);
        } else {
            say!("{}", output::text(&link, "url"));
            say!(
                "For {}, until {}, once. It was not mailed: send it on a channel you trust.",
                output::text(&link, "user"),
                output::text(&link, "expires")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
