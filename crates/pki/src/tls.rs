//! rustls configurations of doors and upstream connections (GW-74, GW-75).
//!
//! It is not a listener: it opens no sockets and reads no certificate files. Nothing is installed process-wide.
//!
//! Invariants: TLS 1.3 and 1.2 with ECDHE and AEAD only; the hybrid X25519MLKEM768 is the first group; no 0-RTT, since
//! early data can be replayed; resumption is bound to the server name (rustls compares it).

mod certificate;
mod client;
pub mod identity;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs as provider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{ServerConfig, ServerSessionMemoryCache};
use rustls::version::{TLS12, TLS13};

pub(crate) use certificate::is_dns_name;
pub use certificate::{Certificate, NamedCertificate};
pub use client::{Verify, client_config, upstream_config};

/// ALPN id of HTTP/2.
pub const ALPN_H2: &[u8] = b"h2";
/// ALPN id of HTTP/1.1.
pub const ALPN_HTTP11: &[u8] = b"http/1.1";
/// The most certificates of one listener.
pub const MAX_CERTIFICATES: usize = 1000;
/// How many sessions a listener remembers for resumption.
const RESUMABLE_SESSIONS: usize = 10_240;

/// The lowest protocol version of a listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Hybrid post-quantum key exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostQuantum {
    /// Offered first.
    Prefer,
    /// Clients without it are refused. Needs TLS 1.3.
    Require,
}

/// `tls` of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// `min`
    pub min_version: TlsVersion,
    /// `pq`
    pub pq: PostQuantum,
}

impl TlsSettings {
    /// What a listener gets that says nothing: TLS 1.2 and up, hybrid preferred.
    pub const STANDARD: TlsSettings = TlsSettings { min_version: TlsVersion::V1_2, pq: PostQuantum::Prefer };
}

/// Why there is no TLS configuration. The certificate is named as the operator named it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain file.
    #[error(
        "the chain of certificate `{certificate}` is not PEM; give the server's certificate first, then the intermediates"
    )]
    Chain {
        /// Which.
        certificate: String,
    },
    /// The leaf is no X.509 certificate.
    #[error("the first certificate in the chain of `{certificate}` is not X.509 version 3; export it again")]
    Leaf {
        /// Which.
        certificate: String,
    },
    /// The key file.
    #[error(
        "the key of certificate `{certificate}` is not a PEM private key that is usable for TLS (PKCS#8, SEC1 or PKCS#1, without a passphrase)"
    )]
    Key {
        /// Which.
        certificate: String,
    },
    /// Key and certificate are no pair.
    #[error(
        "the key of certificate `{certificate}` belongs to another certificate; `key` and `cert` must be a pair, and the server's own certificate must come first in the chain"
    )]
    KeyMismatch {
        /// Which.
        certificate: String,
    },
    /// A listener without any.
    #[error("a TLS listener needs at least one certificate; name one under `certificates`")]
    NoCertificate,
    /// No name to serve it for.
    #[error(
        "certificate `{certificate}` has no DNS name or address in its subject alternative names; clients ignore the common name"
    )]
    NoNames {
        /// Which.
        certificate: String,
    },
    /// TLS 1.2 has no hybrid groups.
    #[error("`pq = \"require\"` needs `min = \"1.3\"`: TLS 1.2 has no post-quantum key exchange")]
    PostQuantumNeedsTls13,
    /// No root to verify upstreams with.
    #[error("there are no roots to verify with: {hint}")]
    Roots {
        /// What to do.
        hint: &'static str,
    },
    /// rustls refused.
    #[error("rustls refuses the configuration")]
    Rustls(#[from] rustls::Error),
    /// Too many certificates.
    #[error("a listener has at most {MAX_CERTIFICATES} certificates, not {count}")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// The configuration of a listener: certificates by server name (exact before wildcard; a client without server name
/// gets the first; a name none covers is refused in the handshake), ALPN `h2` and `http/1.1`.
///
/// # Errors
/// [`TlsError`]; keep the configuration in use.
pub fn server_config(certificates: &[NamedCertificate], settings: TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    if certificates.len() > MAX_CERTIFICATES {
        return Err(TlsError::TooMany { count: certificates.len() });
    }
    let versions = match (settings.min_version, settings.pq) {
        (TlsVersion::V1_2, PostQuantum::Require) => return Err(TlsError::PostQuantumNeedsTls13),
        (TlsVersion::V1_2, PostQuantum::Prefer) => &[&TLS13, &TLS12][..],
        (TlsVersion::V1_3, _) => &[&TLS13],
    };
    let provider = Arc::new(crypto_provider(settings.pq));
    let resolver = certificate::BySni::new(certificates, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()];
    config.max_early_data_size = 0;
    // A connection that uses its ticket is given another; a second one is for clients that open several at once.
    config.send_tls13_tickets = 1;
    config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_SESSIONS);
    Ok(Arc::new(config))
}

fn crypto_provider(pq: PostQuantum) -> CryptoProvider {
    let groups: &[&'static dyn SupportedKxGroup] = match pq {
        PostQuantum::Prefer => &[X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        PostQuantum::Require => &[X25519MLKEM768],
    };
    CryptoProvider { kx_groups: groups.to_vec(), ..provider::default_provider() }
}
