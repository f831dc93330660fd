//! A record that a test can read, and that can be full.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::record::{AuditRecord, RecordType};
use model::seams::{Durability, RecordError, Recorded};
use model::{BoxFuture, Recorder};

use crate::lock;

/// Keeps records in memory, in order, numbered from 0.
#[derive(Debug, Default)]
pub struct FakeRecorder {
    records: Mutex<Vec<(AuditRecord, Durability)>>,
    is_failing: AtomicBool,
    /// How many more are kept before it fails; 0 for no end.
    left: AtomicUsize,
}

impl FakeRecorder {
    /// From now on every append fails (`true`) or works again (`false`).
    pub fn fail(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::SeqCst);
    }

    /// After `more` more records every append fails; at least one.
    pub fn fail_after(&self, more: usize) {
        self.left.store(more, Ordering::SeqCst);
    }

    /// What was kept so far.
    pub fn records(&self) -> Vec<AuditRecord> {
        lock(&self.records).iter().map(|(record, _)| record.clone()).collect()
    }

    /// What was kept of one type.
    pub fn of_type(&self, kind: RecordType) -> Vec<AuditRecord> {
        lock(&self.records).iter().filter(|(record, _)| record.kind == kind).map(|(record, _)| record.clone()).collect()
    }

    /// How sure each record was asked to be.
    pub fn durabilities(&self) -> Vec<Durability> {
        lock(&self.records).iter().map(|(_, durability)| *durability).collect()
    }
}

impl Recorder for FakeRecorder {
    fn append(&self, record: AuditRecord, durability: Durability) -> BoxFuture<'static, Result<Recorded, RecordError>> {
        let result = if self.is_failing.load(Ordering::SeqCst) {
            Err(RecordError { cause: "the fake disk is full".to_owned() })
        } else {
            let mut records = lock(&self.records);
            let seq = u64::try_from(records.len()).unwrap_or(u64::MAX);
            records.push((record, durability));
            if self.left.load(Ordering::SeqCst) > 0 && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.fail(true);
            }
            Ok(Recorded { seq })
        };
        Box::pin(std::future::ready(result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::tests::now_or_panic;
    use model::{AccessId, Timestamp};

    fn record(kind: RecordType) -> AuditRecord {
        AuditRecord::new(kind, AccessId(uuid::Uuid::nil()), Timestamp(0), "http")
    }

    #[test]
    fn a_failing_recorder_keeps_nothing_and_says_so() {
        let recorder = FakeRecorder::default();
        let append = |kind| now_or_panic(recorder.append(record(kind), Durability::Strict));
        assert_eq!(append(RecordType::AccessDecision), Ok(Recorded { seq: 0 }));
        recorder.fail(true);
        assert!(append(RecordType::AccessCompletion).is_err());
        recorder.fail(false);
        assert_eq!(append(RecordType::AccessCompletion), Ok(Recorded { seq: 1 }));
        assert_eq!(recorder.records().len(), 2);
        assert_eq!(recorder.of_type(RecordType::AccessCompletion).len(), 1);
        assert_eq!(recorder.durabilities(), [Durability::Strict; 2]);
    }
}
