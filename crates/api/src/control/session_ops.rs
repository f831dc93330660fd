//! Sessions: list, end, and what became of each withdrawal.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::record::RecordType;
use model::seams::{Cause, Revocation};
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
        let revocation = self.sessions.end(id, cause).await?;
        self.revocations.remember(revocation.clone());
        let kind = if cause == Cause::SignedOut { RecordType::AuthSignout } else { RecordType::SessionRevoked };
        let mut record = self.actor_record(actor, kind);
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(id.to_string()));
        record.change.object_subject = session.map(|session| session.user);
        record.change.revocation = Some(revocation.id);
        record.change.change = Some(Arc::from("session ended"));
        self.record(record).await?;
        Ok(revocation)
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
