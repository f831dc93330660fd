//! Identities of our own processes: SPIFFE IDs, the internal authority, and the certificates it gives to gateways and to
//! the control plane.
//!
//! Not the authority of workload identity, and not a place that says who may join. The layout and the checks are those
//! of X.509-SVIDs, so that nothing changes when those arrive.
//!
//! Invariants: keys are P-256 and made here; a certificate is given only for a key whose holder has proven to have it; a
//! leaf has exactly one URI and cannot sign; who is verified is verified by chain, time, usage and SPIFFE ID, never by a
//! host name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::secret::SecretText;

/// How long a certificate lives; renewed at half of it.
pub const SVID_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long the internal authority lives.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The longest SPIFFE ID.
pub const MAX_ID_BYTES: usize = 2_048;
/// The longest trust domain.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;
/// The largest certificate that is looked at, before any signature is checked.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// The host name in the control plane's certificate. No resolver knows it: a client that has the internal authority asks
/// for this name whatever address it connects to.
pub const CONTROL_HOST: &str = "control.countersign.internal";

/// How far certificates begin in the past.
const BACKDATE: Duration = Duration::from_secs(300);
/// The prefix of every gateway's path.
const GATEWAY_PATH: &str = "/countersign/gateway/";
/// The path of the control plane.
const CONTROL_PATH: &str = "/countersign/control";

/// Why a certificate is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// It may sign certificates.
    #[error("the certificate can sign others; such a certificate never authenticates anybody")]
    CanSign,
    /// No URI.
    #[error("the certificate has no SPIFFE ID")]
    NoUri,
    /// Several URIs.
    #[error("the certificate has more than one URI")]
    ManyUris,
    /// The usage.
    #[error("the certificate is not for digital signatures by a client")]
    Usage,
    /// The URI.
    #[error("the URI of the certificate is not a SPIFFE ID")]
    NotSpiffe,
    /// Another trust domain, or not the path of a gateway.
    #[error("the SPIFFE ID is not that of one of our gateways")]
    NotOurs,
    /// Not a certificate.
    #[error("the certificate is not X.509 version 3 of at most {MAX_CERTIFICATE_BYTES} bytes")]
    Malformed,
    /// A self-signed certificate that proves nothing.
    #[error("the certificate does not prove possession of a P-256 key")]
    NoProof,
}

/// Why an authority or a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The stored authority.
    #[error("the internal authority cannot be read; it must be as this program stored it")]
    Load(#[source] rcgen::Error),
    /// The crypto library refused.
    #[error("a certificate cannot be made")]
    Make(#[source] rcgen::Error),
    /// Not a name that an identity can carry.
    #[error("`{name}` cannot be part of an identity")]
    Name {
        /// The name.
        name: String,
    },
}

/// `spiffe://<trust domain>/<path>`, exactly as the standard has it: no port, query, escape or empty segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpiffeId {
    text: String,
    path_at: usize,
}

impl FromStr for SpiffeId {
    type Err = SvidError;

    fn from_str(text: &str) -> Result<Self, SvidError> {
        let rest = text.strip_prefix("spiffe://").ok_or(SvidError::NotSpiffe)?;
        let (domain, path) = rest.split_once('/').ok_or(SvidError::NotSpiffe)?;
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        if text.len() > MAX_ID_BYTES || !is_trust_domain(domain) || !path.split('/').all(is_segment) {
            return Err(SvidError::NotSpiffe);
        }
        Ok(Self { text: text.to_owned(), path_at: "spiffe://".len() + domain.len() })
    }
}

impl SpiffeId {
    /// The identity of a gateway.
    ///
    /// # Errors
    /// A name no gateway may have.
    pub fn gateway(trust_domain: &str, name: &str) -> Result<Self, IdentityError> {
        let text = format!("spiffe://{trust_domain}{GATEWAY_PATH}{name}");
        match text.parse::<Self>() {
            Ok(id) if is_gateway_name(name) => Ok(id),
            _ => Err(IdentityError::Name { name: name.to_owned() }),
        }
    }

