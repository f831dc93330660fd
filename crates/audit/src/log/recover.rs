//! Finding the end of the log at start (AUD-15). A torn tail of the last segment is cut. Anything else that does
//! not read closes the epoch: the next one begins with `audit.gap` records, and what can still be read stays readable.
//!
//! Only segments of the newest epoch can close it, so one piece of damage is reported once.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::ids::Digest32;

use super::disk::{Disk, DiskFile};
use super::reader::{Segment, list_segments, read_header, written_end};
use super::reserve::{Reserves, ZERO_CHUNK_BYTES};
use super::segment::{FRAME_BYTES, HEADER_BYTES, Header};
use super::tree::{RunningRoot, leaf_hash};
use super::walk::{Hole, Visit, walk};
use super::writer::{End, create_segment};
use crate::entry::{EntryError, decode_entry, split_payload};
use crate::index::{Place, Row, RowKeys};

/// What was found.
pub(crate) struct Recovered {
    pub(crate) end: End,
    /// Oldest first.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Rows of the segments that were read, oldest first.
    pub(crate) rows: Vec<Row>,
    /// Whether `rows` is everything.
    pub(crate) is_whole: bool,
    pub(crate) holes: Vec<Hole>,
    /// Holes the log does not speak of yet.
    pub(crate) unrecorded: Vec<Hole>,
    /// Bytes of a torn tail that were cut.
    pub(crate) cut_bytes: u64,
}

/// Reads segments, newest first, until `hot_rows` rows are known, and finds or makes the end.
pub(crate) fn recover(
    disk: &dyn Disk,
    reserves: &Reserves,
    base_origin: &str,
    hot_rows: usize,
) -> io::Result<Recovered> {
    let segments = list_segments(disk)?;
    let Some(last) = segments.last().cloned() else {
        let end = begin_epoch(disk, reserves, base_origin, 1, 0)?;
        let segments = vec![end.segment.clone()];
        return Ok(Recovered {
            end,
            segments,
            rows: Vec::new(),
            is_whole: true,
            holes: Vec::new(),
            unrecorded: Vec::new(),
            cut_bytes: 0,
        });
    };

    let mut loads: Vec<Load> = Vec::new();
    let (mut known, mut has_spoken) = (0usize, false);
    for segment in segments.iter().rev() {
        let load = load(disk, segment, loads.last())?;
        known = known.saturating_add(load.rows.len());
        has_spoken |= load.segment.epoch == last.epoch && !load.rows.is_empty();
        loads.push(load);
        // A new epoch without a record has not yet told of the damage in the one before.
        if known >= hot_rows && has_spoken {
            break;
        }
    }
    let is_whole = loads.len() == segments.len();
    finish(disk, reserves, base_origin, segments, loads, is_whole)
}

fn finish(
    disk: &dyn Disk,
    reserves: &Reserves,
    base_origin: &str,
    mut segments: Vec<Arc<Segment>>,
    loads: Vec<Load>,
    is_whole: bool,
) -> io::Result<Recovered> {
    let epoch = segments.last().map_or(1, |segment| segment.epoch);
    let is_silent = !loads.iter().any(|load| load.segment.epoch == epoch && !load.rows.is_empty());
    let is_damaged = loads.iter().any(|load| load.segment.epoch == epoch && !load.holes.is_empty());
    let mut rows = Vec::new();
    let mut holes = Vec::new();
    let mut newest = None;
    for load in loads.into_iter().rev() {
        rows.extend(load.rows);
        holes.extend(load.holes);
        newest = Some(load.tail);
    }
    let tail = newest.ok_or_else(|| io::Error::other("no segment was read"))?;
    let origin = format!("{base_origin}/{epoch}");
    let next_seq = tail.next_seq;
    let (end, cut_bytes) = match tail.end {
        Some(end) if !is_damaged && end.origin == origin => {
            let cut_bytes = cut_tail(&*end.file, end.offset)?;
            (end, cut_bytes)
        }
        _ => {
            let end = begin_epoch(disk, reserves, base_origin, epoch.saturating_add(1), next_seq)?;
            segments.push(end.segment.clone());
            (end, 0)
        }
    };
    let unrecorded = if is_damaged || (is_silent && epoch > 1) { holes.clone() } else { Vec::new() };
    Ok(Recovered { end, segments, rows, is_whole, holes, unrecorded, cut_bytes })
}

pub(super) fn begin_epoch(
    disk: &dyn Disk,
    reserves: &Reserves,
    base_origin: &str,
    epoch: u32,
    first_seq: u64,
) -> io::Result<End> {
    let segment = Segment { epoch, first_seq };
    let header = Header { origin: format!("{base_origin}/{epoch}"), epoch, first_seq, tree: RunningRoot::default() };
    let file = create_segment(disk, reserves, &segment, &header)?;
    Ok(End {
        origin: header.origin.clone(),
        segment: Arc::new(segment),
        file,
        offset: HEADER_BYTES as u64,
        next_seq: first_seq,
        tree: header.tree.clone(),
        slices: HashSet::new(),
        header,
    })
}

