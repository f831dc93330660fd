//! `countersign init`: a folder to serve from, for apps that run already. What it writes is what an operator would write;
//! it checks its own files the way `countersign check` does before it says what to do next.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::apply;
use crate::cli::Global;
use crate::local_tls::{self, CHAIN_FILE, KEY_FILE};
use crate::output;
use crate::say;

/// The most apps one call writes.
const MAX_APPS: usize = 64;
/// The group whose members get in.
pub(super) const GROUP: &str = "staff";
/// The file that declares it, without its ending.
const GROUPS_FILE: &str = "groups";

/// Write a folder to serve from: process file, local certificate, and a rule for each of your apps.
#[derive(Args)]
#[command(
    after_help = "Example, for an app that listens on port 3000 of this machine:\n  countersign init corp --app notes=http://127.0.0.1:3000\n  cd corp && countersign serve -c server.toml --log text\n\nNames below `localhost` open in browsers of this machine without DNS. For a name of your own:\n  countersign init corp --domain corp.example --listen 0.0.0.0 --port 443 --app notes=http://127.0.0.1:3000\nand put your certificate for auth.corp.example and notes.corp.example in place of the generated files in corp/tls/."
)]
pub struct Init {
    /// The folder to make; must be new or empty
    #[arg(value_name = "FOLDER", default_value = "countersign")]
    folder: PathBuf,
    /// An app and where it listens, e.g. `notes=http://127.0.0.1:3000`; may be given several times
    #[arg(long = "app", value_name = "NAME=URL", required = true)]
    apps: Vec<String>,
    /// The domain apps and sign-in pages are names of. It cannot be changed once somebody has a passkey
    #[arg(long, default_value = "localhost")]
    domain: String,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: std::net::IpAddr,
    /// The port to listen on
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Where people, keys and the record are kept; relative to the folder
    #[arg(long, value_name = "PATH", default_value = "data")]
    data: String,
}

/// What is written, before it is.
struct Plan {
    auth_host: String,
    auth_url: String,
    apps: Vec<PlannedApp>,
}

/// An app as an operator would write it down.
pub(super) struct PlannedApp {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) target: String,
    /// Who gets in.
    pub(super) group: String,
}

impl PlannedApp {
    /// Words that can stand in a file; whether they make an app is for the check to say.
    ///
    /// # Errors
    /// One of them cannot.
    pub(super) fn new(name: &str, host: &str, target: &str, group: &str) -> Result<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            bail!("`{name}` is no name for an app: `a-z`, `0-9` and `-`");
        }
        for (what, word) in [("address; write it as `http://127.0.0.1:3000`", target), ("host", host), ("group", group)]
        {
            let is_word = |c: char| c.is_ascii_graphic() && !"\"\\#,{}".contains(c);
            if word.is_empty() || !word.chars().all(is_word) {
                bail!("`{}` is no {what}", word.escape_debug());
            }
        }
        let (name, host, group) = (name.to_owned(), host.to_ascii_lowercase(), group.to_owned());
        Ok(Self { name, host, target: target.trim_end_matches('/').to_owned(), group })
    }

    /// As a file of kind App.
    pub(super) fn yaml(&self) -> String {
        let PlannedApp { name, host, target, group } = self;
        format!(
            r#"apiVersion: countersign/v1
kind: App
metadata:
  name: {name}
spec:
  title: {name}
  hosts: ["{host}"]
  # How much it matters: low, medium, high or critical.
  sensitivity: medium
  upstreams:
    main:
      targets: ["{target}"]
  # Who gets in. Nobody else does.
  access:
    include:
      - group: ["{group}"]
"#
        )
    }
}

