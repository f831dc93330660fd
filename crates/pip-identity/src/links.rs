//! Set-up links and invitations (ID-1, ID-3, ID-4). A link is looked at as often as one likes and used up
//! only by the enrolment that succeeds through it; see [`crate::passkeys`].
//!
//! Invariants: the secret has 160 random bits and is shown once; a link is bound to an account id; a newer one voids
//! the older; a set-up link works only while nobody administers.

use std::sync::Arc;
use std::time::Duration;

use model::{InvitationId, Timestamp, TokenHash, UserEntry, UserId, UserState};

use crate::people::{People, PeopleError};
use crate::secret::Secret;
use crate::store::{DirectoryChange, LinkKind, LinkRow, LinkState, StoreError};

/// How long a set-up link lives (ID-1).
pub const SET_UP_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long an invitation lives unless said otherwise (ID-4).
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long the link of a recovery lives: it is opened at once, in the browser that proved the rest, or carried over by
/// hand.
pub const RECOVERY_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The longest an invitation may live: handed over in person, never mailed.
pub const MAX_INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long ended links are kept, so that a late visitor reads why.
pub const LINK_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// Random bytes of a link's secret: 160 bit, where 128 are asked for.
pub const SECRET_BYTES: usize = 20;

const DOMAIN: &str = "countersign link";

/// Why a link is refused or not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkRefusal {
    /// The account has a passkey.
    #[error(
        "`{0}` has enrolled already; if they lost what they sign in with, they go to the sign-in page with a recovery code, or run `countersign user recover {0}`"
    )]
    AlreadyEnrolled(String),
    /// The account is disabled.
    #[error("the account is disabled; ask an administrator to enable it first")]
    Disabled,
    /// Its time is over.
    #[error("this link has expired; {}", fresh_link(*.kind, .ask))]
    Expired {
        /// What it was for.
        kind: LinkKind,
        /// Who made it.
        ask: String,
    },
    /// A lifetime beyond [`MAX_INVITATION_LIFETIME`].
    #[error("an invitation may live for at most 7 days; give a shorter time")]
    LifetimeTooLong,
    /// There is nothing to recover yet.
    #[error("`{0}` has not enrolled yet; invite them")]
    NotEnrolled(String),
    /// Somebody administers.
    #[error("there is an administrator already; ask them for an invitation")]
    SetUpDone,
    /// No such secret.
    #[error("this link is not known; check that it was copied whole, or ask whoever sent it for a new one")]
    Unknown,
    /// It was used.
    #[error("this link was used already; sign in, or {}", fresh_link(*.kind, .ask))]
    Used {
        /// What it was for.
        kind: LinkKind,
        /// Who made it.
        ask: String,
    },
    /// A newer link took its place.
    #[error("a newer link took the place of this one; use that, or {}", fresh_link(*.kind, .ask))]
    Voided {
        /// What it was for.
        kind: LinkKind,
        /// Who made it.
        ask: String,
    },
    /// The directory.
    #[error(transparent)]
    People(#[from] PeopleError),
}

impl From<StoreError> for LinkRefusal {
    fn from(error: StoreError) -> Self {
        LinkRefusal::People(error.into())
    }
}

impl LinkRefusal {
    /// The code in problems and records.
    pub fn code(&self) -> &'static str {
        match self {
            LinkRefusal::AlreadyEnrolled(_) => "link_already_enrolled",
            LinkRefusal::Disabled => "link_account_disabled",
            LinkRefusal::Expired { .. } => "link_expired",
            LinkRefusal::LifetimeTooLong => "link_lifetime",
            LinkRefusal::NotEnrolled(_) => "link_not_enrolled",
            LinkRefusal::SetUpDone => "link_set_up_done",
            LinkRefusal::Unknown => "link_unknown",
            LinkRefusal::Used { .. } => "link_used",
            LinkRefusal::Voided { .. } => "link_voided",
            LinkRefusal::People(_) => "directory",
        }
    }
}

