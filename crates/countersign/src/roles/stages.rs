//! How long each stage of a start takes, told at debug level: `RUST_LOG=countersign=debug countersign serve …`. It measures
//! and decides nothing.

use std::time::{Duration, Instant};

/// Tells of one stage after another.
pub struct Stages {
    since: Instant,
}

impl Stages {
    /// The first stage begins now.
    pub fn begin() -> Self {
        Self { since: Instant::now() }
    }

    /// This stage is over, and the next begins.
    pub fn done(&mut self, stage: &'static str) {
        let now = Instant::now();
        tracing::debug!(stage, ms = millis(now.duration_since(self.since)), "a stage of the start is done");
        self.since = now;
    }
}

/// Milliseconds with one decimal place.
pub fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}
