//! The control plane's hold on its doors: what happens is numbered once and told to each of them, the one of this
//! process and those in processes of their own (GW-55, GW-56, AUD-61, AUD-62).
//!
//! It decides nothing and waits for nobody: a gateway that cannot keep up loses its connection and asks anew. The lock is
//! held for as long as it takes to put a message into queues; no request ever waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feed::frame::Lane;
use feed::{Ack, ConfigSource, Down, Event, Position, Source};
use model::changes::SessionSnapshot;
use model::directory::Directory;
use model::seams::CutReport;
use model::{RevocationId, SessionId, Timestamp};
use pep_gateway::GatewaySnapshot;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::local_door::LocalDoor;

/// How many urgent messages may wait for a connection.
const URGENT_QUEUE: usize = 8_192;
/// How many other messages may wait for a connection, beside what it is told first.
const BULK_QUEUE: usize = 1_024;
/// How many reports of doors may wait for the control loop.
const NEWS_QUEUE: usize = 1_024;
/// How long a hand-off waits for the gateways to know the session (GW-12).
const SETTLE_LIMIT: Duration = Duration::from_millis(300);

/// What doors say, for the control loop.
pub enum News {
    /// Sessions were used at a gateway.
    Active(Vec<(SessionId, Timestamp)>),
    /// A gateway lost its connection; it serves on what it knows until then.
    Away {
        /// Which.
        door: String,
        /// Its last app closes then.
        fails_closed_at: Timestamp,
    },
    /// A gateway was removed.
    Left(String),
    /// A door carried out an order.
    Report {
        /// Which order.
        revocation: RevocationId,
        /// Which door.
        door: String,
        /// What it did.
        report: CutReport,
    },
    /// A gateway connected and is to be told everything it has not.
    Subscribe(Subscriber),
}

/// Both ends of a queue of messages.
type Queue = (mpsc::Sender<Down>, mpsc::Receiver<Down>);

/// A gateway that connected.
pub struct Subscriber {
    /// Its name.
    pub name: String,
    /// What it has.
    pub have: Option<Position>,
    /// The version of its program.
    pub software: String,
    /// Where to put urgent messages.
    pub urgent: mpsc::Sender<Down>,
    /// Where to put others.
    pub bulk: mpsc::Sender<Down>,
    /// What it is told first, however much it is.
    pub first: tokio::sync::oneshot::Sender<Vec<Down>>,
    /// Ends the connection.
    pub cancel: CancellationToken,
    /// Which connection it is.
    pub connection: u64,
    /// When it connected.
    pub since: Timestamp,
}

impl Subscriber {
    /// The queues of a new connection.
    pub fn queues() -> (Queue, Queue) {
        (mpsc::channel(URGENT_QUEUE), mpsc::channel(BULK_QUEUE))
    }
}

/// How a gateway stands.
#[derive(Clone, Debug)]
pub struct DoorStanding {
    /// Its name.
    pub name: String,
    /// Connected now.
    pub is_connected: bool,
    /// How far it has come; `None`: never heard of since this start.
    pub ack: Option<Ack>,
    /// When it was last heard of.
    pub heard: Option<Timestamp>,
    /// Why it keeps an older version, if it does.
    pub refused: Option<(u64, String)>,
    /// The version of its program.
    pub software: String,
}

/// A gateway that was admitted.
#[derive(Default)]
struct Remote {
    line: Option<Line>,
    ack: Option<Ack>,
    heard: Option<Timestamp>,
    refused: Option<(u64, String)>,
    software: String,
}

/// Its connection.
struct Line {
    connection: u64,
    urgent: mpsc::Sender<Down>,
    bulk: mpsc::Sender<Down>,
    cancel: CancellationToken,
}

struct State {
    source: Source,
    local: Vec<LocalDoor>,
    remote: BTreeMap<String, Remote>,
    keys: Arc<str>,
    longest_staleness: Duration,
}

/// The hub.
pub struct Hub {
    state: Mutex<State>,
    news: mpsc::Sender<News>,
    acked: Notify,
}

