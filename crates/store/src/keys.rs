//! Named secrets, sealed before they arrive (AUD-56). The store cannot open them.
//!
//! The additional data of the seal is the caller's; by convention table `secrets`, id `<kind>/<name>`, column
//! `sealed`, so that a value moved to another row does not open.

use model::{BoxFuture, Timestamp};

use crate::error::StoreError;
use crate::outbox::Note;

/// The largest sealed value.
pub const MAX_SEALED_BYTES: usize = 1024 * 1024;
/// The longest name of a secret.
pub const MAX_SECRET_NAME_BYTES: usize = 256;

/// What a secret is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SecretKind {
    /// The key of one day's sealed audit columns; named `2026-11-22`.
    AuditDayKey,
    /// A ring of signing keys; named after its purpose: `assertion`, `receipt`.
    SigningKeyRing,
    /// The key of one person's sealed audit columns; named by user id. Deleting it erases the person (AUD-40).
    SubjectKey,
    /// Anything else that must not lie open: cookies' keys, the local CA.
    SystemKey,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: &'static [SecretKind] =
        &[SecretKind::AuditDayKey, SecretKind::SigningKeyRing, SecretKind::SubjectKey, SecretKind::SystemKey];

    /// The word in the database and in the additional data of seals.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretKind::AuditDayKey => "audit_day_key",
            SecretKind::SigningKeyRing => "signing_key_ring",
            SecretKind::SubjectKey => "subject_key",
            SecretKind::SystemKey => "system_key",
        }
    }
}

/// A secret as it lies in the store: ciphertext.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedSecret {
    /// What for.
    pub kind: SecretKind,
    /// Unique within its kind.
    pub name: String,
    /// The sealed value.
    pub sealed: Vec<u8>,
    /// When this value was put.
    pub put_at: Timestamp,
}

/// Keeps sealed secrets.
pub trait KeyStore: Send + Sync {
    /// Puts a secret only if there is none of this kind and name, and gives the one that is there now: two that make
    /// the same key at once end up with the same. The note is put down with it, and not without it.
    fn add_secret(&self, secret: SealedSecret, note: Option<Note>) -> BoxFuture<'_, Result<SealedSecret, StoreError>>;

    /// Deletes a secret so that its bytes are gone from the file and its journal; true if there was one.
    ///
    /// # Errors
    /// [`StoreError::NotWiped`]: it is deleted, but the journal could not be cut; delete it again, until this answers.
    fn delete_secret<'a>(&'a self, kind: SecretKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Puts a secret in the place of any before it, in one transaction with the note of what must be recorded of it.
    fn put_secret(&self, secret: SealedSecret, note: Option<Note>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// One secret.
    fn secret<'a>(&'a self, kind: SecretKind, name: &'a str)
    -> BoxFuture<'a, Result<Option<SealedSecret>, StoreError>>;

    /// All secrets of a kind, by name.
    fn secrets(&self, kind: SecretKind) -> BoxFuture<'_, Result<Vec<SealedSecret>, StoreError>>;
}
