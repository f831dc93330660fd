//! Watching the clock (AUD-13): the wall clock against the monotonic one, and what the kernel says of both. Pure: whoever
//! watches brings the readings. Records are in order by number, whatever the clock does; this says what it did.

use std::sync::Arc;
use std::time::Duration;

use model::record::{AuditRecord, RecordType};
use model::{AccessId, Timestamp};

use crate::alerts::{AlertKind, Alerts};

/// A step of the wall clock by more than this is recorded.
pub const MAX_STEP: Duration = Duration::from_secs(1);
/// How often the clocks are compared.
pub const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the kernel is asked.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// What happened to the clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClockEvent {
    /// It moved by this much more than time did.
    Jumped {
        /// Nanoseconds; negative is backwards.
        by: i128,
        /// What it said before.
        from: Timestamp,
        /// What it says now.
        to: Timestamp,
    },
    /// The kernel does not vouch for it any more.
    Unsynchronised {
        /// The most it may be wrong.
        max_error: Duration,
    },
    /// The kernel vouches for it again, or for the first time.
    Synchronised {
        /// The most it may be wrong.
        max_error: Duration,
    },
}

impl ClockEvent {
    fn text(&self) -> String {
        match self {
            ClockEvent::Jumped { by, from, to } => {
                let millis = by / 1_000_000;
                let (sign, size) = (if *by < 0 { '-' } else { '+' }, millis.unsigned_abs());
                format!("the wall clock was set by {sign}{}.{:03} s, from {from} to {to}", size / 1_000, size % 1_000)
            }
            ClockEvent::Unsynchronised { max_error } => {
                format!("the kernel does not hold the clock synchronised; it may be wrong by {max_error:?}")
            }
            ClockEvent::Synchronised { max_error } => {
                format!("the kernel holds the clock synchronised to {max_error:?}")
            }
        }
    }

    /// Raises or clears the alert for it and makes its record.
    pub fn tell(&self, alerts: &Alerts, access_id: AccessId, now: Timestamp) -> AuditRecord {
        let text = self.text();
        match self {
            ClockEvent::Jumped { .. } => {
                alerts.raise(AlertKind::ClockJump, &text);
                // It happened and is over.
                alerts.clear(AlertKind::ClockJump);
            }
            ClockEvent::Unsynchronised { .. } => alerts.raise(AlertKind::ClockUnsynchronised, &text),
            ClockEvent::Synchronised { .. } => alerts.clear(AlertKind::ClockUnsynchronised),
        }
        let mut record = AuditRecord::new(RecordType::SystemClock, access_id, now, "system");
        record.change.object_kind = Some("clock");
        record.change.change = Some(Arc::from(text));
        record
    }
}

/// What was read last.
#[derive(Default)]
pub struct ClockWatch {
    last: Option<(Timestamp, Duration)>,
    is_synchronised: Option<bool>,
}

impl ClockWatch {
    /// Compares the clocks: `monotonic` since any fixed moment.
    pub fn compare(&mut self, wall: Timestamp, monotonic: Duration) -> Option<ClockEvent> {
        let (from, before) = self.last.replace((wall, monotonic))?;
        let passed = i128::try_from(monotonic.saturating_sub(before).as_nanos()).unwrap_or(i128::MAX);
        let by = i128::from(wall.0) - i128::from(from.0) - passed;
        (by.unsigned_abs() > MAX_STEP.as_nanos()).then_some(ClockEvent::Jumped { by, from, to: wall })
    }

    /// Takes what the kernel says; an event when that is new. That it is well at the start is no news.
    pub fn sample(&mut self, is_synchronised: bool, max_error: Duration) -> Option<ClockEvent> {
        let before = self.is_synchronised.replace(is_synchronised);
        match (before, is_synchronised) {
            (Some(false), true) => Some(ClockEvent::Synchronised { max_error }),
            (None | Some(true), false) => Some(ClockEvent::Unsynchronised { max_error }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn compare(watch: &mut ClockWatch, wall_ns: i64, monotonic_secs: u64) -> Option<String> {
        watch.compare(Timestamp(wall_ns), Duration::from_secs(monotonic_secs)).map(|event| event.text())
    }

    #[test]
    fn a_clock_that_is_set_is_told_once_and_with_its_sign() {
        let mut watch = ClockWatch::default();
        assert_eq!(compare(&mut watch, 0, 100), None, "the first reading says nothing");
        assert_eq!(compare(&mut watch, SECOND, 101), None);
        assert_eq!(compare(&mut watch, 3 * SECOND, 102), None, "a second is no jump");
        let forward = compare(&mut watch, 3_600 * SECOND, 103).unwrap();
        assert!(forward.starts_with("the wall clock was set by +3596.000 s, from "), "{forward}");
        assert_eq!(compare(&mut watch, 3_601 * SECOND, 104), None);
        let back = compare(&mut watch, 3_599 * SECOND + SECOND / 2, 105).unwrap();
        assert!(back.starts_with("the wall clock was set by -2.500 s, from "), "{back}");
    }

    #[test]
    fn a_watch_that_slept_long_sees_no_jump_when_both_clocks_went_on() {
        let mut watch = ClockWatch::default();
        compare(&mut watch, 0, 0);
        assert_eq!(compare(&mut watch, 900 * SECOND, 900), None);
    }

    #[test]
    fn what_the_kernel_says_is_news_only_when_it_changes() {
        let mut watch = ClockWatch::default();
        let error = Duration::from_millis(3);
        assert_eq!(watch.sample(true, error), None);
        assert_eq!(watch.sample(false, error), Some(ClockEvent::Unsynchronised { max_error: error }));
        assert_eq!(watch.sample(false, error), None);
        assert_eq!(watch.sample(true, error), Some(ClockEvent::Synchronised { max_error: error }));
        assert_eq!(ClockWatch::default().sample(false, error), Some(ClockEvent::Unsynchronised { max_error: error }));
    }
}
