//! What of people is kept: rows, changes, and the one trait a database implements. It is not SQL (that is `store`)
//! and knows no rules: rules live in [`crate::people`], [`crate::links`] and [`crate::passkeys`].
//!
//! Invariants: a batch is applied whole or not at all; the directory's version moves by one with every batch that
//! touches users, groups or memberships and with no other; no row holds a secret, only SHA-256 of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::directory::GroupId;
use model::{
    BoxFuture, InvitationId, NoticeId, ServiceToken, ServiceTokenId, Session, SessionId, Timestamp, TokenHash, UserId,
    UserState,
};
use uuid::Uuid;

mod accounts;

pub use self::accounts::{
    Approver, Factors, KeyTouch, NoticeKind, NoticeRow, PasswordRow, RecoveryRow, RecoveryState, SecurityKeyRow,
    TotpRow,
};

/// The longest credential id that is accepted (WebAuthn L3 §7.1 step 25).
pub const MAX_CREDENTIAL_ID_BYTES: usize = 1023;
/// How many browsers are remembered per person; the one not used longest gives way.
pub const MAX_KNOWN_DEVICES: usize = 16;
/// How many random bytes a WebAuthn user handle has (ID-18).
pub const USER_HANDLE_BYTES: usize = 64;

/// Who says what an object is, and so who may edit it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// An applied file.
    Applied {
        /// `people.yaml:3`.
        declared_at: String,
        /// The file also says that the person is disabled; always false for groups.
        is_disabled: bool,
    },
    /// The command line, the API or a set-up link.
    Local,
}

/// Who says who is in a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MembershipSource {
    /// Applied files only.
    Applied,
    /// Files may name members, and anybody with the right may add others.
    External,
}

impl MembershipSource {
    /// The word in files and databases.
    pub fn as_str(self) -> &'static str {
        match self {
            MembershipSource::Applied => "applied",
            MembershipSource::External => "external",
        }
    }
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserRow {
    /// Stable id; the key.
    pub id: UserId,
    /// Sign-in address, domain lower-cased; unique without regard to ASCII case, see [`UserRow::email_key`].
    pub email: String,
    /// Display name.
    pub name: String,
    /// Whether they may sign in.
    pub state: UserState,
    /// From outside the organisation.
    pub is_external: bool,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Bumped whenever every session of the person must die (GW-43); never falls.
    pub epoch: u64,
    /// Directory attributes.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// Who says so.
    pub origin: Origin,
    /// The WebAuthn user handle: random, says nothing about the person; unique (ID-18).
    pub handle: [u8; USER_HANDLE_BYTES],
}

impl UserRow {
    /// What the uniqueness of addresses is checked on.
    pub fn email_key(&self) -> String {
        self.email.to_ascii_lowercase()
    }
}

/// A group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRow {
    /// Immutable id; the key.
    pub id: GroupId,
    /// For people.
    pub title: String,
    /// Groups it belongs to; each exists.
    pub parents: BTreeSet<GroupId>,
    /// Who says so.
    pub origin: Origin,
    /// Who says who is in it.
    pub membership: MembershipSource,
}

/// A person is in a group. The key is (group, user).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MembershipRow {
    /// The group.
    pub group: GroupId,
    /// The person.
    pub user: UserId,
    /// Who put them there.
    pub source: MembershipSource,
}

/// A service account (ID-9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceRow {
    /// Immutable id; the key.
    pub name: Arc<str>,
    /// For people.
    pub title: String,
    /// Who answers for it; a person who is gone counts as nobody.
    pub owner: Option<UserId>,
    /// Whether its tokens open anything.
    pub is_enabled: bool,
    /// Groups it is in; one that does not exist counts for nothing.
    pub groups: BTreeSet<GroupId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Everything the directory is made of, at one version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DirectoryRows {
    /// Zero before the first change.
    pub version: u64,
    /// Sorted by id.
    pub users: Vec<UserRow>,
    /// Sorted by id.
    pub groups: Vec<GroupRow>,
    /// Sorted by (group, user).
    pub memberships: Vec<MembershipRow>,
    /// People who have not said yet that they saved their recovery codes; until then they administer nothing (ID-1).
    pub awaiting_codes: BTreeSet<UserId>,
    /// People who asked for their account to be deleted, and since when (ID-8).
    pub deletion_wishes: BTreeMap<UserId, Timestamp>,
    /// Sorted by name.
    pub services: Vec<ServiceRow>,
    /// Sorted by id.
    pub service_tokens: Vec<ServiceToken>,
}

