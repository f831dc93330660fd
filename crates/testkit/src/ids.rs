//! Time and ids under the control of a test.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::{Clock, Ids, Timestamp};
use uuid::Uuid;

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct SimClock(AtomicI64);

impl SimClock {
    /// Where [`SimClock::default`] begins: 2026-11-01T12:00:00Z, a Sunday.
    pub const START: Timestamp = Timestamp(1_793_534_400_000_000_000);

    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Shows `now` from here on; backwards too, as real clocks do.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves on, and gives the new time.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let now = self.now() + by;
        self.set(now);
        now
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::at(Self::START)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Ids and "randomness" that are the same in every run and never the same twice in one. Two of them with different
/// seeds give different values.
#[derive(Debug, Default)]
pub struct SeqIds {
    seed: u64,
    next: AtomicU64,
}

impl SeqIds {
    /// A sequence of its own.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }

    fn step(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }
}

impl Ids for SeqIds {
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.0.div_euclid(1_000_000)).unwrap_or(0);
        let mut random = [0; 10];
        let (seed, count) = random.split_at_mut(2);
        seed.copy_from_slice(&(self.seed as u16).to_be_bytes());
        count.copy_from_slice(&self.step().to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = mix(self.seed.rotate_left(32) ^ self.step()).to_be_bytes();
            let (word, _) = word.split_at(chunk.len());
            chunk.copy_from_slice(word);
        }
    }
}

/// SplitMix64's output function: a bijection, so that different steps give different words.
fn mix(step: u64) -> u64 {
    let mut z = step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_told() {
        let clock = SimClock::default();
        assert_eq!(clock.now(), SimClock::START);
        assert_eq!(SimClock::START.to_string(), "2026-11-01T12:00:00.000Z");
        assert_eq!(clock.advance(Duration::from_secs(5)), SimClock::START + Duration::from_secs(5));
        clock.set(Timestamp(1));
        assert_eq!(clock.now(), Timestamp(1));
    }

    #[test]
    fn ids_are_valid_ordered_and_never_repeat() {
        let ids = SeqIds::default();
        let made: Vec<Uuid> = (0..1000).map(|_| ids.uuid_v7(SimClock::START)).collect();
        assert!(made.iter().all(|id| id.get_version_num() == 7));
        assert!(made.is_sorted());
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), made.len());
        assert_ne!(SeqIds::seeded(1).uuid_v7(SimClock::START), SeqIds::seeded(2).uuid_v7(SimClock::START));
    }

    #[test]
    fn randomness_repeats_between_runs_but_not_within_one() {
        let (one, other) = (SeqIds::seeded(3), SeqIds::seeded(3));
        let draw = |ids: &SeqIds| {
            let mut bytes = [0; 21];
            ids.fill_random(&mut bytes);
            bytes
        };
        let first = draw(&one);
        assert_eq!(first, draw(&other));
        assert_ne!(first, draw(&one));
    }
}
