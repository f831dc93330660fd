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
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &RingKey> {
        std::iter::once(&self.first).chain(&self.later)
    }

    fn published(&self, now: Timestamp) -> impl Iterator<Item = &RingKey> {
        // A key is over RETIRE_AFTER after the next one began to sign.
        let ends = self.later.iter().map(|next| Some(next.signs_from + RETIRE_AFTER)).chain(std::iter::once(None));
        self.keys().zip(ends).filter(move |(_, end)| end.is_none_or(|end| now < end)).map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(0);

    fn at(secs: u64) -> Timestamp {
        START + Duration::from_secs(secs)
    }

    fn key(owner: &str) -> SigningKey {
        SigningKey::generate(owner).unwrap()
    }

    fn published(ring: &KeyRing, now: Timestamp) -> Vec<String> {
        ring.jwks(now).kids().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_key_signs_at_once_even_if_the_clock_is_set_back() {
        let ring = KeyRing::new(key("gw1"), at(100));
        for now in [at(0), at(100), at(100_000)] {
            assert!(published(&ring, now).contains(&ring.current(now).kid().to_owned()));
        }
    }

    #[test]
    fn a_new_key_is_published_ten_minutes_before_it_signs_and_the_old_one_ten_minutes_after() {
        let first = KeyRing::new(key("a"), at(0));
        let ring = first.rotate(key("b"), at(1000));
        let (old, new) = (first.current(at(0)).kid(), ring.current(at(9999)).kid());
        let expectations = [
            (1000, old, [true, true]),
            (1599, old, [true, true]),
            (1600, new, [true, true]),
            (2199, new, [true, true]),
            (2200, new, [false, true]),
        ];
        for (secs, signs, shown) in expectations {
            let now = at(secs);
            assert_eq!(ring.current(now).kid(), signs, "at {secs}");
            let kids = published(&ring, now);
            assert_eq!([old, new].map(|kid| kids.iter().any(|shown| shown == kid)), shown, "at {secs}");
        }
    }

    #[test]
    fn the_signing_key_is_always_published_whatever_the_rhythm_of_rotations() {
        let mut ring = KeyRing::new(key("k"), at(0));
        let mut published_since = std::collections::BTreeMap::new();
        for secs in (0..6000).step_by(50) {
            // Rotations at odd moments, twice in a row among them.
            if [200, 250, 1000, 3000, 3650].contains(&secs) {
                ring = ring.rotate(key("k"), at(secs));
            }
            let kids = published(&ring, at(secs));
            for kid in &kids {
                published_since.entry(kid.clone()).or_insert(secs);
            }
            let current = ring.current(at(secs)).kid();
            assert!(kids.iter().any(|kid| kid == current), "at {secs}");
            let since = published_since[current];
            assert!(since == 0 || secs - since >= PUBLISH_LEAD.as_secs(), "key of {since} signs at {secs}");
        }
    }

    #[test]
    fn a_stored_ring_is_the_same_after_a_restart() {
        let ring = KeyRing::new(key("a"), at(0)).rotate(key("b"), at(1000));
        let stored: Vec<RingKey> = ring
            .keys()
            .map(|entry| {
                let der = entry.key.to_pkcs8().unwrap();
                let key = Arc::new(SigningKey::from_pkcs8(entry.key.kid(), &der).unwrap());
                RingKey { key, signs_from: entry.signs_from }
            })
            .rev()
            .collect();
        let restored = KeyRing::restore(stored).unwrap();
        for now in [at(1000), at(1600), at(2200)] {
            assert_eq!(restored.jwks(now), ring.jwks(now));
            assert_eq!(restored.current(now).kid(), ring.current(now).kid());
        }
        assert!(KeyRing::restore(Vec::new()).is_none());
    }
}
