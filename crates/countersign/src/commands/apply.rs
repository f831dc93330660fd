//! `countersign check` and `countersign apply`: files from a folder become the live configuration (GW-1).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use api::Failure;
use clap::Args;
use config::{Known, Problems, ServerConfig, SourceFile};
use serde_json::{Value, json};

use super::{plan, policy_approvals};
use crate::cli::Global;
use crate::client::{Client, problem_line};
use crate::output;
use crate::roles::{doors, startup};
use crate::say;

/// The largest file that is read.
const FILE_BYTES: u64 = 4 << 20;
/// How deep folders are followed.
const DEPTH: usize = 8;

/// Check configuration files; changes nothing.
#[derive(Args)]
#[command(
    after_help = "With -c no server is needed: files are checked against each other and that process configuration.\nWithout it the running server checks them, against its people and groups too.\n\nExample:\n  countersign check -f config/ -c server.toml"
)]
pub struct Check {
    /// Check without a server, against this process configuration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder (or file) with .yaml, .cedar and .pem files
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    files: PathBuf,
}

/// Make configuration files live, all or nothing.
#[derive(Args)]
#[command(
    after_help = "Everything is checked first; if anything is wrong, nothing changes and every problem is told.\n\nExample:\n  countersign apply -f config/ --reason 'open the wiki to contractors'"
)]
pub struct Apply {
    /// A folder (or file) with .yaml, .cedar and .pem files
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    files: PathBuf,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Only show what it would do
    #[arg(long)]
    plan: bool,
    /// Apply even if nobody could administer afterwards
    #[arg(long)]
    allow_lockout: bool,
}

impl Check {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let files = read(&self.files)?;
        let answer = match &self.config {
            Some(config) => match offline(config, &files)? {
                Ok(answer) => answer,
                Err(problems) => {
                    eprintln!("{problems}");
                    return Ok(ExitCode::from(2));
                }
            },
            None => {
                let client = Client::find(global).context(
                    "without `-c` the running server checks; `-c server.toml` checks without one, against that file",
                )?;
                client.post("/api/v1/config/check", &json!({ "files": files })).await?
            }
        };
        if global.json {
            output::json(&answer);
        } else {
            warnings(&answer);
            say!("fine: apps {}; {} policies", output::text(&answer, "apps"), output::text(&answer, "policies"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Apply {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        if self.plan {
            return plan::of_files(&self.files, global).await;
        }
        let files = read(&self.files)?;
        let body = json!({ "files": files, "reason": self.reason, "allow_lockout": self.allow_lockout });
        let answer = Client::find(global)?.post("/api/v1/config/apply", &body).await?;
        if global.json {
            output::json(&answer);
        } else if !policy_approvals::waits(&answer) {
            warnings(&answer);
            plan::summary(answer.get("plan").unwrap_or(&Value::Null));
            let is = |member: &str| answer.get(member).and_then(Value::as_bool) == Some(true);
            let was_live = answer.get("before") == answer.get("version");
            let news = match (was_live, is("new")) {
                (true, _) => "was live already",
                (false, true) => "is live",
                (false, false) => "is live again",
            };
            say!(
                "configuration {} {news}; {} streams cut",
                output::text(&answer, "version"),
                output::text(&answer, "streams_cut")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The same check as the server's, in this process. Groups that only the server knows must be declared.
pub(crate) fn offline(config: &Path, files: &[Value]) -> Result<Result<Value, Problems>> {
    match server(config)? {
        Ok(server) => offline_with(&server, files, None),
        Err(problems) => Ok(Err(problems)),
    }
}

/// The process configuration, with its paths resolved.
pub(super) fn server(config: &Path) -> Result<Result<ServerConfig, Problems>> {
    let name = config.display().to_string();
    let text = startup::read(config)?;
    Ok(ServerConfig::parse(&name, &text).map(|mut server| {
        startup::resolve_paths(&mut server, &config.parent().map(PathBuf::from).unwrap_or_default());
        server
    }))
}

/// [`offline`], as if a certificate were good for `also` too.
pub(super) fn offline_with(
    server: &ServerConfig,
    files: &[Value],
    also: Option<&str>,
) -> Result<Result<Value, Problems>> {
    let (named, certificates): (Vec<_>, Vec<_>) = startup::certificates(&server.certificates)?.into_iter().unzip();
    let is_named = |name: &str| named.iter().any(|certificate| certificate.name == name);
    let member = |file: &Value, name: &str| output::text(file, name);
    let sources: Vec<SourceFile> =
        files.iter().map(|file| SourceFile { name: member(file, "name"), text: member(file, "text") }).collect();
    let is_covered = |host: &str| also == Some(host) || doors::is_covered(&certificates, host);
    let (auth_host, groups) = (&server.auth_url.host, &BTreeSet::new());
    let known = Known { auth_host, is_covered: &is_covered, is_certificate: &is_named, groups };
    match api::control::check_files(&sources, &known, &server.policy) {
        Ok(checked) => Ok(Ok(json!({
            "apps": checked.apps().iter().map(|app| app.name.to_string()).collect::<Vec<_>>(),
            "policies": checked.policy_count(),
            "warnings": api::http::problem_lines(&checked.warnings),
        }))),
        Err(Failure::Problems(problems)) => Ok(Err(problems)),
        Err(other) => Err(other.into()),
    }
}

/// Prints findings.
pub fn warnings(answer: &Value) {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("{}", problem_line(warning));
    }
}

/// Reads what belongs to a configuration, in the order of names.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    if metadata.is_file() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        found.push((name, path.to_owned()));
    } else {
        walk(path, path, DEPTH, &mut found)?;
    }
    found.sort();
    if found.is_empty() {
        bail!("`{}` has no .yaml, .cedar, .cedarschema or .pem file", path.display());
    }
    found
        .into_iter()
        .map(|(name, path)| {
            let size = std::fs::metadata(&path)?.len();
            if size > FILE_BYTES {
                bail!("`{}` has {size} bytes; a configuration file has at most {FILE_BYTES}", path.display());
            }
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}` as text; save it as UTF-8", path.display()))?;
            Ok(json!({ "name": name, "text": text }))
        })
        .collect()
}

fn walk(base: &Path, folder: &Path, depth: usize, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read the folder `{}`", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                walk(base, &path, depth - 1, found)?;
            }
            continue;
        }
        let belongs = path
            .extension()
            .is_some_and(|e| ["yaml", "yml", "cedar", "cedarschema", "pem"].iter().any(|known| e == *known));
        if belongs {
            let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((name, path));
        }
    }
    Ok(())
}
