//! The log: takes records from everybody, gives each a sequence number, and keeps them in segments (AUD-15 to
//! AUD-17; ).
//!
//! Not here: what a record looks like ([`crate::entry`]) and how it is found again ([`crate::query`]). Three threads belong
//! to a log: the committer, which alone writes records, the keeper, which lays in blank segments and daily keys, and the
//! watch, which looks after the files. They end when the log is dropped.
//!
//! Invariants: a sequence number is given once, also across damage; one process at a time holds a directory; after
//! [`ANSWER_TIMEOUT`] every caller has an answer.

mod committer;
pub mod disk;
pub mod faults;
mod intake;
mod janitor;
mod ladder;
mod mend;
mod own_records;
mod queue;
pub(crate) mod reader;
mod recover;
mod reserve;
pub(crate) mod segment;
pub(crate) mod tree;
pub(crate) mod walk;
mod watch;
mod writer;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use model::record::AuditRecord;
use model::seams::{Durability, RecordError, Recorded};
use model::{AccessId, BoxFuture, Clock, Ids, Recorder};
use tokio::sync::watch as channel;

use crate::alerts::{Alert, AlertKind, Alerts};
use crate::entry::MAX_ORIGIN_BYTES;
use crate::index::HotIndex;
use crate::keyring::{DailyKeyStore, KeyStoreError, Keyring, SubjectKeys};
use crate::mask::PathMask;
use committer::Committer;
pub use committer::SYNC_INTERVAL;
use disk::{Disk, OsDisk};
use faults::{Faults, FaultyDisk};
pub use intake::CLOCK_UNSYNCHRONISED;
use intake::Intake;
use janitor::Janitor;
pub use janitor::SILENT_FOR;
use ladder::Ladder;
pub use ladder::{OnFailure, Rung, STUCK_AFTER, Unkept};
use mend::Mended;
pub use own_records::{LOG_DOOR, least_durability};
use own_records::{abandoned_accesses, gap_record};
use queue::Queue;
pub use queue::{MAX_QUEUE_BYTES, ROOM_TIMEOUT};
use reader::Segment;
use reserve::Reserves;
pub use segment::MIN_SEGMENT_BYTES;
pub use walk::Hole;
pub use watch::{CHECK_INTERVAL, SpaceMarks};
use watch::{Reread, Stop, Watch};
use writer::{Tip, Writer, Written};

/// How long a caller waits for its answer once the record is queued.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest segment.
pub const MAX_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;
const LOCK_FILE: &str = "lock";

/// Where a log is and how it is laid out.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The directory; made when missing.
    pub dir: PathBuf,
    /// `<audit.origin>/<node>`, no spaces or `+`; the epoch is appended (AUD-33).
    pub origin: String,
    /// Bytes of a segment: 64 MiB, in the demo 4 MiB.
    pub segment_bytes: u64,
    /// Blank segments kept ready: 4, in the demo 1.
    pub reserves: usize,
    /// How many records may wait for the committer.
    pub queue_records: usize,
    /// How many recent records the hot index holds.
    pub hot_rows: usize,
    /// Parts of paths that are never recorded, whichever door they come from (AUD-10).
    pub masks: Arc<[PathMask]>,
    /// What becomes of standard accesses while the log cannot write (AUD-18).
    pub on_failure: OnFailure,
    /// When free space is an alert.
    pub space_marks: SpaceMarks,
}

impl LogConfig {
    /// The product's defaults for a directory and an origin.
    pub fn new(dir: PathBuf, origin: String) -> Self {
        Self {
            dir,
            origin,
            segment_bytes: 64 * 1024 * 1024,
            reserves: 4,
            queue_records: 4_096,
            hot_rows: 100_000,
            masks: Arc::new([]),
            on_failure: OnFailure::Deny,
            space_marks: SpaceMarks::default(),
        }
    }
}

