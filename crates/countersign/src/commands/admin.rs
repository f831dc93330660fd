//! `countersign admin setup-link` (ID-1).

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
}

impl Admin {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let Admin::SetupLink = self;
        let link = Client::find(global)?.post("/api/v1/setup-link", &serde_json::json!({})).await?;
        if global.json {
            output::json(&link);
        } else {
            say!("{}", output::text(&link, "url"));
            say!(
                "Valid until {}, once. It was not mailed: open it in the browser of whoever is to administer.",
                output::text(&link, "expires")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
