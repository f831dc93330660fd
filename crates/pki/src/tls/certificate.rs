//! Server certificates: what they cover, and which one a client gets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;
use crate::secret::SecretText;

/// The most certificates in a chain.
const MAX_CHAIN: usize = 10;

/// A certificate as an operator declares it (`[[certificate]]`, R-38), files already read.
#[derive(Clone)]
pub struct NamedCertificate {
    /// Its name in the configuration.
    pub name: String,
    /// PEM, leaf first.
    pub chain_pem: String,
    /// PEM of the key.
    pub key_pem: SecretText,
}

/// A parsed certificate chain.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_after: Timestamp,
}

impl NamedCertificate {
    /// Parses the chain, without the key.
    ///
    /// # Errors
    /// [`TlsError::Chain`], [`TlsError::Leaf`] or [`TlsError::NoNames`].
    pub fn parse(&self) -> Result<Certificate, TlsError> {
        Certificate::parse(&self.name, &self.chain_pem)
    }

    pub(super) fn certified_key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let certificate = || self.name.clone();
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes())
            .map_err(|_| TlsError::Key { certificate: certificate() })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::KeyMismatch { certificate: certificate() }
            }
            _ => TlsError::Key { certificate: certificate() },
        })
    }
}

impl Certificate {
    /// The chain, leaf first.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    fn parse(name: &str, chain_pem: &str) -> Result<Self, TlsError> {
        let refuse_chain = || TlsError::Chain { certificate: name.to_owned() };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .take(MAX_CHAIN)
            .collect::<Result<_, _>>()
            .map_err(|_| refuse_chain())?;
        let leaf = chain.first().ok_or_else(refuse_chain)?;
        let refuse_leaf = || TlsError::Leaf { certificate: name.to_owned() };
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| refuse_leaf())?;

        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        let extension = parsed.subject_alternative_name().map_err(|_| refuse_leaf())?;
        for general_name in extension.iter().flat_map(|extension| &extension.value.general_names) {
            match general_name {
                GeneralName::DNSName(dns) => dns_names.push(dns.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address_of(bytes)),
                _ => {}
            }
        }
        if dns_names.is_empty() && addresses.is_empty() {
            return Err(TlsError::NoNames { certificate: name.to_owned() });
        }
        let not_after = Timestamp::from_unix_secs(parsed.validity().not_after.timestamp());
        Ok(Self { dns_names, addresses, not_after, chain })
    }

    /// Whether it is good for `host`: a name, an address, or `*.` and a name (then only the same wildcard is). A
    /// wildcard stands for exactly one label (RFC 9525 §6.3), and only above two or more.
    pub fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = host.to_ascii_lowercase();
        let wildcard = wildcard_of(&host);
        self.dns_names.iter().any(|name| *name == host || wildcard.as_ref() == Some(name))
    }

    /// DNS names and addresses, as in the certificate.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.dns_names.iter().cloned().chain(self.addresses.iter().map(ToString::to_string))
    }

    /// When it ends; alarms are due 30 and 7 days before (GW-75).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// `*.b.c` for `a.b.c`. None for `a.b`: clients do not take a wildcard above a single label (`*.localhost`, `*.com`).
fn wildcard_of(host: &str) -> Option<String> {
    let (first, rest) = host.split_once('.')?;
    (!matches!(first, "" | "*") && rest.contains('.')).then(|| format!("*.{rest}"))
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether this is a DNS name in A-label form: labels of 1–63 letters, digits, `-` (not at the ends) or `_`.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Picks by server name.
#[derive(Debug)]
pub(super) struct BySni {
    first: Arc<CertifiedKey>,
    /// Exact names and wildcards (`*.b.c`); the first certificate listed wins a name.
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
}

impl BySni {
    pub(super) fn new(certificates: &[NamedCertificate], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut first = None;
        let mut by_name = BTreeMap::new();
        for named in certificates {
            let certificate = named.parse()?;
            let key = Arc::new(named.certified_key(certificate.chain, provider)?);
            for name in certificate.dns_names {
                by_name.entry(name).or_insert_with(|| Arc::clone(&key));
            }
            first.get_or_insert(key);
        }
        Ok(Self { first: first.ok_or(TlsError::NoCertificate)?, by_name })
    }

    fn pick(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = server_name else {
            return Some(Arc::clone(&self.first));
        };
        let name = name.to_ascii_lowercase();
        let exact = self.by_name.get(&name);
        exact.or_else(|| self.by_name.get(&wildcard_of(&name)?)).cloned()
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name())
    }
}
