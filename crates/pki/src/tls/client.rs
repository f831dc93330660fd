//! TLS towards upstreams (GW-74).
//!
//! Invariant: verification is off only where an operator wrote a reason; even then the handshake's signature is
//! checked, so that whoever answers holds the key of the certificate shown.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{NamedCertificate, PostQuantum, TLS12, TLS13, TlsError, crypto_provider};

/// How the server's certificate is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// Chain, name and time.
    Normal,
    /// Not at all. A finding; the operator wrote why.
    Off,
}

/// The configuration of a client. `roots_pem` are the roots to trust; `None` takes those of the operating system
/// (`SSL_CERT_FILE` is honoured). `alpn` in order of preference, empty for none. Building one is slow with the
/// system's roots: do it once per upstream.
///
/// # Errors
/// [`TlsError::Roots`] when there is nothing to verify with.
pub fn client_config(roots_pem: Option<&str>, alpn: &[&[u8]], verify: Verify) -> Result<Arc<ClientConfig>, TlsError> {
    upstream_config(roots_pem, alpn, verify, None, None)
}

/// As [`client_config`], with a name the certificate must carry instead of the one the connection is opened with, and with
/// a certificate to show when the server asks for one.
///
/// # Errors
/// [`TlsError::Roots`] as there; [`TlsError::Leaf`] for a `san` that is no name; whatever is wrong with `identity`.
pub fn upstream_config(
    roots_pem: Option<&str>,
    alpn: &[&[u8]],
    verify: Verify,
    san: Option<&str>,
    identity: Option<&NamedCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(crypto_provider(PostQuantum::Prefer));
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13, &TLS12])?;
    let verified = match (verify, san) {
        (Verify::Normal, None) => builder.with_root_certificates(roots(roots_pem)?),
        (Verify::Normal, Some(san)) => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(roots_pem)?), Arc::clone(&provider))
                .build()
                .map_err(|_| TlsError::Roots { hint: "`ca` must be PEM certificates" })?;
            let name = ServerName::try_from(san.trim_matches(['[', ']']).to_owned())
                .map_err(|_| TlsError::Leaf { certificate: san.to_owned() })?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NamedAs { name, inner }))
        }
        (Verify::Off, _) => {
            let any = AnyCertificate { provider: Arc::clone(&provider) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(any))
        }
    };
    let mut config = match identity {
        None => verified.with_no_client_auth(),
        Some(identity) => {
            let key = identity.certified_key(identity.parse()?.chain(), &provider)?;
            verified.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn roots(pem: Option<&str>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let refuse = TlsError::Roots { hint: "`ca` must be PEM certificates" };
                let Ok(certificate) = certificate else {
                    return Err(refuse);
                };
                store.add(certificate).map_err(|_| refuse)?;
            }
        }
        // A system store commonly holds a few certificates nobody can parse; the others still count.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        let hint = match pem {
            Some(_) => "`ca` holds no certificate",
            None => "install the system's certificates (package `ca-certificates`) or name them with `ca`",
        };
        return Err(TlsError::Roots { hint });
    }
    Ok(store)
}

/// Verifies as ever, but for another name than the one the connection was opened with.
#[derive(Debug)]
struct NamedAs {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for NamedAs {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
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

/// Takes any certificate; checks the handshake's signature.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
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
