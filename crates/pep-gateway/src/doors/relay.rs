//! What both HTTP doors do with a response on its way from an upstream: which fields pass, how long a silence may last,
//! what a failure is called, and how the access is recorded (GW-35, GW-40, GW-73).
//!
//! Not here: bytes. Each door has its own way to write.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use model::Reason;
use model::record::EndCause;

use crate::completion::Completion;
use crate::metrics::UpstreamFailure;
use crate::permit::Permit;
use crate::refusal::Refusal;
use crate::upstream::UpstreamError;
use crate::upstream::exchange::Exchange;

/// A response on its way: what the record will say of it.
pub(crate) struct Passing {
    status: Option<u16>,
    upstream: Option<Arc<str>>,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
}

impl Passing {
    /// Before anything came from an upstream.
    pub(crate) fn nothing() -> Self {
        Self { status: None, upstream: None, connect: None, first_byte: None }
    }

    /// A response whose head has come.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        Self {
            status: Some(exchange.head.status.as_u16()),
            upstream: Some(exchange.target.to_string().into()),
            connect: exchange.connect_time,
            first_byte: Some(exchange.first_byte_time),
        }
    }

    /// The answer was one of ours.
    pub(crate) fn answered(mut self, status: http::StatusCode) -> Self {
        self.status = Some(status.as_u16());
        self
    }

    /// What the record says.
    pub(crate) fn completion(self, end_cause: EndCause) -> Completion {
        let Self { status, upstream, connect, first_byte } = self;
        Completion { status, end_cause, upstream, connect, first_byte }
    }
}

/// The answer to a client whose upstream failed; `None` when it is the client who failed.
pub(crate) fn refusal(permit: &Permit, error: &UpstreamError) -> Option<Refusal> {
    tracing::info!(request = %permit.access_id(), error = error as &dyn std::error::Error, "upstream failed");
    let (how, reason, what) = match error {
        UpstreamError::Down { was_connected: false, .. } => {
            (UpstreamFailure::NoConnection, Reason::UpstreamDown, "no connection".to_owned())
        }
        UpstreamError::Down { .. } => {
            (UpstreamFailure::ConnectionLost, Reason::UpstreamDown, "connection lost".to_owned())
        }
        UpstreamError::Misbehaved { rule, .. } => {
            (UpstreamFailure::Misbehaved, Reason::UpstreamDown, (*rule).to_owned())
        }
        UpstreamError::NoTarget => (UpstreamFailure::NoTarget, Reason::UpstreamDown, "no target".to_owned()),
        UpstreamError::Timeout { phase, limit, .. } => {
            let what = format!("{} time-out of {} s", phase.as_str(), limit.as_secs_f32());
            (UpstreamFailure::Timeout, Reason::UpstreamTimeout, what)
        }
        UpstreamError::UploadAborted => return None,
    };
    permit.metrics().upstream_failed(how);
    Some(permit.failed(reason, &what))
}

/// The fields of the response as the client gets them, without those that frame it.
pub(crate) fn response_fields(permit: &Permit, exchange: &Exchange) -> HeaderMap {
    let mut fields = exchange.head.headers.clone();
    http_gate::upstream::sanitise_response(&mut fields);
    for (name, value) in permit.response_headers() {
        fields.insert(name.clone(), value.clone());
    }
    permit.let_scripts_read(&mut fields);
    fields
}

/// How long the body may be silent: events and the like come when they come (GW-73).
pub(crate) fn idle_limit(permit: &Permit, exchange: &Exchange) -> Duration {
    let timeouts = &permit.upstream().timeouts;
    if is_stream(&exchange.head.headers) {
        permit.stream().note_event_stream();
        return timeouts.stream_idle;
    }
    timeouts.body_idle
}

fn is_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"text/event-stream")
}

/// The length the upstream declared.
pub(crate) fn declared_length(exchange: &Exchange) -> Option<u64> {
    exchange.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
