//! How the log fails (AUD-18): what it does when a record cannot be kept, and how it says so afterwards. Exact counts of
//! what was not kept wait here until the disk is back and become one `audit.gap` record.
//!
//! Invariant: nothing that was not kept is forgotten while the process lives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::Timestamp;
use model::record::RecordType;
use model::seams::{Durability, RecordError, Recorded};

use super::own_records::least_durability;
use super::walk::Hole;
use crate::alerts::{AlertKind, Alerts};

/// A committer that is busy with one batch for so long is stuck: nobody is made to wait for it any more.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);
/// How many holes wait for their record; more are one hole without numbers.
const MAX_HOLES: usize = 64;

/// What becomes of an access when its record cannot be kept (AUD-18). Strict records are always refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Deny,
    /// It goes on; how many did is recorded when the disk is back.
    AllowMarked,
}

impl OnFailure {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Deny => "deny",
            OnFailure::AllowMarked => "allow_marked",
        }
    }
}

/// Records that were not kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unkept {
    /// What they were for was refused.
    pub refused: u64,
    /// What they were for went on without a record.
    pub allowed: u64,
    /// They told of the end or the progress of an access.
    pub ends: u64,
    /// The first and the last.
    pub between: Option<(Timestamp, Timestamp)>,
    /// What the log said last.
    pub cause: String,
}

impl Unkept {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.refused.saturating_add(self.allowed).saturating_add(self.ends)
    }

    fn note(&mut self, at: Timestamp) {
        let (first, last) = self.between.unwrap_or((at, at));
        self.between = Some((first.min(at), last.max(at)));
    }

    fn add(&mut self, other: Unkept) {
        self.refused = self.refused.saturating_add(other.refused);
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.ends = self.ends.saturating_add(other.ends);
        if let Some((first, last)) = other.between {
            self.note(first);
            self.note(last);
        }
        if self.cause.is_empty() {
            self.cause = other.cause;
        }
    }
}

/// What the doors and the operator are told about the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rung {
    /// Records are kept.
    Well,
    /// Records cannot be kept; every request that needs one is refused.
    Refusing,
    /// Records cannot be kept; standard accesses go on and are counted.
    AllowingMarked,
}

impl Rung {
    /// `well`, `refusing` or `allowing_marked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Rung::Well => "well",
            Rung::Refusing => "refusing",
            Rung::AllowingMarked => "allowing_marked",
        }
    }
}

#[derive(Default)]
struct State {
    busy_since: Option<Instant>,
    is_failing: bool,
    is_closed: bool,
    wants_mending: bool,
    unkept: Unkept,
    holes: VecDeque<Hole>,
    holes_beyond: u64,
}

pub(crate) struct Ladder {
    pub(crate) alerts: Arc<Alerts>,
    on_failure: OnFailure,
    state: Mutex<State>,
}

impl Ladder {
    pub(crate) fn new(alerts: Arc<Alerts>, on_failure: OnFailure) -> Self {
        Self { alerts, on_failure, state: Mutex::default() }
    }

    pub(crate) fn rung(&self) -> Rung {
        match (self.lock().is_failing || self.is_stuck(), self.on_failure) {
            (false, _) => Rung::Well,
            (true, OnFailure::Deny) => Rung::Refusing,
            (true, OnFailure::AllowMarked) => Rung::AllowingMarked,
        }
    }

    /// The committer takes up a batch, or has put it down.
    pub(crate) fn busy(&self, is_busy: bool) {
        self.lock().busy_since = is_busy.then(Instant::now);
    }

    /// Whether waiting for the committer is no use.
    pub(crate) fn is_stuck(&self) -> bool {
        self.lock().busy_since.is_some_and(|since| since.elapsed() > STUCK_AFTER)
    }

    /// A write or sync went wrong.
    pub(crate) fn failed(&self, error: &std::io::Error) {
        let was_failing = std::mem::replace(&mut self.lock().is_failing, true);
        if !was_failing {
            tracing::error!(%error, on_failure = self.on_failure.as_str(), "the audit log cannot write");
        }
        let is_full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        self.alerts.raise(if is_full { AlertKind::DiskFull } else { AlertKind::DiskError }, &error.to_string());
    }

    /// Everything written is on the disk.
    pub(crate) fn succeeded(&self) {
        let was_failing = std::mem::replace(&mut self.lock().is_failing, false);
        if was_failing {
            tracing::info!("the audit log takes records again");
            self.alerts.clear(AlertKind::DiskFull);
            self.alerts.clear(AlertKind::DiskError);
        }
    }

    /// Turns a refusal of the log into what the rung says, and counts it.
    pub(crate) fn settle(
        &self,
        answer: Result<Recorded, RecordError>,
        (kind, durability, time): (RecordType, Durability, Timestamp),
    ) -> Result<Recorded, RecordError> {
        let Err(error) = answer else { return answer };
        let mut state = self.lock();
        let is_standard =
            !state.is_closed && durability == Durability::Standard && least_durability(kind) == Durability::Standard;
        let unkept = &mut state.unkept;
        unkept.note(time);
        error.cause.clone_into(&mut unkept.cause);
        match kind {
            RecordType::AccessCompletion | RecordType::AccessProgress => unkept.ends = unkept.ends.saturating_add(1),
            RecordType::AccessDecision if is_standard && self.on_failure == OnFailure::AllowMarked => {
                unkept.allowed = unkept.allowed.saturating_add(1);
                return Ok(Recorded { seq: Recorded::UNKEPT });
            }
            _ => unkept.refused = unkept.refused.saturating_add(1),
        }
        Err(error)
    }

    /// What is not kept from now on can never be told: nothing goes on without a record.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// The file of the log has to be laid down again.
    pub(crate) fn call_for_mending(&self) {
        self.lock().wants_mending = true;
    }

    pub(crate) fn take_call_for_mending(&self) -> bool {
        std::mem::take(&mut self.lock().wants_mending)
    }

    /// Records are missing; the log is going to say so.
    pub(crate) fn lost(&self, holes: &[Hole]) {
        let mut state = self.lock();
        for hole in holes {
            if state.holes.len() < MAX_HOLES {
                state.holes.push_back(hole.clone());
            } else {
                state.holes_beyond = state.holes_beyond.saturating_add(hole.records.max(1));
            }
        }
        drop(state);
        for hole in holes {
            self.alerts.raise(AlertKind::Gap, &hole.to_string());
        }
    }

    /// The oldest hole the record does not speak of.
    pub(crate) fn next_hole(&self) -> Option<Hole> {
        self.lock().holes.front().cloned()
    }

    pub(crate) fn hole_is_recorded(&self, hole: &Hole) {
        let mut state = self.lock();
        if state.holes.front() == Some(hole) {
            state.holes.pop_front();
        }
        if state.holes.is_empty() && state.holes_beyond > 0 {
            let records = std::mem::take(&mut state.holes_beyond);
            let why = "too many holes at once to name each".to_owned();
            state.holes.push_back(Hole { file: hole.file.clone(), first_seq: hole.first_seq, records, why });
        }
    }

    /// What was not kept so far; given back with [`Self::still_unkept`] when it could not be recorded either.
    pub(crate) fn take_unkept(&self) -> Option<Unkept> {
        let mut state = self.lock();
        (state.unkept.total() > 0).then(|| std::mem::take(&mut state.unkept))
    }

    pub(crate) fn still_unkept(&self, unkept: Unkept) {
        self.lock().unkept.add(unkept);
    }

    pub(crate) fn unkept(&self) -> Unkept {
        self.lock().unkept.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
