//! The directory's rows as an edit changes them, and the difference as a batch. Pure: no clock, store or randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::directory::{ADMINS_GROUP, GroupId};
use model::{ServiceToken, ServiceTokenId, Timestamp, UserId, UserState};

use super::{PeopleError, owned_by_file};
use crate::directory::{self, DirectoryError};
use crate::store::{
    DirectoryChange, DirectoryRows, GroupRow, LinkKind, MembershipRow, MembershipSource, Origin, ServiceRow, UserRow,
};

/// Rows that may be changed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) users: BTreeMap<UserId, UserRow>,
    pub(crate) groups: BTreeMap<GroupId, GroupRow>,
    pub(crate) memberships: BTreeMap<(GroupId, UserId), MembershipSource>,
    /// Who has recovery codes to save first.
    pub(crate) awaiting_codes: BTreeSet<UserId>,
    /// Who asked for their account to be deleted.
    pub(crate) deletion_wishes: BTreeMap<UserId, Timestamp>,
    pub(crate) services: BTreeMap<Arc<str>, ServiceRow>,
    pub(crate) service_tokens: BTreeMap<ServiceTokenId, ServiceToken>,
    /// Changes beside the directory that belong into the same transaction.
    pub(crate) along: Vec<DirectoryChange>,
}

impl Draft {
    /// Starts from what is there.
    pub(crate) fn of(rows: &DirectoryRows) -> Self {
        Self {
            users: rows.users.iter().map(|row| (row.id, row.clone())).collect(),
            groups: rows.groups.iter().map(|row| (row.id.clone(), row.clone())).collect(),
            memberships: rows.memberships.iter().map(|row| ((row.group.clone(), row.user), row.source)).collect(),
            awaiting_codes: rows.awaiting_codes.clone(),
            deletion_wishes: rows.deletion_wishes.clone(),
            services: rows.services.iter().map(|row| (Arc::clone(&row.name), row.clone())).collect(),
            service_tokens: rows.service_tokens.iter().map(|token| (token.id, token.clone())).collect(),
            along: Vec::new(),
        }
    }

    /// The rows as they would be.
    pub(crate) fn rows(&self, version: u64) -> DirectoryRows {
        let wishes = self.deletion_wishes.iter().filter(|(id, _)| self.users.contains_key(*id));
        DirectoryRows {
            version,
            deletion_wishes: wishes.map(|(id, at)| (*id, *at)).collect(),
            users: self.users.values().cloned().collect(),
            groups: self.groups.values().cloned().collect(),
            memberships: self.memberships.iter().map(|(key, source)| membership_row(key, *source)).collect(),
            awaiting_codes: self.awaiting_codes.iter().filter(|id| self.users.contains_key(id)).copied().collect(),
            services: self.existing_services().collect(),
            service_tokens: self.existing_tokens().cloned().collect(),
        }
    }

    /// The batch that turns `before` into this draft: removals first, so that what they free can be used again.
    pub(crate) fn changes_since(&self, before: &DirectoryRows) -> Vec<DirectoryChange> {
        let was = Draft::of(before);
        let mut changes = Vec::new();
        for key in was.memberships.keys().filter(|key| !self.memberships.contains_key(*key)) {
            changes.push(DirectoryChange::DeleteMembership { group: key.0.clone(), user: key.1 });
        }
        let gone_users = was.users.keys().filter(|id| !self.users.contains_key(*id));
        changes.extend(gone_users.map(|id| DirectoryChange::DeleteUser(*id)));
        let gone_groups = was.groups.keys().filter(|id| !self.groups.contains_key(*id));
        changes.extend(gone_groups.map(|id| DirectoryChange::DeleteGroup(id.clone())));
        let new_groups = self.groups.values().filter(|row| was.groups.get(&row.id) != Some(*row));
        changes.extend(new_groups.map(|row| DirectoryChange::PutGroup(row.clone())));
        let new_users = self.users.values().filter(|row| was.users.get(&row.id) != Some(*row));
        changes.extend(new_users.map(|row| DirectoryChange::PutUser(row.clone())));
        let new_members = self.memberships.iter().filter(|(key, source)| was.memberships.get(*key) != Some(*source));
        changes.extend(new_members.map(|(key, source)| DirectoryChange::PutMembership(membership_row(key, *source))));
        let begin = self.awaiting_codes.difference(&was.awaiting_codes).filter(|id| self.users.contains_key(*id));
        changes.extend(begin.map(|id| DirectoryChange::AwaitCodes(*id)));
        let end = was.awaiting_codes.difference(&self.awaiting_codes);
        changes.extend(end.map(|id| DirectoryChange::CodesSaved(*id)));
        let asked = self.deletion_wishes.iter().filter(|(id, _)| !was.deletion_wishes.contains_key(*id));
        changes.extend(asked.map(|(id, at)| DirectoryChange::AskDeletion { user: *id, at: *at }));
        let dropped = was.deletion_wishes.keys().filter(|id| !self.deletion_wishes.contains_key(*id));
        changes.extend(dropped.map(|id| DirectoryChange::DropDeletion(*id)));
        let gone_services = was.services.keys().filter(|name| !self.services.contains_key(*name));
        changes.extend(gone_services.map(|name| DirectoryChange::DeleteService(Arc::clone(name))));
        let kept: BTreeSet<ServiceTokenId> = self.existing_tokens().map(|token| token.id).collect();
        let gone_tokens = was.service_tokens.keys().filter(|id| !kept.contains(id));
        changes.extend(gone_tokens.map(|id| DirectoryChange::DeleteServiceToken(*id)));
        let new_services = self.existing_services().filter(|row| was.services.get(&row.name) != Some(row));
        changes.extend(new_services.map(DirectoryChange::PutService));
        let new_tokens = self.existing_tokens().filter(|token| was.service_tokens.get(&token.id) != Some(*token));
        changes.extend(new_tokens.map(|token| DirectoryChange::PutServiceToken(token.clone())));
        changes.extend(self.along.iter().cloned());
        changes
    }

