//! Sealing of values at rest: AES-256-GCM-SIV under keys derived from one key-encryption key (AUD-56, R-30).
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

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use testkit::SeqIds;

    fn kek(byte: u8) -> Kek {
        Kek::from_bytes(&[byte; KEK_BYTES]).unwrap()
    }

    fn sealed() -> (Sealer, Vec<u8>, Vec<u8>) {
        let sealer = kek(1).sealer("store.keys").unwrap();
        let aad = column_aad("keys", b"7", "private", 1);
        let sealed = sealer.seal(&aad, b"secret", &SeqIds::default()).unwrap();
        (sealer, aad, sealed)
    }

    #[test]
    fn what_was_sealed_opens_in_its_place() {
        let (sealer, aad, sealed) = sealed();
        assert_eq!(sealed.len(), b"secret".len() + OVERHEAD_BYTES);
        assert_eq!(sealer.open(&aad, &sealed).unwrap().expose(), b"secret");
        let empty = sealer.seal(&aad, b"", &SeqIds::default()).unwrap();
        assert_eq!(sealer.open(&aad, &empty).unwrap().expose(), b"");
    }

    #[test]
    fn a_value_moved_to_another_row_column_table_or_version_is_refused() {
        let (sealer, _, sealed) = sealed();
        for place in [
            column_aad("keys", b"8", "private", 1),
            column_aad("keys", b"7", "public", 1),
            column_aad("sessions", b"7", "private", 1),
            column_aad("keys", b"7", "private", 2),
            column_aad("keys7", b"", "private", 1),
        ] {
            assert_eq!(sealer.open(&place, &sealed).err(), Some(SealError::Altered));
        }
    }

    #[test]
    fn places_with_the_same_letters_have_different_additional_data() {
        assert_ne!(column_aad("ab", b"c", "d", 1), column_aad("a", b"bc", "d", 1));
        assert_ne!(column_aad("a", b"b", "cd", 1), column_aad("a", b"bc", "d", 1));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (sealer, aad, sealed) = sealed();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(&aad, &altered).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(sealer.open(&aad, &sealed[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn another_kek_is_named_before_anything_is_decrypted() {
        let (sealer, aad, sealed) = sealed();
        let other = kek(2).sealer("store.keys").unwrap();
        let error = other.open(&aad, &sealed).err().unwrap();
        assert_eq!(error, SealError::OtherKey { sealed_under: sealer.key_id(), held: other.key_id() });
        let message = error.to_string();
        assert!(message.contains(&sealer.key_id().to_string()) && message.contains(&other.key_id().to_string()));
    }

    #[test]
    fn another_purpose_does_not_open_it() {
        let (_, aad, sealed) = sealed();
        let other = kek(1).sealer("store.other").unwrap();
        assert_eq!(other.open(&aad, &sealed).err(), Some(SealError::Altered));
    }

    #[test]
    fn a_repeated_nonce_shows_equality_and_nothing_else() {
        let (sealer, aad, _) = sealed();
        let seal = |plaintext: &[u8]| sealer.seal_with_nonce(&aad, plaintext, &[0; NONCE_BYTES]).unwrap();
        assert_eq!(seal(b"same text"), seal(b"same text"));
        // A counter-mode key stream used twice would leave the common tail of both texts equal.
        let (one, two) = (seal(b"a common tail"), seal(b"b common tail"));
        assert_ne!(one[HEADER_BYTES + 1..][..12], two[HEADER_BYTES + 1..][..12]);
    }

    #[test]
    fn the_format_on_disk_stays() {
        let (sealer, aad, _) = sealed();
        let sealed = sealer.seal_with_nonce(&aad, b"secret", &[9; NONCE_BYTES]).unwrap();
        // The same value comes out of pyca/cryptography (HKDFExpand, AESGCMSIV).
        assert_eq!(
            HEXLOWER.encode(&sealed),
            "0178b1beec49ccd797090909090909090909090909130862228ee0f0d29472f74106cb05fbaf8914e1f03c"
        );
    }

    #[test]
    fn too_large_values_are_refused() {
        let (sealer, aad, _) = sealed();
        let large = vec![0; MAX_PLAINTEXT_BYTES + 1];
        assert_eq!(sealer.seal(&aad, &large, &SeqIds::default()), Err(SealError::TooLarge { bytes: large.len() }));
        let large = vec![0; MAX_PLAINTEXT_BYTES + OVERHEAD_BYTES + 1];
        assert_eq!(sealer.open(&aad, &large).err(), Some(SealError::TooLarge { bytes: large.len() }));
    }
}
