//! The sessions as doors read them (GW-43, R-16, R-17): maps in memory, no lock wait, no IO.
//!
//! The table obeys changes; it decides nothing but time and epochs, which it checks again on every look-up, so that
//! a session is dead here even before its tombstone arrives. One writer (the control loop) applies changes; any
//! number of doors read.
//!
//! Invariants: a cookie bound to one host is unknown on every other (ATK-48); once applied, a tombstone wins over
//! any upsert; epochs never fall; activity never revives.

use std::collections::HashMap as StdHashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::ids::{SessionId, TokenHash, UserId};
use model::seams::{Cause, SessionView};
use model::session::{Session, SessionLookup};
use model::time::Timestamp;
use papaya::{HashMap, Operation};

/// A session's activity is reported at most this often (GW-45).
pub const ACTIVITY_PERIOD: Duration = Duration::from_secs(60);

/// Cookies and sessions in memory.
#[derive(Default)]
pub struct SessionTable {
    tokens: HashMap<TokenHash, Binding>,
    slots: HashMap<SessionId, Slot>,
    user_epochs: HashMap<UserId, u64>,
    global_epoch: AtomicU64,
    /// Which cookies go when a session is forgotten. Only the writer comes here; readers never wait for it.
    bound: Mutex<StdHashMap<SessionId, Vec<TokenHash>>>,
}

struct Binding {
    session: SessionId,
    host: Box<str>,
    valid_until: Option<Timestamp>,
}

#[derive(Clone)]
enum Slot {
    Dead(Tombstone),
    Live(Arc<Session>, Arc<Activity>),
}

/// Shared by all versions of one session.
struct Activity {
    last: AtomicI64,
    reported: AtomicI64,
}

impl SessionTable {
    /// A table that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what the store kept.
    pub fn load(&self, snapshot: &SessionSnapshot) {
        self.apply(&SessionChange::GlobalEpoch(snapshot.global_epoch));
        for (user, epoch) in &snapshot.user_epochs {
            self.apply(&SessionChange::UserEpoch { user: *user, epoch: *epoch });
        }
        for tombstone in &snapshot.tombstones {
            self.apply(&SessionChange::Tombstone(tombstone.clone()));
        }
        let mut tokens: StdHashMap<SessionId, Vec<HostToken>> = StdHashMap::new();
        for token in &snapshot.tokens {
            tokens.entry(token.session).or_default().push(token.clone());
        }
        for session in &snapshot.sessions {
            let tokens = tokens.remove(&session.id).unwrap_or_default();
            self.apply(&SessionChange::Upsert { session: Arc::clone(session), tokens });
        }
        for token in tokens.into_values().flatten() {
            self.bind(&token);
        }
    }

    /// Takes in one change. Applying it again changes nothing.
    pub fn apply(&self, change: &SessionChange) {
        match change {
            SessionChange::Forget(session) => self.forget(*session),
            SessionChange::GlobalEpoch(epoch) => {
                self.global_epoch.fetch_max(*epoch, Ordering::AcqRel);
            }
            SessionChange::Tombstone(tombstone) => {
                self.slots.pin().insert(tombstone.session, Slot::Dead(tombstone.clone()));
            }
            SessionChange::Upsert { session, tokens } => {
                if self.put(session) {
                    tokens.iter().for_each(|token| self.bind(token));
                }
            }
            SessionChange::UserEpoch { user, epoch } => {
                self.user_epochs.pin().update_or_insert(*user, |known| (*known).max(*epoch), *epoch);
            }
        }
    }

    /// Activity since the last report, at most once per [`ACTIVITY_PERIOD`] and session: the batch of
    /// [`crate::Input::Active`]. One caller at a time.
    pub fn drain_activity(&self, now: Timestamp) -> Vec<(SessionId, Timestamp)> {
        let mut batch = Vec::new();
        for (id, slot) in &self.slots.pin() {
            let Slot::Live(_, activity) = slot else { continue };
            let last = activity.last.load(Ordering::Acquire);
            let reported = Timestamp(activity.reported.load(Ordering::Acquire));
            if last > reported.0 && now.since(reported) >= ACTIVITY_PERIOD {
                activity.reported.store(last.max(now.0), Ordering::Release);
                batch.push((*id, Timestamp(last)));
            }
        }
        batch.sort_unstable();
        batch
    }

