//! The drill (AUD-21): does to a log what disks and intruders do, and says whether it was seen in time and nothing was lost
//! in silence. On a shadow log in a folder of its own, or, with care, on the real one.
//!
//! Blocks for seconds: call it off the runtime. Invariant: however it ends, the disk is left as it was found.

mod sink_hang;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::record::{AuditRecord, RecordType};
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Timestamp, UserId};

use crate::alerts::AlertKind;
use crate::clock::ClockWatch;
use crate::keyring::{DailyKeyStore, Day, KeyStoreError, SealKey, SubjectKeys};
use crate::log::disk::FileFacts;
use crate::log::faults::{Fault, FlippedByte};
use crate::log::{AuditLog, LOG_DOOR, LogConfig, LogSeams, MIN_SEGMENT_BYTES, SpaceMarks};
use crate::query::Query;
use crate::sinks::Sinks;
use crate::{Column, SealedAccess};

/// In `object_id` of the record of a whole drill; its parts leave records of the same type without it.
pub const REPORT: &str = "report";
/// How soon a rung has to be detected (AUD-19).
pub const DETECT_WITHIN: Duration = Duration::from_secs(2);
/// How soon the log has to be well again after the harm is over.
pub const RECOVER_WITHIN: Duration = Duration::from_secs(5);
/// Records written before each harm, all of which must be there after it.
const MARKS: usize = 20;
const POLL: Duration = Duration::from_millis(5);

/// One thing that is done to the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DrillRung {
    /// Bytes of the newest record are overwritten.
    Corrupt,
    /// The wall clock is set by an hour.
    ClockJump,
    /// The current file is deleted.
    DeleteFile,
    /// There is no room.
    DiskFull,
    /// Sinks hang.
    SinkHang,
}

impl DrillRung {
    /// Every rung, in the order they are drilled.
    pub const ALL: &'static [DrillRung] =
        &[DrillRung::DiskFull, DrillRung::SinkHang, DrillRung::DeleteFile, DrillRung::Corrupt, DrillRung::ClockJump];

    /// `disk_full` …
    pub fn as_str(self) -> &'static str {
        match self {
            DrillRung::Corrupt => "corrupt",
            DrillRung::ClockJump => "clock_jump",
            DrillRung::DeleteFile => "delete_file",
            DrillRung::DiskFull => "disk_full",
            DrillRung::SinkHang => "sink_hang",
        }
    }
}

impl std::str::FromStr for DrillRung {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<&str> = DrillRung::ALL.iter().map(|rung| rung.as_str()).collect();
        let found = DrillRung::ALL.iter().copied().find(|rung| rung.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no part of a drill; there are {}", names.join(", ")))
    }
}

/// What came of a rung.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Detected in time, recovered, nothing lost.
    Passed,
    /// Not so.
    Failed,
    /// It could not be drilled; counts neither way.
    NotDrilled,
}

impl Outcome {
    /// `passed`, `failed` or `not_drilled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::NotDrilled => "not_drilled",
        }
    }
}

/// One rung of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RungResult {
    /// Which.
    pub rung: DrillRung,
    /// What came of it.
    pub outcome: Outcome,
    /// From the harm to the alert.
    pub detected_in: Option<Duration>,
    /// In words.
    pub detail: String,
}

/// What came of a drill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrillReport {
    /// On the real log.
    pub is_live: bool,
    /// In the order they were drilled.
    pub rungs: Vec<RungResult>,
}

impl DrillReport {
    /// Something was drilled and nothing failed.
    pub fn has_passed(&self) -> bool {
        self.rungs.iter().any(|rung| rung.outcome == Outcome::Passed)
            && self.rungs.iter().all(|rung| rung.outcome != Outcome::Failed)
    }

    /// One line, for the record of the drill.
    pub fn summary(&self) -> String {
        let rung = |found: &RungResult| match found.detected_in {
            Some(took) => {
                format!("{} {} (seen in {} ms)", found.rung.as_str(), found.outcome.as_str(), took.as_millis())
            }
            None => format!("{} {}", found.rung.as_str(), found.outcome.as_str()),
        };
        let rungs: Vec<String> = self.rungs.iter().map(rung).collect();
        let place = if self.is_live { "live" } else { "shadow" };
        format!("{place} drill {}: {}", if self.has_passed() { "passed" } else { "failed" }, rungs.join(", "))
    }
}

/// Drills a log made for it in `dir`, which must be empty and is the caller's to remove.
///
/// # Errors
/// When the shadow log does not even open.
pub fn shadow(
    dir: &Path,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    rungs: &[DrillRung],
) -> Result<DrillReport, crate::OpenError> {
    let config = LogConfig {
        segment_bytes: MIN_SEGMENT_BYTES,
        reserves: 1,
        // How full this disk is is not what is drilled.
        space_marks: SpaceMarks { low: 0, critical: 0 },
        ..LogConfig::new(dir.to_path_buf(), "drill/shadow".to_owned())
    };
    let seams = LogSeams {
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        subject_keys: Arc::new(Nobody),
        daily_keys: Arc::<InMemory>::default(),
    };
    let (log, _) = AuditLog::open(&config, seams)?;
    let stage = Stage { log: &log, dir, clock: &*clock, ids: &*ids, sinks: None, is_live: false };
    Ok(stage.drill(rungs))
}

