//! Sealing of values at rest: AES-256-GCM-SIV under keys derived from one key-encryption key (AUD-56, rulings R-30).
//!
//! GCM-SIV because a repeated nonce (a restored snapshot, a broken random source) then only shows that two plaintexts
//! are equal, instead of giving the key away. A sealed value is `1 | key id (8) | nonce (12) | ciphertext | tag (16)`.
//!
//! Invariants: the header is authenticated; additional data names the place a value belongs to, so that a value moved
//! to another row does not open; a value of another KEK is refused by its key id, before anything is decrypted.

mod kek;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};

pub use kek::{KEK_BYTES, Kek, KekError, KeyId};

use crate::secret::SecretBytes;

/// The first byte of a sealed value.
const FORMAT: u8 = 1;
/// Length of the nonce.
const NONCE_BYTES: usize = 12;
/// Length of format, key id and nonce.
const HEADER_BYTES: usize = 1 + KeyId::BYTES + NONCE_BYTES;
/// What sealing adds to a value.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 16;
/// The largest value that is sealed or opened.
pub const MAX_PLAINTEXT_BYTES: usize = 16 * 1024 * 1024;

/// Why a value cannot be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Altered, of another place, or of another purpose.
    #[error("a sealed value does not open: it was altered, or belongs to another place than the one it was read from")]
    Altered,
    /// Not a sealed value.
    #[error("not a sealed value of a format this version knows")]
    Format,
    /// Sealed under another KEK.
    #[error(
        "a value is sealed under key `{sealed_under}`, but the key file holds key `{held}`; restore the key file it was sealed with"
    )]
    OtherKey {
        /// Id of the KEK it was sealed under.
        sealed_under: KeyId,
        /// Id of the KEK at hand.
        held: KeyId,
    },
    /// Too large.
    #[error("a value of {bytes} bytes is too large to seal; at most {MAX_PLAINTEXT_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Seals and opens values of one purpose. Made by [`Kek::sealer`]; cheap to share behind an `Arc`.
pub struct Sealer {
    key_id: KeyId,
    cipher: Aes256GcmSiv,
}

impl Sealer {
    fn new(key_id: KeyId, key: &[u8; 32]) -> Self {
        Self { key_id, cipher: Aes256GcmSiv::new(key.into()) }
    }

    /// The id of the KEK behind it.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Seals `plaintext` for the place named by `aad` (see [`column_aad`]) with a random nonce.
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    pub fn seal(&self, aad: &[u8], plaintext: &[u8], ids: &dyn model::Ids) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        ids.fill_random(&mut nonce);
        self.seal_with_nonce(aad, plaintext, &nonce)
    }

    /// Opens a sealed value read from the place named by `aad`.
    ///
    /// # Errors
    /// [`SealError`]: the value must not be used; at start, do not start.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, SealError> {
        if sealed.len() > MAX_PLAINTEXT_BYTES + OVERHEAD_BYTES {
            return Err(SealError::TooLarge { bytes: sealed.len() });
        }
        let (header, ciphertext) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(SealError::Format)?;
        let (format, rest) = header.split_first().ok_or(SealError::Format)?;
        let (key_id, nonce) = rest.split_first_chunk::<{ KeyId::BYTES }>().ok_or(SealError::Format)?;
        let nonce: &[u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::Format)?;
        if *format != FORMAT {
            return Err(SealError::Format);
        }
        let sealed_under = KeyId(*key_id);
        if sealed_under != self.key_id {
            return Err(SealError::OtherKey { sealed_under, held: self.key_id });
        }
        let aad = [header.as_slice(), aad].concat();
        let payload = Payload { msg: ciphertext, aad: &aad };
        let plaintext = self.cipher.decrypt(&Nonce::from(*nonce), payload).map_err(|_| SealError::Altered)?;
        Ok(SecretBytes::new(plaintext))
    }

    fn seal_with_nonce(&self, aad: &[u8], plaintext: &[u8], nonce: &[u8; NONCE_BYTES]) -> Result<Vec<u8>, SealError> {
        let too_large = || SealError::TooLarge { bytes: plaintext.len() };
        if plaintext.len() > MAX_PLAINTEXT_BYTES {
            return Err(too_large());
        }
        let header = [&[FORMAT], self.key_id.0.as_slice(), nonce].concat();
        let aad = [header.as_slice(), aad].concat();
        let payload = Payload { msg: plaintext, aad: &aad };
        // The cipher's only error is a size far above ours.
        let ciphertext = self.cipher.encrypt(&Nonce::from(*nonce), payload).map_err(|_| too_large())?;
        Ok([header, ciphertext].concat())
    }
}

/// Additional data for a stored column: table, row id, column and key version (AUD-56), each with its length in front
/// so that no two places share an encoding.
pub fn column_aad(table: &str, id: &[u8], column: &str, version: u32) -> Vec<u8> {
    let mut aad = Vec::with_capacity(table.len() + id.len() + column.len() + 3 * 8 + 4);
    for part in [table.as_bytes(), id, column.as_bytes()] {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part);
    }
    aad.extend_from_slice(&version.to_be_bytes());
    aad
}
