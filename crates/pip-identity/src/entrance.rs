//! What a good enrolment through a link does, whatever was enrolled: one transaction that uses up the link, makes the
//! account active or opens it again, and keeps what was enrolled.
//!
//! Invariants: of two enrolments through one link, one happens; of two set-up links, one makes an administrator, who
//! administers nothing before their recovery codes are saved (ID-1); whoever is recovered has a higher epoch afterwards.

use std::collections::BTreeSet;

use model::directory::{ADMINS_GROUP, GroupId};
use model::{UserId, UserState};

use crate::links::LinkRefusal;
use crate::notices::notice;
use crate::people::{Change, Draft, LastAdmin, People, PeopleError};
use crate::recovery_codes::{RecoveryCode, fresh_code, fresh_codes};
use crate::store::{
    DirectoryChange, GroupRow, LinkKind, LinkRow, MembershipSource, NoticeKind, Origin, RecoveryState, StoreError,
    UserRow,
};

/// An enrolment that was checked.
pub(crate) struct Entrance<'a> {
    /// Through which link.
    pub(crate) link: &'a LinkRow,
    /// Of whom; not in the directory yet when the link is bound to no account.
    pub(crate) account: &'a UserRow,
    /// What keeps what was enrolled, and removes what is to go.
    pub(crate) along: Vec<DirectoryChange>,
}

/// What came of it.
pub(crate) struct Entered {
    /// To be shown once: ten codes, or after a recovery with a code the one that takes its place.
    pub(crate) recovery_codes: Vec<RecoveryCode>,
    /// What changed in the directory.
    pub(crate) change: Change,
}

/// Does it.
pub(crate) async fn enter(people: &People, entrance: Entrance<'_>) -> Result<Entered, LinkRefusal> {
    let Entrance { link, account, mut along } = entrance;
    along.insert(0, DirectoryChange::UseLink { id: link.id, at: people.now() });
    let mut began_at = None;
    let recovery_codes = match link.kind {
        LinkKind::Recovery => {
            let (codes, epoch) = recovered(people, link, account.id, &mut along).await?;
            began_at = epoch;
            codes
        }
        LinkKind::Invitation | LinkKind::SetUp => {
            let (codes, change) = fresh_codes(account.id, people.ids());
            along.push(change);
            codes
        }
    };
    let change = people.edit(LastAdmin::Keep, |draft| open(draft, (link, account), began_at, along.clone())).await;
    let change = change.map_err(|error| match error {
        PeopleError::Store(StoreError::Moved) => LinkRefusal::Used { kind: link.kind, ask: link.created_by.clone() },
        error => error.into(),
    })?;
    Ok(Entered { recovery_codes, change })
}

/// Closes the recovery the link came from, tells the person, and gives back what it cost; and the epoch it began in, if
/// there was a case.
async fn recovered(
    people: &People,
    link: &LinkRow,
    user: UserId,
    along: &mut Vec<DirectoryChange>,
) -> Result<(Vec<RecoveryCode>, Option<u64>), LinkRefusal> {
    let cases = people.store().recoveries().await?;
    let case = cases.into_iter().find(|case| case.link == Some(link.id));
    let used_code = case.as_ref().is_some_and(|case| case.has_code);
    let epoch = case.as_ref().map(|case| case.epoch);
    if let Some(mut case) = case {
        let was = Some(case.revision);
        case.revision += 1;
        case.state = RecoveryState::Done;
        along.push(DirectoryChange::PutRecovery { row: case, was });
    }
    along.push(notice(people, user, NoticeKind::RecoveryDone, &link.created_by));
    let codes = if used_code {
        let (code, hash) = fresh_code(user, people.ids());
        along.push(DirectoryChange::AddRecoveryCode { user, code: hash });
        vec![code]
    } else {
        let (codes, change) = fresh_codes(user, people.ids());
        along.push(change);
        codes
    };
    Ok((codes, epoch))
}

/// The directory's side. `began_at` is the epoch in which a recovery began.
fn open(
    draft: &mut Draft,
    (link, account): (&LinkRow, &UserRow),
    began_at: Option<u64>,
    along: Vec<DirectoryChange>,
) -> Result<(), PeopleError> {
    // Asked again inside the transaction: of two set-up links used at the same time, one makes an administrator.
    if link.kind == LinkKind::SetUp && draft.has_admin()? {
        return Err(PeopleError::Store(StoreError::Moved));
    }
    if link.user.is_none() {
        draft.add_user(account.clone())?;
    }
    let user = draft.user_mut(account.id)?;
    let wanted = if link.kind == LinkKind::Recovery { UserState::Active } else { UserState::Invited };
    if user.state != wanted || began_at.is_some_and(|epoch| epoch != user.epoch) {
        // Disabled or enrolled since the link was looked at; or the person said "that was not me" while it was made.
        return Err(PeopleError::Store(StoreError::Moved));
    }
    match link.kind {
        LinkKind::Recovery => user.epoch += 1,
        LinkKind::Invitation | LinkKind::SetUp => user.state = UserState::Active,
    }
    if link.kind == LinkKind::SetUp {
        make_administrator(draft, account.id);
    }
    draft.along.extend(along);
    Ok(())
}

fn make_administrator(draft: &mut Draft, user: UserId) {
    let admins = GroupId::new(ADMINS_GROUP);
    draft.groups.entry(admins.clone()).or_insert_with(|| GroupRow {
        id: admins.clone(),
        title: "Administrators".into(),
        parents: BTreeSet::new(),
        origin: Origin::Local,
        membership: MembershipSource::External,
    });
    // Also where files alone say who is in `admins`: somebody must be able to begin.
    draft.memberships.entry((admins, user)).or_insert(MembershipSource::External);
    draft.awaiting_codes.insert(user);
}
