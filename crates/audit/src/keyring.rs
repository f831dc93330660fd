//! The keys under which sealed columns are kept (AUD-40): one per person, handed in from outside, and one per
//! day for records that name nobody we hold a key for.
//!
//! Invariants: a key has no `Debug`, no `Display` and is wiped when dropped; a daily key is stored before it seals
//! anything; nothing here knows where keys rest or how they are wrapped.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use model::{Ids, Timestamp, UserId};
use zeroize::Zeroizing;

/// How long a daily key lives (AUD-40).
pub const DAILY_KEY_DAYS: u32 = 90;

/// A 32-byte key.
#[derive(Clone)]
pub struct SealKey(Arc<Zeroizing<[u8; 32]>>);

impl SealKey {
    /// Takes over the bytes; the caller wipes its own copy.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// A fresh one.
    pub fn generate(ids: &dyn Ids) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        ids.fill_random(bytes.as_mut_slice());
        Self(Arc::new(bytes))
    }

    /// The bytes, for whoever stores or uses the key.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The keys of people: an immutable snapshot in memory, no IO.
pub trait SubjectKeys: Send + Sync {
    /// The key of a person; `None` when they are unknown or erased.
    fn key_for(&self, user: &UserId) -> Option<SealKey>;
}

/// A day in UTC: days since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(pub u32);

impl Day {
    /// The day `time` falls on; times before 1970-01-02 count as day 1, so that 0 can mean "a person's key".
    pub fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.unix_secs().div_euclid(86_400)).unwrap_or(1).max(1))
    }
}

/// A key could not be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key store failed: {cause}")]
pub struct KeyStoreError {
    /// What it said.
    pub cause: String,
}

/// Where daily keys rest, wrapped by whoever implements this. Called at start and about once a day, never per record.
pub trait DailyKeyStore: Send + Sync {
    /// All keys.
    ///
    /// # Errors
    /// When they cannot be read or unwrapped: the log does not open.
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError>;

    /// Keeps a new key durably.
    ///
    /// # Errors
    /// When it is not durable: nothing is sealed with it.
    fn save(&self, day: Day, key: &SealKey) -> Result<(), KeyStoreError>;

    /// Destroys a key.
    ///
    /// # Errors
    /// When it may still exist: tried again later.
    fn destroy(&self, day: Day) -> Result<(), KeyStoreError>;
}

/// Which key sealed a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyRef {
    Person,
    Daily(Day),
}

/// Every key a log can use.
pub(crate) struct Keyring {
    people: Arc<dyn SubjectKeys>,
    store: Arc<dyn DailyKeyStore>,
    ids: Arc<dyn Ids>,
    daily: RwLock<BTreeMap<Day, SealKey>>,
}

impl Keyring {
    pub(crate) fn open(
        people: Arc<dyn SubjectKeys>,
        store: Arc<dyn DailyKeyStore>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, KeyStoreError> {
        let daily = RwLock::new(store.load()?.into_iter().collect());
        Ok(Self { people, store, ids, daily })
    }

    /// The key that seals a record of `user` at `time`.
    pub(crate) fn sealing(&self, user: Option<&UserId>, time: Timestamp) -> Result<(KeyRef, SealKey), KeyStoreError> {
        if let Some(key) = user.and_then(|user| self.people.key_for(user)) {
            return Ok((KeyRef::Person, key));
        }
        let day = Day::of(time);
        Ok((KeyRef::Daily(day), self.daily_or_new(day)?))
    }

    /// The key that opens, if it still exists.
    pub(crate) fn opening(&self, key: KeyRef, user: Option<&UserId>) -> Option<SealKey> {
        match key {
            KeyRef::Person => self.people.key_for(user?),
            KeyRef::Daily(day) => self.daily.read().unwrap_or_else(PoisonError::into_inner).get(&day).cloned(),
        }
    }

    /// Makes the keys of today and tomorrow, destroys those past [`DAILY_KEY_DAYS`].
    pub(crate) fn tend(&self, now: Timestamp) -> Result<(), KeyStoreError> {
        let today = Day::of(now);
        self.daily_or_new(today)?;
        self.daily_or_new(Day(today.0.saturating_add(1)))?;
        let oldest = Day(today.0.saturating_sub(DAILY_KEY_DAYS));
        let expired: Vec<Day> = {
            let daily = self.daily.read().unwrap_or_else(PoisonError::into_inner);
            daily.range(..oldest).map(|(day, _)| *day).collect()
        };
        for day in expired {
            self.store.destroy(day)?;
            self.daily.write().unwrap_or_else(PoisonError::into_inner).remove(&day);
        }
        Ok(())
    }

    fn daily_or_new(&self, day: Day) -> Result<SealKey, KeyStoreError> {
        if let Some(key) = self.daily.read().unwrap_or_else(PoisonError::into_inner).get(&day) {
            return Ok(key.clone());
        }
        // Stored under the lock: two records of one day never see two keys.
        let mut daily = self.daily.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = daily.get(&day) {
            return Ok(key.clone());
        }
        let key = SealKey::generate(&*self.ids);
        self.store.save(day, &key)?;
        daily.insert(day, key.clone());
        Ok(key)
    }
}
