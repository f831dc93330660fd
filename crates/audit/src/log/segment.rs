//! The bytes of a segment (AUD-15): one header block, then frames, then zeroes.
//!
//! ```text
//! header  = magic 8 | version u16 | epoch u32 | first seq u64 | tree size u64 | root 32
//!           | edge count u8 | edge 32 each | origin length u16 | origin | zeroes | crc32c of all before it u32
//! frame   = length of payload u32 | crc32c of seq..payload u32 | seq u64 | type u8 | payload      (little endian)
//! ```
//!
//! Pure codec; files are in [`super::reader`] and [`super::writer`]. A frame whose length is zero marks the end. Entity
//! slices carry the sequence number of the record that needs them first and are no leaves of the tree.

use super::tree::{MAX_EDGE, RunningRoot};
use crate::entry::{MAX_CONTEXT_BYTES, MAX_ENTRY_BYTES, MAX_ORIGIN_BYTES, MAX_SEALED_BYTES, MAX_SLICE_BYTES};

/// Bytes of the header block.
pub(crate) const HEADER_BYTES: usize = 4_096;
/// Bytes of a frame in front of its payload.
pub(crate) const FRAME_BYTES: usize = 17;
/// The longest payload of a record: an entry, a context, five sealed values, and room for their heads and tags.
pub(crate) const MAX_PAYLOAD_BYTES: usize = MAX_ENTRY_BYTES + MAX_CONTEXT_BYTES + 5 * MAX_SEALED_BYTES + 1_024;
/// The smallest segment: the longest record and the largest slice fit together.
pub const MIN_SEGMENT_BYTES: u64 = 512 * 1024;
const _: () =
    assert!(HEADER_BYTES + 2 * FRAME_BYTES + MAX_PAYLOAD_BYTES + MAX_SLICE_BYTES < MIN_SEGMENT_BYTES as usize);

const MAGIC: [u8; 8] = *b"CSAUDIT\x01";
const VERSION: u16 = 1;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameType {
    /// A record: a leaf of the tree.
    Record,
    /// The canonical bytes of an entity slice; its name is their SHA-256.
    Slice,
}

impl FrameType {
    fn code(self) -> u8 {
        match self {
            FrameType::Record => 1,
            FrameType::Slice => 2,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(FrameType::Record),
            2 => Some(FrameType::Slice),
            _ => None,
        }
    }
}

/// The head of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Origin of the log, epoch included.
    pub(crate) origin: String,
    /// Epoch.
    pub(crate) epoch: u32,
    /// Sequence number of its first record.
    pub(crate) first_seq: u64,
    /// The tree of the epoch at the end of the segment before.
    pub(crate) tree: RunningRoot,
}

impl Header {
    /// The header block.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.tree.size().to_le_bytes());
        out.extend_from_slice(&self.tree.root());
        out.push(self.tree.edge().len().min(MAX_EDGE) as u8);
        self.tree.edge().iter().for_each(|hash| out.extend_from_slice(hash));
        out.extend_from_slice(&(self.origin.len().min(MAX_ORIGIN_BYTES) as u16).to_le_bytes());
        out.extend_from_slice(self.origin.as_bytes());
        out.resize(HEADER_BYTES - 4, 0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads a header block.
    ///
    /// # Errors
    /// What is wrong with it, for the gap record.
    pub(crate) fn parse(block: &[u8]) -> Result<Self, &'static str> {
        let (body, crc) = block.split_last_chunk::<4>().filter(|_| block.len() == HEADER_BYTES).ok_or("too short")?;
        let mut input = Input(body);
        if input.take::<8>().ok_or("too short")? != MAGIC {
            return Err("not a segment of an audit log");
        }
        if u16::from_le_bytes(input.take().ok_or("too short")?) != VERSION {
            return Err("written by another version");
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err("the header's checksum is wrong");
        }
        Self::parse_fields(&mut input).ok_or("the header contradicts itself")
    }

