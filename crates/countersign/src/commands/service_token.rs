//! `countersign service-token`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// What service accounts prove themselves with: a client id and a secret, for the apps you name.
#[derive(Subcommand)]
pub enum ServiceToken {
    /// All service tokens and when they end
    List,
    /// Make a token; its secret is shown this once
    Create {
        /// Service account
        service: String,
        /// App it is good for; may be given again
        #[arg(long = "app", required = true)]
        apps: Vec<String>,
        /// How long it is good: 1 to 365 days [default: 90]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
    },
    /// Give a token a new secret, shown this once; the old one stays good for 24 hours
    Rotate {
        /// Client id
        client_id: String,
        /// How long the new secret is good: 1 to 365 days [default: 90]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
    },
    /// Take a token away and cut its streams
    Revoke {
        /// Client id
        client_id: String,
    },
}

impl ServiceToken {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let answer = match &self {
            ServiceToken::List => client.get("/api/v1/service-tokens").await?,
            ServiceToken::Create { service, apps, days } => {
                let body = json!({ "service": service, "apps": apps, "days": days });
                client.post("/api/v1/service-tokens", &body).await?
            }
            ServiceToken::Rotate { client_id, days } => {
                client.post(&format!("{}/rotate", path(client_id)), &json!({ "days": days })).await?
            }
            ServiceToken::Revoke { client_id } => client.delete(&path(client_id)).await?,
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            ServiceToken::List => {
                let columns = [
                    ("CLIENT ID", "client_id"),
                    ("ACCOUNT", "service"),
                    ("APPS", "apps"),
                    ("STATE", "state"),
                    ("ENDS", "expires_at"),
                ];
                output::list(&answer, "service_tokens", &columns);
            }
            ServiceToken::Create { .. } | ServiceToken::Rotate { .. } => shown_once(&answer),
            ServiceToken::Revoke { client_id } => say!("{client_id} is revoked"),
        }
        output::revocations(&answer);
        Ok(ExitCode::SUCCESS)
    }
}

fn shown_once(answer: &Value) {
    say!("client id      {}", output::text(answer, "client_id"));
    say!("client secret  {}", output::text(answer, "client_secret"));
    say!("good until     {}", output::text(answer, "expires_at"));
    say!("keep the secret now: it is shown this once, and nobody can read it again");
}

fn path(client_id: &str) -> String {
    format!("/api/v1/service-tokens/{}", segment(client_id))
}
