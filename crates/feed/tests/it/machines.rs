//! Both machines together: whatever is lost, doubled or overtaken, a door ends where the control plane is, nobody who
//! was signed out is signed in, and nothing counts as current that is not.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use feed::frame::Lane;
use feed::{Broken, Down, Effect, Event, Order, Position, Replica, Source};
use model::changes::{SessionChange, SessionSnapshot};
use model::ids::SessionId;
use model::seams::{Cause, Scope};
use proptest::prelude::*;

use crate::samples::{config, directory, revocation, session, session_id, tombstone, upsert, uuid};

/// A door with a table of its own.
#[derive(Default)]
struct Door {
    replica: Replica,
    live: BTreeMap<SessionId, i64>,
    dead: BTreeSet<SessionId>,
    judged: Vec<Order>,
    judged_all: usize,
    confirmed: usize,
    /// Effects of publishing that the door has not got round to.
    publishing: VecDeque<u64>,
}

impl Door {
    fn take(&mut self, message: Down) -> Result<(), Broken> {
        let effects = self.replica.apply(message)?;
        self.carry_out(effects);
        Ok(())
    }

    fn publish(&mut self) {
        if let Some(version) = self.publishing.pop_back() {
            self.publishing.clear();
            let effects = self.replica.published(version);
            self.carry_out(effects);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Change(SessionChange::Upsert { session, .. }) => {
                    if !self.dead.contains(&session.id) {
                        self.live.insert(session.id, session.last_active.0);
                    }
                }
                Effect::Change(SessionChange::Tombstone(tombstone)) => {
                    self.live.remove(&tombstone.session);
                    self.dead.insert(tombstone.session);
                }
                Effect::Change(SessionChange::Forget(session)) => {
                    self.live.remove(&session);
                    self.dead.remove(&session);
                }
                Effect::Keep(kept) => {
                    self.live.retain(|id, _| kept.contains(id));
                    self.dead.retain(|id| kept.contains(id));
                }
                Effect::Judge(order) => self.judged.push(order),
                Effect::JudgeAll => self.judged_all += 1,
                Effect::Confirm => self.confirmed += 1,
                Effect::Publish(known) => self.publishing.push_back(known.version),
                Effect::Acknowledge(_) | Effect::Keys(_) | Effect::Change(_) => {}
            }
        }
    }
}

fn source() -> Source {
    Source::new(uuid(7), config(0), directory(1, &[(1, "alice")]))
}

fn order(number: u64, after: u64) -> Event {
    Event::Order(Order { revocation: revocation(number), scope: Scope::Everything, cause: Cause::FactsChanged, after })
}

fn door_of(source: &Source) -> Door {
    let mut door = Door::default();
    for message in source.snapshot(&SessionSnapshot::default()) {
        door.take(message).unwrap();
    }
    door.publish();
    door
}

#[test]
fn an_end_of_a_session_is_acted_on_in_the_middle_of_a_snapshot() {
    let mut source = source();
    let live = SessionSnapshot { sessions: vec![session(1, 1), session(2, 1)], ..SessionSnapshot::default() };
    let snapshot = source.snapshot(&live);
    let end = source.event(Event::Change(SessionChange::Tombstone(tombstone(1))));
    let judge = source.event(order(1, 0));
    let mut door = Door::default();
    let mut snapshot = snapshot.into_iter();
    door.take(snapshot.next().unwrap()).unwrap();
    door.take(end).unwrap();
    door.take(judge).unwrap();
    assert_eq!(door.judged.len(), 1, "nothing waits for the rest of the snapshot");
    for message in snapshot {
        door.take(message).unwrap();
    }
    assert!(!door.live.contains_key(&session_id(1)), "the snapshot is older than the end and does not revive");
    assert!(door.live.contains_key(&session_id(2)));
}

#[test]
fn a_snapshot_does_not_undo_what_events_told_meanwhile() {
    let mut source = source();
    let old = SessionSnapshot { sessions: vec![session(1, 1)], ..SessionSnapshot::default() };
    let snapshot = source.snapshot(&old);
    let newer = source.event(Event::Change(upsert(1, 50)));
    let another = source.event(Event::Change(upsert(2, 60)));
    let mut door = Door::default();
    let mut messages = snapshot.into_iter();
    door.take(messages.next().unwrap()).unwrap();
    door.take(newer).unwrap();
    door.take(another).unwrap();
    messages.for_each(|message| door.take(message).unwrap());
    assert_eq!(door.live, BTreeMap::from([(session_id(1), 50), (session_id(2), 60)]));
}

