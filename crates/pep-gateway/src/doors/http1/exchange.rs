//! One forwarded request over HTTP/1.1: the upload, the response, and what is done when either fails.
//!
//! Invariants: a cut is looked at before anything moves; the permit lives until the last byte is out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use http_gate::h1::{Event, ResponseBody};
use http_gate::{Fields, Framing, GateRefusal};
use hyper_util::rt::TokioIo;
use model::Reason;
use model::record::EndCause;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{Http1, Moved, Next, reset};
use crate::doors::relay::{self, Passing};
use crate::doors::{Door, HEAD_LIMIT, websocket};
use crate::permit::Permit;
use crate::upstream::UpstreamError;
use crate::upstream::exchange::Exchange;
use crate::upstream::upload::{Upload, UploadAborted, UploadBody};

/// One read while a body flows.
const BODY_READ_BYTES: usize = 16 * 1024;

/// Why the exchange came to its end.
enum End {
    BadUpload(GateRefusal),
    ClientGone,
    /// Both messages are whole and sent.
    Complete,
    Cut,
    Idle,
    Stopping,
    /// 101 came, and is in order.
    Switching,
    TooLarge,
    /// No response.
    Upstream(UpstreamError),
    /// Half a response.
    UpstreamGone,
}

/// A piece of the body that waits for room upstream.
enum Piece {
    Data(Bytes),
    End(Fields),
}

/// What happened in one turn of the loop.
#[expect(clippy::large_enum_variant, reason = "it lives for one turn, and the large one comes once in an exchange")]
enum Turn {
    End(End),
    Frame(Option<Result<http_body::Frame<Bytes>, hyper::Error>>),
    Head(Result<Exchange, UpstreamError>),
    Moved(std::io::Result<Moved>),
    /// A piece went upstream.
    Passed {
        is_over: bool,
    },
}

/// What flows, and how far it is.
struct Flow<'a> {
    permit: &'a Permit,
    /// `None` once the body is over, or the upstream wants no more of it.
    upload: Option<Upload>,
    waiting: Option<Piece>,
    uploaded: u64,
    is_response_over: bool,
    idle_limit: Duration,
    last: Instant,
}

