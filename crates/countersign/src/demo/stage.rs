//! The demo's folder: authority, certificate, server configuration, apps and policies, all as files an operator would
//! have (R-35, R-36, R-38).
//!
//! Invariants: the folder is private to its owner; the authority is good for this machine's names only and its key is
//! never overwritten; `--fresh` removes nothing but a folder that a demo made.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use config::ServerConfig;

use crate::local_tls;
use crate::roles::startup;

/// Names of the one certificate; clients refuse `*.localhost`.
const NAMES: [&str; 5] = [AUTH_HOST, WIKI_HOST, PAYROLL_HOST, "127.0.0.1", "::1"];
/// What the authority is limited to.
const PERMITTED: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How a demo knows a folder as its own.
const MARKER: &str = ".countersign-demo";
const MARKER_TEXT: &str = "Made by `countersign demo`, which removes this folder when started with --fresh.\n";

/// Where people sign in.
pub const AUTH_HOST: &str = "localhost";
/// The wiki.
pub const WIKI_HOST: &str = "wiki.localhost";
/// The payroll.
pub const PAYROLL_HOST: &str = "payroll.localhost";

/// Declared files; the same that `examples` could hold, but for the ports of the sample apps.
const FILES: [(&str, &str); 5] = [
    ("groups.yaml", include_str!("config/groups.yaml")),
    ("payroll.cedar", include_str!("config/payroll.cedar")),
    ("payroll.yaml", include_str!("config/payroll.yaml")),
    ("wiki.cedar", include_str!("config/wiki.cedar")),
    ("wiki.yaml", include_str!("config/wiki.yaml")),
];
/// The targets written in those files.
const WIKI_TARGET: &str = "http://127.0.0.1:8081";
const PAYROLL_TARGET: &str = "http://127.0.0.1:8082";

/// The ports of the demo.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Where browsers connect.
    pub public: u16,
    /// The wiki, on loopback.
    pub wiki: u16,
    /// The payroll, on loopback.
    pub payroll: u16,
}

/// A folder that is ready to serve from.
pub struct Stage {
    folder: PathBuf,
    /// PEM of the authority.
    pub ca_pem: String,
    /// Base64 SHA-256 of the certificate's key, as Chromium takes it.
    pub spki: String,
}

impl Stage {
    /// Makes the folder, or takes up the one of an earlier demo.
    ///
    /// # Errors
    /// It is somebody else's, or the system refuses.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        if folder.exists() {
            let is_empty = fs::read_dir(&folder)?.next().is_none();
            if !is_empty && !is_a_demo(&folder) {
                bail!("`{}` is not a demo's folder; choose another with `--data`", folder.display());
            }
            let mode = fs::metadata(&folder)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                bail!(
                    "`{0}` can be read by others (mode {mode:03o}); `chmod 700 {0}` or choose another with `--data`",
                    folder.display()
                );
            }
        } else {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        fs::write(folder.join(MARKER), MARKER_TEXT)?;
        // Keys have no place in a repository, should the folder lie in one.
        fs::write(folder.join(".gitignore"), "*\n")?;
        let tls = local_tls::open(&folder, "Countersign demo on this machine", &PERMITTED, &NAMES)?;
        Ok(Self { ca_pem: tls.ca_pem, spki: tls.spki, folder })
    }

    /// Removes what an earlier demo left at `folder`.
    ///
    /// # Errors
    /// It is no demo's folder, or one is running there.
    pub fn remove(folder: &Path) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        if !is_a_demo(folder) {
            bail!("`{}` is not a demo's folder and is left alone", folder.display());
        }
        if std::os::unix::net::UnixStream::connect(folder.join("data/control.sock")).is_ok() {
            bail!("a demo is running in `{}`; stop it first", folder.display());
        }
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))
    }

    /// Writes and reads the server's configuration.
    ///
    /// # Errors
    /// The system refuses.
    pub fn server_config(&self, ports: Ports, has_passwords: bool) -> Result<ServerConfig> {
        let text = server_toml(ports.public, has_passwords);
        let path = self.server_toml();
        fs::write(&path, &text).with_context(|| format!("cannot write `{}`", path.display()))?;
        let mut config =
            ServerConfig::parse(&path.display().to_string(), &text).map_err(|problems| anyhow!("{problems}"))?;
        startup::resolve_paths(&mut config, &self.folder);
        Ok(config)
    }

    /// Writes the files of apps, groups and policies, and gives their folder.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write_config(&self, ports: Ports) -> Result<PathBuf> {
        let folder = self.folder.join("config");
        fs::create_dir_all(&folder)?;
        for (name, text) in FILES {
            let text = text
                .replace(WIKI_TARGET, &format!("http://127.0.0.1:{}", ports.wiki))
                .replace(PAYROLL_TARGET, &format!("http://127.0.0.1:{}", ports.payroll));
            fs::write(folder.join(name), text)
                .with_context(|| format!("cannot write `{name}` in `{}`", folder.display()))?;
        }
        Ok(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// PEM of the authority, as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's configuration, as a file.
    pub fn server_toml(&self) -> PathBuf {
        self.folder.join("server.toml")
    }
}