    /// The identity of the control plane.
    ///
    /// # Errors
    /// A trust domain that is none.
    pub fn control(trust_domain: &str) -> Result<Self, IdentityError> {
        let text = format!("spiffe://{trust_domain}{CONTROL_PATH}");
        text.parse().map_err(|_| IdentityError::Name { name: trust_domain.to_owned() })
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the gateway it stands for, if it is one of `trust_domain`.
    pub fn gateway_name(&self, trust_domain: &str) -> Option<&str> {
        let (start, path) = self.text.split_at_checked(self.path_at)?;
        let is_ours = start.strip_prefix("spiffe://") == Some(trust_domain);
        path.strip_prefix(GATEWAY_PATH).filter(|name| is_ours && is_gateway_name(name))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a gateway may be called so: 1–63 of `a-z0-9-`, no dash at either end.
pub fn is_gateway_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Whether this is a trust domain: lower case, no port.
pub fn is_trust_domain(name: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN_BYTES).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// A public key whose holder has proven to have the private one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenKey {
    /// Uncompressed point.
    point: Vec<u8>,
    fingerprint: [u8; 32],
}

impl ProvenKey {
    /// The key of a self-signed certificate. Who shows one in a handshake proves possession twice; who sends one proves it
    /// by the certificate's own signature.
    ///
    /// # Errors
    /// [`SvidError`]: it proves nothing.
    pub fn of(certificate: &[u8]) -> Result<Self, SvidError> {
        if certificate.len() > MAX_CERTIFICATE_BYTES {
            return Err(SvidError::Malformed);
        }
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| SvidError::Malformed)?;
        let key = Self::of_parsed(&parsed)?;
        let signed = parsed.tbs_certificate.as_ref();
        let signature = &parsed.signature_value.data;
        let verified = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.point).verify(signed, signature);
        if rest.is_empty() && verified.is_ok() { Ok(key) } else { Err(SvidError::NoProof) }
    }

    fn of_parsed(parsed: &X509Certificate<'_>) -> Result<Self, SvidError> {
        let info = parsed.public_key();
        let point = info.subject_public_key.data.to_vec();
        let is_p256 = point.len() == 65 && point.first() == Some(&4);
        if !is_p256 {
            return Err(SvidError::NoProof);
        }
        let fingerprint = digest::digest(&digest::SHA256, &point);
        let fingerprint = fingerprint.as_ref().try_into().map_err(|_| SvidError::NoProof)?;
        Ok(Self { point, fingerprint })
    }

    /// SHA-256 of the point: names the key.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A private key of a process.
pub struct IdentityKey(KeyPair);

impl IdentityKey {
    /// A new key.
    ///
    /// # Errors
    /// [`IdentityError::Make`].
    pub fn generate() -> Result<Self, IdentityError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(IdentityError::Make)
    }

    /// PEM (PKCS#8); seal it before it reaches a disk.
    pub fn pem(&self) -> SecretText {
        SecretText::new(self.0.serialize_pem())
    }

    /// Reads a key back.
    ///
    /// # Errors
    /// [`IdentityError::Load`].
    pub fn load(pem: &SecretText) -> Result<Self, IdentityError> {
        KeyPair::from_pem(pem.expose()).map(Self).map_err(IdentityError::Load)
    }

    /// A self-signed certificate, which says nothing but that its maker has this key. PEM and DER.
    ///
    /// # Errors
    /// [`IdentityError::Make`].
    pub fn proof(&self, now: Timestamp) -> Result<(String, Vec<u8>), IdentityError> {
        let certificate = leaf(now, SVID_LIFE).self_signed(&self.0).map_err(IdentityError::Make)?;
        Ok((certificate.pem(), certificate.der().to_vec()))
    }
}