#[test]
fn an_order_about_new_facts_waits_for_them_and_an_end_does_not() {
    let mut source = source();
    let mut door = door_of(&source);
    let delta = source.publish(config(1), directory(2, &[]));
    let after = source.known().version;
    let about_facts = source.event(order(1, after));
    let about_sessions = source.event(order(2, 0));
    door.take(about_facts).unwrap();
    door.take(about_sessions).unwrap();
    assert_eq!(door.judged.iter().map(|order| order.revocation).collect::<Vec<_>>(), [revocation(2)]);
    door.take(delta).unwrap();
    assert_eq!(door.judged.len(), 1, "received is not in force");
    door.publish();
    assert_eq!(door.judged.iter().map(|order| order.revocation).collect::<Vec<_>>(), [revocation(2), revocation(1)]);
}

#[test]
fn a_door_is_current_only_when_it_has_everything() {
    let mut source = source();
    let mut door = door_of(&source);
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 1);
    let delta = source.publish(config(1), directory(2, &[]));
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 1, "a version is missing");
    door.take(delta).unwrap();
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 1, "a version is not in force yet");
    door.publish();
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 2);
    let event = source.event(Event::Change(upsert(1, 1)));
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 2, "an event is missing");
    door.take(event).unwrap();
    door.take(source.beat()).unwrap();
    assert_eq!(door.confirmed, 3);
}

#[test]
fn attack_lost_and_reordered_messages_break_the_stream() {
    let mut source = source();
    let mut door = door_of(&source);
    let (first, second) = (source.event(order(1, 0)), source.event(order(2, 0)));
    assert_eq!(door.take(second.clone()), Err(Broken::Gap { what: "event", had: 0, got: 2 }));
    assert!(door.judged.is_empty(), "nothing of it was applied");
    door.take(first.clone()).unwrap();
    door.take(first).unwrap();
    door.take(second).unwrap();
    assert_eq!(door.judged.len(), 2, "what comes twice counts once");
    source.publish(config(1), directory(2, &[]));
    let late = source.publish(config(2), directory(3, &[]));
    assert_eq!(door.take(late), Err(Broken::Gap { what: "version", had: 1, got: 3 }));
    assert_eq!(door.take(Down::End), Err(Broken::NotWhole));
    assert_eq!(Replica::new().apply(Down::Event { seq: 1, event: Arc::new(order(1, 0)) }).err(), Some(Broken::Nothing));
}

#[test]
fn attack_a_snapshot_without_a_configuration_is_never_published() {
    let source = source();
    let mut door = Door::default();
    let is_config = |message: &Down| matches!(message, Down::Part(feed::Part::Config(_)));
    let messages: Vec<Down> =
        source.snapshot(&SessionSnapshot::default()).into_iter().filter(|m| !is_config(m)).collect();
    let outcomes: Vec<_> = messages.into_iter().map(|message| door.take(message)).collect();
    assert_eq!(outcomes.last(), Some(&Err(Broken::NotWhole)));
    assert!(door.publishing.is_empty() && door.replica.position().is_none());
}

#[test]
fn a_door_that_was_away_for_too_long_or_in_another_history_gets_a_snapshot() {
    let mut source = source();
    let have = source.position();
    assert_eq!(source.since(&have).map(|missed| missed.len()), Some(0));
    source.event(order(1, 0));
    source.publish(config(1), directory(2, &[]));
    assert_eq!(source.since(&have).map(|missed| missed.len()), Some(2));
    assert!(source.since(&Position { lineage: uuid(8), ..have }).is_none());
    assert!(source.since(&Position { events: 9, ..have }).is_none(), "from the future");
    for number in 0..=feed::source::REMEMBERED_EVENTS as u64 {
        source.event(order(number, 0));
    }
    assert!(source.since(&have).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    SignIn(u64),
    SignOut(u64),
    Forget(u64),
    People(u64),
    /// Delivers this many messages of the urgent lane and of the other.
    Deliver(usize, usize),
    Publish,
    /// The connection is lost with all that is on its way.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u64).prop_map(Step::SignIn),
        4 => (0..12_u64).prop_map(Step::SignOut),
        1 => (0..12_u64).prop_map(Step::Forget),
        2 => (0..4_u64).prop_map(Step::People),
        6 => (0..4_usize, 0..4_usize).prop_map(|(urgent, bulk)| Step::Deliver(urgent, bulk)),
        2 => Just(Step::Publish),
        1 => Just(Step::Reconnect),
    ]
}

