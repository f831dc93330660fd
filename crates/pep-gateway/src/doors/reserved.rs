//! The body of a request to one of our own endpoints, read whole and no further than it may be (GW-83, ATK-11).
//!
//! Not here: the endpoints ([`crate::ReservedCall`] calls them).
//!
//! Invariant: a body that is announced as too large is not read at all, and no more than the limit is ever held.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_gate::{BodyMeter, Framing, GateRefusal};

use crate::enforce::ReservedCall;

/// How long the body may take to come.
pub(crate) const COLLECT_LIMIT: Duration = Duration::from_secs(30);

/// Why a body was not collected.
pub(crate) enum Uncollected {
    Gone,
    Malformed(GateRefusal),
    TooLarge,
}

/// A body so far.
pub(crate) struct Collected {
    bytes: Vec<u8>,
    limit: usize,
}

impl Collected {
    /// Nothing yet.
    pub(crate) fn begin(call: &ReservedCall) -> Result<Self, Uncollected> {
        let limit = call.max_body_bytes();
        match call.request().framing() {
            Framing::ContentLength(length) if length > limit => Err(Uncollected::TooLarge),
            _ => Ok(Self { bytes: Vec::new(), limit: usize::try_from(limit).unwrap_or(usize::MAX) }),
        }
    }

    /// Adds a piece.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), Uncollected> {
        if self.bytes.len().saturating_add(piece.len()) > self.limit {
            return Err(Uncollected::TooLarge);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// All of it.
    pub(crate) fn whole(self) -> Bytes {
        self.bytes.into()
    }
}

/// The whole body of an HTTP/2 stream.
pub(crate) async fn collect_h2(call: &ReservedCall, mut stream: RecvStream) -> Result<Bytes, Uncollected> {
    let mut body = Collected::begin(call)?;
    let mut meter = BodyMeter::new(call.request().framing(), None).map_err(Uncollected::Malformed)?;
    let read = async {
        while let Some(piece) = stream.data().await {
            let piece = piece.map_err(|_| Uncollected::Gone)?;
            meter.add(piece.len()).map_err(Uncollected::Malformed)?;
            body.add(&piece)?;
            stream.flow_control().release_capacity(piece.len()).map_err(|_| Uncollected::Gone)?;
        }
        meter.end().map_err(Uncollected::Malformed)?;
        Ok(body.whole())
    };
    tokio::time::timeout(COLLECT_LIMIT, read).await.unwrap_or(Err(Uncollected::Gone))
}
