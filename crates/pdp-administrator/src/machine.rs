//! The state machine (GW-44): one input in, what follows from it out. Pure: the time is an argument and never runs
//! backwards here, whatever the caller's clock does.
//!
//! Invariants: nothing is live after its tombstone; epochs never fall; a withdrawal that overtakes its sign-in wins;
//! re-enabling a person revives nothing; every [`Output::Reevaluate`] ends in an acknowledgement of each door or in
//! an [`Output::Stale`].

use std::sync::Arc;

use model::changes::{SessionChange, SessionSnapshot};
use model::ids::{RevocationId, SessionId, TokenHash, UserId};
use model::seams::{Cause, CutReport, Scope};
use model::session::Session;
use model::time::Timestamp;

use crate::messages::{Input, Output, Refusal};
use crate::receipt::Receipt;
use crate::roster::Roster;
use crate::withdrawals::{Withdrawal, Withdrawals};

/// Opens and ends sessions, and sees to it that every door carries it out.
#[derive(Debug, Default)]
pub struct Administrator {
    roster: Roster,
    withdrawals: Withdrawals,
    /// The latest time ever seen.
    now: Timestamp,
}

impl Administrator {
    /// An administrator that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up where the store left off. Before that, the caller adds the directory's epochs to
    /// `snapshot.user_epochs` (the higher one counts): a person disabled just before a crash stays signed out. The
    /// outputs end what died meanwhile and are handled like any others, after the table was loaded from the snapshot.
    pub fn restore(snapshot: &SessionSnapshot, now: Timestamp) -> (Self, Vec<Output>) {
        let mut administrator = Self { now, ..Self::default() };
        let mut outputs = Vec::new();
        administrator.roster.restore(snapshot);
        for session in administrator.roster.outrun_sessions() {
            administrator.end_alone(session, Cause::SessionRevoked, &mut outputs);
        }
        outputs.extend(administrator.handle(Input::Tick, now));
        (administrator, outputs)
    }

