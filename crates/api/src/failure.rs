//! Why an operation did nothing, in one enum that the HTTP surface turns into a status and problem JSON (RFC 9457).

use config::Problems;
use model::seams::{ControlError, RecordError};
use pip_identity::people::PeopleError;
use pip_identity::throttle::Throttled;

/// An operation that changed nothing, unless the variant says otherwise.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Failure {
    /// It clashes with what is there.
    #[error("{message}")]
    Conflict {
        /// What, and what to do.
        message: String,
    },
    /// It was done, but the record of it could not be kept.
    #[error("the change was made, but its record could not be kept: {0}")]
    DoneUnrecorded(RecordError),
    /// The caller may not.
    #[error("{message}")]
    Forbidden {
        /// Which right is missing.
        message: String,
    },
    /// A value is wrong.
    #[error("{message}")]
    Invalid {
        /// Which field; empty when the whole is meant.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// No such thing.
    #[error("{message}")]
    NotFound {
        /// What was looked for.
        message: String,
    },
    /// The files of a configuration have errors; nothing was applied.
    #[error("problems found: {}; nothing was changed", .0.0.len())]
    Problems(Problems),
    /// Too often.
    #[error("too many attempts; try again in {retry_after_secs} s")]
    TooMany {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// Something below does not answer; try again.
    #[error("{message}")]
    Unavailable {
        /// What.
        message: String,
    },
}

impl Failure {
    /// [`Failure::Invalid`] from anything printable.
    pub fn invalid(field: &'static str, message: impl ToString) -> Self {
        Failure::Invalid { field, message: message.to_string() }
    }

    /// [`Failure::TooMany`], with the time to wait.
    pub fn too_many(throttled: &Throttled) -> Self {
        Failure::TooMany { retry_after_secs: retry_after_secs(throttled) }
    }

    /// [`Failure::Unavailable`] from anything printable.
    pub fn unavailable(message: impl ToString) -> Self {
        Failure::Unavailable { message: message.to_string() }
    }
}

/// When to ask again about an account that only a passkey opens.
const CLOSED_RETRY_SECS: u64 = 24 * 3600;

/// What `Retry-After` says of a throttled attempt; rounded up, so that whoever waits so long has waited long enough.
pub(crate) fn retry_after_secs(throttled: &Throttled) -> u64 {
    let up = |wait: std::time::Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    throttled.retry_after().map_or(CLOSED_RETRY_SECS, |wait| up(wait).max(1))
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Self {
        let message = error.to_string();
        match error {
            PeopleError::NoGroup(_)
            | PeopleError::NoService(_)
            | PeopleError::NoServiceToken(_)
            | PeopleError::NoUser(_) => Failure::NotFound { message },
            PeopleError::EmailTaken(_)
            | PeopleError::GroupExists(_)
            | PeopleError::LastAdmin
            | PeopleError::NotAdmin(_)
            | PeopleError::OwnedByFile { .. }
            | PeopleError::Service(_) => Failure::Conflict { message },
            PeopleError::Declared(_) | PeopleError::Directory(_) | PeopleError::Hash(_) => {
                Failure::Invalid { field: "", message }
            }
            PeopleError::Busy | PeopleError::Store(_) => Failure::Unavailable { message },
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::NoSession(_) => Failure::NotFound { message },
            ControlError::Refused(_) => Failure::Conflict { message },
            ControlError::Store(_) | ControlError::Record(_) | ControlError::Stopping => {
                Failure::Unavailable { message }
            }
        }
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        Failure::unavailable(error)
    }
}
