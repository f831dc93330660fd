//! Floods (AUD-12): refusals before authentication beyond [`PER_SECOND`] from one network for one reason become one
//! `access.flood` record per [`COALESCE_FOR`], with their exact count. Between the doors and the log; everything else passes.
//!
//! "No record, no answer" holds in this form: a counted refusal is answered at once and its record follows within
//! [`COALESCE_FOR`]; only while the log takes records. Otherwise it goes to the log, which refuses. What is counted is written
//! to a file every second ([`pending`]), so that a process that is killed takes at most a second's counts with it. Never
//! counted instead of recorded: what was allowed, and whatever is about somebody known. Memory is bounded by
//! [`MAX_SOURCES`]; beyond it records are written one by one. Invariant: no request waits for a lock of the gate.

mod pending;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use model::record::{AuditRecord, RecordType, SubjectKind};
use model::seams::{Durability, RecordError, Recorded};
use model::{AccessId, BoxFuture, Clock, Effect, Ids, Reason, Recorder, Timestamp};

use crate::SealedAccess;
use crate::log::{AuditLog, Rung};
use crate::query::{MAX_LIMIT, Query};

/// Refusals of one network for one reason that are recorded one by one in each second.
pub const PER_SECOND: u32 = 50;
/// How long the rest is counted before it is recorded.
pub const COALESCE_FOR: Duration = Duration::from_secs(10);
/// How many networks and reasons are told apart at once.
pub const MAX_SOURCES: usize = 4_096;

type Source = (Arc<str>, Reason);

/// Refusals that were counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counted {
    /// Of the record they become, so that it is written once, whoever dies in between.
    id: AccessId,
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
    sources: Sources,
    /// Whether the file holds something; held while it is written.
    kept: tokio::sync::Mutex<bool>,
}

impl FloodGate {
    /// In front of `log`.
    pub fn new(log: Arc<AuditLog>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        // Until it was looked at, the file may hold something.
        Self { log, clock, ids, sources: Sources::default(), kept: tokio::sync::Mutex::new(true) }
    }

    /// Records what a process that was killed had counted. Called once, before doors open.
    pub async fn take_over(&self) {
        let log = Arc::clone(&self.log);
        let found = tokio::task::spawn_blocking(move || left_behind(&log)).await;
        let left = found.unwrap_or_else(|error| Err(error.to_string())).unwrap_or_else(|error| {
            tracing::error!(error, "what was counted of a flood before the last end cannot be taken over");
            Vec::new()
        });
        for (source, counted) in left {
            self.sources.put_back(source, counted);
        }
        self.flush(true).await;
    }

    /// Records what was counted for long enough, or everything, and keeps the rest in its file. Called every second, and at
    /// the end.
    pub async fn flush(&self, everything: bool) {
        let now = self.clock.now();
        for (source, counted) in self.sources.due(now, everything) {
            if let Err(error) = self.log.append(record(&source, counted, now), Durability::Standard).await {
                tracing::error!(%error, count = counted.count, "a flood of refusals is not recorded yet");
                self.sources.put_back(source, counted);
            }
        }
        self.keep().await;
    }

    async fn keep(&self) {
        let mut kept = self.kept.lock().await;
        let counted = self.sources.counted();
        if counted.is_empty() && !*kept {
            return;
        }
        *kept = true;
        let (dir, is_empty) = (self.log.dir().to_path_buf(), counted.is_empty());
        match tokio::task::spawn_blocking(move || pending::write(&dir, &counted)).await {
            Ok(Ok(())) => *kept = !is_empty,
            Ok(Err(error)) => tracing::warn!(%error, "the counts of a flood are in memory only"),
            Err(error) => tracing::error!(%error, "the counts of a flood are in memory only"),
        }
    }

    /// Whether this refusal was only counted.
    fn counts(&self, record: &AuditRecord, durability: Durability) -> bool {
        let Some(source) = source_of(record, durability) else { return false };
        let new_id = || AccessId(self.ids.uuid_v7(record.time));
        self.sources.count(source, record.time, self.log.rung() == Rung::Well, new_id)
    }
}

/// What is counted, by source.
#[derive(Default)]
struct Sources(Mutex<HashMap<Source, Seen>>);

