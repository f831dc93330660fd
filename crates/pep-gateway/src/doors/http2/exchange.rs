//! One forwarded stream: the upload, the response, and what is done when either fails.
//!
//! Invariants: a cut is looked at before anything moves; the permit lives until the stream is ended or reset; a stream
//! that fails half-way is reset, so that it never looks whole (GW-57).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use http_gate::{BodyMeter, GateCode, GateRefusal};
use model::record::EndCause;
use tokio::time::timeout;

use super::{ClientGone, Respond, StreamEnd, send_piece};
use crate::connection::ConnectionInfo;
use crate::doors::Door;
use crate::doors::relay::{self, Passing};
use crate::permit::Permit;
use crate::upstream::UpstreamError;
use crate::upstream::exchange::Exchange;
use crate::upstream::upload::{Progress, Upload, UploadBody};

/// Why a forwarded stream came to its end.
enum End {
    BadUpload(GateRefusal),
    ClientGone,
    /// Both messages are whole.
    Complete,
    Cut,
    Idle,
    Stopping,
    /// No response.
    Upstream(UpstreamError),
    /// Half a response.
    UpstreamGone,
}

impl From<ClientGone> for End {
    fn from(ClientGone: ClientGone) -> Self {
        Self::ClientGone
    }
}

/// The response as far as it has come.
#[derive(Default)]
struct Answer {
    exchange: Option<Exchange>,
    /// Once the head is sent.
    sending: Option<SendStream<Bytes>>,
}

/// Sends the permitted request upstream and its response back.
pub(super) async fn forward(
    door: &Door,
    info: &Arc<ConnectionInfo>,
    permit: Permit,
    body: RecvStream,
    mut respond: Respond<'_>,
) -> StreamEnd {
    let mut answer = Answer::default();
    let end = {
        let (upload, upload_body) = if permit.request().framing().has_body() {
            let (upload, upload_body) = UploadBody::stream(permit.stream().cut_token());
            (Some(upload), upload_body)
        } else {
            (None, UploadBody::empty())
        };
        tokio::select! {
            biased;
            () = permit.stream().cut() => End::Cut,
            () = door.stopping.cancelled() => End::Stopping,
            end = send_up(&permit, body, upload) => end,
            end = send_down(door, &permit, upload_body, respond.stream, &mut answer) => end,
        }
    };
    finish(door, info, permit, end, &mut respond, answer).await
}

/// Passes the request's body on. Comes back only when something is wrong with it.
async fn send_up(permit: &Permit, mut body: RecvStream, upload: Option<Upload>) -> End {
    match pass_up(permit, &mut body, upload).await {
        // The body is kept: dropping it early would reset a stream that is still being answered.
        Ok(()) => std::future::pending().await,
        Err(end) => end,
    }
}

async fn pass_up(permit: &Permit, body: &mut RecvStream, upload: Option<Upload>) -> Result<(), End> {
    let idle_limit = permit.upstream().timeouts.body_idle;
    let mut meter = BodyMeter::new(permit.request().framing(), permit.max_body_bytes()).map_err(End::BadUpload)?;
    let Some(upload) = upload else {
        return meter.end().map_err(End::BadUpload);
    };
    loop {
        let Ok(room) = upload.room().await else {
            // The upstream has answered without the rest, or is gone; its response will tell.
            return Ok(());
        };
        match timeout(idle_limit, body.data()).await.map_err(|_| End::Idle)? {
            Some(data) => {
                let data = data.map_err(|_| End::ClientGone)?;
                meter.add(data.len()).map_err(End::BadUpload)?;
                permit.stream().count_in(data.len());
                body.flow_control().release_capacity(data.len()).map_err(|_| End::ClientGone)?;
                room.send(data);
            }
            None => {
                meter.end().map_err(End::BadUpload)?;
                let trailers = body.trailers().await.map_err(|_| End::ClientGone)?;
                if let Some(trailers) = &trailers {
                    http_gate::h2::trailers(trailers, permit.request()).map_err(End::BadUpload)?;
                }
                room.finish(trailers);
                return Ok(());
            }
        }
    }
}

async fn send_down(
    door: &Door,
    permit: &Permit,
    upload: UploadBody,
    respond: &mut SendResponse<Bytes>,
    answer: &mut Answer,
) -> End {
    pass_down(door, permit, upload, respond, answer).await.err().unwrap_or(End::Complete)
}

