//! Sessions as doors see them (GW-43, R-16): one per browser sign-in, one cookie hash per host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::action::{Action, ActionClass};
use crate::app::AppName;
use crate::decision::Remedy;
use crate::facts::{AuthFacts, NEVER_SECS, SessionFacts};
use crate::ids::{SessionId, UserId};
use crate::time::Timestamp;

/// How long a session may be idle (ID-57).
pub const IDLE_DEFAULT: Duration = Duration::from_secs(3600);
/// How long a session may last (ID-57).
pub const ABSOLUTE_DEFAULT: Duration = Duration::from_secs(12 * 3600);
/// How long a rotated cookie still works for requests in flight (GW-45).
pub const ROTATION_GRACE: Duration = Duration::from_secs(10);

/// How long a completed step-up counts against the loop guard (PO-9).
pub const ROUND_WINDOW: Duration = Duration::from_secs(600);
/// How many completed step-ups a session remembers for the loop guard.
pub const MAX_ROUNDS: usize = 16;

/// The four counters whose change kills a session (GW-43, R-8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    /// Everyone.
    pub global: u64,
    /// The person.
    pub user: u64,
    /// The session.
    pub session: u64,
    /// The device.
    pub device: u64,
}

/// A step-up that succeeded in a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepUp {
    /// For this app (a route counts as its app).
    pub app: AppName,
    /// For exactly this action; a write also covers reads of the same app.
    pub action: Action,
    /// When.
    pub at: Timestamp,
    /// Which remedies it was for, sorted; empty when nothing asked for it.
    pub fix: Vec<Remedy>,
}

/// What a ceremony proved about the person, as facts (ID-13).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// `phr` or `urn:countersign:acr:mfa`.
    pub acr: String,
    /// RFC 8176 methods.
    pub amr: BTreeSet<String>,
    /// More than one factor.
    pub is_mfa: bool,
    /// A passkey.
    pub is_phishing_resistant: bool,
    /// The passkey is synced.
    pub is_passkey_synced: bool,
    /// Public handle of the credential: hex SHA-256 prefix of the credential id; empty for a password.
    pub credential: String,
}

/// A sign-in that still lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its id; not a secret.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Which identity provider; `local` for the embedded one.
    pub idp: String,
    /// `phr` …
    pub acr: String,
    /// RFC 8176 methods.
    pub amr: BTreeSet<String>,
    /// More than one factor was proven.
    pub is_mfa: bool,
    /// Proven with a passkey.
    pub is_phishing_resistant: bool,
    /// The passkey is synced.
    pub is_passkey_synced: bool,
    /// Public handle of the credential: hex SHA-256 prefix of the credential id.
    pub credential: String,
    /// When the person proved it.
    pub auth_time: Timestamp,
    /// When the session began.
    pub created: Timestamp,
    /// Last reported activity; at most a minute old (GW-45).
    pub last_active: Timestamp,
    /// Idle limit.
    pub idle_limit: Duration,
    /// Absolute limit.
    pub absolute_limit: Duration,
    /// The epochs it was made under.
    pub epochs: Epochs,
    /// Newest per (app, action).
    pub step_ups: Vec<StepUp>,
    /// The last [`MAX_ROUNDS`] completed step-ups, oldest first, for the loop guard (PO-9). Not kept over a restart.
    pub rounds: Vec<StepUp>,
    /// `192.0.2.0/24`: where it began.
    pub src_net: String,
    /// What the browser called itself, cut to 256 bytes.
    pub user_agent: String,
}

impl Session {
    /// When it ends by itself if nothing happens.
    pub fn ends_at(&self) -> Timestamp {
        (self.created + self.absolute_limit).min(self.last_active + self.idle_limit)
    }

