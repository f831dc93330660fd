//! WebSocket over HTTP/1.1 (RFC 6455, GW-39): the hand-shake's answer is checked, then frames pass both ways.
//!
//! Not here: the decision, the Origin rule, and the request; by now there is a permit and the upstream said 101. Payloads
//! pass unread.
//!
//! Invariants: after 101 nothing but frames flows; a frame of ours never lands inside another; after a cut nothing from
//! the upstream reaches the client but the rest of a frame already begun, and nothing from the client the upstream.

pub(crate) mod frames;

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName};
use http_gate::CanonicalRequest;
use model::record::EndCause;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::StreamGuard;

use frames::{FrameTracker, Sender};

/// RFC 6455 §1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long a cut waits for the end of a frame, and again for the other end to hang up (GW-39).
const CUT_PATIENCE: Duration = Duration::from_millis(50);
/// The first read of a quiet direction; a busy one gets [`BUSY_READ_BYTES`].
const QUIET_READ_BYTES: usize = 2 * 1024;
/// The most one read takes.
const BUSY_READ_BYTES: usize = 16 * 1024;
/// Close status: the answer was withdrawn.
const POLICY_VIOLATION: u16 = 1008;
/// Close status: the door stops.
const GOING_AWAY: u16 = 1001;
/// Close status: not frames.
const PROTOCOL_ERROR: u16 = 1002;

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 §4.2.2).
pub(crate) fn accept_value(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    data_encoding::BASE64.encode(&digest)
}

/// Whether the upstream's 101 answers what the client asked (RFC 6455 §4.1).
///
/// # Errors
/// The rule it breaks; the upstream must not be connected to the client.
pub(crate) fn check_answer(request: &CanonicalRequest, answer: &HeaderMap) -> Result<(), &'static str> {
    let key = request.fields().single("sec-websocket-key").map(|key| accept_value(key));
    let accept = only(answer, &SEC_WEBSOCKET_ACCEPT);
    if key.is_none() || accept != key.as_deref().map(str::as_bytes) {
        return Err("101 with a wrong Sec-WebSocket-Accept");
    }
    if !only(answer, &UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket")) {
        return Err("101 to something other than WebSocket");
    }
    let was_offered = |name: &HeaderName, wanted: &[u8]| {
        request.fields().all(name.as_str()).flat_map(|list| list.split(|byte| *byte == b',')).any(|offer| {
            let token = offer.split(|byte| *byte == b';').next().unwrap_or_default();
            token.trim_ascii().eq_ignore_ascii_case(wanted)
        })
    };
    let mut protocols = answer.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    if let Some(protocol) = protocols.next()
        && (protocols.next().is_some() || !was_offered(&SEC_WEBSOCKET_PROTOCOL, protocol.as_bytes()))
    {
        return Err("101 with a WebSocket protocol nobody asked for");
    }
    for extension in answer.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut names = extension.as_bytes().split(|byte| *byte == b',');
        let is_offered = names.all(|extension| {
            let name = extension.split(|byte| *byte == b';').next().unwrap_or_default();
            was_offered(&SEC_WEBSOCKET_EXTENSIONS, name.trim_ascii())
        });
        if !is_offered {
            return Err("101 with a WebSocket extension nobody asked for");
        }
    }
    Ok(())
}

/// The value of a field that came exactly once.
fn only<'a>(answer: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = answer.get_all(name).iter();
    values.next().map(|value| value.as_bytes()).filter(|_| values.next().is_none())
}

/// A relay that is over.
pub(crate) struct Ended<C> {
    pub(crate) cause: EndCause,
    pub(crate) client: C,
    /// The client has hung up as well; otherwise its connection has to be reset.
    pub(crate) is_clean: bool,
}

/// What the relay is told.
pub(crate) struct Relay<'a> {
    /// Counts bytes, and says when the answer is withdrawn.
    pub(crate) guard: &'a StreamGuard,
    /// The door stops.
    pub(crate) stopping: &'a CancellationToken,
    /// The longest silence of both ends.
    pub(crate) idle_limit: Duration,
    /// An extension was agreed on.
    pub(crate) has_extension: bool,
}

