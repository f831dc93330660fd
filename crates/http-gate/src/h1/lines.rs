//! Lines and header fields in a buffer that is still growing.
//!
//! Invariant: a line is judged only once it is complete or too long to become acceptable, so that the answer does not
//! depend on how the input was cut.

use std::ops::Range;

use bytes::Bytes;

use crate::fields::{Field, common_name, find_no_value_byte, lower_token_byte};
use crate::refusal::{GateCode, GateRefusal};

/// Finds line after line.
#[derive(Default)]
pub(super) struct Lines {
    start: usize,
    scanned: usize,
}

impl Lines {
    /// Where the next line starts.
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// The next line without its CRLF, of at most `limit` bytes; `None` if it is not complete.
    pub(super) fn next(
        &mut self,
        buffer: &[u8],
        limit: usize,
        too_long: GateCode,
    ) -> Result<Option<Range<usize>>, GateRefusal> {
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let line_feed = find_line_feed(unseen).map(|at| self.scanned + at);
        let end = line_feed.unwrap_or(buffer.len());
        let has_cr = end > self.start && buffer.get(end - 1) == Some(&b'\r');
        let content_end = if has_cr { end - 1 } else { end };
        if content_end - self.start > limit {
            return Err(GateRefusal::new(too_long, self.start + limit));
        }
        if line_feed.is_none() {
            self.scanned = buffer.len();
            return Ok(None);
        }
        if !has_cr {
            return Err(GateRefusal::new(GateCode::BareLf, end));
        }
        let line = self.start..content_end;
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(line))
    }
}

/// Eight bytes at a time: the exact zero-byte test on `word ^ LF…LF` (Warren, Hacker's Delight §6-1).
fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH_BITS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let differences = u64::from_le_bytes(*word) ^ (ONES * b'\n' as u64);
        let zeros = differences.wrapping_sub(ONES) & !differences & HIGH_BITS;
        if zeros != 0 {
            // The lowest marker is exact even where a borrow set higher ones.
            return Some(index * 8 + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|&byte| byte == b'\n').map(|at| words.len() * 8 + at)
}

/// Where a field's parts are in the buffer.
pub(super) struct FieldSpan {
    name: Range<usize>,
    value: Range<usize>,
}

impl FieldSpan {
    /// Checks the field on `line` and lower-cases its name in place.
    pub(super) fn parse(buffer: &mut [u8], line: Range<usize>) -> Result<Self, GateRefusal> {
        let start = line.start;
        let text = buffer.get_mut(line).unwrap_or_default();
        let refuse = |code, at: usize| Err(GateRefusal::new(code, start + at));
        if matches!(text.first(), Some(b' ' | b'\t')) {
            return refuse(GateCode::ObsFold, 0);
        }
        let mut colon = 0;
        for byte in text.iter_mut() {
            let Some(lower) = lower_token_byte(*byte) else { break };
            *byte = lower;
            colon += 1;
        }
        if colon == text.len() {
            return refuse(GateCode::HeaderName, 0);
        }
        if colon == 0 || text.get(colon) != Some(&b':') {
            return refuse(name_fault(text.get(colon..).unwrap_or_default()), colon);
        }
        let (name, value) = text.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if let Some(at) = find_no_value_byte(value) {
            let code = if value.get(at) == Some(&b'\r') { GateCode::BareCr } else { GateCode::HeaderValue };
            return refuse(code, colon + 1 + at);
        }
        let trimmed = value.trim_ascii();
        check_padding(name, value, trimmed).map_err(|code| GateRefusal::new(code, start + colon + 1))?;
        let lead = value.len() - value.trim_ascii_start().len();
        let value_start = start + colon + 1 + if trimmed.is_empty() { 0 } else { lead };
        Ok(Self { name: start..start + colon, value: value_start..value_start + trimmed.len() })
    }

    pub(super) fn name<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.name.clone()).unwrap_or_default()
    }

    /// The field, sharing the bytes of `message`.
    pub(super) fn field(&self, message: &Bytes) -> Field {
        let name = common_name(self.name(message)).unwrap_or_else(|| message.slice(self.name.clone()));
        Field::new(name, message.slice(self.value.clone()), self.name.start)
    }
}

fn name_fault(from: &[u8]) -> GateCode {
    match from {
        [b'\r', ..] => GateCode::BareCr,
        [b' ' | b'\t', rest @ ..] if rest.trim_ascii_start().starts_with(b":") => GateCode::SpaceBeforeColon,
        _ => GateCode::HeaderName,
    }
}

/// The two fields that frame a message carry one space and no other padding (ATK-2, ATK-3).
fn check_padding(name: &[u8], value: &[u8], trimmed: &[u8]) -> Result<(), GateCode> {
    let code = match name {
        b"content-length" => GateCode::ContentLength,
        b"transfer-encoding" => GateCode::TransferEncoding,
        _ => return Ok(()),
    };
    let is_plain = value.strip_prefix(b" ").unwrap_or(value) == trimmed;
    is_plain.then_some(()).ok_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_is_found_at_every_position() {
        for length in 0..40 {
            let mut bytes = vec![0x0b; length];
            assert_eq!(find_line_feed(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = b'\n';
                assert_eq!(find_line_feed(&bytes), Some(at));
            }
        }
    }
}