impl Init {
    /// Writes the folder.
    ///
    /// # Errors
    /// The arguments do not make a configuration, or the folder is in use.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let plan = self.plan()?;
        let is_empty = || fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_none());
        if self.folder.exists() && !is_empty() {
            bail!("`{}` is not empty; name a new folder", self.folder.display());
        }
        let is_new = !self.folder.exists();
        let written = self.write(&plan).and_then(|spki| self.check().map(|()| spki));
        match written {
            Ok(spki) => {
                self.announce(&plan, &spki, global);
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                // Half a folder would be taken for a whole one.
                for name in ["server.toml", ".gitignore", "config", "tls"] {
                    let path = self.folder.join(name);
                    let _gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                }
                if is_new {
                    let _gone = fs::remove_dir(&self.folder);
                }
                Err(error)
            }
        }
    }

    fn plan(&self) -> Result<Plan> {
        if self.apps.len() > MAX_APPS {
            bail!("{} apps are named; {MAX_APPS} is the most", self.apps.len());
        }
        if self.data.is_empty() || self.data.contains(['"', '\\']) || self.data.chars().any(char::is_control) {
            bail!("`{}` is no path for the data", self.data.escape_debug());
        }
        let domain = self.domain.to_ascii_lowercase();
        let auth_host = if domain == "localhost" { domain.clone() } else { format!("auth.{domain}") };
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        let mut apps: Vec<PlannedApp> = Vec::new();
        for app in &self.apps {
            let Some((name, target)) = app.split_once('=') else {
                bail!("`{app}` is not NAME=URL, as in `notes=http://127.0.0.1:3000`");
            };
            if apps.iter().any(|known| known.name == name) {
                bail!("the app `{name}` is named twice");
            }
            if name == GROUPS_FILE {
                bail!("an app cannot be called `{name}` here: its file would be that of the groups");
            }
            apps.push(PlannedApp::new(name, &format!("{name}.{domain}"), target, GROUP)?);
        }
        Ok(Plan { auth_url: format!("https://{auth_host}{port}"), auth_host, apps })
    }

    fn write(&self, plan: &Plan) -> Result<String> {
        let make = |path: &Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("cannot make `{}`", path.display()))
        };
        let (config, tls) = (self.folder.join("config"), self.folder.join("tls"));
        make(&config)?;
        make(&tls)?;
        let mut names: Vec<&str> = vec![&plan.auth_host];
        names.extend(plan.apps.iter().map(|app| app.host.as_str()));
        let made = local_tls::open(&tls, "Countersign on this machine", &[&self.domain.to_ascii_lowercase()], &names)?;
        let put = |path: PathBuf, text: String| {
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
        };
        put(self.folder.join("server.toml"), self.server_toml(plan))?;
        // Keys have no place in a repository, should the folder lie in one.
        put(self.folder.join(".gitignore"), "data/\ntls/*.key\n".to_owned())?;
        put(config.join(format!("{GROUPS_FILE}.yaml")), groups_yaml())?;
        for app in &plan.apps {
            put(config.join(format!("{}.yaml", app.name)), app.yaml())?;
        }
        Ok(made.spki)
    }

    /// Reads everything back as `countersign check` does.
    fn check(&self) -> Result<()> {
        let files = apply::read(&self.folder.join("config"))?;
        match apply::offline(&self.folder.join("server.toml"), &files)? {
            Ok(_) => Ok(()),
            Err(problems) => bail!("these arguments do not make a configuration; nothing was written\n{problems}"),
        }
    }

    fn server_toml(&self, plan: &Plan) -> String {
        let listen = std::net::SocketAddr::new(self.listen, self.port);
        let rp_id = self.domain.to_ascii_lowercase();
        format!(
            r#"# One process: control plane and gateway. Relative paths are relative to this file.
# Every key: docs/config-reference.md
data_dir = "{}"
auth_url = "{}"

[[certificate]]
name = "main"
cert = "tls/{CHAIN_FILE}"
key = "tls/{KEY_FILE}"

[[listener]]
address = "{listen}"
certificates = ["main"]

[identity]
# Passkeys belong to this name. It cannot be changed after the first start.
rp_id = "{rp_id}"

[audit]
origin = "{}/log"

# Health and metrics, never public; port 0 takes a free one, which the process log names.
[admin]
listen = "127.0.0.1:0"
"#,
            self.data, plan.auth_url, plan.auth_host
        )
    }

    fn announce(&self, plan: &Plan, spki: &str, global: &Global) {
        let folder = self.folder.display();
        let apps: Vec<Value> = plan
            .apps
            .iter()
            .map(|app| json!({ "name": app.name, "url": self.url(&app.host), "upstream": app.target }))
            .collect();
        if global.json {
            let authority = self.folder.join("tls").join(local_tls::AUTHORITY_FILE);
            return output::json(&json!({
                "folder": self.folder, "auth_url": plan.auth_url, "apps": apps, "authority": authority, "spki": spki,
            }));
        }
        say!("`{folder}` is ready: server.toml, config/ (checked), tls/ (an authority for `{}` only)", self.domain);
        say!("\n1. Start it, and open the link it prints: you become the administrator.");
        say!("     cd {folder} && countersign serve -c server.toml --log text");
        say!("   A browser that trusts this certificate and nothing else new:");
        say!("     chromium --user-data-dir=$PWD/browser --ignore-certificate-errors-spki-list={spki}");
        say!("\n2. In a second terminal, in the same folder, load the apps and let yourself in:");
        say!("     countersign apply -f config --reason 'first apps'");
        say!("     countersign group add {GROUP} YOUR-ADDRESS");
        say!("\n3. Open your app:");
        for app in &plan.apps {
            say!("     {}   ->  {}", self.url(&app.host), app.target);
        }
        say!(
            "\nSomebody else: `countersign user add ADDRESS --name NAME --group {GROUP}`, then `countersign invite ADDRESS`.\nOne more app: `countersign app add NAME --upstream URL`. Something wrong: `countersign doctor -c server.toml`."
        );
    }

    fn url(&self, host: &str) -> String {
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        format!("https://{host}{port}/")
    }
}

