//! Sealing one field under one key (audit.md AUD-40): a salted commitment that stays in the tree for ever, and an
//! AES-256-GCM-SIV ciphertext that dies with the key.
//!
//! The nonce is fixed per field and the field is the associated data: equal values of one person give equal
//! ciphertexts, which is wanted (columns compress) and is all that GCM-SIV gives away under a repeated nonce (RFC 8452).

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hmac::{Hmac, Mac};
use model::record::RecordType;
use model::{AccessId, Timestamp};
use sha2::{Digest, Sha256};

use crate::keyring::SealKey;

const COMMIT_LABEL: &[u8] = b"countersign/commit/v1";
const NONCE_LABEL: &[u8] = b"countersign/nonce/v1";

/// Seals and opens the fields of one record.
pub(super) struct Sealer {
    cipher: Aes256GcmSiv,
    key: SealKey,
    access_id: AccessId,
    kind: RecordType,
    time: Timestamp,
}

impl Sealer {
    pub(super) fn new(key: &SealKey, access_id: AccessId, kind: RecordType, time: Timestamp) -> Self {
        Self { cipher: Aes256GcmSiv::new(&(*key.bytes()).into()), key: key.clone(), access_id, kind, time }
    }

    pub(super) fn commitment(&self, field: &str, value: &[u8]) -> [u8; 32] {
        commitment(field, &salt(&self.key, self.access_id, self.kind, self.time, field), value)
    }

    pub(super) fn seal(&self, field: &str, value: &[u8]) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "fails only above 2^36 bytes (RFC 8452 §6); fields are cut at 65,535")]
        self.cipher.encrypt(&nonce(field), Payload { msg: value, aad: field.as_bytes() }).expect("a short field")
    }

    pub(super) fn open(&self, field: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.cipher.decrypt(&nonce(field), Payload { msg: ciphertext, aad: field.as_bytes() }).ok()
    }
}

fn nonce(field: &str) -> Nonce {
    let digest: [u8; 32] =
        Sha256::new().chain_update(NONCE_LABEL).chain_update([0]).chain_update(field).finalize().into();
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, ..] = digest;
    [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11].into()
}

/// `HMAC-SHA-256(key, "salt" ‖ access id ‖ type ‖ time ‖ field)`: type two bytes and time eight bytes, big endian.
pub fn salt(key: &SealKey, access_id: AccessId, kind: RecordType, time: Timestamp, field: &str) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §2)")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.bytes()).expect("a key of any length");
    mac.update(b"salt");
    mac.update(access_id.as_bytes());
    mac.update(&kind.code().to_be_bytes());
    mac.update(&time.0.to_be_bytes());
    mac.update(field.as_bytes());
    mac.finalize().into_bytes().into()
}

/// `SHA-256("countersign/commit/v1" ‖ 0x00 ‖ field ‖ salt ‖ value)`: what a verifier recomputes from an opened field.
pub fn commitment(field: &str, salt: &[u8; 32], value: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(COMMIT_LABEL)
        .chain_update([0])
        .chain_update(field)
        .chain_update(salt)
        .chain_update(value)
        .finalize()
        .into()
}