fn fresh_link(kind: LinkKind, ask: &str) -> String {
    match kind {
        // The command line on the host has no name that the person would know.
        LinkKind::Invitation if ask == model::decision::LOCAL_OPERATOR => "ask an administrator for a new one".into(),
        LinkKind::Invitation => format!("ask `{ask}` for a new one"),
        LinkKind::Recovery => "begin the recovery again".into(),
        LinkKind::SetUp => "run `countersign admin setup-link` on the server for a new one".into(),
    }
}

/// A link without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkView {
    /// Its row.
    pub row: LinkRow,
    /// Whose it is; `None` for a set-up link that makes the account.
    pub user: Option<Arc<UserEntry>>,
    /// True while it can still be used.
    pub is_open: bool,
}

/// A link that was just made. Marked "not mailed" wherever it is shown: nothing sends it (ID-3).
pub struct IssuedLink {
    /// What was made.
    pub row: LinkRow,
    /// The part of the address that makes it work. Shown once.
    pub secret: Secret,
}

/// Makes, shows and voids links.
#[derive(Clone)]
pub struct Links {
    people: Arc<People>,
}

impl Links {
    /// Over this directory.
    pub fn new(people: Arc<People>) -> Self {
        Self { people }
    }

    /// Invites a person who has not enrolled yet; voids earlier invitations of theirs.
    ///
    /// # Errors
    /// No such person, enrolled, disabled, or too long a lifetime.
    pub async fn invite(
        &self,
        user: UserId,
        created_by: &str,
        lifetime: Option<Duration>,
    ) -> Result<IssuedLink, LinkRefusal> {
        let lifetime = lifetime.unwrap_or(INVITATION_LIFETIME);
        if lifetime > MAX_INVITATION_LIFETIME {
            return Err(LinkRefusal::LifetimeTooLong);
        }
        self.check_enrollable(user, LinkKind::Invitation)?;
        self.issue(LinkKind::Invitation, Some(user), created_by, lifetime).await
    }

    /// Makes the link through which the first administrator enrols; voids earlier ones. Without `user` the page asks
    /// for name and address and makes the account.
    ///
    /// # Errors
    /// Somebody administers already, or the person cannot enrol.
    pub async fn set_up(&self, user: Option<UserId>, created_by: &str) -> Result<IssuedLink, LinkRefusal> {
        if !self.people.needs_set_up() {
            return Err(LinkRefusal::SetUpDone);
        }
        if let Some(user) = user {
            self.check_enrollable(user, LinkKind::Invitation)?;
        }
        self.issue(LinkKind::SetUp, user, created_by, SET_UP_LIFETIME).await
    }

    /// What a link is good for. Consumes nothing: mail scanners follow links (ID-4).
    ///
    /// # Errors
    /// It cannot be used, and why.
    pub async fn peek(&self, secret: &str) -> Result<LinkView, LinkRefusal> {
        let hash = hash_of(secret).ok_or(LinkRefusal::Unknown)?;
        let row = self.people.store().link(hash).await?.ok_or(LinkRefusal::Unknown)?;
        self.check_usable(&row, self.people.now())?;
        Ok(self.view(row))
    }

