//! Reading the log in order from a number on, straight from its segments, however far behind (AUD-20). Only up to what is
//! durable. Damage inside a full segment is stepped over and counted; in the current one it is waited for, because the log
//! lays a damaged segment down again.

use std::io;
use std::sync::{Arc, PoisonError};

use model::record::RecordType;

use super::Line;
use crate::entry::{SealedAccess, decode_payload};
use crate::log::Shared;
use crate::log::reader::{Scanner, Segment};
use crate::log::segment::{FrameType, HEADER_BYTES, Parsed};
use crate::log::walk::next_frame;
use crate::render;

/// How many records are looked at in one go, matching or not.
const MAX_LOOKED: u64 = 20_000;

/// What is wanted at once.
pub(super) struct Wanted {
    pub(super) types: Vec<RecordType>,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Some of the log.
#[derive(Default)]
pub(super) struct Stretch {
    pub(super) lines: Vec<Line>,
    bytes: usize,
    looked: u64,
    pub(super) unreadable: u64,
}

pub(super) struct Feed {
    shared: Arc<Shared>,
    next_seq: u64,
    /// Where it left off.
    place: Option<(Arc<Segment>, u64)>,
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>, next_seq: u64) -> Self {
        Self { shared, next_seq, place: None }
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The next records before `end`. Reads files: call it off the runtime.
    ///
    /// # Errors
    /// When nothing can be read where it stands.
    pub(super) fn read(&mut self, end: u64, wanted: &Wanted) -> io::Result<Stretch> {
        let mut stretch = Stretch::default();
        while self.next_seq < end && !stretch.is_full(wanted) {
            let before = self.next_seq;
            match self.read_segment(end, wanted, &mut stretch) {
                // What was read is delivered first; the trouble is met again.
                Err(_) if stretch.looked > 0 => break,
                done => done?,
            }
            if self.next_seq == before {
                break;
            }
        }
        Ok(stretch)
    }

    fn read_segment(&mut self, end: u64, wanted: &Wanted, stretch: &mut Stretch) -> io::Result<()> {
        let (segment, limit) = {
            let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
            let after = segments.partition_point(|segment| segment.first_seq <= self.next_seq);
            let limit = segments.get(after).map(|next| next.first_seq);
            (after.checked_sub(1).and_then(|at| segments.get(at)).cloned(), limit)
        };
        let Some(segment) = segment else {
            // Older than everything there is.
            return self.skip_to(limit, stretch);
        };
        let file = match self.shared.disk.open(&segment.file_name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && limit.is_some() => {
                return self.skip_to(limit, stretch);
            }
            file => file?,
        };
        let offset = match &self.place {
            Some((place, offset)) if *place == segment => *offset,
            _ => HEADER_BYTES as u64,
        };
        let mut scanner = Scanner::new(&*file, offset);
        let until = limit.unwrap_or(end).min(end);
        while self.next_seq < until && !stretch.is_full(wanted) {
            let at = scanner.offset();
            match scanner.step()? {
                Parsed::Frame(frame) if frame.kind == FrameType::Record && frame.seq >= self.next_seq => {
                    stretch.unreadable = stretch.unreadable.saturating_add(frame.seq.saturating_sub(self.next_seq));
                    self.next_seq = frame.seq.saturating_add(1);
                    stretch.take(frame.seq, frame.payload, &self.shared, wanted);
                }
                Parsed::Frame(_) => {}
                Parsed::Bad | Parsed::End => {
                    let Some(limit) = limit else {
                        self.place = Some((segment, at));
                        let why = format!("record {} cannot be read from the log", self.next_seq);
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    };
                    match next_frame(&*file, at, self.next_seq)? {
                        Some(next) => scanner = Scanner::new(&*file, next),
                        None => return self.skip_to(Some(limit), stretch),
                    }
                }
            }
        }
        self.place = Some((segment, scanner.offset()));
        Ok(())
    }

    fn skip_to(&mut self, seq: Option<u64>, stretch: &mut Stretch) -> io::Result<()> {
        let seq = seq.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the log has no segment"))?;
        stretch.unreadable = stretch.unreadable.saturating_add(seq.saturating_sub(self.next_seq));
        self.next_seq = self.next_seq.max(seq);
        Ok(())
    }
}

impl Stretch {
    fn is_full(&self, wanted: &Wanted) -> bool {
        self.lines.len() >= wanted.records || self.bytes >= wanted.bytes || self.looked >= MAX_LOOKED
    }

    fn take(&mut self, seq: u64, payload: &[u8], shared: &Shared, wanted: &Wanted) {
        self.looked = self.looked.saturating_add(1);
        let Ok(record) = decode_payload(payload, &shared.keys, SealedAccess::Closed) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        if wanted.types.is_empty() || record.kind().is_some_and(|kind| wanted.types.contains(&kind)) {
            let text = render::json(&record);
            self.bytes = self.bytes.saturating_add(text.len());
            self.lines.push(Line { seq, text });
        }
    }
}
