//! The one task that knows what a gateway process was told: it runs the machine, keeps its messages on disk, applies
//! sessions at once, and has facts compiled beside it, so that the end of a session never waits for either.
//!
//! It decides nothing. Invariants: what ends is applied before anything else is done with it; an order is reported as
//! carried out only when what it rests on is on disk; the door is confirmed only by a message of the control plane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use feed::{Down, Effect, Known, Order, Position, Replica, Up, Welcome};
use model::seams::CutReport;
use model::{Clock, RevocationId, Timestamp};
use pdp_administrator::SessionTable;
use pep_gateway::{Gateway, GatewaySnapshot};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::compile::Compiler;
use super::spool::{Entry, Spool};
use super::uplink::Uplink;

/// How many inputs may wait.
const QUEUE: usize = 4_096;
/// How often it is noted on disk that everything was current.
const STAMP_EVERY: Duration = Duration::from_secs(2);
/// How often activity is reported.
const ACTIVITY_TICK: Duration = Duration::from_secs(1);
/// The most sessions in one report of activity.
const ACTIVITY_BATCH: usize = 1_000;
/// The most reports that wait for a connection.
const MAX_UNSENT: usize = 1_000;
/// How long a report waits for the disk.
const DURABLE_LIMIT: Duration = Duration::from_secs(5);

/// A connection.
pub(super) struct Line {
    /// For what is urgent and for questions.
    pub(super) urgent: mpsc::Sender<Up>,
    /// For the rest.
    pub(super) bulk: mpsc::Sender<Up>,
    /// Ends it.
    pub(super) cancel: CancellationToken,
}

/// What the follower is told by the tasks around it.
pub(super) enum Input {
    /// A version was compiled, or not.
    Compiled(u64, Box<Result<GatewaySnapshot, String>>),
    /// There is a connection.
    Connected(Line),
    /// A connection is about to be made: what to ask for.
    Connecting(oneshot::Sender<Option<Position>>),
    /// The connection is lost.
    Lost,
    /// The doors are there.
    Opened(Arc<Gateway>),
    /// An order was carried out, and what it rests on is on disk.
    Reported(RevocationId, Box<CutReport>),
    /// A message.
    Told(Down),
    /// The first message of a connection.
    Welcomed(Welcome),
}

/// What the follower is put together from.
pub(super) struct FollowerParts {
    /// The sessions, as restored.
    pub(super) table: Arc<SessionTable>,
    /// The machine, as restored.
    pub(super) replica: Replica,
    /// The facts as restored, to be compiled first.
    pub(super) known: Option<Known>,
    /// What it was welcomed with, as restored.
    pub(super) welcome: Option<Welcome>,
    /// The state on disk.
    pub(super) spool: Spool,
    /// The way up.
    pub(super) uplink: Arc<Uplink>,
    /// The public keys of every gateway.
    pub(super) keys: Arc<ArcSwap<String>>,
    /// Told of the last event applied.
    pub(super) applied: watch::Sender<u64>,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
    /// Told of the first snapshot that is ready, and what it was welcomed with.
    pub(super) ready: oneshot::Sender<(GatewaySnapshot, Welcome)>,
}

/// Starts the follower.
pub(super) fn start(parts: FollowerParts, shutdown: CancellationToken) -> mpsc::Sender<Input> {
    let (inputs, inbox) = mpsc::channel(QUEUE);
    let FollowerParts { table, replica, known, welcome, spool, uplink, keys, applied, clock, ready } = parts;
    let follower = Follower {
        table,
        replica,
        welcome,
        spool,
        uplink,
        keys,
        applied,
        clock,
        ready: Some(ready),
        gateway: None,
        line: None,
        compiler: Arc::default(),
        is_compiling: false,
        next: known,
        stamped: Timestamp(i64::MIN),
        unsent: VecDeque::new(),
        inputs: inputs.clone(),
    };
    tokio::spawn(follower.run(inbox, shutdown));
    inputs
}

