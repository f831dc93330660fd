//! A certificate authority for tests with real handshakes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use pki::tls::{Verify, client_config, server_config};
use pki::{Issued, LocalCa, NamedCertificate, TlsSettings};

/// How long test certificates live.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// An authority that exists for one test. It reads the real clock, because rustls judges certificates by it.
pub struct TestCa {
    ca: LocalCa,
}

impl TestCa {
    /// A new authority.
    ///
    /// # Panics
    /// When the machine has no randomness.
    #[expect(clippy::new_without_default, reason = "making keys is work that should be visible")]
    pub fn new() -> Self {
        Self { ca: must(LocalCa::create("Countersign test CA", &[], real_now(), LIFE)) }
    }

    /// PEM of the root.
    pub fn root_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// A server certificate valid for a day.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn issue(&self, names: &[&str]) -> Issued {
        must(self.ca.issue_server(names, real_now(), LIFE))
    }

    /// A server certificate that ended an hour ago.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let hour = Duration::from_secs(3600);
        must(self.ca.issue_server(names, real_now() - 2 * hour, hour))
    }

    /// A certificate as a listener takes it.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn named(&self, name: &str, names: &[&str]) -> NamedCertificate {
        let Issued { chain_pem, key_pem, .. } = self.issue(names);
        NamedCertificate { name: name.to_owned(), chain_pem, key_pem }
    }

    /// The configuration of a listener with one certificate.
    ///
    /// # Panics
    /// When a name is no name.
    pub fn server_config(&self, names: &[&str]) -> Arc<rustls::ServerConfig> {
        must(server_config(&[self.named("test", names)], TlsSettings::STANDARD))
    }

    /// The configuration of a client that trusts this authority alone.
    ///
    /// # Panics
    /// Never in practice: the root is a certificate.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        must(client_config(Some(self.root_pem()), alpn, Verify::Normal))
    }
}

fn real_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(0) + since
}

#[expect(clippy::panic, reason = "a test without its certificates cannot go on, and should say why")]
fn must<T, E: std::error::Error>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("test certificates: {error} ({:?})", error.source()))
}
