//! Keys at rest and in memory: signing rings, keys of people and of days for the record. All sealed under the KEK
//! before they reach the store (AUD-56, R-9, R-30).

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use api::Actor;
use api::control::{KeyLine, KeyState, first_key_note};
use arc_swap::ArcSwap;
use audit::{DailyKeyStore, Day, KeyStoreError, SealKey, SubjectKeys};
use model::{Clock, Ids, Timestamp, UserId};
use pki::jose::RingKey;
use pki::seal::column_aad;
use pki::{KeyRing, Sealer, SecretBytes, SigningKey};
use serde::{Deserialize, Serialize};
use store::{KeyStore, Note, SealedSecret, SecretKind};
use tokio::runtime::Handle;

/// The store's secrets, opened and sealed.
pub struct Vault {
    store: Arc<dyn KeyStore>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

#[derive(Serialize, Deserialize)]
struct StoredRing {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    kid: String,
    signs_from: i64,
    pkcs8: String,
}

impl Vault {
    /// Over `store`, sealing with `sealer`.
    pub fn new(store: Arc<dyn KeyStore>, sealer: Sealer, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { store, sealer, clock, ids }
    }

    fn aad(kind: SecretKind, name: &str) -> Vec<u8> {
        column_aad("secrets", format!("{}/{name}", kind.as_str()).as_bytes(), "sealed", 1)
    }

    fn seal(&self, kind: SecretKind, name: &str, plaintext: &[u8]) -> Result<SealedSecret> {
        let sealed = self.sealer.seal(&Self::aad(kind, name), plaintext, self.ids.as_ref())?;
        Ok(SealedSecret { kind, name: name.to_owned(), sealed, put_at: self.clock.now() })
    }

    fn open(&self, secret: &SealedSecret) -> Result<SecretBytes> {
        let aad = Self::aad(secret.kind, &secret.name);
        self.sealer
            .open(&aad, &secret.sealed)
            .with_context(|| format!("the stored {} `{}`", secret.kind.as_str(), secret.name))
    }

    /// The ring of `purpose`, made by the first start, `actor`, with the note of it.
    ///
    /// # Errors
    /// The store, or a ring sealed under another KEK.
    pub async fn ring(&self, purpose: &'static str, actor: &Actor) -> Result<KeyRing> {
        self.ring_of(purpose, purpose, Some(actor)).await
    }

    /// The same with keys called after `owner`; without an actor there is no note, because nobody would tell it.
    ///
    /// # Errors
    /// As [`Self::ring`].
    pub async fn ring_of(&self, purpose: &'static str, owner: &str, actor: Option<&Actor>) -> Result<KeyRing> {
        let kind = SecretKind::SigningKeyRing;
        let stored = match self.store.secret(kind, purpose).await? {
            Some(stored) => stored,
            None => {
                let (key, now) = (SigningKey::generate(owner)?, self.clock.now());
                let line = KeyLine { purpose, kid: key.kid().to_owned(), signs_from: now, state: KeyState::Signing };
                let sealed = self.seal(kind, purpose, &encode(&KeyRing::new(key, now))?)?;
                let note = actor.map(|actor| first_key_note(actor, self.ids.uuid_v7(now), now, &line));
                self.store.add_secret(sealed, note).await?
            }
        };
        decode(self.open(&stored)?.expose())
    }

    /// Keeps a changed ring in the place of the old one, with the note of the change.
    ///
    /// # Errors
    /// The store; then the old ring stands and there is no note.
    pub async fn keep_ring(&self, purpose: &str, ring: &KeyRing, note: Option<Note>) -> Result<()> {
        let sealed = self.seal(SecretKind::SigningKeyRing, purpose, &encode(ring)?)?;
        self.store.put_secret(sealed, note).await?;
        Ok(())
    }

    /// Something else that must not lie open, by name.
    ///
    /// # Errors
    /// The store, or a value sealed under another KEK.
    pub async fn named(&self, name: &str) -> Result<Option<SecretBytes>> {
        let stored = self.store.secret(SecretKind::SystemKey, name).await?;
        stored.map(|stored| self.open(&stored)).transpose()
    }

    /// Everything whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// As [`Self::named`].
    pub async fn all_named(&self, prefix: &str) -> Result<Vec<(String, SecretBytes)>> {
        let stored = self.store.secrets(SecretKind::SystemKey).await?;
        let wanted = stored.iter().filter(|secret| secret.name.starts_with(prefix));
        wanted.map(|secret| Ok((secret.name.clone(), self.open(secret)?))).collect()
    }