fn is_a_demo(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|text| text == MARKER_TEXT)
}

fn server_toml(port: u16, has_passwords: bool) -> String {
    format!(
        r#"# Written by `countersign demo` at every start; a real server's file looks the same.
# It also runs without the demo: countersign serve -c server.toml

data_dir = "data"
auth_url = "https://{AUTH_HOST}:{port}"

[[certificate]]
name = "demo"
cert = "certificate.pem"
key = "certificate.key"

[[listener]]
address = "127.0.0.1:{port}"
certificates = ["demo"]

[identity]
rp_id = "{AUTH_HOST}"
rp_name = "Countersign demo"
domains = ["example.org"]
passwords = {has_passwords}

[audit]
origin = "countersign.demo"
segment = "4MiB"

[admin]
listen = "127.0.0.1:0"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_and_certificate_outlive_a_restart() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("demo");
        let first = Stage::open(&folder).unwrap();
        first.server_config(Ports { public: 8443, wiki: 1, payroll: 2 }, false).unwrap();
        let again = Stage::open(&folder).unwrap();
        assert_eq!((&first.ca_pem, &first.spki), (&again.ca_pem, &again.spki));
        for private in ["", "ca.key", "certificate.key"] {
            let mode = fs::metadata(folder.join(private)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{private}");
        }
    }

    #[test]
    fn fresh_removes_nothing_but_a_demo_folder() {
        let base = tempfile::tempdir().unwrap();
        for name in ["precious", "server.toml", "ca.key"] {
            fs::write(base.path().join(name), "x").unwrap();
        }
        assert!(Stage::remove(base.path()).is_err());
        assert!(Stage::open(base.path()).err().unwrap().to_string().contains("not a demo's folder"));
        assert!(base.path().join("precious").exists());
        let folder = base.path().join("demo");
        let stage = Stage::open(&folder).unwrap();
        stage.server_config(Ports { public: 8443, wiki: 1, payroll: 2 }, false).unwrap();
        Stage::remove(&folder).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_others_can_read_is_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let refusal = Stage::open(base.path()).err().unwrap().to_string();
        assert!(refusal.contains("chmod 700"), "{refusal}");
    }

    #[test]
    fn both_targets_are_in_the_files_and_replaced() {
        let base = tempfile::tempdir().unwrap();
        let stage = Stage::open(&base.path().join("demo")).unwrap();
        let folder = stage.write_config(Ports { public: 8443, wiki: 4711, payroll: 4712 }).unwrap();
        assert!(fs::read_to_string(folder.join("wiki.yaml")).unwrap().contains("http://127.0.0.1:4711"));
        assert!(fs::read_to_string(folder.join("payroll.yaml")).unwrap().contains("http://127.0.0.1:4712"));
    }
}
