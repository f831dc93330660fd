//! What an edit changed, worked out by comparing the directory before and after: nobody has to remember to note it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::directory::GroupId;
use model::{AppName, Directory, ServiceToken, ServiceTokenId, UserEntry, UserId, UserState};
use uuid::Uuid;

use super::{LastAdmin, PeopleError};
use crate::store::DirectoryRows;

/// What changed. The caller publishes `directory`, ends the sessions of `ended`, judges the streams of
/// `facts_moved` afresh, and records the rest.
#[derive(Clone, Debug)]
pub struct Change {
    /// Everyone afterwards.
    pub directory: Arc<Directory>,
    /// New people.
    pub created: BTreeSet<UserId>,
    /// People who are gone.
    pub deleted: BTreeSet<UserId>,
    /// People who were active or invited and now are disabled.
    pub disabled: BTreeSet<UserId>,
    /// People who were disabled and now are not.
    pub enabled: BTreeSet<UserId>,
    /// Whose every session must end, with the epoch from which on sessions count.
    pub ended: BTreeMap<UserId, u64>,
    /// People about whom a policy may now read something else (new people not included).
    pub facts_moved: BTreeSet<UserId>,
    /// Groups that are new, changed or gone.
    pub groups: BTreeSet<GroupId>,
    /// Direct memberships that began.
    pub joined: BTreeSet<(GroupId, UserId)>,
    /// Direct memberships that ended.
    pub left: BTreeSet<(GroupId, UserId)>,
    /// Who asked for their account to be deleted.
    pub wished: BTreeSet<UserId>,
    /// Whose wish to be deleted was taken back or answered while they stay.
    pub unwished: BTreeSet<UserId>,
    /// Service accounts that are new, changed or gone.
    pub services: BTreeSet<Arc<str>>,
    /// Service tokens that are new, changed or gone, with whose they are.
    pub service_tokens: BTreeMap<ServiceTokenId, Arc<str>>,
    /// The apps whose streams may lean on any of those.
    pub service_apps: BTreeSet<AppName>,
    /// The note that was put down in the transaction of the change.
    pub note: Option<Uuid>,
}

impl Change {
    /// The difference of two directories.
    pub fn between(before: &Directory, after: &Arc<Directory>) -> Self {
        let mut change = Change {
            directory: Arc::clone(after),
            created: BTreeSet::new(),
            deleted: BTreeSet::new(),
            disabled: BTreeSet::new(),
            enabled: BTreeSet::new(),
            ended: BTreeMap::new(),
            facts_moved: BTreeSet::new(),
            groups: BTreeSet::new(),
            joined: BTreeSet::new(),
            left: BTreeSet::new(),
            wished: BTreeSet::new(),
            unwished: BTreeSet::new(),
            services: BTreeSet::new(),
            service_tokens: BTreeMap::new(),
            service_apps: BTreeSet::new(),
            note: None,
        };
        for (id, now) in &after.users {
            match before.users.get(id) {
                None => {
                    change.created.insert(*id);
                    change.joined.extend(now.direct_groups.iter().map(|group| (group.clone(), *id)));
                }
                Some(was) => change.note_user(was, now),
            }
        }
        for (id, was) in before.users.iter().filter(|(id, _)| !after.users.contains_key(*id)) {
            change.deleted.insert(*id);
            change.ended.insert(*id, was.epoch + 1);
            change.left.extend(was.direct_groups.iter().map(|group| (group.clone(), *id)));
        }
        let names = before.groups.keys().chain(after.groups.keys());
        change.groups = names.filter(|id| before.groups.get(*id) != after.groups.get(*id)).cloned().collect();
        change.note_services(before, after);
        change
    }

    fn note_services(&mut self, before: &Directory, after: &Directory) {
        let names = before.services.keys().chain(after.services.keys());
        self.services = names.filter(|name| before.services.get(*name) != after.services.get(*name)).cloned().collect();
        for token in before.service_tokens.values().chain(after.service_tokens.values()) {
            if before.service_tokens.get(&token.id) != after.service_tokens.get(&token.id) {
                self.service_tokens.insert(token.id, Arc::clone(&token.service));
            }
        }
        let is_touched = |token: &&Arc<ServiceToken>| {
            self.services.contains(&token.service) || self.service_tokens.contains_key(&token.id)
        };
        let touched = before.service_tokens.values().filter(is_touched);
        self.service_apps = touched.flat_map(|token| token.apps.iter().cloned()).collect();
    }

    /// Takes note of wishes for deletion, which no directory shows.
    pub(super) fn with_wishes(mut self, before: &DirectoryRows, after: &DirectoryRows) -> Self {
        let (was, now) = (&before.deletion_wishes, &after.deletion_wishes);
        self.wished = now.keys().filter(|id| !was.contains_key(*id)).copied().collect();
        let stays = |id: &&UserId| !now.contains_key(*id) && !self.deleted.contains(*id);
        self.unwished = was.keys().filter(stays).copied().collect();
        self
    }

    /// True if nothing is different.
    pub fn is_empty(&self) -> bool {
        self.created.is_empty()
            && self.deleted.is_empty()
            && self.ended.is_empty()
            && self.facts_moved.is_empty()
            && self.groups.is_empty()
            && self.joined.is_empty()
            && self.left.is_empty()
            && self.wished.is_empty()
            && self.unwished.is_empty()
            && self.services.is_empty()
            && self.service_tokens.is_empty()
    }

    /// True if somebody may afterwards be able to do less.
    pub(super) fn may_take_away(&self) -> bool {
        !(self.deleted.is_empty() && self.facts_moved.is_empty() && self.groups.is_empty() && self.left.is_empty())
    }

    fn note_user(&mut self, was: &UserEntry, now: &UserEntry) {
        if now.epoch != was.epoch {
            self.ended.insert(now.id, now.epoch);
        }
        if now.state == UserState::Disabled && was.state != UserState::Disabled {
            self.disabled.insert(now.id);
        }
        if was.state == UserState::Disabled && now.state != UserState::Disabled {
            self.enabled.insert(now.id);
        }
        if facts(was) != facts(now) {
            self.facts_moved.insert(now.id);
        }
        let ids = |groups: &BTreeSet<GroupId>, others: &BTreeSet<GroupId>| -> Vec<(GroupId, UserId)> {
            groups.difference(others).map(|group| (group.clone(), now.id)).collect()
        };
        self.joined.extend(ids(&now.direct_groups, &was.direct_groups));
        self.left.extend(ids(&was.direct_groups, &now.direct_groups));
    }
}

/// Everything of a person that a decision may depend on, names included because assertions carry them.
fn facts(user: &UserEntry) -> impl PartialEq + '_ {
    (&user.name, &user.email, user.is_email_verified, user.state, &user.groups, user.is_external, &user.tags)
}

/// Refuses an edit after which nobody administers, where somebody did before.
pub(super) fn check_last_admin(
    before: &BTreeSet<UserId>,
    after: &BTreeSet<UserId>,
    guard: LastAdmin,
) -> Result<(), PeopleError> {
    if guard == LastAdmin::Keep && !before.is_empty() && after.is_empty() {
        return Err(PeopleError::LastAdmin);
    }
    Ok(())
}
