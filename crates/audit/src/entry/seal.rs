//! Sealing one field under one key (AUD-40): a salted commitment that stays in the tree for ever, and an
//! AES-256-GCM-SIV ciphertext that dies with the key.
//!
//! The nonce is fixed per field and the field is the associated data: equal values of one person give equal
//! ciphertexts, which is wanted (columns compress) and is all that GCM-SIV gives away under a repeated nonce (RFC 8452).

use std::collections::HashMap;
use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use model::record::RecordType;
use model::{AccessId, Timestamp};
use sha2::{Digest, Sha256};

use super::CONTEXT_FIELD;
use super::columns::{Column, ColumnKind};
use crate::keyring::SealKey;

const COMMIT_LABEL: &[u8] = b"countersign/commit/v1";
const NONCE_LABEL: &[u8] = b"countersign/nonce/v1";

/// Seals and opens the fields of one record.
pub(super) struct Sealer {
    cipher: LessSafeKey,
    /// Everything of a salt but the field.
    salts: Hmac<Sha256>,
}

impl Sealer {
    pub(super) fn new(key: &SealKey, access_id: AccessId, kind: RecordType, time: Timestamp) -> Self {
        #[expect(clippy::expect_used, reason = "a key of this cipher has 32 bytes, and so has the array")]
        let key_of_cipher = UnboundKey::new(&AES_256_GCM_SIV, key.bytes()).expect("32 bytes");
        Self { cipher: LessSafeKey::new(key_of_cipher), salts: salts(key, access_id, kind, time) }
    }

    pub(super) fn commitment(&self, field: &str, value: &[u8]) -> [u8; 32] {
        commitment(field, &salt_of(self.salts.clone(), field), value)
    }

    pub(super) fn seal(&self, field: &str, value: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(value.len().saturating_add(AES_256_GCM_SIV.tag_len()));
        sealed.extend_from_slice(value);
        let done = self.cipher.seal_in_place_append_tag(nonce(field), Aad::from(field.as_bytes()), &mut sealed);
        #[expect(clippy::expect_used, reason = "fails only above 2^36 bytes (RFC 8452 §6); fields are cut at 65,535")]
        done.expect("a short field");
        sealed
    }

    pub(super) fn open(&self, field: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let mut opened = ciphertext.to_vec();
        let length = self.cipher.open_in_place(nonce(field), Aad::from(field.as_bytes()), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

/// The nonces of all fields there are; they never change.
static NONCES: LazyLock<HashMap<&str, [u8; NONCE_LEN]>> = LazyLock::new(|| {
    let columns = Column::ALL.iter().filter(|column| column.kind() == ColumnKind::Sealed).map(|column| column.name());
    columns.chain([CONTEXT_FIELD]).map(|field| (field, nonce_bytes(field))).collect()
});

fn nonce(field: &str) -> Nonce {
    Nonce::assume_unique_for_key(NONCES.get(field).copied().unwrap_or_else(|| nonce_bytes(field)))
}

fn nonce_bytes(field: &str) -> [u8; NONCE_LEN] {
    let digest: [u8; 32] =
        Sha256::new().chain_update(NONCE_LABEL).chain_update([0]).chain_update(field).finalize().into();
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, ..] = digest;
    [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11]
}

/// `HMAC-SHA-256(key, "salt" ‖ access id ‖ type ‖ time ‖ field)`: type two bytes and time eight bytes, big endian.
pub fn salt(key: &SealKey, access_id: AccessId, kind: RecordType, time: Timestamp, field: &str) -> [u8; 32] {
    salt_of(salts(key, access_id, kind, time), field)
}

fn salts(key: &SealKey, access_id: AccessId, kind: RecordType, time: Timestamp) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §2)")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.bytes()).expect("a key of any length");
    mac.update(b"salt");
    mac.update(access_id.as_bytes());
    mac.update(&kind.code().to_be_bytes());
    mac.update(&time.0.to_be_bytes());
    mac
}

fn salt_of(mut mac: Hmac<Sha256>, field: &str) -> [u8; 32] {
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
