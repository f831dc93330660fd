//! `countersign app add`: the file of one more app, beside the others. It needs no server and changes none; what it
//! wrote is live with the next apply.
//!
//! Invariants: no file of the operator is overwritten; if the whole folder does not pass the check with the new file,
//! nothing is written. A certificate is made again only where `init` made it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use config::ServerConfig;
use serde_json::json;

use super::apply;
use super::init::{GROUP, PlannedApp};
use crate::cli::Global;
use crate::local_tls;
use crate::output;
use crate::roles::{doors, startup};
use crate::say;

/// Write the file of one more app beside the others.
#[derive(Args)]
#[command(
    after_help = "Example, in the folder of server.toml, for an app that listens on port 3001 of this machine:\n  countersign app add wiki --upstream http://127.0.0.1:3001\n  countersign apply -f config --reason 'the wiki'\n\nThe folder is checked with the new file before it is written. If `countersign init` made the certificate, it is made\nagain with the new name and the same key; otherwise get one that has the name first."
)]
pub struct AppAdd {
    /// What the app is called: `a-z`, `0-9` and `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// Where the app listens
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// The host people type; NAME below `[identity] rp_id` if it is not given
    #[arg(long)]
    host: Option<String>,
    /// The group whose members get in
    #[arg(long, default_value = GROUP)]
    group: String,
    /// The TOML file of the process
    #[arg(short, long, value_name = "FILE", default_value = "server.toml")]
    config: PathBuf,
    /// The folder of .yaml files; `config` beside the TOML file if it is not given
    #[arg(short = 'f', long = "files", value_name = "FOLDER")]
    files: Option<PathBuf>,
}

impl AppAdd {
    /// Writes the file.
    ///
    /// # Errors
    /// There is such an app, no certificate is good for its host, or the arguments make no app.
    pub fn run(&self, global: &Global) -> Result<ExitCode> {
        let server = match apply::server(&self.config)? {
            Ok(server) => server,
            Err(problems) => return Ok(refused(&problems)),
        };
        let beside = || self.config.parent().unwrap_or(Path::new("")).join("config");
        let folder = self.files.clone().unwrap_or_else(beside);
        if !folder.is_dir() {
            bail!("there is no folder `{}`; name the one with your .yaml files with `-f`", folder.display());
        }
        let host = self.host.clone().unwrap_or_else(|| format!("{}.{}", self.name, server.identity.rp_id));
        let app = PlannedApp::new(&self.name, &host, &self.upstream, &self.group)?;
        let path = folder.join(format!("{}.yaml", app.name));
        if path.exists() {
            bail!("`{}` is there already; change it with an editor, or take another name", path.display());
        }
        let renewed = renewed(&server, &app.host)?;
        let text = app.yaml();
        let mut files = apply::read(&folder)?;
        files.push(json!({ "name": format!("{}.yaml", app.name), "text": text }));
        let also = renewed.as_ref().map(|_| app.host.as_str());
        let answer = match apply::offline_with(&server, &files, also)? {
            Ok(answer) => answer,
            Err(problems) => {
                eprintln!("nothing was written: with this app the folder does not pass the check");
                return Ok(refused(&problems));
            }
        };
        write_new(&path, &text)?;
        if let Some((tls, chain)) = &renewed {
            local_tls::keep(tls, chain)?;
        }
        let url = url(&server, &app.host);
        if global.json {
            output::json(&json!({
                "file": path, "app": app.name, "url": url, "certificate_renewed": renewed.is_some(),
                "warnings": answer.get("warnings"),
            }));
            return Ok(ExitCode::SUCCESS);
        }
        apply::warnings(&answer);
        say!("{}:\n", path.display());
        for line in text.lines() {
            say!("    {line}");
        }
        if renewed.is_some() {
            say!("\nThe certificate has the new name. Stop `countersign serve` (Ctrl-C) and start it again; then:");
        } else {
            say!("\nNext:");
        }
        say!("  countersign apply -f {} --reason 'the app {}'", folder.display(), app.name);
        say!("{url}  ->  {}", app.target);
        Ok(ExitCode::SUCCESS)
    }
}

fn refused(problems: &config::Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(2)
}

