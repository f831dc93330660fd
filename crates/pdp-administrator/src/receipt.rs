//! What a receipt says (GW-58). Signing it is the caller's: keys never enter this crate.

use model::ids::{RevocationId, SessionId};
use model::seams::{Cause, CutReport, CutStream};
use model::time::Timestamp;
use serde::Serialize;

/// A door's proof-to-be that it carried out a withdrawal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Which withdrawal.
    pub revocation: RevocationId,
    /// Why.
    pub cause: Cause,
    /// When the withdrawal was accepted.
    pub accepted: Timestamp,
    /// Sessions it ended, sorted.
    pub sessions: Vec<SessionId>,
    /// Which door.
    pub door: String,
    /// What the door did.
    pub report: CutReport,
}

impl Receipt {
    /// The claims to sign as `countersign-receipt+jwt`.
    pub fn claims(&self) -> ReceiptClaims<'_> {
        ReceiptClaims {
            revocation: self.revocation,
            cause: self.cause.as_str(),
            gateway: &self.door,
            sessions: &self.sessions,
            streams: self.report.streams.iter().map(CutClaims::of).collect(),
            examined: self.report.examined,
            accepted: self.accepted,
            received: self.report.received,
            last_cut: self.report.last_cut,
            ms: self.report.last_cut.since(self.accepted).as_millis(),
        }
    }
}

/// The wire form of a [`Receipt`]. Times are RFC 3339 with milliseconds.
#[derive(Serialize, Debug)]
pub struct ReceiptClaims<'a> {
    /// Which withdrawal.
    pub revocation: RevocationId,
    /// Why, in one word.
    pub cause: &'static str,
    /// Which door.
    pub gateway: &'a str,
    /// Sessions that ended.
    pub sessions: &'a [SessionId],
    /// Streams that were cut.
    pub streams: Vec<CutClaims<'a>>,
    /// How many streams were looked at.
    pub examined: usize,
    /// When the withdrawal was accepted.
    pub accepted: Timestamp,
    /// When the door heard of it.
    pub received: Timestamp,
    /// When the last stream was dead.
    pub last_cut: Timestamp,
    /// From `accepted` to `last_cut`.
    pub ms: u128,
}

/// The wire form of one cut stream.
#[derive(Serialize, Debug)]
pub struct CutClaims<'a> {
    /// Its access id, under which the record has it.
    pub id: model::AccessId,
    /// `websocket`, `sse`, `http1`, `h2`.
    pub protocol: &'static str,
    /// Its app.
    pub app: &'a str,
    /// When it opened.
    pub opened: Timestamp,
    /// After its last byte.
    pub cut: Timestamp,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

impl<'a> CutClaims<'a> {
    fn of(stream: &'a CutStream) -> Self {
        Self {
            id: stream.access,
            protocol: stream.protocol,
            app: stream.app.as_str(),
            opened: stream.opened,
            cut: stream.cut,
            bytes_in: stream.bytes_in,
            bytes_out: stream.bytes_out,
        }
    }
}
