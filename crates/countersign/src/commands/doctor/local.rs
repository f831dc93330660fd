//! What can be seen from the files of a process, whether it runs or not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use audit::SpaceMarks;
use audit::log::disk::{Disk, OsDisk};
use config::ServerConfig;
use config::server::CertificateFiles;
use model::{Clock, Timestamp};
use pki::tls::{Certificate, PostQuantum, TlsSettings, TlsVersion};

use super::Finding;
use crate::roles::{doors, startup};
use crate::system::SystemClock;

const DAY_SECS: i64 = 86_400;
/// A certificate that ends sooner is a warning (GW-75).
const CERTIFICATE_DAYS: i64 = 30;

/// What was seen, and where the process would be spoken to.
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    pub(super) socket: Option<PathBuf>,
}

/// Looks at the process configuration and everything it names.
pub(super) fn look(file: &Path) -> Looked {
    let subject = "process configuration";
    let name = file.display().to_string();
    let broken =
        |seen: String, remedy: &str| Looked { findings: vec![Finding::broken(subject, seen, remedy)], socket: None };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return broken(format!("`{name}` cannot be read: {error}"), "name the file with -c"),
    };
    let mut config = match ServerConfig::parse(&name, &text) {
        Ok(config) => config,
        Err(problems) => {
            return broken(problems.to_string(), "mend these lines; `countersign check -c` tells the same");
        }
    };
    startup::resolve_paths(&mut config, &file.parent().map(PathBuf::from).unwrap_or_default());
    let socket = config.control_socket.clone().unwrap_or_else(|| config.data_dir.join("control.sock"));
    let is_running = std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let mut findings = vec![Finding::fine(subject, format!("`{name}` is understood"))];
    let marks = SpaceMarks { low: config.audit.low_space, critical: config.audit.critical_space };
    findings.extend(data_folder(&config.data_dir, marks));
    findings.extend(certificates(&config, SystemClock::default().now()));
    findings.extend(config.listeners.iter().map(|listener| address(listener.address, is_running)));
    findings.push(names(&config));
    Looked { findings, socket: Some(socket) }
}

fn data_folder(path: &Path, marks: SpaceMarks) -> Vec<Finding> {
    let subject = "data folder";
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        return vec![Finding::fine(subject, format!("`{shown}` is not there yet; the first start makes it"))];
    };
    let mode = |metadata: &std::fs::Metadata| metadata.permissions().mode() & 0o777;
    let mut findings = vec![if mode(&metadata) & 0o077 == 0 {
        Finding::fine(subject, format!("`{shown}`, open to its owner only"))
    } else {
        let seen = format!("`{shown}` is open to others (mode {:03o})", mode(&metadata));
        Finding::warning(subject, seen, format!("chmod 700 {shown}"))
    }];
    let (key, state) = (path.join("kek"), path.join("state.db"));
    findings.push(match (std::fs::metadata(&key), state.exists()) {
        (Ok(found), _) if mode(&found) & 0o077 == 0 => {
            Finding::fine("key-encryption key", "there, open to its owner only")
        }
        (Ok(found), _) => {
            let seen = format!("`{}` can be read by others (mode {:03o})", key.display(), mode(&found));
            Finding::broken("key-encryption key", seen, format!("chmod 600 {}", key.display()))
        }
        (Err(_), true) => Finding::broken(
            "key-encryption key",
            format!("`{}` is missing, and `state.db` is sealed under it", key.display()),
            "restore the key file from your backup",
        ),
        (Err(_), false) => Finding::fine("key-encryption key", "the first start makes it"),
    });
    findings.push(space(path, marks));
    findings
}

/// By the marks at which the running server raises its alerts.
fn space(path: &Path, marks: SpaceMarks) -> Finding {
    let subject = "disk";
    let space = match OsDisk::new(path).space() {
        Ok(space) => space,
        Err(error) => return Finding::warning(subject, format!("its space is not known: {error}"), "look with `df`"),
    };
    let (free, mib) = (space.free_percent(), space.free >> 20);
    let seen = format!("{mib} MiB free, {free} % of the file system of `{}`", path.display());
    let remedy = "make room: without room for the record the doors close";
    if free < marks.critical {
        return Finding::broken(subject, format!("{seen}; the alert is at {} %", marks.critical), remedy);
    }
    if free < marks.low {
        return Finding::warning(subject, format!("{seen}; the alert is at {} %", marks.low), remedy);
    }
    Finding::fine(subject, seen)
}

fn certificates(config: &ServerConfig, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut good = Vec::new();
    for files in &config.certificates {
        let subject = format!("certificate {}", files.name);
        match pair(files) {
            Err(error) => findings.push(Finding::broken(
                subject,
                format!("{error:#}"),
                "put a PEM chain, leaf first, and its PEM key in place",
            )),
            Ok(parsed) => {
                findings.push(certificate_life(subject, &parsed, now));
                good.push(parsed);
            }
        }
    }
    if !good.is_empty() && !doors::is_covered(&good, &config.auth_url.host) {
        let seen = format!("no certificate is good for the auth host `{}`", config.auth_url.host);
        findings.push(Finding::broken("certificates", seen, "browsers will refuse to connect: get one with this name"));
    }
    findings
}

/// Chain and key, and whether they belong together.
fn pair(files: &CertificateFiles) -> anyhow::Result<Certificate> {
    let (named, parsed) = startup::certificate(files)?;
    let settings = TlsSettings { min_version: TlsVersion::V1_2, pq: PostQuantum::Prefer };
    pki::tls::server_config(&[named], settings)?;
    Ok(parsed)
}

