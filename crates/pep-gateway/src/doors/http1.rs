//! HTTP/1.1 (GW-36): the gate's sans-IO connection on a socket, one request at a time, both bodies flowing at once.
//!
//! One loop per connection: it moves bytes between the socket, the gate's state machine and the upstream, and decides
//! nothing.
//!
//! Invariants: 100 Continue and every byte of a body wait for the decision; a request pipelined behind another is read
//! only after that one's response; a response cut short never gets its last chunk.

mod exchange;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_gate::h1::{Event, ServerConnection};
use http_gate::{GateRefusal, RawRequest};
use tokio::time::Instant;

use super::reserved::{self, Uncollected};
use super::{Door, HEAD_LIMIT, KEEP_ALIVE_LIMIT, RequestToken};
use crate::completion::Completion;
use crate::connection::ConnectionInfo;
use crate::enforce::{Outcome, ReservedCall};
use crate::permit::Permit;
use crate::upstream::pin::Pin;

pub(crate) use socket::{ClientStream, reset};
use socket::{Moved, Socket};

/// One read while a head is awaited: most heads fit.
const HEAD_READ_BYTES: usize = 4 * 1024;
/// How long the last bytes may take to leave.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// After a response that leaves bytes unread, how long and how many of them are thrown away before the end, so that
/// the client gets to read the response (RFC 9112 §9.6).
const LINGER_LIMIT: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves one connection until it ends or the door stops.
pub(crate) async fn serve(door: &Arc<Door>, stream: ClientStream, info: ConnectionInfo, requests: RequestToken) {
    let pin = Arc::new(Pin::new(info.is_client_trusted()));
    let mut http = Http1 { door, info: &info, socket: Socket::new(stream), connection: ServerConnection::new(), pin };
    while let Some(request) = http.next_request().await {
        match http.answer(request).await {
            Next::Request => {}
            Next::End => break,
            Next::Reset(ended) => {
                http.socket.reset();
                if let Some((permit, completion)) = ended.map(|ended| *ended) {
                    permit.finish(completion);
                }
                return;
            }
            Next::WebSocket(upgrade) => {
                drop(requests);
                Box::pin(upgrade.run(door, http)).await;
                return;
            }
        }
    }
    Box::pin(http.close()).await;
}

/// What follows a request.
enum Next {
    /// The connection is over; what was said may still be read.
    End,
    Request,
    /// Nothing more may leave; after that the access is over, if there was one.
    Reset(Option<Box<(Permit, Completion)>>),
    WebSocket(Box<exchange::Upgrade>),
}

/// One connection.
struct Http1<'a> {
    door: &'a Arc<Door>,
    info: &'a ConnectionInfo,
    socket: Socket,
    connection: ServerConnection,
    pin: Arc<Pin>,
}

