//! Signing keys: list, and rotate by hand or because it is time (GW-29, AUD-7). How a ring is kept is the binary's.

use std::sync::Arc;

use model::record::RecordType;
use model::{BoxFuture, Timestamp};
use store::Note;
use uuid::Uuid;

use super::ControlPlane;
use super::deeds::{Deed, Object, note};
use crate::actor::Actor;
use crate::failure::Failure;

/// Where a key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// Published, signs later.
    Coming,
    /// Published still, signs no more.
    Retiring,
    /// Signs.
    Signing,
}

impl KeyState {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Coming => "coming",
            KeyState::Retiring => "retiring",
            KeyState::Signing => "signing",
        }
    }
}

/// A published key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyLine {
    /// What it signs: `assertion` or `receipt`.
    pub purpose: &'static str,
    /// Its id.
    pub kid: String,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// Where it stands.
    pub state: KeyState,
}

/// The rings of this process, as the control plane needs them.
pub trait KeyControl: Send + Sync {
    /// Every published key.
    fn list(&self, now: Timestamp) -> Vec<KeyLine>;

    /// What needs a new key by its age.
    fn due(&self, now: Timestamp) -> Vec<&'static str>;

    /// Stores a new key with the note of it in one transaction, and publishes it; it signs ten minutes later.
    ///
    /// # Errors
    /// In words: no such purpose, one is on its way already, or it cannot be kept.
    fn rotate<'a>(
        &'a self,
        purpose: &'a str,
        note: &'a (dyn Fn(&KeyLine) -> Note + Send + Sync),
    ) -> BoxFuture<'a, Result<KeyLine, String>>;
}

/// The note of a key that the start `actor` makes because there is none; [`ControlPlane::resume`] records it.
pub fn first_key_note(actor: &Actor, id: Uuid, at: Timestamp, line: &KeyLine) -> Note {
    let text = format!("the first key for {} was made", line.purpose);
    note(actor, id, at, &[Deed::new(RecordType::KeyIssued, Object::Key, &line.kid, text)])
}

fn rotated(line: &KeyLine) -> Deed {
    let text = format!("the next key for {} is published and signs from {}", line.purpose, line.signs_from);
    Deed::new(RecordType::KeyRotated, Object::Key, &line.kid, text)
}

impl ControlPlane {
    /// Gives the control plane the rings of this process; only the first counts.
    pub fn set_keys(&self, keys: Arc<dyn KeyControl>) {
        self.keys.set(keys).ok();
    }

    /// Every published key.
    pub fn list_keys(&self) -> Vec<KeyLine> {
        self.keys.get().map(|keys| keys.list(self.now())).unwrap_or_default()
    }

    /// Publishes a new key for a purpose.
    ///
    /// # Errors
    /// See [`KeyControl::rotate`].
    pub async fn rotate_keys(&self, actor: &Actor, purpose: &str) -> Result<KeyLine, Failure> {
        let missing = || Failure::unavailable("this process has no signing keys");
        let keys = self.keys.get().ok_or_else(missing)?;
        let id = self.ids.uuid_v7(self.now());
        let noted = |line: &KeyLine| note(actor, id, self.now(), &[rotated(line)]);
        let line = keys.rotate(purpose, &noted).await.map_err(|message| Failure::Conflict { message })?;
        self.tell(actor, Some(id), &[rotated(&line)], None).await?;
        Ok(line)
    }

    /// Publishes a new key wherever it is time.
    ///
    /// # Errors
    /// The first that could not be kept; it is tried again the next time.
    pub async fn rotate_due_keys(&self, actor: &Actor) -> Result<usize, Failure> {
        let due = self.keys.get().map(|keys| keys.due(self.now())).unwrap_or_default();
        for purpose in &due {
            self.rotate_keys(actor, purpose).await?;
        }
        Ok(due.len())
    }
}
