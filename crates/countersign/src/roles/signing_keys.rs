//! The signing keys of this process, changed while it runs (GW-29): a ring is sealed and stored, then swapped; requests
//! read it without a lock. When to change and what to record is for the control plane.
//!
//! Invariant: a key that signs was stored, with the note of what is to be recorded of it, before it was published, and
//! published ten minutes before it signs.

use std::sync::Arc;
use std::time::Duration;

use api::control::{KeyControl, KeyLine, KeyState};
use arc_swap::ArcSwap;
use model::{BoxFuture, Clock, Timestamp};
use pki::{KeyRing, SigningKey};
use store::Note;

use super::keys::Vault;

/// A ring and what it signs.
pub struct NamedRing {
    /// `assertion` or `receipt`.
    pub purpose: &'static str,
    /// Whom its keys are called after.
    pub owner: String,
    /// What requests read.
    pub ring: Arc<ArcSwap<KeyRing>>,
}

/// All rings of this process.
pub struct SigningKeys {
    rings: Vec<NamedRing>,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    every: Duration,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl SigningKeys {
    /// Over the rings requests read; a key is due after `every`.
    pub fn new(rings: Vec<NamedRing>, vault: Arc<Vault>, clock: Arc<dyn Clock>, every: Duration) -> Self {
        Self { rings, vault, clock, every, changing: tokio::sync::Mutex::new(()) }
    }

    /// A new key of which nothing is noted: for processes without a control plane, which would tell it.
    ///
    /// # Errors
    /// As [`KeyControl::rotate`].
    pub async fn rotate_untold(&self, purpose: &str) -> Result<KeyLine, String> {
        self.change(purpose, |_| None).await
    }

    async fn change(&self, purpose: &str, note: impl Fn(&KeyLine) -> Option<Note>) -> Result<KeyLine, String> {
        let _one = self.changing.lock().await;
        let known = self.rings.iter().find(|named| named.purpose == purpose);
        let named =
            known.ok_or_else(|| format!("there are no keys for `{purpose}`; `countersign keys list` shows all"))?;
        let (ring, now) = (named.ring.load_full(), self.clock.now());
        if let Some(coming) = ring.keys().find(|key| key.signs_from > now && ring.current(now).kid() != key.key.kid()) {
            return Err(format!(
                "the next key for `{purpose}` is published already and signs from {}",
                coming.signs_from
            ));
        }
        let next = SigningKey::generate(&named.owner).map_err(|error| error.to_string())?;
        let kid = next.kid().to_owned();
        let changed = ring.rotate(next, now);
        let signs_from = changed.keys().find(|key| key.key.kid() == kid).map_or(now, |key| key.signs_from);
        let line = KeyLine { purpose: named.purpose, kid, signs_from, state: KeyState::Coming };
        self.vault.keep_ring(purpose, &changed, note(&line)).await.map_err(|error| format!("{error:#}"))?;
        named.ring.store(Arc::new(changed));
        Ok(line)
    }
}

impl KeyControl for SigningKeys {
    fn list(&self, now: Timestamp) -> Vec<KeyLine> {
        let mut lines = Vec::new();
        for named in &self.rings {
            let ring = named.ring.load();
            let published = ring.jwks(now);
            let current = ring.current(now).kid().to_owned();
            for key in ring.keys().filter(|key| published.kids().any(|kid| kid == key.key.kid())) {
                let kid = key.key.kid().to_owned();
                let state = match (kid == current, key.signs_from > now) {
                    (true, _) => KeyState::Signing,
                    (false, true) => KeyState::Coming,
                    (false, false) => KeyState::Retiring,
                };
                lines.push(KeyLine { purpose: named.purpose, kid, signs_from: key.signs_from, state });
            }
        }
        lines
    }

    fn due(&self, now: Timestamp) -> Vec<&'static str> {
        let is_due = |named: &&NamedRing| {
            let newest = named.ring.load().keys().map(|key| key.signs_from).max();
            newest.is_some_and(|signs_from| signs_from + self.every <= now)
        };
        self.rings.iter().filter(is_due).map(|named| named.purpose).collect()
    }

    fn rotate<'a>(
        &'a self,
        purpose: &'a str,
        note: &'a (dyn Fn(&KeyLine) -> Note + Send + Sync),
    ) -> BoxFuture<'a, Result<KeyLine, String>> {
        Box::pin(self.change(purpose, |line| Some(note(line))))
    }
}