async fn pass_down(
    door: &Door,
    permit: &Permit,
    upload: UploadBody,
    respond: &mut SendResponse<Bytes>,
    answer: &mut Answer,
) -> Result<(), End> {
    if permit.request().expects_continue() {
        let go_on = Response::builder().status(StatusCode::CONTINUE).body(()).map_err(|_| End::ClientGone)?;
        respond.send_informational(go_on).map_err(|_| End::ClientGone)?;
    }
    let (progress, idle_limit) = (upload.progress(), permit.upstream().timeouts.body_idle);
    let exchange = tokio::select! {
        sent = door.upstreams.send(permit, upload, None) => sent.map_err(End::Upstream)?,
        () = stalls(permit, &progress, idle_limit) => return Err(End::Idle),
        _ = poll_fn(|context| respond.poll_reset(context)) => return Err(End::ClientGone),
    };
    let exchange = answer.exchange.insert(exchange);
    let idle_limit = relay::idle_limit(permit, exchange);
    let has_no_body = permit.request().method() == Method::HEAD.as_str() || exchange.body.is_end_stream();
    let mut head = Response::new(());
    *head.status_mut() = exchange.head.status;
    *head.headers_mut() = relay::response_fields(permit, exchange);
    let sending = respond.send_response(head, has_no_body).map_err(|_| End::ClientGone)?;
    let sending = answer.sending.insert(sending);
    if has_no_body {
        return Ok(());
    }
    let trailers = pass_body(permit, exchange, sending, idle_limit).await?;
    match trailers {
        Some(mut trailers) => {
            http_gate::upstream::sanitise_response(&mut trailers);
            sending.send_trailers(trailers).map_err(|_| End::ClientGone)
        }
        None => sending.send_data(Bytes::new(), true).map_err(|_| End::ClientGone),
    }
}

/// Resolves when an upstream that has not answered takes nothing more of the body either.
async fn stalls(permit: &Permit, progress: &Progress, idle_limit: Duration) {
    loop {
        let passed = permit.stream().bytes_in();
        tokio::time::sleep(idle_limit).await;
        if progress.is_over() {
            // Everything was sent: from here the limit for the response head holds.
            return std::future::pending().await;
        }
        if permit.stream().bytes_in() == passed {
            return;
        }
    }
}

/// Passes the body on, each piece as it comes; gives the trailers.
async fn pass_body(
    permit: &Permit,
    exchange: &mut Exchange,
    sending: &mut SendStream<Bytes>,
    idle_limit: Duration,
) -> Result<Option<HeaderMap>, End> {
    loop {
        let frame = tokio::select! {
            frame = timeout(idle_limit, exchange.body.frame()) => frame.map_err(|_| End::Idle)?,
            _ = poll_fn(|context| sending.poll_reset(context)) => return Err(End::ClientGone),
        };
        let Some(frame) = frame else { return Ok(None) };
        match frame.map_err(|_| End::UpstreamGone)?.into_data() {
            Ok(data) => {
                let sent = send_piece(sending, data, |count| permit.stream().count_out(count));
                timeout(idle_limit, sent).await.map_err(|_| End::Idle)??;
            }
            Err(frame) => return Ok(frame.into_trailers().ok()),
        }
    }
}

/// Does what the end asks for, and records it.
async fn finish(
    door: &Door,
    info: &Arc<ConnectionInfo>,
    permit: Permit,
    end: End,
    respond: &mut Respond<'_>,
    answer: Answer,
) -> StreamEnd {
    let Answer { exchange, sending } = answer;
    let passing = exchange.as_ref().map_or_else(Passing::nothing, Passing::of);
    if let End::Complete = end {
        permit.finish(passing.completion(EndCause::Closed));
        if let Some(exchange) = exchange {
            door.upstreams.finish(exchange, None).await;
        }
        return StreamEnd::Done;
    }
    if let Some(exchange) = exchange {
        exchange.kill().await;
    }
    let refusal = match (&end, &sending) {
        (End::BadUpload(gate), None) if gate.code == GateCode::BodyTooLarge => {
            let limit = permit.max_body_bytes().unwrap_or_default();
            Some(permit.failed(model::Reason::TooLarge, &format!("at most {limit} bytes")))
        }
        (End::BadUpload(gate), None) => Some(door.gateway.refuse_gate(gate, info).await),
        (End::Upstream(error), None) => relay::refusal(&permit, error),
        _ => None,
    };
    let (cause, reason) = match end {
        End::BadUpload(_) => (EndCause::Refused, Reason::PROTOCOL_ERROR),
        End::ClientGone | End::Complete => (EndCause::ClientAbort, Reason::CANCEL),
        End::Cut => (EndCause::Revoked, Reason::CANCEL),
        End::Idle => (EndCause::Idle, Reason::CANCEL),
        End::Stopping => (EndCause::DoorStop, Reason::CANCEL),
        End::Upstream(_) | End::UpstreamGone => (EndCause::UpstreamError, Reason::INTERNAL_ERROR),
    };
    let stream_end = match refusal {
        Some(refusal) => {
            let passing = passing.answered(refusal.status());
            let stream_end = respond.refuse(refusal).await;
            permit.finish(passing.completion(cause));
            return stream_end;
        }
        None if cause == EndCause::ClientAbort => StreamEnd::ResetByClient,
        None => StreamEnd::Done,
    };
    match sending {
        Some(mut sending) => sending.send_reset(reason),
        None => respond.stream.send_reset(reason),
    }
    permit.finish(passing.completion(cause));
    stream_end
}
