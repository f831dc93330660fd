//! What sessions are, said as plainly as possible: everything ever heard is remembered for ever, and whether a
//! session lives is worked out afresh each time it is asked. No index, no forgetting, no expiry events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::ids::{SessionId, TokenHash, UserId};
use model::session::{ROTATION_GRACE, Session};
use model::time::Timestamp;
use pdp_administrator::{CLOCK_SKEW, Input};

#[derive(Default)]
pub(crate) struct Reference {
    now: Timestamp,
    /// Admitted once, with its last activity and newest step-up.
    admitted: BTreeMap<SessionId, Session>,
    /// Ended by name, or seen dead at a tick.
    ended: BTreeSet<SessionId>,
    user_epochs: BTreeMap<UserId, u64>,
    global_epoch: u64,
    tokens: BTreeMap<TokenHash, (SessionId, String, Option<Timestamp>)>,
}

impl Reference {
    pub(crate) fn take(&mut self, input: &Input, now: Timestamp) {
        self.now = self.now.max(now);
        match input {
            Input::SignedIn(session) => self.sign_in(session),
            Input::HandedOff { session, host, token } => self.bind(*session, host, *token),
            Input::Rotated { session, host, from, to } => {
                let current = (*session, host.clone(), None);
                if [from, to].iter().any(|token| self.tokens.get(token) == Some(&current)) {
                    self.bind(*session, host, *to);
                }
            }
            Input::SteppedUp { session, step_up, .. } => {
                if self.is_live(*session) {
                    let at = step_up.at.min(self.now);
                    let session = self.admitted.get_mut(session).unwrap();
                    let round = model::session::StepUp { at, ..step_up.clone() };
                    if !session.rounds.contains(&round) {
                        session.rounds.push(round);
                        session.rounds.drain(..session.rounds.len().saturating_sub(model::session::MAX_ROUNDS));
                    }
                    let step_ups = &mut session.step_ups;
                    match step_ups.first_mut() {
                        Some(known) => known.at = known.at.max(at),
                        None => step_ups.push(model::session::StepUp { at, ..step_up.clone() }),
                    }
                }
            }
            Input::Active(batch) => {
                for (session, at) in batch {
                    if self.is_live(*session) {
                        let session = self.admitted.get_mut(session).unwrap();
                        session.last_active = session.last_active.max((*at).min(self.now));
                    }
                }
            }
            Input::SessionEnded { session, .. } => {
                self.ended.insert(*session);
            }
            Input::UserEnded { user, epoch, .. } => self.raise_user(*user, *epoch),
            Input::EveryoneEnded { epoch, .. } => self.global_epoch = self.global_epoch.max(*epoch),
            Input::Tick | Input::Acked { .. } | Input::DoorAway { .. } | Input::DoorJoined(_) | Input::DoorLeft(_) => {}
            Input::FactsChanged { .. } => {}
        }
    }

    /// The sessions that live now.
    pub(crate) fn live(&self) -> BTreeSet<SessionId> {
        self.admitted.keys().copied().filter(|id| self.is_live(*id)).collect()
    }

    /// Whose live session a cookie stands for on a host.
    pub(crate) fn look_up(&self, token: &TokenHash, host: &str) -> Option<&Session> {
        let (session, bound_to, until) = self.tokens.get(token)?;
        let is_valid = until.is_none_or(|until| self.now < until);
        (bound_to == host && is_valid && self.is_live(*session)).then(|| &self.admitted[session])
    }

    fn sign_in(&mut self, session: &Session) {
        let is_new = !self.admitted.contains_key(&session.id) && !self.ended.contains(&session.id);
        let is_honest = session.created <= self.now + CLOCK_SKEW;
        if is_new && is_honest && !self.is_outrun(session) && self.now < end_of(session) {
            self.admitted.insert(session.id, session.clone());
            self.raise_user(session.user, session.epochs.user);
            self.global_epoch = self.global_epoch.max(session.epochs.global);
        }
    }

    fn bind(&mut self, session: SessionId, host: &str, token: TokenHash) {
        if !self.is_live(session) || self.tokens.contains_key(&token) {
            return;
        }
        for (owner, bound_to, until) in self.tokens.values_mut() {
            if *owner == session && bound_to == host && until.is_none() {
                *until = Some(self.now + ROTATION_GRACE);
            }
        }
        self.tokens.insert(token, (session, host.to_owned(), None));
    }

    fn is_live(&self, id: SessionId) -> bool {
        let is_ended = self.ended.contains(&id);
        self.admitted.get(&id).is_some_and(|it| !is_ended && !self.is_outrun(it) && self.now < end_of(it))
    }

    fn is_outrun(&self, session: &Session) -> bool {
        let user_epoch = self.user_epochs.get(&session.user).copied().unwrap_or(0);
        session.epochs.user < user_epoch || session.epochs.global < self.global_epoch
    }

    fn raise_user(&mut self, user: UserId, epoch: u64) {
        let known = self.user_epochs.entry(user).or_default();
        *known = (*known).max(epoch);
    }
}

fn end_of(session: &Session) -> Timestamp {
    let idle: Duration = session.idle_limit;
    (session.created + session.absolute_limit).min(session.last_active + idle)
}
