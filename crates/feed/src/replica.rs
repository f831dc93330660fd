//! A door's end: messages in, what follows from them out. Pure.
//!
//! Invariants: the end of a session is never held back by anything; an order about new facts waits for them and for
//! nothing else; a snapshot changes no facts before it is complete, and nothing that happened while it came is undone by
//! it; facts move forward by one version at a time; what is not applied is not acknowledged.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use model::changes::{SessionChange, Tombstone};
use model::directory::Directory;
use model::ids::SessionId;
use uuid::Uuid;

use crate::message::{Ack, ConfigSource, Delta, Down, Event, Known, Order, Part, Position};

/// The most pieces of one snapshot.
pub const MAX_PARTS: usize = 1_000_000;
/// The most orders that wait for facts.
pub const MAX_HELD: usize = 4_096;

/// Why a stream of messages is no good any more. The door keeps what it has and asks anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Something is missing between what the door has and what it is told.
    #[error("{what} {got} follows {had}; something was lost")]
    Gap {
        /// Events or versions.
        what: &'static str,
        /// The last one.
        had: u64,
        /// The one that came.
        got: u64,
    },
    /// The snapshot lacks its configuration or came without a beginning.
    #[error("a snapshot is not whole")]
    NotWhole,
    /// The first message must begin a snapshot.
    #[error("the door knows nothing yet, and this is no snapshot")]
    Nothing,
    /// Too much of something.
    #[error("there are more than {0} pieces of a snapshot or orders that wait")]
    TooMuch(usize),
    /// Messages that are no door's.
    #[error("a message came that belongs to a conversation, not to the stream")]
    Stray,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Say how far the door has come.
    Acknowledge(Ack),
    /// Apply to the table of sessions.
    Change(SessionChange),
    /// Everything the door knows is current.
    Confirm,
    /// Judge these streams afresh and report.
    Judge(Order),
    /// Judge every stream afresh: a snapshot replaced what is not known to have happened.
    JudgeAll,
    /// Publish these keys.
    Keys(Arc<str>),
    /// Forget every session but these.
    Keep(HashSet<SessionId>),
    /// Make these facts the ones requests are judged by, then call [`Replica::published`]. A newer one makes an older
    /// one that has not begun needless.
    Publish(Known),
}

/// A snapshot on its way.
#[derive(Debug)]
struct Building {
    position: Position,
    config: Option<Arc<ConfigSource>>,
    directory: Directory,
    kept: HashSet<SessionId>,
    /// Sessions that events have told newer things of.
    touched: HashSet<SessionId>,
    parts: usize,
}

/// What a door has been told.
#[derive(Debug, Default)]
pub struct Replica {
    lineage: Option<Uuid>,
    known: Option<Known>,
    /// The version requests are judged by.
    published: u64,
    events: u64,
    building: Option<Building>,
    held: VecDeque<Order>,
}

impl Replica {
    /// A door that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A door that was put together with `known` and has published it: the one of an all-in-one process.
    pub fn started(lineage: Uuid, known: Known) -> Self {
        Self { lineage: Some(lineage), published: known.version, known: Some(known), ..Self::default() }
    }

    /// What to ask for after the connection was lost; `None`: everything. Call [`Self::interrupted`] first.
    pub fn position(&self) -> Option<Position> {
        let known = self.known.as_ref()?;
        Some(Position { lineage: self.lineage?, facts: known.version, events: self.events })
    }

    /// The connection is lost: a snapshot on its way is given up.
    pub fn interrupted(&mut self) {
        if let Some(building) = self.building.take() {
            // Events that came beside it were applied, but what came before them was not: only a snapshot mends that.
            let _ = building;
            self.lineage = None;
        }
    }

