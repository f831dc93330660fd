//! People and groups as one immutable snapshot. Doors and engine read it; `pip-identity` makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::ids::UserId;
use crate::time::Timestamp;

/// A group's immutable id: its `metadata.name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// Wraps an id that its parser has checked.
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The group whose members administer the product.
pub const ADMINS_GROUP: &str = "admins";

/// Whether a person may sign in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UserState {
    /// May.
    Active,
    /// May not; every session is dead.
    Disabled,
    /// Has not enrolled a credential yet.
    Invited,
}

impl UserState {
    /// `active`, `disabled` or `invited`.
    pub fn as_str(self) -> &'static str {
        match self {
            UserState::Active => "active",
            UserState::Disabled => "disabled",
            UserState::Invited => "invited",
        }
    }
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserEntry {
    /// Stable id.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// Sign-in address, lower-cased domain.
    pub email: String,
    /// The address is one that policies may lean on: its domain is the organisation's own (GW-23, R-19).
    pub is_email_verified: bool,
    /// Whether they may sign in.
    pub state: UserState,
    /// Groups named directly.
    pub direct_groups: BTreeSet<GroupId>,
    /// All groups, closed over parents; sorted.
    pub groups: Arc<[GroupId]>,
    /// From outside the organisation.
    pub is_external: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Bumped whenever every session of the person must die (GW-43).
    pub epoch: u64,
    /// Directory attributes.
    pub tags: BTreeMap<String, BTreeSet<String>>,
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupEntry {
    /// Immutable id.
    pub id: GroupId,
    /// For people.
    pub title: String,
    /// Groups it belongs to.
    pub parents: BTreeSet<GroupId>,
}

/// Everyone, at one version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// Moves with every change.
    pub version: u64,
    /// People by id.
    pub users: HashMap<UserId, Arc<UserEntry>>,
    /// Groups by id.
    pub groups: BTreeMap<GroupId, Arc<GroupEntry>>,
}

impl Directory {
    /// A person by e-mail address (compared without case) or printed id.
    pub fn find(&self, email_or_id: &str) -> Option<&Arc<UserEntry>> {
        if let Ok(id) = email_or_id.parse::<UserId>() {
            return self.users.get(&id);
        }
        self.users.values().find(|user| user.email.eq_ignore_ascii_case(email_or_id))
    }
}

/// All groups reachable from `direct` over parents, sorted. Cycles end where they meet themselves.
pub fn close_groups(direct: &BTreeSet<GroupId>, groups: &BTreeMap<GroupId, Arc<GroupEntry>>) -> Arc<[GroupId]> {
    let mut closed: BTreeSet<GroupId> = BTreeSet::new();
    let mut open: Vec<GroupId> = direct.iter().cloned().collect();
    while let Some(group) = open.pop() {
        if let Some(entry) = groups.get(&group) {
            open.extend(entry.parents.iter().filter(|parent| !closed.contains(*parent)).cloned());
        }
        closed.insert(group);
    }
    closed.into_iter().collect()
}
