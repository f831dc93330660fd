//! HTTP/2 (RFC 9113, GW-37): framing by the `h2` crate, one decision per stream and never per connection.
//!
//! A connection may carry streams for many hosts (ATK-43): each is routed and judged by its own `:authority`. Limits of
//! what `h2` lets us.
//!
//! Invariants: a stream's header list passes the gate before anything else looks at it; a stream that is cut is reset,
//! never ended; no stream outlives its connection.

mod exchange;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::reserved::{self, Uncollected};
use super::{Door, HEAD_LIMIT, KEEP_ALIVE_LIMIT, RequestToken};
use crate::connection::ConnectionInfo;
use crate::enforce::Outcome;
use crate::refusal::Refusal;
use exchange::forward;

/// Streams open at a time on one connection (GW-83).
const MAX_STREAMS: u32 = 128;
/// The window of one stream: what a client may send ahead (GW-40).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The window of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What one stream may have waiting to be sent (GW-40).
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// A header list; the gate has finer limits. Also bounds CONTINUATION frames (GW-83).
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// Streams reset before we saw them, over the life of a connection's queue (CVE-2023-44487).
const MAX_UNSEEN_RESETS: usize = 20;
/// Resets that a client provokes by breaking the protocol (CVE-2025-8671).
const MAX_PROVOKED_RESETS: usize = 100;
/// Resets by the client in [`RESET_WINDOW`] (GW-83).
const MAX_RESETS: u32 = 100;
const RESET_WINDOW: Duration = Duration::from_secs(10);
/// How long a client without streams may take to leave once it was told to.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Serves one connection until it ends or the door stops.
pub(crate) async fn serve<S>(door: &Arc<Door>, stream: S, info: ConnectionInfo, requests: RequestToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = builder().handshake::<_, Bytes>(stream);
    let Ok(Ok(connection)) = tokio::time::timeout(HEAD_LIMIT, handshake).await else { return };
    let mut streams = JoinSet::new();
    run(door, connection, Arc::new(info), &mut streams).await;
    // Whatever still runs has nobody to answer to; dropping a permit cuts its upstream and leaves its record.
    streams.shutdown().await;
    drop(requests);
}

fn builder() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(MAX_PROVOKED_RESETS));
    builder
}

async fn run<S>(
    door: &Arc<Door>,
    mut connection: Connection<S, Bytes>,
    info: Arc<ConnectionInfo>,
    streams: &mut JoinSet<StreamEnd>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut resets = Resets::new();
    let mut is_leaving = false;
    let mut last_stream = Instant::now();
    loop {
        let is_idle = streams.is_empty();
        tokio::select! {
            biased;
            () = door.stopping.cancelled() => return,
            Some(ended) = streams.join_next() => {
                last_stream = Instant::now();
                if matches!(ended, Ok(StreamEnd::ResetByClient)) && resets.are_too_many(last_stream) {
                    tracing::debug!(peer = %info.peer, "too many streams reset");
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    is_leaving = true;
                }
            }
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                last_stream = Instant::now();
                streams.spawn(answer(door.clone(), info.clone(), request, respond));
            }
            () = door.draining.cancelled(), if !is_leaving => {
                connection.graceful_shutdown();
                is_leaving = true;
            }
            () = tokio::time::sleep_until(last_stream + KEEP_ALIVE_LIMIT), if is_idle && !is_leaving => {
                connection.graceful_shutdown();
                is_leaving = true;
            }
            // The goodbye waits for the client, who need not answer it.
            () = tokio::time::sleep(LEAVE_LIMIT), if is_idle && is_leaving => return,
        }
    }
}

/// Counts resets by the client.
struct Resets {
    since: Instant,
    count: u32,
}

impl Resets {
    fn new() -> Self {
        Self { since: Instant::now(), count: 0 }
    }

    /// Notes one more.
    fn are_too_many(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= RESET_WINDOW {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count > MAX_RESETS
    }
}

/// How a stream ended, as far as its connection cares.
enum StreamEnd {
    Done,
    ResetByClient,
}

async fn answer(
    door: Arc<Door>,
    info: Arc<ConnectionInfo>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> StreamEnd {
    let (head, body) = request.into_parts();
    let has_ended = body.is_end_stream();
    let mut respond = Respond { stream: &mut respond, is_head: head.method == Method::HEAD };
    let raw = match http_gate::h2::raw_request(&head, has_ended) {
        Ok(raw) => raw,
        Err(refusal) => return respond.refuse(door.gateway.refuse_gate(&refusal, &info).await).await,
    };
    match door.gateway.enforce(raw, &info).await {
        Outcome::Preflight(refusal) | Outcome::Refuse(refusal) => respond.refuse(refusal).await,
        Outcome::Reserved(call) => {
            let response = match reserved::collect_h2(&call, body).await {
                Ok(body) => call.answer(body).await,
                Err(Uncollected::Gone) => return StreamEnd::ResetByClient,
                Err(Uncollected::Malformed(refusal)) => door.gateway.refuse_gate(&refusal, &info).await.into_response(),
                Err(Uncollected::TooLarge) => call.too_large().into_response(),
            };
            respond.send_whole(response).await
        }
        Outcome::Forward(permit) => forward(&door, &info, *permit, body, respond).await,
    }
}

/// Where a stream is answered.
struct Respond<'a> {
    stream: &'a mut SendResponse<Bytes>,
    /// Nothing but a head may answer it (RFC 9110 §9.3.2).
    is_head: bool,
}

impl Respond<'_> {
    async fn refuse(&mut self, refusal: Refusal) -> StreamEnd {
        self.send_whole(refusal.into_response()).await
    }

    async fn send_whole(&mut self, response: Response<Bytes>) -> StreamEnd {
        let (mut head, body) = response.into_parts();
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| body.len().into());
        let has_no_body = body.is_empty() || self.is_head;
        let Ok(mut send) = self.stream.send_response(Response::from_parts(head, ()), has_no_body) else {
            return StreamEnd::ResetByClient;
        };
        if has_no_body {
            return StreamEnd::Done;
        }
        let sent = tokio::time::timeout(KEEP_ALIVE_LIMIT, send_piece(&mut send, body, |_| ())).await;
        match sent {
            Ok(Ok(())) if send.send_data(Bytes::new(), true).is_ok() => StreamEnd::Done,
            _ => StreamEnd::ResetByClient,
        }
    }
}

/// Sends bytes as the client's window allows.
async fn send_piece(send: &mut SendStream<Bytes>, mut bytes: Bytes, count: impl Fn(usize)) -> Result<(), ClientGone> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let Some(Ok(capacity)) = poll_fn(|context| send.poll_capacity(context)).await else { return Err(ClientGone) };
        let piece = bytes.split_to(capacity.min(bytes.len()));
        count(piece.len());
        send.send_data(piece, false).map_err(|_| ClientGone)?;
    }
    Ok(())
}

struct ClientGone;