    /// Takes one input and answers what follows from it, in the order in which it is to be done.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        self.now = self.now.max(now);
        let mut outputs = Vec::new();
        let outcome = match input {
            Input::Acked { revocation, door, report } => self.acked(revocation, door, report, &mut outputs),
            Input::Active(batch) => self.active(batch, &mut outputs),
            Input::DoorAway { door, fails_closed_at } => {
                self.withdrawals.set_away(&door, fails_closed_at);
                Ok(())
            }
            Input::DoorJoined(door) => self.withdrawals.add_door(door).then_some(()).ok_or(Refusal::TooManyDoors),
            Input::DoorLeft(door) => self.door_left(&door, &mut outputs),
            Input::EveryoneEnded { revocation, epoch, cause } => {
                self.everyone_ended(revocation, epoch, cause, &mut outputs)
            }
            Input::FactsChanged { revocation, scope, cause } => {
                self.order(revocation, scope, cause, Vec::new(), &mut outputs);
                Ok(())
            }
            Input::HandedOff { session, host, token } => self.handed_off(session, &host, token, &mut outputs),
            Input::Rotated { session, host, from, to } => self.rotated(session, &host, from, to, &mut outputs),
            Input::SessionEnded { revocation, session, cause } => {
                self.session_ended(revocation, session, cause, &mut outputs);
                Ok(())
            }
            Input::SignedIn(session) => self.signed_in(session, &mut outputs),
            Input::SteppedUp { session, step_up, proof } => {
                let change = self.roster.step_up(session, step_up, proof.as_ref(), self.now);
                change.map(|change| outputs.push(Output::Change(change)))
            }
            Input::Tick => self.tick(&mut outputs),
            Input::UserEnded { revocation, user, epoch, cause } => {
                self.user_ended(revocation, user, epoch, cause, &mut outputs)
            }
        };
        if let Err(refusal) = outcome {
            outputs.push(Output::Refused(refusal));
        }
        outputs
    }

    /// A live session.
    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.roster.session(id)
    }

    /// Every live session, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.roster.sessions()
    }

    /// Everything known about sessions, for a door that knows nothing yet. Equal to what the store keeps, but for
    /// changes it could not keep.
    pub fn snapshot(&self) -> SessionSnapshot {
        self.roster.snapshot()
    }

    /// The lowest epoch under which a session of this person lives.
    pub fn user_epoch(&self, user: UserId) -> u64 {
        self.roster.user_epoch(user)
    }

    /// The lowest global epoch under which a session lives.
    pub fn global_epoch(&self) -> u64 {
        self.roster.global_epoch()
    }

    /// What became of a withdrawal, while it is remembered ([`crate::WITHDRAWAL_KEPT`]).
    pub fn withdrawal(&self, id: RevocationId) -> Option<&Withdrawal> {
        self.withdrawals.order(id)
    }

    fn signed_in(&mut self, session: Session, outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        let (user, epochs) = (session.user, session.epochs);
        let upsert = self.roster.admit(session, self.now)?;
        // A higher epoch than we know means that the end of the older sessions is still under way: it counts now.
        let raised = self.roster.raise_user_epoch(user, epochs.user);
        let everyone = self.roster.raise_global_epoch(epochs.global);
        let outrun = match everyone {
            Some(_) => self.roster.outrun_sessions(),
            None => self.roster.outrun_sessions_of(user),
        };
        outputs.extend(raised.into_iter().chain(everyone).map(Output::Change));
        for id in outrun {
            self.end_alone(id, Cause::SessionRevoked, outputs);
        }
        outputs.push(Output::Change(upsert));
        while let Some(oldest) = self.roster.surplus_of(user) {
            self.end_alone(oldest, Cause::SessionRevoked, outputs);
        }
        Ok(())
    }

    fn handed_off(
        &mut self,
        session: SessionId,
        host: &str,
        token: TokenHash,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let change = self.roster.bind(session, host, token, self.now)?;
        outputs.push(Output::Change(change));
        Ok(())
    }

    fn rotated(
        &mut self,
        session: SessionId,
        host: &str,
        from: TokenHash,
        to: TokenHash,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let is_repeated = self.roster.is_newest(session, host, &to);
        if !is_repeated && !self.roster.is_newest(session, host, &from) {
            return Err(Refusal::TokenSpent(session));
        }
        self.handed_off(session, host, to, outputs)
    }

    fn active(&mut self, batch: Vec<(SessionId, Timestamp)>, outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        let now = self.now;
        outputs.extend(batch.into_iter().filter_map(|(id, at)| self.roster.touch(id, at, now)).map(Output::Change));
        Ok(())
    }

    fn session_ended(&mut self, revocation: RevocationId, id: SessionId, cause: Cause, outputs: &mut Vec<Output>) {
        outputs.push(Output::Change(self.roster.end(id, cause, self.now)));
        self.order(revocation, Scope::Session(id), cause, vec![id], outputs);
    }

    fn user_ended(
        &mut self,
        revocation: RevocationId,
        user: UserId,
        epoch: u64,
        cause: Cause,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        outputs.extend(self.roster.raise_user_epoch(user, epoch).map(Output::Change));
        let ended = self.roster.outrun_sessions_of(user);
        self.end_each(&ended, cause, outputs);
        self.order(revocation, Scope::User(user), cause, ended, outputs);
        Ok(())
    }

    fn everyone_ended(
        &mut self,
        revocation: RevocationId,
        epoch: u64,
        cause: Cause,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        outputs.extend(self.roster.raise_global_epoch(epoch).map(Output::Change));
        let ended = self.roster.outrun_sessions();
        self.end_each(&ended, cause, outputs);
        self.order(revocation, Scope::Everything, cause, ended, outputs);
        Ok(())
    }

    fn acked(
        &mut self,
        revocation: RevocationId,
        door: String,
        report: CutReport,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let order = self.withdrawals.acknowledge(revocation, &door).ok_or(Refusal::NotAwaited(revocation))?;
        outputs.push(Output::Receipt(Receipt {
            revocation,
            cause: order.cause,
            accepted: order.accepted,
            sessions: order.sessions.clone(),
            door,
            report,
        }));
        Ok(())
    }

    fn door_left(&mut self, door: &str, outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        outputs.extend(self.withdrawals.remove_door(door).into_iter().map(Output::Stale));
        Ok(())
    }

    fn tick(&mut self, outputs: &mut Vec<Output>) -> Result<(), Refusal> {
        for id in self.roster.expired(self.now) {
            self.end_alone(id, Cause::Expired, outputs);
        }
        outputs.extend(self.roster.forget(self.now).into_iter().map(Output::Change));
        outputs.extend(self.withdrawals.tick(self.now).into_iter().map(Output::Stale));
        Ok(())
    }

    fn end_each(&mut self, sessions: &[SessionId], cause: Cause, outputs: &mut Vec<Output>) {
        for id in sessions {
            outputs.push(Output::Change(self.roster.end(*id, cause, self.now)));
        }
    }

    /// Ends a session that nobody asked to end. The order carries the session's own uuid, so that it needs no
    /// randomness and a repetition is the same order; a session ends of itself only once.
    fn end_alone(&mut self, id: SessionId, cause: Cause, outputs: &mut Vec<Output>) {
        self.session_ended(RevocationId(id.0), id, cause, outputs);
    }

    fn order(
        &mut self,
        revocation: RevocationId,
        scope: Scope,
        cause: Cause,
        sessions: Vec<SessionId>,
        outputs: &mut Vec<Output>,
    ) {
        let away = self.withdrawals.begin(revocation, scope.clone(), cause, sessions, self.now);
        outputs.push(Output::Reevaluate { revocation, scope, cause });
        outputs.extend(away.into_iter().map(Output::Stale));
    }
}

/// The changes among `outputs`, in order: what to keep in one transaction and then to apply to the table.
pub fn changes(outputs: &[Output]) -> Vec<SessionChange> {
    let change = |output: &Output| match output {
        Output::Change(change) => Some(change.clone()),
        _ => None,
    };
    outputs.iter().filter_map(change).collect()
}
