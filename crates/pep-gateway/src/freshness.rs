//! How long ago the control loop last said that it lives (GW-47).
//!
//! Ages are monotonic: setting the clock makes nothing fresh and nothing stale. Not here: what closes then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time since the last heartbeat.
pub(crate) struct Freshness {
    began: Instant,
    /// Milliseconds from `began` to the newest heartbeat.
    heard: AtomicU64,
}

impl Freshness {
    /// Fresh from the start: a door opens with a snapshot just made.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), heard: AtomicU64::new(0) }
    }

    /// What the door knows is current.
    pub(crate) fn stamp(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.fetch_max(millis, Ordering::Relaxed);
    }

    /// Whether facts are older than `limit`.
    pub(crate) fn is_past(&self, limit: Duration) -> bool {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed))) > limit
    }
}
