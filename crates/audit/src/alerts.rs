//! What is wrong with the record, for the process log, the record itself, `countersign status` and the console (AUD-18,
//! AUD-19, AUD-13).
//!
//! Invariants: one entry per kind, so the list is bounded; its counts are exact, also where lines and records about it
//! are held back; an alert is said when it begins, and while it lasts at most once in [`REPEAT`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Clock, Timestamp};

/// How often an alert that lasts is said again.
pub const REPEAT: Duration = Duration::from_secs(3_600);
/// How often a kind that comes and goes is said at most.
pub const MIN_PAUSE: Duration = Duration::from_secs(10);
/// How many alerts wait to be recorded; an older one gives way and stays in the list.
pub const MAX_UNRECORDED: usize = 64;
/// Bytes of detail kept.
const MAX_DETAIL_BYTES: usize = 512;

macro_rules! alert_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $todo:literal;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum AlertKind {
            $($(#[$doc])* $variant,)*
        }

        impl AlertKind {
            /// Every kind.
            pub const ALL: &'static [AlertKind] = &[$(AlertKind::$variant,)*];

            /// The name, e.g. `disk_full`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(AlertKind::$variant => $text,)*
                }
            }

            /// What to do about it.
            pub fn what_to_do(self) -> &'static str {
                match self {
                    $(AlertKind::$variant => $todo,)*
                }
            }
        }
    };
}

alert_kinds! {
    /// A write or sync failed: no room.
    DiskFull = "disk_full", "free space on the disk of the log; it goes on by itself";
    /// A write or sync failed otherwise.
    DiskError = "disk_error", "look at the disk (`dmesg`); the log goes on by itself when it writes again";
    /// Nothing came back from the disk in time.
    DiskHung = "disk_hung", "look at the disk or the file server under it; the log goes on by itself when it answers";
    /// Blank segments cannot be laid in any more.
    ReservesShort = "reserves_short", "free space on the disk of the log: what is in reserve is being used up";
    /// A file of the log has no name any more.
    FileDeleted = "file_deleted", "find out who can delete in the folder of the log; run `countersign audit verify`";
    /// A file of the log is elsewhere.
    FileMoved = "file_moved", "find out who can rename in the folder of the log; run `countersign audit verify`";
    /// Another file stands under the name of one of the log's.
    FileReplaced = "file_replaced", "compare it with the `aside-` file beside it; run `countersign audit verify`";
    /// A file of the log is shorter than it was.
    FileTruncated = "file_truncated", "find out who can write in the folder of the log; run `countersign audit verify`";
    /// What stands in a file is not what was written.
    FileDamaged = "file_damaged", "look at the disk, and at who can write there; run `countersign audit verify`";
    /// Records are missing.
    Gap = "gap", "see the `audit.gap` record for what is missing and why; restore the file if there is a copy";
    /// Free space is below the critical mark.
    SpaceCritical = "space_critical", "free space on the disk of the log now: soon requests are refused";
    /// Free space is below the first mark.
    SpaceLow = "space_low", "free space on the disk of the log, or move old segments away";
    /// A sink takes nothing (AUD-20).
    SinkFailing = "sink_failing", "`countersign audit sink list` says why; what it has not taken waits in the log";
    /// The wall clock moved against the monotonic one.
    ClockJump = "clock_jump", "look at who sets the clock; records are in order by number, not by time";
    /// The kernel does not hold the clock synchronised.
    ClockUnsynchronised = "clock_unsynchronised", "start a time service (chrony, systemd-timesyncd); records are flagged";
}

impl AlertKind {
    /// Whether somebody did this, rather than something failed.
    pub fn is_tampering(self) -> bool {
        use AlertKind as K;
        matches!(self, K::FileDeleted | K::FileMoved | K::FileReplaced | K::FileTruncated | K::FileDamaged)
    }
}

/// One kind of trouble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// What.
    pub kind: AlertKind,
    /// Whether it is so now.
    pub is_active: bool,
    /// When this bout began.
    pub since: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// How often it was seen since the process started.
    pub count: u64,
    /// Which file, how much space …
    pub detail: Arc<str>,
}

struct Entry {
    alert: Alert,
    said: Timestamp,
    /// Whether this bout was said, not only one before it.
    is_bout_said: bool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<AlertKind, Entry>,
    unrecorded: VecDeque<Alert>,
}

