//! The keys of one signer over time (GW-29). Pure: which key signs and which are published follow from the list and
//! the time alone, so that a restart changes nothing.
//!
//! Invariants: a key is published at least [`PUBLISH_LEAD`] before it signs, except the very first; it stays published
//! [`RETIRE_AFTER`] after it stopped; at every moment exactly one key signs.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use serde::Serialize;

use super::jwks::Jwks;
use super::key::{KeyError, SigningKey};

/// How long a new key is published before it signs: twice what a verifier may cache the set (`max-age=300`).
pub const PUBLISH_LEAD: Duration = Duration::from_secs(600);
/// How long a key stays published after it signed last.
pub const RETIRE_AFTER: Duration = Duration::from_secs(600);

/// A key and the moment from which it signs.
#[derive(Clone)]
pub struct RingKey {
    /// The key.
    pub key: Arc<SigningKey>,
    /// From when it signs.
    pub signs_from: Timestamp,
}

/// The keys of one signer, an immutable value: a rotation makes a new ring. Share it behind an `Arc`.
#[derive(Clone)]
pub struct KeyRing {
    first: RingKey,
    /// Ordered by `signs_from`, all later than `first`.
    later: Vec<RingKey>,
}

impl KeyRing {
    /// A ring whose first key signs at once: verifiers fetch the set when they meet an unknown id.
    pub fn new(first: SigningKey, now: Timestamp) -> Self {
        Self { first: RingKey { key: Arc::new(first), signs_from: now }, later: Vec::new() }
    }

    /// A ring of stored keys; `None` without any.
    pub fn restore(mut keys: Vec<RingKey>) -> Option<Self> {
        keys.sort_by(|a, b| a.signs_from.cmp(&b.signs_from).then_with(|| a.key.kid().cmp(b.key.kid())));
        let mut keys = keys.into_iter();
        Some(Self { first: keys.next()?, later: keys.collect() })
    }

    /// The ring with `next` published now and signing [`PUBLISH_LEAD`] later, without the keys that are over. Store
    /// [`Self::keys`] of the new ring before using it.
    #[must_use]
    pub fn rotate(&self, next: SigningKey, now: Timestamp) -> Self {
        let mut kept: Vec<RingKey> = self.published(now).cloned().collect();
        let after_all = kept.iter().map(|key| key.signs_from).max().unwrap_or(now);
        kept.push(RingKey { key: Arc::new(next), signs_from: (now + PUBLISH_LEAD).max(after_all) });
        Self::restore(kept).unwrap_or_else(|| self.clone())
    }

    /// The key that signs.
    pub fn current(&self, now: Timestamp) -> &SigningKey {
        let current = self.later.iter().rev().find(|key| key.signs_from <= now).unwrap_or(&self.first);
        &current.key
    }

    /// From when the current key signs; to decide when to rotate.
    pub fn current_since(&self, now: Timestamp) -> Timestamp {
        self.later.iter().rev().find(|key| key.signs_from <= now).unwrap_or(&self.first).signs_from
    }

    /// A compact JWS over `claims` by the current key.
    ///
    /// # Errors
    /// [`KeyError`]; the caller refuses what it was about to do.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C, now: Timestamp) -> Result<String, KeyError> {
        self.current(now).sign(typ, claims)
    }

    /// The public keys to publish now: coming, current and retiring ones.
    pub fn jwks(&self, now: Timestamp) -> Jwks {
        Jwks::new(self.published(now).map(|key| key.key.public_jwk()))
    }

    /// Every key, for storing; oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &RingKey> {
        std::iter::once(&self.first).chain(&self.later)
    }

    fn published(&self, now: Timestamp) -> impl Iterator<Item = &RingKey> {
        // A key is over RETIRE_AFTER after the next one began to sign.
        let ends = self.later.iter().map(|next| Some(next.signs_from + RETIRE_AFTER)).chain(std::iter::once(None));
        self.keys().zip(ends).filter(move |(_, end)| end.is_none_or(|end| now < end)).map(|(key, _)| key)
    }
}
