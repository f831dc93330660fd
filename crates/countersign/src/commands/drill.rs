//! `countersign drill gateway`: attacks a proxy from outside and judges by what reached an app that it plays itself. No
//! server of ours is needed, and the proxy may be anybody's (docs/drill.md).

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use drill::attacks::ATTACKS;
use drill::{CASE_LIMIT, Echo, Options, ScoreCard, Target, run};
use serde_json::json;

use crate::cli::Global;
use crate::output;
use crate::say;

/// Exit code of a drill that could judge nothing.
const UNUSABLE: u8 = 2;

/// Attacks on purpose.
#[derive(Subcommand)]
pub enum Drill {
    /// Attack an HTTP proxy: framing, paths, headers, HTTP/2, sign-in; and print a score card
    Gateway(Box<GatewayDrill>),
}

/// What is attacked, and what is said of it.
#[derive(Args)]
#[command(
    after_help = "The drill is client and app at once: point the proxy's upstream at the address of --echo.\nExit code: 0 withstood, 1 something got through, 2 nothing could be judged.\n\nExample, a proxy that refuses /admin and sets X-Forwarded-User itself:\n  countersign drill gateway --target https://127.0.0.1:8443 --host app.localhost --deny-path /admin --identity-header X-Forwarded-User"
)]
pub struct GatewayDrill {
    /// Where the proxy listens: `http://host:port` or `https://host:port`. Its certificate is not verified
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    target: Option<String>,
    /// Where the drill plays the app; the proxy's upstream
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8999")]
    echo: SocketAddr,
    /// The host, with port if it is named, that the proxy is asked for instead of the target's
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A cookie that signs a request in, `name=value`; may be given several times
    #[arg(long = "cookie", value_name = "COOKIE")]
    cookies: Vec<String>,
    /// A header that signs a request in, `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A path that the proxy lets through
    #[arg(long, value_name = "PATH", default_value = "/")]
    allow_path: String,
    /// A path that the proxy refuses, with everything below it
    #[arg(long, value_name = "PATH")]
    deny_path: Option<String>,
    /// A method that the proxy refuses
    #[arg(long, value_name = "METHOD")]
    deny_method: Option<String>,
    /// A header that only the proxy may set; may be given several times
    #[arg(long = "identity-header", value_name = "NAME")]
    identity_headers: Vec<String>,
    /// A prefix that the proxy takes off before it judges
    #[arg(long, value_name = "PATH")]
    strip_prefix: Option<String>,
    /// Only these attacks, e.g. `ATK-13,ATK-22`
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    only: Vec<String>,
    /// How long one case may wait for the proxy, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = u64::try_from(CASE_LIMIT.as_millis()).unwrap_or(1500))]
    patience: u64,
    /// List the attacks, what each proves and where it was published; attacks nothing
    #[arg(long)]
    list: bool,
    /// The target is mine: attack it although it is no address of this machine or a private network
    #[arg(long)]
    i_own_this_target: bool,
}

impl Drill {
    /// Attacks, and tells.
    ///
    /// # Errors
    /// None: what keeps it from judging is told, with exit code 2.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let Drill::Gateway(gateway) = self;
        if gateway.list {
            return Ok(list(global));
        }
        // 1 says that something got through; whatever keeps the drill from judging is not that.
        gateway.run(global).await.or_else(|error| {
            output::report(&error);
            Ok(ExitCode::from(UNUSABLE))
        })
    }
}

fn list(global: &Global) -> ExitCode {
    if global.json {
        output::json(&json!({ "attacks": ATTACKS }));
        return ExitCode::SUCCESS;
    }
    let row = |attack: &drill::attacks::Attack| {
        [attack.id, attack.title, attack.proves]
            .map(str::to_owned)
            .into_iter()
            .chain([attack.published.join(", ")])
            .collect()
    };
    let rows: Vec<Vec<String>> = ATTACKS.iter().map(row).collect();
    output::table(&["attack", "what is tried", "what is proven", "published"], &rows);
    ExitCode::SUCCESS
}

impl GatewayDrill {
    async fn run(&self, global: &Global) -> Result<ExitCode> {
        let options = self.options().await?;
        if !options.target.is_private() && !self.i_own_this_target {
            bail!(
                "`{}` is neither this machine nor a private network: say --i-own-this-target if you may attack it",
                options.target.address
            );
        }
        let echo = match Echo::start(self.echo).await {
            Ok(echo) => echo,
            Err(error) => bail!("cannot listen on `{}` for the proxy: {error}", self.echo),
        };
        if !global.json {
            say!("the app of this drill listens on {}; the proxy's upstream has to be there", echo.address());
        }
        let card = run(&options, &echo, |_| {}).await?;
        Ok(tell(global, &card))
    }

    async fn options(&self) -> Result<Options> {
        let url = self.target.as_deref().unwrap_or_default();
        let mut options = Options::new(Target::resolve(url, self.host.as_deref()).await?);
        options.credentials = self.credentials()?;
        options.allow_path = path("--allow-path", &self.allow_path)?;
        options.deny_path = self.deny_path.as_deref().map(|denied| path("--deny-path", denied)).transpose()?;
        options.stripped_prefix =
            self.strip_prefix.as_deref().map(|prefix| path("--strip-prefix", prefix)).transpose()?;
        options.deny_method = self.deny_method.clone();
        options.identity_headers = self.identity_headers.clone();
        options.case_limit = Duration::from_millis(self.patience.max(1));
        options.only = self.only.clone();
        if let Some(unknown) = options.only.iter().find(|id| drill::attacks::attack(&id.to_uppercase()).is_none()) {
            bail!("`{unknown}` is no attack; `countersign drill gateway --list` shows them");
        }
        let words = options.deny_method.iter().chain(&options.identity_headers);
        if let Some(odd) = words.into_iter().find(|word| word.is_empty() || !word.bytes().all(is_name_byte)) {
            bail!("`{odd}` is no method and no header name");
        }
        Ok(options)
    }

    /// Cookies as one field, as a browser sends them.
    fn credentials(&self) -> Result<Vec<(String, String)>> {
        let mut credentials = Vec::new();
        if !self.cookies.is_empty() {
            credentials.push(("Cookie".to_owned(), self.cookies.join("; ")));
        }
        for header in &self.headers {
            match header.split_once(':') {
                Some((name, value)) => credentials.push((name.trim().to_owned(), value.trim().to_owned())),
                None => bail!("`{header}` is no header: write `Name: value`"),
            }
        }
        if let Some((name, _)) =
            credentials.iter().find(|(_, value)| !value.bytes().all(|byte| (b' '..0x7f).contains(&byte)))
        {
            bail!("the value of `{name}` holds what no header may hold");
        }
        Ok(credentials)
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn path(option: &str, path: &str) -> Result<String> {
    let is_plain =
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
    if !is_plain {
        bail!("{option} `{path}` must start with `/` and hold letters, digits, `-`, `_`, `.` and `~` alone");
    }
    Ok(path.to_owned())
}

fn tell(global: &Global, card: &ScoreCard) -> ExitCode {
    match global.json {
        true => output::json(&card.to_json()),
        false => say!("{}", card.to_text().trim_end()),
    }
    let tally = card.tally(None);
    match (tally.failed, tally.passed) {
        (0, 1..) => ExitCode::SUCCESS,
        (0, 0) => ExitCode::from(UNUSABLE),
        _ => ExitCode::FAILURE,
    }
}
