//! The configuration of a gateway in a process of its own: what it listens on and where it keeps things. Everything else
//! it is told by its control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{Admin, Audit, AuditConfig, Certificate, CertificateFiles, Listener, ListenerConfig, Reader, syntax};
use crate::problem::Problems;

/// What a gateway process is told at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayConfig {
    /// Where identity, keys, last good state and record live; relative to the file's folder (the binary resolves it).
    pub data_dir: PathBuf,
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
    /// Certificates by name.
    pub certificates: Vec<CertificateFiles>,
    /// The record of this gateway.
    pub audit: AuditConfig,
    /// Health; never public.
    pub admin_listen: SocketAddr,
    /// PEM file of the roots upstreams are verified against when their own `ca` is not set.
    pub upstream_roots: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayFile {
    /// Where identity, keys, last good state and record of this gateway live; made with mode 0700.
    ///
    /// Type: path; default: `gateway-data`.
    data_dir: Option<PathBuf>,
    /// PEM file with the roots `https://` upstreams are verified against when they name no `ca`.
    ///
    /// Type: path; default: the system's.
    upstream_roots: Option<PathBuf>,
    /// Doors to the network, as in `server.toml`.
    ///
    /// Type: list of tables; default: at least one.
    #[serde(default)]
    listener: Vec<Spanned<Listener>>,
    /// Certificates that listeners and upstreams name, as in `server.toml`.
    ///
    /// Type: list of tables; default: none.
    #[serde(default)]
    certificate: Vec<Spanned<Certificate>>,
    /// The record of this gateway, as in `server.toml`.
    ///
    /// Type: table.
    #[serde(default)]
    audit: Audit,
    /// Health and counters for machines, as in `server.toml`.
    ///
    /// Type: table.
    #[serde(default)]
    admin: Admin,
}

impl GatewayConfig {
    /// Reads the file called `name`.
    ///
    /// # Errors
    /// Every problem at once; nothing is usable then.
    pub fn parse(name: &str, content: &str) -> Result<Self, Problems> {
        let file: GatewayFile =
            toml::from_str(content).map_err(|error| Problems(vec![syntax(name, content, &error)]))?;
        let mut reader = Reader { name, content, problems: Vec::new() };
        let certificates = reader.certificates(file.certificate);
        let listeners = reader.listeners(file.listener, &certificates);
        let (audit, admin_listen) = (reader.audit(file.audit), reader.admin(&file.admin));
        match (audit, admin_listen) {
            (Some(audit), Some(admin_listen)) if reader.problems.is_empty() => Ok(Self {
                data_dir: file.data_dir.unwrap_or_else(|| PathBuf::from("gateway-data")),
                listeners,
                certificates,
                audit,
                admin_listen,
                upstream_roots: file.upstream_roots,
            }),
            _ => Err(Problems(reader.problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[certificate]]\nname = \"apps\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n\n\
                        [[listener]]\naddress = \"0.0.0.0:443\"\ncertificates = [\"apps\"]\n";

    #[test]
    fn a_gateway_needs_a_listener_and_a_certificate_and_nothing_else() {
        let config = GatewayConfig::parse("gateway.toml", GOOD).unwrap();
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.admin_listen.port(), 9464);
        let problems = GatewayConfig::parse("gateway.toml", "").unwrap_err().to_string();
        assert!(problems.contains("no listener is declared"), "{problems}");
    }

    #[test]
    fn what_belongs_to_the_control_plane_is_refused_here() {
        let text = format!("auth_url = \"https://auth.test\"\n{GOOD}");
        let problems = GatewayConfig::parse("gateway.toml", &text).unwrap_err().to_string();
        assert!(problems.contains("unknown key `auth_url`"), "{problems}");
    }
}
