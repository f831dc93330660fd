//! People and groups as one immutable snapshot. Doors and engine read it; `pip-identity` makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::app::AppName;
use crate::ids::{ServiceTokenId, TokenHash, UserId};
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

/// How a service account is written as a principal: this, then its name.
pub const SERVICE_PREFIX: &str = "service-account:";
/// How many secrets of one token may be good at a time: the old one and the new one of a rotation (GW-52).
pub const MAX_LIVE_SECRETS: usize = 2;

/// A service account: a program that asks in its own name (ID-9). It is no person: it never signs in and never confirms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceEntry {
    /// Immutable id.
    pub name: Arc<str>,
    /// For people.
    pub title: String,
    /// Who answers for it.
    pub owner: Option<UserId>,
    /// Whether its tokens open anything.
    pub is_enabled: bool,
    /// Groups named directly.
    pub direct_groups: BTreeSet<GroupId>,
    /// All groups, closed over parents; sorted.
    pub groups: Arc<[GroupId]>,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl ServiceEntry {
    /// How policies and records name it.
    pub fn principal(&self) -> Arc<str> {
        Arc::from(format!("{SERVICE_PREFIX}{}", self.name))
    }
}

/// A secret of a service token. The secret itself is never stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSecret {
    /// SHA-256 of it.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
}

/// A service token (GW-52): what a service account proves itself with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceToken {
    /// The client id.
    pub id: ServiceTokenId,
    /// Whose.
    pub service: Arc<str>,
    /// The apps it is good for, and no others.
    pub apps: BTreeSet<AppName>,
    /// When the token was made.
    pub created_at: Timestamp,
    /// Newest first; at most [`MAX_LIVE_SECRETS`].
    pub secrets: Vec<ServiceSecret>,
}

impl ServiceToken {
    /// From when on it opens nothing by itself.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.secrets.iter().map(|secret| secret.expires_at).max()
    }
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
    /// Service accounts by name.
    pub services: BTreeMap<Arc<str>, Arc<ServiceEntry>>,
    /// Their tokens.
    pub service_tokens: BTreeMap<ServiceTokenId, Arc<ServiceToken>>,
}

impl Directory {
    /// A person by e-mail address (compared without case) or printed id.
    pub fn find(&self, email_or_id: &str) -> Option<&Arc<UserEntry>> {
        if let Ok(id) = email_or_id.parse::<UserId>() {
            return self.users.get(&id);
        }
        self.users.values().find(|user| user.email.eq_ignore_ascii_case(email_or_id))
    }

    /// The service account behind a principal's name.
    pub fn service_of(&self, principal: &str) -> Option<&Arc<ServiceEntry>> {
        self.services.get(principal.strip_prefix(SERVICE_PREFIX)?)
    }

    /// Whose token this is and until when its secret opens this app; `None` when it opens nothing there (any more). What
    /// does not exist is compared like what does, so that time tells nothing of it.
    pub fn service_standing(
        &self,
        id: ServiceTokenId,
        secret: &TokenHash,
        app: &AppName,
        now: Timestamp,
    ) -> Option<(&Arc<ServiceEntry>, Timestamp)> {
        const NOTHING: ServiceSecret =
            ServiceSecret { hash: TokenHash([0; 32]), created_at: Timestamp(0), expires_at: Timestamp(i64::MIN) };
        let token = self.service_tokens.get(&id);
        let mut until = None;
        for place in 0..MAX_LIVE_SECRETS {
            let kept = token.and_then(|token| token.secrets.get(place)).unwrap_or(&NOTHING);
            if secret.equals(&kept.hash) & (now < kept.expires_at) {
                until = until.max(Some(kept.expires_at));
            }
        }
        let token = token.filter(|token| token.apps.contains(app))?;
        let service = self.services.get(&token.service).filter(|service| service.is_enabled)?;
        until.map(|until| (service, until))
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