fn groups_yaml() -> String {
    format!(
        r#"# Who is in this group is kept by the server (`countersign group add {GROUP} …`), not by this file.
apiVersion: countersign/v1
kind: Group
metadata:
  name: {GROUP}
spec:
  title: Staff
  membership: external
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(folder: &Path, apps: &[&str], domain: &str) -> Init {
        Init {
            folder: folder.to_owned(),
            apps: apps.iter().map(|app| (*app).to_owned()).collect(),
            domain: domain.to_owned(),
            listen: std::net::IpAddr::from([127, 0, 0, 1]),
            port: 8443,
            data: "data".to_owned(),
        }
    }

    fn quiet() -> Global {
        Global { json: true, socket: None }
    }

    #[test]
    fn what_is_written_passes_the_check() {
        let base = tempfile::tempdir().unwrap();
        for (folder, domain) in [("here", "localhost"), ("there", "corp.example")] {
            let folder = base.path().join(folder);
            let init = init(&folder, &["notes=http://127.0.0.1:3000", "api=h2c://127.0.0.1:3001"], domain);
            init.run(&quiet()).unwrap();
            let server = fs::read_to_string(folder.join("server.toml")).unwrap();
            assert!(server.contains(&format!("rp_id = \"{domain}\"")), "{server}");
        }
    }

    #[test]
    fn arguments_that_make_no_configuration_leave_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        for (app, word) in [
            ("notes", "NAME=URL"),
            ("No tes=http://127.0.0.1:1", "no name"),
            ("notes=ftp://127.0.0.1:1", "nothing was written"),
            ("-=http://127.0.0.1:1", "`-.localhost` is not a name"),
            ("notes=http://x\"]\nmode: off", "no address"),
            ("groups=http://127.0.0.1:1", "that of the groups"),
        ] {
            let folder = base.path().join("new");
            let error = init(&folder, &[app], "localhost").run(&quiet()).err().unwrap().to_string();
            assert!(error.contains(word), "{app}: {error}");
            assert!(!folder.join("server.toml").exists() && !folder.join("config").exists(), "{app}");
        }
        let twice = init(&base.path().join("new"), &["a=http://127.0.0.1:1", "a=http://127.0.0.1:2"], "localhost");
        assert!(twice.run(&quiet()).err().unwrap().to_string().contains("twice"));
    }

    #[test]
    fn the_data_may_lie_elsewhere_and_its_path_is_nothing_but_a_path() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("corp");
        let elsewhere =
            |data: &str| Init { data: data.to_owned(), ..init(&folder, &["a=http://127.0.0.1:1"], "localhost") };
        for odd in ["", "x\"\nauth_url = \"https://evil.example", "a\\b"] {
            assert!(elsewhere(odd).run(&quiet()).is_err_and(|error| error.to_string().contains("no path")), "{odd}");
        }
        elsewhere("/var/lib/countersign").run(&quiet()).unwrap();
        let server = apply::server(&folder.join("server.toml")).unwrap().unwrap();
        assert_eq!(server.data_dir, Path::new("/var/lib/countersign"));
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("precious"), "x").unwrap();
        let error = init(base.path(), &["a=http://127.0.0.1:1"], "localhost").run(&quiet()).err().unwrap();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }
}
