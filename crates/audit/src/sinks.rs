//! Sinks: where the record goes beside the log (AUD-20, AUD-38). Each follows the log from its own durable cursor, in its own
//! time; what it cannot deliver waits on disk, in the log.
//!
//! Not here: the network ([`Sink`] is implemented where sockets are). Invariants: nothing on the way of a request knows of
//! sinks or waits for one; every record reaches a sink at least once, in order, or is in its dead-letter file with the cause;
//! only what is durable in the log is delivered, so that a number a receiver has seen never stands for another record; sealed
//! columns stay sealed.

mod cursor;
mod feed;
pub mod file;
mod run;
pub mod signature;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use model::record::RecordType;
use model::{BoxFuture, Clock, Ids, Timestamp};
use tokio::sync::watch;

use crate::alerts::{AlertKind, Alerts};
use crate::log::{AuditLog, Shared};
use crate::render::quoted;

/// The longest pause between two tries.
pub const MAX_PAUSE: Duration = Duration::from_secs(300);
/// The shortest.
pub const MIN_PAUSE: Duration = Duration::from_millis(50);
/// How long one try may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The dead-letter file of a sink grows no further; the sink waits then.
pub const MAX_DEAD_BYTES: u64 = 64 * 1024 * 1024;
/// So many records refused one after the other are the receiver's fault, not theirs: the sink waits then.
pub const MAX_DEAD_IN_ROW: u32 = 16;
/// Bytes kept of what went wrong.
const MAX_CAUSE_BYTES: usize = 300;

/// What is delivered at once: one JSON object per line, as `audit query --json` prints records.
pub struct Batch {
    /// The same whenever the same records are tried again.
    pub id: String,
    /// The first record's number.
    pub first_seq: u64,
    /// The last record's number.
    pub last_seq: u64,
    /// How many.
    pub records: usize,
    /// The lines, each with its line feed.
    pub lines: Vec<u8>,
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Not now: try again, not sooner than asked.
    #[error("{cause}")]
    Later {
        /// In words; holds no secret.
        cause: String,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// Something in it is not taken, now or ever.
    #[error("{cause}")]
    Rejected {
        /// In words.
        cause: String,
    },
    /// Whoever runs the sink has to do something; an alert at once.
    #[error("{cause}")]
    Stopped {
        /// In words.
        cause: String,
    },
    /// It is too much at once.
    #[error("{cause}")]
    TooLarge {
        /// In words.
        cause: String,
    },
}

/// A receiver of batches. Dropping the future gives up the try; the batch is given again.
pub trait Sink: Send + Sync {
    /// Hands the batch over. `Ok` means the receiver has it for good.
    ///
    /// # Errors
    /// As [`SinkError`] says.
    fn deliver<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>>;
}

/// How a sink is served.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// 1 to 63 of `a-z`, `0-9` and `-`; names its files.
    pub name: String,
    /// `file`, `webhook` …
    pub kind: &'static str,
    /// Where it delivers to, for people; without secrets.
    pub target: String,
    /// Types of records; empty for all.
    pub types: Vec<RecordType>,
    /// A sink without a cursor begins with the oldest record there is, not with the next one.
    pub is_from_start: bool,
    /// Most records of a batch.
    pub batch_records: usize,
    /// A batch ends with the record that reaches so many bytes.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub batch_age: Duration,
    /// Nothing delivered for so long, with something to deliver, is an alert.
    pub alert_after: Duration,
}

/// How a sink is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// Where it delivers to.
    pub target: String,
    /// The record it goes on with; `None` until its cursor was read.
    pub next_seq: Option<u64>,
    /// How many records it is behind.
    pub lag: u64,
    /// Records delivered since the start of the process.
    pub delivered: u64,
    /// When it last took something.
    pub last_delivered: Option<Timestamp>,
    /// How long a batch has been waiting to be taken.
    pub waiting: Option<Duration>,
    /// There is an alert about it.
    pub is_failing: bool,
    /// What went wrong last, until something goes well.
    pub last_error: Option<String>,
    /// Records in its dead-letter file since the start of the process.
    pub dead_letters: u64,
    /// Records that could not be read from the log.
    pub unreadable: u64,
}

#[derive(Default)]
struct State {
    next_seq: Option<u64>,
    delivered: u64,
    last_delivered: Option<Timestamp>,
    waiting_since: Option<Instant>,
    is_stopped: bool,
    last_error: Option<String>,
    dead_letters: u64,
    unreadable: u64,
}

struct Entry {
    settings: SinkSettings,
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
}

/// All sinks of a log.
pub struct Sinks {
    shared: Arc<Shared>,
    alerts: Arc<Alerts>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    dir: PathBuf,
    entries: Vec<Arc<Entry>>,
    is_hung: watch::Sender<bool>,
}

