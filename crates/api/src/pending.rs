//! Things that wait a short while in memory for their other half: login transactions, hand-off codes, parked targets,
//! recovery codes to be shown once, readers who follow the record. Bounded, with an end, taken at most once.
//!
//! Losing them at a restart costs a person one more click and nothing else, so they are not stored. When there are too
//! many the oldest give way: strangers may begin journeys, and refusing new ones would let a flood lock everybody out.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;

/// A bounded map whose entries end.
pub(crate) struct Pending<K, V> {
    entries: Mutex<Entries<K, V>>,
    life: Duration,
    most: usize,
}

struct Entries<K, V> {
    by_key: HashMap<K, (Timestamp, V)>,
    /// Oldest first. All live equally long, so this is also the order in which they end.
    order: VecDeque<(Timestamp, K)>,
}

impl<K: Clone + Eq + Hash, V> Pending<K, V> {
    /// At most `most` entries, each for `life`.
    pub(crate) fn new(life: Duration, most: usize) -> Self {
        Self { entries: Mutex::new(Entries { by_key: HashMap::new(), order: VecDeque::new() }), life, most }
    }

    /// Keeps a value under a key that is new. What has ended makes room first, then the oldest.
    pub(crate) fn put(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.entries();
        entries.make_room(self.most, now);
        let ends = now + self.life;
        entries.order.push_back((ends, key.clone()));
        entries.by_key.insert(key, (ends, value));
    }

    /// Takes a value; a second time there is none.
    pub(crate) fn take(&self, key: &K, now: Timestamp) -> Option<V> {
        // Its place in the order stays until it reaches the front: cheaper than a search, and bounded all the same.
        let (ends, value) = self.entries().by_key.remove(key)?;
        (ends > now).then_some(value)
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Pending<K, V> {
    /// Looks at a value and leaves it.
    pub(crate) fn peek(&self, key: &K, now: Timestamp) -> Option<V> {
        self.entries().by_key.get(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value.clone())
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    fn make_room(&mut self, most: usize, now: Timestamp) {
        while self.order.front().is_some_and(|(ends, _)| *ends <= now || self.order.len() >= most) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn a_value_is_taken_once_and_not_after_its_end() {
        let pending = Pending::new(LIFE, 2);
        pending.put("a", 1, at(0));
        assert_eq!(pending.peek(&"a", at(29)), Some(1));
        assert_eq!(pending.take(&"a", at(29)), Some(1));
        assert_eq!(pending.take(&"a", at(29)), None);
        pending.put("b", 2, at(0));
        assert_eq!(pending.take(&"b", at(30)), None);
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_and_locks_nobody_out() {
        let pending = Pending::new(LIFE, 100);
        (0..1_000).for_each(|stranger| pending.put(stranger, (), at(0)));
        pending.put(1_000, (), at(1));
        assert_eq!(pending.peek(&1_000, at(2)), Some(()));
        assert_eq!(pending.peek(&900, at(2)), None);
        assert_eq!(pending.peek(&901, at(2)), Some(()));
        let entries = pending.entries();
        assert!(entries.by_key.len() <= 100 && entries.order.len() <= 100);
    }

    #[test]
    fn memory_stays_bounded_when_everything_is_taken_again() {
        let pending = Pending::new(LIFE, 10);
        for key in 0..1_000 {
            pending.put(key, (), at(0));
            assert!(pending.take(&key, at(0)).is_some());
        }
        assert!(pending.entries().order.len() <= 10);
    }
}
