//! One request over one connection: written only from the [`Permit`], answered by a response that may be passed on.
//!
//! Not here: which connection, and whether to try again. Responses that two readers could frame differently (ATK-12) are
//! not passed on, and whatever was odd about an exchange keeps its connection from ever being used again (GW-69).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_gate::limits::MAX_INTERIM_RESPONSES;
use http_gate::upstream::UpstreamRequest;
use hyper::body::Incoming;
use model::SessionId;
use model::app::UpstreamTarget;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Permit;

use super::connect::{Connection, Http1Connection, PoolKey};
use super::pin;
use super::retry::Failure;
use super::targets::Use;
use super::upload::UploadBody;
use super::{Phase, UpstreamError};

const FLOOD: &str = "more than 8 interim responses";
/// How long a connection may take to come to rest after a response before it is given up.
const REST_LIMIT: Duration = Duration::from_millis(50);

/// A failed attempt.
pub(crate) struct Failed {
    pub(crate) error: UpstreamError,
    pub(crate) failure: Failure,
}

/// A response under way. Dropping it closes the connection, or resets the stream of a shared one.
pub(crate) struct Exchange {
    /// Status, version and fields as the upstream sent them.
    pub(crate) head: http::response::Parts,
    /// The body.
    pub(crate) body: Incoming,
    /// Which target answered.
    pub(crate) target: UpstreamTarget,
    /// Time to connect; `None` on a connection that waited in the pool.
    pub(crate) connect_time: Option<Duration>,
    /// From sending to the head.
    pub(crate) first_byte_time: Duration,
    key: PoolKey,
    /// Only HTTP/1.1 connections are exclusive.
    exclusive: Option<Http1Connection>,
    afterwards: Afterwards,
    /// Whose request it was.
    pub(super) session: Option<SessionId>,
    /// Counts at its target as long as it lives.
    pub(super) in_use: Option<Use>,
}

/// What a connection is good for after an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Afterwards {
    /// Only for the client it knows (GW-69).
    Bound,
    /// For anybody.
    Reusable,
    /// For nobody.
    Spent,
}

impl Exchange {
    /// The connection, if it is one that another request may use.
    pub(super) async fn into_reusable(self) -> Option<(PoolKey, Http1Connection)> {
        let mut connection = self.exclusive.filter(|_| self.afterwards != Afterwards::Spent)?;
        let at_rest = tokio::time::timeout(REST_LIMIT, connection.sender.ready()).await;
        matches!(at_rest, Ok(Ok(()))).then_some((self.key, connection))
    }