/// Drills the real log in `dir`, and `sinks`, its own. While `disk_full` lasts, requests are refused.
pub fn live(
    log: &AuditLog,
    dir: &Path,
    clock: &dyn Clock,
    ids: &dyn Ids,
    sinks: Option<&Sinks>,
    rungs: &[DrillRung],
) -> DrillReport {
    Stage { log, dir, clock, ids, sinks, is_live: true }.drill(rungs)
}

struct Stage<'a> {
    log: &'a AuditLog,
    dir: &'a Path,
    clock: &'a dyn Clock,
    ids: &'a dyn Ids,
    sinks: Option<&'a Sinks>,
    is_live: bool,
}

/// Ends a fault whatever happens.
struct EndFault<'a>(&'a AuditLog);

impl Drop for EndFault<'_> {
    fn drop(&mut self) {
        self.0.faults().set(Fault::None);
        self.0.faults().flip(None);
    }
}

type Found = Result<(Duration, String), String>;

impl Stage<'_> {
    fn drill(&self, rungs: &[DrillRung]) -> DrillReport {
        let in_order = DrillRung::ALL.iter().filter(|rung| rungs.contains(rung));
        DrillReport { is_live: self.is_live, rungs: in_order.map(|rung| self.rung(*rung)).collect() }
    }

    fn rung(&self, rung: DrillRung) -> RungResult {
        let found = match rung {
            DrillRung::SinkHang => self.sink_hang(),
            DrillRung::DiskFull => self.disk_full(),
            DrillRung::DeleteFile => self.harm(AlertKind::FileDeleted, |file| std::fs::remove_file(file)),
            DrillRung::Corrupt if self.is_live => self.misread(),
            DrillRung::Corrupt => self.harm(AlertKind::FileDamaged, |file| self.overwrite_newest(file)),
            DrillRung::ClockJump => self.clock_jump(),
        };
        match found {
            Ok((took, detail)) if took <= DETECT_WITHIN => {
                RungResult { rung, outcome: Outcome::Passed, detected_in: Some(took), detail }
            }
            Ok((took, _)) => {
                let detail = format!("seen, but later than {} s", DETECT_WITHIN.as_secs());
                RungResult { rung, outcome: Outcome::Failed, detected_in: Some(took), detail }
            }
            Err(detail) => RungResult { rung, outcome: Outcome::Failed, detected_in: None, detail },
        }
    }

    fn disk_full(&self) -> Found {
        self.append("before the disk is full")?;
        let before = self.seen(AlertKind::DiskFull);
        let harm = EndFault(self.log);
        self.log.faults().set(Fault::Full);
        let start = Instant::now();
        if self.append("the disk is full").is_ok() {
            return Err("a record was taken while the disk was full".into());
        }
        let refused_in = start.elapsed();
        let took = wait(DETECT_WITHIN + RECOVER_WITHIN, start, || self.seen(AlertKind::DiskFull) > before)
            .ok_or("no alert came")?;
        drop(harm);
        let over = Instant::now();
        let well = wait(RECOVER_WITHIN, over, || self.append("after the disk was full").is_ok())
            .ok_or("the log did not come back by itself")?;
        wait(RECOVER_WITHIN, over, || self.log.health().unkept.total() == 0)
            .ok_or("the record does not say what it missed")?;
        let words = format!(
            "refused in {} ms, well again after {} ms, the gap is recorded",
            refused_in.as_millis(),
            well.as_millis()
        );
        Ok((took, words))
    }

    /// Harm to the current file that the log can undo.
    fn harm(&self, alert: AlertKind, harm: impl FnOnce(&Path) -> std::io::Result<()>) -> Found {
        let first = self.log.next_seq();
        let mut marks = Vec::new();
        for _ in 0..MARKS {
            marks.push(self.append("must survive the drill")?);
        }
        let before = self.seen(alert);
        let file = self.dir.join(self.log.current_file());
        harm(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
        let start = Instant::now();
        let took = wait(DETECT_WITHIN + RECOVER_WITHIN, start, || self.seen(alert) > before).ok_or("no alert came")?;
        wait(RECOVER_WITHIN, start, || !self.log.alerts().is_active(alert))
            .ok_or("the file was not laid down again")?;
        self.append("after the file was laid down again")?;
        self.all_there(first, &marks)?;
        Ok((took, format!("laid down again, all {MARKS} records of before are there")))
    }

    fn all_there(&self, first: u64, marks: &[u64]) -> Result<(), String> {
        let query = Query { kind: Some(RecordType::AuditDrill), limit: 1_000, ..Query::default() };
        let answer = self.log.query(&query, SealedAccess::Closed).map_err(|error| error.to_string())?;
        let there = |seq: &u64| answer.rows.iter().any(|row| row.seq == *seq && row.get(Column::Change).is_some());
        let lost = marks.iter().filter(|seq| !there(seq)).count();
        if lost > 0 {
            return Err(format!("{lost} of {MARKS} records from {first} on are lost"));
        }
        if !self.is_live {
            // Nobody else writes here, so its files must prove as they are.
            let proven = crate::verify::verify(self.dir).map_err(|error| error.to_string())?;
            if let Some(problem) = proven.problems.first() {
                return Err(problem.to_string());
            }
        }
        Ok(())
    }

    /// The newest frame of the real log reads back damaged; not a byte on the disk is touched.
    fn misread(&self) -> Found {
        let _over = EndFault(self.log);
        let name = self.log.current_file();
        let mut misread = None;
        let (took, _) = self.harm(AlertKind::FileDamaged, |_| {
            let (facts, offset) = (self.log.disk().facts(&self.log.current_file())?, self.newest_offset()?);
            misread = Some(facts);
            self.log.faults().flip(Some(FlippedByte { file: facts, offset }));
            Ok(())
        })?;
        if let Some(facts) = misread {
            self.forget_aside(&facts, &name);
        }
        Ok((took, format!("seen in what was read back; laid down again, all {MARKS} records of before are there")))
    }

    /// What was set aside is whole and the same as what stands in its place: it must not take the place of evidence.
    fn forget_aside(&self, facts: &FileFacts, name: &str) {
        let disk = self.log.disk();
        let is_ours = |file: &String| {
            file.starts_with("aside-")
                && file.ends_with(name)
                && disk.facts(file).is_ok_and(|found| found.is_same_file(facts))
        };
        let aside = disk.list().unwrap_or_default().into_iter().find(is_ours);
        if let Some(aside) = aside
            && let Err(error) = disk.remove(&aside)
        {
            tracing::error!(%error, file = aside, "what a drill set aside cannot be removed");
        }
    }

    /// Behind the head of the newest frame, so that only its checksum tells.
    fn newest_offset(&self) -> std::io::Result<u64> {
        let offset = self.log.newest_frame().ok_or_else(|| std::io::Error::other("the file holds no record"))?;
        Ok(offset.saturating_add(64))
    }

    fn overwrite_newest(&self, file: &Path) -> std::io::Result<()> {
        OpenOptions::new().write(true).open(file)?.write_all_at(b"drilldrill", self.newest_offset()?)
    }

    /// The watch is shown a clock that was set by an hour; the real one is not touched.
    fn clock_jump(&self) -> Found {
        let start = Instant::now();
        let mut watch = ClockWatch::default();
        let now = self.clock.now();
        let later = Timestamp(now.0.saturating_add(3_601_000_000_000));
        watch.compare(now, Duration::from_secs(1));
        let event = watch.compare(later, Duration::from_secs(2)).ok_or("the watch did not see it")?;
        let before = self.seen(AlertKind::ClockJump);
        let mut record = event.tell(self.log.alerts(), self.access(), now);
        let text = record.change.change.as_deref().unwrap_or_default();
        record.change.change = Some(Arc::from(format!("drill: {text}")));
        if self.seen(AlertKind::ClockJump) == before {
            return Err("no alert came".into());
        }
        let seq = self.log.append_blocking(record, Durability::Strict).map_err(|error| error.to_string())?.seq;
        Ok((start.elapsed(), format!("recorded as `system.clock`, number {seq}")))
    }

    fn drill_record(&self, what: &str) -> AuditRecord {
        let mut record = AuditRecord::new(RecordType::AuditDrill, self.access(), self.clock.now(), LOG_DOOR);
        record.change.object_kind = Some("log");
        record.change.change = Some(Arc::from(what));
        record
    }

    fn append(&self, what: &str) -> Result<u64, String> {
        let record = self.drill_record(what);
        self.log.append_blocking(record, Durability::Strict).map(|kept| kept.seq).map_err(|error| error.to_string())
    }

    fn access(&self) -> AccessId {
        AccessId(self.ids.uuid_v7(self.clock.now()))
    }

    fn seen(&self, kind: AlertKind) -> u64 {
        self.log.alerts().list().iter().find(|alert| alert.kind == kind).map_or(0, |alert| alert.count)
    }
}

/// How long after `start` it is so; `None` when it is not within `most`.
fn wait(most: Duration, start: Instant, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    while !is_so() {
        if start.elapsed() > most {
            return None;
        }
        std::thread::sleep(POLL);
    }
    Some(start.elapsed())
}

/// No person is in a shadow log.
struct Nobody;

impl SubjectKeys for Nobody {
    fn key_for(&self, _: &UserId) -> Option<SealKey> {
        None
    }
}

/// Keys that go with the shadow log.
#[derive(Default)]
struct InMemory(Mutex<BTreeMap<Day, [u8; 32]>>);

impl DailyKeyStore for InMemory {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        Ok(Vec::new())
    }

    fn save(&self, day: Day, key: &SealKey) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(day, *key.bytes());
        Ok(())
    }

    fn destroy(&self, day: Day) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&day);
        Ok(())
    }
}
