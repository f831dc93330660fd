//! Configurations that wait for the approval of others (PO-35), as text: who proposed them, and who approved. Whose
//! approval counts is the control plane's.
//!
//! Invariant: what waits was proposed for the version that is live. Whatever makes another version live forgets all that
//! wait, in the same transaction.

use model::ids::Digest32;
use model::{BoxFuture, Timestamp, UserId};

use crate::config::ConfigFile;
use crate::error::StoreError;
use crate::outbox::Note;

/// The most configurations that wait at a time.
pub const MAX_PROPOSALS: usize = 20;
/// The most approvals that are kept of one.
pub const MAX_KEPT_APPROVALS: usize = 100;

/// A configuration that waits, without its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Digest over what its files say; the one name it has.
    pub digest: Digest32,
    /// The version that was live when it was proposed, 0 for none.
    pub base: u64,
    /// Who proposed it, if it was a person.
    pub author: Option<UserId>,
    /// Their name for people.
    pub author_name: String,
    /// Why, in their words.
    pub reason: String,
    /// Whether it may lock everybody out.
    pub allows_lockout: bool,
    /// The kept version it would go back to, if it is a rollback.
    pub goes_back_to: Option<u64>,
    /// When.
    pub proposed_at: Timestamp,
    /// Who approved, one each, the earliest first.
    pub approvals: Vec<Approval>,
}

/// Somebody's approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Approval {
    /// Whose.
    pub who: UserId,
    /// When.
    pub at: Timestamp,
}

/// What became of a wish to propose or approve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is kept.
    Yes,
    /// The same was there already; nothing changed.
    Already,
    /// There are too many already, or none to approve; nothing changed.
    No,
}

/// Keeps what waits. Notes are put down in the transaction of the change they tell of, and only if there is one.
pub trait ProposalStore: Send + Sync {
    /// Keeps a proposal with its files, and forgets those proposed at `forgotten` or before.
    ///
    /// # Errors
    /// [`StoreError::ConfigMoved`] if its base is not live; [`StoreError::TooLarge`].
    fn propose(
        &self,
        proposal: Proposal,
        files: Vec<ConfigFile>,
        forgotten: Timestamp,
        note: Note,
    ) -> BoxFuture<'_, Result<Kept, StoreError>>;

    /// Adds an approval to what waits under this digest; one of each person.
    fn approve(&self, digest: Digest32, approval: Approval, note: Note) -> BoxFuture<'_, Result<Kept, StoreError>>;

    /// Forgets what waits under this digest; whether there was something.
    fn withdraw(&self, digest: Digest32, note: Note) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Everything that waits, the oldest first.
    fn proposals(&self) -> BoxFuture<'_, Result<Vec<Proposal>, StoreError>>;

    /// The files of what waits under this digest, in the order they were given in.
    fn proposed_files(&self, digest: Digest32) -> BoxFuture<'_, Result<Option<Vec<ConfigFile>>, StoreError>>;
}
