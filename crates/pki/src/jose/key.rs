//! A private P-256 key that signs compact tokens. Parsed once, kept parsed: signing is on the path of each request.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use super::ALGORITHM;
use super::jwks::Jwk;
use crate::secret::SecretBytes;

/// Why a key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The claims have no JSON form.
    #[error("the claims cannot be written as json")]
    Claims(#[source] serde_json::Error),
    /// The crypto library refused to make a key.
    #[error("the crypto library cannot make a P-256 key; the machine has no usable source of randomness")]
    Generate,
    /// The bytes are no PKCS#8 P-256 key.
    #[error(
        "key `{kid}` is not a PKCS#8 P-256 private key; restore it from a backup or remove it so that a new one is made"
    )]
    Parse {
        /// The key's id.
        kid: String,
    },
    /// The crypto library refused to sign.
    #[error("the crypto library cannot sign with key `{kid}`")]
    Sign {
        /// The key's id.
        kid: String,
    },
}

/// A private key with its id. The id is `<owner>-<start of the RFC 7638 thumbprint>`: stable, and never the same for
/// two keys.
pub struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
}

/// How many characters of the thumbprint go into a key id.
const KID_THUMBPRINT_CHARS: usize = 16;

impl SigningKey {
    /// A new key of `owner` (a gateway's name).
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the machine has no randomness; do not start.
    pub fn generate(owner: &str) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?;
        Ok(Self { kid: kid_of(owner, &jwk_of(&pair, "")), pair })
    }

    /// Reads a key back from its id and PKCS#8 DER, as given by [`Self::to_pkcs8`].
    ///
    /// # Errors
    /// [`KeyError::Parse`]: the stored bytes are damaged or of another kind.
    pub fn from_pkcs8(kid: &str, der: &SecretBytes) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose())
            .map_err(|_| KeyError::Parse { kid: kid.to_owned() })?;
        Ok(Self { kid: kid.to_owned(), pair })
    }

    /// The key as PKCS#8 DER. Seal it before it reaches a disk.
    ///
    /// # Errors
    /// [`KeyError::Parse`] when the crypto library cannot encode its own key.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, KeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| KeyError::Parse { kid: self.kid.clone() })?;
        Ok(SecretBytes::new(document.as_ref().to_vec()))
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    pub fn public_jwk(&self) -> Jwk {
        jwk_of(&self.pair, &self.kid)
    }

    /// A compact JWS over `claims` with `typ` in its header.
    ///
    /// # Errors
    /// [`KeyError::Claims`] or [`KeyError::Sign`]; the caller refuses what it was about to do.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<String, KeyError> {
        let header = Header { alg: ALGORITHM, typ, kid: &self.kid };
        let mut token = String::with_capacity(1024);
        append_part(&mut token, &header)?;
        token.push('.');
        append_part(&mut token, claims)?;
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| KeyError::Sign { kid: self.kid.clone() })?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(signature.as_ref(), &mut token);
        Ok(token)
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'a str,
    kid: &'a str,
}

fn append_part<T: Serialize>(token: &mut String, part: &T) -> Result<(), KeyError> {
    let json = serde_json::to_vec(part).map_err(KeyError::Claims)?;
    BASE64URL_NOPAD.encode_append(&json, token);
    Ok(())
}

/// The id of `owner`'s key.
pub(super) fn kid_of(owner: &str, key: &Jwk) -> String {
    let start: String = key.thumbprint().chars().take(KID_THUMBPRINT_CHARS).collect();
    format!("{owner}-{start}")
}

fn jwk_of(pair: &EcdsaKeyPair, kid: &str) -> Jwk {
    // SEC 1 §2.3.3: 0x04, then x and y of 32 bytes each.
    let (x, y) = pair.public_key().as_ref().split_at_checked(33).unwrap_or_default();
    let x = x.split_first().map(|(_, x)| x).unwrap_or_default();
    Jwk::p256(kid, &BASE64URL_NOPAD.encode(x), &BASE64URL_NOPAD.encode(y))
}
