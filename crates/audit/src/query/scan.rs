//! Running a query, and fetching single records.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::Timestamp;
use model::ids::Digest32;
use uuid::Uuid;

use super::{Answer, Coverage, MAX_SCANNED, Query, QueryError};
use crate::entry::{Column, EntryError, SealedAccess, StoredRecord, Value, decode_context, decode_payload};
use crate::log::reader::{Files, Segment};
use crate::log::walk::{Hole, Visit, walk};
use crate::log::{AuditLog, Shared};

/// How far the times of neighbouring records may be out of order: callers stamp records, the log orders them.
const TIME_SLACK: Duration = Duration::from_secs(300);

impl AuditLog {
    /// Answers a query. Reads files: call it off the runtime. The caller has asked the policy decision point and records
    /// that it asked (AUD-5).
    ///
    /// # Errors
    /// When the reader may not ask this, or the disk fails.
    pub fn query(&self, query: &Query, access: SealedAccess) -> Result<Answer, QueryError> {
        query.check(access)?;
        Search::new(&self.shared, query, access).run()
    }

    /// The context bytes a decision read, if the record has them and their key still exists (AUD-36).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn context(&self, record: &StoredRecord) -> Result<Option<Vec<u8>>, QueryError> {
        let Some(segment) = self.shared.segment_of(record.seq) else { return Ok(None) };
        let mut found = None;
        let mut files = Files::new(&*self.shared.disk);
        let file = files.file(&segment).map_err(read_error)?;
        walk(file, &segment, |visit| match visit {
            Visit::Record { seq, payload, .. } if seq == record.seq => {
                found = decode_context(payload, &self.shared.keys).ok().flatten();
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .map_err(read_error)?;
        Ok(found)
    }

    /// The entity slice a decision read, if the log has it (AUD-36).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn entity_slice(&self, record: &StoredRecord) -> Result<Option<Vec<u8>>, QueryError> {
        let Some(Value::Digest(hash)) = record.get(Column::EntitySliceHash) else { return Ok(None) };
        let Some(segment) = self.shared.segment_of(record.seq) else { return Ok(None) };
        let mut files = Files::new(&*self.shared.disk);
        let file = files.file(&segment).map_err(read_error)?;
        let mut found = None;
        walk(file, &segment, |visit| match visit {
            Visit::Slice { payload } if Digest32::of(payload) == *hash => {
                found = Some(payload.to_vec());
                ControlFlow::Break(())
            }
            Visit::Record { seq, .. } if seq >= record.seq => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .map_err(read_error)?;
        Ok(found)
    }
}

impl Shared {
    /// The segment that holds a sequence number.
    fn segment_of(&self, seq: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.first_seq <= seq);
        segments.get(after.checked_sub(1)?).cloned()
    }

    /// Reads one record the index knows.
    pub(crate) fn fetch(
        &self,
        files: &mut Files<'_>,
        row: &crate::index::Row,
        access: SealedAccess,
    ) -> Result<StoredRecord, EntryError> {
        let payload = files.payload(&row.place.segment, row.place.offset, row.seq).map_err(unreadable)?;
        decode_payload(&payload, &self.keys, access)
    }
}

struct Search<'a> {
    shared: &'a Shared,
    query: &'a Query,
    access: SealedAccess,
    /// No older record can match.
    not_before: Option<Timestamp>,
    left_out: Cell<u64>,
    answer: Answer,
}

impl<'a> Search<'a> {
    fn new(shared: &'a Shared, query: &'a Query, access: SealedAccess) -> Self {
        let since = query.since.or_else(|| query.access_id.and_then(|id| time_of(id.0)));
        let answer =
            Answer { rows: Vec::new(), scanned: 0, left_out: 0, has_more: false, coverage: Coverage::default() };
        Self {
            shared,
            query,
            access,
            not_before: since.map(|since| since - TIME_SLACK),
            left_out: Cell::new(0),
            answer,
        }
    }

    fn run(mut self) -> Result<Answer, QueryError> {
        let snapshot = self.shared.index.snapshot();
        let mut oldest = snapshot.first_seq();
        let mut is_done = false;
        let mut files = Files::new(&*self.shared.disk);
        for row in snapshot.newest_first() {
            if self.is_full() || self.is_too_old(row.keys.time) {
                is_done = true;
                oldest = Some(row.seq);
                break;
            }
            self.answer.scanned += 1;
            if self.query.before.is_some_and(|before| row.seq >= before) || !self.query.may_match(&row.keys) {
                continue;
            }
            let payload = files.payload(&row.place.segment, row.place.offset, row.seq).map_err(unreadable);
            match payload.and_then(|payload| self.consider(&payload)) {
                Ok((_, record)) => self.answer.rows.extend(record),
                Err(error) => self.hole(&row.place.segment, row.seq, &error),
            }
        }
        if !is_done && !snapshot.is_whole {
            let before = oldest.unwrap_or_else(|| self.shared.growth.borrow().next_seq);
            oldest = Some(self.older(before).map_err(read_error)?);
        }
        let holes = self.shared.holes.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = holes
            .iter()
            .filter(|hole| oldest.is_none_or(|oldest| hole.first_seq.saturating_add(hole.records) >= oldest));
        self.answer.coverage.holes.extend(known.cloned());
        self.answer.coverage.holes.sort_by(|a, b| a.first_seq.cmp(&b.first_seq).then_with(|| a.why.cmp(&b.why)));
        self.answer.coverage.holes.dedup();
        self.answer.left_out = self.left_out.get();
        Ok(self.answer)
    }