/// A passkey. The public key and all the ceremony needs are in `credential`, opaque to the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasskeyRow {
    /// Chosen by the authenticator; the key; at most [`MAX_CREDENTIAL_ID_BYTES`].
    pub credential_id: Vec<u8>,
    /// Whose.
    pub user: UserId,
    /// What the person calls it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// When it last signed anything.
    pub last_used_at: Option<Timestamp>,
    /// Signature counter of the last use; zero when the authenticator keeps none (ID-19).
    pub counter: u32,
    /// BE: may be synced between devices; fixed at enrolment (ID-20).
    pub is_backup_eligible: bool,
    /// BS at the last use (ID-20).
    pub is_backed_up: bool,
    /// The serialised verified credential (JSON).
    pub credential: Vec<u8>,
}

/// What a successful use changes about a passkey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasskeyTouch {
    /// Which.
    pub credential_id: Vec<u8>,
    /// The counter that was compared against; if the row has another one by now, the batch fails with
    /// [`StoreError::Moved`], so that two uses of one counter value cannot both pass.
    pub expected_counter: u32,
    /// The new counter.
    pub counter: u32,
    /// The new BS.
    pub is_backed_up: bool,
    /// Now.
    pub at: Timestamp,
}

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkKind {
    /// Enrolment of one account (ID-4).
    Invitation,
    /// Getting back into one account (ID-2, ID-6).
    Recovery,
    /// Making the first administrator (ID-1).
    SetUp,
}

impl LinkKind {
    /// The word in databases.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkKind::Invitation => "invitation",
            LinkKind::Recovery => "recovery",
            LinkKind::SetUp => "setup",
        }
    }
}

/// Where a link stands. Expiry is not a state: it follows from the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkState {
    /// May be used.
    Open,
    /// Was used.
    Used,
    /// A newer one took its place.
    Voided,
}

impl LinkState {
    /// The word in databases.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Open => "open",
            LinkState::Used => "used",
            LinkState::Voided => "voided",
        }
    }
}

/// An invitation or set-up link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkRow {
    /// Not a secret; the key.
    pub id: InvitationId,
    /// SHA-256 of the secret in the link; unique.
    pub secret_hash: TokenHash,
    /// What for.
    pub kind: LinkKind,
    /// The account it is bound to; `None` only for a set-up link that makes the account.
    pub user: Option<UserId>,
    /// Who made it, for people: an address or `local-operator`.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: LinkState,
    /// When it was used or voided.
    pub ended_at: Option<Timestamp>,
}

/// What the record must hold of a batch, in the words of whoever writes the record. Who reads and forgets it is not for
/// this room to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteRow {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// The words.
    pub body: String,
}

/// The sign-in that asks for a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignIn {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub session: SessionId,
    /// The person's epoch when it began.
    pub epoch: u64,
    /// Everyone's epoch when it began.
    pub global_epoch: u64,
}

impl From<&Session> for SignIn {
    fn from(session: &Session) -> Self {
        Self {
            user: session.user,
            session: session.id,
            epoch: session.epochs.user,
            global_epoch: session.epochs.global,
        }
    }
}

