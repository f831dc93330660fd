//! The real clock and the real randomness: the only place that has them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Clock, Ids, Timestamp};

/// The wall clock, never running backwards within the process.
#[derive(Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = self.wall().0;
        Timestamp(self.latest.fetch_max(nanos, Ordering::Relaxed).max(nanos))
    }

    fn wall(&self) -> Timestamp {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn uuid_v7(&self, now: Timestamp) -> uuid::Uuid {
        let mut random = [0u8; 10];
        self.fill_random(&mut random);
        let millis = u64::try_from(now.0.div_euclid(1_000_000)).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // Without randomness no secret can be made; going on would make guessable ones.
            tracing::error!(%error, "the operating system gives no randomness; stopping");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let (early, late) = (Timestamp::from_unix_secs(1_000), Timestamp::from_unix_secs(2_000));
        let (a, b) = (SystemIds.uuid_v7(early), SystemIds.uuid_v7(late));
        assert_eq!(a.get_version_num(), 7);
        assert!(a < b);
    }
}
