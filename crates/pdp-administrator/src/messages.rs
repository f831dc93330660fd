//! What the administrator is told and what it answers (GW-44). Plain values: no handles, no callbacks.

use model::changes::SessionChange;
use model::ids::{RevocationId, SessionId, TokenHash, UserId};
use model::seams::{Cause, CutReport, Scope};
use model::session::{Proof, Session, StepUp};
use model::time::Timestamp;

use crate::receipt::Receipt;

/// Something happened. Inputs may come doubled or out of order; see each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A door carried out a [`Output::Reevaluate`].
    Acked {
        /// Which order.
        revocation: RevocationId,
        /// Which door.
        door: String,
        /// What it did.
        report: CutReport,
    },
    /// Sessions were used: a batch of [`crate::SessionTable::drain_activity`].
    Active(Vec<(SessionId, Timestamp)>),
    /// A door is out of reach for now. It is not waited for, but listed with every order until it joins again.
    DoorAway {
        /// Which door.
        door: String,
        /// From then on it serves nothing on the old facts (GW-47).
        fails_closed_at: Timestamp,
    },
    /// A door serves from now on, or again, and must acknowledge every order.
    DoorJoined(String),
    /// A door is gone for good; what it has not acknowledged becomes stale at once.
    DoorLeft(String),
    /// Every session made under a lower global epoch is over.
    EveryoneEnded {
        /// The id its receipts carry.
        revocation: RevocationId,
        /// The new global epoch.
        epoch: u64,
        /// Why.
        cause: Cause,
    },
    /// Facts moved and the new snapshot is published: live streams in scope must be judged afresh.
    FactsChanged {
        /// The id its receipts carry.
        revocation: RevocationId,
        /// Whose streams.
        scope: Scope,
        /// Why.
        cause: Cause,
    },
    /// A host got a cookie for a session. A cookie this host had before lives on for the rotation grace.
    HandedOff {
        /// Which session.
        session: SessionId,
        /// Canonical host without port.
        host: String,
        /// Hash of the new cookie.
        token: TokenHash,
    },
    /// A host's cookie was exchanged for a new one by presenting the old one.
    Rotated {
        /// Which session.
        session: SessionId,
        /// Canonical host without port.
        host: String,
        /// Hash of the cookie presented; must be the host's newest, not one already in its grace.
        from: TokenHash,
        /// Hash of the new cookie.
        to: TokenHash,
    },
    /// One session is over. May overtake its `SignedIn`.
    SessionEnded {
        /// The id its receipts carry.
        revocation: RevocationId,
        /// Which.
        session: SessionId,
        /// Why.
        cause: Cause,
    },
    /// A person signed in. Its epochs are those the directory had when the person was verified.
    SignedIn(Session),
    /// A person confirmed with a credential inside a session.
    SteppedUp {
        /// Which session.
        session: SessionId,
        /// For what, and when.
        step_up: StepUp,
        /// What the ceremony proved, when the session's level rises to it.
        proof: Option<Proof>,
    },
    /// Time passed. Feed pending activity first, or sessions in use may be taken for idle.
    Tick,
    /// Every session of a person made under a lower epoch is over (ID-58).
    UserEnded {
        /// The id its receipts carry.
        revocation: RevocationId,
        /// Whose.
        user: UserId,
        /// The person's new epoch, already durable in the directory.
        epoch: u64,
        /// Why.
        cause: Cause,
    },
}

/// Something to do. Changes always come before the [`Output::Reevaluate`] that relies on them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To keep durably, then to apply to the doors' table.
    Change(SessionChange),
    /// To sign and to append to the record (GW-58).
    Receipt(Receipt),
    /// Every door judges its streams in scope afresh, cuts what is no longer allowed, and acknowledges.
    Reevaluate {
        /// The id to acknowledge with.
        revocation: RevocationId,
        /// Whose streams.
        scope: Scope,
        /// Why.
        cause: Cause,
    },
    /// The input changed nothing.
    Refused(Refusal),
    /// A door did not acknowledge in time.
    Stale(StaleDoor),
}

/// A door whose cut is not proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaleDoor {
    /// The order it owes.
    pub revocation: RevocationId,
    /// Which door.
    pub door: String,
    /// From then on it serves nothing on the old facts (GW-47).
    pub fails_closed_at: Timestamp,
}

/// Why an input changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Idle or absolute time is over.
    #[error("the session `{0}` is already over; sign in again")]
    Expired(SessionId),
    /// Times further ahead than two honest clocks can differ.
    #[error("the session `{0}` begins in the future; set the clocks right")]
    FromTheFuture(SessionId),
    /// Another sign-in holds this id.
    #[error("the session id `{0}` belongs to another sign-in")]
    IdTaken(SessionId),
    /// Longer than the ceiling of ID-57.
    #[error("the session `{0}` asks for more time than any session may have")]
    LimitTooLong(SessionId),
    /// Not known, or over.
    #[error("no session `{0}` is live")]
    NoSession(SessionId),
    /// The order is unknown, was acknowledged already, or is not for this door.
    #[error("no acknowledgement of `{0}` is awaited from this door")]
    NotAwaited(RevocationId),
    /// Made under an epoch that has passed: the person was signed out in between.
    #[error("the session `{0}` was made before its person was signed out everywhere")]
    OldEpoch(SessionId),
    /// The session was withdrawn before it was known.
    #[error("the session `{0}` was withdrawn")]
    Withdrawn(SessionId),
    /// The cookie hash is bound already, or was once, or is not the newest of its host.
    #[error("the cookie offered for `{0}` is spent or foreign")]
    TokenSpent(SessionId),
    /// Too many doors.
    #[error("more than {} doors", crate::MAX_DOORS)]
    TooManyDoors,
    /// Too many rotations in one session.
    #[error("the session `{0}` has had too many cookies; sign in again")]
    TooManyTokens(SessionId),
}
