//! Who looks at an edit of the directory before it is made: whether somebody could still administer is for the policies
//! to say, and what the record must hold of it is for the control plane. This room knows neither.

use std::sync::Arc;

use super::Change;
use crate::store::NoteRow;

/// Who asks for an edit, in the overseer's own words.
pub type Author = Arc<str>;

/// Looks at edits. Called with the directory as it would be; the edit is not made yet and may be tried again.
pub trait Overseer: Send + Sync {
    /// Whether nobody could administer after this change, where somebody could before.
    fn locks_out(&self, change: &Change) -> bool;

    /// What to put down in the transaction of the change, so that its record is made up for after a crash.
    fn note(&self, change: &Change, author: Option<&Author>) -> Option<NoteRow>;
}
