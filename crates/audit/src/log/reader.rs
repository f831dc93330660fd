//! Reading segments: names, headers, frames one after the other, and single frames by place.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::segment::{FRAME_BYTES, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, Parsed, parse_frame};

/// Bytes read at once while scanning; more than the longest frame.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A segment file. Ordered by age.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Segment {
    /// Epoch.
    pub(crate) epoch: u32,
    /// Sequence number of its first record.
    pub(crate) first_seq: u64,
}

impl Segment {
    /// `e000001-00000000000000000042.seg`
    pub(crate) fn file_name(&self) -> String {
        format!("e{:06}-{:020}.seg", self.epoch, self.first_seq)
    }

    fn of_file_name(name: &str) -> Option<Self> {
        let (epoch, seq) = name.strip_prefix('e')?.strip_suffix(".seg")?.split_once('-')?;
        let segment = Self { epoch: epoch.parse().ok()?, first_seq: seq.parse().ok()? };
        (segment.file_name() == name).then_some(segment)
    }
}

/// Every segment, oldest first.
pub(crate) fn list_segments(disk: &dyn Disk) -> io::Result<Vec<Arc<Segment>>> {
    let mut segments: Vec<_> =
        disk.list()?.iter().filter_map(|name| Segment::of_file_name(name)).map(Arc::new).collect();
    segments.sort();
    Ok(segments)
}

/// Reads the header block and compares it with the file's name.
pub(crate) fn read_header(file: &dyn DiskFile, segment: &Segment) -> io::Result<Result<Header, &'static str>> {
    let mut block = vec![0; HEADER_BYTES];
    let read = file.read_at(&mut block, 0)?;
    block.truncate(read);
    Ok(Header::parse(&block).and_then(|header| {
        let is_named = header.epoch == segment.epoch && header.first_seq == segment.first_seq;
        is_named.then_some(header).ok_or("the header belongs to another file")
    }))
}

/// Walks the frames of a file from an offset on.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    start: u64,
    at: usize,
    is_at_end: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, offset: u64) -> Self {
        Self { file, buffer: Vec::new(), start: offset, at: 0, is_at_end: false }
    }

    /// Where the next frame would be.
    pub(crate) fn offset(&self) -> u64 {
        self.start.saturating_add(self.at as u64)
    }

    /// What stands at [`Self::offset`]; a frame is passed over, anything else is not.
    pub(crate) fn step(&mut self) -> io::Result<Parsed<'_>> {
        if !self.is_at_end && self.buffer.len().saturating_sub(self.at) < FRAME_BYTES + MAX_PAYLOAD_BYTES {
            self.fill()?;
        }
        let parsed = parse_frame(self.buffer.get(self.at..).unwrap_or_default());
        if let Parsed::Frame(frame) = &parsed {
            self.at = self.at.saturating_add(frame.len());
        }
        Ok(parsed)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.start = self.offset();
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept.saturating_add(CHUNK_BYTES), 0);
        let read = self
            .file
            .read_at(self.buffer.get_mut(kept..).unwrap_or_default(), self.start.saturating_add(kept as u64))?;
        self.buffer.truncate(kept.saturating_add(read));
        self.is_at_end = read < CHUNK_BYTES;
        Ok(())
    }
}

/// The offset behind the last byte after `offset` that is not zero.
pub(crate) fn written_end(file: &dyn DiskFile, offset: u64) -> io::Result<Option<u64>> {
    let zeroes = vec![0; CHUNK_BYTES];
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = offset;
    let mut end = None;
    loop {
        let read = file.read_at(&mut chunk, at)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        // Compared whole first: blank chunks are the rule and as long as segments are large.
        if zeroes.get(..read) != Some(bytes) {
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            end = Some(at.saturating_add(last as u64).saturating_add(1));
        }
        if read < CHUNK_BYTES {
            return Ok(end);
        }
        at = at.saturating_add(read as u64);
    }
}

/// The bytes from `offset` to `end`.
pub(crate) fn read_range(file: &dyn DiskFile, offset: u64, end: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(end.saturating_sub(offset)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Opens segments for reading and keeps the last one open, because neighbours are usually asked for together.
pub(crate) struct Files<'a> {
    disk: &'a dyn Disk,
    last: Option<(Arc<Segment>, Box<dyn DiskFile>)>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, last: None }
    }

    pub(crate) fn file(&mut self, segment: &Arc<Segment>) -> io::Result<&dyn DiskFile> {
        let is_open = self.last.as_ref().is_some_and(|(open, _)| open == segment);
        if !is_open {
            self.last = Some((segment.clone(), self.disk.open(&segment.file_name())?));
        }
        let (_, file) = self.last.as_ref().ok_or_else(|| io::Error::other("no file"))?;
        Ok(&**file)
    }

    /// The payload of the record frame at `offset`.
    pub(crate) fn payload(&mut self, segment: &Arc<Segment>, offset: u32, seq: u64) -> io::Result<Vec<u8>> {
        let file = self.file(segment)?;
        let mut bytes = vec![0; 2_048];
        loop {
            let read = file.read_at(&mut bytes, u64::from(offset))?;
            let needed =
                bytes.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize) + FRAME_BYTES;
            if needed > bytes.len() && needed <= MAX_PAYLOAD_BYTES + FRAME_BYTES {
                bytes.resize(needed, 0);
                continue;
            }
            bytes.truncate(read);
            return match parse_frame(&bytes) {
                Parsed::Frame(frame) if frame.seq == seq => Ok(frame.payload.to_vec()),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is not what was written")),
            };
        }
    }
}