/// Writes zeroes over a torn tail, so that nothing stale can stand behind a later frame.
fn cut_tail(file: &dyn DiskFile, offset: u64) -> io::Result<u64> {
    let Some(end) = written_end(file, offset)? else { return Ok(0) };
    let torn = end.saturating_sub(offset);
    let zeroes = vec![0; ZERO_CHUNK_BYTES];
    let mut done = 0;
    while done < torn {
        let length = (torn - done).min(ZERO_CHUNK_BYTES as u64);
        file.write_at(zeroes.get(..length as usize).unwrap_or_default(), offset.saturating_add(done))?;
        done += length;
    }
    file.sync()?;
    Ok(torn)
}

struct Load {
    segment: Arc<Segment>,
    /// The tree at its start, when its header reads.
    start: Option<RunningRoot>,
    rows: Vec<Row>,
    holes: Vec<Hole>,
    tail: Tail,
}

struct Tail {
    next_seq: u64,
    /// `None` when nothing can be appended here.
    end: Option<End>,
}

/// Reads one segment; `newer` is the one after it, if it was read.
fn load(disk: &dyn Disk, segment: &Arc<Segment>, newer: Option<&Load>) -> io::Result<Load> {
    let newer = newer.filter(|newer| newer.segment.epoch == segment.epoch);
    let file: Arc<dyn DiskFile> = Arc::from(disk.open(&segment.file_name())?);
    let header = match read_header(&*file, segment)? {
        Ok(header) => header,
        Err(why) => return unreadable(&*file, segment, newer, why),
    };
    let mut tree = header.tree.clone();
    let mut rows = Vec::new();
    let mut slices = HashSet::new();
    let mut holes = Vec::new();
    let walked = walk(&*file, segment, |visit| {
        match visit {
            Visit::Slice { payload } => {
                slices.insert(Digest32::of(payload));
            }
            Visit::Record { seq, offset, payload } => match read_row(segment, seq, offset, payload) {
                Ok((row, leaf)) => {
                    tree.push(leaf);
                    rows.push(row);
                }
                Err(error) => {
                    let why = error.to_string();
                    holes.push(Hole { file: segment.file_name(), first_seq: seq, records: 1, why });
                }
            },
        }
        ControlFlow::Continue(())
    })?;
    if let Some(newer) = newer {
        let is_other_tree = newer.start.as_ref().is_some_and(|start| *start != tree);
        let seam = walked.seam(segment, newer.segment.first_seq);
        if seam.is_none() && is_other_tree {
            let why = "its records are not those the next segment's root was computed from".into();
            holes.push(Hole { file: segment.file_name(), first_seq: header.first_seq, records: 0, why });
        }
        holes.extend(seam);
    }
    holes.splice(0..0, walked.holes);
    let end = End {
        origin: header.origin.clone(),
        segment: segment.clone(),
        file,
        offset: walked.offset,
        next_seq: walked.next_seq,
        tree,
        slices,
        header: header.clone(),
    };
    let tail = Tail { next_seq: walked.next_seq, end: Some(end) };
    Ok(Load { segment: segment.clone(), start: Some(header.tree), rows, holes, tail })
}

/// A segment without a header: nothing in it counts, and no number it may have used is used again.
fn unreadable(file: &dyn DiskFile, segment: &Arc<Segment>, newer: Option<&Load>, why: &str) -> io::Result<Load> {
    let next_seq = match newer {
        Some(newer) => newer.segment.first_seq,
        None => segment.first_seq.saturating_add(file.size()? / FRAME_BYTES as u64),
    };
    let records = next_seq.saturating_sub(segment.first_seq);
    let hole = Hole { file: segment.file_name(), first_seq: segment.first_seq, records, why: why.into() };
    let tail = Tail { next_seq, end: None };
    Ok(Load { segment: segment.clone(), start: None, rows: Vec::new(), holes: vec![hole], tail })
}

fn read_row(segment: &Arc<Segment>, seq: u64, offset: u64, payload: &[u8]) -> Result<(Row, [u8; 32]), EntryError> {
    let (bytes, _) = split_payload(payload)?;
    let entry = decode_entry(bytes)?;
    if entry.seq != seq {
        return Err(EntryError::Malformed(format!("the entry says it is record {}", entry.seq)));
    }
    let place = Place { segment: segment.clone(), offset: offset as u32 };
    Ok((Row { seq, place, keys: RowKeys::of_columns(&entry.columns) }, leaf_hash(bytes)))
}
