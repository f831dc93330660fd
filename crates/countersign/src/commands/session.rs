//! `countersign session`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::Global;
use crate::client::Client;
use crate::output;

/// Sessions ended, but a gateway did not prove that their streams are dead (GW-58).
const UNPROVEN: u8 = 3;

/// Sessions: list and revoke.
#[derive(Subcommand)]
pub enum Session {
    /// Live sessions, newest first
    List {
        /// Only of this person (e-mail address or id)
        #[arg(long)]
        user: Option<String>,
    },
    /// End sessions everywhere; answers when every stream is dead, with 3 if a gateway could not prove it
    Revoke {
        /// Whose or which
        #[command(flatten)]
        which: Which,
        /// Wait for every gateway; always so, for scripts that want to say it
        #[arg(long)]
        wait: bool,
    },
}

/// Whose or which.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// One session (ses_…)
    session: Option<String>,
    /// Every session of this person (e-mail address or id)
    #[arg(long)]
    user: Option<String>,
}

impl Session {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        match self {
            Session::List { user } => {
                let query: Vec<(&str, String)> = user.into_iter().map(|user| ("user", user)).collect();
                let answer = client.get_with("/api/v1/sessions", &query).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    let columns = [
                        ("SESSION", "id"),
                        ("USER", "email"),
                        ("SINCE", "created"),
                        ("LAST USED", "last_active"),
                        ("ENDS", "ends"),
                        ("NETWORK", "src_net"),
                    ];
                    output::list(&answer, "sessions", &columns);
                }
            }
            // There is no way not to wait: an answer before the streams are dead would be none.
            Session::Revoke { which: Which { session, user }, wait: _ } => {
                let body = match (session, user) {
                    (Some(session), _) => serde_json::json!({ "session": session }),
                    (None, user) => serde_json::json!({ "user": user }),
                };
                let answer = client.post("/api/v1/sessions/revoke", &body).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    output::withdrawal_table(&answer);
                }
                if !output::is_proven(&answer) {
                    return Ok(ExitCode::from(UNPROVEN));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
