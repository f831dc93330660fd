//! Rows beside the directory: passwords, one-time codes, known devices, recoveries and notices (ID-6, ID-7, ID-14,
//! ID-15, ID-26). It is not a rule: what a row allows is said in [`crate::passwords`], [`crate::recovery`] and
//! [`crate::notices`].
//!
//! Invariants: a password is here as a slow hash only, a one-time-code secret sealed only, every token as SHA-256 only.

use model::{InvitationId, NoticeId, RecoveryId, Timestamp, TokenHash, UserId};

/// A person's password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasswordRow {
    /// Whose; the key.
    pub user: UserId,
    /// The slow hash, in the form of the program that made it; see [`crate::password_hash`].
    pub hash: String,
    /// When it was set.
    pub set_at: Timestamp,
}

/// The secret of a person's one-time codes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TotpRow {
    /// Whose; the key.
    pub user: UserId,
    /// The secret, sealed under the key-encryption key.
    pub sealed: Vec<u8>,
    /// When it was confirmed by a first code.
    pub confirmed_at: Timestamp,
    /// The time step of the last accepted code, that of the enrolment included.
    pub last_step: u64,
    /// Codes tried since the last good one.
    pub failures: u32,
}

/// A security key: a second factor beside a password. Never a passkey, so it is kept apart from them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityKeyRow {
    /// Chosen by the authenticator; the key.
    pub credential_id: Vec<u8>,
    /// Whose.
    pub user: UserId,
    /// What the person calls it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// When it last signed anything.
    pub last_used_at: Option<Timestamp>,
    /// Signature counter of the last use; zero when it keeps none.
    pub counter: u32,
    /// The serialised verified credential (JSON).
    pub credential: Vec<u8>,
}

/// What a successful use changes about a security key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTouch {
    /// Which.
    pub credential_id: Vec<u8>,
    /// The counter that was compared against.
    pub expected_counter: u32,
    /// The new counter.
    pub counter: u32,
    /// Now.
    pub at: Timestamp,
}

/// What a person can sign in with beside passkeys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Factors {
    /// The password.
    pub password: Option<PasswordRow>,
    /// The one-time codes.
    pub totp: Option<TotpRow>,
    /// Security keys, oldest first; they count beside the password only.
    pub keys: Vec<SecurityKeyRow>,
    /// Browsers they have signed in from, newest first: hashes of their binding cookies.
    pub devices: Vec<TokenHash>,
}

/// Where a recovery stands. Expiry is not a state: it follows from the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecoveryState {
    /// Proofs are missing.
    Open,
    /// Proven; a link was made.
    Linked,
    /// The person enrolled anew through the link.
    Done,
    /// Somebody refused it, a newer one took its place, or the person said "not me".
    Stopped,
}

impl RecoveryState {
    /// Every state.
    pub const ALL: &'static [RecoveryState] =
        &[RecoveryState::Open, RecoveryState::Linked, RecoveryState::Done, RecoveryState::Stopped];

    /// The word in databases and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            RecoveryState::Open => "open",
            RecoveryState::Linked => "linked",
            RecoveryState::Done => "done",
            RecoveryState::Stopped => "stopped",
        }
    }
}

/// One attempt to get back in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryRow {
    /// Not a secret; the key.
    pub id: RecoveryId,
    /// Whose account.
    pub user: UserId,
    /// Moves by one with every change; see [`super::DirectoryChange::PutRecovery`].
    pub revision: u32,
    /// SHA-256 of what the browser that began it holds; unique. `None` when an administrator began it.
    pub ticket: Option<TokenHash>,
    /// A recovery code was given, and is used up.
    pub has_code: bool,
    /// A code of the authenticator that is still bound was given.
    pub has_authenticator: bool,
    /// Administrators who vouched; each once.
    pub approvals: Vec<Approver>,
    /// Where it stands.
    pub state: RecoveryState,
    /// The link it led to.
    pub link: Option<InvitationId>,
    /// The person's epoch when it began: whatever ends their sessions ends it too.
    pub epoch: u64,
    /// When it began.
    pub opened_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// Proven, but it opens nothing before this time; see [`crate::recovery::COOL_DOWN`].
    pub ready_at: Option<Timestamp>,
}

