//! The doors: one per protocol, all behind the same question.
//!
//! A door reads requests through the gate, hands each to [`Gateway::enforce`](crate::Gateway), and does what the answer
//! says. It decides nothing itself.
//!
//! Invariants: nothing goes upstream without a permit; after a cut no byte passes either way; every task of a door ends
//! with its connection.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod relay;
pub(crate) mod reserved;
pub(crate) mod websocket;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::upstream::Upstreams;

/// How long a connection may wait for its next request.
pub(crate) const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(75);
/// How long a request head may take (GW-83).
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Held while a connection may still have requests to finish; WebSockets let go of it.
pub(crate) type RequestToken = tokio_util::task::task_tracker::TaskTrackerToken;

/// What every connection of a listener shares.
pub(crate) struct Door {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) upstreams: Arc<Upstreams>,
    /// No new requests.
    pub(crate) draining: CancellationToken,
    /// No more bytes.
    pub(crate) stopping: CancellationToken,
}
