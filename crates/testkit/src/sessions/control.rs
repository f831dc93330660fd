//! The control of sessions over [`FakeSessions`], without store, record or doors.

use std::sync::{Arc, Mutex};

use model::ids::RevocationId;
use model::seams::{Cause, ControlError, Revocation, Scope};
use model::session::{Proof, StepUp};
use model::{BoxFuture, Clock, Ids, Session, SessionControl, SessionId, SessionView, TokenHash, UserId};

use crate::{FakeSessions, SeqIds, SimClock, lock};

/// A call as it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlCall {
    /// `bind_host`
    BindHost(SessionId, String),
    /// `end`
    End(SessionId, Cause),
    /// `end_all`
    EndAll(UserId, u64, Cause),
    /// `open`
    Open(SessionId),
    /// `reevaluate`
    Reevaluate(Scope, Cause),
    /// `step_up`
    StepUp(SessionId, StepUp),
}

/// Opens and ends sessions of a shared [`FakeSessions`]; no door is behind it, so nothing is cut and nothing signed.
pub struct FakeSessionControl {
    sessions: Arc<FakeSessions>,
    clock: Arc<SimClock>,
    ids: SeqIds,
    calls: Mutex<Vec<ControlCall>>,
    failure: Mutex<Option<ControlError>>,
}

impl FakeSessionControl {
    /// Over these sessions and this clock.
    pub fn new(sessions: Arc<FakeSessions>, clock: Arc<SimClock>) -> Self {
        Self { sessions, clock, ids: SeqIds::default(), calls: Mutex::default(), failure: Mutex::default() }
    }

    /// From now on every call fails so and changes nothing; `None` makes it work again.
    pub fn fail(&self, failure: Option<ControlError>) {
        *lock(&self.failure) = failure;
    }

    /// The calls so far, refused ones included.
    pub fn calls(&self) -> Vec<ControlCall> {
        lock(&self.calls).clone()
    }

    fn enter(&self, call: ControlCall) -> Result<(), ControlError> {
        lock(&self.calls).push(call);
        lock(&self.failure).clone().map_or(Ok(()), Err)
    }

    fn live(&self, id: SessionId) -> Result<(), ControlError> {
        self.sessions.session(id, self.clock.now()).map(|_| ()).ok_or(ControlError::NoSession(id))
    }

    fn revocation(&self, cause: Cause, sessions: Vec<SessionId>) -> Revocation {
        let accepted = self.clock.now();
        let id = RevocationId(self.ids.uuid_v7(accepted));
        Revocation { id, cause, accepted, sessions, reports: Vec::new(), unreachable: Vec::new(), receipts: Vec::new() }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl SessionControl for FakeSessionControl {
    fn open(&self, session: Session) -> BoxFuture<'_, Result<(), ControlError>> {
        ready(self.enter(ControlCall::Open(session.id)).map(|()| self.sessions.open(session)))
    }

    fn bind_host(&self, id: SessionId, host: String, token: TokenHash) -> BoxFuture<'_, Result<(), ControlError>> {
        let entered = self.enter(ControlCall::BindHost(id, host.clone())).and_then(|()| self.live(id));
        ready(entered.map(|()| self.sessions.bind(id, &host, token, self.clock.now())))
    }

    fn step_up(&self, id: SessionId, step_up: StepUp, proof: Option<Proof>) -> BoxFuture<'_, Result<(), ControlError>> {
        let entered = self.enter(ControlCall::StepUp(id, step_up.clone())).and_then(|()| self.live(id));
        ready(entered.map(|()| {
            self.sessions.step_up(id, step_up, proof);
        }))
    }

    fn end(&self, id: SessionId, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        let entered = self.enter(ControlCall::End(id, cause)).and_then(|()| self.live(id));
        ready(entered.map(|()| {
            self.sessions.revoke(id);
            self.revocation(cause, vec![id])
        }))
    }

    fn end_all(&self, user: UserId, epoch: u64, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        let entered = self.enter(ControlCall::EndAll(user, epoch, cause));
        ready(entered.map(|()| self.revocation(cause, self.sessions.revoke_all(user, epoch))))
    }

    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        ready(self.enter(ControlCall::Reevaluate(scope, cause)).map(|()| self.revocation(cause, Vec::new())))
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        let now = self.clock.now();
        self.sessions.all().into_iter().filter(|session| !session.is_expired(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session;
    use crate::streams::tests::now_or_panic;
    use model::{SessionLookup, Timestamp};
    use uuid::Uuid;

    fn control() -> (FakeSessionControl, Arc<FakeSessions>, Timestamp) {
        let (sessions, clock) = (Arc::<FakeSessions>::default(), Arc::<SimClock>::default());
        (FakeSessionControl::new(Arc::clone(&sessions), Arc::clone(&clock)), sessions, clock.now())
    }

    #[test]
    fn what_is_opened_here_is_seen_by_doors_until_it_ends() {
        let (control, sessions, now) = control();
        let (id, user, token) = (SessionId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)), TokenHash::of(b"t"));
        now_or_panic(control.open(session(id, user, now))).unwrap();
        now_or_panic(control.bind_host(id, "wiki.localhost".to_owned(), token)).unwrap();
        assert!(matches!(sessions.look_up(&token, "wiki.localhost", now), SessionLookup::Live(_)));
        let revocation = now_or_panic(control.end_all(user, 1, Cause::UserDisabled)).unwrap();
        assert_eq!(revocation.sessions, [id]);
        assert_eq!(sessions.look_up(&token, "wiki.localhost", now), SessionLookup::Revoked);
        assert_eq!(now_or_panic(control.end(id, Cause::SignedOut)), Err(ControlError::NoSession(id)));
    }

    #[test]
    fn a_failing_control_changes_nothing() {
        let (control, sessions, now) = control();
        control.fail(Some(ControlError::Stopping));
        let id = SessionId(Uuid::from_u128(1));
        let refused = now_or_panic(control.open(session(id, UserId(Uuid::nil()), now)));
        assert_eq!(refused, Err(ControlError::Stopping));
        assert!(sessions.all().is_empty());
        assert_eq!(control.calls(), [ControlCall::Open(id)]);
    }
}
