//! A bounded map that many threads read without a lock (PO-30).
//!
//! Not a cache of answers: entries are pure functions of their key within one version. When full, entries not read since
//! the last sweep go first (second chance, an approximation of least use).

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};

use papaya::{Equivalent, HashMap};

/// The most slices, and the most entity stores, kept at a time (PO-30).
pub(crate) const MAX_ENTRIES: usize = 16_384;

pub(crate) struct Cache<K, V> {
    map: HashMap<K, Entry<V>>,
    limit: usize,
    is_sweeping: AtomicBool,
}

struct Entry<V> {
    value: V,
    is_recent: AtomicBool,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Empty, holding at most about `limit` entries.
    pub(crate) fn new(limit: usize) -> Self {
        Self { map: HashMap::new(), limit, is_sweeping: AtomicBool::new(false) }
    }

    /// The value, if kept.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Equivalent<K> + Hash + ?Sized,
    {
        let map = self.map.pin();
        let entry = map.get(key)?;
        if !entry.is_recent.load(Ordering::Relaxed) {
            entry.is_recent.store(true, Ordering::Relaxed);
        }
        Some(entry.value.clone())
    }

    /// Keeps a value, making room first.
    pub(crate) fn insert(&self, key: K, value: V) {
        if self.map.len() >= self.limit {
            self.sweep();
        }
        self.map.pin().insert(key, Entry { value, is_recent: AtomicBool::new(false) });
    }

    /// Drops what was not read since the last sweep; at least an eighth, whatever was read.
    fn sweep(&self) {
        if self.is_sweeping.swap(true, Ordering::Acquire) {
            return;
        }
        let map = self.map.pin();
        map.retain(|_, entry| entry.is_recent.swap(false, Ordering::Relaxed));
        let target = self.limit - self.limit / 8;
        let mut surplus = self.map.len().saturating_sub(target);
        if surplus > 0 {
            map.retain(|_, _| {
                let goes = surplus > 0;
                surplus = surplus.saturating_sub(1);
                !goes
            });
        }
        self.is_sweeping.store(false, Ordering::Release);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_drops_what_was_not_read() {
        let cache: Cache<u32, u32> = Cache::new(64);
        (0..64).for_each(|n| cache.insert(n, n));
        (0..8).for_each(|n| assert_eq!(cache.get(&n), Some(n)));
        cache.insert(64, 64);
        let kept: Vec<u32> = (0..=64).filter(|n| cache.get(n).is_some()).collect();
        assert_eq!(kept, [0, 1, 2, 3, 4, 5, 6, 7, 64]);
    }

    #[test]
    fn the_limit_holds_under_a_flood_of_keys() {
        let cache: Cache<u32, u32> = Cache::new(128);
        (0..10_000).for_each(|n| cache.insert(n, n));
        assert!(cache.len() <= 128, "{}", cache.len());
        assert_eq!(cache.get(&9_999), Some(9_999));
    }
}
