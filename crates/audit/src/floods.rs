//! Floods (AUD-12): refusals before authentication beyond [`PER_SECOND`] from one network for one reason become one
//! `access.flood` record per [`COALESCE_FOR`], with their exact count. Between the doors and the log; everything else passes.
//!
//! "No record, no answer" holds in this form: a counted refusal is answered at once and its record follows within
//! [`COALESCE_FOR`]; only while the log takes records. Otherwise it goes to the log, which refuses. A process killed in
//! between takes at most that much of the count with it. Never counted instead of recorded: what was allowed, and whatever
//! is about somebody known. Memory is bounded by [`MAX_SOURCES`]; beyond it records are written one by one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::record::{AuditRecord, RecordType, SubjectKind};
use model::seams::{Durability, RecordError, Recorded};
use model::{AccessId, BoxFuture, Clock, Effect, Ids, Reason, Recorder, Timestamp};

use crate::log::{AuditLog, Rung};

/// Refusals of one network for one reason that are recorded one by one in each second.
pub const PER_SECOND: u32 = 50;
/// How long the rest is counted before it is recorded.
pub const COALESCE_FOR: Duration = Duration::from_secs(10);
/// How many networks and reasons are told apart at once.
pub const MAX_SOURCES: usize = 4_096;

type Source = (Arc<str>, Reason);

/// Refusals that were counted.
#[derive(Clone, Copy)]
struct Counted {
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Default)]
struct Seen {
    second: i64,
    in_second: u32,
    counted: Option<Counted>,
}

/// The recorder doors are given.
pub struct FloodGate {
    log: Arc<AuditLog>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    sources: Mutex<HashMap<Source, Seen>>,
}

impl FloodGate {
    /// In front of `log`.
    pub fn new(log: Arc<AuditLog>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { log, clock, ids, sources: Mutex::default() }
    }

    /// Records what was counted for long enough, or everything. Called every second, and at the end.
    pub async fn flush(&self, everything: bool) {
        let now = self.clock.now();
        for (source, counted) in self.due(now, everything) {
            let record = self.record(&source, counted, now);
            if let Err(error) = self.log.append(record, Durability::Standard).await {
                tracing::error!(%error, count = counted.count, "a flood of refusals is not recorded yet");
                self.put_back(source, counted);
            }
        }
    }

    /// Whether this refusal was only counted.
    fn counts(&self, record: &AuditRecord, durability: Durability) -> bool {
        let Some(source) = source_of(record, durability) else { return false };
        let mut sources = self.lock();
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            return false;
        }
        let seen = sources.entry(source).or_default();
        let second = record.time.unix_secs();
        if seen.second != second {
            (seen.second, seen.in_second) = (second, 0);
        }
        seen.in_second = seen.in_second.saturating_add(1);
        if seen.in_second <= PER_SECOND || self.log.rung() != Rung::Well {
            return false;
        }
        let one = Counted { count: 1, first: record.time, last: record.time };
        seen.counted = Some(seen.counted.map_or(one, |before| before.and(one)));
        true
    }

    fn due(&self, now: Timestamp, everything: bool) -> Vec<(Source, Counted)> {
        let mut due = Vec::new();
        let this_second = now.unix_secs();
        self.lock().retain(|source, seen| {
            let is_due = |counted: &Counted| everything || now.since(counted.first) >= COALESCE_FOR;
            if let Some(counted) = seen.counted.take_if(|counted| is_due(counted)) {
                due.push((source.clone(), counted));
            }
            // What is forgotten here has nothing counted and begins its second anew.
            seen.counted.is_some() || seen.second >= this_second.saturating_sub(1)
        });
        due
    }

    fn put_back(&self, source: Source, counted: Counted) {
        let mut sources = self.lock();
        let seen = sources.entry(source).or_default();
        seen.counted = Some(seen.counted.map_or(counted, |since| since.and(counted)));
    }

    fn record(&self, (network, reason): &Source, counted: Counted, now: Timestamp) -> AuditRecord {
        let Counted { count, first, last } = counted;
        let access = AccessId(self.ids.uuid_v7(now));
        let mut record = AuditRecord::new(RecordType::AccessFlood, access, now, "http");
        record.count = Some(count);
        record.who.subject_kind = Some(SubjectKind::Anonymous);
        record.from.src_net = Some(Arc::clone(network));
        record.decision.effect = Some(Effect::Deny);
        record.decision.reason = Some(*reason);
        record.change.change = Some(Arc::from(format!("{count} refusals between {first} and {last}")));
        record
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Seen>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn and(self, other: Counted) -> Counted {
        Counted {
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// Where a refusal of nobody came from, and why it was one; `None` for everything that is never coalesced.
fn source_of(record: &AuditRecord, durability: Durability) -> Option<Source> {
    let is_refusal = match record.kind {
        RecordType::GateRefused => true,
        RecordType::AccessDecision => matches!(record.decision.effect, Some(Effect::Deny | Effect::StepUp)),
        _ => false,
    };
    let is_nobody = record.who.subject_id.is_none()
        && record.who.session_id.is_none()
        && matches!(record.who.subject_kind, None | Some(SubjectKind::Anonymous));
    let source = (record.from.src_net.clone()?, record.decision.reason?);
    (is_refusal && is_nobody && durability == Durability::Standard).then_some(source)
}

impl Recorder for FloodGate {
    fn append(&self, record: AuditRecord, durability: Durability) -> BoxFuture<'static, Result<Recorded, RecordError>> {
        if self.counts(&record, durability) {
            return Box::pin(std::future::ready(Ok(Recorded { seq: Recorded::UNKEPT })));
        }
        self.log.append(record, durability)
    }
}
