//! Walking a segment from its header to its end, past damage: the one reading of a segment that recovery, old queries
//! and verification share.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::disk::DiskFile;
use super::reader::{Scanner, Segment, read_range, written_end};
use super::segment::{FRAME_BYTES, FrameType, HEADER_BYTES, Parsed, find_frame};

/// A stretch of the log that cannot be read or proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hole {
    /// File it is in.
    pub file: String,
    /// First sequence number concerned.
    pub first_seq: u64,
    /// How many records are missing; 0 when all are there but something else is wrong.
    pub records: u64,
    /// What is wrong, and where.
    pub why: String,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.records {
            0 => write!(f, "near record {} of {}: {}", self.first_seq, self.file, self.why),
            n => {
                let last = self.first_seq.saturating_add(n - 1);
                write!(f, "records {} to {last} of {}: {}", self.first_seq, self.file, self.why)
            }
        }
    }
}

/// What a walk meets.
pub(crate) enum Visit<'a> {
    Record { seq: u64, offset: u64, payload: &'a [u8] },
    Slice { payload: &'a [u8] },
}

/// Where a walk ended.
pub(crate) struct Walked {
    /// The sequence number after the last record.
    pub(crate) next_seq: u64,
    /// Where the next frame would go.
    pub(crate) offset: u64,
    /// Bytes after `offset` that are not zero: a write that never ended.
    pub(crate) is_torn: bool,
    pub(crate) holes: Vec<Hole>,
}

/// Visits every whole frame in order until `visit` breaks.
pub(crate) fn walk(
    file: &dyn DiskFile,
    segment: &Arc<Segment>,
    mut visit: impl FnMut(Visit<'_>) -> ControlFlow<()>,
) -> io::Result<Walked> {
    let mut scanner = Scanner::new(file, HEADER_BYTES as u64);
    let mut walked = Walked { next_seq: segment.first_seq, offset: 0, is_torn: false, holes: Vec::new() };
    let mut damage: Option<String> = None;
    loop {
        let offset = scanner.offset();
        walked.offset = offset;
        match scanner.step()? {
            Parsed::Frame(frame) if frame.seq >= walked.next_seq => {
                if frame.seq > walked.next_seq || damage.is_some() {
                    let why = damage.take().unwrap_or_else(|| format!("nothing stands for them before byte {offset}"));
                    walked.holes.push(walked.hole(segment, frame.seq, why));
                    walked.next_seq = frame.seq;
                }
                let flow = match frame.kind {
                    FrameType::Record => {
                        walked.next_seq = frame.seq.saturating_add(1);
                        visit(Visit::Record { seq: frame.seq, offset, payload: frame.payload })
                    }
                    FrameType::Slice => visit(Visit::Slice { payload: frame.payload }),
                };
                if flow.is_break() {
                    return Ok(walked);
                }
            }
            Parsed::Frame(frame) => {
                let why = format!("record {} stands out of order at byte {offset}", frame.seq);
                walked.holes.push(walked.hole(segment, walked.next_seq, why));
            }
            Parsed::Bad | Parsed::End => {
                if written_end(file, offset)?.is_none() {
                    return Ok(walked);
                }
                let Some(next) = next_frame(file, offset, walked.next_seq)? else {
                    walked.is_torn = true;
                    return Ok(walked);
                };
                damage = Some(format!("the bytes from {offset} on are damaged"));
                scanner = Scanner::new(file, next);
            }
        }
    }
}

/// Where, behind damage at `offset`, the next whole frame of a record from `next_seq` on stands.
pub(crate) fn next_frame(file: &dyn DiskFile, offset: u64, next_seq: u64) -> io::Result<Option<u64>> {
    let Some(end) = written_end(file, offset)? else { return Ok(None) };
    let rest = read_range(file, offset, end)?;
    let bound = (rest.len() / FRAME_BYTES) as u64;
    let seqs = next_seq..next_seq.saturating_add(bound).saturating_add(1);
    Ok(find_frame(&rest, seqs).map(|next| offset.saturating_add(next as u64)))
}

impl Walked {
    /// What is wrong between the end of `segment` and the next one of its epoch, which begins with `next_first`.
    pub(crate) fn seam(&self, segment: &Segment, next_first: u64) -> Option<Hole> {
        let why = if self.next_seq < next_first || self.is_torn {
            "the segment ends before the next one begins"
        } else if self.next_seq > next_first {
            "the segment goes on after the next one began"
        } else {
            return None;
        };
        Some(self.hole(segment, next_first, why.into()))
    }

    fn hole(&self, segment: &Segment, next_seq: u64, why: String) -> Hole {
        let records = next_seq.saturating_sub(self.next_seq);
        Hole { file: segment.file_name(), first_seq: self.next_seq, records, why }
    }
}
