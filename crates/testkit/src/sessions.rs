//! Sessions in memory, with the behaviour doors rely on.

pub(crate) mod control;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::session::{ABSOLUTE_DEFAULT, Epochs, IDLE_DEFAULT, Proof, ROTATION_GRACE, StepUp};
use model::{Session, SessionId, SessionLookup, SessionView, Timestamp, TokenHash, UserId};

use crate::lock;

/// At most one report of activity per session leaves in this time (GW-45).
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// A session of `user` as a passkey sign-in at `now` makes it.
pub fn session(id: SessionId, user: UserId, now: Timestamp) -> Session {
    Session {
        id,
        user,
        idp: "local".to_owned(),
        acr: "phr".to_owned(),
        amr: BTreeSet::from(["hwk".to_owned(), "user".to_owned()]),
        is_mfa: true,
        is_phishing_resistant: true,
        is_passkey_synced: false,
        credential: "00000000".to_owned(),
        auth_time: now,
        created: now,
        last_active: now,
        idle_limit: IDLE_DEFAULT,
        absolute_limit: ABSOLUTE_DEFAULT,
        epochs: Epochs::default(),
        step_ups: Vec::new(),
        rounds: Vec::new(),
        src_net: "127.0.0.0/24".to_owned(),
        user_agent: "testkit".to_owned(),
    }
}

#[derive(Default)]
struct Table {
    sessions: BTreeMap<SessionId, Arc<Session>>,
    revoked: BTreeSet<SessionId>,
    /// Sessions of these people made under a lower epoch are dead, also those that arrive later.
    floors: BTreeMap<UserId, u64>,
    cookies: BTreeMap<(String, TokenHash), Cookie>,
    touched: Vec<(SessionId, Timestamp)>,
}

struct Cookie {
    session: SessionId,
    /// Set when another cookie took its place.
    ends: Option<Timestamp>,
}

/// Sessions that a test opens, binds and ends.
#[derive(Default)]
pub struct FakeSessions(Mutex<Table>);

impl FakeSessions {
    /// Makes a session known, or replaces what is known about it. One made under an epoch that has ended is dead.
    pub fn open(&self, session: Session) {
        let mut table = lock(&self.0);
        if table.floors.get(&session.user).is_some_and(|floor| session.epochs.user < *floor) {
            table.revoked.insert(session.id);
        }
        table.sessions.insert(session.id, Arc::new(session));
    }

    /// Gives `host` a cookie for the session; earlier ones of that host live [`ROTATION_GRACE`] longer.
    pub fn bind(&self, session: SessionId, host: &str, token: TokenHash, now: Timestamp) {
        let mut table = lock(&self.0);
        let earlier = table.cookies.iter_mut().filter(|((of, _), cookie)| of == host && cookie.session == session);
        for (_, cookie) in earlier {
            cookie.ends.get_or_insert(now + ROTATION_GRACE);
        }
        table.cookies.insert((host.to_owned(), token), Cookie { session, ends: None });
    }

    /// Notes a step-up; false when there is no such session.
    pub fn step_up(&self, id: SessionId, step_up: StepUp, proof: Option<Proof>) -> bool {
        let mut table = lock(&self.0);
        let Some(session) = table.sessions.get_mut(&id) else {
            return false;
        };
        let session = Arc::make_mut(session);
        session.step_ups.retain(|old| old.app != step_up.app || old.action != step_up.action);
        session.rounds.push(step_up.clone());
        session.step_ups.push(step_up);
        if let Some(proof) = proof {
            session.raise(&proof);
        }
        true
    }

    /// Ends a session; false when it was not known or has ended already.
    pub fn revoke(&self, id: SessionId) -> bool {
        let mut table = lock(&self.0);
        table.sessions.contains_key(&id) && table.revoked.insert(id)
    }

    /// Ends every session of a person made under an epoch below `epoch`, and gives those that were live.
    pub fn revoke_all(&self, user: UserId, epoch: u64) -> Vec<SessionId> {
        let mut table = lock(&self.0);
        let floor = table.floors.entry(user).or_default();
        *floor = epoch.max(*floor);
        let theirs = table.sessions.values().filter(|session| session.user == user && session.epochs.user < epoch);
        let theirs: Vec<SessionId> = theirs.map(|session| session.id).collect();
        theirs.into_iter().filter(|id| table.revoked.insert(*id)).collect()
    }