/// What the log needs from outside.
#[derive(Clone)]
pub struct LogSeams {
    /// Tells the time of records the log makes itself.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Keys of people.
    pub subject_keys: Arc<dyn SubjectKeys>,
    /// Keys of days.
    pub daily_keys: Arc<dyn DailyKeyStore>,
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("another process has the audit log in `{0}` open; stop it or give this one another directory")]
    InUse(PathBuf),
    /// The origin cannot stand in a checkpoint.
    #[error(
        "`{0}` is not a log origin; give 1 to 200 bytes without spaces, control characters or `+`, like `log.example/node1`"
    )]
    Origin(String),
    /// The segment size is out of range.
    #[error("`{0}` bytes is no segment size; give {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}")]
    SegmentSize(u64),
    /// The disk.
    #[error("the audit log in `{dir}` does not open")]
    Disk {
        /// Where.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daily keys.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// What happened at the start could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What opening found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenReport {
    /// The log's origin with its epoch.
    pub origin: String,
    /// The next sequence number after everything the opening wrote.
    pub next_seq: u64,
    /// Bytes of a torn tail that were cut: a write that never ended and was never answered.
    pub cut_bytes: u64,
    /// Damage that closed the epoch before; each has an `audit.gap` record now.
    pub gaps: Vec<Hole>,
    /// Accesses of an earlier run that were closed as `unknown` (AUD-6).
    pub closed_accesses: usize,
}

/// What readers and the committer share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) keys: Keyring,
    pub(crate) index: HotIndex,
    pub(crate) segments: RwLock<Vec<Arc<Segment>>>,
    pub(crate) holes: RwLock<Vec<Hole>>,
    pub(crate) growth: channel::Sender<Growth>,
    /// The number after the last record that is durable.
    pub(crate) synced: channel::Sender<u64>,
}

/// How far the log has come.
#[derive(Clone, Copy)]
pub(crate) struct Growth {
    pub(crate) next_seq: u64,
    pub(crate) is_closed: bool,
}

impl Shared {
    fn publish(&self, written: Written) {
        if let Some(segment) = written.begun {
            self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
        }
        let next = written.rows.last().map(|row| row.seq.saturating_add(1));
        self.index.extend(written.rows);
        if let Some(next) = next {
            self.growth.send_modify(|growth| growth.next_seq = next);
        }
    }

    fn note_mended(&self, mended: &Mended) {
        if let Some(segment) = &mended.begun {
            self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment.clone());
        }
        self.holes.write().unwrap_or_else(PoisonError::into_inner).extend(mended.holes.iter().cloned());
    }
}

/// How the log is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Whether records are kept, and what becomes of accesses if not.
    pub rung: Rung,
    /// Free space in percent; `None` when the system does not say.
    pub free_percent: Option<u8>,
    /// Blank segments ready, and wanted.
    pub reserves: (usize, usize),
    /// What was not kept and is not recorded yet.
    pub unkept: Unkept,
    /// Everything that was wrong since the process started, what is wrong now first.
    pub alerts: Vec<Alert>,
}

/// An open log.
pub struct AuditLog {
    pub(crate) shared: Arc<Shared>,
    intake: Arc<Intake>,
    reserves: Arc<Reserves>,
    tip: Arc<Mutex<Tip>>,
    stop: Arc<Stop>,
    watch: Mutex<Option<JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    faults: Arc<Faults>,
    dir: PathBuf,
    /// Held until the log is closed; the system lets go of it when the process dies.
    lock: Mutex<Option<File>>,
}

impl AuditLog {
    /// Opens the log in `config.dir`, mends what a crash left, and says what it did. Blocks; call it off the runtime.
    ///
    /// # Errors
    /// When the directory is in use or the disk or key store fails. Nothing may be served then.
    pub fn open(config: &LogConfig, seams: LogSeams) -> Result<(Self, OpenReport), OpenError> {
        let disk_error = |source| OpenError::Disk { dir: config.dir.clone(), source };
        std::fs::create_dir_all(&config.dir).map_err(disk_error)?;
        let faults = Arc::new(Faults::default());
        let disk = Arc::new(FaultyDisk::new(OsDisk::new(&config.dir), Arc::clone(&faults)));
        let (mut log, report) = Self::open_on(disk, config, seams)?;
        log.faults = faults;
        Ok((log, report))
    }

