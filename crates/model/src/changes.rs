//! What the policy administrator says about sessions to the store and to the doors' tables, and what
//! the store gives back at start. Nouns only: who may change what is `pdp-administrator`'s.
//!
//! Invariants: a change is idempotent, so that applying it twice is applying it once; a [`SessionChange::Tombstone`]
//! wins over any [`SessionChange::Upsert`] of the same session, in whichever order they are applied.

use std::sync::Arc;

use crate::ids::{SessionId, TokenHash, UserId};
use crate::seams::Cause;
use crate::session::Session;
use crate::time::Timestamp;

/// A cookie of a session on one host. Only its hash is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostToken {
    /// SHA-256 of the cookie.
    pub token: TokenHash,
    /// Whose.
    pub session: SessionId,
    /// Canonical host without port. On any other host the cookie stands for nothing (ATK-48).
    pub host: String,
    /// `None`: as long as the session. Set once it has a successor (GW-45).
    pub valid_until: Option<Timestamp>,
}

/// The mark a session leaves when it is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// Which.
    pub session: SessionId,
    /// Whose; unknown when the end overtook the beginning.
    pub user: Option<UserId>,
    /// Why.
    pub cause: Cause,
    /// From then on the session would be over anyway, and the mark may go.
    pub until: Timestamp,
}

/// One change of what is known about sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionChange {
    /// A tombstone's time is over: nothing more need be known of the session.
    Forget(SessionId),
    /// Sessions made under a lower global epoch are dead. Never falls.
    GlobalEpoch(u64),
    /// A session is over.
    Tombstone(Tombstone),
    /// A session as it is now, with those of its tokens that are new or got an end.
    Upsert {
        /// The whole session.
        session: Arc<Session>,
        /// Only what changed.
        tokens: Vec<HostToken>,
    },
    /// Sessions of this person made under a lower epoch are dead. Never falls.
    UserEpoch {
        /// Whose.
        user: UserId,
        /// The lowest epoch that lives.
        epoch: u64,
    },
}

/// Everything known about sessions at one moment; order carries no meaning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionSnapshot {
    /// Sessions without a tombstone; idle or absolute time may be over.
    pub sessions: Vec<Arc<Session>>,
    /// Their tokens, and those of sessions whose tombstone still stands.
    pub tokens: Vec<HostToken>,
    /// Tombstones.
    pub tombstones: Vec<Tombstone>,
    /// Per person; absent is 0.
    pub user_epochs: Vec<(UserId, u64)>,
    /// For everyone.
    pub global_epoch: u64,
}