impl Sources {
    /// Whether one more refusal was counted; else it has to be recorded.
    fn count(&self, source: Source, time: Timestamp, is_log_well: bool, new_id: impl FnOnce() -> AccessId) -> bool {
        // Somebody else counts: a record of its own costs less than waiting, and the sum is the same.
        let Some(mut sources) = self.try_lock() else { return false };
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            return false;
        }
        let seen = sources.entry(source).or_default();
        let second = time.unix_secs();
        if seen.second != second {
            (seen.second, seen.in_second) = (second, 0);
        }
        seen.in_second = seen.in_second.saturating_add(1);
        if seen.in_second <= PER_SECOND || !is_log_well {
            return false;
        }
        let counted = seen.counted.get_or_insert_with(|| Counted { id: new_id(), count: 0, first: time, last: time });
        counted.count = counted.count.saturating_add(1);
        (counted.first, counted.last) = (counted.first.min(time), counted.last.max(time));
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
        seen.counted = Some(seen.counted.map_or(counted, |since| counted.and(since)));
    }

    fn counted(&self) -> Vec<(Source, Counted)> {
        let sources = self.lock();
        sources.iter().filter_map(|(source, seen)| Some((source.clone(), seen.counted?))).collect()
    }

    /// For whoever may wait: no request does.
    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, HashMap<Source, Seen>>> {
        match self.0.try_lock() {
            Ok(sources) => Some(sources),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Counted {
    /// Both, as the record of the first.
    fn and(self, other: Counted) -> Counted {
        Counted {
            id: self.id,
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// What the file holds and the log does not.
fn left_behind(log: &AuditLog) -> Result<Vec<(Source, Counted)>, String> {
    let mut left = pending::read(log.dir()).map_err(|error| error.to_string())?;
    let Some(first) = left.iter().map(|(_, counted)| counted.first).min() else { return Ok(left) };
    let (kind, since) = (Some(RecordType::AccessFlood), Some(first));
    let query = Query { kind, since, limit: MAX_LIMIT, ..Query::default() };
    let answer = log.query(&query, SealedAccess::Closed).map_err(|error| error.to_string())?;
    left.retain(|(_, counted)| !answer.rows.iter().any(|row| row.access_id() == Some(counted.id)));
    Ok(left)
}

fn record((network, reason): &Source, counted: Counted, now: Timestamp) -> AuditRecord {
    let Counted { id, count, first, last } = counted;
    let mut record = AuditRecord::new(RecordType::AccessFlood, id, now, "http");
    record.count = Some(count);
    record.between = Some((first, last));
    record.who.subject_kind = Some(SubjectKind::Anonymous);
    record.from.src_net = Some(Arc::clone(network));
    record.decision.effect = Some(Effect::Deny);
    record.decision.reason = Some(*reason);
    record.change.change = Some(Arc::from(format!("{count} refusals between {first} and {last}")));
    record
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn source() -> Source {
        (Arc::from("203.0.113.0/24"), Reason::Gate)
    }

    fn id() -> AccessId {
        AccessId(Uuid::from_u128(7))
    }

    #[test]
    fn a_refusal_never_waits_for_the_lock_and_is_recorded_by_itself_instead() {
        let sources = Arc::new(Sources::default());
        let count = |sources: &Sources| sources.count(source(), Timestamp(0), true, id);
        for _ in 0..PER_SECOND {
            assert!(!count(&sources));
        }
        assert!(count(&sources));
        let held = sources.lock();
        let (done, answer) = std::sync::mpsc::channel();
        let other = Arc::clone(&sources);
        let thread = std::thread::spawn(move || done.send(other.count(source(), Timestamp(0), true, id)));
        let was_counted = answer.recv_timeout(Duration::from_secs(10));
        drop(held);
        thread.join().unwrap().unwrap();
        assert_eq!(was_counted, Ok(false), "it came back with the lock held, and was not counted");
        assert!(count(&sources));
        let counts: Vec<u64> = sources.counted().iter().map(|(_, counted)| counted.count).collect();
        assert_eq!(counts, [2]);
    }

    #[test]
    fn what_goes_back_keeps_the_id_it_was_tried_under() {
        let sources = Sources::default();
        let at = |id: u128, count, time| {
            let time = Timestamp(time);
            Counted { id: AccessId(Uuid::from_u128(id)), count, first: time, last: time }
        };
        sources.put_back(source(), at(2, 5, 20));
        sources.put_back(source(), at(1, 3, 10));
        let (_, counted) = sources.due(Timestamp(0), true).remove(0);
        assert_eq!(counted, Counted { first: Timestamp(10), last: Timestamp(20), ..at(1, 8, 0) });
    }
}
