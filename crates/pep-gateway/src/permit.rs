//! The right to forward one request, as a value (architecture).
//!
//! Upstream code takes a [`Permit`]; only `enforce` makes one, after an ALLOW whose record is kept. It carries
//! everything that goes upstream, so that nothing else of the client's request can.
//!
//! Invariants: the request inside is the one that was judged; its stream is in the table as long as the permit lives;
//! a permit leaves exactly one completion record, whether finished or dropped.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use http_gate::CanonicalRequest;
use model::record::{AuditRecord, EndCause};
use model::{AccessId, App, Reason, Upstream};

use crate::completion::{Completion, PendingCompletion};
use crate::cross_origin;
use crate::metrics::Metrics;
use crate::refusal::{Refusal, Visit};
use crate::streams::StreamGuard;

/// The right to forward one request.
pub struct Permit {
    pub(crate) request: CanonicalRequest,
    pub(crate) app: Arc<App>,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) upstream_authority: String,
    pub(crate) upstream_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) response_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) visit: Visit,
    pub(crate) stream: StreamGuard,
    pub(crate) completion: PendingCompletion,
}

impl Permit {
    /// The canonical request, the only form that may be sent.
    pub fn request(&self) -> &CanonicalRequest {
        &self.request
    }

    /// True for an upgrade to WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.request.is_websocket()
    }

    /// The app it is for.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Where it goes.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The `Host` (or `:authority`) to send; the assertion is bound to it.
    pub fn upstream_authority(&self) -> &str {
        &self.upstream_authority
    }

    /// Headers to add to those of [`Self::request`]: assertion, `X-Forwarded-*`, trace and ids.
    pub fn upstream_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.upstream_headers
    }

    /// Headers to add to the response.
    pub fn response_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.response_headers
    }

    /// Lets scripts of the origins the app lists read the response (GW-10).
    pub(crate) fn let_scripts_read(&self, fields: &mut http::HeaderMap) {
        cross_origin::let_read(&self.visit.cors, self.visit.origin.as_deref(), fields);
    }

    /// The largest request body; 413 beyond it.
    pub fn max_body_bytes(&self) -> Option<u64> {
        self.max_body_bytes
    }

    /// The access, which is also the request id.
    pub fn access_id(&self) -> AccessId {
        self.visit.access
    }

    /// The live stream: where bytes are counted and the cut is heard.
    pub fn stream(&self) -> &StreamGuard {
        &self.stream
    }

    /// The answer when the upstream fails before its first response byte, or when the body is too large:
    /// [`Reason::UpstreamDown`], [`Reason::UpstreamTimeout`] or [`Reason::TooLarge`]. `what` names the time-out or
    /// limit (GW-73). Finish the permit afterwards.
    pub fn failed(&self, reason: Reason, what: &str) -> Refusal {
        self.visit.failed(reason, what)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.completion.gateway().metrics
    }

    /// Ends the access: the stream is dead and the completion record is on its way. Call it after the last byte.
    pub fn finish(mut self, completion: Completion) {
        self.complete(completion);
    }

    /// The decision record is kept: from now on the end is recorded too.
    pub(crate) fn arm(&mut self, record: AuditRecord) {
        let record = Arc::new(record);
        self.stream.note_record(Arc::clone(&record));
        self.completion.arm(record);
    }

    fn complete(&mut self, mut completion: Completion) {
        if self.stream.is_cut() {
            completion.end_cause = EndCause::Revoked;
        }
        self.completion.send(completion, self.stream.bytes_in(), self.stream.bytes_out());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.complete(Completion::ended(EndCause::ClientAbort));
    }
}
