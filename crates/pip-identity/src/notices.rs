//! What a person has to hear of (ID-6, ID-7): shown at the next sign-in, each with a way to say "that was not me". The
//! caller shows, records, and ends sessions; this keeps.
//!
//! Invariants: a notice is written in the same transaction as what it tells of; a "not me" token is shown once, kept as
//! a hash, good for one use, and replaced whenever its notice is shown again.

use std::sync::Arc;
use std::time::Duration;

use model::{NoticeId, Timestamp, UserId};

use crate::people::{People, PeopleError};
use crate::secret::Secret;
use crate::store::{DirectoryChange, NoticeKind, NoticeRow, StoreError};

/// How long notices are kept, and "not me" works.
pub const NOTICE_MEMORY: Duration = Duration::from_secs(90 * 24 * 3600);
/// The most notices that are shown at once; older ones are in the list of the account.
pub const MAX_SHOWN: usize = 20;
/// The longest detail.
pub const MAX_DETAIL_CHARS: usize = 160;
/// Random bytes of a "not me" token.
pub const TOKEN_BYTES: usize = 20;

const DOMAIN: &str = "countersign notice";

/// A notice as it is shown.
pub struct ShownNotice {
    /// What happened.
    pub row: NoticeRow,
    /// What the "not me" form sends.
    pub not_me: Secret,
}

/// Why "not me" did nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoticeRefusal {
    /// The directory.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// No such token, used, replaced or too old.
    #[error("this was used already or is too old; sign in and end your sessions there, or ask an administrator")]
    Unknown,
}

impl From<StoreError> for NoticeRefusal {
    fn from(error: StoreError) -> Self {
        NoticeRefusal::People(error.into())
    }
}

/// Keeps and shows notices.
#[derive(Clone)]
pub struct Notices {
    people: Arc<People>,
}

impl Notices {
    /// Over this directory.
    pub fn new(people: Arc<People>) -> Self {
        Self { people }
    }

    /// Tells a person something that no other transaction tells them.
    ///
    /// # Errors
    /// The store.
    pub async fn tell(&self, users: &[UserId], kind: NoticeKind, detail: &str) -> Result<(), NoticeRefusal> {
        let mut changes: Vec<DirectoryChange> =
            users.iter().map(|user| notice(&self.people, *user, kind, detail)).collect();
        changes.push(DirectoryChange::PurgeNotices { before: self.people.now() - NOTICE_MEMORY });
        self.people.store().apply(None, changes).await?;
        Ok(())
    }

    /// Everything that is kept for a person, newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self, user: UserId) -> Result<Vec<NoticeRow>, NoticeRefusal> {
        Ok(self.people.store().notices_of(user).await?)
    }

    /// The newest notices a person has not seen, each with a fresh token; tokens shown before are void.
    ///
    /// # Errors
    /// The store.
    pub async fn show(&self, user: UserId) -> Result<Vec<ShownNotice>, NoticeRefusal> {
        let mut shown = Vec::new();
        let mut changes = Vec::new();
        let rows = self.people.store().notices_of(user).await?;
        for row in rows.into_iter().filter(|row| row.seen_at.is_none()).take(MAX_SHOWN) {
            let not_me = Secret::random::<TOKEN_BYTES>(self.people.ids());
            changes.push(DirectoryChange::ArmNotice { id: row.id, token: not_me.hash(DOMAIN) });
            shown.push(ShownNotice { row, not_me });
        }
        if !changes.is_empty() {
            self.people.store().apply(None, changes).await?;
        }
        Ok(shown)
    }

    /// The person has read what happened up to `until`.
    ///
    /// # Errors
    /// The store.
    pub async fn seen(&self, user: UserId, until: Timestamp) -> Result<(), NoticeRefusal> {
        let at = self.people.now();
        self.people.store().apply(None, vec![DirectoryChange::SeeNotices { user, until, at }]).await?;
        Ok(())
    }

    /// Uses up a "not me" token of `user` and says which notice it was. The caller ends every session of that person, and
    /// every recovery that is under way.
    ///
    /// # Errors
    /// [`NoticeRefusal::Unknown`], also where the notice is somebody else's: theirs stays good.
    pub async fn not_me(&self, user: UserId, token: &str) -> Result<NoticeRow, NoticeRefusal> {
        let token = Secret::typed(token).ok_or(NoticeRefusal::Unknown)?.hash(DOMAIN);
        let row = self.people.store().notice(token).await?.ok_or(NoticeRefusal::Unknown)?;
        if row.user != user || self.people.now() >= row.at + NOTICE_MEMORY {
            return Err(NoticeRefusal::Unknown);
        }
        match self.people.store().apply(None, vec![DirectoryChange::UseNotice { token }]).await {
            Ok(_) => Ok(row),
            Err(StoreError::Moved) => Err(NoticeRefusal::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

/// A notice as part of the transaction it tells of.
pub(crate) fn notice(people: &People, user: UserId, kind: NoticeKind, detail: &str) -> DirectoryChange {
    let now = people.now();
    DirectoryChange::AddNotice(NoticeRow {
        id: NoticeId(people.ids().uuid_v7(now)),
        user,
        kind,
        detail: detail.chars().filter(|c| !c.is_control()).take(MAX_DETAIL_CHARS).collect(),
        at: now,
        seen_at: None,
        token: None,
    })
}
