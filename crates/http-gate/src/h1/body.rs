//! The body of an HTTP/1.1 request: by length, or chunked (RFC 9112 §7.1). ATK-7.
//!
//! Invariants: chunk sizes are hex digits and nothing else; every chunk ends in CRLF; extensions are bounded and
//! dropped; only declared trailers pass.

use bytes::{Bytes, BytesMut};

use super::lines::{FieldSpan, Lines};
use crate::fields::{Fields, find_no_value_byte};
use crate::limits::{
    MAX_CHUNK_EXTENSION_BYTES, MAX_CHUNK_LINE_BYTES, MAX_CHUNK_SIZE_DIGITS, MAX_HEADER_BYTES, MAX_TRAILERS,
    MAX_TRAILERS_BYTES,
};
use crate::refusal::{GateCode, GateRefusal};

/// What [`BodyReader::read`] found.
pub(super) enum Progress {
    Data(Bytes),
    End(Fields),
    NeedMore {
        /// Bytes of framing that left the buffer.
        consumed: usize,
    },
}

/// Reads one body out of a growing buffer. Offsets in refusals count from the buffer's start before the call.
pub(super) struct BodyReader {
    state: State,
    declared: Vec<Bytes>,
    extension_bytes: usize,
}

enum State {
    Fixed { remaining: u64 },
    ChunkSize,
    ChunkData { remaining: u64 },
    ChunkEnd,
    Trailers { lines: Lines, spans: Vec<FieldSpan> },
}

impl BodyReader {
    pub(super) fn of_length(length: u64) -> Self {
        Self { state: State::Fixed { remaining: length }, declared: Vec::new(), extension_bytes: 0 }
    }

    pub(super) fn chunked(declared: Vec<Bytes>) -> Self {
        Self { state: State::ChunkSize, declared, extension_bytes: 0 }
    }

    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Progress, GateRefusal> {
        let mut consumed = 0;
        loop {
            let progress = match &mut self.state {
                State::Fixed { remaining: 0 } => Some(Progress::End(Fields::default())),
                State::Fixed { remaining } => take(buffer, remaining),
                State::ChunkSize => self.read_size(buffer, &mut consumed)?,
                State::ChunkData { remaining: 0 } => {
                    self.state = State::ChunkEnd;
                    continue;
                }
                State::ChunkData { remaining } => take(buffer, remaining),
                State::ChunkEnd => self.read_chunk_end(buffer, &mut consumed)?,
                State::Trailers { lines, spans } => match read_trailers(buffer, lines, spans, &self.declared) {
                    Ok(progress) => progress,
                    Err(refusal) => return Err(refusal.shifted(consumed)),
                },
            };
            match progress {
                Some(Progress::NeedMore { .. }) => {}
                Some(progress) => return Ok(progress),
                None => return Ok(Progress::NeedMore { consumed }),
            }
        }
    }

    /// `Some(NeedMore)` means "go on with the next state".
    fn read_size(&mut self, buffer: &mut BytesMut, consumed: &mut usize) -> Result<Option<Progress>, GateRefusal> {
        let mut lines = Lines::default();
        let line = lines
            .next(buffer, MAX_CHUNK_LINE_BYTES, GateCode::ChunkLineTooLong)
            .map_err(|refusal| refusal.shifted(*consumed))?;
        let Some(line) = line else { return Ok(None) };
        let text = buffer.get(line).unwrap_or_default();
        let (size, extension_bytes) = parse_size_line(text).map_err(|refusal| refusal.shifted(*consumed))?;
        self.extension_bytes = self.extension_bytes.saturating_add(extension_bytes);
        if self.extension_bytes > MAX_CHUNK_EXTENSION_BYTES {
            return Err(GateRefusal::new(GateCode::ChunkExtensions, *consumed));
        }
        self.state = match size {
            0 => State::Trailers { lines: Lines::default(), spans: Vec::new() },
            remaining => State::ChunkData { remaining },
        };
        Ok(go_on(buffer, lines.position(), consumed))
    }

    fn read_chunk_end(&mut self, buffer: &mut BytesMut, consumed: &mut usize) -> Result<Option<Progress>, GateRefusal> {
        let refuse = |at| Err(GateRefusal::new(GateCode::ChunkData, *consumed + at));
        match (buffer.first(), buffer.get(1)) {
            (None, _) | (Some(b'\r'), None) => Ok(None),
            (Some(b'\r'), Some(b'\n')) => {
                self.state = State::ChunkSize;
                Ok(go_on(buffer, 2, consumed))
            }
            (Some(b'\r'), Some(_)) => refuse(1),
            (Some(_), _) => refuse(0),
        }
    }
}

fn go_on(buffer: &mut BytesMut, framing: usize, consumed: &mut usize) -> Option<Progress> {
    drop(buffer.split_to(framing));
    *consumed += framing;
    Some(Progress::NeedMore { consumed: *consumed })
}

/// As much of the body as is there, without copying.
fn take(buffer: &mut BytesMut, remaining: &mut u64) -> Option<Progress> {
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buffer.len());
    if length == 0 {
        return None;
    }
    *remaining -= length as u64;
    Some(Progress::Data(buffer.split_to(length).freeze()))
}

/// `chunk-size [chunk-ext]`: the size, and how long the extension is.
fn parse_size_line(line: &[u8]) -> Result<(u64, usize), GateRefusal> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).unwrap_or_default();
    let is_size = (1..=MAX_CHUNK_SIZE_DIGITS).contains(&digits) && matches!(extension.first(), None | Some(b';'));
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    let (true, Some(size)) = (is_size, size) else {
        return Err(GateRefusal::new(GateCode::ChunkSize, digits.min(MAX_CHUNK_SIZE_DIGITS)));
    };
    match find_no_value_byte(extension) {
        Some(at) => Err(GateRefusal::new(GateCode::ChunkExtensions, digits + at)),
        None => Ok((size, extension.len())),
    }
}

fn read_trailers(
    buffer: &mut BytesMut,
    lines: &mut Lines,
    spans: &mut Vec<FieldSpan>,
    declared: &[Bytes],
) -> Result<Option<Progress>, GateRefusal> {
    while let Some(line) = lines.next(buffer, MAX_HEADER_BYTES, GateCode::TrailersTooLarge)? {
        if line.is_empty() {
            let message = buffer.split_to(lines.position()).freeze();
            let fields = spans.iter().map(|span| span.field(&message)).collect();
            return Ok(Some(Progress::End(Fields(fields))));
        }
        if lines.position() > MAX_TRAILERS_BYTES {
            return Err(GateRefusal::new(GateCode::TrailersTooLarge, MAX_TRAILERS_BYTES));
        }
        if spans.len() == MAX_TRAILERS {
            return Err(GateRefusal::new(GateCode::TooManyTrailers, line.start));
        }
        let start = line.start;
        let span = FieldSpan::parse(buffer, line)?;
        if !declared.iter().any(|name| name == span.name(buffer)) {
            return Err(GateRefusal::new(GateCode::TrailerUndeclared, start));
        }
        spans.push(span);
    }
    Ok(None)
}