    /// Live sessions, newest first.
    pub fn sessions(&self, now: Timestamp) -> Vec<Arc<Session>> {
        let slots = self.slots.pin();
        let mut sessions: Vec<Arc<Session>> = slots
            .values()
            .filter_map(|slot| match slot {
                Slot::Live(session, activity) if self.is_live(session, activity, now) => Some(Arc::clone(session)),
                _ => None,
            })
            .collect();
        sessions.sort_by_key(|session| std::cmp::Reverse((session.created, session.id)));
        sessions
    }

    /// Forgets every session but these, after a snapshot that would have named it: what it does not name is over.
    pub fn keep_only(&self, kept: &std::collections::HashSet<SessionId>) {
        let known: Vec<SessionId> = self.slots.pin().keys().copied().collect();
        known.into_iter().filter(|id| !kept.contains(id)).for_each(|id| self.forget(id));
    }

    /// False if the session is over.
    fn put(&self, session: &Arc<Session>) -> bool {
        let slots = self.slots.pin();
        let outcome = slots.compute(session.id, |known| match known {
            Some((_, Slot::Dead(_))) => Operation::Abort(()),
            Some((_, Slot::Live(_, activity))) => {
                activity.last.fetch_max(session.last_active.0, Ordering::AcqRel);
                Operation::Insert(Slot::Live(Arc::clone(session), Arc::clone(activity)))
            }
            None => {
                let last = session.last_active.0;
                let activity = Activity { last: AtomicI64::new(last), reported: AtomicI64::new(last) };
                Operation::Insert(Slot::Live(Arc::clone(session), Arc::new(activity)))
            }
        });
        !matches!(outcome, papaya::Compute::Aborted(()))
    }

    fn bind(&self, token: &HostToken) {
        let binding =
            Binding { session: token.session, host: token.host.as_str().into(), valid_until: token.valid_until };
        self.tokens.pin().insert(token.token, binding);
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let hashes = bound.entry(token.session).or_default();
        if !hashes.contains(&token.token) {
            hashes.push(token.token);
        }
    }

    fn forget(&self, session: SessionId) {
        self.slots.pin().remove(&session);
        let hashes = self.bound.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
        let tokens = self.tokens.pin();
        for token in hashes.unwrap_or_default() {
            tokens.remove(&token);
        }
    }

    fn is_outrun(&self, session: &Session) -> bool {
        let user_epoch = self.user_epochs.pin().get(&session.user).copied().unwrap_or(0);
        session.epochs.user < user_epoch || session.epochs.global < self.global_epoch.load(Ordering::Acquire)
    }

    fn is_live(&self, session: &Session, activity: &Activity, now: Timestamp) -> bool {
        !self.is_outrun(session) && now < ends_at(session, activity)
    }
}

impl SessionView for SessionTable {
    fn look_up(&self, token: &TokenHash, host: &str, now: Timestamp) -> SessionLookup {
        let tokens = self.tokens.pin();
        let Some(binding) = tokens.get(token) else { return SessionLookup::Unknown };
        let is_over = binding.valid_until.is_some_and(|until| now >= until);
        if is_over || *binding.host != *host {
            return SessionLookup::Unknown;
        }
        let slots = self.slots.pin();
        match slots.get(&binding.session) {
            None => SessionLookup::Unknown,
            Some(Slot::Dead(tombstone)) if tombstone.cause == Cause::Expired => SessionLookup::Expired,
            Some(Slot::Dead(_)) => SessionLookup::Revoked,
            Some(Slot::Live(session, _)) if self.is_outrun(session) => SessionLookup::Revoked,
            Some(Slot::Live(session, activity)) if now >= ends_at(session, activity) => SessionLookup::Expired,
            Some(Slot::Live(session, _)) => SessionLookup::Live(Arc::clone(session)),
        }
    }

    fn session(&self, id: SessionId, now: Timestamp) -> Option<Arc<Session>> {
        match self.slots.pin().get(&id) {
            Some(Slot::Live(session, activity)) if self.is_live(session, activity, now) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    fn touch(&self, id: SessionId, now: Timestamp) {
        if let Some(Slot::Live(session, activity)) = self.slots.pin().get(&id)
            && self.is_live(session, activity, now)
        {
            activity.last.fetch_max(now.0, Ordering::AcqRel);
        }
    }
}

/// When the session ends by itself, with activity that was not reported yet.
fn ends_at(session: &Session, activity: &Activity) -> Timestamp {
    let last = Timestamp(activity.last.load(Ordering::Acquire)).max(session.last_active);
    (session.created + session.absolute_limit).min(last + session.idle_limit)
}
