//! TLS between our own processes: both sides show a certificate of the internal authority.
//!
//! A stranger may show a self-signed certificate instead, which proves its key and nothing else; [`Peer`] tells the two
//! apart, and what a stranger may ask for is the listener's to say.
//!
//! Invariants: TLS 1.3 only; no tickets and no resumption, so that who is removed does not come back on an old handshake;
//! host names of addresses play no part.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::{PostQuantum, TLS13, TlsError, crypto_provider};
use crate::secret::SecretText;
use crate::svid::{CONTROL_HOST, ProvenKey, SpiffeId, SvidError, pin_of, verified_leaf};

/// ALPN id of what gateways and control plane speak.
pub const ALPN_FEED: &[u8] = b"countersign-feed/1";
/// What certificates of this module are called in errors.
const OURS: &str = "internal identity";

/// A certificate chain and its key.
pub struct Identity {
    /// PEM, leaf first.
    pub chain_pem: String,
    /// PEM of the key.
    pub key_pem: SecretText,
}

impl Identity {
    fn certified_key(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let certificate = || OURS.to_owned();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::Chain { certificate: certificate() })?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes())
            .map_err(|_| TlsError::Key { certificate: certificate() })?;
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|_| TlsError::KeyMismatch { certificate: certificate() })?;
        Ok(Arc::new(key))
    }
}

/// What a client takes a control plane by.
pub enum Trust {
    /// The internal authority (PEM).
    Authority(String),
    /// SHA-256 of the internal authority's certificate, from a join token; the server shows the certificate itself.
    Pin([u8; 32]),
}

/// Who showed a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A holder of a certificate of the internal authority.
    Known(SpiffeId, ProvenKey),
    /// A holder of a key.
    Stranger(ProvenKey),
}

/// Verifies who connects to the control plane.
#[derive(Debug)]
pub struct PeerVerifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl PeerVerifier {
    /// A verifier under the internal authority.
    ///
    /// # Errors
    /// [`TlsError::Roots`].
    pub fn new(ca_pem: &str) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(crypto_provider(PostQuantum::Prefer));
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider)
            .build()
            .map_err(|_| TlsError::Roots { hint: "the internal authority is not usable" })?;
        Ok(Arc::new(Self { inner }))
    }

    /// Who showed this chain, at `now` (since 1970).
    ///
    /// # Errors
    /// [`SvidError`]: refuse the connection.
    pub fn peer(&self, chain: &[CertificateDer<'_>], now: Duration) -> Result<Peer, SvidError> {
        let (leaf, rest) = chain.split_first().ok_or(SvidError::Malformed)?;
        let now = UnixTime::since_unix_epoch(now);
        match self.inner.verify_client_cert(leaf, rest, now) {
            Ok(_) => verified_leaf(leaf).map(|(id, key)| Peer::Known(id, key)),
            Err(_) if rest.is_empty() => ProvenKey::of(leaf).map(Peer::Stranger),
            Err(_) => Err(SvidError::NoProof),
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.inner.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => Ok(verified),
            Err(_) if intermediates.is_empty() && ProvenKey::of(end_entity).is_ok() => {
                Ok(ClientCertVerified::assertion())
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The control plane's side. Clients must show a certificate.
///
/// # Errors
/// [`TlsError`].
pub fn control_config(identity: &Identity, verifier: Arc<PeerVerifier>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(crypto_provider(PostQuantum::Prefer));
    let key = identity.certified_key(&provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_FEED.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A gateway's side.
///
/// # Errors
/// [`TlsError`].
pub fn gateway_config(identity: &Identity, trust: Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(crypto_provider(PostQuantum::Prefer));
    let key = identity.certified_key(&provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13])?;
    let verified = match trust {
        Trust::Authority(pem) => builder.with_root_certificates(roots(&pem)?),
        Trust::Pin(pin) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned { pin, provider })),
    };
    let mut config = verified.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_FEED.to_vec()];
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name every control plane has, for [`gateway_config`].
pub fn control_name() -> Option<ServerName<'static>> {
    ServerName::try_from(CONTROL_HOST).ok()
}

fn roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let refuse = || TlsError::Roots { hint: "the internal authority is not a PEM certificate" };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| refuse())?;
    store.add(certificate).map_err(|_| refuse())?;
    Ok(store)
}

/// Takes a server whose chain ends in the one authority with this hash.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let is_pinned = |certificate: &&CertificateDer<'_>| pin_of_der(certificate) == Some(self.pin);
        let authority = intermediates.iter().find(is_pinned).ok_or_else(unknown)?;
        let mut store = RootCertStore::empty();
        store.add(authority.clone().into_owned()).map_err(|_| unknown())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn pin_of_der(der: &CertificateDer<'_>) -> Option<[u8; 32]> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref().try_into().ok()
}

/// The pin of the internal authority for join tokens.
///
/// # Errors
/// [`TlsError::Roots`].
pub fn authority_pin(ca_pem: &str) -> Result<[u8; 32], TlsError> {
    pin_of(ca_pem).ok_or(TlsError::Roots { hint: "the internal authority is not a PEM certificate" })
}
