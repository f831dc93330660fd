//! `countersign gateway`: a gateway in a process of its own, and who may be one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use config::server::GatewayConfig;
use model::{Clock, Ids};
use serde_json::json;

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::commands::serve::{LogFormat, start_log, wait_for_stop};
use crate::output;
use crate::roles::gateway::{GatewayProcess, join};
use crate::say;
use crate::system::{SystemClock, SystemIds};

/// Gateways in processes of their own: admit, list, remove; join and run one.
#[derive(Subcommand)]
#[command(
    after_help = "On the control plane:  countersign gateway token west\nOn the new machine:    countersign gateway join -c gateway.toml --control https://HOST:8444 --token TOKEN\n                       countersign gateway run -c gateway.toml"
)]
pub enum Gateway {
    /// Every gateway, how far it has come, and who is behind
    List,
    /// Make a one-time token to join under a name; good for ten minutes and one key
    Token {
        /// What the gateway is called: a-z, 0-9 and -
        name: String,
    },
    /// Remove a gateway: its certificate is refused and its signing keys are published no more, at once
    Remove {
        /// Which
        name: String,
    },
    /// Become a gateway: make a key and get a certificate for it
    Join(Join),
    /// Run a gateway that has joined
    Run(Run),
}

/// Become a gateway.
#[derive(Args)]
pub struct Join {
    /// The TOML file of this gateway
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
    /// Where the control plane takes gateways, https://host:port
    #[arg(long, value_name = "URL")]
    control: String,
    /// The token, as `countersign gateway token` showed it
    #[arg(long, env = "COUNTERSIGN_JOIN_TOKEN", hide_env_values = true)]
    token: String,
}

/// Run a gateway.
#[derive(Args)]
pub struct Run {
    /// The TOML file of this gateway
    #[arg(short, long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
    /// How the process log is written
    #[arg(long, value_enum, default_value = "json")]
    log: LogFormat,
}

impl Gateway {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Gateway::List => list(global).await,
            Gateway::Token { name } => {
                let path = format!("/api/v1/gateways/{}/token", segment(&name));
                let answer = Client::find(global)?.post(&path, &json!({})).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    let text = |member| output::text(&answer, member);
                    say!("Good until {}, once. On the machine of the gateway:\n", text("expires"));
                    say!("  countersign gateway join --control {} --token {}", text("control"), text("token"));
                }
                Ok(ExitCode::SUCCESS)
            }
            Gateway::Remove { name } => {
                let path = format!("/api/v1/gateways/{}", segment(&name));
                let answer = Client::find(global)?.delete(&path).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    say!("{name} is removed; it serves nothing new once its facts are too old. Stop its process.");
                }
                Ok(ExitCode::SUCCESS)
            }
            Gateway::Join(join) => join.run().await,
            Gateway::Run(run) => run.run().await,
        }
    }
}

async fn list(global: &Global) -> Result<ExitCode> {
    let answer = Client::find(global)?.get("/api/v1/gateways").await?;
    if global.json {
        output::json(&answer);
    } else {
        let columns =
            [("GATEWAY", "name"), ("STATE", "state"), ("HEARD", "heard"), ("PROGRAM", "software"), ("WHY", "why")];
        output::list(&answer, "gateways", &columns);
    }
    Ok(ExitCode::SUCCESS)
}

impl Join {
    async fn run(self) -> Result<ExitCode> {
        let Some(config) = read(&self.config)? else { return Ok(ExitCode::from(2)) };
        let (clock, ids) = system();
        let name = join(&config, &self.control, &self.token, &clock, &ids).await?;
        say!("This is the gateway {name} now. Run it:\n\n  countersign gateway run -c {}", self.config.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    async fn run(self) -> Result<ExitCode> {
        start_log(self.log);
        let Some(config) = read(&self.config)? else { return Ok(ExitCode::from(2)) };
        let (clock, ids) = system();
        let process = tokio::select! {
            process = GatewayProcess::start(config, clock, ids) => process?,
            stopped = wait_for_stop() => return stopped.map(|()| ExitCode::SUCCESS),
        };
        for address in &process.addresses {
            tracing::info!(%address, "serving");
        }
        tracing::info!(address = %process.admin_address, "health");
        wait_for_stop().await?;
        tracing::info!("draining; a second signal ends at once");
        let haste = process.haste();
        let mut stopping = std::pin::pin!(process.stop());
        tokio::select! {
            () = &mut stopping => return Ok(ExitCode::SUCCESS),
            stopped = wait_for_stop() => stopped?,
        }
        haste.cancel();
        stopping.await;
        Ok(ExitCode::SUCCESS)
    }
}

fn system() -> (Arc<dyn Clock>, Arc<dyn Ids>) {
    (Arc::new(SystemClock::default()), Arc::new(SystemIds))
}

/// The configuration, or `None` once its problems are told.
fn read(file: &Path) -> Result<Option<GatewayConfig>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the configuration `{}`", file.display()))?;
    let mut config = match GatewayConfig::parse(&file.display().to_string(), &text) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(None);
        }
    };
    crate::roles::startup::resolve_gateway_paths(&mut config, &file.parent().map(Path::to_owned).unwrap_or_default());
    Ok(Some(config))
}
