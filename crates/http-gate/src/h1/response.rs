//! Writes HTTP/1.1 responses.
//!
//! Invariants: framing and connection fields are ours alone, so that no response can end early or late for the
//! client (ATK-12); an aborted response has no final chunk; after one that does not end cleanly nothing follows.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::request::{HttpVersion, RawRequest};

/// How the body of a response ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseBody {
    /// Exactly so many bytes.
    Length(u64),
    /// No body; `content-length: 0` where a length is due.
    Empty,
    /// Unknown length: chunked, or until the connection ends for HTTP/1.0.
    Streamed,
}

/// A response that does not fit the connection: a mistake of the caller or of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteError {
    /// The body is longer than its announced length.
    #[error("the body is longer than its announced length")]
    BodyTooLong,
    /// The body is shorter than its announced length.
    #[error("the body is {missing} bytes shorter than its announced length")]
    BodyTooShort {
        /// What is missing.
        missing: u64,
    },
    /// No response has been begun.
    #[error("no response has been begun")]
    NotBegun,
    /// No request waits for a response, or its response has begun already.
    #[error("no request waits for a response")]
    NothingToAnswer,
    /// An interim status, or 101 for a request that asked for no upgrade.
    #[error("status `{0}` cannot answer this request")]
    Status(u16),
}

/// What of a request matters for its response.
pub(super) struct Exchange {
    version: HttpVersion,
    is_head: bool,
    is_websocket: bool,
    accepts_trailers: bool,
    awaits_continue: bool,
    is_request_complete: bool,
}

impl Exchange {
    pub(super) fn of(request: &RawRequest) -> (Self, bool) {
        let exchange = Self {
            version: request.version,
            is_head: &*request.method == b"HEAD",
            is_websocket: request.is_websocket,
            accepts_trailers: request.accepts_trailers,
            awaits_continue: request.expects_continue,
            is_request_complete: request.framing == crate::request::Framing::None,
        };
        (exchange, request.wants_close)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Idle,
    /// A request waits.
    Due,
    /// The head is written; so many bytes may still follow.
    Fixed(u64),
    Chunked,
    UntilClose,
    /// The head is written; whatever body comes is dropped.
    Bodiless,
    /// 101 was written.
    Upgraded,
    Aborted,
}

/// The writing half of a connection.
#[derive(Default)]
pub(super) struct ResponseWriter {
    output: BytesMut,
    state: State,
    exchange: Option<Exchange>,
    closes: bool,
}

/// Fields the writer sets itself.
const OURS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl ResponseWriter {
    pub(super) fn begin(&mut self, (exchange, wants_close): (Exchange, bool)) {
        self.exchange = Some(exchange);
        self.closes |= wants_close;
        self.state = State::Due;
    }

    pub(super) fn request_is_complete(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.is_request_complete = true;
        }
    }

    pub(super) fn version(&self) -> Option<HttpVersion> {
        self.exchange.as_ref().map(|exchange| exchange.version)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.state == State::Aborted
    }

    pub(super) fn close_after_response(&mut self) {
        self.closes = true;
    }

    pub(super) fn release_idle_buffer(&mut self) {
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }

    pub(super) fn buffer_capacity(&self) -> usize {
        self.output.capacity()
    }