impl Http1<'_> {
    /// Sends the permitted request upstream and its response back.
    pub(super) async fn forward(&mut self, permit: Permit) -> Next {
        let mut exchange = None;
        let end = self.exchange(&permit, &mut exchange).await;
        self.finish(permit, end, exchange).await
    }

    async fn exchange(&mut self, permit: &Permit, exchange: &mut Option<Exchange>) -> End {
        if let (Framing::ContentLength(length), Some(limit)) = (permit.request().framing(), permit.max_body_bytes())
            && length > limit
        {
            return End::TooLarge;
        }
        self.connection.write_continue();
        let (upload, body) = if permit.request().framing().has_body() {
            let (upload, body) = UploadBody::stream(permit.stream().cut_token());
            (Some(upload), body)
        } else {
            (None, UploadBody::empty())
        };
        let mut flow = Flow {
            permit,
            upload,
            waiting: None,
            uploaded: 0,
            is_response_over: false,
            idle_limit: permit.upstream().timeouts.body_idle,
            last: Instant::now(),
        };
        let upstreams = self.door.upstreams.clone();
        let pin = std::sync::Arc::clone(&self.pin);
        let mut sending = std::pin::pin!(upstreams.send(permit, body, Some(&pin)));
        loop {
            if permit.stream().is_cut() {
                return End::Cut;
            }
            if let Err(end) = self.read_events(&mut flow) {
                return end;
            }
            if self.socket.has_room() {
                self.socket.queue(self.connection.take_output());
            }
            if flow.is_response_over && self.socket.is_flushed() {
                return End::Complete;
            }
            let wants_input = flow.waiting.is_none() && self.connection.wants_input();
            let input = wants_input.then(|| (self.connection.input_buffer(), BODY_READ_BYTES));
            let wants_frame = !flow.is_response_over && self.socket.has_room();
            // In no fixed order: a fast upload must not hold up the response.
            let turn = tokio::select! {
                () = permit.stream().cut() => Turn::End(End::Cut),
                () = self.door.stopping.cancelled() => Turn::End(End::Stopping),
                is_over = pass_on(flow.upload.as_ref(), &mut flow.waiting), if flow.waiting.is_some() => {
                    Turn::Passed { is_over }
                }
                moved = self.socket.transfer(input) => Turn::Moved(moved),
                head = &mut sending, if exchange.is_none() => Turn::Head(head),
                frame = next_frame(exchange), if wants_frame && exchange.is_some() => Turn::Frame(frame),
                () = tokio::time::sleep_until(flow.last + flow.idle_limit) => Turn::End(End::Idle),
            };
            flow.last = Instant::now();
            if let Err(end) = self.take_turn(turn, &mut flow, exchange) {
                return end;
            }
        }
    }

    fn take_turn(&mut self, turn: Turn, flow: &mut Flow<'_>, exchange: &mut Option<Exchange>) -> Result<(), End> {
        match turn {
            Turn::End(end) => Err(end),
            Turn::Moved(moved) => {
                self.take(moved).map_err(|_| End::ClientGone)?;
                // A client that hangs up in the middle wants no answer any more.
                if self.connection.is_input_closed() { Err(End::ClientGone) } else { Ok(()) }
            }
            Turn::Head(Err(error)) => Err(End::Upstream(error)),
            Turn::Head(Ok(head)) => {
                let began = self.begin_response(flow, &head);
                *exchange = Some(head);
                began
            }
            Turn::Frame(frame) => self.write_frame(flow, frame),
            Turn::Passed { is_over } => {
                if is_over {
                    flow.upload = None;
                }
                Ok(())
            }
        }
    }

    /// Takes what the client has sent out of the state machine.
    fn read_events(&mut self, flow: &mut Flow<'_>) -> Result<(), End> {
        // After the response the next event belongs to the next request.
        while flow.waiting.is_none() && !flow.is_response_over {
            match self.connection.next_event().map_err(End::BadUpload)? {
                Event::Body(data) => {
                    flow.permit.stream().count_in(data.len());
                    flow.uploaded = flow.uploaded.saturating_add(data.len() as u64);
                    if flow.permit.max_body_bytes().is_some_and(|limit| flow.uploaded > limit) {
                        return Err(End::TooLarge);
                    }
                    // Without an upload the upstream has enough: the rest is read and dropped.
                    flow.waiting = flow.upload.is_some().then_some(Piece::Data(data));
                }
                Event::End { trailers } => flow.waiting = flow.upload.is_some().then_some(Piece::End(trailers)),
                Event::Closed | Event::Head(_) | Event::NeedMore | Event::Waiting => return Ok(()),
            }
        }
        Ok(())
    }

    fn begin_response(&mut self, flow: &mut Flow<'_>, exchange: &Exchange) -> Result<(), End> {
        let status = exchange.head.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let answer = websocket::check_answer(flow.permit.request(), &exchange.head.headers);
            return Err(match answer {
                Ok(()) => End::Switching,
                Err(rule) => End::Upstream(UpstreamError::Misbehaved { target: exchange.target.clone(), rule }),
            });
        }
        flow.idle_limit = relay::idle_limit(flow.permit, exchange);
        let body = match relay::declared_length(exchange) {
            Some(length) => ResponseBody::Length(length),
            None if exchange.body.is_end_stream() => ResponseBody::Empty,
            None => ResponseBody::Streamed,
        };
        let fields = relay::response_fields(flow.permit, exchange);
        self.connection.write_head(status, &fields, body).map_err(|_| End::UpstreamGone)
    }

    fn write_frame(
        &mut self,
        flow: &mut Flow<'_>,
        frame: Option<Result<http_body::Frame<Bytes>, hyper::Error>>,
    ) -> Result<(), End> {
        let trailers = match frame {
            Some(Err(_)) => return Err(End::UpstreamGone),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.connection.write_body(&data).map_err(|_| End::UpstreamGone)?;
                    flow.permit.stream().count_out(data.len());
                    return Ok(());
                }
                Err(frame) => frame.into_trailers().ok(),
            },
            None => None,
        };
        flow.is_response_over = true;
        let trailers = trailers.map(|mut trailers| {
            http_gate::upstream::sanitise_response(&mut trailers);
            trailers
        });
        self.connection.finish(trailers.as_ref()).map_err(|_| End::UpstreamGone)
    }

    /// Does what the end asks for, and records it.
    async fn finish(&mut self, permit: Permit, end: End, mut exchange: Option<Exchange>) -> Next {
        let passing = exchange.as_ref().map_or_else(Passing::nothing, Passing::of);
        let cause = match end {
            End::Complete => {
                permit.finish(passing.completion(EndCause::Closed));
                if let Some(exchange) = exchange {
                    self.door.upstreams.finish(exchange, Some(&self.pin)).await;
                }
                return if self.connection.should_close() { Next::End } else { Next::Request };
            }
            End::Switching => return self.switch(permit, passing, exchange).await,
            End::BadUpload(refusal) => {
                kill(exchange.take()).await;
                self.refuse(&refusal).await;
                permit.finish(passing.answered(refusal.status()).completion(EndCause::Refused));
                return Next::End;
            }
            End::TooLarge => {
                kill(exchange.take()).await;
                let limit = permit.max_body_bytes().unwrap_or_default();
                let refusal = permit.failed(Reason::TooLarge, &format!("at most {limit} bytes"));
                return self.answer_failure(permit, passing, refusal.into_response(), EndCause::Refused).await;
            }
            End::Upstream(error) => {
                kill(exchange.take()).await;
                if let Some(refusal) = relay::refusal(&permit, &error) {
                    return self
                        .answer_failure(permit, passing, refusal.into_response(), EndCause::UpstreamError)
                        .await;
                }
                EndCause::ClientAbort
            }
            End::ClientGone => EndCause::ClientAbort,
            End::Cut => EndCause::Revoked,
            End::Idle => EndCause::Idle,
            End::Stopping => EndCause::DoorStop,
            End::UpstreamGone => EndCause::UpstreamError,
        };
        self.connection.abort();
        kill(exchange).await;
        Next::Reset(Some(Box::new((permit, passing.completion(cause)))))
    }

    /// Passes the 101 on.
    async fn switch(&mut self, permit: Permit, passing: Passing, exchange: Option<Exchange>) -> Next {
        let Some(exchange) = exchange else { return Next::Reset(None) };
        let fields = relay::response_fields(&permit, &exchange);
        let has_extension = exchange.head.headers.contains_key(SEC_WEBSOCKET_EXTENSIONS);
        let response = Response::from_parts(exchange.head, ());
        let (Ok(upstream), Ok(())) = (
            hyper::upgrade::on(response).await,
            self.connection.write_head(StatusCode::SWITCHING_PROTOCOLS, &fields, ResponseBody::Empty),
        ) else {
            return Next::Reset(Some(Box::new((permit, passing.completion(EndCause::UpstreamError)))));
        };
        Next::WebSocket(Box::new(Upgrade { permit, passing, upstream, has_extension }))
    }

    async fn answer_failure(
        &mut self,
        permit: Permit,
        passing: Passing,
        response: Response<Bytes>,
        cause: EndCause,
    ) -> Next {
        let status = response.status();
        let next = self.respond(response).await;
        permit.finish(passing.answered(status).completion(cause));
        next
    }
}

