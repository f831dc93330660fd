//! The head of an HTTP/1.1 request, line by line (RFC 9112 §2 to §5 without its leniencies). ATK-6.

use std::ops::Range;

use bytes::BytesMut;

use super::lines::{FieldSpan, Lines};
use crate::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_HEADERS_BYTES, MAX_REQUEST_LINE_BYTES};
use crate::refusal::{GateCode, GateRefusal};
use crate::request::{HttpVersion, RawRequest};
use crate::structure::{self, Head};

/// Reads one head out of a growing buffer.
#[derive(Default)]
pub(super) struct HeadReader {
    lines: Lines,
    request_line: Option<RequestLine>,
    spans: Vec<FieldSpan>,
}

struct RequestLine {
    method: Range<usize>,
    target: Range<usize>,
    version: HttpVersion,
    /// Where the header lines start.
    end: usize,
}

impl HeadReader {
    /// The request and the length of its head, which leaves `buffer`; `None` if it is not complete.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<(RawRequest, usize)>, GateRefusal> {
        loop {
            let Some(request_line) = &self.request_line else {
                let too_long = GateCode::RequestLineTooLong;
                let Some(line) = self.lines.next(buffer, MAX_REQUEST_LINE_BYTES, too_long)? else { return Ok(None) };
                let is_leading_empty_line = line == (0..0);
                if !is_leading_empty_line {
                    self.request_line = Some(RequestLine::parse(buffer, line, self.lines.position())?);
                }
                continue;
            };
            let headers_start = request_line.end;
            let Some(line) = self.lines.next(buffer, MAX_HEADER_BYTES, GateCode::HeaderTooLong)? else {
                return Ok(None);
            };
            if line.is_empty() {
                return self.complete(buffer).map(Some);
            }
            if self.lines.position() - headers_start > MAX_HEADERS_BYTES {
                return Err(GateRefusal::new(GateCode::HeadersTooLarge, headers_start + MAX_HEADERS_BYTES));
            }
            if self.spans.len() == MAX_HEADERS {
                return Err(GateRefusal::new(GateCode::TooManyHeaders, line.start));
            }
            self.spans.push(FieldSpan::parse(buffer, line)?);
        }
    }

    fn complete(&mut self, buffer: &mut BytesMut) -> Result<(RawRequest, usize), GateRefusal> {
        let Some(line) = &self.request_line else { return Err(GateRefusal::new(GateCode::RequestLine, 0)) };
        let length = self.lines.position();
        let message = buffer.split_to(length).freeze();
        let head = Head {
            version: line.version,
            method: message.slice(line.method.clone()),
            method_offset: line.method.start,
            target: message.slice(line.target.clone()),
            target_offset: line.target.start,
            authority: None,
            fields: self.spans.iter().map(|span| span.field(&message)).collect(),
            is_end_of_stream: false,
        };
        structure::assemble(head).map(|request| (request, length))
    }
}

impl RequestLine {
    /// Method, target and version with exactly one space between.
    fn parse(buffer: &[u8], line: Range<usize>, end: usize) -> Result<Self, GateRefusal> {
        let start = line.start;
        let text = buffer.get(line).unwrap_or_default();
        if let Some(at) = text.iter().position(|&byte| byte == b'\r') {
            return Err(GateRefusal::new(GateCode::BareCr, start + at));
        }
        let mut parts = text.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(GateRefusal::new(GateCode::RequestLine, start));
        };
        if target.is_empty() {
            return Err(GateRefusal::new(GateCode::RequestLine, start + method.len() + 1));
        }
        let target_start = start + method.len() + 1;
        let target_end = target_start + target.len();
        let version = match version {
            b"HTTP/1.1" => HttpVersion::Http11,
            b"HTTP/1.0" => HttpVersion::Http10,
            _ => return Err(GateRefusal::new(GateCode::Version, target_end + 1)),
        };
        Ok(Self { method: start..start + method.len(), target: target_start..target_end, version, end })
    }
}