impl Relay<'_> {
    /// Passes frames until one end is done, and says why it ended. The upstream side is closed then.
    ///
    /// `early` are bytes that came from the client right after its request.
    pub(crate) async fn run<C, U>(self, client: C, early: BytesMut, upstream: U) -> Ended<C>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let (client_read, client_write) = tokio::io::split(client);
        let (upstream_read, upstream_write) = tokio::io::split(upstream);
        let mut up = Pipe::new(client_read, upstream_write, FrameTracker::new(Sender::Client, self.has_extension));
        let mut down = Pipe::new(upstream_read, client_write, FrameTracker::new(Sender::Server, self.has_extension));
        let end = match up.accept(early) {
            Ok(()) => self.pass(&mut up, &mut down).await,
            Err(_) => End::BadClient,
        };
        let Pipe { to: upstream_write, from: mut client_read, .. } = up;
        // Nothing of the client goes on from here.
        drop(upstream_write);
        let (status, cause) = match end {
            End::BadClient => (Some(PROTOCOL_ERROR), EndCause::ClientAbort),
            End::BadUpstream => (Some(PROTOCOL_ERROR), EndCause::UpstreamError),
            End::Cut => (Some(POLICY_VIOLATION), EndCause::Revoked),
            End::Idle => (Some(GOING_AWAY), EndCause::Idle),
            End::Over(cause) => (None, cause),
            End::Stopping => (Some(GOING_AWAY), EndCause::DoorStop),
        };
        if status.is_some() && !matches!(end, End::BadUpstream) {
            self.guard.count_out(down.finish_frame().await);
        }
        down.close(status).await;
        // The client gets to read our close before the connection goes; what it still sends is dropped.
        let is_clean = tokio::time::timeout(CUT_PATIENCE, discard(&mut client_read)).await.is_ok();
        Ended { cause, client: client_read.unsplit(down.to), is_clean }
    }

    async fn pass<C, U>(
        &self,
        up: &mut Pipe<C, U>,
        down: &mut Pipe<impl AsyncRead + Unpin, impl AsyncWrite + Unpin>,
    ) -> End
    where
        C: AsyncRead + Unpin,
        U: AsyncWrite + Unpin,
    {
        let mut last = Instant::now();
        loop {
            if self.guard.is_cut() {
                return End::Cut;
            }
            // In no fixed order: one busy direction must not hold up the other.
            let (step, is_up) = tokio::select! {
                () = self.guard.cut() => return End::Cut,
                () = self.stopping.cancelled() => return End::Stopping,
                step = up.step() => (step, true),
                step = down.step() => (step, false),
                () = tokio::time::sleep_until(last + self.idle_limit) => return End::Idle,
            };
            last = Instant::now();
            match step {
                Ok(Step::Passed(bytes)) if is_up => self.guard.count_in(bytes),
                Ok(Step::Passed(bytes)) => self.guard.count_out(bytes),
                Ok(Step::Other) => {}
                Ok(Step::Ended) | Err(StepError::Io(_)) => {
                    let cause = match (up.has_said_goodbye() || down.has_said_goodbye(), is_up) {
                        (true, _) => EndCause::Closed,
                        (false, true) => EndCause::ClientAbort,
                        (false, false) => EndCause::UpstreamError,
                    };
                    return End::Over(cause);
                }
                Err(StepError::Frames(error)) => {
                    tracing::debug!(%error, is_from_client = is_up, "bytes that are not WebSocket frames");
                    return if is_up { End::BadClient } else { End::BadUpstream };
                }
            }
        }
    }
}

/// Why frames stopped passing.
#[derive(Clone, Copy)]
enum End {
    BadClient,
    BadUpstream,
    Cut,
    Idle,
    Over(EndCause),
    Stopping,
}

enum Step {
    /// The source has ended and everything it sent was passed on.
    Ended,
    Other,
    /// So many bytes were passed on.
    Passed(usize),
}

