//! One recovery as a state machine: time comes in, no store, no randomness.

use model::Timestamp;

use super::{CASE_LIFETIME, COOL_DOWN};
use crate::store::{Approver, RecoveryRow, RecoveryState};

/// The most administrators that are noted.
pub const MAX_APPROVALS: usize = 8;

/// Why a step is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaseRefusal {
    /// They vouched already.
    #[error("you have vouched for this person already; another administrator must")]
    AlreadyApproved,
    /// Proven, and an administrator's: it waits.
    #[error("this account administers: its recovery opens at {} and not before; until then another administrator can stop it", .ready_at.readable())]
    Cooling {
        /// Until when.
        ready_at: Timestamp,
    },
    /// One secret, or none.
    #[error("one more proof is needed: a code of the authenticator app, or an administrator who vouches")]
    NotProven,
    /// Nobody vouches for themselves.
    #[error("nobody vouches for their own account; another administrator must")]
    OwnAccount,
    /// Done, stopped, expired, or its person was disabled or signed out everywhere.
    #[error("this recovery is over; begin again with a recovery code")]
    Over,
}

impl CaseRefusal {
    /// The code in problems and records.
    pub fn code(self) -> &'static str {
        match self {
            CaseRefusal::AlreadyApproved => "recovery_approved_already",
            CaseRefusal::Cooling { .. } => "recovery_waits",
            CaseRefusal::NotProven => "recovery_not_proven",
            CaseRefusal::OwnAccount => "recovery_own_account",
            CaseRefusal::Over => "recovery_over",
        }
    }
}

/// The machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    row: RecoveryRow,
}

impl Case {
    /// From what is kept.
    pub fn new(row: RecoveryRow) -> Self {
        Self { row }
    }

    /// What is to be kept.
    pub fn row(&self) -> &RecoveryRow {
        &self.row
    }

    /// The same, when nothing more is to happen.
    pub fn into_row(self) -> RecoveryRow {
        self.row
    }

    /// Two proofs of different kinds: a code and one more, or two administrators.
    pub fn is_proven(&self) -> bool {
        let has_second = self.row.has_authenticator || !self.row.approvals.is_empty();
        (self.row.has_code && has_second) || self.row.approvals.len() >= 2
    }

    /// Whether it still waits for something.
    ///
    /// # Errors
    /// [`CaseRefusal::Over`].
    pub fn check_open(&self, now: Timestamp) -> Result<(), CaseRefusal> {
        let is_open = self.row.state == RecoveryState::Open && now < self.row.expires_at;
        if is_open { Ok(()) } else { Err(CaseRefusal::Over) }
    }

    /// Whether a link may be made.
    ///
    /// # Errors
    /// Over, or not proven.
    pub fn check_proven(&self, now: Timestamp) -> Result<(), CaseRefusal> {
        self.check_open(now)?;
        if !self.is_proven() {
            return Err(CaseRefusal::NotProven);
        }
        match self.row.ready_at {
            Some(ready_at) if now < ready_at => Err(CaseRefusal::Cooling { ready_at }),
            _ => Ok(()),
        }
    }

    /// Begins the wait of a proven case, once: nothing that comes later makes it shorter. The case stays open as long again
    /// after it as any other. Says whether it began.
    pub(super) fn cool_down(&mut self, now: Timestamp) -> bool {
        if !self.is_proven() || self.row.ready_at.is_some() {
            return false;
        }
        let ready_at = now + COOL_DOWN;
        self.row.ready_at = Some(ready_at);
        self.row.expires_at = ready_at + CASE_LIFETIME;
        true
    }

    /// The authenticator that is still bound was used.
    ///
    /// # Errors
    /// [`CaseRefusal::Over`].
    pub fn authenticator(&mut self, now: Timestamp) -> Result<(), CaseRefusal> {
        self.check_open(now)?;
        self.row.has_authenticator = true;
        self.row.revision += 1;
        Ok(())
    }

    /// An administrator vouches.
    ///
    /// # Errors
    /// Over, their own account, or not the first time.
    pub fn approve(&mut self, approver: &Approver, now: Timestamp) -> Result<(), CaseRefusal> {
        self.check_open(now)?;
        if approver.user == Some(self.row.user) {
            return Err(CaseRefusal::OwnAccount);
        }
        if self.row.approvals.iter().any(|earlier| earlier.is_same(approver))
            || self.row.approvals.len() >= MAX_APPROVALS
        {
            return Err(CaseRefusal::AlreadyApproved);
        }
        self.row.approvals.push(approver.clone());
        self.row.revision += 1;
        Ok(())
    }

    /// It is refused, or a newer one takes its place; also when a link was made already.
    ///
    /// # Errors
    /// [`CaseRefusal::Over`].
    pub fn stop(&mut self) -> Result<(), CaseRefusal> {
        match self.row.state {
            RecoveryState::Open | RecoveryState::Linked => {
                self.row.state = RecoveryState::Stopped;
                self.row.revision += 1;
                Ok(())
            }
            RecoveryState::Done | RecoveryState::Stopped => Err(CaseRefusal::Over),
        }
    }

    /// What was changed beside a proof is a revision of its own.
    pub(super) fn moved(&mut self) {
        self.row.revision += 1;
    }

    /// Its link is made.
    pub(super) fn linked(&mut self) {
        self.row.state = RecoveryState::Linked;
        self.row.revision += 1;
    }
}
