//! Declared people and groups against the rows. Pure; run twice it changes nothing the second time.
//!
//! Files own what they declare. What they stop declaring ends safely: a person is disabled and free
//! to be edited elsewhere, a group is deleted, a membership is removed. In a group with `membership: external`
//! files add members of their own and leave the others alone.

use std::collections::{BTreeMap, BTreeSet};

use model::directory::GroupId;
use model::{Timestamp, UserId};

use super::{Draft, PeopleError};
use crate::directory::{DirectoryError, parse_email, parse_group_id, parse_name};
use crate::store::{GroupRow, MembershipSource, Origin, UserRow};

/// What applied files declare.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    /// People.
    pub users: Vec<DeclaredUser>,
    /// Groups.
    pub groups: Vec<DeclaredGroup>,
}

/// A declared person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredUser {
    /// Sign-in address; who they are between two applies.
    pub email: String,
    /// Display name.
    pub name: String,
    /// From outside the organisation.
    pub is_external: bool,
    /// True disables them for as long as the file says so; false says nothing about it.
    pub is_disabled: bool,
    /// Directory attributes.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// Groups to be in, by name.
    pub groups: BTreeSet<String>,
    /// `people.yaml:3`.
    pub declared_at: String,
}

/// A declared group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredGroup {
    /// Immutable id.
    pub id: String,
    /// For people.
    pub title: String,
    /// Groups it belongs to, by name.
    pub parents: BTreeSet<String>,
    /// Members by address or printed id.
    pub members: BTreeSet<String>,
    /// Who says who is in it.
    pub membership: MembershipSource,
    /// `groups.yaml:3`.
    pub declared_at: String,
}

/// One fault of declared objects.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeclaredError {
    /// A malformed name.
    #[error("{declared_at}: {cause}")]
    Malformed {
        /// Where.
        declared_at: String,
        /// What is wrong.
        cause: DirectoryError,
    },
    /// A member who does not exist.
    #[error("{declared_at}: group `{group}` names the member `{member}`, who does not exist; declare or create them")]
    NoMember {
        /// Where.
        declared_at: String,
        /// Which group.
        group: String,
        /// Who is missing.
        member: String,
    },
    /// A group that does not exist.
    #[error("{declared_at}: user `{user}` names the group `{group}`, which does not exist; declare it or remove it")]
    NoGroup {
        /// Where.
        declared_at: String,
        /// Which person.
        user: String,
        /// What is missing.
        group: String,
    },
    /// A parent that does not exist.
    #[error(
        "{declared_at}: group `{group}` names the parent `{parent}`, which does not exist; declare it or remove it"
    )]
    NoParent {
        /// Where.
        declared_at: String,
        /// Which group.
        group: String,
        /// What is missing.
        parent: String,
    },
    /// Declared in two places.
    #[error("{declared_at}: {what} is declared already in {first}; keep one of them")]
    Twice {
        /// The later place.
        declared_at: String,
        /// What, with its kind.
        what: String,
        /// The earlier place.
        first: String,
    },
}

/// Makes `draft` say what is declared. `enrolled` are the disabled people who have a passkey; `blank` makes a new
/// person with fresh id and handle.
pub(super) fn reconcile(
    draft: &mut Draft,
    declared: &Declared,
    enrolled: &BTreeSet<UserId>,
    now: Timestamp,
    blank: impl Fn() -> UserRow,
) -> Result<(), PeopleError> {
    let mut faults = Vec::new();
    let groups = put_groups(draft, declared, &mut faults);
    let users = put_users(draft, declared, enrolled, now, blank, &mut faults)?;
    let wanted = wanted_memberships(draft, declared, &users, &mut faults);
    if !faults.is_empty() {
        return Err(PeopleError::Declared(faults));
    }
    drop_undeclared(draft, &groups, &users, now)?;
    settle_memberships(draft, wanted);
    Ok(())
}

fn put_groups(draft: &mut Draft, declared: &Declared, faults: &mut Vec<DeclaredError>) -> BTreeSet<GroupId> {
    let mut seen: BTreeMap<GroupId, &str> = BTreeMap::new();
    for group in &declared.groups {
        let declared_at = group.declared_at.clone();
        let (id, title) = match parse_group_id(&group.id).and_then(|id| Ok((id, parse_name(&group.title)?))) {
            Ok(names) => names,
            Err(cause) => {
                faults.push(DeclaredError::Malformed { declared_at, cause });
                continue;
            }
        };
        if let Some(first) = seen.insert(id.clone(), &group.declared_at) {
            let what = format!("group `{id}`");
            faults.push(DeclaredError::Twice { declared_at, what, first: first.to_owned() });
            continue;
        }
        let parents = group.parents.iter().map(|parent| GroupId::new(parent)).collect();
        let origin = Origin::Applied { declared_at, is_disabled: false };
        let row = GroupRow { id: id.clone(), title, parents, origin, membership: group.membership };
        draft.groups.insert(id, row);
    }
    for group in &declared.groups {
        for parent in group.parents.iter().filter(|parent| !exists_after(draft, &seen, parent)) {
            faults.push(DeclaredError::NoParent {
                declared_at: group.declared_at.clone(),
                group: group.id.clone(),
                parent: parent.clone(),
            });
        }
    }
    seen.into_keys().collect()
}

