//! A certificate authority on this machine: for the demo, for tests and for people without one. Not the
//! authority of workload identity.
//!
//! Invariants: keys are P-256 and made here; a certificate authority that people are asked to trust is limited to the
//! names it is for, so that its theft opens nothing else; issued certificates are for servers only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SanType,
};

use crate::secret::SecretText;
use crate::tls::is_dns_name;

/// How far certificates begin in the past, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// The most names of one certificate.
pub const MAX_NAMES: usize = 100;

/// The longest common name (X.520). Clients read the alternative names instead.
const MAX_COMMON_NAME: usize = 64;

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The authority's own files.
    #[error(
        "the certificate authority cannot be read; its certificate and key must be a PEM pair as made by this program"
    )]
    Load(#[source] rcgen::Error),
    /// The crypto library refused.
    #[error("the certificate cannot be made")]
    Make(#[source] rcgen::Error),
    /// A name no certificate can carry.
    #[error(
        "`{name}` is not a name for a certificate; give a host, `*.` and a host of two labels or more (clients refuse `*.localhost`), or an address"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// No name or too many.
    #[error("a certificate has 1 to {MAX_NAMES} names, not {count}")]
    NameCount {
        /// How many.
        count: usize,
    },
}

/// A certificate with its key.
pub struct Issued {
    /// PEM, leaf first, without the root.
    pub chain_pem: String,
    /// PEM (PKCS#8) of the key.
    pub key_pem: SecretText,
    /// Base64 SHA-256 of the leaf's public key info, as Chromium's `--ignore-certificate-errors-spki-list` takes it.
    pub spki_sha256: String,
}

/// The authority.
pub struct LocalCa {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl LocalCa {
    /// A new authority called `title`. `permitted` are the only names (hosts, with everything below them, and
    /// addresses) its certificates are good for; empty means any, which is for tests alone.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn create(title: &str, permitted: &[&str], now: Timestamp, lifetime: Duration) -> Result<Self, CaError> {
        let key = new_key()?;
        let mut params = params(title, now, lifetime);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = (!permitted.is_empty()).then(|| constraints(permitted));
        let certificate = params.self_signed(&key).map_err(CaError::Make)?;
        Ok(Self { certificate_pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// Reads an authority back from [`Self::certificate_pem`] and [`Self::key_pem`].
    ///
    /// # Errors
    /// [`CaError::Load`].
    pub fn load(certificate_pem: &str, key_pem: &SecretText) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem.expose()).map_err(CaError::Load)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(CaError::Load)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// PEM of the certificate people trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// PEM of its key; write it with [`crate::private_file::create`] only.
    pub fn key_pem(&self) -> SecretText {
        SecretText::new(self.issuer.key().serialize_pem())
    }

    /// A server certificate with a new key. `names` are hosts, `*.` and a host of two labels or more, or addresses.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn issue_server(&self, names: &[&str], now: Timestamp, lifetime: Duration) -> Result<Issued, CaError> {
        self.issue(new_key()?, names, now, lifetime)
    }

    /// The same for a key that is there already (PEM), so that whoever trusts the key goes on trusting it.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn reissue_server(
        &self,
        key_pem: &SecretText,
        names: &[&str],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Issued, CaError> {
        self.issue(KeyPair::from_pem(key_pem.expose()).map_err(CaError::Load)?, names, now, lifetime)
    }

    fn issue(&self, key: KeyPair, names: &[&str], now: Timestamp, lifetime: Duration) -> Result<Issued, CaError> {
        let first = names.first().ok_or(CaError::NameCount { count: 0 })?;
        if names.len() > MAX_NAMES {
            return Err(CaError::NameCount { count: names.len() });
        }
        let mut params = params(if first.len() <= MAX_COMMON_NAME { first } else { "server" }, now, lifetime);
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(CaError::Make)?;
        Ok(Issued {
            chain_pem: certificate.pem(),
            key_pem: SecretText::new(key.serialize_pem()),
            spki_sha256: BASE64.encode(digest::digest(&digest::SHA256, &key.subject_public_key_info()).as_ref()),
        })
    }
}

fn new_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Make)
}

fn params(common_name: &str, now: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - BACKDATE).to_datetime();
    params.not_after = (now + lifetime).to_datetime();
    params
}

fn alternative_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refuse = || CaError::Name { name: name.to_owned() };
    let is_name = match name.strip_prefix("*.") {
        Some(parent) => parent.contains('.') && is_dns_name(parent),
        None => is_dns_name(name),
    };
    if !is_name {
        return Err(refuse());
    }
    Ok(SanType::DnsName(name.to_ascii_lowercase().try_into().map_err(|_| refuse())?))
}

/// Only these names. A kind of name that is not listed would be free (RFC 5280 §4.2.1.10), so it is excluded whole.
fn constraints(permitted: &[&str]) -> NameConstraints {
    let (mut permitted_subtrees, mut excluded_subtrees) = (Vec::new(), Vec::new());
    for name in permitted {
        permitted_subtrees.push(match name.parse::<IpAddr>() {
            Ok(address) => network(address, if address.is_ipv4() { 32 } else { 128 }),
            Err(_) => GeneralSubtree::DnsName(name.to_ascii_lowercase()),
        });
    }
    let is_dns = |subtree: &GeneralSubtree| matches!(subtree, GeneralSubtree::DnsName(_));
    if permitted_subtrees.iter().all(is_dns) {
        excluded_subtrees.push(network(Ipv4Addr::UNSPECIFIED.into(), 0));
        excluded_subtrees.push(network(Ipv6Addr::UNSPECIFIED.into(), 0));
    }
    if !permitted_subtrees.iter().any(is_dns) {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints { permitted_subtrees, excluded_subtrees }
}

fn network(address: IpAddr, prefix: u8) -> GeneralSubtree {
    GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
}