    /// Whether idle or absolute time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.ends_at()
    }

    /// Seconds since the newest step-up that counts for `action` on `app`: the same action, or a write for a read.
    pub fn step_up_age_secs(&self, app: &AppName, action: Action, now: Timestamp) -> i64 {
        self.step_ups
            .iter()
            .filter(|step_up| step_up.app == *app)
            .filter(|step_up| {
                step_up.action == action
                    || (action.class() == ActionClass::Read && step_up.action.class() == ActionClass::Write)
            })
            .map(|step_up| now.age_secs(step_up.at))
            .min()
            .unwrap_or(NEVER_SECS)
    }

    /// The fix sets of the step-ups completed for `app` and the class of `action` within [`ROUND_WINDOW`] (PO-9).
    pub fn completed_rounds(&self, app: &AppName, action: Action, now: Timestamp) -> Vec<Vec<Remedy>> {
        let window = i64::try_from(ROUND_WINDOW.as_secs()).unwrap_or(i64::MAX);
        self.rounds
            .iter()
            .filter(|round| round.app == *app && round.action.class() == action.class())
            .filter(|round| now.age_secs(round.at) < window && !round.fix.is_empty())
            .map(|round| round.fix.clone())
            .collect()
    }

    /// The session after the person proved more: levels only rise. Which passkey it counts as is the newest one's to say,
    /// because the age it renews must not be taken for the age of a proof by a passkey that cannot be copied.
    pub fn raise(&mut self, proof: &Proof) {
        self.amr.extend(proof.amr.iter().cloned());
        self.is_mfa |= proof.is_mfa;
        if proof.is_phishing_resistant && !self.is_phishing_resistant {
            self.acr.clone_from(&proof.acr);
            self.is_phishing_resistant = true;
            self.credential.clone_from(&proof.credential);
        }
        if proof.is_phishing_resistant {
            self.is_passkey_synced = proof.is_passkey_synced;
        }
    }

    /// The sign-in as policy facts.
    pub fn auth_facts(&self, app: &AppName, action: Action, now: Timestamp) -> AuthFacts {
        let step_up_age_secs = self.step_up_age_secs(app, action, now);
        AuthFacts {
            authenticated: true,
            acr: self.acr.clone(),
            amr: self.amr.clone(),
            idp: self.idp.clone(),
            mfa: self.is_mfa,
            phishing_resistant: self.is_phishing_resistant,
            passkey_synced: self.is_passkey_synced,
            // A confirmation is a proof of the person too, where it counts: for this app and action.
            auth_age_secs: now.age_secs(self.auth_time).min(step_up_age_secs),
            step_up_age_secs,
        }
    }

    /// The session as policy facts.
    pub fn session_facts(&self, now: Timestamp) -> SessionFacts {
        SessionFacts {
            age_secs: now.age_secs(self.created),
            idle_secs: now.age_secs(self.last_active),
            bound: false,
            grants: BTreeSet::new(),
            granted: false,
        }
    }
}

/// What a cookie stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionLookup {
    /// A live session.
    Live(Arc<Session>),
    /// Idle or absolute time is over.
    Expired,
    /// Withdrawn.
    Revoked,
    /// No such cookie on this host.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn session() -> Session {
        Session {
            id: SessionId(Uuid::nil()),
            user: UserId(Uuid::nil()),
            idp: "local".into(),
            acr: "phr".into(),
            amr: BTreeSet::new(),
            is_mfa: true,
            is_phishing_resistant: true,
            is_passkey_synced: false,
            credential: String::new(),
            auth_time: Timestamp(0),
            created: Timestamp(0),
            last_active: Timestamp(0),
            idle_limit: IDLE_DEFAULT,
            absolute_limit: ABSOLUTE_DEFAULT,
            epochs: Epochs::default(),
            step_ups: vec![StepUp {
                app: AppName::new("payroll"),
                action: Action::HttpDelete,
                at: Timestamp::from_unix_secs(100),
                fix: Vec::new(),
            }],
            rounds: Vec::new(),
            src_net: String::new(),
            user_agent: String::new(),
        }
    }

    #[test]
    fn step_up_for_one_action_is_not_usable_for_another() {
        let now = Timestamp::from_unix_secs(110);
        let payroll = AppName::new("payroll");
        assert_eq!(session().step_up_age_secs(&payroll, Action::HttpDelete, now), 10);
        assert_eq!(session().step_up_age_secs(&payroll, Action::HttpPut, now), NEVER_SECS);
        assert_eq!(session().step_up_age_secs(&AppName::new("wiki"), Action::HttpDelete, now), NEVER_SECS);
    }

    #[test]
    fn a_write_step_up_covers_reads_of_the_same_app() {
        let now = Timestamp::from_unix_secs(110);
        assert_eq!(session().step_up_age_secs(&AppName::new("payroll"), Action::HttpGet, now), 10);
    }

    #[test]
    fn a_confirmation_refreshes_the_sign_in_where_it_counts_and_nowhere_else() {
        let now = Timestamp::from_unix_secs(110);
        let age = |app: &str, action| session().auth_facts(&AppName::new(app), action, now).auth_age_secs;
        assert_eq!(age("payroll", Action::HttpDelete), 10);
        assert_eq!(age("payroll", Action::HttpPut), 110);
        assert_eq!(age("wiki", Action::HttpDelete), 110);
    }

    #[test]
    fn downgrade_a_synced_passkey_never_renews_a_sign_in_by_one_that_cannot_be_copied() {
        let proof = |is_passkey_synced| Proof {
            acr: "phr".into(),
            amr: BTreeSet::new(),
            is_mfa: true,
            is_phishing_resistant: true,
            is_passkey_synced,
            credential: "b".into(),
        };
        let mut session = session();
        session.raise(&proof(true));
        assert!(session.is_passkey_synced);
        session.raise(&proof(false));
        assert!(!session.is_passkey_synced);
        session.raise(&Proof { is_phishing_resistant: false, ..proof(true) });
        assert!(!session.is_passkey_synced, "a password says nothing about passkeys");
    }

    #[test]
    fn idle_and_absolute_limits_end_a_session() {
        let mut session = session();
        assert!(!session.is_expired(Timestamp::from_unix_secs(3599)));
        assert!(session.is_expired(Timestamp::from_unix_secs(3600)));
        session.last_active = Timestamp::from_unix_secs(12 * 3600 - 1);
        assert!(session.is_expired(Timestamp::from_unix_secs(12 * 3600)));
    }
}