/// A connection that speaks WebSocket from now on.
pub(super) struct Upgrade {
    permit: Permit,
    passing: Passing,
    upstream: hyper::upgrade::Upgraded,
    has_extension: bool,
}

impl Upgrade {
    /// Relays until one end is done.
    pub(super) async fn run(self, door: &Door, http: Http1<'_>) {
        let mut client = http.socket.into_stream();
        let Some(rest) = http.connection.into_upgraded() else { return };
        let began = async {
            client.write_all(&rest.output).await?;
            client.flush().await
        };
        let began = tokio::select! {
            biased;
            () = self.permit.stream().cut() => None,
            () = door.stopping.cancelled() => None,
            began = tokio::time::timeout(HEAD_LIMIT, began) => began.ok().and_then(Result::ok),
        };
        if began.is_none() {
            return reset(&client);
        }
        let relay = websocket::Relay {
            guard: self.permit.stream(),
            stopping: &door.stopping,
            idle_limit: self.permit.upstream().timeouts.stream_idle,
            has_extension: self.has_extension,
        };
        let ended = relay.run(client, BytesMut::from(rest.input), TokioIo::new(self.upstream)).await;
        if !ended.is_clean {
            reset(&ended.client);
        }
        drop(ended.client);
        self.permit.finish(self.passing.completion(ended.cause));
    }
}

/// Passes a piece on once there is room; true if no more is to follow.
async fn pass_on(upload: Option<&Upload>, waiting: &mut Option<Piece>) -> bool {
    let room = match upload {
        Some(upload) => upload.room().await,
        None => Err(UploadAborted),
    };
    match (room, waiting.take()) {
        (Ok(room), Some(Piece::Data(data))) => {
            room.send(data);
            false
        }
        (Ok(room), Some(Piece::End(trailers))) => {
            room.finish(to_header_map(&trailers));
            true
        }
        // The upstream has answered without the rest, or is gone; its response will tell.
        (Err(UploadAborted), _) | (_, None) => true,
    }
}

fn to_header_map(fields: &Fields) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name().as_bytes()).ok()?;
        map.append(name, HeaderValue::from_maybe_shared(field.value().clone()).ok()?);
    }
    (!map.is_empty()).then_some(map)
}

async fn next_frame(exchange: &mut Option<Exchange>) -> Option<Result<http_body::Frame<Bytes>, hyper::Error>> {
    match exchange {
        Some(exchange) => exchange.body.frame().await,
        None => None,
    }
}

async fn kill(exchange: Option<Exchange>) {
    if let Some(exchange) = exchange {
        exchange.kill().await;
    }
}