/// The internal authority.
pub struct IdentityCa {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl IdentityCa {
    /// A new authority of `trust_domain`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn create(trust_domain: &str, now: Timestamp) -> Result<Self, IdentityError> {
        if !is_trust_domain(trust_domain) {
            return Err(IdentityError::Name { name: trust_domain.to_owned() });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Make)?;
        let mut params = leaf(now, CA_LIFE);
        params.distinguished_name.push(DnType::CommonName, "Countersign internal authority");
        params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = Vec::new();
        let certificate = params.self_signed(&key).map_err(IdentityError::Make)?;
        Ok(Self { certificate_pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// Reads an authority back.
    ///
    /// # Errors
    /// [`IdentityError::Load`].
    pub fn load(certificate_pem: &str, key_pem: &SecretText) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(key_pem.expose()).map_err(IdentityError::Load)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(IdentityError::Load)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// PEM of its certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// PEM of its key; seal it before it reaches a disk.
    pub fn key_pem(&self) -> SecretText {
        SecretText::new(self.issuer.key().serialize_pem())
    }

    /// A certificate for `id` and the holder of `key`; PEM, the leaf alone.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn issue(
        &self,
        id: &SpiffeId,
        key: &ProvenKey,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, IdentityError> {
        self.sign(id, None, key, now, lifetime)
    }

    /// The control plane's own certificate; it also carries [`CONTROL_HOST`].
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn issue_control(&self, id: &SpiffeId, key: &ProvenKey, now: Timestamp) -> Result<String, IdentityError> {
        self.sign(id, Some(CONTROL_HOST), key, now, CA_LIFE)
    }

    fn sign(
        &self,
        id: &SpiffeId,
        host: Option<&str>,
        key: &ProvenKey,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, IdentityError> {
        let mut params = leaf(now, lifetime);
        params.subject_alt_names = vec![uri(id.as_str())?];
        if let Some(host) = host {
            let name = host.to_owned().try_into().map_err(IdentityError::Make)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer).map_err(IdentityError::Make)?.pem())
    }
}

/// SHA-256 of the first certificate of a PEM file, as a pin.
pub fn pin_of(pem: &str) -> Option<[u8; 32]> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    digest::digest(&digest::SHA256, &der).as_ref().try_into().ok()
}

/// When the first certificate of a PEM file began and when it ends.
pub fn validity_of(pem: &str) -> Option<(Timestamp, Timestamp)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_unix_secs(time.timestamp());
    Some((at(parsed.validity().not_before), at(parsed.validity().not_after)))
}

/// The SPIFFE ID and key of a leaf whose chain was verified already.
///
/// # Errors
/// [`SvidError`]: refuse the connection.
pub fn verified_leaf(leaf: &[u8]) -> Result<(SpiffeId, ProvenKey), SvidError> {
    if leaf.len() > MAX_CERTIFICATE_BYTES {
        return Err(SvidError::Malformed);
    }
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| SvidError::Malformed)?;
    let constraints = parsed.basic_constraints().map_err(|_| SvidError::Malformed)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(SvidError::CanSign);
    }
    let usage = parsed.key_usage().map_err(|_| SvidError::Malformed)?.ok_or(SvidError::Usage)?;
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        return Err(SvidError::CanSign);
    }
    if !usage.critical || !usage.value.digital_signature() {
        return Err(SvidError::Usage);
    }
    let names = parsed.subject_alternative_name().map_err(|_| SvidError::Malformed)?.ok_or(SvidError::NoUri)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next().ok_or(SvidError::NoUri)?;
    if uris.next().is_some() {
        return Err(SvidError::ManyUris);
    }
    Ok((uri.parse()?, ProvenKey::of_parsed(&parsed)?))
}

fn uri(text: &str) -> Result<SanType, IdentityError> {
    let refuse = |_| IdentityError::Name { name: text.to_owned() };
    Ok(SanType::URI(text.to_owned().try_into().map_err(refuse)?))
}