/// A group counts only if it outlives this apply: declared now, or never owned by files.
fn exists_after(draft: &Draft, declared: &BTreeMap<GroupId, &str>, group: &str) -> bool {
    let id = GroupId::new(group);
    declared.contains_key(&id) || draft.groups.get(&id).is_some_and(|row| row.origin == Origin::Local)
}

fn put_users(
    draft: &mut Draft,
    declared: &Declared,
    enrolled: &BTreeSet<UserId>,
    now: Timestamp,
    blank: impl Fn() -> UserRow,
    faults: &mut Vec<DeclaredError>,
) -> Result<BTreeMap<String, UserId>, PeopleError> {
    let mut by_email: BTreeMap<String, UserId> = draft.users.values().map(|row| (row.email_key(), row.id)).collect();
    let mut seen: BTreeMap<String, (UserId, &str)> = BTreeMap::new();
    for user in &declared.users {
        let declared_at = user.declared_at.clone();
        let (email, name) = match parse_email(&user.email).and_then(|email| Ok((email, parse_name(&user.name)?))) {
            Ok(names) => names,
            Err(cause) => {
                faults.push(DeclaredError::Malformed { declared_at, cause });
                continue;
            }
        };
        let key = email.to_ascii_lowercase();
        if let Some((_, first)) = seen.get(&key) {
            let (what, first) = (format!("user `{email}`"), (*first).to_owned());
            faults.push(DeclaredError::Twice { declared_at, what, first });
            continue;
        }
        let id = match by_email.get(&key) {
            Some(id) => *id,
            None => {
                let row = UserRow { email: email.clone(), ..blank() };
                by_email.insert(key.clone(), row.id);
                draft.users.insert(row.id, row.clone());
                row.id
            }
        };
        seen.insert(key, (id, &user.declared_at));
        put_user(draft, id, user, email, name, enrolled.contains(&id), now)?;
    }
    Ok(seen.into_iter().map(|(key, (id, _))| (key, id)).collect())
}

fn put_user(
    draft: &mut Draft,
    id: UserId,
    user: &DeclaredUser,
    email: String,
    name: String,
    has_passkey: bool,
    now: Timestamp,
) -> Result<(), PeopleError> {
    let row = draft.user_mut(id)?;
    let was_disabled_by_file = matches!(row.origin, Origin::Applied { is_disabled: true, .. });
    row.email = email;
    row.name = name;
    row.is_external = user.is_external;
    row.tags = user.tags.clone();
    row.origin = Origin::Applied { declared_at: user.declared_at.clone(), is_disabled: user.is_disabled };
    if user.is_disabled {
        return draft.disable(id, now);
    }
    if was_disabled_by_file {
        return draft.enable(id, has_passkey);
    }
    Ok(())
}

fn wanted_memberships(
    draft: &Draft,
    declared: &Declared,
    users: &BTreeMap<String, UserId>,
    faults: &mut Vec<DeclaredError>,
) -> BTreeSet<(GroupId, UserId)> {
    let declared_groups: BTreeMap<GroupId, &str> =
        declared.groups.iter().map(|group| (GroupId::new(&group.id), group.declared_at.as_str())).collect();
    let mut wanted = BTreeSet::new();
    for user in &declared.users {
        let Some(id) = users.get(&user.email.to_ascii_lowercase()) else { continue };
        for group in &user.groups {
            if exists_after(draft, &declared_groups, group) {
                wanted.insert((GroupId::new(group), *id));
            } else {
                faults.push(DeclaredError::NoGroup {
                    declared_at: user.declared_at.clone(),
                    user: user.email.clone(),
                    group: group.clone(),
                });
            }
        }
    }
    for group in &declared.groups {
        for member in &group.members {
            match find_user(draft, member) {
                Some(id) => {
                    wanted.insert((GroupId::new(&group.id), id));
                }
                None => faults.push(DeclaredError::NoMember {
                    declared_at: group.declared_at.clone(),
                    group: group.id.clone(),
                    member: member.clone(),
                }),
            }
        }
    }
    wanted
}

fn find_user(draft: &Draft, email_or_id: &str) -> Option<UserId> {
    if let Ok(id) = email_or_id.parse::<UserId>() {
        return draft.users.contains_key(&id).then_some(id);
    }
    let key = email_or_id.to_ascii_lowercase();
    draft.users.values().find(|row| row.email_key() == key).map(|row| row.id)
}

fn drop_undeclared(
    draft: &mut Draft,
    groups: &BTreeSet<GroupId>,
    users: &BTreeMap<String, UserId>,
    now: Timestamp,
) -> Result<(), PeopleError> {
    draft.groups.retain(|id, row| row.origin == Origin::Local || groups.contains(id));
    let kept: BTreeSet<UserId> = users.values().copied().collect();
    let is_dropped = |row: &&UserRow| row.origin != Origin::Local && !kept.contains(&row.id);
    let dropped: Vec<UserId> = draft.users.values().filter(is_dropped).map(|row| row.id).collect();
    for id in dropped {
        draft.disable(id, now)?;
        draft.user_mut(id)?.origin = Origin::Local;
    }
    Ok(())
}

fn settle_memberships(draft: &mut Draft, wanted: BTreeSet<(GroupId, UserId)>) {
    let groups = &draft.groups;
    draft.memberships.retain(|(group, _), source| {
        let Some(row) = groups.get(group) else { return false };
        *source == MembershipSource::External && row.membership == MembershipSource::External
    });
    draft.memberships.extend(wanted.into_iter().map(|key| (key, MembershipSource::Applied)));
}
