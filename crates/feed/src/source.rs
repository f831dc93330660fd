//! The control plane's end: numbers what happens, remembers the newest of it, and says what a door that was away has
//! missed. Pure.
//!
//! Invariants: versions and events grow by one; what is remembered is without gaps; a door of another history, or one
//! that was away for longer than is remembered, gets a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use model::changes::{HostToken, SessionSnapshot};
use model::directory::{Directory, UserEntry};
use model::ids::SessionId;
use uuid::Uuid;

use crate::message::{ConfigSource, Delta, Down, Event, Known, Part, Position, Services};

/// How many versions are remembered for doors that were away.
pub const REMEMBERED_DELTAS: usize = 1_024;
/// How many events are remembered for doors that were away.
pub const REMEMBERED_EVENTS: usize = 16_384;
/// How many things a piece of a snapshot holds.
const PIECE: usize = 64;

/// What doors are told.
pub struct Source {
    lineage: Uuid,
    known: Known,
    deltas: VecDeque<Arc<Delta>>,
    events: VecDeque<Arc<Event>>,
    /// The number of the newest event.
    seq: u64,
}

impl Source {
    /// A new history that begins with these facts.
    pub fn new(lineage: Uuid, config: Arc<ConfigSource>, directory: Arc<Directory>) -> Self {
        let known = Known { version: 1, config, directory };
        Self { lineage, known, deltas: VecDeque::new(), events: VecDeque::new(), seq: 0 }
    }

    /// The newest facts.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Where a door is that has everything.
    pub fn position(&self) -> Position {
        Position { lineage: self.lineage, facts: self.known.version, events: self.seq }
    }

    /// The facts changed.
    pub fn publish(&mut self, config: Arc<ConfigSource>, directory: Arc<Directory>) -> Down {
        let delta = Arc::new(difference(&self.known, &config, &directory));
        self.known = Known { version: delta.version, config, directory };
        if self.deltas.len() >= REMEMBERED_DELTAS {
            self.deltas.pop_front();
        }
        self.deltas.push_back(Arc::clone(&delta));
        Down::Delta(delta)
    }

    /// Something happened.
    pub fn event(&mut self, event: Event) -> Down {
        self.seq += 1;
        let event = Arc::new(event);
        if self.events.len() >= REMEMBERED_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Arc::clone(&event));
        Down::Event { seq: self.seq, event }
    }

    /// The proof of life of now.
    pub fn beat(&self) -> Down {
        Down::Beat { facts: self.known.version, events: self.seq }
    }

    /// What a door that stands at `have` has missed, events first; `None`: it needs a snapshot.
    pub fn since(&self, have: &Position) -> Option<Vec<Down>> {
        if have.lineage != self.lineage || have.facts > self.known.version || have.events > self.seq {
            return None;
        }
        let missed_events = usize::try_from(self.seq - have.events).ok()?;
        let missed_deltas = usize::try_from(self.known.version - have.facts).ok()?;
        if missed_events > self.events.len() || missed_deltas > self.deltas.len() {
            return None;
        }
        let events = self.events.iter().skip(self.events.len() - missed_events);
        let numbered = events.zip(have.events + 1..).map(|(event, seq)| Down::Event { seq, event: Arc::clone(event) });
        let deltas = self.deltas.iter().skip(self.deltas.len() - missed_deltas).cloned().map(Down::Delta);
        Some(numbered.chain(deltas).collect())
    }

    /// Everything, with the sessions of now.
    pub fn snapshot(&self, sessions: &SessionSnapshot) -> Vec<Down> {
        let Known { config, directory, .. } = &self.known;
        let mut messages = vec![Down::Begin { position: self.position(), directory_version: directory.version }];
        let users: Vec<(_, _)> = sessions.user_epochs.clone();
        messages.push(Down::Part(Part::Epochs { global: sessions.global_epoch, users: Vec::new() }));
        messages.extend(pieces(users).map(|users| Down::Part(Part::Epochs { global: sessions.global_epoch, users })));
        messages.extend(pieces(sessions.tombstones.clone()).map(|dead| Down::Part(Part::Dead(dead))));
        messages.push(Down::Part(Part::Config(Arc::clone(config))));
        let groups: Vec<_> = directory.groups.values().cloned().collect();
        messages.extend(pieces(groups).map(|groups| Down::Part(Part::Groups(groups))));
        let services = Services::of(directory);
        for accounts in pieces(services.accounts) {
            messages.push(Down::Part(Part::Services(Services { accounts, tokens: Vec::new() })));
        }
        for tokens in pieces(services.tokens) {
            messages.push(Down::Part(Part::Services(Services { accounts: Vec::new(), tokens })));
        }
        let mut people: Vec<Arc<UserEntry>> = directory.users.values().cloned().collect();
        people.sort_by_key(|user| user.id);
        messages.extend(pieces(people).map(|users| Down::Part(Part::Users(users))));
        messages.extend(pieces(with_tokens(sessions)).map(|live| Down::Part(Part::Sessions(live))));
        messages.push(Down::End);
        messages
    }
}

/// What leads from `known` to these facts.
fn difference(known: &Known, config: &Arc<ConfigSource>, directory: &Arc<Directory>) -> Delta {
    let before = &known.directory;
    let is_new =
        |user: &&Arc<UserEntry>| before.users.get(&user.id).is_none_or(|had| !Arc::ptr_eq(had, user) && had != *user);
    let mut users: Vec<Arc<UserEntry>> = directory.users.values().filter(is_new).cloned().collect();
    users.sort_by_key(|user| user.id);
    let mut gone: Vec<_> = before.users.keys().filter(|id| !directory.users.contains_key(id)).copied().collect();
    gone.sort_unstable();
    Delta {
        version: known.version + 1,
        config: (known.config != *config).then(|| Arc::clone(config)),
        directory_version: directory.version,
        users,
        gone,
        groups: (before.groups != directory.groups).then(|| directory.groups.values().cloned().collect()),
        services: (before.services != directory.services || before.service_tokens != directory.service_tokens)
            .then(|| Services::of(directory)),
    }
}

fn with_tokens(sessions: &SessionSnapshot) -> Vec<(Arc<model::Session>, Vec<HostToken>)> {
    let mut tokens: std::collections::HashMap<SessionId, Vec<HostToken>> = std::collections::HashMap::new();
    for token in &sessions.tokens {
        tokens.entry(token.session).or_default().push(token.clone());
    }
    let with = |session: &Arc<model::Session>| (Arc::clone(session), tokens.remove(&session.id).unwrap_or_default());
    sessions.sessions.iter().map(with).collect()
}

fn pieces<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let piece: Vec<T> = rest.by_ref().take(PIECE).collect();
        (!piece.is_empty()).then_some(piece)
    })
}
