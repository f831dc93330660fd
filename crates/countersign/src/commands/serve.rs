//! `countersign serve`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use config::ServerConfig;
use model::{Clock, Ids};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::roles::serve::{ServeOptions, Server};
use crate::roles::stages::millis;
use crate::roles::startup;
use crate::say;
use crate::system::{SystemClock, SystemIds};

/// The longest wait before a stop begins.
const MAX_DRAIN_DELAY_SECS: u64 = 3600;

/// Run control plane and gateway in this process.
#[derive(Args)]
#[command(
    after_help = "A small server.toml:\n\n  auth_url = \"https://auth.example.org\"\n\n  [[certificate]]\n  name = \"main\"\n  cert = \"cert.pem\"\n  key = \"key.pem\"\n\n  [[listener]]\n  address = \"0.0.0.0:443\"\n  certificates = [\"main\"]\n\nThen open the set-up link it prints, and load apps with `countersign apply -f config/`."
)]
pub struct Serve {
    /// The TOML file of this process
    #[arg(short, long, value_name = "FILE", default_value = "server.toml")]
    config: PathBuf,
    /// How the process log is written
    #[arg(long, value_enum, default_value = "json")]
    log: LogFormat,
    /// Seconds to go on serving after SIGTERM while `/readyz` says 503, so that balancers look elsewhere first
    #[arg(long, value_name = "SECONDS", default_value_t = ServeOptions::STANDARD.drain_delay.as_secs())]
    drain_delay: u64,
    /// Give up every passkey, because `[identity] rp_id` was changed; everybody has to enrol again
    #[arg(long)]
    lose_passkeys: bool,
}

/// The process log; not the record.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

impl Serve {
    /// Runs until a signal ends it.
    pub async fn run(self) -> Result<ExitCode> {
        let begun = Instant::now();
        start_log(self.log);
        let text = startup::read(&self.config)?;
        let mut config = match ServerConfig::parse(&self.config.display().to_string(), &text) {
            Ok(config) => config,
            Err(problems) => {
                eprintln!("{problems}");
                return Ok(ExitCode::from(2));
            }
        };
        let base = self.config.parent().map(PathBuf::from).unwrap_or_default();
        startup::resolve_paths(&mut config, &base);
        let auth_url = config.auth_url.origin();
        let drain_delay = Duration::from_secs(self.drain_delay.min(MAX_DRAIN_DELAY_SECS));
        let options = ServeOptions { drain_delay, ..ServeOptions::STANDARD };
        let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock::default()), Arc::new(SystemIds));
        if self.lose_passkeys {
            let gone = startup::lose_passkeys(&config, &clock, &ids).await?;
            tracing::warn!(gone, rp_id = config.identity.rp_id, "passkeys were given up for a new relying party");
            say!("{gone} passkeys are gone. Administrators get back in by `countersign admin recover ADDRESS`.");
        }
        let server = Server::start(config, options, clock, ids).await?;
        tracing::debug!(ms = millis(begun.elapsed()), "started");
        announce(&server, &auth_url).await?;
        wait_for_stop().await?;
        tracing::info!("draining; a second signal ends at once");
        let haste = server.haste();
        let mut stopping = std::pin::pin!(server.stop());
        tokio::select! {
            () = &mut stopping => return Ok(ExitCode::SUCCESS),
            stopped = wait_for_stop() => stopped?,
        }
        tracing::info!("ending; records are kept, a third signal gives up on them");
        haste.cancel();
        tokio::select! {
            () = stopping => Ok(ExitCode::SUCCESS),
            stopped = wait_for_stop() => stopped.map(|()| ExitCode::FAILURE),
        }
    }
}

async fn announce(server: &Server, auth_url: &str) -> Result<()> {
    for address in &server.addresses {
        tracing::info!(%address, auth_url, "serving");
    }
    tracing::info!(address = %server.admin_address, socket = %server.socket.display(), "health and control");
    if server.control.people().needs_set_up() {
        let link = server.portal.set_up_link("countersign serve").await?;
        // The link is a secret for whoever reads the terminal, so it goes there and not into the log.
        say!("There is no administrator yet. Open this link within 10 minutes:\n\n  {}\n", link.url());
    }
    Ok(())
}

/// Resolves when the process is asked to stop.
///
/// # Errors
/// The system gives no signals.
pub async fn wait_for_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Starts the process log on standard error; `RUST_LOG` chooses what is in it.
pub fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.init(),
    }
}