    /// Reads segments for records before `before`; gives back how far it looked.
    fn older(&mut self, before: u64) -> io::Result<u64> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut looked = before;
        let mut newer: Option<&Arc<Segment>> = None;
        for segment in segments.iter().rev() {
            let next = newer.replace(segment).filter(|newer| newer.epoch == segment.epoch);
            if segment.first_seq >= before {
                continue;
            }
            if self.is_full() {
                break;
            }
            if self.answer.scanned >= MAX_SCANNED {
                self.answer.coverage.is_stopped = true;
                break;
            }
            let newest = self.segment(segment, next.map(|next| next.first_seq), before)?;
            looked = segment.first_seq;
            if newest.is_some_and(|newest| self.is_too_old(newest)) {
                break;
            }
        }
        Ok(looked)
    }

    /// Looks through one segment; gives back the newest time in it.
    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        next_first: Option<u64>,
        before: u64,
    ) -> io::Result<Option<Timestamp>> {
        let file = match self.shared.disk.open(&segment.file_name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let records = next_first.unwrap_or(before).saturating_sub(segment.first_seq);
                let (file, first_seq, why) = (segment.file_name(), segment.first_seq, "the file is gone".into());
                self.answer.coverage.holes.push(Hole { file, first_seq, records, why });
                return Ok(None);
            }
            file => file?,
        };
        let wanted = self.query.row_limit().saturating_sub(self.answer.rows.len()).saturating_add(1);
        let mut matching: VecDeque<StoredRecord> = VecDeque::new();
        let mut newest: Option<Timestamp> = None;
        let mut bad: Vec<(u64, EntryError)> = Vec::new();
        let mut scanned = 0u64;
        let walked = walk(&*file, segment, |visit| {
            let Visit::Record { seq, payload, .. } = visit else { return ControlFlow::Continue(()) };
            if seq >= before {
                return ControlFlow::Break(());
            }
            scanned += 1;
            match self.consider(payload) {
                Err(error) => bad.push((seq, error)),
                Ok((time, record)) => {
                    newest = newest.max(Some(time));
                    matching.extend(record);
                }
            }
            if matching.len() > wanted {
                matching.pop_front();
            }
            ControlFlow::Continue(())
        })?;
        self.answer.scanned = self.answer.scanned.saturating_add(scanned);
        // Where the hot index begins inside this segment, the walk ended there and the end was not looked at.
        let seam = next_first.filter(|next| *next <= before).and_then(|next| walked.seam(segment, next));
        self.answer.coverage.holes.extend(walked.holes.into_iter().chain(seam));
        bad.iter().for_each(|(seq, error)| self.hole(segment, *seq, error));
        for record in matching.into_iter().rev() {
            if self.is_full() {
                break;
            }
            self.answer.rows.push(record);
        }
        Ok(newest)
    }

    /// True, and noted, when another match would be one too many.
    fn is_full(&mut self) -> bool {
        let is_full = self.answer.rows.len() >= self.query.row_limit();
        self.answer.has_more |= is_full;
        is_full
    }

    fn is_too_old(&self, time: Timestamp) -> bool {
        self.not_before.is_some_and(|oldest| time < oldest)
    }

    /// Reads a record as far as needed: sealed columns are opened only when everything else matches.
    fn consider(&self, payload: &[u8]) -> Result<(Timestamp, Option<StoredRecord>), EntryError> {
        let record = decode_payload(payload, &self.shared.keys, SealedAccess::Closed)?;
        let time = record.time();
        if !self.query.matches(&record) {
            return Ok((time, None));
        }
        if self.query.leaves_out(&record) {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return Ok((time, None));
        }
        if self.access == SealedAccess::Closed {
            return Ok((time, Some(record)));
        }
        let record = decode_payload(payload, &self.shared.keys, SealedAccess::Open)?;
        Ok((time, self.query.matches_opened(&record).then_some(record)))
    }

    fn hole(&mut self, segment: &Segment, seq: u64, error: &EntryError) {
        let hole = Hole { file: segment.file_name(), first_seq: seq, records: 1, why: error.to_string() };
        self.answer.coverage.holes.push(hole);
    }
}

/// The moment in a UUIDv7: nothing of an access or decision is older than its id.
pub(crate) fn time_of(id: Uuid) -> Option<Timestamp> {
    if id.get_version_num() != 7 {
        return None;
    }
    let millis = id.as_u128() >> 80;
    i64::try_from(millis).ok()?.checked_mul(1_000_000).map(Timestamp)
}

fn unreadable(error: io::Error) -> EntryError {
    EntryError::Malformed(error.to_string())
}

fn read_error(error: io::Error) -> QueryError {
    QueryError::Read(error.to_string())
}
