//! What a receipt is about (GW-58). Its wire form and its signature are `pki`'s: keys never enter this crate.

use model::ids::{RevocationId, SessionId};
use model::seams::{Cause, CutReport};
use model::time::Timestamp;

/// A door's answer to a withdrawal, to be signed and recorded.
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
