//! Why a pair is refused: one variant per cause, each with a code and a sentence that says what to do.

use model::UserId;

use crate::blocklist::Weakness;
use crate::hash_pool::PoolFull;
use crate::links::LinkRefusal;
use crate::people::PeopleError;
use crate::sensitive::SensitiveRefusal;
use crate::store::StoreError;
use crate::throttle::Throttled;

/// A refused sign-in: why, and about whom. The latter is for the record, never for the page.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct PairFailure {
    /// Which check.
    #[source]
    pub why: PairRefusal,
    /// Whose account was named.
    pub user: Option<UserId>,
}

impl<E: Into<PairRefusal>> From<E> for PairFailure {
    fn from(why: E) -> Self {
        PairFailure { why: why.into(), user: None }
    }
}

/// Why nothing was proven or set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PairRefusal {
    /// Administrators prove more (ID-11).
    #[error(
        "administrators sign in with a passkey here; use yours, or have another administrator recover your account"
    )]
    AdminsNeedPasskey,
    /// The pool is full.
    #[error(transparent)]
    Busy(#[from] PoolFull),
    /// The link of the enrolment.
    #[error(transparent)]
    Link(LinkRefusal),
    /// There is none.
    #[error("this account has no password; sign in with a passkey")]
    NoPair,
    /// The operator has not turned passwords on.
    #[error("passwords are turned off here; sign in with a passkey")]
    Off,
    /// The directory.
    #[error(transparent)]
    People(PeopleError),
    /// The last way in, or the proof is too old or too weak (ID-7).
    #[error(transparent)]
    Sensitive(#[from] SensitiveRefusal),
    /// The secret was not shown, or too long ago.
    #[error("more than ten minutes passed, or this was begun elsewhere; start again")]
    StartOver,
    /// Too many attempts.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Above the limit.
    #[error("a password may have at most 256 characters")]
    TooLong,
    /// Below the limit.
    #[error("a password needs at least {min} characters; a few words that do not belong together are easy to keep")]
    TooShort {
        /// How many.
        min: usize,
    },
    /// What is stored cannot be opened.
    #[error("what is stored for this account cannot be read; ask an administrator to look at the server's log")]
    Unreadable,
    /// Everybody would try it.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// Wrong or used code, wrong password, unknown address, no password, disabled account: all alike.
    #[error(
        "address, password and code do not belong together; a code works once, and after ten wrong ones only a passkey \
         or a recovery helps"
    )]
    Wrong,
    /// The first code of an enrolment does not fit.
    #[error("this code does not fit the secret; check the clock of the device, wait for the next code and try again")]
    WrongCode,
}

impl PairRefusal {
    /// The code in problems and records.
    pub fn code(&self) -> &'static str {
        match self {
            PairRefusal::AdminsNeedPasskey => "admins_need_passkey",
            PairRefusal::Busy(_) => "password_pool_full",
            PairRefusal::Link(refusal) => refusal.code(),
            PairRefusal::NoPair => "password_none",
            PairRefusal::Off => "passwords_off",
            PairRefusal::People(_) => "directory",
            PairRefusal::Sensitive(SensitiveRefusal::Ended) => "sign_in_ended",
            PairRefusal::Sensitive(SensitiveRefusal::LastWayIn) => "last_way_in",
            PairRefusal::Sensitive(SensitiveRefusal::Stale { .. }) => "sign_in_stale",
            PairRefusal::StartOver => "start_over",
            PairRefusal::Throttled(_) => "throttled",
            PairRefusal::TooLong => "password_too_long",
            PairRefusal::TooShort { .. } => "password_too_short",
            PairRefusal::Unreadable => "password_unreadable",
            PairRefusal::Weak(_) => "password_weak",
            PairRefusal::Wrong => "password_or_code_wrong",
            PairRefusal::WrongCode => "code_wrong",
        }
    }
}

impl From<LinkRefusal> for PairRefusal {
    fn from(refusal: LinkRefusal) -> Self {
        PairRefusal::Link(refusal)
    }
}

impl From<PeopleError> for PairRefusal {
    fn from(error: PeopleError) -> Self {
        PairRefusal::People(error)
    }
}

impl From<StoreError> for PairRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::SignInEnded => PairRefusal::Sensitive(SensitiveRefusal::Ended),
            error => PairRefusal::People(PeopleError::Store(error)),
        }
    }
}
