//! The gateway itself: what it was started with, the snapshot it decides by, the streams it holds.
//!
//! Not here: sockets (`listener`, `doors`), and any decision; [`crate::enforce`] asks for those.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::seams::{Durability, FixBudget};
use model::{AccessId, Clock, DecisionId, Ids, LiveStreams, Recorder, ReservedService, SessionView, Timestamp};
use pki::jose::KeyRing;
use pki::seal::Sealer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assertion::Assertions;
use crate::metrics::{Metrics, Sample};
use crate::snapshot::GatewaySnapshot;
use crate::streams::{STREAM_TICK, StreamTable};
use crate::wrong_tokens::WrongTokens;

/// What of the configuration the gateway itself reads.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// `https://auth.corp.test` or `https://localhost:8443`: no slash at the end. Also the issuer of assertions.
    pub auth_url: String,
}

/// What a gateway is put together from.
pub struct GatewayParts {
    /// Settings.
    pub settings: GatewaySettings,
    /// The first snapshot.
    pub snapshot: GatewaySnapshot,
    /// Sessions.
    pub sessions: Arc<dyn SessionView>,
    /// Where records go.
    pub recorder: Arc<dyn Recorder>,
    /// Our own endpoints.
    pub reserved: Arc<dyn ReservedService>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Seals return targets; the auth host opens them with the same key.
    pub return_sealer: Arc<Sealer>,
    /// Signs assertions; a rotation stores a new ring here (GW-29).
    pub assertion_keys: Arc<ArcSwap<KeyRing>>,
    /// Bounds how often a person is told how to mend a refusal (PO-11).
    pub fixes: Arc<dyn FixBudget>,
}

/// The policy enforcement point for people (SP 800-207 §3). Shared by all doors of the process.
pub struct Gateway {
    pub(crate) settings: GatewaySettings,
    pub(crate) snapshot: Arc<ArcSwap<GatewaySnapshot>>,
    pub(crate) sessions: Arc<dyn SessionView>,
    pub(crate) recorder: Arc<dyn Recorder>,
    reserved: Arc<dyn ReservedService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) return_sealer: Arc<Sealer>,
    pub(crate) assertions: Assertions,
    pub(crate) fixes: Arc<dyn FixBudget>,
    pub(crate) wrong_tokens: WrongTokens,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<StreamTable>,
    /// Completion records on their way to the log.
    pub(crate) completions: TaskTracker,
}

impl Gateway {
    /// A gateway over `parts`.
    pub fn new(parts: GatewayParts) -> Arc<Self> {
        let snapshot = Arc::new(ArcSwap::from_pointee(parts.snapshot));
        let metrics = Arc::new(Metrics::default());
        let (sessions, clock) = (Arc::clone(&parts.sessions), Arc::clone(&parts.clock));
        let streams = StreamTable::new(Arc::clone(&snapshot), sessions, clock, Arc::clone(&metrics));
        Arc::new(Self {
            settings: parts.settings,
            snapshot,
            sessions: parts.sessions,
            recorder: parts.recorder,
            reserved: parts.reserved,
            clock: parts.clock,
            ids: parts.ids,
            return_sealer: parts.return_sealer,
            assertions: Assertions::new(parts.assertion_keys),
            fixes: parts.fixes,
            wrong_tokens: WrongTokens::default(),
            metrics,
            streams,
            completions: TaskTracker::new(),
        })
    }

    /// Makes `snapshot` the one that requests are decided by from now on. Open streams are not judged by this; call
    /// [`LiveStreams::reevaluate`] afterwards (GW-78).
    pub fn publish(&self, snapshot: GatewaySnapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// What requests are decided by now.
    pub fn snapshot(&self) -> Arc<GatewaySnapshot> {
        self.snapshot.load_full()
    }

    /// What the gateway was put together with was already this old; counts until the first heartbeat (GW-47).
    pub fn note_age(&self, age: std::time::Duration) {
        self.streams.begin_older(age);
    }

    /// The live streams, for the one kill path.
    pub fn live_streams(&self) -> Arc<dyn LiveStreams> {
        Arc::clone(&self.streams) as Arc<dyn LiveStreams>
    }

    /// The table of live streams.
    pub fn streams(&self) -> &Arc<StreamTable> {
        &self.streams
    }

    /// What the door counted since it started, and what is under way.
    pub fn samples(&self) -> Vec<Sample> {
        self.metrics.samples(self.streams.len())
    }

    /// Our own endpoints.
    pub fn reserved(&self) -> &Arc<dyn ReservedService> {
        &self.reserved
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks after open streams until `shutdown`: cuts those whose answer ran out and is not given again (GW-55), and
    /// records the progress of long ones (AUD-6). The binary owns this task.
    pub async fn run_stream_timer(self: Arc<Self>, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(STREAM_TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.streams.judge_expired().await;
            for record in self.streams.take_progress() {
                self.append_in_background(record, Durability::Standard);
            }
        }
    }

    /// Waits until every completion record is kept. Call it when the doors are closed, before the log is.
    pub async fn finish_records(&self) {
        self.completions.close();
        self.completions.wait().await;
    }

    pub(crate) fn new_access_id(&self, now: Timestamp) -> AccessId {
        AccessId(self.ids.uuid_v7(now))
    }

    pub(crate) fn new_decision_id(&self, now: Timestamp) -> DecisionId {
        DecisionId(self.ids.uuid_v7(now))
    }
}