/// One change. A batch of them is one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirectoryChange {
    /// Notes a one-time code as accepted; [`StoreError::Moved`] unless the last accepted step is still `was` and `step`
    /// is later. Ends the row of failures.
    AcceptTotp {
        /// Whose.
        user: UserId,
        /// The last accepted step that was read.
        was: u64,
        /// The step of the code.
        step: u64,
    },
    /// This person asks for their account to be deleted. A wish that is there keeps its time.
    AskDeletion {
        /// Whose.
        user: UserId,
        /// Now.
        at: Timestamp,
    },
    /// Adds a security key. [`StoreError::Taken`] if the credential id exists, whoever owns it.
    AddKey(SecurityKeyRow),
    /// Adds a notice.
    AddNotice(NoticeRow),
    /// Adds an enrolled passkey. [`StoreError::Taken`] if the credential id exists, whoever owns it (ID-17).
    AddPasskey(PasskeyRow),
    /// Adds one recovery code to those a person has.
    AddRecoveryCode {
        /// Whose.
        user: UserId,
        /// Its hash.
        code: TokenHash,
    },
    /// Gives a notice the hash of a new "not me" token; [`StoreError::Moved`] if there is no such notice.
    ArmNotice {
        /// Which.
        id: NoticeId,
        /// The hash.
        token: TokenHash,
    },
    /// This person has recovery codes to save before they administer anything.
    AwaitCodes(UserId),
    /// Ends the row of failures of a person's one-time codes. Nothing happens if they have none.
    ClearTotpFailures(UserId),
    /// They saved them. Nothing happens if nothing was waited for.
    CodesSaved(UserId),
    /// The wish is taken back or answered. Nothing happens if there is none.
    DropDeletion(UserId),
    /// Removes a group and its memberships. Nothing happens if it does not exist.
    DeleteGroup(GroupId),
    /// Removes one security key of this person; [`StoreError::Moved`] if it is not there or not theirs.
    DeleteKey {
        /// Whose it must be.
        user: UserId,
        /// Which.
        credential_id: Vec<u8>,
    },
    /// Removes a membership. Nothing happens if it does not exist.
    DeleteMembership {
        /// From this group.
        group: GroupId,
        /// This person.
        user: UserId,
    },
    /// Removes password, one-time codes and security keys of a person. Nothing happens if they have none.
    DeletePair(UserId),
    /// Removes one passkey of this person; [`StoreError::Moved`] if it is not there or not theirs.
    DeletePasskey {
        /// Whose it must be.
        user: UserId,
        /// Which.
        credential_id: Vec<u8>,
    },
    /// Removes a service account with its tokens. Nothing happens if it does not exist.
    DeleteService(Arc<str>),
    /// Removes a service token. Nothing happens if it does not exist.
    DeleteServiceToken(ServiceTokenId),
    /// Removes a person with memberships, passkeys, recovery codes and links.
    DeleteUser(UserId),
    /// Remembers a browser of a person, or that it was used again; of more than [`MAX_KNOWN_DEVICES`] the one not used
    /// longest is forgotten.
    KnowDevice {
        /// Whose.
        user: UserId,
        /// The hash of its binding cookie.
        device: TokenHash,
        /// Now.
        at: Timestamp,
    },
    /// Forgets links that expired before this time.
    PurgeLinks {
        /// Earlier `expires_at` goes.
        before: Timestamp,
    },
    /// Forgets notices from before this time.
    PurgeNotices {
        /// Earlier `at` goes.
        before: Timestamp,
    },
    /// Forgets recoveries that expired before this time.
    PurgeRecoveries {
        /// Earlier `expires_at` goes.
        before: Timestamp,
    },
    /// Adds or replaces a group by id.
    PutGroup(GroupRow),
    /// Adds a link. [`StoreError::Taken`] if id or hash exists.
    PutLink(LinkRow),
    /// Adds or replaces a membership by (group, user).
    PutMembership(MembershipRow),
    /// Puts down what the record must hold of this batch, for a start after a crash.
    PutNote(NoteRow),
    /// Puts a password in the place of another; `was` is the hash that was read, or `None` where there was none.
    /// [`StoreError::Moved`] if that is not what is there.
    PutPassword {
        /// The new one.
        row: PasswordRow,
        /// The hash it takes the place of.
        was: Option<String>,
    },
    /// Puts a recovery in the place of its revision `was`, or adds it (`None`). [`StoreError::Moved`] if another
    /// revision is there, or if it is there already; [`StoreError::Taken`] if another one has the ticket.
    PutRecovery {
        /// The new row.
        row: RecoveryRow,
        /// The revision it takes the place of.
        was: Option<u32>,
    },
    /// Adds or replaces a service account by name.
    PutService(ServiceRow),
    /// Adds or replaces a service token by id; its account exists.
    PutServiceToken(ServiceToken),
    /// Adds or replaces the one-time codes of a person.
    PutTotp(TotpRow),
    /// Adds or replaces a person by id. [`StoreError::Taken`] if another one has the address or handle.
    PutUser(UserRow),
    /// Notes that a person has read their notices up to and including this time.
    SeeNotices {
        /// Whose.
        user: UserId,
        /// Notices from later are not touched.
        until: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// Changes nothing; [`StoreError::SignInEnded`] unless the person is active at this epoch, and, where sessions are kept
    /// beside the directory, this sign-in has not ended. What comes after it in the batch happens only then, so that
    /// nothing a withdrawn sign-in asked for is kept after the withdrawal.
    RequireSignIn(SignIn),
    /// Replaces all recovery codes of a person.
    SetRecoveryCodes {
        /// Whose.
        user: UserId,
        /// Their hashes; empty removes all.
        codes: Vec<TokenHash>,
    },
    /// Takes one recovery code away; [`StoreError::Moved`] if it is not there (any more).
    TakeRecoveryCode {
        /// Whose.
        user: UserId,
        /// Its hash.
        code: TokenHash,
    },
    /// Notes the use of a security key; [`StoreError::Moved`] if its counter is not [`KeyTouch::expected_counter`].
    TouchKey(KeyTouch),
    /// Notes the use of a passkey; see [`PasskeyTouch::expected_counter`].
    TouchPasskey(PasskeyTouch),
    /// Counts an attempt with a one-time code before it is looked at; [`StoreError::Moved`] if there were `most`
    /// already, or there are no codes.
    TryTotp {
        /// Whose.
        user: UserId,
        /// How many there may be.
        most: u32,
    },
    /// Uses up a link; [`StoreError::Moved`] unless it is [`LinkState::Open`].
    UseLink {
        /// Which.
        id: InvitationId,
        /// Now.
        at: Timestamp,
    },
    /// Uses up a "not me" token; [`StoreError::Moved`] if no notice has it (any more).
    UseNotice {
        /// Its hash.
        token: TokenHash,
    },
    /// Voids every open link of this kind bound to `user` (`None`: bound to nobody).
    VoidLinks {
        /// Which kind.
        kind: LinkKind,
        /// Bound to whom.
        user: Option<UserId>,
        /// Now.
        at: Timestamp,
    },
}

