//! The traits over which rooms talk. Each has a fake in `testkit`.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::app::AppName;
use crate::decision::{AccessRequest, Decision, Explanation, Fix, Principal, Remedy};
use crate::directory::GroupId;
use crate::ids::{AccessId, DecisionId, RevocationId, SessionId, StreamId, TokenHash, UserId};
use crate::record::AuditRecord;
use crate::session::{Session, SessionLookup};
use crate::time::Timestamp;

/// A boxed future, for traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides. Synchronous and pure: equal arguments, equal answer. An object of this trait is one
/// immutable version of policies, directory and apps; a new version is a new object.
pub trait PolicyDecisionPoint: Send + Sync {
    /// The answer. Never fails: an error while deciding is a DENY with its reason.
    fn decide(&self, request: &AccessRequest, now: Timestamp) -> Decision;

    /// The answer with everything two readers need to understand it (PO-15).
    fn explain(&self, request: &AccessRequest, now: Timestamp) -> Explanation;

    /// Every irreducible set of remedies that would open it, cheapest first (PO-39 `--ways-in`). For people who
    /// administer; a door never asks this.
    fn ways_in(&self, request: &AccessRequest, now: Timestamp) -> Vec<Vec<Fix>>;
}

/// The sessions as doors read them: memory only, no lock wait.
pub trait SessionView: Send + Sync {
    /// What the cookie with this hash stands for on `host` (canonical, without port).
    fn look_up(&self, token: &TokenHash, host: &str, now: Timestamp) -> SessionLookup;

    /// A session by id, if it is live.
    fn session(&self, id: SessionId, now: Timestamp) -> Option<Arc<Session>>;

    /// Reports activity; cheap, lossy, at most one report a minute per session leaves it (GW-45).
    fn touch(&self, id: SessionId, now: Timestamp);

    /// Whether there may be sessions that this view does not know yet; then [`Self::find`] is worth asking.
    fn may_lag(&self) -> bool {
        false
    }

    /// Resolves, soon, once a cookie unknown here is known or there is no use in waiting (GW-12). Look it up again then.
    fn find<'a>(&'a self, token: TokenHash, host: &'a str) -> BoxFuture<'a, ()> {
        let _ = (token, host);
        Box::pin(std::future::ready(()))
    }
}

/// Counts how often a person was told how to mend a refusal, so that the answers do not become an oracle (PO-11).
/// Memory only, no lock wait.
pub trait FixBudget: Send + Sync {
    /// The last set to repeat when `principal` used up its computations on `app` in this minute; `None`: compute afresh.
    fn exhausted(&self, principal: &Principal, app: &AppName, now: Timestamp) -> Option<Arc<[Remedy]>>;

    /// Notes a computed set.
    fn computed(&self, principal: &Principal, app: &AppName, fix: &[Remedy], now: Timestamp);
}

/// Why access is withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// The configuration or a policy changed.
    ConfigApplied,
    /// The session ran out or the answer's `hold_until` passed.
    Expired,
    /// Memberships or attributes changed.
    FactsChanged,
    /// The session was revoked.
    SessionRevoked,
    /// The person signed out.
    SignedOut,
    /// The person was disabled or deleted.
    UserDisabled,
}

impl Cause {
    /// Every cause.
    pub const ALL: &'static [Cause] = &[
        Cause::ConfigApplied,
        Cause::Expired,
        Cause::FactsChanged,
        Cause::SessionRevoked,
        Cause::SignedOut,
        Cause::UserDisabled,
    ];

    /// The word in receipts and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::ConfigApplied => "config_applied",
            Cause::Expired => "expired",
            Cause::FactsChanged => "facts_changed",
            Cause::SessionRevoked => "session_revoked",
            Cause::SignedOut => "signed_out",
            Cause::UserDisabled => "user_disabled",
        }
    }
}

/// Which live streams a change touches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Streams of these apps.
    Apps(Vec<AppName>),
    /// Every stream.
    Everything,
    /// Streams of everybody in this group.
    Group(GroupId),
    /// Streams of one session.
    Session(SessionId),
    /// Streams of one person.
    User(UserId),
}

/// A stream that was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutStream {
    /// Which.
    pub stream: StreamId,
    /// Its access.
    pub access: AccessId,
    /// `websocket`, `sse`, `http1`, `h2`.
    pub protocol: &'static str,
    /// Its app.
    pub app: AppName,
    /// Whose.
    pub principal: Principal,
    /// When it opened.
    pub opened: Timestamp,
    /// After its last byte.
    pub cut: Timestamp,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// What a door did about a withdrawal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CutReport {
    /// How many streams were looked at.
    pub examined: usize,
    /// Those cut, in order of stream id.
    pub streams: Vec<CutStream>,
    /// Those ordered to be cut whose last byte nobody has confirmed in time: the report does not prove them dead.
    pub unproven: Vec<AccessId>,
    /// When the order arrived.
    pub received: Timestamp,
    /// When the last stream was dead; equal to `received` when nothing was open. With unproven streams, when waiting for
    /// them ended.
    pub last_cut: Timestamp,
}

/// The live streams of a door: the far end of the one kill path.
pub trait LiveStreams: Send + Sync {
    /// Judges every stream in `scope` afresh against what the door now knows, cuts those no longer allowed, leaves
    /// the others alone, and answers after the last byte of the last cut stream.
    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, CutReport>;

    /// The control loop lives, so what the door knows is current (GW-47). Without it the door closes app by app, each
    /// after its `max_staleness`.
    fn heartbeat(&self) {}
}