    /// Whether there is anything to judge requests by.
    pub fn is_complete(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.version == self.published) && self.lineage.is_some()
    }

    /// The newest facts it was told.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// How far the door has come.
    pub fn ack(&self) -> Ack {
        Ack { facts: self.published, events: self.events }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// [`Broken`]: nothing of the message was applied; ask anew.
    pub fn apply(&mut self, message: Down) -> Result<Vec<Effect>, Broken> {
        match message {
            Down::Beat { facts, events } => Ok(self.beat(facts, events)),
            Down::Begin { position, directory_version } => Ok(self.begin(position, directory_version)),
            Down::Delta(delta) => self.delta(&delta),
            Down::End => self.end(),
            Down::Event { seq, event } => self.event(seq, &event),
            Down::Keys(keys) => Ok(vec![Effect::Keys(keys)]),
            Down::Part(part) => self.part(part),
            Down::Refused(_) | Down::Reply { .. } | Down::Welcome(_) => Err(Broken::Stray),
        }
    }

    /// The facts of an [`Effect::Publish`] are in force: releases the orders that waited for them.
    pub fn published(&mut self, version: u64) -> Vec<Effect> {
        self.published = version;
        let mut effects = Vec::new();
        let mut waiting = VecDeque::new();
        for order in std::mem::take(&mut self.held) {
            if order.after <= version {
                effects.push(Effect::Judge(order));
            } else {
                waiting.push_back(order);
            }
        }
        self.held = waiting;
        effects.push(Effect::Acknowledge(self.ack()));
        effects
    }

    fn beat(&self, facts: u64, events: u64) -> Vec<Effect> {
        let is_current = self.building.is_none()
            && self.lineage.is_some()
            && self.known.is_some()
            && self.published >= facts
            && self.events >= events;
        let confirm = is_current.then_some(Effect::Confirm);
        confirm.into_iter().chain([Effect::Acknowledge(self.ack())]).collect()
    }

    fn begin(&mut self, position: Position, directory_version: u64) -> Vec<Effect> {
        // Numbers of another history say nothing; orders that waited for its facts are answered by judging everything.
        self.lineage = Some(position.lineage);
        self.events = position.events;
        self.held.clear();
        self.building = Some(Building {
            position,
            config: None,
            directory: Directory { version: directory_version, ..Directory::default() },
            kept: HashSet::new(),
            touched: HashSet::new(),
            parts: 0,
        });
        Vec::new()
    }

    fn part(&mut self, part: Part) -> Result<Vec<Effect>, Broken> {
        let building = self.building.as_mut().ok_or(Broken::NotWhole)?;
        building.parts += 1;
        if building.parts > MAX_PARTS {
            return Err(Broken::TooMuch(MAX_PARTS));
        }
        let mut effects = Vec::new();
        match part {
            Part::Config(config) => building.config = Some(config),
            Part::Dead(tombstones) => {
                building.kept.extend(tombstones.iter().map(|tombstone| tombstone.session));
                // What an event told since is newer, also that an end may be forgotten.
                let is_news = |tombstone: &Tombstone| !building.touched.contains(&tombstone.session);
                let news = tombstones.into_iter().filter(is_news).map(SessionChange::Tombstone);
                effects.extend(news.map(Effect::Change));
            }
            Part::Epochs { global, users } => {
                effects.push(Effect::Change(SessionChange::GlobalEpoch(global)));
                let raised = users.into_iter().map(|(user, epoch)| SessionChange::UserEpoch { user, epoch });
                effects.extend(raised.map(Effect::Change));
            }
            Part::Groups(groups) => {
                building.directory.groups.extend(groups.into_iter().map(|group| (group.id.clone(), group)));
            }
            Part::Services(services) => services.add_to(&mut building.directory),
            Part::Sessions(sessions) => {
                for (session, tokens) in sessions {
                    building.kept.insert(session.id);
                    if !building.touched.contains(&session.id) {
                        effects.push(Effect::Change(SessionChange::Upsert { session, tokens }));
                    }
                }
            }
            Part::Users(users) => building.directory.users.extend(users.into_iter().map(|user| (user.id, user))),
        }
        Ok(effects)
    }

    fn end(&mut self) -> Result<Vec<Effect>, Broken> {
        let Building { position, config, directory, mut kept, touched, .. } =
            self.building.take().ok_or(Broken::NotWhole)?;
        let Some(config) = config else {
            self.lineage = None;
            return Err(Broken::NotWhole);
        };
        kept.extend(touched);
        let known = Known { version: position.facts, config, directory: Arc::new(directory) };
        self.known = Some(known.clone());
        self.published = 0;
        Ok(vec![Effect::Keep(kept), Effect::Publish(known), Effect::JudgeAll])
    }

    fn delta(&mut self, delta: &Delta) -> Result<Vec<Effect>, Broken> {
        if self.building.is_some() {
            return Err(Broken::NotWhole);
        }
        let known = self.known.as_mut().ok_or(Broken::Nothing)?;
        if delta.version <= known.version {
            return Ok(Vec::new());
        }
        if delta.version != known.version + 1 {
            return Err(Broken::Gap { what: "version", had: known.version, got: delta.version });
        }
        let directory = Arc::make_mut(&mut known.directory);
        directory.version = delta.directory_version;
        for user in &delta.gone {
            directory.users.remove(user);
        }
        directory.users.extend(delta.users.iter().map(|user| (user.id, Arc::clone(user))));
        if let Some(groups) = &delta.groups {
            directory.groups = groups.iter().map(|group| (group.id.clone(), Arc::clone(group))).collect();
        }
        if let Some(services) = &delta.services {
            directory.services.clear();
            directory.service_tokens.clear();
            services.add_to(directory);
        }
        if let Some(config) = &delta.config {
            known.config = Arc::clone(config);
        }
        known.version = delta.version;
        Ok(vec![Effect::Publish(known.clone())])
    }

    fn event(&mut self, seq: u64, event: &Event) -> Result<Vec<Effect>, Broken> {
        if self.lineage.is_none() {
            return Err(Broken::Nothing);
        }
        if seq <= self.events {
            return Ok(Vec::new());
        }
        if seq != self.events + 1 {
            return Err(Broken::Gap { what: "event", had: self.events, got: seq });
        }
        if self.held.len() >= MAX_HELD {
            return Err(Broken::TooMuch(MAX_HELD));
        }
        self.events = seq;
        let mut effects = Vec::new();
        match event {
            Event::Change(change) => {
                if let (Some(building), Some(session)) = (&mut self.building, session_of(change)) {
                    building.touched.insert(session);
                }
                effects.push(Effect::Change(change.clone()));
            }
            Event::Order(order) if order.after > self.published => self.held.push_back(order.clone()),
            Event::Order(order) => effects.push(Effect::Judge(order.clone())),
        }
        effects.push(Effect::Acknowledge(self.ack()));
        Ok(effects)
    }
}

fn session_of(change: &SessionChange) -> Option<SessionId> {
    match change {
        SessionChange::Forget(session) => Some(*session),
        SessionChange::Tombstone(tombstone) => Some(tombstone.session),
        SessionChange::Upsert { session, .. } => Some(session.id),
        SessionChange::GlobalEpoch(_) | SessionChange::UserEpoch { .. } => None,
    }
}