impl Hub {
    /// A hub whose history begins with these facts; the receiver is the control loop's.
    pub fn new(source: Source) -> (Arc<Self>, mpsc::Receiver<News>) {
        let (news, told) = mpsc::channel(NEWS_QUEUE);
        let longest_staleness = model::app::MAX_STALENESS_DEFAULT;
        let (local, remote, keys) = (Vec::new(), BTreeMap::new(), Arc::from("{\"keys\":[]}"));
        let state = Mutex::new(State { source, local, remote, keys, longest_staleness });
        (Arc::new(Self { state, news, acked: Notify::new() }), told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where doors send what they have to say.
    pub fn news(&self) -> mpsc::Sender<News> {
        self.news.clone()
    }

    /// A door of this process.
    pub fn add_local(&self, door: LocalDoor) {
        self.state().local.push(door);
    }

    /// A gateway that was admitted, now or before this start.
    pub fn add_remote(&self, name: &str) {
        self.state().remote.entry(name.to_owned()).or_default();
    }

    /// A gateway that is no longer one: its connection ends now.
    pub fn remove_remote(&self, name: &str) {
        if let Some(Remote { line: Some(line), .. }) = self.state().remote.remove(name) {
            line.cancel.cancel();
        }
        self.acked.notify_waiters();
    }

    /// Every door the administrator orders about; those of this process first.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        let local = state.local.iter().map(|door| door.name().to_owned()).collect();
        (local, state.remote.keys().cloned().collect())
    }

    /// The newest version of the facts.
    pub fn version(&self) -> u64 {
        self.state().source.known().version
    }

    /// The facts changed. `ready` is the same, put together for the doors of this process.
    pub fn publish(
        &self,
        config: Arc<ConfigSource>,
        directory: Arc<Directory>,
        longest_staleness: Duration,
        ready: impl Fn() -> GatewaySnapshot,
    ) {
        let mut state = self.state();
        state.longest_staleness = longest_staleness;
        state.local.iter_mut().for_each(|door| door.make_ready(ready()));
        let message = state.source.publish(config, directory);
        state.tell(&message);
    }

    /// Something happened to sessions or streams.
    pub fn event(&self, event: Event) {
        let mut state = self.state();
        let message = state.source.event(event);
        state.tell(&message);
    }

    /// The control loop lives (GW-47).
    pub fn beat(&self) {
        let mut state = self.state();
        let message = state.source.beat();
        state.tell(&message);
    }

    /// The public keys of every gateway changed.
    pub fn publish_keys(&self, keys: Arc<str>) {
        let mut state = self.state();
        state.keys = Arc::clone(&keys);
        state.tell(&Down::Keys(keys));
    }

    /// Takes a gateway up: what it has missed, or everything, then whatever comes. False: it is none of ours.
    pub fn subscribe(&self, subscriber: Subscriber, sessions: impl FnOnce() -> SessionSnapshot) -> bool {
        let mut state = self.state();
        let missed = subscriber.have.as_ref().and_then(|have| state.source.since(have));
        let mut first = missed.unwrap_or_else(|| state.source.snapshot(&sessions()));
        first.push(Down::Keys(Arc::clone(&state.keys)));
        first.push(state.source.beat());
        let Some(remote) = state.remote.get_mut(&subscriber.name) else { return false };
        let Subscriber { connection, urgent, bulk, cancel, software, since, .. } = subscriber;
        let line = Line { connection, urgent, bulk, cancel };
        // The connection that came last is the one of the process that lives.
        if let Some(older) = remote.line.replace(line) {
            older.cancel.cancel();
        }
        (remote.heard, remote.software) = (Some(since), software);
        subscriber.first.send(first).is_ok()
    }

    /// A gateway said how far it has come.
    pub fn acked(&self, name: &str, ack: Ack, now: Timestamp) {
        if let Some(remote) = self.state().remote.get_mut(name) {
            if remote.refused.as_ref().is_some_and(|(version, _)| *version < ack.facts) {
                remote.refused = None;
            }
            (remote.ack, remote.heard) = (Some(ack), Some(now));
        }
        self.acked.notify_waiters();
    }

    /// A gateway keeps an older version.
    pub fn refused(&self, name: &str, version: u64, reason: String) {
        tracing::error!(gateway = name, version, reason, "a gateway refuses a version and keeps the one before");
        if let Some(remote) = self.state().remote.get_mut(name) {
            remote.refused = Some((version, reason));
        }
    }

    /// A connection ended; `None` when another one has taken its place. Otherwise when the gateway fails closed.
    pub fn lost(&self, name: &str, connection: u64, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state();
        let longest = state.longest_staleness;
        let remote = state.remote.get_mut(name)?;
        remote.line.take_if(|line| line.connection == connection)?;
        drop(state);
        self.acked.notify_waiters();
        // It may have been told that all is well a moment before the connection broke.
        Some(now + longest)
    }

    /// When a gateway that never connected to this process closes its last app.
    pub fn fails_closed_after(&self, now: Timestamp) -> Timestamp {
        now + self.state().longest_staleness
    }

    /// How every gateway stands, and where one is that has everything.
    pub fn standings(&self) -> (Position, Vec<DoorStanding>) {
        let state = self.state();
        let standing = |(name, remote): (&String, &Remote)| DoorStanding {
            name: name.clone(),
            is_connected: remote.line.is_some(),
            ack: remote.ack,
            heard: remote.heard,
            refused: remote.refused.clone(),
            software: remote.software.clone(),
        };
        (state.source.position(), state.remote.iter().map(standing).collect())
    }

    /// The number of the newest event.
    pub fn newest_event(&self) -> u64 {
        self.state().source.position().events
    }

    /// Waits until every connected gateway has acted on all events so far, but not for long (GW-12).
    pub async fn settle(&self) {
        let goal = self.newest_event();
        let all_there = async {
            loop {
                let acked = self.acked.notified();
                let mut acked = std::pin::pin!(acked);
                // Registered before looking, so that no acknowledgement falls in between.
                acked.as_mut().enable();
                let is_behind =
                    |remote: &Remote| remote.line.is_some() && remote.ack.is_none_or(|ack| ack.events < goal);
                if !self.state().remote.values().any(is_behind) {
                    return;
                }
                acked.await;
            }
        };
        // Whoever is later asks for the session when its cookie comes.
        let _ = tokio::time::timeout(SETTLE_LIMIT, all_there).await;
    }
}

impl Line {
    /// False when the gateway cannot keep up.
    fn tell(&self, message: &Down) -> bool {
        let queue = if message.lane() == Lane::Urgent { &self.urgent } else { &self.bulk };
        queue.try_send(message.clone()).is_ok()
    }
}

impl State {
    fn tell(&mut self, message: &Down) {
        for door in &mut self.local {
            door.take(message.clone());
        }
        for (name, remote) in &self.remote {
            if let Some(line) = &remote.line
                && !line.cancel.is_cancelled()
                && !line.tell(message)
            {
                tracing::warn!(gateway = name, "a gateway cannot keep up; its connection is given up");
                line.cancel.cancel();
            }
        }
    }
}