    pub(super) fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    pub(super) fn write_continue(&mut self) {
        if let (State::Due, Some(exchange)) = (self.state, &mut self.exchange)
            && exchange.awaits_continue
        {
            exchange.awaits_continue = false;
            self.output.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    pub(super) fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: ResponseBody,
    ) -> Result<(), WriteError> {
        let (State::Due, Some(exchange)) = (self.state, &self.exchange) else {
            return Err(WriteError::NothingToAnswer);
        };
        let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
        if status.is_informational() && !(is_upgrade && exchange.is_websocket) {
            return Err(WriteError::Status(status.as_u16()));
        }
        // A body that the client may or may not still send cannot be told from a next request.
        self.closes |= !exchange.is_request_complete || exchange.is_websocket;
        self.state = next_state(exchange, status, body);
        write_status(&mut self.output, status);
        for (name, value) in headers {
            if !OURS.contains(name) && name != "keep-alive" && name != "proxy-connection" {
                write_field(&mut self.output, name, value);
            }
        }
        match self.state {
            State::Upgraded => self.output.put_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
            State::Chunked => self.output.put_slice(b"transfer-encoding: chunked\r\n"),
            _ => write_length(&mut self.output, status, body, exchange.is_head),
        }
        if self.closes && !is_upgrade {
            self.output.put_slice(b"connection: close\r\n");
        }
        self.output.put_slice(b"\r\n");
        Ok(())
    }

    pub(super) fn write_body(&mut self, data: &[u8]) -> Result<(), WriteError> {
        match &mut self.state {
            State::Fixed(remaining) => {
                let left = remaining.checked_sub(data.len() as u64);
                *remaining = left.ok_or(WriteError::BodyTooLong)?;
                self.output.put_slice(data);
            }
            // An empty chunk would end the body.
            State::Chunked if data.is_empty() => {}
            State::Chunked => {
                self.output.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.output.put_slice(data);
                self.output.put_slice(b"\r\n");
            }
            State::UntilClose => self.output.put_slice(data),
            State::Bodiless => {}
            State::Idle | State::Due | State::Upgraded | State::Aborted => return Err(WriteError::NotBegun),
        }
        Ok(())
    }

    /// True if another request may follow.
    pub(super) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<bool, WriteError> {
        match self.state {
            State::Fixed(0) | State::Bodiless => {}
            State::Fixed(missing) => return Err(WriteError::BodyTooShort { missing }),
            State::UntilClose => self.closes = true,
            State::Chunked => self.write_last_chunk(trailers),
            State::Idle | State::Due | State::Upgraded | State::Aborted => return Err(WriteError::NotBegun),
        }
        self.state = State::Idle;
        self.exchange = None;
        Ok(!self.closes)
    }

    fn write_last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.output.put_slice(b"0\r\n");
        let accepts_trailers = self.exchange.as_ref().is_some_and(|exchange| exchange.accepts_trailers);
        for (name, value) in trailers.filter(|_| accepts_trailers).into_iter().flatten() {
            if !OURS.contains(name) {
                write_field(&mut self.output, name, value);
            }
        }
        self.output.put_slice(b"\r\n");
    }

    pub(super) fn refuse(&mut self, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
        if !matches!(self.state, State::Idle | State::Due) {
            return self.abort();
        }
        write_status(&mut self.output, status);
        for (name, value) in headers.iter().filter(|(name, _)| !OURS.contains(name)) {
            write_field(&mut self.output, name, value);
        }
        self.output.put_slice(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        if !self.exchange.as_ref().is_some_and(|exchange| exchange.is_head) {
            self.output.put_slice(body);
        }
        self.state = State::Idle;
        self.exchange = None;
        self.closes = true;
    }

    pub(super) fn abort(&mut self) {
        self.output.clear();
        self.state = State::Aborted;
        self.closes = true;
    }
}

fn next_state(exchange: &Exchange, status: StatusCode, body: ResponseBody) -> State {
    match body {
        _ if status == StatusCode::SWITCHING_PROTOCOLS => State::Upgraded,
        _ if exchange.is_head || is_bodiless(status) => State::Bodiless,
        ResponseBody::Empty => State::Bodiless,
        ResponseBody::Length(length) => State::Fixed(length),
        ResponseBody::Streamed if exchange.version == HttpVersion::Http10 => State::UntilClose,
        ResponseBody::Streamed => State::Chunked,
    }
}

/// RFC 9110 §6.4.1.
fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn write_status(output: &mut BytesMut, status: StatusCode) {
    output.put_slice(b"HTTP/1.1 ");
    output.put_slice(status.as_str().as_bytes());
    output.put_u8(b' ');
    output.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.put_slice(b"\r\n");
}

fn write_field(output: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    output.put_slice(name.as_str().as_bytes());
    output.put_slice(b": ");
    output.put_slice(value.as_bytes());
    output.put_slice(b"\r\n");
}

/// RFC 9110 §8.6: no length with 204, and none that would be a guess.
fn write_length(output: &mut BytesMut, status: StatusCode, body: ResponseBody, is_head: bool) {
    let length = match body {
        _ if status == StatusCode::NO_CONTENT => return,
        ResponseBody::Empty if is_head || status == StatusCode::NOT_MODIFIED => return,
        ResponseBody::Streamed => return,
        ResponseBody::Empty => 0,
        ResponseBody::Length(length) => length,
    };
    output.put_slice(format!("content-length: {length}\r\n").as_bytes());
}
