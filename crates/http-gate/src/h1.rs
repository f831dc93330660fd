//! A sans-IO HTTP/1.1 server connection (R-22, GW-36): bytes in, events out; responses in, bytes
//! out.
//!
//! The shell that owns the socket loops: [`ServerConnection::receive`] what was read, handle
//! [`ServerConnection::next_event`] until [`Event::NeedMore`] or [`Event::Waiting`], answer with the `write_*`
//! functions, send [`ServerConnection::take_output`], stop when [`ServerConnection::should_close`] and all is sent.
//! It has no timers and opens no upstream.
//!
//! Invariants: how the input is cut into pieces never changes what it means; one request is out at a time, and the
//! next is parsed only after its response is finished; after a refusal, an abort or an unread body nothing of the
//! input is read as a request any more.

mod body;
mod head;
mod lines;
mod response;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::fields::Fields;
use crate::limits::MAX_READ_AHEAD_BYTES;
use crate::refusal::{GateCode, GateRefusal};
use crate::request::{Framing, HttpVersion, RawRequest};

use body::{BodyReader, Progress};
use head::HeadReader;
use response::{Exchange, ResponseWriter};
pub use response::{ResponseBody, WriteError};

/// What [`ServerConnection::next_event`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes of the request's body.
    Body(Bytes),
    /// The connection is over; no request will come any more.
    Closed,
    /// The body is complete. Does not come after a head whose framing is [`Framing::None`].
    End {
        /// Declared trailers that came; names in lower case.
        trailers: Fields,
    },
    /// A request begins.
    Head(Box<RawRequest>),
    /// Nothing more without more input.
    NeedMore,
    /// The request is complete and waits for its response; input beyond it waits as well.
    Waiting,
}

/// What remains of a connection after `101 Switching Protocols`.
pub struct Upgraded {
    /// Bytes already received that belong to the new protocol.
    pub input: Bytes,
    /// Bytes still to be sent, the 101 among them.
    pub output: Bytes,
}

/// The server side of one HTTP/1.1 connection.
pub struct ServerConnection {
    input: BytesMut,
    is_input_closed: bool,
    reading: Reading,
    /// Bytes of the current request that have left `input`.
    consumed: usize,
    writer: ResponseWriter,
}

enum Reading {
    Head(HeadReader),
    Body(BodyReader),
    /// The request is complete; its response is not.
    Complete,
    /// A WebSocket upgrade waits for its answer: no byte may come.
    Upgrading,
    /// 101 was written: input belongs to another protocol.
    Upgraded,
    Failed(GateRefusal),
    Closed,
}

impl Default for ServerConnection {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerConnection {
    /// A connection that has received nothing.
    pub fn new() -> Self {
        Self {
            input: BytesMut::new(),
            is_input_closed: false,
            reading: Reading::Head(HeadReader::default()),
            consumed: 0,
            writer: ResponseWriter::default(),
        }
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The buffer to read into, instead of [`Self::receive`]. Only append to it.
    pub fn input_buffer(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The client will send no more.
    pub fn receive_end(&mut self) {
        self.is_input_closed = true;
    }

    /// True if the client will send no more.
    pub fn is_input_closed(&self) -> bool {
        self.is_input_closed
    }

    /// True if the shell should read from the socket. False while enough following requests wait, or none may come.
    pub fn wants_input(&self) -> bool {
        let is_open = match self.reading {
            Reading::Head(_) | Reading::Body(_) | Reading::Upgrading => true,
            Reading::Complete | Reading::Upgraded => self.input.len() < MAX_READ_AHEAD_BYTES,
            Reading::Failed(_) | Reading::Closed => false,
        };
        is_open && !self.is_input_closed
    }

    /// True if no byte of a request is waiting or being read: the connection may be closed without loss.
    pub fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && self.input.is_empty()
    }

    /// Gives back the memory of a connection that waits for its next request; nothing while a byte is held.
    pub fn release_idle_buffers(&mut self) {
        if self.is_idle() {
            self.input = BytesMut::new();
            self.writer.release_idle_buffer();
        }
    }

    /// Bytes of memory kept for input and output.
    pub fn buffer_capacity(&self) -> usize {
        self.input.capacity() + self.writer.buffer_capacity()
    }

    /// The next event.
    ///
    /// # Errors
    /// The rule the client broke. Nothing more is read; answer with [`Self::refuse`] and drop what was begun upstream.
    pub fn next_event(&mut self) -> Result<Event, GateRefusal> {
        let event = self.read();
        if let Err(refusal) = event {
            self.reading = Reading::Failed(refusal);
        }
        event
    }

    fn read(&mut self) -> Result<Event, GateRefusal> {
        match &mut self.reading {
            Reading::Head(_) => self.read_head(),
            Reading::Body(_) => self.read_body(),
            Reading::Complete | Reading::Upgraded => Ok(Event::Waiting),
            Reading::Upgrading if self.input.is_empty() => Ok(Event::Waiting),
            Reading::Upgrading => Err(GateRefusal::new(GateCode::UpgradeEarlyBytes, self.consumed)),
            Reading::Failed(refusal) => Err(*refusal),
            Reading::Closed => Ok(Event::Closed),
        }
    }

    fn read_head(&mut self) -> Result<Event, GateRefusal> {
        let Reading::Head(reader) = &mut self.reading else { return Ok(Event::NeedMore) };
        let Some((request, length)) = reader.read(&mut self.input)? else {
            return match self.is_input_closed {
                false => Ok(Event::NeedMore),
                true if self.input.is_empty() => {
                    self.reading = Reading::Closed;
                    Ok(Event::Closed)
                }
                true => Err(GateRefusal::new(GateCode::HeadTruncated, self.input.len())),
            };
        };
        self.consumed = length;
        if request.is_websocket && !self.input.is_empty() {
            return Err(GateRefusal::new(GateCode::UpgradeEarlyBytes, length));
        }
        self.writer.begin(Exchange::of(&request));
        self.reading = match request.framing {
            _ if request.is_websocket => Reading::Upgrading,
            Framing::None => Reading::Complete,
            Framing::ContentLength(length) => Reading::Body(BodyReader::of_length(length)),
            Framing::Chunked => Reading::Body(BodyReader::chunked(request.declared_trailers.clone())),
        };
        Ok(Event::Head(Box::new(request)))
    }

    fn read_body(&mut self) -> Result<Event, GateRefusal> {
        let Reading::Body(reader) = &mut self.reading else { return Ok(Event::NeedMore) };
        let before = self.input.len();
        let progress = reader.read(&mut self.input).map_err(|refusal| refusal.shifted(self.consumed))?;
        match progress {
            Progress::NeedMore { consumed } if self.is_input_closed => {
                let left = self.input.len();
                Err(GateRefusal::new(
                    GateCode::BodyTruncated,
                    self.consumed.saturating_add(consumed).saturating_add(left),
                ))
            }
            Progress::NeedMore { consumed } => {
                self.consumed = self.consumed.saturating_add(consumed);
                Ok(Event::NeedMore)
            }
            Progress::Data(data) => {
                self.consumed = self.consumed.saturating_add(before - self.input.len());
                Ok(Event::Body(data))
            }
            Progress::End(trailers) => {
                self.consumed = self.consumed.saturating_add(before - self.input.len());
                self.reading = Reading::Complete;
                self.writer.request_is_complete();
                Ok(Event::End { trailers })
            }
        }
    }

    /// Asks the client for the body if it waits to be asked (`Expect: 100-continue`); call it after the decision.
    pub fn write_continue(&mut self) {
        self.writer.write_continue();
    }

    /// Begins the response. The writer sets framing and connection fields itself and ignores them in `headers`.
    ///
    /// # Errors
    /// No request waits, the response has begun, or the status does not fit: the response is then not begun.
    pub fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: ResponseBody,
    ) -> Result<(), WriteError> {
        self.writer.write_head(status, headers, body)?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.reading = Reading::Upgraded;
        }
        Ok(())
    }

