//! `countersign admin setup-link` (ID-1) and `countersign admin recover` (ID-2).

mod offline;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// Administrators: the set-up link, and a way back in from this machine.
#[derive(Subcommand)]
pub enum Admin {
    /// Make a link through which the first administrator enrols; valid for 10 minutes, once
    SetupLink,
    /// Make a link that opens an administrator's account again; only from this machine, and every administrator is told
    #[command(
        after_help = "With --offline the server must be stopped; the command opens its data folder itself, as the user the server runs as.\nNeither an identity provider nor a mail server is asked.\n\nExample:\n  countersign admin recover carol@example.org --offline -c server.toml"
    )]
    Recover {
        /// E-mail address or id of an active administrator
        user: String,
        /// Without a server: open its data folder here
        #[arg(long, requires = "config")]
        offline: bool,
        /// The TOML file of the server, with --offline
        #[arg(short, long, value_name = "FILE", requires = "offline")]
        config: Option<PathBuf>,
    },
}

impl Admin {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let (link, whose, then) = match self {
            Admin::SetupLink => {
                let link = Client::find(global)?.post("/api/v1/setup-link", &serde_json::json!({})).await?;
                (link, "whoever is to administer".to_owned(), "")
            }
            Admin::Recover { user, config: Some(config), .. } => {
                let link = offline::recover(&config, &user).await?;
                (link, user, "Start the server first. ")
            }
            Admin::Recover { user, .. } => {
                let body = serde_json::json!({ "user": user });
                (Client::find(global)?.post("/api/v1/admin-recovery", &body).await?, user, "")
            }
        };
        if global.json {
            output::json(&link);
        } else {
            say!("{}", output::text(&link, "url"));
            say!(
                "Valid until {}, once. {then}It was not mailed: open it in the browser of {whose}.",
                output::text(&link, "expires")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
