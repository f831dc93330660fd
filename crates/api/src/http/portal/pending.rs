//! Things that wait a short while in memory for their other half: login transactions, hand-off codes, parked targets,
//! recovery codes to be shown once. Bounded, with an end, taken at most once.
//!
//! Losing them at a restart costs a person one more click and nothing else, so they are not stored.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Timestamp;

/// A bounded map whose entries end.
pub(crate) struct Pending<K, V> {
    entries: Mutex<HashMap<K, (Timestamp, V)>>,
    life: Duration,
    most: usize,
}

impl<K: Eq + Hash, V> Pending<K, V> {
    /// At most `most` entries, each for `life`.
    pub(crate) fn new(life: Duration, most: usize) -> Self {
        Self { entries: Mutex::new(HashMap::new()), life, most }
    }

    /// Keeps a value; false if there are too many already. Old ones make room first.
    pub(crate) fn put(&self, key: K, value: V, now: Timestamp) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most {
            entries.retain(|_, (ends, _)| *ends > now);
        }
        if entries.len() >= self.most {
            return false;
        }
        entries.insert(key, (now + self.life, value));
        true
    }

    /// Takes a value; a second time there is none.
    pub(crate) fn take(&self, key: &K, now: Timestamp) -> Option<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, value) = entries.remove(key)?;
        (ends > now).then_some(value)
    }
}

impl<K: Eq + Hash, V: Clone> Pending<K, V> {
    /// Looks at a value and leaves it.
    pub(crate) fn peek(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_once_and_not_after_its_end() {
        let pending = Pending::new(Duration::from_secs(30), 2);
        let at = Timestamp::from_unix_secs;
        assert!(pending.put("a", 1, at(0)));
        assert_eq!(pending.peek(&"a", at(29)), Some(1));
        assert_eq!(pending.take(&"a", at(29)), Some(1));
        assert_eq!(pending.take(&"a", at(29)), None);
        assert!(pending.put("b", 2, at(0)));
        assert_eq!(pending.take(&"b", at(30)), None);
    }

    #[test]
    fn a_flood_is_refused_until_old_entries_end() {
        let pending = Pending::new(Duration::from_secs(30), 2);
        let at = Timestamp::from_unix_secs;
        assert!(pending.put(1, (), at(0)) && pending.put(2, (), at(0)));
        assert!(!pending.put(3, (), at(1)));
        assert!(pending.put(3, (), at(30)));
    }
}
