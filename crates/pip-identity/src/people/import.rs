//! Many people at once, from another system (ID-9): all of them or, where asked for, those that fit. It reads no format.
//!
//! Invariants: what is refused is told row by row before anything is written; what is written is one transaction; an
//! address that is here already is never touched.

use model::{Timestamp, UserState};

use super::{Change, Draft, LastAdmin, NewUser, People, PeopleError};
use crate::directory::{parse_email, parse_name};
use crate::password_hash;
use crate::store::{DirectoryChange, Origin, PasswordRow, UserRow};

/// Somebody to be taken over.
pub struct Incoming {
    /// Who.
    pub user: NewUser,
    /// They may not sign in until they are enabled.
    pub is_disabled: bool,
    /// The slow hash of their password there; good for setting the pair here once, and hashed anew then.
    pub hash: Option<String>,
}

/// Whether rows that do not fit keep the others out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Every row, or nothing is written.
    Whole,
    /// Those that fit.
    Partial,
    /// Nothing is written; what would be is told.
    Try,
}

/// What came of an import.
pub struct Imported {
    /// What changed; `None` where nothing was written.
    pub change: Option<Change>,
    /// Addresses that were added, or would be.
    pub added: Vec<String>,
    /// Rows that do not fit, by their number from 0, and why.
    pub refused: Vec<(usize, PeopleError)>,
}

impl People {
    /// Adds people. They are invited until they enrol.
    ///
    /// # Errors
    /// The store, or somebody changed the directory in between so that a row no longer fits; nothing was written then.
    pub async fn import(&self, rows: &[Incoming], admission: Admission) -> Result<Imported, PeopleError> {
        let now = self.now();
        let (mut good, mut refused) = (Vec::new(), Vec::new());
        let mut draft = Draft::of(&self.snapshot().rows);
        for (index, incoming) in rows.iter().enumerate() {
            match self.prepare(incoming).and_then(|row| tried(&mut draft, row, incoming, now)) {
                Ok(row) => good.push((row, incoming)),
                Err(error) => refused.push((index, error)),
            }
        }
        let added = good.iter().map(|(row, _)| row.email.clone()).collect();
        let writes = match admission {
            Admission::Whole => refused.is_empty(),
            Admission::Partial => true,
            Admission::Try => false,
        };
        if !writes || good.is_empty() {
            return Ok(Imported { change: None, added, refused });
        }
        let change = self
            .edit(LastAdmin::Keep, |draft| good.iter().try_for_each(|(row, incoming)| add(draft, row, incoming, now)))
            .await?;
        Ok(Imported { change: Some(change), added, refused })
    }

    fn prepare(&self, incoming: &Incoming) -> Result<UserRow, PeopleError> {
        let user = &incoming.user;
        if let Some(hash) = &incoming.hash {
            password_hash::check(hash).map_err(PeopleError::Hash)?;
        }
        Ok(UserRow {
            email: parse_email(&user.email)?,
            name: parse_name(&user.name)?,
            state: if incoming.is_disabled { UserState::Disabled } else { UserState::Invited },
            is_external: user.is_external,
            tags: user.tags.clone(),
            ..self.blank_user(Origin::Local)
        })
    }
}

/// Leaves no half of a row behind.
fn tried(draft: &mut Draft, row: UserRow, incoming: &Incoming, now: Timestamp) -> Result<UserRow, PeopleError> {
    match add(draft, &row, incoming, now) {
        Ok(()) => Ok(row),
        Err(error) => {
            draft.users.remove(&row.id);
            draft.memberships.retain(|(_, user), _| *user != row.id);
            Err(error)
        }
    }
}

fn add(draft: &mut Draft, row: &UserRow, incoming: &Incoming, now: Timestamp) -> Result<(), PeopleError> {
    draft.add_user(row.clone())?;
    incoming.user.groups.iter().try_for_each(|group| draft.add_member(group, row.id))?;
    if let Some(hash) = &incoming.hash {
        let row = PasswordRow { user: row.id, hash: hash.clone(), set_at: now };
        draft.along.push(DirectoryChange::PutPassword { row, was: None });
    }
    Ok(())
}
