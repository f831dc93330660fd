//! The watch: looks twice a second whether the files of the log are still where and what they were (AUD-19), whether there
//! is room, whether the committer gets on, and writes down what the log has to say about itself.
//!
//! It never writes to a segment: it calls the committer. Invariant: damage to what was written in the last second, the header, the name, the
//! place or the length of the current segment is seen within [`CHECK_INTERVAL`] and the time of one look.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::AccessId;
use model::record::AuditRecord;
use model::seams::Durability;

use super::disk::FileFacts;
use super::intake::Intake;
use super::janitor::Janitor;
use super::own_records::{alert_record, gap_record, unkept_record};
use super::reader::{Scanner, Segment, read_header};
use super::reserve::Reserves;
use super::segment::{FRAME_BYTES, HEADER_BYTES, MAX_PAYLOAD_BYTES, Parsed, parse_frame};
use super::walk::Hole;
use super::writer::Tip;
use crate::alerts::AlertKind;

/// How often it looks.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How many older segments it looks at each time.
pub(crate) const OLD_PER_LOOK: usize = 256;
/// Bytes of the current segment it reads again each time, so that damage in the middle is found too.
const REREAD_BYTES: u64 = 4 * 1024 * 1024;
/// Percent by which free space must be above a mark before the alert is over.
const SPACE_SLACK: u8 = 1;

/// Free space, in percent, below which there is an alert (AUD-18).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpaceMarks {
    /// The first.
    pub low: u8,
    /// The second.
    pub critical: u8,
}

impl Default for SpaceMarks {
    fn default() -> Self {
        Self { low: 20, critical: 10 }
    }
}

/// Stops the watch.
#[derive(Default)]
pub(crate) struct Stop {
    is_asked: Mutex<bool>,
    asked: Condvar,
}

impl Stop {
    pub(crate) fn ask(&self) {
        *self.is_asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.asked.notify_all();
    }

