//! What has been done and must be in the record: written in the transaction of the change itself, forgotten once the
//! record is kept, replayed at a start. The text is the control plane's; here it has only a size.

use model::{BoxFuture, Timestamp};
use uuid::Uuid;

use crate::error::StoreError;

/// How large one note may be.
pub const MAX_NOTE_BYTES: usize = 8 * 1024 * 1024;

/// Something done whose record may be missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Its id.
    pub id: Uuid,
    /// When it was done.
    pub at: Timestamp,
    /// What, for the control plane to read.
    pub body: String,
}

/// Keeps notes.
pub trait OutboxStore: Send + Sync {
    /// Every note, oldest first.
    fn notes(&self) -> BoxFuture<'_, Result<Vec<Note>, StoreError>>;

    /// Forgets a note whose record is kept. Nothing happens if there is none.
    fn forget_note(&self, id: Uuid) -> BoxFuture<'_, Result<(), StoreError>>;
}