enum StepError {
    Frames(frames::FrameError),
    Io(#[expect(dead_code, reason = "the cause is of no use to anybody: one end is gone")] io::Error),
}

impl From<io::Error> for StepError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One direction.
struct Pipe<R, W> {
    from: R,
    to: W,
    /// Judged and not yet passed on; nothing is read while it holds anything.
    buffer: BytesMut,
    frames: FrameTracker,
    /// Frames passed on, as opposed to `frames`, which follows what was read.
    passed: FrameTracker,
    read_bytes: usize,
    needs_flush: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pipe<R, W> {
    fn new(from: R, to: W, frames: FrameTracker) -> Self {
        let passed = frames.same();
        Self { from, to, buffer: BytesMut::new(), frames, passed, read_bytes: QUIET_READ_BYTES, needs_flush: false }
    }

    /// Takes bytes that were read elsewhere.
    fn accept(&mut self, bytes: BytesMut) -> Result<(), frames::FrameError> {
        self.frames.advance(&bytes)?;
        self.buffer = bytes;
        Ok(())
    }

    /// Does the next thing: passes bytes on, flushes, or reads. Safe to drop while it waits.
    async fn step(&mut self) -> Result<Step, StepError> {
        if !self.buffer.is_empty() {
            let count = self.to.write(&self.buffer).await?;
            let written = self.buffer.get(..count).unwrap_or_default();
            self.passed.advance(written).map_err(StepError::Frames)?;
            self.buffer.advance(count);
            self.needs_flush = true;
            return if count == 0 {
                Err(StepError::Io(io::ErrorKind::WriteZero.into()))
            } else {
                Ok(Step::Passed(count))
            };
        }
        if self.needs_flush {
            self.to.flush().await?;
            self.needs_flush = false;
            // A quiet direction holds no memory.
            self.buffer = BytesMut::new();
            return Ok(Step::Other);
        }
        self.buffer.reserve(self.read_bytes);
        let count = (&mut self.from).take(BUSY_READ_BYTES as u64).read_buf(&mut self.buffer).await?;
        if count == 0 {
            return Ok(Step::Ended);
        }
        self.read_bytes = if count >= self.read_bytes { BUSY_READ_BYTES } else { QUIET_READ_BYTES };
        if let Err(error) = self.frames.advance(&self.buffer) {
            self.buffer.clear();
            return Err(StepError::Frames(error));
        }
        Ok(Step::Other)
    }

    fn has_said_goodbye(&self) -> bool {
        self.passed.saw_close()
    }

    /// After a cut: passes the rest of the frame that was begun, and nothing else. Says how many bytes that were.
    async fn finish_frame(&mut self) -> usize {
        let mut passed = 0;
        let rest = async {
            while !self.passed.is_at_boundary() {
                if self.buffer.is_empty() {
                    self.buffer.reserve(QUIET_READ_BYTES);
                    if self.from.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                let belonging = self.passed.advance_to_boundary(&self.buffer).map_err(io::Error::other)?;
                let piece = self.buffer.split_to(belonging);
                self.to.write_all(&piece).await?;
                passed += piece.len();
            }
            io::Result::Ok(())
        };
        // Too slow or broken: then no close frame can follow, and the connection is reset.
        let _ = tokio::time::timeout(CUT_PATIENCE, rest).await;
        self.buffer.clear();
        passed
    }

    /// Says goodbye, if that can be said here, and hangs up.
    async fn close(&mut self, status: Option<u16>) {
        let farewell = async {
            if let Some(status) = status
                && self.passed.is_at_boundary()
                && !self.passed.saw_close()
            {
                self.to.write_all(&frames::server_close(status)).await?;
            }
            self.to.flush().await?;
            self.to.shutdown().await
        };
        // Whoever does not take it in time is cut off without.
        let _ = tokio::time::timeout(CUT_PATIENCE, farewell).await;
    }
}

async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 512];
    while matches!(from.read(&mut sink).await, Ok(count) if count > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_rfc_6455() {
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