    /// Every session that was not revoked, newest first.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let table = lock(&self.0);
        let live = table.sessions.values().filter(|session| !table.revoked.contains(&session.id));
        let mut all: Vec<_> = live.cloned().collect();
        all.sort_by_key(|session| std::cmp::Reverse((session.created, session.id)));
        all
    }

    /// The reports of activity that left, in order.
    pub fn touched(&self) -> Vec<(SessionId, Timestamp)> {
        lock(&self.0).touched.clone()
    }
}

impl SessionView for FakeSessions {
    fn look_up(&self, token: &TokenHash, host: &str, now: Timestamp) -> SessionLookup {
        let table = lock(&self.0);
        let cookie = table.cookies.get(&(host.to_owned(), *token));
        let Some(cookie) = cookie.filter(|cookie| cookie.ends.is_none_or(|ends| now < ends)) else {
            return SessionLookup::Unknown;
        };
        match table.sessions.get(&cookie.session) {
            None => SessionLookup::Unknown,
            Some(_) if table.revoked.contains(&cookie.session) => SessionLookup::Revoked,
            Some(session) if session.is_expired(now) => SessionLookup::Expired,
            Some(session) => SessionLookup::Live(Arc::clone(session)),
        }
    }

    fn session(&self, id: SessionId, now: Timestamp) -> Option<Arc<Session>> {
        let table = lock(&self.0);
        let session = table.sessions.get(&id).filter(|session| !session.is_expired(now))?;
        (!table.revoked.contains(&id)).then(|| Arc::clone(session))
    }

    fn touch(&self, id: SessionId, now: Timestamp) {
        let mut table = lock(&self.0);
        let last = table.touched.iter().rev().find(|(of, _)| *of == id).map(|(_, at)| *at);
        if last.is_none_or(|last| now.since(last) >= TOUCH_INTERVAL) {
            table.touched.push((id, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = crate::SimClock::START;

    fn opened() -> (FakeSessions, SessionId, TokenHash) {
        let sessions = FakeSessions::default();
        let (id, token) = (SessionId(Uuid::from_u128(1)), TokenHash::of(b"cookie"));
        sessions.open(session(id, UserId(Uuid::from_u128(2)), NOW));
        sessions.bind(id, "wiki.localhost", token, NOW);
        (sessions, id, token)
    }

    #[test]
    fn a_cookie_is_not_usable_on_another_host() {
        let (sessions, _, token) = opened();
        assert!(matches!(sessions.look_up(&token, "wiki.localhost", NOW), SessionLookup::Live(_)));
        assert_eq!(sessions.look_up(&token, "payroll.localhost", NOW), SessionLookup::Unknown);
    }

    #[test]
    fn expired_and_revoked_sessions_are_not_live() {
        let (sessions, id, token) = opened();
        let later = NOW + IDLE_DEFAULT;
        assert_eq!(sessions.look_up(&token, "wiki.localhost", later), SessionLookup::Expired);
        assert_eq!(sessions.session(id, later), None);
        assert!(sessions.revoke(id));
        assert!(!sessions.revoke(id));
        assert_eq!(sessions.look_up(&token, "wiki.localhost", NOW), SessionLookup::Revoked);
        assert_eq!(sessions.session(id, NOW), None);
        assert!(sessions.all().is_empty());
    }

    #[test]
    fn a_session_that_arrives_after_its_epoch_ended_is_dead() {
        let (sessions, id, token) = opened();
        let user = UserId(Uuid::from_u128(2));
        assert!(sessions.revoke_all(user, 0).is_empty());
        assert_eq!(sessions.revoke_all(user, 1), [id]);
        sessions.open(session(id, user, NOW));
        assert_eq!(sessions.look_up(&token, "wiki.localhost", NOW), SessionLookup::Revoked);
    }

    #[test]
    fn a_rotated_cookie_works_for_the_grace_only() {
        let (sessions, id, old) = opened();
        sessions.bind(id, "wiki.localhost", TokenHash::of(b"new"), NOW);
        assert!(matches!(sessions.look_up(&old, "wiki.localhost", NOW), SessionLookup::Live(_)));
        let over = NOW + ROTATION_GRACE;
        assert_eq!(sessions.look_up(&old, "wiki.localhost", over), SessionLookup::Unknown);
    }

    #[test]
    fn activity_is_reported_once_a_minute() {
        let (sessions, id, _) = opened();
        for secs in [0, 30, 59, 60, 61] {
            sessions.touch(id, NOW + Duration::from_secs(secs));
        }
        assert_eq!(sessions.touched(), [(id, NOW), (id, NOW + TOUCH_INTERVAL)]);
    }
}