impl Sinks {
    /// Of `log`, with their cursors and dead letters in `dir`, which is made when missing. Nothing happens before
    /// [`Self::run`].
    pub fn new(log: &AuditLog, dir: PathBuf, sinks: Vec<(SinkSettings, Arc<dyn Sink>)>) -> Arc<Self> {
        let entry = |(settings, sink)| Arc::new(Entry { settings, sink, state: Mutex::default() });
        let (alerts, clock, ids) = log.surroundings();
        Arc::new(Self {
            shared: Arc::clone(&log.shared),
            alerts,
            clock,
            ids,
            dir,
            entries: sinks.into_iter().map(entry).collect(),
            is_hung: watch::Sender::new(false),
        })
    }

    /// How they are, in the order of the configuration.
    pub fn status(&self) -> Vec<SinkStatus> {
        self.entries.iter().map(|entry| self.status_of(entry)).collect()
    }

    /// Hands one marked line to a sink, at once and beside what waits. `None`: there is no such sink.
    pub async fn test(&self, name: &str) -> Option<Result<String, SinkError>> {
        let entry = self.entries.iter().find(|entry| entry.settings.name == name)?;
        let (now, mark) = (self.clock.now(), model::AccessId(self.ids.uuid_v7(self.clock.now())));
        let line = format!(
            "{{\"uid\":{},\"type\":\"audit.sink_test\",\"time\":{},\"sink\":{}}}",
            quoted(&format!("test/{mark}")),
            quoted(&now.to_string()),
            quoted(name),
        );
        let batch = Batch::of("test", &[Line { seq: 0, text: line }]);
        Some(self.attempt(entry, &batch).await.map(|()| format!("test/{mark}")))
    }

    /// Makes every delivery hang, or go on: for the drill (AUD-21).
    pub fn hang(&self, is_hung: bool) {
        self.is_hung.send_replace(is_hung);
    }

    fn status_of(&self, entry: &Entry) -> SinkStatus {
        let end = *self.shared.synced.borrow();
        let state = entry.lock();
        let lag = state.next_seq.map_or(0, |next| end.saturating_sub(next));
        let waiting = state.waiting_since.map(|since| since.elapsed());
        let is_failing = state.is_stopped || waiting.is_some_and(|waiting| waiting >= entry.settings.alert_after);
        SinkStatus {
            name: entry.settings.name.clone(),
            kind: entry.settings.kind,
            target: entry.settings.target.clone(),
            next_seq: state.next_seq,
            lag,
            delivered: state.delivered,
            last_delivered: state.last_delivered,
            waiting,
            is_failing,
            last_error: state.last_error.clone(),
            dead_letters: state.dead_letters,
            unreadable: state.unreadable,
        }
    }

    /// Raises what has to be said, and takes it back.
    fn look(&self) {
        let failing: Vec<SinkStatus> = self.status().into_iter().filter(|status| status.is_failing).collect();
        if failing.is_empty() {
            self.alerts.clear(AlertKind::SinkFailing);
            return;
        }
        let said = failing.iter().map(|status| {
            let waiting = status.waiting.map(|waiting| waiting.as_secs()).unwrap_or_default();
            let cause = status.last_error.as_deref().unwrap_or("it does not answer");
            format!("`{}`: nothing taken for {waiting} s, {} records behind: {cause}", status.name, status.lag)
        });
        self.alerts.raise(AlertKind::SinkFailing, &said.collect::<Vec<_>>().join("; "));
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, cause: &str, is_stopped: bool) {
        let cut = cause.get(..cause.floor_char_boundary(MAX_CAUSE_BYTES)).unwrap_or_default().to_owned();
        let mut state = self.lock();
        let is_new = state.last_error.as_ref() != Some(&cut);
        state.waiting_since.get_or_insert_with(Instant::now);
        (state.is_stopped, state.last_error) = (is_stopped, Some(cut.clone()));
        drop(state);
        if is_new {
            tracing::warn!(sink = self.settings.name, cause = cut, "a sink of the record takes nothing");
        }
    }

    fn went_well(&self) {
        let mut state = self.lock();
        (state.waiting_since, state.is_stopped, state.last_error) = (None, false, None);
    }
}

/// A record on its way.
struct Line {
    seq: u64,
    text: String,
}

impl Batch {
    fn of(origin: &str, lines: &[Line]) -> Self {
        let (first_seq, last_seq) = (lines.first().map_or(0, |line| line.seq), lines.last().map_or(0, |line| line.seq));
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.text.len().saturating_add(1)).sum());
        for line in lines {
            bytes.extend_from_slice(line.text.as_bytes());
            bytes.push(b'\n');
        }
        let name = format!("{origin} {first_seq} {last_seq} {}", lines.first().map_or("", |line| line.text.as_str()));
        let hash = digest::digest(&digest::SHA256, name.as_bytes());
        let id = data_encoding::HEXLOWER.encode(hash.as_ref().get(..16).unwrap_or_default());
        Self { id: format!("batch_{id}"), first_seq, last_seq, records: lines.len(), lines: bytes }
    }
}
