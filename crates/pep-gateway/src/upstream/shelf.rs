//! A bag that never makes anybody wait: things that are put back and taken by many threads at once.
//!
//! A fixed number of slots, each with a lock that is only ever *tried*: a slot somebody else is at is passed over, so a
//! thread that was put to sleep there holds nobody up. Slots fill from the front and are emptied from the front, so that
//! the same few are used while traffic is low and the others age.
//!
//! Invariants: a thing is given to one taker; what finds no free slot is handed back; nothing here blocks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

/// The slots.
pub(super) struct Shelf<T> {
    slots: Box<[Mutex<Option<T>>]>,
    /// How many are filled; a hint that spares an empty shelf the search.
    filled: AtomicUsize,
}

impl<T> Shelf<T> {
    pub(super) fn new(size: usize) -> Self {
        Self { slots: (0..size).map(|_| Mutex::new(None)).collect(), filled: AtomicUsize::new(0) }
    }

    /// Something that nobody else gets; `None` if there is nothing, or only where others are at work.
    pub(super) fn take(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let taken = self.slots.iter().find_map(|slot| attempt(slot)?.take())?;
        self.filled.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    /// Keeps `thing`, or hands it back when there is no room.
    pub(super) fn put(&self, thing: T) -> Result<(), T> {
        // Before it can be taken, so that the count never falls below nothing.
        if self.filled.fetch_add(1, Ordering::Relaxed) < self.slots.len() {
            for mut slot in self.slots.iter().filter_map(attempt) {
                if slot.is_none() {
                    *slot = Some(thing);
                    return Ok(());
                }
            }
        }
        self.filled.fetch_sub(1, Ordering::Relaxed);
        Err(thing)
    }

    /// Drops what is not worth keeping, outside the slots' locks.
    pub(super) fn retain(&self, is_good: impl Fn(&T) -> bool) {
        for slot in &self.slots {
            let bad = attempt(slot).and_then(|mut slot| slot.take_if(|thing| !is_good(thing)));
            if bad.is_some() {
                self.filled.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled.load(Ordering::Relaxed) == 0
    }
}

/// A slot, unless somebody is at it. One whose holder panicked is as good as any: a thing is in it or not.
fn attempt<T>(slot: &Mutex<Option<T>>) -> Option<MutexGuard<'_, Option<T>>> {
    match slot.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    use super::*;

    const THREADS: usize = 8;
    const ROUNDS: usize = 20_000;

    #[test]
    fn what_is_put_is_taken_once_and_the_front_is_used_first() {
        let shelf = Shelf::new(2);
        assert_eq!(shelf.take(), None);
        assert_eq!((shelf.put("a"), shelf.put("b"), shelf.put("c")), (Ok(()), Ok(()), Err("c")));
        assert_eq!((shelf.take(), shelf.put("d"), shelf.take()), (Some("a"), Ok(()), Some("d")));
        assert_eq!((shelf.take(), shelf.take()), (Some("b"), None));
        assert!(shelf.is_empty());
    }

    #[test]
    fn what_is_not_good_is_dropped_and_makes_room() {
        let shelf = Shelf::new(3);
        assert!([1, 2, 3].into_iter().all(|thing| shelf.put(thing).is_ok()));
        shelf.retain(|thing| thing % 2 == 0);
        assert_eq!((shelf.put(4), shelf.put(5), shelf.put(6)), (Ok(()), Ok(()), Err(6)));
        shelf.retain(|_| false);
        assert!(shelf.is_empty() && shelf.take().is_none());
    }

    #[test]
    fn a_thread_that_stands_still_at_a_slot_holds_nobody_up() {
        let shelf = Shelf::new(2);
        assert!(shelf.put(1).is_ok() && shelf.put(2).is_ok());
        // Were a lock waited for anywhere, this thread would wait for itself for ever.
        let held = shelf.slots[0].lock().unwrap();
        assert_eq!((shelf.take(), shelf.take()), (Some(2), None));
        assert_eq!((shelf.put(3), shelf.put(4)), (Ok(()), Err(4)));
        shelf.retain(|_| false);
        drop(held);
        assert_eq!((shelf.take(), shelf.take()), (Some(1), None));
    }

    #[test]
    fn under_contention_nothing_is_given_twice_and_nothing_is_lost() {
        let shelf = Shelf::new(THREADS / 2);
        let start = Barrier::new(THREADS);
        let held: Vec<usize> = std::thread::scope(|scope| {
            let work = |own: usize| {
                let (shelf, start) = (&shelf, &start);
                move || {
                    let mut held = vec![own];
                    start.wait();
                    for round in 0..ROUNDS {
                        // Now one more, now one less, as requests come and go.
                        if round % 2 == 0 {
                            held.extend(shelf.take());
                        } else if let Some(Err(thing)) = held.pop().map(|thing| shelf.put(thing)) {
                            held.push(thing);
                        }
                    }
                    held
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|own| scope.spawn(work(own))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let all: Vec<usize> = held.into_iter().chain(std::iter::from_fn(|| shelf.take())).collect();
        assert_eq!(all.len(), THREADS, "{all:?}");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..THREADS).collect());
        assert!(shelf.is_empty());
    }
}