    /// Waits for the next look; true when there is none.
    fn wait(&self) -> bool {
        let guard = self.is_asked.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .asked
            .wait_timeout_while(guard, CHECK_INTERVAL, |is_asked| !*is_asked)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

pub(crate) struct Watch {
    pub(crate) intake: Arc<Intake>,
    pub(crate) reserves: Arc<Reserves>,
    pub(crate) tip: Arc<Mutex<Tip>>,
    pub(crate) segment_bytes: u64,
    pub(crate) marks: SpaceMarks,
    /// Older segments: as they were first seen, and whether their trouble has been told.
    pub(crate) old: BTreeMap<Arc<Segment>, Seen>,
    pub(crate) next_old: usize,
    pub(crate) reread: Reread,
    pub(crate) janitor: Janitor,
}

/// How far the current segment was read again.
#[derive(Default)]
pub(crate) struct Reread {
    segment: Option<Arc<Segment>>,
    offset: u64,
    /// Where the log ended at the two looks before: what was written since the first is read again each time, however much
    /// else is written.
    ends: (u64, u64),
}

pub(crate) struct Seen {
    facts: FileFacts,
    is_told: bool,
}

/// What is wrong with a file.
struct Trouble {
    kind: AlertKind,
    detail: String,
}

impl Watch {
    pub(crate) fn run(mut self, stop: &Stop) {
        while !stop.wait() {
            self.look();
        }
        self.tell();
    }

    fn look(&mut self) {
        let ladder = &self.intake.ladder;
        if ladder.is_stuck() {
            ladder.alerts.raise(AlertKind::DiskHung, "the committer waits for the disk");
        } else {
            ladder.alerts.clear(AlertKind::DiskHung);
        }
        self.look_at_space();
        self.look_at_current();
        self.look_at_old();
        self.tell();
        if self.janitor.is_due(Instant::now()) {
            self.end_what_is_silent();
        }
    }

    fn end_what_is_silent(&mut self) {
        let snapshot = self.intake.shared.index.snapshot();
        for record in self.janitor.look(snapshot.from(0), self.intake.clock.now()) {
            if self.intake.try_append(record, Durability::Standard).is_err() {
                return; // The next look finds them again.
            }
        }
    }

    fn look_at_space(&self) {
        let alerts = &self.intake.ladder.alerts;
        let Ok(space) = self.intake.shared.disk.space() else { return };
        let (percent, (ready, wanted)) = (space.free_percent(), self.reserves.count());
        let detail = format!("{percent} % free, {ready} of {wanted} reserve segments ready");
        for (kind, mark) in [(AlertKind::SpaceCritical, self.marks.critical), (AlertKind::SpaceLow, self.marks.low)] {
            if percent < mark {
                alerts.raise(kind, &detail);
            } else if percent >= mark.saturating_add(SPACE_SLACK) {
                alerts.clear(kind);
            }
        }
    }

    fn look_at_current(&mut self) {
        let (segment, file, offset, last) = {
            let tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
            (tip.segment.clone(), tip.file.clone(), tip.offset, tip.last)
        };
        let trouble = match self.examine(&segment, file.facts(), last) {
            Ok(None) => self.read_again(&segment, offset),
            Ok(trouble) => trouble,
            Err(error) => {
                self.intake.ladder.alerts.raise(AlertKind::DiskError, &error.to_string());
                return;
            }
        };
        let Some(trouble) = trouble else { return };
        let is_still_current = Arc::ptr_eq(&self.tip.lock().unwrap_or_else(PoisonError::into_inner).file, &file);
        if is_still_current {
            self.reread = Reread::default();
            self.intake.ladder.alerts.raise(trouble.kind, &trouble.detail);
            self.intake.ladder.call_for_mending();
            self.intake.queue.call();
        }
    }

    /// Compares the open file with what stands under its name.
    fn examine(
        &self,
        segment: &Arc<Segment>,
        open: io::Result<FileFacts>,
        last: Option<(u64, u64)>,
    ) -> io::Result<Option<Trouble>> {
        let (open, name) = (open?, segment.file_name());
        let trouble = |kind, what: &str| Ok(Some(Trouble { kind, detail: format!("{name}: {what}") }));
        let named = match self.intake.shared.disk.facts(&name) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound && open.links == 0 => {
                return trouble(AlertKind::FileDeleted, "deleted while the log was open");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return trouble(AlertKind::FileMoved, "renamed while the log was open");
            }
            Err(error) => return Err(error),
        };
        if !named.is_same_file(&open) {
            return trouble(AlertKind::FileReplaced, "another file stands in its place");
        }
        if named.len < self.segment_bytes {
            return trouble(AlertKind::FileTruncated, &format!("cut to {} bytes", named.len));
        }
        // By name, as whoever reads it later does.
        let file = self.intake.shared.disk.open(&name)?;
        if let Err(why) = read_header(&*file, segment)? {
            return trouble(AlertKind::FileDamaged, why);
        }
        let Some((offset, seq)) = last else { return Ok(None) };
        let mut head = [0; FRAME_BYTES];
        file.read_at(&mut head, offset)?;
        let length = head.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        let mut frame = vec![0; length.min(MAX_PAYLOAD_BYTES).saturating_add(FRAME_BYTES)];
        file.read_at(&mut frame, offset)?;
        match parse_frame(&frame) {
            Parsed::Frame(frame) if frame.seq == seq => Ok(None),
            _ => trouble(AlertKind::FileDamaged, &format!("record {seq} at byte {offset} is not what was written")),
        }
    }

    /// Reads a stretch of the current segment again.
    fn read_again(&mut self, segment: &Arc<Segment>, end: u64) -> Option<Trouble> {
        let start = HEADER_BYTES as u64;
        if self.reread.segment.as_ref() != Some(segment) {
            self.reread = Reread { segment: Some(segment.clone()), offset: start, ends: (start, start) };
        }
        if self.reread.offset >= end {
            self.reread.offset = start;
        }
        let file = self.intake.shared.disk.open(&segment.file_name()).ok()?;
        let (fresh, before) = self.reread.ends;
        self.reread.ends = (before, end);
        for (from, is_fresh) in [(fresh, true), (self.reread.offset, false)] {
            let mut scanner = Scanner::new(&*file, from);
            let until = end.min(from.saturating_add(REREAD_BYTES));
            while scanner.offset() < until {
                let offset = scanner.offset();
                match scanner.step().ok()? {
                    Parsed::Frame(_) => {}
                    Parsed::Bad | Parsed::End => {
                        let detail = format!("{}: byte {offset} is not what was written", segment.file_name());
                        return Some(Trouble { kind: AlertKind::FileDamaged, detail });
                    }
                }
            }
            if !is_fresh {
                self.reread.offset = scanner.offset();
            }
        }
        None
    }

    /// Older segments only have to stay; a few at a time, so that thousands cost no more than hundreds.
    fn look_at_old(&mut self) {
        let segments = self.intake.shared.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let old = segments.len().saturating_sub(1);
        for step in 0..old.min(OLD_PER_LOOK) {
            let at = self.next_old.saturating_add(step) % old;
            let (Some(segment), next) = (segments.get(at), segments.get(at.saturating_add(1))) else { continue };
            let found = self.intake.shared.disk.facts(&segment.file_name());
            self.compare_old(segment, next, found);
        }
        self.next_old = if old == 0 { 0 } else { self.next_old.saturating_add(OLD_PER_LOOK) % old };
    }

    fn compare_old(&mut self, segment: &Arc<Segment>, next: Option<&Arc<Segment>>, found: io::Result<FileFacts>) {
        let name = segment.file_name();
        let seen = self.old.get_mut(segment);
        let (kind, what) = match (found, &seen) {
            (Ok(facts), None) => {
                self.old.insert(segment.clone(), Seen { facts, is_told: false });
                return;
            }
            (Ok(facts), Some(seen)) if facts.is_same_file(&seen.facts) && facts.len >= seen.facts.len => return,
            (Ok(facts), Some(seen)) if !facts.is_same_file(&seen.facts) => {
                (AlertKind::FileReplaced, "another file stands in its place")
            }
            (Ok(_), Some(_)) => (AlertKind::FileTruncated, "cut"),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
                (AlertKind::FileDeleted, "deleted or renamed")
            }
            (Err(_), _) => return,
        };
        if seen.is_some_and(|seen| std::mem::replace(&mut seen.is_told, true)) {
            return;
        }
        let ladder = &self.intake.ladder;
        ladder.alerts.raise(kind, &format!("{name}: {what}"));
        let records = next.map_or(0, |next| next.first_seq.saturating_sub(segment.first_seq));
        let why = format!("the file was {what} while the log was open");
        let hole = Hole { file: name, first_seq: segment.first_seq, records, why };
        // Its file is not read to find out what is left: the query and `audit verify` do that.
        ladder.lost(std::slice::from_ref(&hole));
        self.intake.shared.holes.write().unwrap_or_else(PoisonError::into_inner).push(hole);
    }

    /// Writes down what the log has to say about itself, as far as it can.
    fn tell(&self) {
        let ladder = &self.intake.ladder;
        if ladder.is_stuck() {
            return;
        }
        while let Some(hole) = ladder.next_hole() {
            if !self.record(|access, now| gap_record(&hole, access, now)) {
                return;
            }
            ladder.hole_is_recorded(&hole);
        }
        if let Some(unkept) = ladder.take_unkept()
            && !self.record(|access, now| unkept_record(&unkept, access, now))
        {
            ladder.still_unkept(unkept);
            return;
        }
        while let Some(alert) = ladder.alerts.next_unrecorded() {
            if !self.record(|access, now| alert_record(&alert, access, now)) {
                return;
            }
            ladder.alerts.is_recorded(&alert);
        }
    }

    fn record(&self, make: impl FnOnce(AccessId, model::Timestamp) -> AuditRecord) -> bool {
        let now = self.intake.clock.now();
        let record = make(AccessId(self.intake.ids.uuid_v7(now)), now);
        // Past the ladder: what the log says of itself is no record that somebody was refused for.
        self.intake.try_append(record, Durability::Strict).is_ok()
    }
}
