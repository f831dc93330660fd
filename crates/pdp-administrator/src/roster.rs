//! Who is signed in: sessions, their cookies, the tombstones of those that are over, and epochs.
//!
//! Invariants: an id is live or has a tombstone, never both; a live session's epochs are not below the known ones; a
//! cookie hash once bound is never bound again while its session is remembered; epochs never fall.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::changes::{HostToken, SessionChange, Tombstone};
use model::ids::{SessionId, TokenHash, UserId};
use model::seams::Cause;
use model::session::{MAX_ROUNDS, Proof, ROTATION_GRACE, Session, StepUp};
use model::time::Timestamp;

use crate::messages::Refusal;

/// No session may be made to last longer (ID-57).
pub const ABSOLUTE_CEILING: Duration = Duration::from_secs(24 * 3600);
/// How far honest clocks may differ (GW-47).
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// How many cookies one session may ever have had, over all hosts.
pub const MAX_TOKENS: usize = 256;
/// How many step-ups one session remembers; the oldest goes first.
pub const MAX_STEP_UPS: usize = 64;
/// How many sessions one person may have; the oldest ends first.
pub const MAX_SESSIONS_PER_PERSON: usize = 64;

#[derive(Debug)]
struct Live {
    session: Arc<Session>,
    tokens: Vec<HostToken>,
}

#[derive(Debug)]
struct Dead {
    tombstone: Tombstone,
    tokens: Vec<TokenHash>,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    live: BTreeMap<SessionId, Live>,
    dead: BTreeMap<SessionId, Dead>,
    /// INVARIANT: every token of `live` and `dead`, and no other.
    tokens: HashMap<TokenHash, SessionId>,
    /// INVARIANT: every live session once, under its person; no empty sets.
    by_user: BTreeMap<UserId, BTreeSet<SessionId>>,
    /// INVARIANT: every live session once, by when it ends of itself.
    ends: BTreeSet<(Timestamp, SessionId)>,
    /// INVARIANT: every dead session once, by when its tombstone may go.
    forget: BTreeSet<(Timestamp, SessionId)>,
    user_epochs: HashMap<UserId, u64>,
    global_epoch: u64,
}