impl Http1<'_> {
    /// The next request; `None` when there will be none.
    async fn next_request(&mut self) -> Option<RawRequest> {
        let mut deadline = Instant::now() + KEEP_ALIVE_LIMIT;
        let mut has_begun = false;
        loop {
            match self.connection.next_event() {
                Ok(Event::Head(request)) => return Some(*request),
                Ok(Event::NeedMore) => {}
                Ok(Event::Body(_) | Event::Closed | Event::End { .. } | Event::Waiting) => return None,
                Err(refusal) => {
                    self.refuse(&refusal).await;
                    return None;
                }
            }
            let is_idle = self.connection.is_idle();
            self.connection.release_idle_buffers();
            if !is_idle && !has_begun {
                deadline = Instant::now() + HEAD_LIMIT;
                has_begun = true;
            }
            tokio::select! {
                biased;
                () = self.door.stopping.cancelled() => return None,
                () = self.door.draining.cancelled(), if is_idle => return None,
                () = tokio::time::sleep_until(deadline) => return None,
                moved = self.socket.transfer(Some((self.connection.input_buffer(), HEAD_READ_BYTES))) => {
                    self.take(moved).ok()?;
                }
            }
        }
    }

    /// Tells the state machine what the socket did.
    fn take(&mut self, moved: io::Result<Moved>) -> io::Result<()> {
        if let Moved::In(0) = moved? {
            self.connection.receive_end();
        }
        Ok(())
    }

    async fn answer(&mut self, request: RawRequest) -> Next {
        if self.door.draining.is_cancelled() {
            self.connection.close_after_response();
        }
        // Boxed, like what follows: a connection that waits for a request is small.
        match Box::pin(self.door.gateway.enforce(request, self.info)).await {
            Outcome::Preflight(refusal) | Outcome::Refuse(refusal) => {
                if refusal.closes_connection() {
                    self.connection.close_after_response();
                }
                self.respond(refusal.into_response()).await
            }
            Outcome::Reserved(call) => Box::pin(self.call(*call)).await,
            Outcome::Forward(permit) => Box::pin(self.forward(*permit)).await,
        }
    }

    /// Answers from one of our own endpoints.
    async fn call(&mut self, call: ReservedCall) -> Next {
        match self.collect_body(&call).await {
            Ok(body) => {
                let response = call.answer(body).await;
                self.respond(response).await
            }
            Err(Uncollected::Gone) => Next::End,
            Err(Uncollected::TooLarge) => self.respond(call.too_large().into_response()).await,
            Err(Uncollected::Malformed(refusal)) => {
                self.refuse(&refusal).await;
                Next::End
            }
        }
    }

    /// The whole body of a request to one of our own endpoints.
    async fn collect_body(&mut self, call: &ReservedCall) -> Result<Bytes, Uncollected> {
        let mut body = reserved::Collected::begin(call)?;
        self.connection.write_continue();
        let deadline = Instant::now() + reserved::COLLECT_LIMIT;
        loop {
            match self.connection.next_event() {
                Ok(Event::Body(piece)) => body.add(&piece)?,
                Ok(Event::End { .. } | Event::Waiting) => return Ok(body.whole()),
                Ok(Event::Closed | Event::Head(_)) => return Err(Uncollected::Gone),
                Err(refusal) => return Err(Uncollected::Malformed(refusal)),
                Ok(Event::NeedMore) => {
                    if self.socket.has_room() {
                        self.socket.queue(self.connection.take_output());
                    }
                    let moved = tokio::select! {
                        () = self.door.stopping.cancelled() => return Err(Uncollected::Gone),
                        () = tokio::time::sleep_until(deadline) => return Err(Uncollected::Gone),
                        moved = self.socket.transfer(Some((self.connection.input_buffer(), HEAD_READ_BYTES))) => moved,
                    };
                    self.take(moved).map_err(|_| Uncollected::Gone)?;
                }
            }
        }
    }

    /// Sends a whole response.
    async fn respond(&mut self, response: Response<Bytes>) -> Next {
        self.skip_arrived_body();
        let (head, body) = response.into_parts();
        if let Err(error) = self.connection.respond(head.status, &head.headers, &body) {
            tracing::error!(%error, "an answer of ours does not fit its request");
            self.connection.abort();
        }
        self.send().await
    }

    /// A body that has come already need not cost the connection.
    fn skip_arrived_body(&mut self) {
        while matches!(self.connection.next_event(), Ok(Event::Body(_))) {}
    }

    /// Records what the gate refused, answers it, and closes.
    async fn refuse(&mut self, refusal: &GateRefusal) {
        let answer = Box::pin(self.door.gateway.refuse_gate(refusal, self.info)).await;
        self.connection.refuse_as(answer.status(), answer.headers(), answer.body());
        self.send().await;
    }

    /// Sends what the state machine has to say.
    async fn send(&mut self) -> Next {
        let sending = async {
            self.socket.flush().await?;
            self.socket.queue(self.connection.take_output());
            self.socket.flush().await
        };
        let sent = tokio::select! {
            sent = tokio::time::timeout(SEND_LIMIT, sending) => sent,
            () = self.door.stopping.cancelled() => return Next::Reset(None),
        };
        match sent {
            Ok(Ok(())) if self.connection.is_aborted() => Next::Reset(None),
            Ok(Ok(())) if self.connection.should_close() => Next::End,
            Ok(Ok(())) => Next::Request,
            Ok(Err(_)) | Err(_) => Next::Reset(None),
        }
    }

    /// Ends the connection.
    async fn close(mut self) {
        let farewell = async {
            self.socket.shut_down().await?;
            let mut left = LINGER_BYTES;
            let mut sink = bytes::BytesMut::with_capacity(HEAD_READ_BYTES);
            loop {
                sink.clear();
                match self.socket.transfer(Some((&mut sink, HEAD_READ_BYTES))).await? {
                    Moved::In(count) if count > 0 && count <= left => left -= count,
                    Moved::In(_) => return io::Result::Ok(()),
                    Moved::Out => {}
                }
            }
        };
        // Whoever keeps sending has had its time.
        let _ = tokio::time::timeout(LINGER_LIMIT, farewell).await;
    }
}
