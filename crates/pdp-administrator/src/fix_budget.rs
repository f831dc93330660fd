//! How often a person was told how to mend a refusal (PO-11): after [`MAX_PER_MINUTE`] computations for one app in one
//! minute, the last answer is repeated, so that nobody reads the policies by asking a thousand variants of a question.
//!
//! Memory only: a restart forgets the counts. It decides nothing; whoever asks the engine reads it first.
//!
//! Invariants: no lock is waited for; the number of entries is bounded.

use std::sync::Arc;
use std::time::Duration;

use model::seams::FixBudget;
use model::{AppName, Principal, Remedy, Timestamp};

/// Computations for one principal and app in one [`PERIOD`].
pub const MAX_PER_MINUTE: u32 = 20;
/// How long a count lasts, from its first computation.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// Pairs of principal and app that are remembered.
pub const MAX_ENTRIES: usize = 65_536;

#[derive(Clone)]
struct Entry {
    began: Timestamp,
    count: u32,
    last: Arc<[Remedy]>,
}

/// The counts of all principals.
#[derive(Default)]
pub struct FixCounts {
    entries: papaya::HashMap<(Principal, AppName), Entry>,
}

impl Entry {
    fn is_current(&self, now: Timestamp) -> bool {
        // A clock that was set back neither keeps a count for ever nor frees it at once.
        now.since(self.began) < PERIOD && self.began.since(now) < PERIOD
    }
}

impl FixCounts {
    /// How many pairs are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the map bounded: what is over goes first; a flood within one minute starts everybody afresh.
    fn make_room(&self, now: Timestamp) {
        if self.entries.len() < MAX_ENTRIES {
            return;
        }
        let entries = self.entries.pin();
        entries.retain(|_, entry| entry.is_current(now));
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
    }
}

impl FixBudget for FixCounts {
    fn exhausted(&self, principal: &Principal, app: &AppName, now: Timestamp) -> Option<Arc<[Remedy]>> {
        if self.entries.is_empty() {
            return None;
        }
        let entries = self.entries.pin();
        let entry = entries.get(&(principal.clone(), app.clone()))?;
        (entry.is_current(now) && entry.count >= MAX_PER_MINUTE).then(|| Arc::clone(&entry.last))
    }

    fn computed(&self, principal: &Principal, app: &AppName, fix: &[Remedy], now: Timestamp) {
        self.make_room(now);
        let last: Arc<[Remedy]> = Arc::from(fix);
        let next = |entry: &Entry| match entry.is_current(now) {
            true => Entry { began: entry.began, count: entry.count.saturating_add(1), last: Arc::clone(&last) },
            false => Entry { began: now, count: 1, last: Arc::clone(&last) },
        };
        let first = || Entry { began: now, count: 1, last: Arc::clone(&last) };
        self.entries.pin().update_or_insert_with((principal.clone(), app.clone()), next, first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::UserId;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn person(id: u128) -> Principal {
        Principal::User(UserId(Uuid::from_u128(id)))
    }

    #[test]
    fn the_twenty_first_answer_of_a_minute_repeats_the_last() {
        let counts = FixCounts::default();
        let (me, wiki) = (person(1), AppName::new("wiki"));
        for asked in 0..MAX_PER_MINUTE {
            assert_eq!(counts.exhausted(&me, &wiki, NOW), None, "{asked}");
            let fix = if asked + 1 == MAX_PER_MINUTE { vec![Remedy::Passkey] } else { Vec::new() };
            counts.computed(&me, &wiki, &fix, NOW);
        }
        assert_eq!(counts.exhausted(&me, &wiki, NOW).as_deref(), Some(&[Remedy::Passkey][..]));
        assert_eq!(counts.exhausted(&person(2), &wiki, NOW), None, "somebody else's count");
        assert_eq!(counts.exhausted(&me, &AppName::new("payroll"), NOW), None, "another app");
        assert_eq!(counts.exhausted(&me, &wiki, NOW + PERIOD), None, "the minute is over");
        counts.computed(&me, &wiki, &[], NOW + PERIOD);
        assert_eq!(counts.exhausted(&me, &wiki, NOW + PERIOD), None, "a new minute counts from one");
    }

    #[test]
    fn a_flood_of_pairs_stays_within_its_limit() {
        let counts = FixCounts::default();
        let wiki = AppName::new("wiki");
        for id in 0..MAX_ENTRIES as u128 + 10 {
            counts.computed(&person(id), &wiki, &[], NOW);
            assert!(counts.len() <= MAX_ENTRIES);
        }
        assert!(!counts.is_empty());
    }
}