    /// Keeps it in the place of any before it.
    ///
    /// # Errors
    /// The store; then the old one stands.
    pub async fn keep_named(&self, name: &str, value: &[u8]) -> Result<()> {
        Ok(self.store.put_secret(self.seal(SecretKind::SystemKey, name, value)?, None).await?)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// The store.
    pub async fn drop_named(&self, name: &str) -> Result<()> {
        self.store.delete_secret(SecretKind::SystemKey, name).await?;
        Ok(())
    }

    /// Keys of everyone, made for those who have none yet.
    async fn subject_keys(&self, users: &[UserId]) -> Result<HashMap<UserId, SealKey>> {
        let kind = SecretKind::SubjectKey;
        let mut keys = HashMap::new();
        for stored in self.store.secrets(kind).await? {
            if let Ok(user) = stored.name.parse::<UserId>() {
                keys.insert(user, seal_key(&self.open(&stored)?)?);
            }
        }
        for user in users {
            if !keys.contains_key(user) {
                keys.insert(*user, self.new_subject_key(*user).await?);
            }
        }
        Ok(keys)
    }

    async fn new_subject_key(&self, user: UserId) -> Result<SealKey> {
        let kind = SecretKind::SubjectKey;
        let fresh = SealKey::generate(self.ids.as_ref());
        let kept = self.store.add_secret(self.seal(kind, &user.to_string(), fresh.bytes())?, None).await?;
        seal_key(&self.open(&kept)?)
    }
}

fn encode(ring: &KeyRing) -> Result<Vec<u8>> {
    let keys = ring
        .keys()
        .map(|ring_key| {
            Ok(StoredKey {
                kid: ring_key.key.kid().to_owned(),
                signs_from: ring_key.signs_from.0,
                pkcs8: data_encoding::BASE64.encode(ring_key.key.to_pkcs8()?.expose()),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(serde_json::to_vec(&StoredRing { keys })?)
}

fn decode(bytes: &[u8]) -> Result<KeyRing> {
    let stored: StoredRing = serde_json::from_slice(bytes).context("a stored key ring is not readable")?;
    let keys = stored
        .keys
        .into_iter()
        .map(|key| {
            let der = SecretBytes::new(data_encoding::BASE64.decode(key.pkcs8.as_bytes())?);
            let signing = SigningKey::from_pkcs8(&key.kid, &der)?;
            Ok(RingKey { key: Arc::new(signing), signs_from: Timestamp(key.signs_from) })
        })
        .collect::<Result<Vec<_>>>()?;
    KeyRing::restore(keys).ok_or_else(|| anyhow!("a stored key ring has no key"))
}

fn seal_key(secret: &SecretBytes) -> Result<SealKey> {
    let bytes: [u8; 32] = secret.expose().try_into().map_err(|_| anyhow!("a stored key has not 32 bytes"))?;
    Ok(SealKey::new(bytes))
}

/// Keys of people, in memory: a map swapped whole.
pub struct SubjectRing {
    keys: ArcSwap<HashMap<UserId, SealKey>>,
    vault: Arc<Vault>,
}

impl SubjectRing {
    /// Reads all keys and makes those that are missing for `users`.
    ///
    /// # Errors
    /// The store, or a key sealed under another KEK: do not start.
    pub async fn load(vault: Arc<Vault>, users: &[UserId]) -> Result<Self> {
        let keys = vault.subject_keys(users).await?;
        Ok(Self { keys: ArcSwap::from_pointee(keys), vault })
    }

    /// Makes keys for people who have none yet. Until then their records are sealed under the key of the day.
    ///
    /// # Errors
    /// The store.
    pub async fn cover(&self, users: &[UserId]) -> Result<()> {
        let known = self.keys.load_full();
        let missing: Vec<UserId> = users.iter().copied().filter(|user| !known.contains_key(user)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut next = HashMap::clone(&known);
        for user in missing {
            next.insert(user, self.vault.new_subject_key(user).await?);
        }
        self.keys.store(Arc::new(next));
        Ok(())
    }
}

impl SubjectKeys for SubjectRing {
    fn key_for(&self, user: &UserId) -> Option<SealKey> {
        self.keys.load().get(user).cloned()
    }
}

/// Keys of days. The log asks for them on threads of its own a day ahead; only after a jump of the clock is a record
/// the first of its day, and then the thread of a request asks.
pub struct DayKeys {
    vault: Arc<Vault>,
    runtime: Handle,
}

impl DayKeys {
    /// Over the vault; `runtime` runs the store.
    pub fn new(vault: Arc<Vault>, runtime: Handle) -> Self {
        Self { vault, runtime }
    }

    /// Waits for the store on a thread of its own: a thread of the runtime must not enter the runtime again.
    fn wait<T: Send>(&self, asked: impl Future<Output = T> + Send) -> Result<T, KeyStoreError> {
        let waited = std::thread::scope(|scope| scope.spawn(|| self.runtime.block_on(asked)).join());
        waited.map_err(|_| failed("the thread that waited for the store is gone"))
    }
}

fn failed(error: impl std::fmt::Display) -> KeyStoreError {
    KeyStoreError { cause: error.to_string() }
}

impl DailyKeyStore for DayKeys {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        let stored = self.wait(self.vault.store.secrets(SecretKind::AuditDayKey))?.map_err(failed)?;
        stored
            .iter()
            .map(|secret| {
                let day = Day(secret.name.parse().map_err(failed)?);
                let key = seal_key(&self.vault.open(secret).map_err(failed)?).map_err(failed)?;
                Ok((day, key))
            })
            .collect()
    }

    fn save(&self, day: Day, key: &SealKey) -> Result<(), KeyStoreError> {
        let sealed = self.vault.seal(SecretKind::AuditDayKey, &day.0.to_string(), key.bytes()).map_err(failed)?;
        self.wait(self.vault.store.put_secret(sealed, None))?.map_err(failed)
    }

    fn destroy(&self, day: Day) -> Result<(), KeyStoreError> {
        let name = day.0.to_string();
        self.wait(self.vault.store.delete_secret(SecretKind::AuditDayKey, &name))?.map(drop).map_err(failed)
    }
}