    fn parse_fields(input: &mut Input<'_>) -> Option<Self> {
        let epoch = u32::from_le_bytes(input.take()?);
        let first_seq = u64::from_le_bytes(input.take()?);
        let size = u64::from_le_bytes(input.take()?);
        let root: [u8; 32] = input.take()?;
        let [edges] = input.take::<1>()?;
        let edge = (0..edges).map(|_| input.take::<32>()).collect::<Option<Vec<_>>>()?;
        let tree = RunningRoot::from_edge(size, edge).filter(|tree| tree.root() == root)?;
        let length = usize::from(u16::from_le_bytes(input.take()?));
        let origin = String::from_utf8(input.0.get(..length)?.to_vec()).ok()?;
        Some(Self { origin, epoch, first_seq, tree })
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

/// Appends a frame to `out`; `write_payload` appends the payload.
pub(crate) fn write_frame(out: &mut Vec<u8>, seq: u64, kind: FrameType, write_payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.push(kind.code());
    write_payload(out);
    let length = out.len().saturating_sub(start).saturating_sub(FRAME_BYTES) as u32;
    let crc = crc32c::crc32c(out.get(start.saturating_add(8)..).unwrap_or_default());
    let head = length.to_le_bytes().into_iter().chain(crc.to_le_bytes());
    out.iter_mut().skip(start).zip(head).for_each(|(byte, value)| *byte = value);
}

/// A frame found in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    pub(crate) kind: FrameType,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    pub(crate) fn len(&self) -> usize {
        FRAME_BYTES.saturating_add(self.payload.len())
    }
}

/// What stands at the head of `bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parsed<'a> {
    /// A whole frame with the right checksum.
    Frame(Frame<'a>),
    /// A length of zero: nothing was written here, as far as the length goes.
    End,
    /// Anything else.
    Bad,
}

/// Reads the frame at the head of `bytes`.
pub(crate) fn parse_frame(bytes: &[u8]) -> Parsed<'_> {
    let mut input = Input(bytes);
    let Some(length) = input.take::<4>().map(u32::from_le_bytes) else { return Parsed::End };
    if length == 0 {
        return Parsed::End;
    }
    let length = length as usize;
    if length > MAX_PAYLOAD_BYTES {
        return Parsed::Bad;
    }
    let whole = || {
        let crc = u32::from_le_bytes(input.take()?);
        let covered = input.0.get(..length.saturating_add(9))?;
        let mut fields = Input(covered);
        let seq = u64::from_le_bytes(fields.take()?);
        let [code] = fields.take::<1>()?;
        let kind = FrameType::of_code(code)?;
        (crc32c::crc32c(covered) == crc).then_some(Frame { seq, kind, payload: fields.0 })
    };
    let mut whole = whole;
    whole().map_or(Parsed::Bad, Parsed::Frame)
}

/// The offset of the first whole frame after the head of `bytes` whose sequence number lies in `seqs`. Tells a torn
/// tail (nothing whole follows) from damage in the middle.
pub(crate) fn find_frame(bytes: &[u8], seqs: std::ops::Range<u64>) -> Option<usize> {
    (1..bytes.len().saturating_sub(FRAME_BYTES)).find(|offset| {
        let Some(rest) = bytes.get(*offset..) else { return false };
        let seq = rest.get(8..).and_then(|rest| rest.first_chunk::<8>()).map(|seq| u64::from_le_bytes(*seq));
        seq.is_some_and(|seq| seqs.contains(&seq)) && matches!(parse_frame(rest), Parsed::Frame(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut tree = RunningRoot::default();
        (0u8..11).for_each(|n| tree.push([n; 32]));
        Header { origin: "log.example/node/3".into(), epoch: 3, first_seq: 40, tree }
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_byte_goes_unseen() {
        let bytes = header().to_bytes();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::parse(&bytes), Ok(header()));
        for at in 0..HEADER_BYTES {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert!(Header::parse(&bent).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_frame_reads_back_and_no_flipped_byte_goes_unseen() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 7, FrameType::Slice, |out| out.extend_from_slice(b"payload"));
        let expected = Frame { seq: 7, kind: FrameType::Slice, payload: b"payload" };
        assert_eq!(parse_frame(&bytes), Parsed::Frame(expected));
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert!(!matches!(parse_frame(&bent), Parsed::Frame(_)), "byte {at}");
        }
        for end in 4..bytes.len() {
            assert_eq!(parse_frame(&bytes[..end]), Parsed::Bad);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        let mut bytes = vec![0xff; 64];
        bytes[3] = 0x7f;
        assert_eq!(parse_frame(&bytes), Parsed::Bad);
    }

    #[test]
    fn a_whole_frame_behind_damage_is_found_only_in_its_range() {
        let mut bytes = vec![9; 33];
        write_frame(&mut bytes, 70, FrameType::Record, |out| out.push(1));
        assert_eq!(find_frame(&bytes, 60..80), Some(33));
        assert_eq!(find_frame(&bytes, 71..80), None);
    }
}