impl DirectoryChange {
    /// True for changes of users, groups and memberships: those that move the directory's version.
    pub fn moves_directory(&self) -> bool {
        matches!(
            self,
            DirectoryChange::AskDeletion { .. }
                | DirectoryChange::AwaitCodes(_)
                | DirectoryChange::CodesSaved(_)
                | DirectoryChange::DeleteGroup(_)
                | DirectoryChange::DeleteMembership { .. }
                | DirectoryChange::DeleteService(_)
                | DirectoryChange::DeleteServiceToken(_)
                | DirectoryChange::DeleteUser(_)
                | DirectoryChange::DropDeletion(_)
                | DirectoryChange::PutGroup(_)
                | DirectoryChange::PutMembership(_)
                | DirectoryChange::PutService(_)
                | DirectoryChange::PutServiceToken(_)
                | DirectoryChange::PutUser(_)
        )
    }
}

/// What must be unique and was not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unique {
    /// A person's address.
    Email,
    /// A person's WebAuthn handle.
    Handle,
    /// A credential id.
    CredentialId,
    /// A link's id or secret.
    Link,
    /// The ticket of a recovery.
    Recovery,
    /// The token of a notice.
    Notice,
}

/// Why nothing was read or changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the directory cannot be read or written: {0}")]
    Backend(String),
    /// A condition of the batch no longer holds: a link or code was used, a counter moved, a passkey is gone.
    #[error("somebody else changed the same thing first; read it again")]
    Moved,
    /// The sign-in that asked for it was withdrawn meanwhile.
    #[error("this sign-in was ended meanwhile, and nothing was changed; sign in again")]
    SignInEnded,
    /// Something that must be unique exists.
    #[error("another row has the same {0:?}")]
    Taken(Unique),
    /// The directory is not at the expected version; load it again and decide afresh.
    #[error("the directory is at version {found}, not {expected}")]
    VersionMoved {
        /// What the caller had read.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

/// Keeps people, groups, credentials, links and codes. Every implementation passes [`crate::conformance`].
pub trait DirectoryStore: Send + Sync {
    /// Users, groups and memberships, sorted, at one version.
    fn load(&self) -> BoxFuture<'_, Result<DirectoryRows, StoreError>>;

    /// Applies a batch in order, whole or not at all, and gives the directory's version afterwards. `expected` is
    /// the version the decision was made on; `None` only for batches in which no change moves the directory.
    ///
    /// # Errors
    /// See [`StoreError`] and the variants of [`DirectoryChange`]. After any error nothing has changed.
    fn apply(&self, expected: Option<u64>, changes: Vec<DirectoryChange>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// A passkey by credential id.
    fn passkey<'a>(&'a self, credential_id: &'a [u8]) -> BoxFuture<'a, Result<Option<PasskeyRow>, StoreError>>;

    /// The passkeys of a person, oldest first.
    fn passkeys_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<PasskeyRow>, StoreError>>;

    /// A link by the hash of its secret, whatever its state.
    fn link(&self, secret_hash: TokenHash) -> BoxFuture<'_, Result<Option<LinkRow>, StoreError>>;

    /// All links not purged yet, newest first.
    fn links(&self) -> BoxFuture<'_, Result<Vec<LinkRow>, StoreError>>;

    /// The recovery codes a person has left, in no particular order.
    fn recovery_codes_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<TokenHash>, StoreError>>;

    /// Password, one-time codes and known browsers of a person.
    fn factors_of(&self, user: UserId) -> BoxFuture<'_, Result<Factors, StoreError>>;

    /// All recoveries not purged yet, newest first.
    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<RecoveryRow>, StoreError>>;

    /// The notices to a person, newest first.
    fn notices_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<NoticeRow>, StoreError>>;

    /// The notice that a "not me" token belongs to, by the token's hash.
    fn notice(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<NoticeRow>, StoreError>>;
}
