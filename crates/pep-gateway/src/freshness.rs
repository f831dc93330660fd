//! How long ago the control loop last said that it lives (GW-47).
//!
//! Ages are monotonic: setting the clock makes nothing fresh and nothing stale. Not here: what closes then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time since the last heartbeat.
pub(crate) struct Freshness {
    began: Instant,
    /// Milliseconds that what the door began with was old already.
    older: AtomicU64,
    /// Milliseconds from `began` to the newest heartbeat.
    heard: AtomicU64,
}

impl Freshness {
    /// Fresh from the start: a door opens with a snapshot just made.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), older: AtomicU64::new(0), heard: AtomicU64::new(0) }
    }

    /// The door began with something of this age; counts until the first heartbeat.
    pub(crate) fn begin_older(&self, age: Duration) {
        self.older.store(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What the door knows is current.
    pub(crate) fn stamp(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(millis, Ordering::Relaxed);
        self.older.store(0, Ordering::Relaxed);
    }

    /// Whether facts are older than `limit`.
    pub(crate) fn is_past(&self, limit: Duration) -> bool {
        let since = self.began.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)));
        since.saturating_add(Duration::from_millis(self.older.load(Ordering::Relaxed))) > limit
    }
}
