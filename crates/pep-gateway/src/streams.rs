//! Live streams: what is under way behind a permit, and the far end of the one kill path (GW-55, GW-57, GW-58).
//!
//! Every forwarded request is a stream until its last byte. A change of facts asks the question of each stream it
//! touches again, against what the door knows *now*; those no longer allowed are cut, the others not disturbed.
//!
//! Invariants: a permit is only ever given for a stream that is in the table, and every withdrawal after the facts of
//! its decision were read reaches it (see `StreamTable::generation`); a cut is final; a reported cut has seen its
//! last byte.
//!
//! Not here: how a cut looks on the wire. The doors select on [`StreamGuard::cut`] and drop the guard after their last
//! byte.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use model::decision::StepUpContext;
use model::record::{AuditRecord, CompletionColumns, RecordType};
use model::seams::{Cause, CutReport, CutStream, Scope};
use model::{
    AccessId, AccessRequest, Action, AppName, BoxFuture, Clock, Effect, LiveStreams, Principal, Reason, Remedy,
    ResourceRef, SessionId, SessionView, StreamId, Timestamp, UserState,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connection::Protocol;
use crate::enforce::ServiceProof;
use crate::fact_builder::{self, LocalTime};
use crate::freshness::Freshness;
use crate::metrics::Metrics;
use crate::routing;
use crate::snapshot::GatewaySnapshot;

/// How long a withdrawal waits for the last byte of the streams it cut (GW-56 leaves a second for everything).
pub const CUT_CONFIRMATION: Duration = Duration::from_millis(900);
/// How often streams are looked after: whether their answer ran out, and whether their progress is due.
pub const STREAM_TICK: Duration = Duration::from_millis(250);
/// How often a stream that goes on for long says so in the record (AUD-6).
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How many streams are judged before other tasks get a turn.
const JUDGED_PER_TURN: usize = 32;

/// The streams of this door.
pub struct StreamTable {
    streams: papaya::HashMap<StreamId, Arc<Stream>>,
    next_id: AtomicU64,
    generation: AtomicU64,
    freshness: Freshness,
    snapshot: Arc<ArcSwap<GatewaySnapshot>>,
    sessions: Arc<dyn SessionView>,
    clock: Arc<dyn Clock>,
    no_fix: Arc<[Remedy]>,
    metrics: Arc<Metrics>,
}

/// What is known of a stream when it opens.
pub(crate) struct Opening {
    pub(crate) access: AccessId,
    pub(crate) protocol: Protocol,
    pub(crate) is_websocket: bool,
    pub(crate) session: Option<SessionId>,
    /// What a service account proved itself with.
    pub(crate) service: Option<ServiceProof>,
    pub(crate) client: IpAddr,
    /// Canonical host without port.
    pub(crate) host: String,
    /// The path that routes matched on, before any rewrite.
    pub(crate) routed_path: String,
    pub(crate) question: AccessRequest,
    /// Of its app (GW-47).
    pub(crate) max_staleness: Duration,
    pub(crate) hold_until: Timestamp,
    pub(crate) opened: Timestamp,
}

/// One request under way.
struct Stream {
    id: StreamId,
    opening: Opening,
    is_event_stream: AtomicBool,
    hold_until: AtomicI64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// What joins the records of this access; set once its decision is kept.
    record: OnceLock<Arc<AuditRecord>>,
    began: Instant,
    /// Intervals of [`PROGRESS_INTERVAL`] that were recorded.
    progress: AtomicU64,
    cut: CancellationToken,
    /// Cancelled after the last byte; `ended` holds the time.
    dead: CancellationToken,
    ended: AtomicI64,
}

/// The door's hold on a stream. Dropping it says: the last byte is through.
pub struct StreamGuard {
    table: Arc<StreamTable>,
    stream: Arc<Stream>,
}

impl StreamTable {
    /// An empty table that judges by whatever `snapshot` holds at the time.
    pub(crate) fn new(
        snapshot: Arc<ArcSwap<GatewaySnapshot>>,
        sessions: Arc<dyn SessionView>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            streams: papaya::HashMap::new(),
            next_id: AtomicU64::new(1),
            generation: AtomicU64::new(0),
            freshness: Freshness::new(),
            snapshot,
            sessions,
            clock,
            no_fix: Arc::from([]),
            metrics,
        })
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves with every withdrawal, before it looks at the table.
    ///
    /// A request reads this before it reads any fact and again after its stream is in the table. If it moved, the
    /// withdrawal may have walked past before the stream was there, so the request judges itself again; if not, any
    /// later withdrawal finds the stream. There is no gap between the two.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Puts a stream into the table.
    pub(crate) fn register(self: &Arc<Self>, opening: Opening) -> StreamGuard {
        let id = StreamId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let stream = Arc::new(Stream {
            id,
            hold_until: AtomicI64::new(opening.hold_until.0),
            opening,
            is_event_stream: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            record: OnceLock::new(),
            began: Instant::now(),
            progress: AtomicU64::new(0),
            cut: CancellationToken::new(),
            dead: CancellationToken::new(),
            ended: AtomicI64::new(0),
        });
        self.streams.pin().insert(id, Arc::clone(&stream));
        StreamGuard { table: Arc::clone(self), stream }
    }

    /// What this door knows was already this old when it began.
    pub(crate) fn begin_older(&self, age: Duration) {
        self.freshness.begin_older(age);
    }

    /// Whether nobody has confirmed for `limit` what this door knows.
    pub(crate) fn is_stale(&self, limit: Duration) -> bool {
        self.freshness.is_past(limit)
    }

    /// Judges every stream whose `hold_until` or staleness limit has passed.
    pub(crate) async fn judge_expired(&self) {
        let now = self.clock.now();
        let due = self.select(|stream| {
            stream.hold_until.load(Ordering::Relaxed) <= now.0 || self.is_stale(stream.opening.max_staleness)
        });
        for (index, stream) in due.iter().enumerate() {
            self.judge(stream);
            if index % JUDGED_PER_TURN == JUDGED_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The progress records that are due: one for each stream that has flowed another [`PROGRESS_INTERVAL`].
    pub(crate) fn take_progress(&self) -> Vec<AuditRecord> {
        let (now, time) = (Instant::now(), self.clock.now());
        self.streams.pin().values().filter_map(|stream| stream.take_progress(now, time)).collect()
    }

    fn select(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<Arc<Stream>> {
        self.streams.pin().values().filter(|stream| wanted(stream)).cloned().collect()
    }

    /// Asks the stream's question again; cuts it unless the answer is ALLOW. True when it was cut now.
    fn judge(&self, stream: &Stream) -> bool {
        if stream.cut.is_cancelled() {
            return false;
        }
        // A panic while judging is a withdrawal: an error on the decision path closes.
        match catch_unwind(AssertUnwindSafe(|| self.answer_until(stream))).unwrap_or(None) {
            Some(hold_until) => {
                stream.hold_until.store(hold_until.0, Ordering::Relaxed);
                false
            }
            None => {
                stream.cut.cancel();
                self.metrics.cut();
                true
            }
        }
    }

    /// Until when the stream may go on by what is known now; `None` when it may not.
    fn answer_until(&self, stream: &Stream) -> Option<Timestamp> {
        let now = self.clock.now();
        let opening = &stream.opening;
        let session = match opening.session {
            Some(id) => Some(self.sessions.session(id, now)?),
            None => None,
        };
        let snapshot = self.snapshot.load_full();
        if let Principal::User(id) = &opening.question.principal {
            let user = snapshot.directory.users.get(id)?;
            if user.state != UserState::Active {
                return None;
            }
        }
        // Routes with their actions, public paths and the networks that rules name are facts too: what now covers the
        // path is what is asked about.
        let mut question = opening.question.clone();
        let method = question.facts.request.method.as_str();
        let routed = snapshot.routing.host(&opening.host)?.route(&opening.routed_path, method)?;
        if self.is_stale(routed.app.max_staleness) {
            return None;
        }
        let ends = match &opening.service {
            Some(proof) => Some(proof.standing(&snapshot.directory, &routed.app.name, now)?.1),
            None => None,
        };
        question.is_public_path = routing::is_public(&routed.app, method, &opening.routed_path);
        question.resource = ResourceRef { app: routed.app.name.clone(), route: Some(routed.route.name.clone()) };
        question.action = routed.route.action.unwrap_or_else(|| Action::of_http_method(method));
        routed.route.name.as_str().clone_into(&mut question.facts.request.route);
        question.facts.net.zones = fact_builder::zones(&routed.app, opening.client);
        let clock = LocalTime { now, zone: &snapshot.time_zone, app: &routed.app };
        let mut question = fact_builder::refresh(question, session.as_deref(), clock);
        if ends.is_some() {
            question.session_ends = ends;
            fact_builder::add_machine(&mut question.facts);
        }
        // Nobody waits at a stream to be told what would mend it.
        question.step_up = StepUpContext { only_fix: Some(Arc::clone(&self.no_fix)), ..StepUpContext::default() };
        let decision = snapshot.pdp.decide(&question, now);
        if decision.reason == Reason::PolicyError {
            self.metrics.policy_error(now);
        }
        let until = ends.map_or(decision.hold_until, |ends| decision.hold_until.min(ends));
        (decision.effect == Effect::Allow).then_some(until)
    }

    async fn reevaluate_scope(&self, scope: Scope, cause: Cause) -> CutReport {
        let received = self.clock.now();
        self.generation.fetch_add(1, Ordering::SeqCst);
        let touched = self.select(|stream| is_touched(stream, &scope));
        let (mut cut, mut earlier) = (Vec::new(), Vec::new());
        for (index, stream) in touched.iter().enumerate() {
            if self.judge(stream) {
                cut.push(stream);
            } else if stream.cut.is_cancelled() {
                // Reported by whoever cut it, but as long as it is dying nobody may say that it is dead.
                earlier.push(stream);
            }
            if index % JUDGED_PER_TURN == JUDGED_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        let wait = async {
            for stream in cut.iter().chain(&earlier) {
                stream.dead.cancelled().await;
            }
        };
        // Running into the limit is told by what is still alive.
        let _ = tokio::time::timeout(CUT_CONFIRMATION, wait).await;
        let (dead, alive): (Vec<&Stream>, Vec<&Stream>) =
            cut.into_iter().map(|stream| &**stream).partition(|stream| stream.dead.is_cancelled());
        let mut streams: Vec<CutStream> = dead.into_iter().map(Stream::report).collect();
        streams.sort_by_key(|stream| stream.stream);
        let dying = earlier.into_iter().map(|stream| &**stream).filter(|stream| !stream.dead.is_cancelled());
        let mut unproven: Vec<AccessId> = alive.into_iter().chain(dying).map(|stream| stream.opening.access).collect();
        unproven.sort();
        let last_cut = if unproven.is_empty() {
            streams.iter().map(|stream| stream.cut).max().unwrap_or(received)
        } else {
            tracing::error!(
                streams = unproven.len(),
                reason = cause.as_str(),
                "cut streams have not confirmed their end"
            );
            self.clock.now()
        };
        CutReport { examined: touched.len(), streams, unproven, received, last_cut }
    }
}

impl LiveStreams for StreamTable {
    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, CutReport> {
        Box::pin(self.reevaluate_scope(scope, cause))
    }

    fn heartbeat(&self) {
        self.freshness.stamp();
    }
}

/// Whether a change in `scope` can touch the stream.
///
/// A group touches everybody: who has just left it is no longer found in it, and judging too many is only work.
fn is_touched(stream: &Stream, scope: &Scope) -> bool {
    let opening = &stream.opening;
    match scope {
        Scope::Apps(apps) => apps.contains(&opening.question.resource.app),
        Scope::Everything => true,
        Scope::Group(_) => matches!(opening.question.principal, Principal::User(_)),
        Scope::Session(id) => opening.session == Some(*id),
        Scope::User(id) => opening.question.principal == Principal::User(*id),
    }
}

impl Stream {
    fn protocol(&self) -> &'static str {
        if self.opening.is_websocket {
            "websocket"
        } else if self.is_event_stream.load(Ordering::Relaxed) {
            "sse"
        } else {
            self.opening.protocol.as_str()
        }
    }

    fn app(&self) -> &AppName {
        &self.opening.question.resource.app
    }

    fn take_progress(&self, now: Instant, time: Timestamp) -> Option<AuditRecord> {
        let intervals = now.duration_since(self.began).as_secs() / PROGRESS_INTERVAL.as_secs();
        if self.progress.load(Ordering::Relaxed) >= intervals {
            return None;
        }
        let mut record = AuditRecord::clone(self.record.get()?);
        self.progress.store(intervals, Ordering::Relaxed);
        record.kind = RecordType::AccessProgress;
        record.time = time;
        record.completion = CompletionColumns {
            bytes_in: Some(self.bytes_in.load(Ordering::Relaxed)),
            bytes_out: Some(self.bytes_out.load(Ordering::Relaxed)),
            duration_ns: u64::try_from(time.since(self.opening.opened).as_nanos()).ok(),
            ..CompletionColumns::default()
        };
        Some(record)
    }

    fn report(&self) -> CutStream {
        CutStream {
            stream: self.id,
            access: self.opening.access,
            protocol: self.protocol(),
            app: self.app().clone(),
            principal: self.opening.question.principal.clone(),
            opened: self.opening.opened,
            cut: Timestamp(self.ended.load(Ordering::SeqCst)),
            bytes_in: self.bytes_in.load(Ordering::SeqCst),
            bytes_out: self.bytes_out.load(Ordering::SeqCst),
        }
    }
}

impl StreamGuard {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.stream.id
    }

    /// Resolves when the stream is withdrawn; after that no byte may pass either way.
    pub async fn cut(&self) {
        self.stream.cut.cancelled().await;
    }

    /// Whether the stream was withdrawn. Doors ask before each write.
    pub fn is_cut(&self) -> bool {
        self.stream.cut.is_cancelled()
    }

    /// A token of the cut for a second task of the same request.
    pub fn cut_token(&self) -> CancellationToken {
        self.stream.cut.clone()
    }

    /// Counts body bytes that passed from the client.
    pub fn count_in(&self, bytes: usize) {
        self.stream.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts body bytes that passed to the client.
    pub fn count_out(&self, bytes: usize) {
        self.stream.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Body bytes from the client so far.
    pub fn bytes_in(&self) -> u64 {
        self.stream.bytes_in.load(Ordering::Relaxed)
    }

    /// Body bytes to the client so far.
    pub fn bytes_out(&self) -> u64 {
        self.stream.bytes_out.load(Ordering::Relaxed)
    }

    /// The response is `text/event-stream`: receipts name it so.
    pub fn note_event_stream(&self) {
        self.stream.is_event_stream.store(true, Ordering::Relaxed);
    }

    /// The decision is kept: from now on there is something to report progress of.
    pub(crate) fn note_record(&self, record: Arc<AuditRecord>) {
        // A permit is armed once.
        let _ = self.stream.record.set(record);
    }

    /// Whose session it is.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.stream.opening.session
    }

    /// Whose address the request came from.
    pub(crate) fn client(&self) -> IpAddr {
        self.stream.opening.client
    }

    /// Whether what allowed the stream still does: an answer past its `hold_until` is asked for again (GW-72).
    pub(crate) fn still_holds(&self) -> bool {
        if self.table.clock.now().0 >= self.stream.hold_until.load(Ordering::Relaxed) {
            self.judge_again();
        }
        !self.is_cut()
    }

    /// Judges the stream again by what is known now; cuts it unless still allowed.
    pub(crate) fn judge_again(&self) {
        self.table.judge(&self.stream);
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.stream.ended.store(self.table.clock.now().0, Ordering::SeqCst);
        self.table.streams.pin().remove(&self.stream.id);
        self.stream.dead.cancel();
    }
}