fn certificate_life(subject: String, parsed: &Certificate, now: Timestamp) -> Finding {
    let days = parsed.not_after().age_secs(now) / DAY_SECS;
    let names: Vec<String> = parsed.names().take(4).collect();
    let remedy = "renew it and restart";
    if parsed.not_after() <= now {
        return Finding::broken(
            subject,
            format!("ended {} days ago", now.age_secs(parsed.not_after()) / DAY_SECS),
            remedy,
        );
    }
    let seen = format!("good for {days} days, for {}", names.join(", "));
    if days < CERTIFICATE_DAYS { Finding::warning(subject, seen, remedy) } else { Finding::fine(subject, seen) }
}

fn address(address: std::net::SocketAddr, is_running: bool) -> Finding {
    let subject = format!("listener {address}");
    match (TcpListener::bind(address), is_running) {
        (Ok(_), false) => Finding::fine(subject, "free to listen on"),
        (Ok(_), true) => Finding::broken(
            subject,
            "a server of this folder runs, but nobody listens here",
            "restart it: it was started with another address",
        ),
        (Err(error), true) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Finding::fine(subject, "taken, and a server of this folder runs")
        }
        (Err(error), false) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::broken(
            subject,
            "another program listens here",
            format!("see which with `ss -ltnp 'sport = :{}'`, or choose another port", address.port()),
        ),
        (Err(error), _) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::broken(
            subject,
            "not allowed to listen here",
            "ports below 1024: `setcap cap_net_bind_service=+ep` on the binary, or the systemd unit",
        ),
        (Err(error), _) => {
            Finding::broken(subject, format!("cannot listen: {error}"), "choose an address of this machine")
        }
    }
}

/// Whether the auth host leads to this machine is for DNS; here only that it leads somewhere.
fn names(config: &ServerConfig) -> Finding {
    use std::net::ToSocketAddrs;
    let host = &config.auth_url.host;
    let subject = format!("name {host}");
    // Browsers resolve names below `localhost` by themselves (RFC 6761); the C library often does not.
    if host == "localhost" || host.ends_with(".localhost") {
        return Finding::fine(subject, "of this machine; browsers need no DNS for it");
    }
    match (host.as_str(), config.auth_url.port).to_socket_addrs() {
        Ok(mut addresses) => {
            let first = addresses.next().map_or_else(String::new, |address| address.ip().to_string());
            Finding::fine(subject, format!("resolves to {first}"))
        }
        Err(error) => Finding::warning(subject, format!("does not resolve here: {error}"), "add it to DNS"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn of<'a>(looked: &'a Looked, subject: &str) -> &'a Finding {
        looked.findings.iter().find(|finding| finding.subject.starts_with(subject)).unwrap()
    }

    fn folder(port: u16) -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        crate::local_tls::open(base.path(), "test", &["localhost"], &["localhost"]).unwrap();
        let text = format!(
            "auth_url = \"https://localhost:{port}\"\n[[certificate]]\nname = \"main\"\ncert = \"certificate.pem\"\n\
             key = \"certificate.key\"\n[[listener]]\naddress = \"127.0.0.1:{port}\"\ncertificates = [\"main\"]\n"
        );
        std::fs::write(base.path().join("server.toml"), text).unwrap();
        base
    }

    #[test]
    fn a_good_folder_is_fine_and_each_thing_that_breaks_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = folder(taken.local_addr().unwrap().port());
        let file = base.path().join("server.toml");
        let looked = look(&file);
        assert_eq!(of(&looked, "certificate main").state, State::Fine);
        assert_eq!(of(&looked, "listener").state, State::Broken, "somebody else listens there");
        drop(taken);
        assert_eq!(of(&look(&file), "listener").state, State::Fine);

        let data = base.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(data.join("state.db"), "x").unwrap();
        let looked = look(&file);
        assert_eq!(of(&looked, "data folder").state, State::Warning);
        assert_eq!(of(&looked, "key-encryption key").state, State::Broken);

        std::fs::write(base.path().join("certificate.key"), "not a key").unwrap();
        assert_eq!(of(&look(&file), "certificate main").state, State::Broken);
    }

    #[test]
    fn a_certificate_for_other_names_is_found() {
        let base = folder(8443);
        let file = base.path().join("server.toml");
        let text =
            std::fs::read_to_string(&file).unwrap().replace("https://localhost:8443", "https://auth.example.org");
        std::fs::write(&file, text).unwrap();
        assert_eq!(of(&look(&file), "certificates").state, State::Broken);
    }

    #[test]
    fn the_days_of_a_certificate_are_told() {
        let base = folder(8443);
        let config = ServerConfig::parse("x", &std::fs::read_to_string(base.path().join("server.toml")).unwrap());
        let mut config = config.unwrap();
        startup::resolve_paths(&mut config, base.path());
        let (_, parsed) = startup::certificate(&config.certificates[0]).unwrap();
        let at = |days: i64| {
            let seconds = parsed.not_after().unix_secs() - days * DAY_SECS;
            certificate_life("c".to_owned(), &parsed, Timestamp::from_unix_secs(seconds)).state
        };
        assert_eq!((at(100), at(29), at(0), at(-5)), (State::Fine, State::Warning, State::Broken, State::Broken));
    }
}
