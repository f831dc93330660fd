//! The end of the log: the one place that writes. A failed write changes nothing that is kept in memory, so the same
//! place is simply written again; after a failed sync everything since the last good one is written again before anything
//! else is accepted, because the system may have dropped it. What was written last stays in memory a while longer, so
//! that a file that was taken away or damaged can be laid down again ([`super::mend`]).

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use model::ids::Digest32;

use super::disk::{Disk, DiskFile};
use super::reader::Segment;
use super::reserve::Reserves;
use super::segment::{FRAME_BYTES, FrameType, HEADER_BYTES, Header, write_frame};
use super::tree::{RunningRoot, leaf_hash};
use crate::entry::Prepared;
use crate::index::{Place, Row, RowKeys};

/// Bytes written but not yet synced at which a sync is due (AUD-17).
pub(crate) const SYNC_BYTES: usize = 1024 * 1024;
/// Bytes of the newest frames kept in memory at least, once there are so many; at most twice that and what is not synced.
pub(crate) const RECENT_BYTES: usize = 4 * 1024 * 1024;

/// Where the log goes on.
pub(crate) struct End {
    pub(crate) origin: String,
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) offset: u64,
    pub(crate) next_seq: u64,
    pub(crate) tree: RunningRoot,
    pub(crate) slices: HashSet<Digest32>,
    /// The header of `segment`.
    pub(crate) header: Header,
}

/// What the watch compares with the disk.
pub(crate) struct Tip {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    pub(crate) offset: u64,
    /// The last record's frame: offset and number.
    pub(crate) last: Option<(u64, u64)>,
}

pub(crate) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) reserves: Arc<Reserves>,
    pub(super) segment_bytes: u64,
    pub(super) end: End,
    /// The newest bytes of the segment, up to `end.offset`.
    pub(super) recent: Vec<u8>,
    /// How many of `recent`, from its end, are not synced.
    pub(super) unsynced: usize,
    pub(super) needs_rewrite: bool,
    tip: Arc<Mutex<Tip>>,
}

/// What of a batch was written.
pub(crate) struct Written {
    /// One per record, in order.
    pub(crate) rows: Vec<Row>,
    /// The segment that was begun, if one was.
    pub(crate) begun: Option<Arc<Segment>>,
}

impl Writer {
    pub(crate) fn new(disk: Arc<dyn Disk>, reserves: Arc<Reserves>, segment_bytes: u64, end: End) -> Self {
        let tip = Tip { segment: end.segment.clone(), file: end.file.clone(), offset: end.offset, last: None };
        let tip = Arc::new(Mutex::new(tip));
        let (recent, unsynced, needs_rewrite) = (Vec::new(), 0, false);
        Self { disk, reserves, segment_bytes, end, recent, unsynced, needs_rewrite, tip }
    }

    /// Where it is, for the watch.
    pub(crate) fn tip(&self) -> Arc<Mutex<Tip>> {
        self.tip.clone()
    }