    /// As [`Self::open`], on a disk of the caller's. The lock file is still taken in `config.dir`, which must exist.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: &LogConfig, seams: LogSeams) -> Result<(Self, OpenReport), OpenError> {
        check(config)?;
        let disk_error = |source| OpenError::Disk { dir: config.dir.clone(), source };
        let lock = lock(config)?;
        let keys = Keyring::open(seams.subject_keys, seams.daily_keys, seams.ids.clone())?;
        keys.tend(seams.clock.now())?;
        let reserves =
            Arc::new(Reserves::open(disk.clone(), config.segment_bytes, config.reserves).map_err(disk_error)?);
        let found = recover::recover(&*disk, &reserves, &config.origin, config.hot_rows).map_err(disk_error)?;
        // What a killed process wrote may not be durable yet.
        found.end.file.sync().map_err(disk_error)?;
        let abandoned = abandoned_accesses(&found.rows);
        let origin = found.end.origin.clone();
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            keys,
            index: HotIndex::new(config.hot_rows, found.rows, found.is_whole),
            segments: RwLock::new(found.segments),
            holes: RwLock::new(found.holes),
            growth: channel::Sender::new(Growth { next_seq: found.end.next_seq, is_closed: false }),
            synced: channel::Sender::new(found.end.next_seq),
        });
        let queue = Arc::new(Queue::new(config.queue_records));
        let alerts = Arc::new(Alerts::new(seams.clock.clone()));
        let ladder = Arc::new(Ladder::new(alerts, config.on_failure));
        let writer = Writer::new(disk, reserves.clone(), config.segment_bytes, found.end);
        let intake = Arc::new(Intake {
            shared: shared.clone(),
            queue,
            ladder,
            masks: config.masks.clone(),
            clock: seams.clock.clone(),
            ids: seams.ids.clone(),
            is_unsure_of_time: AtomicBool::new(false),
        });
        let log = Self {
            shared,
            intake,
            reserves,
            tip: writer.tip(),
            stop: Arc::default(),
            watch: Mutex::default(),
            threads: Mutex::default(),
            faults: Arc::default(),
            dir: config.dir.clone(),
            lock: Mutex::new(Some(lock)),
        };
        log.start(writer, config).map_err(disk_error)?;

        let now = seams.clock.now();
        for hole in &found.unrecorded {
            let access_id = AccessId(seams.ids.uuid_v7(now));
            log.append_blocking(gap_record(hole, access_id, now), Durability::Strict)?;
            log.intake.ladder.alerts.raise(AlertKind::Gap, &hole.to_string());
        }
        let closed_accesses = abandoned.len();
        for record in abandoned {
            log.append_blocking(AuditRecord { time: now, ..record }, Durability::Standard)?;
        }
        let next_seq = log.next_seq();
        let report =
            OpenReport { origin, next_seq, cut_bytes: found.cut_bytes, gaps: found.unrecorded, closed_accesses };
        Ok((log, report))
    }

    /// Appends and waits on this thread. Not for the runtime: see [`Recorder::append`].
    ///
    /// # Errors
    /// When the record may not be kept; the caller must refuse what it was about to do.
    pub fn append_blocking(&self, record: AuditRecord, durability: Durability) -> Result<Recorded, RecordError> {
        self.intake.append_blocking(record, durability)
    }

    /// How it is: for `countersign status` and the console.
    pub fn health(&self) -> Health {
        Health {
            rung: self.intake.ladder.rung(),
            free_percent: self.shared.disk.space().ok().map(|space| space.free_percent()),
            reserves: self.reserves.count(),
            unkept: self.intake.ladder.unkept(),
            alerts: self.alerts().list(),
        }
    }

    /// Whether it takes records.
    pub fn rung(&self) -> Rung {
        self.intake.ladder.rung()
    }

    /// What is wrong; others who look after the record raise theirs here.
    pub fn alerts(&self) -> &Alerts {
        &self.intake.ladder.alerts
    }

    /// What those who look after the record need beside it.
    pub(crate) fn surroundings(&self) -> (Arc<Alerts>, Arc<dyn Clock>, Arc<dyn Ids>) {
        let intake = &self.intake;
        (Arc::clone(&intake.ladder.alerts), Arc::clone(&intake.clock), Arc::clone(&intake.ids))
    }

    pub(crate) fn now(&self) -> model::Timestamp {
        self.intake.clock.now()
    }

    /// Whether the kernel vouches for the time; records say so when it does not (AUD-13).
    pub fn trust_time(&self, is_trusted: bool) {
        self.intake.is_unsure_of_time.store(!is_trusted, Ordering::Relaxed);
    }

    /// The directory it is in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.shared.disk
    }

    /// The file records go to now.
    pub(crate) fn current_file(&self) -> String {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).segment.file_name()
    }

    /// Where the newest record stands in it.
    pub(crate) fn newest_frame(&self) -> Option<u64> {
        self.tip.lock().unwrap_or_else(PoisonError::into_inner).last.map(|(offset, _)| offset)
    }

    /// Makes its disk fail: for the drill (AUD-21) and for tests.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Takes no more records, writes and syncs what waits, ends the threads and lets go of the directory. What is in the
    /// log can still be asked for.
    pub fn close(&self) {
        // The watch first: it may have something to write down.
        self.stop.ask();
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = watch.map(JoinHandle::join);
        self.intake.ladder.close();
        self.intake.queue.close();
        self.reserves.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread of ours that panicked has already said so.
            let _ = thread.join();
        }
        self.shared.growth.send_modify(|growth| growth.is_closed = true);
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The sequence number the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.shared.growth.borrow().next_seq
    }

    /// The oldest sequence number there is a segment for.
    pub fn first_seq(&self) -> u64 {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(0, |segment| segment.first_seq)
    }

    fn start(&self, writer: Writer, config: &LogConfig) -> io::Result<()> {
        let intake = self.intake.clone();
        let tip = self.tip.clone();
        let committer = Committer::new(intake.queue.clone(), self.shared.clone(), writer, intake.ladder.clone());
        let watch = Watch {
            intake: intake.clone(),
            reserves: self.reserves.clone(),
            tip,
            segment_bytes: config.segment_bytes,
            marks: config.space_marks,
            old: BTreeMap::new(),
            next_old: 0,
            reread: Reread::default(),
            janitor: Janitor::default(),
        };
        let reserves = self.reserves.clone();
        let keeper = move || {
            let tend = || {
                if let Err(error) = intake.shared.keys.tend(intake.clock.now()) {
                    tracing::error!(%error, "the daily keys of the audit log cannot be tended");
                }
            };
            let told = |laid_in: &io::Result<()>| match laid_in {
                Ok(()) => intake.ladder.alerts.clear(AlertKind::ReservesShort),
                Err(error) => intake.ladder.alerts.raise(AlertKind::ReservesShort, &error.to_string()),
            };
            reserves.run(tend, told);
        };
        let stop = self.stop.clone();
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread("audit-commit").spawn(move || committer.run())?);
        threads.push(thread("audit-keeper").spawn(keeper)?);
        drop(threads);
        let watch = thread("audit-watch").spawn(move || watch.run(&stop))?;
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        Ok(())
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Recorder for AuditLog {
    /// Must be polled on a tokio runtime with its timer on.
    fn append(&self, record: AuditRecord, durability: Durability) -> BoxFuture<'static, Result<Recorded, RecordError>> {
        self.intake.append(record, durability)
    }
}

fn check(config: &LogConfig) -> Result<(), OpenError> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '+';
    if config.origin.is_empty() || config.origin.len() > MAX_ORIGIN_BYTES - 56 || !config.origin.chars().all(is_plain) {
        return Err(OpenError::Origin(config.origin.chars().take(64).collect()));
    }
    if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&config.segment_bytes) {
        return Err(OpenError::SegmentSize(config.segment_bytes));
    }
    Ok(())
}

fn lock(config: &LogConfig) -> Result<File, OpenError> {
    let disk_error = |source| OpenError::Disk { dir: config.dir.clone(), source };
    let path = config.dir.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(disk_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(config.dir.clone())),
        Err(TryLockError::Error(source)) => Err(disk_error(source)),
    }
}
