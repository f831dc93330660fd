//! `countersign keys`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// Signing keys: list and rotate. They also rotate by themselves.
#[derive(Subcommand)]
pub enum Keys {
    /// Published keys: what signs, what comes, what retires
    List,
    /// Publish a new key; it signs ten minutes later, and the old one stays published for ten more
    Rotate {
        /// What the key signs: assertion or receipt
        purpose: String,
    },
}

impl Keys {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        match self {
            Keys::List => {
                let answer = client.get("/api/v1/keys").await?;
                if global.json {
                    output::json(&answer);
                } else {
                    let columns =
                        [("PURPOSE", "purpose"), ("STATE", "state"), ("SIGNS FROM", "signs_from"), ("KEY", "kid")];
                    output::list(&answer, "keys", &columns);
                }
            }
            Keys::Rotate { purpose } => {
                let path = format!("/api/v1/keys/{}/rotate", crate::client::segment(&purpose));
                let answer = client.post(&path, &json!({})).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    say!(
                        "key {} for {} is published and signs from {}",
                        output::text(&answer, "kid"),
                        output::text(&answer, "purpose"),
                        output::text(&answer, "signs_from"),
                    );
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
