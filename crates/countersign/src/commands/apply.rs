//! `countersign check` and `countersign apply`: files from a folder become the live configuration (GW-1).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::client::{Client, problem_line};
use crate::output;

/// The largest file that is read.
const FILE_BYTES: u64 = 4 << 20;
/// How deep folders are followed.
const DEPTH: usize = 8;

/// Check configuration files; changes nothing.
#[derive(Args)]
pub struct Check {
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
}

impl Check {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let body = json!({ "files": read(&self.files)? });
        let answer = Client::find(global)?.post("/api/v1/config/check", &body).await?;
        if global.json {
            output::json(&answer);
        } else {
            warnings(&answer);
            println!("fine: apps {}; {} policies", output::text(&answer, "apps"), output::text(&answer, "policies"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Apply {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let body = json!({ "files": read(&self.files)?, "reason": self.reason });
        let answer = Client::find(global)?.post("/api/v1/config/apply", &body).await?;
        if global.json {
            output::json(&answer);
        } else {
            warnings(&answer);
            let news =
                if answer.get("new").and_then(Value::as_bool) == Some(true) { "is live" } else { "was live already" };
            println!(
                "configuration {} {news}; {} streams cut",
                output::text(&answer, "version"),
                output::text(&answer, "streams_cut")
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn warnings(answer: &Value) {
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
        bail!("`{}` has no .yaml, .cedar or .pem file", path.display());
    }
    found
        .into_iter()
        .map(|(name, path)| {
            let size = std::fs::metadata(&path)?.len();
            if size > FILE_BYTES {
                bail!("`{}` has {size} bytes; a configuration file has at most {FILE_BYTES}", path.display());
            }
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}` as text", path.display()))?;
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
        let belongs = path.extension().is_some_and(|e| ["yaml", "yml", "cedar", "pem"].iter().any(|known| e == *known));
        if belongs {
            let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().into_owned();
            found.push((name, path));
        }
    }
    Ok(())
}
