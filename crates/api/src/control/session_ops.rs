//! Sessions: list, end, and what became of each withdrawal.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::record::RecordType;
use model::seams::{Cause, ControlError, Revocation};
use model::{RevocationId, Session, SessionId};

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

/// How many withdrawals are remembered for look-up; the record keeps all.
const REMEMBERED: usize = 1_000;

/// The newest withdrawals.
#[derive(Default)]
pub(super) struct Revocations(Mutex<VecDeque<Revocation>>);

impl Revocations {
    pub(super) fn remember(&self, revocation: Revocation) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= REMEMBERED {
            kept.pop_front();
        }
        kept.push_back(revocation);
    }

    fn find(&self, id: RevocationId) -> Option<Revocation> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|revocation| revocation.id == id).cloned()
    }
}

impl ControlPlane {
    /// Live sessions, newest first; of one person if named.
    ///
    /// # Errors
    /// No such person.
    pub fn list_sessions(&self, user: Option<&str>) -> Result<Vec<Arc<Session>>, Failure> {
        let user = user.map(|who| self.user(who)).transpose()?;
        let is_theirs = |session: &Arc<Session>| user.as_ref().is_none_or(|user| session.user == user.id);
        let now = self.now();
        Ok(self.sessions.sessions().into_iter().filter(|s| is_theirs(s) && !s.is_expired(now)).collect())
    }

    /// Ends one session everywhere; its streams are dead before this answers.
    ///
    /// # Errors
    /// No such live session.
    pub async fn end_session(&self, actor: &Actor, id: SessionId, cause: Cause) -> Result<Revocation, Failure> {
        let session = self.session_view.session(id, self.now());
        let ended = match self.sessions.end(id, cause).await {
            Err(error @ (ControlError::NoSession(_) | ControlError::Refused(_))) => return Err(error.into()),
            // The doors act on it even if the store did not keep it yet, so it is recorded all the same.
            ended => ended,
        };
        let kind = if cause == Cause::SignedOut { RecordType::AuthSignout } else { RecordType::SessionRevoked };
        let mut record = self.actor_record(actor, kind);
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(id.to_string()));
        record.change.object_subject = session.map(|session| session.user);
        record.change.revocation = ended.as_ref().ok().map(|revocation| revocation.id);
        record.change.change = Some(Arc::from(match &ended {
            Ok(_) => "session ended",
            Err(_) => "session ended at the doors; that it is kept is not confirmed",
        }));
        if let Ok(revocation) = &ended {
            self.revocations.remember(revocation.clone());
        }
        let recorded = self.record(record).await;
        let revocation = ended?;
        recorded.map(|()| revocation)
    }

    /// Ends every session of the person who asks (GW-19).
    ///
    /// # Errors
    /// The store or the log refuse.
    pub async fn sign_out_everywhere(&self, actor: &Actor, session: &Session) -> Result<(), Failure> {
        let ended = self.end_sessions(actor, session.user, Cause::SignedOut).await.map(drop);
        let mut record = self.actor_record(actor, RecordType::AuthSignout);
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(session.id.to_string()));
        record.change.object_subject = Some(session.user);
        record.change.change = Some(Arc::from("signed out everywhere"));
        ended.and(self.record(record).await)
    }

    /// What became of a withdrawal.
    ///
    /// # Errors
    /// Not among the newest.
    pub fn revocation(&self, id: RevocationId) -> Result<Revocation, Failure> {
        let message =
            || format!("`{id}` is not among the newest {REMEMBERED} withdrawals; find its receipt in the record");
        self.revocations.find(id).ok_or_else(|| Failure::NotFound { message: message() })
    }
}