/// The control plane, a connection with two lanes, and a door.
struct World {
    source: Source,
    live: HashMap<SessionId, i64>,
    dead: BTreeSet<SessionId>,
    ended: BTreeSet<SessionId>,
    people: Vec<(u64, &'static str)>,
    urgent: VecDeque<Down>,
    bulk: VecDeque<Down>,
    door: Door,
    time: i64,
}

impl World {
    fn send(&mut self, message: Down) {
        match message.lane() {
            Lane::Urgent => self.urgent.push_back(message),
            _ => self.bulk.push_back(message),
        }
    }

    fn deliver(&mut self, urgent: usize, bulk: usize) {
        for _ in 0..urgent {
            self.urgent.pop_front().into_iter().for_each(|message| self.door.take(message).unwrap());
        }
        for _ in 0..bulk {
            // What is not urgent never overtakes the beginning it belongs to.
            if !matches!(self.urgent.front(), Some(Down::Begin { .. })) {
                self.bulk.pop_front().into_iter().for_each(|message| self.door.take(message).unwrap());
            }
        }
    }

    fn reconnect(&mut self) {
        self.urgent.clear();
        self.bulk.clear();
        self.door.replica.interrupted();
        let missed = self.door.replica.position().and_then(|have| self.source.since(&have));
        let messages = missed.unwrap_or_else(|| {
            let sessions = SessionSnapshot {
                sessions: self.live.iter().map(|(id, at)| session(id.0.as_u128() as u64, *at)).collect(),
                tombstones: self.dead.iter().map(|id| tombstone(id.0.as_u128() as u64)).collect(),
                ..SessionSnapshot::default()
            };
            self.source.snapshot(&sessions)
        });
        messages.into_iter().for_each(|message| self.send(message));
    }

    fn change(&mut self, change: SessionChange) {
        let message = self.source.event(Event::Change(change));
        self.send(message);
    }

    fn take(&mut self, step: Step) {
        self.time += 1;
        match step {
            Step::SignIn(number) => {
                // No id is ever given twice.
                if !self.ended.contains(&session_id(number)) {
                    self.live.insert(session_id(number), self.time);
                    self.change(upsert(number, self.time));
                }
            }
            Step::SignOut(number) => {
                self.live.remove(&session_id(number));
                self.dead.insert(session_id(number));
                self.ended.insert(session_id(number));
                self.change(SessionChange::Tombstone(tombstone(number)));
            }
            Step::Forget(number) => {
                if self.dead.remove(&session_id(number)) {
                    self.change(SessionChange::Forget(session_id(number)));
                }
            }
            Step::People(number) => {
                self.people = vec![(number, "alice"), (number + 1, "bob")];
                let version = self.source.known().directory.version + 1;
                let message = self.source.publish(config(number), directory(version, &self.people));
                self.send(message);
            }
            Step::Deliver(urgent, bulk) => self.deliver(urgent, bulk),
            Step::Publish => self.door.publish(),
            Step::Reconnect => self.reconnect(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_door_always_ends_where_the_control_plane_is(steps in proptest::collection::vec(step(), 0..60)) {
        let source = source();
        let mut world = World {
            door: Door::default(),
            source,
            live: HashMap::new(),
            dead: BTreeSet::new(),
            ended: BTreeSet::new(),
            people: Vec::new(),
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            time: 0,
        };
        world.reconnect();
        for step in steps {
            world.take(step);
            let beat = world.source.beat();
            let is_current = world.urgent.is_empty() && world.bulk.is_empty() && world.door.publishing.is_empty();
            let before = world.door.confirmed;
            world.door.take(beat).unwrap();
            prop_assert_eq!(world.door.confirmed > before, is_current, "confirmed exactly when nothing is under way");
        }
        world.deliver(10_000, 10_000);
        world.door.publish();
        let live: BTreeMap<SessionId, i64> = world.live.iter().map(|(id, at)| (*id, *at)).collect();
        prop_assert_eq!(&world.door.live, &live);
        prop_assert_eq!(world.door.replica.position(), Some(world.source.position()));
        prop_assert!(world.door.replica.is_complete());
    }
}