struct Follower {
    table: Arc<SessionTable>,
    replica: Replica,
    welcome: Option<Welcome>,
    spool: Spool,
    uplink: Arc<Uplink>,
    keys: Arc<ArcSwap<String>>,
    applied: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    ready: Option<oneshot::Sender<(GatewaySnapshot, Welcome)>>,
    gateway: Option<Arc<Gateway>>,
    line: Option<Line>,
    compiler: Arc<Compiler>,
    is_compiling: bool,
    /// The newest facts that are not being compiled yet.
    next: Option<Known>,
    stamped: Timestamp,
    unsent: VecDeque<Up>,
    inputs: mpsc::Sender<Input>,
}

impl Follower {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input>, shutdown: CancellationToken) {
        self.compile_next();
        let mut ticks = tokio::time::interval(ACTIVITY_TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                input = inbox.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                _ = ticks.tick() => self.report_activity(),
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Compiled(version, outcome) => self.compiled(version, *outcome),
            Input::Connected(line) => {
                self.uplink.connected(line.urgent.clone());
                for report in std::mem::take(&mut self.unsent) {
                    line.bulk.try_send(report).ok();
                }
                self.line = Some(line);
            }
            Input::Connecting(asked) => {
                self.replica.interrupted();
                self.spool.give_up();
                let have = self.replica.position().filter(|_| !self.spool.is_full());
                asked.send(have).ok();
            }
            Input::Lost => {
                self.line = None;
                self.uplink.lost();
            }
            Input::Opened(gateway) => {
                self.gateway = Some(gateway);
                // Whatever was compiled while the doors were put together.
                self.next = self.next.take().or_else(|| self.replica.known().cloned());
                self.compile_next();
            }
            Input::Reported(revocation, report) => self.report(Up::Report { revocation, report: *report }),
            Input::Told(message) => self.told(message),
            Input::Welcomed(welcome) => {
                let is_other = self.welcome.as_ref().is_some_and(|known| known.ticket_key != welcome.ticket_key);
                if is_other && self.gateway.is_some() {
                    tracing::error!("the control plane gives this gateway another key; start it again");
                }
                if self.replica.position().is_some() {
                    self.spool.append(Entry::Told(Down::Welcome(welcome.clone())));
                }
                self.welcome = Some(welcome);
            }
        }
    }

    fn told(&mut self, message: Down) {
        if let Down::Reply { ask, reply } = message {
            return self.uplink.answered(ask, reply);
        }
        if let Down::Begin { .. } = &message {
            self.spool.begin();
            if let Some(welcome) = &self.welcome {
                self.spool.append(Entry::Told(Down::Welcome(welcome.clone())));
            }
        }
        let (is_end, is_beat) = (matches!(message, Down::End), matches!(message, Down::Beat { .. }));
        if let Down::Event { event, .. } = &message
            && let feed::Event::Change(change) = &**event
        {
            self.spool.append_before(change.clone());
        }
        let kept = (!is_beat).then(|| message.clone());
        match self.replica.apply(message) {
            Ok(effects) => {
                // Applied first: what ends has ended before anything is written.
                self.apply_changes(&effects);
                if let Some(kept) = kept {
                    self.spool.append(Entry::Told(kept));
                }
                if is_end {
                    self.spool.commit();
                }
                self.carry_out(effects);
            }
            Err(broken) => {
                tracing::error!(%broken, "what this gateway is told does not fit what it knows; it asks anew");
                if let Some(line) = &self.line {
                    line.cancel.cancel();
                }
            }
        }
    }

    fn apply_changes(&self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Change(change) => self.table.apply(change),
                Effect::Keep(kept) => self.table.keep_only(kept),
                _ => {}
            }
        }
        self.applied.send_replace(self.replica.ack().events);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Acknowledge(ack) => self.say(Up::Ack(ack)),
                Effect::Confirm => self.confirm(),
                Effect::Judge(order) => self.judge(order),
                Effect::JudgeAll => self.judge_all(),
                Effect::Keys(keys) => self.keys.store(Arc::new(keys.to_string())),
                Effect::Publish(known) => {
                    self.next = Some(known);
                    self.compile_next();
                }
                Effect::Change(_) | Effect::Keep(_) => {}
            }
        }
    }

    fn confirm(&mut self) {
        if let Some(gateway) = &self.gateway {
            gateway.live_streams().heartbeat();
        }
        let now = self.clock.now();
        if now.since(self.stamped) >= STAMP_EVERY {
            self.stamped = now;
            self.spool.append(Entry::Confirmed(now));
        }
    }

    fn judge(&self, order: Order) {
        let Order { revocation, scope, cause, .. } = order;
        let (gateway, inputs, now) = (self.gateway.clone(), self.inputs.clone(), self.clock.now());
        let durable = self.spool.durable();
        tokio::spawn(async move {
            let report = match gateway {
                Some(gateway) => gateway.live_streams().reevaluate(scope, cause).await,
                // Nothing is served yet.
                None => {
                    CutReport { examined: 0, streams: Vec::new(), unproven: Vec::new(), received: now, last_cut: now }
                }
            };
            // A report is a promise that outlives this process.
            if tokio::time::timeout(DURABLE_LIMIT, durable).await == Ok(true) {
                inputs.send(Input::Reported(revocation, Box::new(report))).await.ok();
            }
        });
    }

    fn judge_all(&self) {
        if let Some(gateway) = self.gateway.clone() {
            tokio::spawn(async move {
                let (scope, cause) = (model::seams::Scope::Everything, model::seams::Cause::FactsChanged);
                gateway.live_streams().reevaluate(scope, cause).await;
            });
        }
    }

    /// Compiles the newest facts, one version at a time; what is overtaken before it began is left out.
    fn compile_next(&mut self) {
        if self.is_compiling {
            return;
        }
        let (Some(welcome), Some(known)) = (&self.welcome, self.next.take()) else { return };
        self.is_compiling = true;
        let (compiler, inputs, auth_host) =
            (Arc::clone(&self.compiler), self.inputs.clone(), welcome.auth_host.clone());
        tokio::task::spawn_blocking(move || {
            let version = known.version;
            let outcome = compiler.compile(&known, &auth_host);
            // The follower is gone when the process stops.
            inputs.blocking_send(Input::Compiled(version, Box::new(outcome))).ok();
        });
    }

    fn compiled(&mut self, version: u64, outcome: Result<GatewaySnapshot, String>) {
        self.is_compiling = false;
        match outcome {
            Ok(snapshot) => {
                match (&self.gateway, self.ready.take(), &self.welcome) {
                    (Some(gateway), _, _) => gateway.publish(snapshot),
                    (None, Some(ready), Some(welcome)) => drop(ready.send((snapshot, welcome.clone()))),
                    // The doors are being put together with an older one; see `Opened`.
                    (None, ..) => {}
                }
                let effects = self.replica.published(version);
                self.carry_out(effects);
                if let Some(gateway) = &self.gateway {
                    // Streams that only the older version allowed end by the orders that follow it.
                    tracing::debug!(version, streams = gateway.streams().len(), "a version is in force");
                }
            }
            Err(reason) => {
                tracing::error!(version, reason, "a version is refused; the one before stays in force");
                self.say(Up::Nack { facts: version, reason });
            }
        }
        self.compile_next();
    }

    fn report_activity(&mut self) {
        let Some(line) = &self.line else { return };
        let batch = self.table.drain_activity(self.clock.now());
        for piece in batch.chunks(ACTIVITY_BATCH) {
            line.bulk.try_send(Up::Active(piece.to_vec())).ok();
        }
    }

    fn report(&mut self, report: Up) {
        let unsent = match &self.line {
            Some(line) => line.bulk.try_send(report).err().map(|error| error.into_inner()),
            None => Some(report),
        };
        if let Some(report) = unsent.filter(|_| self.unsent.len() < MAX_UNSENT) {
            self.unsent.push_back(report);
        }
    }

    fn say(&self, message: Up) {
        if let Some(line) = &self.line {
            line.urgent.try_send(message).ok();
        }
    }
}