    /// From now on the connection is its client's.
    pub(super) fn bind(&mut self) {
        if self.afterwards == Afterwards::Reusable {
            self.afterwards = Afterwards::Bound;
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.afterwards == Afterwards::Bound
    }

    /// Ends the upstream side now and waits until its last byte is written.
    pub(crate) async fn kill(self) {
        drop(self.body);
        if let Some(connection) = self.exclusive {
            connection.kill().await;
        }
    }
}

/// Sends the request of `permit` and waits for the head of the response. Takes `body`; puts it back if it never left.
pub(super) async fn run(
    permit: &Permit,
    key: &PoolKey,
    mut connection: Connection,
    was_pooled: bool,
    body: &mut Option<UploadBody>,
) -> Result<Exchange, Failed> {
    let sent = Instant::now();
    let upload = body.take().unwrap_or_else(UploadBody::empty);
    let was_empty = upload.is_empty();
    let progress = upload.progress();
    let flood = CancellationToken::new();
    let is_http2 = matches!(connection, Connection::Http2(_));
    let mut request = request(permit, key, upload, is_http2).map_err(|_| misbehaved(key, "it cannot be asked this"))?;
    refuse_interim_flood(&mut request, &flood);

    let received_before = connection.received();
    let limit = permit.upstream().timeouts.response_head;
    let outcome = tokio::select! {
        biased;
        outcome = answer(&mut connection, request) => outcome,
        () = flood.cancelled() => {
            return Err(misbehaved(key, FLOOD));
        }
        () = progress.over_for(limit) => {
            let error = UpstreamError::Timeout { target: key.target.clone(), phase: Phase::ResponseHead, limit };
            return Err(Failed { error, failure: Failure::Answering });
        }
    };
    if flood.is_cancelled() {
        return Err(misbehaved(key, FLOOD));
    }
    let response = match outcome {
        Ok(response) => response,
        Err(mut failed) => {
            *body = failed.take_message().map(Request::into_body);
            let never_left = body.is_some();
            if was_empty {
                *body = Some(UploadBody::empty());
            }
            let error = failed.into_error();
            let nothing_came = connection.received() == received_before;
            let failure = match () {
                () if never_left || is_unprocessed(&error) => Failure::Unprocessed,
                () if was_pooled && nothing_came && matches!(connection, Connection::Http1(_)) => {
                    Failure::ClosedWhilePooled
                }
                () => Failure::Answering,
            };
            return Err(Failed { error: UpstreamError::went_away(key, error), failure });
        }
    };
    let (head, body) = response.into_parts();
    let afterwards = judge(&head, permit.request().is_websocket()).map_err(|rule| misbehaved(key, rule))?;
    let exclusive = match connection {
        Connection::Http1(connection) => Some(connection),
        Connection::Http2(_) => None,
    };
    let mut exchange = Exchange {
        head,
        body,
        target: key.target.clone(),
        connect_time: None,
        first_byte_time: sent.elapsed(),
        key: key.clone(),
        exclusive,
        afterwards,
        session: permit.stream().session(),
        in_use: None,
    };
    if pin::asks(permit.request()) {
        exchange.bind();
    }
    Ok(exchange)
}

type Sent = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<UploadBody>>>;

async fn answer(connection: &mut Connection, request: Request<UploadBody>) -> Sent {
    match connection {
        Connection::Http1(connection) => connection.sender.try_send_request(request).await,
        Connection::Http2(sender) => sender.try_send_request(request).await,
    }
}

/// The request as it is sent, from the permit and nothing else.
fn request(
    permit: &Permit,
    key: &PoolKey,
    body: UploadBody,
    is_http2: bool,
) -> Result<Request<UploadBody>, http::Error> {
    let extra: HeaderMap = permit.upstream_headers().iter().cloned().collect();
    let request = UpstreamRequest { request: permit.request(), host: Some(permit.upstream_authority()), extra: &extra };
    let head = match (is_http2, key.is_tls()) {
        (false, _) => request.to_http1()?,
        (true, false) => request.to_http2(Scheme::HTTP)?,
        (true, true) => request.to_http2(Scheme::HTTPS)?,
    };
    Ok(Request::from_parts(head, body))
}

fn refuse_interim_flood(request: &mut Request<UploadBody>, flood: &CancellationToken) {
    let seen = AtomicUsize::new(0);
    let flood = flood.clone();
    hyper::ext::on_informational(request, move |_| {
        if seen.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM_RESPONSES {
            flood.cancel();
        }
    });
}

fn misbehaved(key: &PoolKey, rule: &'static str) -> Failed {
    let error = UpstreamError::Misbehaved { target: key.target.clone(), rule };
    Failed { error, failure: Failure::Answering }
}

/// The upstream said that it did not act on the request (RFC 9113 §8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let was_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let is_leaving = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
            return was_refused || is_leaving;
        }
        source = cause.source();
    }
    false
}

/// Whether a response may be passed on, and whether its connection may serve another request.
fn judge(head: &http::response::Parts, wants_upgrade: bool) -> Result<Afterwards, &'static str> {
    let fields = &head.headers;
    let lengths = fields.get_all(header::CONTENT_LENGTH).iter().count();
    let is_number = |length: &http::HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if !fields.get_all(header::CONTENT_LENGTH).iter().all(is_number) {
        return Err("a Content-Length that is not one number");
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some() && lengths > 0 {
        return Err("Content-Length and Transfer-Encoding together");
    }
    if lengths > 1 {
        return Err("more than one Content-Length");
    }
    if codings.next().is_some() || coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err("a Transfer-Encoding other than `chunked`");
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return if wants_upgrade { Ok(Afterwards::Spent) } else { Err("101 without a request for it") };
    }
    let has_no_body = head.status == StatusCode::NO_CONTENT;
    if has_no_body && (coding.is_some() || lengths > 0) {
        return Err("204 with a body");
    }
    Ok(if pin::is_asked_for(fields) { Afterwards::Bound } else { Afterwards::Reusable })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, fields: &[(&str, &str)], expected: Result<Afterwards, &'static str>) {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        assert_eq!(judge(&head, false), expected, "{status} {fields:?}");
    }

    #[test]
    fn atk_12_a_response_that_can_be_read_in_two_ways_is_not_passed_on() {
        check(200, &[("content-length", "3")], Ok(Afterwards::Reusable));
        check(200, &[("transfer-encoding", "chunked")], Ok(Afterwards::Reusable));
        check(
            200,
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            Err("Content-Length and Transfer-Encoding together"),
        );
        check(200, &[("content-length", "3"), ("content-length", "3")], Err("more than one Content-Length"));
        check(200, &[("content-length", "3, 3")], Err("a Content-Length that is not one number"));
        check(200, &[("content-length", "+3")], Err("a Content-Length that is not one number"));
        check(200, &[("transfer-encoding", "gzip, chunked")], Err("a Transfer-Encoding other than `chunked`"));
        check(204, &[("content-length", "3")], Err("204 with a body"));
        check(101, &[], Err("101 without a request for it"));
        check(304, &[("content-length", "3")], Ok(Afterwards::Reusable));
        check(401, &[("www-authenticate", "Negotiate abc")], Ok(Afterwards::Bound));
        check(401, &[("www-authenticate", "Basic realm=x")], Ok(Afterwards::Reusable));
    }
}