    /// Groups and owners that are gone do not come back with a new one of the same name.
    fn existing_services(&self) -> impl Iterator<Item = ServiceRow> + '_ {
        self.services.values().map(|row| ServiceRow {
            owner: row.owner.filter(|owner| self.users.contains_key(owner)),
            groups: row.groups.iter().filter(|group| self.groups.contains_key(*group)).cloned().collect(),
            ..row.clone()
        })
    }

    fn existing_tokens(&self) -> impl Iterator<Item = &ServiceToken> {
        self.service_tokens.values().filter(|token| self.services.contains_key(&token.service))
    }

    /// Whether somebody can administer in this draft.
    pub(crate) fn has_admin(&self) -> Result<bool, PeopleError> {
        Ok(!administrators(&self.rows(0))?.is_empty())
    }

    pub(crate) fn user_mut(&mut self, id: UserId) -> Result<&mut UserRow, PeopleError> {
        self.users.get_mut(&id).ok_or_else(|| PeopleError::NoUser(id.to_string()))
    }

    pub(crate) fn add_user(&mut self, row: UserRow) -> Result<(), PeopleError> {
        let key = row.email_key();
        if self.users.values().any(|other| other.id != row.id && other.email_key() == key) {
            return Err(PeopleError::EmailTaken(row.email));
        }
        self.users.insert(row.id, row);
        Ok(())
    }

    pub(crate) fn disable(&mut self, id: UserId, now: Timestamp) -> Result<(), PeopleError> {
        let user = self.user_mut(id)?;
        if user.state != UserState::Disabled {
            user.state = UserState::Disabled;
            user.epoch += 1;
            self.void_links(id, LinkKind::Invitation, now);
            self.void_links(id, LinkKind::Recovery, now);
        }
        Ok(())
    }

    pub(crate) fn void_links(&mut self, user: UserId, kind: LinkKind, at: Timestamp) {
        self.along.push(DirectoryChange::VoidLinks { kind, user: Some(user), at });
    }

    pub(crate) fn enable(&mut self, id: UserId, has_passkey: bool) -> Result<(), PeopleError> {
        let user = self.user_mut(id)?;
        if user.state != UserState::Disabled {
            return Ok(());
        }
        if let Origin::Applied { is_disabled: true, .. } = user.origin {
            owned_by_file(format!("user `{}`", user.email), &user.origin)?;
        }
        user.state = if has_passkey { UserState::Active } else { UserState::Invited };
        Ok(())
    }

    pub(crate) fn delete_user(&mut self, id: UserId) -> Result<(), PeopleError> {
        let user = self.user_mut(id)?;
        owned_by_file(format!("user `{}`", user.email), &user.origin)?;
        self.users.remove(&id);
        self.memberships.retain(|(_, user), _| *user != id);
        Ok(())
    }

    pub(crate) fn add_group(&mut self, row: GroupRow) -> Result<(), PeopleError> {
        if self.groups.contains_key(&row.id) {
            return Err(PeopleError::GroupExists(row.id));
        }
        self.groups.insert(row.id.clone(), row);
        Ok(())
    }

    pub(crate) fn delete_group(&mut self, id: &GroupId) -> Result<(), PeopleError> {
        let group = self.groups.get(id).ok_or_else(|| PeopleError::NoGroup(id.to_string()))?;
        owned_by_file(format!("group `{id}`"), &group.origin)?;
        self.groups.remove(id);
        self.memberships.retain(|(group, _), _| group != id);
        Ok(())
    }

    pub(crate) fn add_member(&mut self, group: &GroupId, user: UserId) -> Result<(), PeopleError> {
        self.user_mut(user)?;
        let row = self.groups.get(group).ok_or_else(|| PeopleError::NoGroup(group.to_string()))?;
        if self.memberships.contains_key(&(group.clone(), user)) {
            return Ok(());
        }
        if row.membership == MembershipSource::Applied {
            owned_by_file(format!("who is in group `{group}`"), &row.origin)?;
        }
        self.memberships.insert((group.clone(), user), MembershipSource::External);
        Ok(())
    }

    pub(crate) fn remove_member(&mut self, group: &GroupId, user: UserId) -> Result<(), PeopleError> {
        let person = self.user_mut(user)?.clone();
        let row = self.groups.get(group).ok_or_else(|| PeopleError::NoGroup(group.to_string()))?;
        let key = (group.clone(), user);
        if self.memberships.get(&key) == Some(&MembershipSource::Applied) {
            // The line that names the membership is at the group or at the person.
            let what = format!("that `{}` is in group `{group}`", person.email);
            owned_by_file(what.clone(), &row.origin)?;
            owned_by_file(what, &person.origin)?;
        }
        self.memberships.remove(&key);
        Ok(())
    }
}

/// Who can administer now, or will once their recovery codes are saved.
pub(super) fn administrators(rows: &DirectoryRows) -> Result<BTreeSet<UserId>, DirectoryError> {
    let directory = directory::build_whole(rows, &[])?;
    let is_admin = |groups: &[GroupId]| groups.iter().any(|group| group.as_str() == ADMINS_GROUP);
    let admins = directory.users.values().filter(|user| user.state == UserState::Active && is_admin(&user.groups));
    Ok(admins.map(|user| user.id).collect())
}

fn membership_row(key: &(GroupId, UserId), source: MembershipSource) -> MembershipRow {
    MembershipRow { group: key.0.clone(), user: key.1, source }
}