/// How sure a record must be before the caller goes on (AUD-17).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Durability {
    /// Written to the log file; survives the process being killed.
    Standard,
    /// Synced to disk; survives power loss.
    Strict,
}

/// Where a record went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its sequence number in this node's log, or [`Recorded::UNKEPT`].
    pub seq: u64,
}

impl Recorded {
    /// Not in the log: the operator chose that standard accesses go on while it cannot write. The log counts them and
    /// says how many when it can again (AUD-18).
    pub const UNKEPT: u64 = u64::MAX;
}

/// A record could not be kept; the caller must refuse what it was about to do (AUD-18).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot take the record: {cause}; free space in its directory or mend the disk")]
pub struct RecordError {
    /// What the log said.
    pub cause: String,
}

/// Keeps records.
pub trait Recorder: Send + Sync {
    /// Appends; the future resolves when the record is as durable as asked.
    fn append(&self, record: AuditRecord, durability: Durability) -> BoxFuture<'static, Result<Recorded, RecordError>>;
}

/// Takes facts from rooms that learn them (risk, devices). Nothing emits one yet beside the directory.
pub trait SignalSink: Send + Sync {
    /// The facts of these people moved; live streams must be judged afresh.
    fn facts_changed(&self, scope: Scope, cause: Cause);
}

/// What comes of ending sessions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocation {
    /// Its id.
    pub id: RevocationId,
    /// Why.
    pub cause: Cause,
    /// When it was durably accepted.
    pub accepted: Timestamp,
    /// Sessions that ended.
    pub sessions: Vec<SessionId>,
    /// What each door did.
    pub reports: Vec<(String, CutReport)>,
    /// Doors that did not answer in time, and when each stops serving on what it knew before (GW-58).
    pub unreachable: Vec<(String, Timestamp)>,
    /// The signed receipts (compact JWS), one per door that answered.
    pub receipts: Vec<String>,
}

/// A control operation failed; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such session.
    #[error("no session `{0}` is live")]
    NoSession(SessionId),
    /// The administrator refused, in its words.
    #[error("{0}")]
    Refused(String),
    /// The store refused.
    #[error("the store cannot keep the change: {0}")]
    Store(String),
    /// The record refused.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The process is stopping.
    #[error("the server is stopping; try again")]
    Stopping,
}

/// Opens and ends sessions. Every way to withdraw access goes through here (ID-58).
pub trait SessionControl: Send + Sync {
    /// Makes a session durable, then known to the doors.
    fn open(&self, session: Session) -> BoxFuture<'_, Result<(), ControlError>>;

    /// Gives a host a cookie for the session; earlier cookies of that host live [`crate::session::ROTATION_GRACE`]
    /// longer.
    fn bind_host(&self, session: SessionId, host: String, token: TokenHash) -> BoxFuture<'_, Result<(), ControlError>>;

    /// Notes a completed step-up; with a `proof`, the session's level rises to it.
    fn step_up(
        &self,
        session: SessionId,
        step_up: crate::session::StepUp,
        proof: Option<crate::session::Proof>,
    ) -> BoxFuture<'_, Result<(), ControlError>>;

    /// Ends one session everywhere and cuts its streams.
    fn end(&self, session: SessionId, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>>;

    /// Ends every session of a person made under an epoch below `epoch`, which the directory already keeps (ID-58).
    fn end_all(&self, user: UserId, epoch: u64, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>>;

    /// Judges live streams afresh after facts changed and the new snapshot is published.
    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>>;

    /// Live sessions, newest first.
    fn sessions(&self) -> Vec<Arc<Session>>;
}

/// What a door knows about a request it hands to one of our own endpoints in process.
#[derive(Clone, Debug)]
pub struct ReservedContext {
    /// The access this is part of.
    pub access_id: AccessId,
    /// The decision that let it through.
    pub decision_id: DecisionId,
    /// Trace id, 32 hex digits.
    pub trace_id: Arc<str>,
    /// Who asks.
    pub principal: Principal,
    /// Their live session on this host.
    pub session: Option<Arc<Session>>,
    /// SHA-256 of the login-binding cookie of this browser on this host, when exactly one came (ID-55).
    pub login_binding: Option<TokenHash>,
    /// Canonical host without port.
    pub host: String,
    /// The authority browsers used, with port where it is not the default.
    pub authority: String,
    /// Client address after trusted peers.
    pub client: SocketAddr,
    /// On an app host: which app. `None` on the auth host.
    pub app: Option<AppName>,
    /// Now.
    pub now: Timestamp,
}

/// Our own endpoints (`/.countersign/*` on app hosts, everything on the auth host), served in process.
pub trait ReservedService: Send + Sync {
    /// Answers. The body was read whole within the limit of GW-83; [`ReservedContext`] is in the extensions.
    fn call(&self, request: http::Request<bytes::Bytes>) -> BoxFuture<'_, http::Response<bytes::Bytes>>;

    /// Keeps a return target too long for a link (GW-12) and gives the key that [`Self::call`] finds it by;
    /// `None` when too many are kept already.
    fn park_target(&self, target: &str, now: Timestamp) -> Option<String>;
}

/// Tells the time. Only the binary has a real one.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// The wall clock as it is, which may run backwards; for whoever watches it (AUD-13), and for nobody else.
    fn wall(&self) -> Timestamp {
        self.now()
    }
}

/// Makes ids and randomness. Only the binary has a real one.
pub trait Ids: Send + Sync {
    /// A UUIDv7 for `now`.
    fn uuid_v7(&self, now: Timestamp) -> uuid::Uuid;

    /// Fills with cryptographic randomness.
    fn fill_random(&self, bytes: &mut [u8]);
}
