//! The second record of an access: how it ended (GW-82, AUD-6).
//!
//! Invariant: an access whose decision record is kept leaves exactly one completion record from this process.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use model::record::{AuditRecord, CompletionColumns, EndCause};
use model::seams::Durability;

use crate::gateway::Gateway;

/// How an access ended. Byte counts come from the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Status sent to the client; `None` when none was.
    pub status: Option<u16>,
    /// Why it ended. A withdrawn stream is recorded as revoked whatever is said here.
    pub end_cause: EndCause,
    /// The target that served it.
    pub upstream: Option<Arc<str>>,
    /// Time to connect, for a new connection.
    pub connect: Option<Duration>,
    /// Time to the first byte of the response.
    pub first_byte: Option<Duration>,
}

impl Completion {
    /// Ended for `end_cause` without a response.
    pub fn ended(end_cause: EndCause) -> Self {
        Self { status: None, end_cause, upstream: None, connect: None, first_byte: None }
    }
}

/// The completion record, waiting for its last columns.
pub(crate) struct PendingCompletion {
    gateway: Arc<Gateway>,
    started: Timestamp,
    assertion_jti: Option<Arc<str>>,
    /// `None` before the decision record is kept, and once this one is on its way.
    record: Option<Arc<AuditRecord>>,
}

impl PendingCompletion {
    pub(crate) fn new(gateway: &Arc<Gateway>, started: Timestamp, assertion_jti: Option<Arc<str>>) -> Self {
        Self { gateway: Arc::clone(gateway), started, assertion_jti, record: None }
    }

    /// The decision record is kept.
    pub(crate) fn arm(&mut self, record: Arc<AuditRecord>) {
        self.record = Some(record);
    }

    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Sends the record on its way; only the first call does anything.
    pub(crate) fn send(&mut self, completion: Completion, bytes_in: u64, bytes_out: u64) {
        let Some(record) = self.record.take() else {
            return;
        };
        self.gateway.metrics.ended(completion.end_cause);
        let mut record = Arc::unwrap_or_clone(record);
        record.time = self.gateway.now();
        record.completion = CompletionColumns {
            status: completion.status,
            bytes_in: Some(bytes_in),
            bytes_out: Some(bytes_out),
            duration_ns: Some(nanos(record.time.since(self.started))),
            end_cause: Some(completion.end_cause),
            upstream: completion.upstream,
            upstream_connect_ns: completion.connect.map(nanos),
            upstream_first_byte_ns: completion.first_byte.map(nanos),
            assertion_jti: self.assertion_jti.take(),
        };
        self.gateway.append_in_background(record, Durability::Standard);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