/// The list.
pub struct Alerts {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Alerts {
    /// Nothing is wrong.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// This is wrong now.
    pub fn raise(&self, kind: AlertKind, detail: &str) {
        let now = self.clock.now();
        let detail: Arc<str> =
            Arc::from(detail.get(..detail.floor_char_boundary(MAX_DETAIL_BYTES)).unwrap_or_default());
        let mut state = self.lock();
        let alert = match state.entries.get_mut(&kind) {
            Some(entry) => {
                let is_new = !entry.alert.is_active;
                let alert = &mut entry.alert;
                alert.count = alert.count.saturating_add(1);
                (alert.is_active, alert.last) = (true, now);
                if is_new {
                    alert.since = now;
                    entry.is_bout_said = false;
                }
                alert.detail = detail;
                let pause = if entry.is_bout_said { REPEAT } else { MIN_PAUSE };
                if now.since(entry.said) < pause {
                    return;
                }
                (entry.said, entry.is_bout_said) = (now, true);
                entry.alert.clone()
            }
            None => {
                let alert = Alert { kind, is_active: true, since: now, last: now, count: 1, detail };
                state.entries.insert(kind, Entry { alert: alert.clone(), said: now, is_bout_said: true });
                alert
            }
        };
        if state.unrecorded.len() >= MAX_UNRECORDED {
            state.unrecorded.pop_front();
        }
        state.unrecorded.push_back(alert.clone());
        drop(state);
        tracing::error!(alert = kind.as_str(), detail = %alert.detail, "audit log: {}", kind.what_to_do());
    }

    /// This is not so any more.
    pub fn clear(&self, kind: AlertKind) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&kind).filter(|entry| entry.alert.is_active) {
            entry.alert.is_active = false;
            drop(state);
            tracing::info!(alert = kind.as_str(), "audit log: over");
        }
    }

    /// Everything that was wrong since the process started, what is wrong now first, the latest first.
    pub fn list(&self) -> Vec<Alert> {
        let mut all: Vec<Alert> = self.lock().entries.values().map(|entry| entry.alert.clone()).collect();
        all.sort_by(|a, b| b.is_active.cmp(&a.is_active).then(b.last.cmp(&a.last)).then(a.kind.cmp(&b.kind)));
        all
    }

    /// Whether this is so now.
    pub fn is_active(&self, kind: AlertKind) -> bool {
        self.lock().entries.get(&kind).is_some_and(|entry| entry.alert.is_active)
    }

    /// The oldest that the record does not speak of.
    pub(crate) fn next_unrecorded(&self) -> Option<Alert> {
        self.lock().unrecorded.front().cloned()
    }

    /// The record speaks of it now.
    pub(crate) fn is_recorded(&self, alert: &Alert) {
        let mut state = self.lock();
        if state.unrecorded.front() == Some(alert) {
            state.unrecorded.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    impl Hand {
        fn forward(&self, by: Duration) {
            self.0.fetch_add(by.as_nanos() as i64, Ordering::SeqCst);
        }
    }

    fn said(alerts: &Alerts) -> usize {
        let mut count = 0;
        while let Some(alert) = alerts.next_unrecorded() {
            alerts.is_recorded(&alert);
            count += 1;
        }
        count
    }

    #[test]
    fn an_alert_that_lasts_is_counted_every_time_and_said_once_an_hour() {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let alerts = Alerts::new(clock.clone());
        for _ in 0..7_200 {
            alerts.raise(AlertKind::SpaceLow, "19 %");
            clock.forward(Duration::from_secs(1));
        }
        assert_eq!(said(&alerts), 2);
        let list = alerts.list();
        assert_eq!((list.len(), list[0].count, list[0].is_active), (1, 7_200, true));
        assert_eq!(list[0].since, Timestamp(0));
    }

    #[test]
    fn an_alert_that_flaps_does_not_flood_the_record() {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let alerts = Alerts::new(clock.clone());
        for _ in 0..100 {
            alerts.raise(AlertKind::DiskError, "x");
            alerts.clear(AlertKind::DiskError);
            clock.forward(Duration::from_millis(100));
        }
        assert_eq!(said(&alerts), 1);
        assert_eq!(alerts.list()[0].count, 100);
        clock.forward(MIN_PAUSE);
        alerts.raise(AlertKind::DiskError, "again");
        assert_eq!(said(&alerts), 1);
    }

    #[test]
    fn an_alert_that_comes_back_at_once_and_stays_is_said_soon_and_not_after_an_hour() {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let alerts = Alerts::new(clock.clone());
        alerts.raise(AlertKind::DiskError, "x");
        alerts.clear(AlertKind::DiskError);
        for _ in 0..60 {
            clock.forward(Duration::from_secs(1));
            alerts.raise(AlertKind::DiskError, "y");
        }
        assert_eq!(said(&alerts), 2);
    }

    #[test]
    fn what_waits_to_be_recorded_is_bounded_and_details_are_cut() {
        let clock = Arc::new(Hand(AtomicI64::new(0)));
        let alerts = Alerts::new(clock.clone());
        for _ in 0..MAX_UNRECORDED + 10 {
            alerts.raise(AlertKind::Gap, &"é".repeat(2_000));
            clock.forward(REPEAT);
        }
        assert_eq!(said(&alerts), MAX_UNRECORDED);
        assert!(alerts.list()[0].detail.len() <= MAX_DETAIL_BYTES);
    }
}