    /// The number of the next record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.end.next_seq
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.unsynced > 0
    }

    /// Whether a blank segment lies ready.
    pub(crate) fn has_reserve(&self) -> bool {
        self.reserves.has_ready()
    }

    pub(crate) fn is_sync_due(&self) -> bool {
        self.unsynced >= SYNC_BYTES
    }

    /// Writes as many of `records` as fit the segment, beginning the next one first when none does. At least one is
    /// written, or there is an error and nothing changed.
    pub(crate) fn write(&mut self, records: &[&Prepared]) -> io::Result<Written> {
        if self.needs_rewrite {
            self.sync()?;
        }
        let Some(first) = records.first() else { return Ok(Written { rows: Vec::new(), begun: None }) };
        let begun = if self.room() < frame_bound(first) { Some(self.begin_segment()?) } else { None };

        let mut buffer = Vec::with_capacity(records.len().saturating_mul(1_024).min(SYNC_BYTES));
        let mut tree = self.end.tree.clone();
        let mut seq = self.end.next_seq;
        let mut new_slices = Vec::new();
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            if self.room() < (buffer.len() as u64).saturating_add(frame_bound(record)) {
                break;
            }
            if let Some(slice) = &record.slice
                && !self.end.slices.contains(&slice.hash)
                && !new_slices.contains(&slice.hash)
            {
                write_frame(&mut buffer, seq, FrameType::Slice, |out| out.extend_from_slice(&slice.bytes));
                new_slices.push(slice.hash);
            }
            let offset = self.end.offset.saturating_add(buffer.len() as u64);
            tree.push(write_record(&mut buffer, &self.end.origin, seq, record));
            let place = Place { segment: self.end.segment.clone(), offset: offset as u32 };
            rows.push(Row { seq, place, keys: RowKeys::of_columns(&record.columns) });
            seq += 1;
        }
        self.end.file.write_at(&buffer, self.end.offset)?;
        self.end.offset = self.end.offset.saturating_add(buffer.len() as u64);
        self.end.tree = tree;
        self.end.next_seq = seq;
        self.end.slices.extend(new_slices);
        self.recent.extend_from_slice(&buffer);
        self.unsynced = self.unsynced.saturating_add(buffer.len());
        self.show_tip(rows.last().map(|row| (u64::from(row.place.offset), row.seq)));
        Ok(Written { rows, begun })
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.needs_rewrite {
            let unsynced = self.recent.get(self.recent.len().saturating_sub(self.unsynced)..).unwrap_or_default();
            let start = self.end.offset.saturating_sub(unsynced.len() as u64);
            self.end.file.write_at(unsynced, start)?;
        }
        self.needs_rewrite = true;
        self.end.file.sync()?;
        self.needs_rewrite = false;
        self.unsynced = 0;
        if self.recent.len() >= 2 * RECENT_BYTES {
            self.recent.drain(..self.recent.len() - RECENT_BYTES);
        }
        Ok(())
    }

    pub(super) fn show_tip(&self, last: Option<(u64, u64)>) {
        let mut tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = Arc::ptr_eq(&tip.file, &self.end.file);
        let last = last.or(tip.last.filter(|_| tip.segment == self.end.segment));
        if !is_same {
            (tip.segment, tip.file) = (self.end.segment.clone(), self.end.file.clone());
        }
        (tip.offset, tip.last) = (self.end.offset, last);
    }

    fn room(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.end.offset)
    }

    fn begin_segment(&mut self) -> io::Result<Arc<Segment>> {
        self.sync()?;
        let segment = Segment { epoch: self.end.segment.epoch, first_seq: self.end.next_seq };
        let header = Header {
            origin: self.end.origin.clone(),
            epoch: segment.epoch,
            first_seq: segment.first_seq,
            tree: self.end.tree.clone(),
        };
        let file = create_segment(&*self.disk, &self.reserves, &segment, &header)?;
        self.end.segment = Arc::new(segment);
        self.end.file = file;
        self.end.offset = HEADER_BYTES as u64;
        self.end.slices.clear();
        self.end.header = header;
        self.recent.clear();
        self.show_tip(None);
        Ok(self.end.segment.clone())
    }
}

/// Makes a segment durable under its name. The header is written before the name is given, so a segment file without a
/// header never comes from a crash.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    reserves: &Reserves,
    segment: &Segment,
    header: &Header,
) -> io::Result<Arc<dyn DiskFile>> {
    let (name, file) = reserves.take()?;
    let made = file
        .write_at(&header.to_bytes(), 0)
        .and_then(|()| file.sync())
        .and_then(|()| disk.rename(&name, &segment.file_name()));
    if let Err(error) = made {
        // Tried again with another file; this one must not pile up on a full disk.
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok(Arc::from(file))
}

fn frame_bound(record: &Prepared) -> u64 {
    let slice = record.slice.as_ref().map_or(0, |slice| slice.bytes.len().saturating_add(FRAME_BYTES));
    record.len_bound().saturating_add(FRAME_BYTES).saturating_add(slice) as u64
}

/// Appends the record's frame and returns its leaf hash.
fn write_record(buffer: &mut Vec<u8>, origin: &str, seq: u64, record: &Prepared) -> [u8; 32] {
    let mut leaf = [0; 32];
    write_frame(buffer, seq, FrameType::Record, |out| {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        record.write_entry(origin, seq, out);
        let entry = out.get(start.saturating_add(4)..).unwrap_or_default();
        let length = (entry.len() as u32).to_le_bytes();
        leaf = leaf_hash(entry);
        out.iter_mut().skip(start).zip(length).for_each(|(byte, value)| *byte = value);
        record.write_beside(out);
    });
    leaf
}