impl Roster {
    pub(crate) fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.live.get(&id).map(|live| &live.session)
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.live.values().map(|live| &live.session)
    }

    pub(crate) fn user_epoch(&self, user: UserId) -> u64 {
        self.user_epochs.get(&user).copied().unwrap_or(0)
    }

    pub(crate) fn global_epoch(&self) -> u64 {
        self.global_epoch
    }

    /// Lets a new session in. Sent twice, it answers the session as it is by now.
    pub(crate) fn admit(&mut self, session: Session, now: Timestamp) -> Result<SessionChange, Refusal> {
        let id = session.id;
        if self.dead.contains_key(&id) {
            return Err(Refusal::Withdrawn(id));
        }
        if let Some(known) = self.live.get(&id) {
            if known.session.user != session.user || known.session.created != session.created {
                return Err(Refusal::IdTaken(id));
            }
            refuse_expired(&known.session, now)?;
            return Ok(upsert(known, known.tokens.clone()));
        }
        if session.absolute_limit > ABSOLUTE_CEILING || session.idle_limit > ABSOLUTE_CEILING {
            return Err(Refusal::LimitTooLong(id));
        }
        let latest = session.created.max(session.auth_time).max(session.last_active);
        if latest > now + CLOCK_SKEW {
            return Err(Refusal::FromTheFuture(id));
        }
        if session.epochs.global < self.global_epoch || session.epochs.user < self.user_epoch(session.user) {
            return Err(Refusal::OldEpoch(id));
        }
        refuse_expired(&session, now)?;
        let live = Live { session: Arc::new(session), tokens: Vec::new() };
        let change = upsert(&live, Vec::new());
        self.insert(live);
        Ok(change)
    }

    /// Gives `host` a new cookie; the one it had gets an end. Sent twice, it answers the same again.
    pub(crate) fn bind(
        &mut self,
        id: SessionId,
        host: &str,
        token: TokenHash,
        now: Timestamp,
    ) -> Result<SessionChange, Refusal> {
        let live = self.live.get_mut(&id).ok_or(Refusal::NoSession(id))?;
        refuse_expired(&live.session, now)?;
        if self.tokens.contains_key(&token) {
            let again = live.tokens.iter().any(|known| known.token == token && is_newest_of(known, host));
            return if again { Ok(upsert(live, live.tokens.clone())) } else { Err(Refusal::TokenSpent(id)) };
        }
        if live.tokens.len() >= MAX_TOKENS {
            return Err(Refusal::TooManyTokens(id));
        }
        let mut changed = Vec::new();
        for known in live.tokens.iter_mut().filter(|known| is_newest_of(known, host)) {
            known.valid_until = Some(now + ROTATION_GRACE);
            changed.push(known.clone());
        }
        let new = HostToken { token, session: id, host: host.to_owned(), valid_until: None };
        changed.push(new.clone());
        live.tokens.push(new);
        self.tokens.insert(token, id);
        Ok(upsert(live, changed))
    }

    /// Whether `token` is the newest cookie of `host` in this session.
    pub(crate) fn is_newest(&self, id: SessionId, host: &str, token: &TokenHash) -> bool {
        let Some(live) = self.live.get(&id) else { return false };
        live.tokens.iter().any(|known| known.token == *token && is_newest_of(known, host))
    }

    /// Notes a step-up, if it is newer than the one known for the same app and action, and raises the session to what was
    /// proven.
    pub(crate) fn step_up(
        &mut self,
        id: SessionId,
        mut step_up: StepUp,
        proof: Option<&Proof>,
        now: Timestamp,
    ) -> Result<SessionChange, Refusal> {
        let live = self.live.get_mut(&id).ok_or(Refusal::NoSession(id))?;
        refuse_expired(&live.session, now)?;
        // A time ahead would stay fresh for too long.
        step_up.at = step_up.at.min(now);
        let session = Arc::make_mut(&mut live.session);
        // The same input may come again after a failed write.
        if !session.rounds.contains(&step_up) {
            session.rounds.push(step_up.clone());
        }
        let surplus = session.rounds.len().saturating_sub(MAX_ROUNDS);
        session.rounds.drain(..surplus);
        if let Some(proof) = proof {
            session.raise(proof);
        }
        let same = |known: &&mut StepUp| known.app == step_up.app && known.action == step_up.action;
        if let Some(known) = session.step_ups.iter_mut().find(same) {
            // With what it was for: an older proof says nothing about the age of a newer one.
            if step_up.at >= known.at {
                *known = step_up;
            }
        } else {
            session.step_ups.push(step_up);
        }
        session.step_ups.sort_by_key(|known| known.at);
        let surplus = session.step_ups.len().saturating_sub(MAX_STEP_UPS);
        session.step_ups.drain(..surplus);
        Ok(upsert(live, Vec::new()))
    }

    /// Notes that a session was used at `at`. Once its time is over, nothing revives it.
    pub(crate) fn touch(&mut self, id: SessionId, at: Timestamp, now: Timestamp) -> Option<SessionChange> {
        let live = self.live.get_mut(&id)?;
        let ends_at = live.session.ends_at();
        let at = at.min(now);
        if at <= live.session.last_active || now >= ends_at {
            return None;
        }
        Arc::make_mut(&mut live.session).last_active = at;
        self.ends.remove(&(ends_at, id));
        self.ends.insert((live.session.ends_at(), id));
        Some(upsert(live, Vec::new()))
    }

    /// Ends a session for good, known or not, and answers its tombstone; the first end's cause stands.
    pub(crate) fn end(&mut self, id: SessionId, cause: Cause, now: Timestamp) -> SessionChange {
        if let Some(dead) = self.dead.get(&id) {
            return SessionChange::Tombstone(dead.tombstone.clone());
        }
        let (user, until, tokens) = match self.remove_live(id) {
            Some(Live { session, tokens }) => (
                Some(session.user),
                session.created + session.absolute_limit,
                tokens.into_iter().map(|token| token.token).collect(),
            ),
            // A session not heard of yet ends by itself within the ceiling, by any honest clock.
            None => (None, now + ABSOLUTE_CEILING + CLOCK_SKEW, Vec::new()),
        };
        let tombstone = Tombstone { session: id, user, cause, until };
        self.bury(tombstone.clone(), tokens);
        SessionChange::Tombstone(tombstone)
    }

    /// Raises a person's epoch; `None` if it is not higher than the known one.
    pub(crate) fn raise_user_epoch(&mut self, user: UserId, epoch: u64) -> Option<SessionChange> {
        if epoch <= self.user_epoch(user) {
            return None;
        }
        self.user_epochs.insert(user, epoch);
        Some(SessionChange::UserEpoch { user, epoch })
    }

    /// Raises the global epoch; `None` if it is not higher than the known one.
    pub(crate) fn raise_global_epoch(&mut self, epoch: u64) -> Option<SessionChange> {
        if epoch <= self.global_epoch {
            return None;
        }
        self.global_epoch = epoch;
        Some(SessionChange::GlobalEpoch(epoch))
    }

    /// Live sessions of a person that an epoch has outrun, sorted.
    pub(crate) fn outrun_sessions_of(&self, user: UserId) -> Vec<SessionId> {
        let Some(ids) = self.by_user.get(&user) else { return Vec::new() };
        ids.iter().copied().filter(|id| self.live.get(id).is_some_and(|live| self.is_outrun(&live.session))).collect()
    }

    /// Live sessions of anybody that an epoch has outrun, sorted.
    pub(crate) fn outrun_sessions(&self) -> Vec<SessionId> {
        self.live.iter().filter(|(_, live)| self.is_outrun(&live.session)).map(|(id, _)| *id).collect()
    }

    /// The oldest session of a person who has more than they may.
    pub(crate) fn surplus_of(&self, user: UserId) -> Option<SessionId> {
        let ids = self.by_user.get(&user)?;
        if ids.len() <= MAX_SESSIONS_PER_PERSON {
            return None;
        }
        ids.iter()
            .filter_map(|id| self.live.get(id))
            .map(|live| (live.session.created, live.session.id))
            .min()
            .map(|(_, id)| id)
    }

    /// Live sessions whose time is over.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<SessionId> {
        self.ends.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// Forgets tombstones whose time is over.
    pub(crate) fn forget(&mut self, now: Timestamp) -> Vec<SessionChange> {
        let mut changes = Vec::new();
        while let Some(&(at, id)) = self.forget.first() {
            if at > now {
                break;
            }
            self.forget.pop_first();
            for token in self.dead.remove(&id).map(|dead| dead.tokens).unwrap_or_default() {
                self.tokens.remove(&token);
            }
            changes.push(SessionChange::Forget(id));
        }
        changes
    }

    /// Takes back what was kept. Sessions that have a tombstone stay dead.
    pub(crate) fn restore(&mut self, snapshot: &model::SessionSnapshot) {
        self.global_epoch = self.global_epoch.max(snapshot.global_epoch);
        for (user, epoch) in &snapshot.user_epochs {
            self.raise_user_epoch(*user, *epoch);
        }
        let mut tokens: HashMap<SessionId, Vec<HostToken>> = HashMap::new();
        for token in &snapshot.tokens {
            tokens.entry(token.session).or_default().push(token.clone());
        }
        for tombstone in &snapshot.tombstones {
            let hashes: Vec<TokenHash> =
                tokens.remove(&tombstone.session).unwrap_or_default().into_iter().map(|token| token.token).collect();
            self.tokens.extend(hashes.iter().map(|token| (*token, tombstone.session)));
            self.bury(tombstone.clone(), hashes);
        }
        for session in &snapshot.sessions {
            if !self.dead.contains_key(&session.id) {
                let tokens = tokens.remove(&session.id).unwrap_or_default();
                self.tokens.extend(tokens.iter().map(|token| (token.token, session.id)));
                self.insert(Live { session: Arc::clone(session), tokens });
            }
        }
    }

    /// Everything; the counterpart of [`Self::restore`].
    pub(crate) fn snapshot(&self) -> model::SessionSnapshot {
        let live = || self.live.values();
        model::SessionSnapshot {
            sessions: live().map(|live| Arc::clone(&live.session)).collect(),
            tokens: live().flat_map(|live| live.tokens.iter().cloned()).collect(),
            tombstones: self.dead.values().map(|dead| dead.tombstone.clone()).collect(),
            user_epochs: self.user_epochs.iter().map(|(user, epoch)| (*user, *epoch)).collect(),
            global_epoch: self.global_epoch,
        }
    }

    fn is_outrun(&self, session: &Session) -> bool {
        session.epochs.global < self.global_epoch || session.epochs.user < self.user_epoch(session.user)
    }

    fn insert(&mut self, live: Live) {
        let id = live.session.id;
        self.by_user.entry(live.session.user).or_default().insert(id);
        self.ends.insert((live.session.ends_at(), id));
        self.live.insert(id, live);
    }

    fn remove_live(&mut self, id: SessionId) -> Option<Live> {
        let live = self.live.remove(&id)?;
        self.ends.remove(&(live.session.ends_at(), id));
        if let Some(ids) = self.by_user.get_mut(&live.session.user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_user.remove(&live.session.user);
            }
        }
        Some(live)
    }

    fn bury(&mut self, tombstone: Tombstone, tokens: Vec<TokenHash>) {
        self.forget.insert((tombstone.until, tombstone.session));
        self.dead.insert(tombstone.session, Dead { tombstone, tokens });
    }
}

/// Time may be over before a tick says so.
fn refuse_expired(session: &Session, now: Timestamp) -> Result<(), Refusal> {
    if session.is_expired(now) { Err(Refusal::Expired(session.id)) } else { Ok(()) }
}

fn is_newest_of(token: &HostToken, host: &str) -> bool {
    token.host == host && token.valid_until.is_none()
}

fn upsert(live: &Live, tokens: Vec<HostToken>) -> SessionChange {
    SessionChange::Upsert { session: Arc::clone(&live.session), tokens }
}