/// An administrator who vouches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approver {
    /// An address, or `local-operator`; for people to read.
    pub name: String,
    /// Their account, if they have one: who they are, whatever their address is by now.
    pub user: Option<UserId>,
}

impl Approver {
    /// Whether two are one and the same. Addresses change hands, ids do not.
    pub fn is_same(&self, other: &Approver) -> bool {
        match (self.user, other.user) {
            (Some(one), Some(another)) => one == another,
            _ => self.name == other.name,
        }
    }
}

/// What a person has to hear of (ID-7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NoticeKind {
    /// An administrator account was reopened from the host.
    AdminRecovered,
    /// Recovery codes were made anew.
    CodesRenewed,
    /// A security key was added.
    KeyAdded,
    /// A security key was removed.
    KeyRemoved,
    /// A passkey was added.
    PasskeyAdded,
    /// A passkey was removed.
    PasskeyRemoved,
    /// Password and one-time codes were set.
    PairAdded,
    /// Password and one-time codes were removed.
    PairRemoved,
    /// The password was changed.
    PasswordChanged,
    /// A recovery began.
    RecoveryBegun,
    /// A recovery was completed.
    RecoveryDone,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: &'static [NoticeKind] = &[
        NoticeKind::AdminRecovered,
        NoticeKind::CodesRenewed,
        NoticeKind::KeyAdded,
        NoticeKind::KeyRemoved,
        NoticeKind::PasskeyAdded,
        NoticeKind::PasskeyRemoved,
        NoticeKind::PairAdded,
        NoticeKind::PairRemoved,
        NoticeKind::PasswordChanged,
        NoticeKind::RecoveryBegun,
        NoticeKind::RecoveryDone,
    ];

    /// The word in databases and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::AdminRecovered => "admin_recovered",
            NoticeKind::CodesRenewed => "codes_renewed",
            NoticeKind::KeyAdded => "key_added",
            NoticeKind::KeyRemoved => "key_removed",
            NoticeKind::PasskeyAdded => "passkey_added",
            NoticeKind::PasskeyRemoved => "passkey_removed",
            NoticeKind::PairAdded => "pair_added",
            NoticeKind::PairRemoved => "pair_removed",
            NoticeKind::PasswordChanged => "password_changed",
            NoticeKind::RecoveryBegun => "recovery_begun",
            NoticeKind::RecoveryDone => "recovery_done",
        }
    }

    /// The sentence the person reads.
    pub fn sentence(self) -> &'static str {
        match self {
            NoticeKind::AdminRecovered => "an administrator account was reopened from the server itself",
            NoticeKind::CodesRenewed => "your recovery codes were made anew; the old ones are void",
            NoticeKind::KeyAdded => "a security key was added beside your password",
            NoticeKind::KeyRemoved => "a security key was removed from your account",
            NoticeKind::PasskeyAdded => "a passkey was added to your account",
            NoticeKind::PasskeyRemoved => "a passkey was removed from your account",
            NoticeKind::PairAdded => "a password with one-time codes was set for your account",
            NoticeKind::PairRemoved => "password and one-time codes were removed from your account",
            NoticeKind::PasswordChanged => "the password of your account was changed",
            NoticeKind::RecoveryBegun => "somebody asked to get into your account without the usual factor",
            NoticeKind::RecoveryDone => "your account was recovered; every sign-in before it ended",
        }
    }
}

/// A notice to a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoticeRow {
    /// The key.
    pub id: NoticeId,
    /// To whom.
    pub user: UserId,
    /// Of what.
    pub kind: NoticeKind,
    /// What exactly: the name of a passkey, who vouched. May be empty.
    pub detail: String,
    /// When it happened.
    pub at: Timestamp,
    /// When the person said that they have read it.
    pub seen_at: Option<Timestamp>,
    /// SHA-256 of the "not me" token that was shown last; unique. Gone when it was used.
    pub token: Option<TokenHash>,
}