/// The folder and the new chain of a certificate that `init` made, if none is good for `host` yet.
fn renewed(server: &ServerConfig, host: &str) -> Result<Option<(PathBuf, String)>> {
    let (_, parsed): (Vec<_>, Vec<_>) = startup::certificates(&server.certificates)?.into_iter().unzip();
    if doors::is_covered(&parsed, host) {
        return Ok(None);
    }
    // The authority that `init` makes is good for names of this domain and no other.
    let domain = &server.identity.rp_id;
    let is_below = host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let ours = server.certificates.iter().find(|files| is_below && local_tls::is_ours(&files.cert));
    let Some(tls) = ours.and_then(|files| files.cert.parent()) else {
        let files: Vec<String> =
            server.certificates.iter().map(|files| format!("`{}`", files.cert.display())).collect();
        bail!(
            "no certificate is good for `{host}`; put one that is in the place of {}, start the server again, then add the app",
            files.join(" or ")
        );
    };
    let chain = local_tls::with_name(tls, host).with_context(|| {
        format!("the certificate in `{}` cannot be made again with the name `{host}`", tls.display())
    })?;
    Ok(Some((tls.to_owned(), chain)))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let opened = fs::File::options().write(true).create_new(true).open(path);
    let mut file = opened.with_context(|| format!("cannot make `{}`", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
}

fn url(server: &ServerConfig, host: &str) -> String {
    let port = server.auth_url.port;
    if port == 443 { format!("https://{host}/") } else { format!("https://{host}:{port}/") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::init::Init;
    use clap::Parser;

    #[derive(Parser)]
    struct InitLine {
        #[command(flatten)]
        init: Init,
    }

    #[derive(Parser)]
    struct AddLine {
        #[command(flatten)]
        add: AppAdd,
    }

    fn corp(base: &Path, domain: &str) -> PathBuf {
        let folder = base.join("corp");
        let line = ["init", &folder.display().to_string(), "--domain", domain, "--app", "notes=http://127.0.0.1:3000"];
        InitLine::parse_from(line).init.run(&quiet()).unwrap();
        folder
    }

    fn quiet() -> Global {
        Global { json: true, socket: None }
    }

    fn add(folder: &Path, name: &str, more: &[&str]) -> Result<ExitCode> {
        let config = folder.join("server.toml").display().to_string();
        let line = ["add", name, "--upstream", "http://127.0.0.1:3001", "-c", &config];
        AddLine::parse_from(line.iter().chain(more)).add.run(&quiet())
    }

    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for part in ["config", "tls"] {
            for entry in fs::read_dir(folder.join(part)).unwrap() {
                let path = entry.unwrap().path();
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn one_more_app_passes_the_check_and_the_key_that_browsers_trust_stays() {
        let base = tempfile::tempdir().unwrap();
        let folder = corp(base.path(), "localhost");
        let key = |folder: &Path| fs::read(folder.join("tls").join(local_tls::KEY_FILE)).unwrap();
        let before = key(&folder);
        assert_eq!(add(&folder, "wiki", &[]).unwrap(), ExitCode::SUCCESS);
        let server = apply::server(&folder.join("server.toml")).unwrap().unwrap();
        let files = apply::read(&folder.join("config")).unwrap();
        let answer = apply::offline_with(&server, &files, None).unwrap().unwrap();
        assert_eq!(answer["apps"], json!(["notes", "wiki"]), "the certificate on disk is good for both");
        assert_eq!(key(&folder), before);
    }

    #[test]
    fn what_is_refused_leaves_everything_as_it_was() {
        let base = tempfile::tempdir().unwrap();
        let folder = corp(base.path(), "localhost");
        let before = contents(&folder);
        for (name, more, word) in [
            ("notes", &[][..], "is there already"),
            ("No tes", &[], "no name for an app"),
            ("wiki", &["--host", "wiki.example.org"], "no certificate is good for `wiki.example.org`"),
            ("wiki", &["--group", "a]\nmode: off"], "is no group"),
            ("wiki", &["--host", "x\"]"], "is no host"),
            ("wiki", &["-f", "nowhere"], "there is no folder"),
        ] {
            let error = add(&folder, name, more).err().unwrap();
            assert!(format!("{error:#}").contains(word), "{name} {more:?}: {error:#}");
        }
        for more in [&["--group", "nobody-knows"][..], &["--host", "notes.localhost"]] {
            assert_eq!(add(&folder, "wiki", more).unwrap(), ExitCode::from(2), "{more:?}");
        }
        assert_eq!(contents(&folder), before);
    }

    #[test]
    fn a_certificate_of_ones_own_is_never_touched() {
        let base = tempfile::tempdir().unwrap();
        let folder = corp(base.path(), "corp.example");
        fs::remove_file(folder.join("tls/ca.key")).unwrap();
        let before = contents(&folder);
        let error = add(&folder, "wiki", &[]).err().unwrap().to_string();
        assert!(error.contains("no certificate is good for `wiki.corp.example`"), "{error}");
        assert_eq!(contents(&folder), before);
    }
}