    /// Every link that is remembered, newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self) -> Result<Vec<LinkView>, LinkRefusal> {
        let rows = self.people.store().links().await?;
        Ok(rows.into_iter().map(|row| self.view(row)).collect())
    }

    /// Voids the open invitations of a person.
    ///
    /// # Errors
    /// The store.
    pub async fn void(&self, user: UserId) -> Result<(), LinkRefusal> {
        let at = self.people.now();
        let void = DirectoryChange::VoidLinks { kind: LinkKind::Invitation, user: Some(user), at };
        self.people.store().apply(None, vec![void]).await?;
        Ok(())
    }

    /// Refuses a link that may not be used now.
    pub(crate) fn check_usable(&self, row: &LinkRow, now: Timestamp) -> Result<(), LinkRefusal> {
        let (kind, ask) = (row.kind, row.created_by.clone());
        match row.state {
            LinkState::Used => return Err(LinkRefusal::Used { kind, ask }),
            LinkState::Voided => return Err(LinkRefusal::Voided { kind, ask }),
            LinkState::Open if now >= row.expires_at => return Err(LinkRefusal::Expired { kind, ask }),
            LinkState::Open => {}
        }
        if kind == LinkKind::SetUp && !self.people.needs_set_up() {
            return Err(LinkRefusal::SetUpDone);
        }
        match row.user {
            Some(user) => self.check_enrollable(user, kind),
            None => Ok(()),
        }
    }

    /// Makes the link through which an account that has been recovered is opened again; voids earlier ones. The caller
    /// has the proofs (ID-6) or is the host (ID-2).
    ///
    /// # Errors
    /// No such person, not active, or the store.
    pub(crate) async fn recovery(
        &self,
        user: UserId,
        created_by: &str,
        along: impl Fn(InvitationId) -> Vec<DirectoryChange>,
    ) -> Result<IssuedLink, LinkRefusal> {
        self.check_enrollable(user, LinkKind::Recovery)?;
        self.issue_with(LinkKind::Recovery, Some(user), created_by, RECOVERY_LIFETIME, along).await
    }

    fn check_enrollable(&self, user: UserId, kind: LinkKind) -> Result<(), LinkRefusal> {
        let directory = self.people.directory();
        let Some(entry) = directory.users.get(&user) else {
            return Err(PeopleError::NoUser(user.to_string()).into());
        };
        match (entry.state, kind) {
            (UserState::Active, LinkKind::Recovery) => Ok(()),
            (UserState::Invited, LinkKind::Recovery) => Err(LinkRefusal::NotEnrolled(entry.email.clone())),
            (UserState::Invited, _) => Ok(()),
            (UserState::Active, _) => Err(LinkRefusal::AlreadyEnrolled(entry.email.clone())),
            (UserState::Disabled, _) => Err(LinkRefusal::Disabled),
        }
    }

    async fn issue(
        &self,
        kind: LinkKind,
        user: Option<UserId>,
        created_by: &str,
        lifetime: Duration,
    ) -> Result<IssuedLink, LinkRefusal> {
        self.issue_with(kind, user, created_by, lifetime, |_| Vec::new()).await
    }

    async fn issue_with(
        &self,
        kind: LinkKind,
        user: Option<UserId>,
        created_by: &str,
        lifetime: Duration,
        along: impl Fn(InvitationId) -> Vec<DirectoryChange>,
    ) -> Result<IssuedLink, LinkRefusal> {
        let now = self.people.now();
        let secret = Secret::random::<SECRET_BYTES>(self.people.ids());
        let row = LinkRow {
            id: InvitationId(self.people.ids().uuid_v7(now)),
            secret_hash: secret.hash(DOMAIN),
            kind,
            user,
            created_by: created_by.chars().take(256).collect(),
            created_at: now,
            expires_at: now + lifetime,
            state: LinkState::Open,
            ended_at: None,
        };
        let mut changes = vec![DirectoryChange::PurgeLinks { before: now - LINK_MEMORY }];
        // There is one first administrator, so a new set-up link voids every other, whomever it is bound to.
        let rivals = self.people.store().links().await?;
        let rivals = rivals.iter().filter(|rival| rival.kind == kind && rival.state == LinkState::Open);
        let mut voided: Vec<Option<UserId>> = rivals.map(|rival| rival.user).collect();
        voided.retain(|rival| kind == LinkKind::SetUp || *rival == user);
        voided.dedup();
        changes.extend(voided.into_iter().map(|user| DirectoryChange::VoidLinks { kind, user, at: now }));
        changes.push(DirectoryChange::PutLink(row.clone()));
        changes.extend(along(row.id));
        self.people.store().apply(None, changes).await?;
        Ok(IssuedLink { row, secret })
    }

    fn view(&self, row: LinkRow) -> LinkView {
        let user = row.user.and_then(|user| self.people.directory().users.get(&user).cloned());
        let is_open = self.check_usable(&row, self.people.now()).is_ok();
        LinkView { row, user, is_open }
    }
}

/// What the store knows a link by.
pub(crate) fn hash_of(secret: &str) -> Option<TokenHash> {
    Secret::typed(secret).map(|secret| secret.hash(DOMAIN))
}
