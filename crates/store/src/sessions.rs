//! Sessions at rest: what the policy administrator decided, so that it survives a restart (GW-47, ID-57).

use model::BoxFuture;
use model::changes::{SessionChange, SessionSnapshot};

use crate::error::StoreError;

/// How many changes one transaction takes; the largest is everyone being signed out.
pub const MAX_CHANGES: usize = 1_000_000;

/// Keeps sessions, their cookies' hashes, step-ups, tombstones and epochs.
pub trait SessionStore: Send + Sync {
    /// Applies changes in order, all or none, durable when it answers. A tombstone wins over every upsert of its
    /// session, earlier or later, until it is forgotten; epochs never fall; applying the same again changes nothing.
    fn keep_sessions(&self, changes: Vec<SessionChange>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Everything kept. Sessions whose idle or absolute time is over are among it: that is the reader's to see.
    fn sessions(&self) -> BoxFuture<'_, Result<SessionSnapshot, StoreError>>;
}