/// What every leaf has.
fn leaf(now: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - BACKDATE).to_datetime();
    params.not_after = (now + lifetime).to_datetime();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);
    const DOMAIN: &str = "auth.test";

    #[test]
    fn only_exact_spiffe_ids_are_read() {
        assert!("spiffe://auth.test/countersign/gateway/west".parse::<SpiffeId>().is_ok());
        assert!("spiffe://auth.test/a/.../b_c".parse::<SpiffeId>().is_ok());
        for bad in [
            "spiffe://auth.test",
            "spiffe://auth.test/",
            "spiffe:///a",
            "SPIFFE://auth.test/a",
            "https://auth.test/a",
            "spiffe://Auth.test/a",
            "spiffe://auth.test:8443/a",
            "spiffe://u@auth.test/a",
            "spiffe://auth.test/a//b",
            "spiffe://auth.test/a/",
            "spiffe://auth.test/./a",
            "spiffe://auth.test/../a",
            "spiffe://auth.test/%61",
            "spiffe://auth.test/a?b",
            "spiffe://auth.test/a#b",
            "spiffe://auth.test/ä",
        ] {
            assert_eq!(bad.parse::<SpiffeId>(), Err(SvidError::NotSpiffe), "{bad}");
        }
        let long = format!("spiffe://auth.test/{}", "a".repeat(MAX_ID_BYTES));
        assert!(long.parse::<SpiffeId>().is_err());
    }

    #[test]
    fn a_gateway_is_named_by_its_path_in_our_trust_domain_and_by_nothing_else() {
        let id = SpiffeId::gateway(DOMAIN, "west-1").unwrap();
        assert_eq!(id.gateway_name(DOMAIN), Some("west-1"));
        assert_eq!(id.gateway_name("other.test"), None);
        for foreign in [
            "spiffe://auth.test/countersign/control",
            "spiffe://auth.test/countersign/gateway/west/more",
            "spiffe://auth.test/x/countersign/gateway/west",
            "spiffe://auth.test/countersign/gateway/-west",
            "spiffe://auth.test/countersign/gateway/West",
        ] {
            assert_eq!(foreign.parse::<SpiffeId>().unwrap().gateway_name(DOMAIN), None, "{foreign}");
        }
        assert!(SpiffeId::gateway(DOMAIN, "a/b").is_err() && SpiffeId::gateway(DOMAIN, "").is_err());
    }

    #[test]
    fn a_certificate_is_what_an_svid_is_and_only_for_a_proven_key() {
        let ca = IdentityCa::create(DOMAIN, NOW).unwrap();
        let key = IdentityKey::generate().unwrap();
        let proven = ProvenKey::of(&key.proof(NOW).unwrap().1).unwrap();
        let id = SpiffeId::gateway(DOMAIN, "west").unwrap();
        let pem = ca.issue(&id, &proven, NOW, SVID_LIFE).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(verified_leaf(&der), Ok((id, proven.clone())));
        let (from, to) = validity_of(&pem).unwrap();
        assert_eq!(to.since(from), SVID_LIFE + BACKDATE);
        let authority = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap();
        assert_eq!(verified_leaf(&authority), Err(SvidError::CanSign));
        // Signed by the authority and not by its own key: no proof of anything.
        assert_eq!(ProvenKey::of(&der), Err(SvidError::NoProof));
        let read = IdentityCa::load(ca.certificate_pem(), &ca.key_pem()).unwrap();
        assert!(read.issue(&SpiffeId::control(DOMAIN).unwrap(), &proven, NOW, SVID_LIFE).is_ok());
    }

    #[test]
    fn attack_an_altered_proof_proves_nothing() {
        let (_, proof) = IdentityKey::generate().unwrap().proof(NOW).unwrap();
        let key = ProvenKey::of(&proof).unwrap();
        for place in 0..proof.len() {
            let mut altered = proof.clone();
            altered[place] ^= 1;
            // Only the name of the algorithm is outside of what is signed, and it is not asked for.
            assert!(ProvenKey::of(&altered).map_or(true, |read| read == key), "{place}");
        }
        let signed = proof.len() - 80;
        let mut altered = proof.clone();
        altered[signed / 2] ^= 1;
        assert!(ProvenKey::of(&altered).is_err());
        assert!(ProvenKey::of(&[proof.as_slice(), b"x"].concat()).is_err());
        assert_eq!(ProvenKey::of(&vec![0; MAX_CERTIFICATE_BYTES + 1]), Err(SvidError::Malformed));
    }
}