    /// Writes a part of the body. Dropped where no body may follow (HEAD, 204, 304; ATK-12).
    ///
    /// # Errors
    /// No response has begun, or it would become longer than announced: [`Self::abort`].
    pub fn write_body(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.writer.write_body(data)
    }

    /// Ends the response; `trailers` are written if the client takes them and the body is chunked. Then the next
    /// request is parsed, unless the connection has to close.
    ///
    /// # Errors
    /// No response has begun, or it is shorter than announced: [`Self::abort`].
    pub fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), WriteError> {
        let keeps_alive = self.writer.finish(trailers)?;
        self.consumed = 0;
        self.reading = match keeps_alive {
            true => Reading::Head(HeadReader::default()),
            false => Reading::Closed,
        };
        Ok(())
    }

    /// A whole response: head, body, end.
    ///
    /// # Errors
    /// As [`Self::write_head`].
    pub fn respond(&mut self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), WriteError> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.write_head(status, headers, ResponseBody::Length(length))?;
        self.write_body(body)?;
        self.finish(None)
    }

    /// Answers a refusal of the gate with its problem JSON and closes; if a response has begun, cuts it short instead.
    pub fn refuse(&mut self, refusal: &GateRefusal) {
        self.refuse_as(refusal.status(), &refusal.headers(), refusal.problem_json().as_bytes());
    }

    /// The same with an answer of the caller's: a door adds the ids its record is found by.
    pub fn refuse_as(&mut self, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
        self.reading = Reading::Closed;
        self.writer.refuse(status, headers, body);
    }

    /// Cuts the connection: no final chunk, nothing queued is sent any more (GW-57).
    pub fn abort(&mut self) {
        self.reading = Reading::Closed;
        self.writer.abort();
    }

    /// Closes after the response in progress; without one, at once.
    pub fn close_after_response(&mut self) {
        if matches!(self.reading, Reading::Head(_)) && self.writer.is_idle() {
            self.reading = Reading::Closed;
        }
        self.writer.close_after_response();
    }

    /// Bytes to send; empty if none.
    pub fn take_output(&mut self) -> Bytes {
        self.writer.take_output()
    }

    /// True once nothing more will be read or written; close after the output is sent.
    pub fn should_close(&self) -> bool {
        matches!(self.reading, Reading::Closed)
    }

    /// True if the response was cut short, so that the peer must not take the end for a clean one.
    pub fn is_aborted(&self) -> bool {
        self.writer.is_aborted()
    }

    /// Hands the connection over after a 101 was written; `None` before.
    pub fn into_upgraded(mut self) -> Option<Upgraded> {
        matches!(self.reading, Reading::Upgraded)
            .then(|| Upgraded { input: self.input.freeze(), output: self.writer.take_output() })
    }

    /// The version of the request being answered, for the record.
    pub fn version(&self) -> Option<HttpVersion> {
        self.writer.version()
    }
}
