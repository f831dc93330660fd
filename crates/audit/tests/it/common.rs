//! Fakes and a log in a temporary directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use audit::log::MIN_SEGMENT_BYTES;
use audit::{AuditLog, DailyKeyStore, Day, KeyStoreError, LogConfig, LogSeams, OpenReport, SealKey, SubjectKeys};
use model::record::{AuditRecord, RecordType};
use model::{AccessId, Clock, Effect, Ids, Reason, Timestamp, UserId};
use uuid::Uuid;

pub(crate) const START: Timestamp = Timestamp(1_795_341_600_000_000_000);

pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Counts instead of drawing: every id and every key differs from every other.
pub(crate) struct CountingIds(pub(crate) AtomicU64);

impl Ids for CountingIds {
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let millis = (now.0 / 1_000_000) as u128;
        let count = u128::from(self.0.fetch_add(1, Ordering::SeqCst));
        Uuid::from_u128(millis << 80 | 7 << 76 | 0b10 << 62 | count)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        bytes
            .iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte = (count as u8).wrapping_mul(31).wrapping_add(at as u8));
    }
}

#[derive(Default)]
pub(crate) struct People(pub(crate) Mutex<BTreeMap<UserId, [u8; 32]>>);

impl SubjectKeys for People {
    fn key_for(&self, user: &UserId) -> Option<SealKey> {
        self.0.lock().unwrap().get(user).copied().map(SealKey::new)
    }
}

#[derive(Default)]
pub(crate) struct DailyKeys(pub(crate) Mutex<BTreeMap<Day, [u8; 32]>>);

impl DailyKeyStore for DailyKeys {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        Ok(self.0.lock().unwrap().iter().map(|(day, key)| (*day, SealKey::new(*key))).collect())
    }

    fn save(&self, day: Day, key: &SealKey) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap().insert(day, *key.bytes());
        Ok(())
    }

    fn destroy(&self, day: Day) -> Result<(), KeyStoreError> {
        self.0.lock().unwrap().remove(&day);
        Ok(())
    }
}

/// A directory, and everything of a log that outlives a process.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) ids: Arc<CountingIds>,
    pub(crate) people: Arc<People>,
    pub(crate) daily: Arc<DailyKeys>,
    pub(crate) config: LogConfig,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { reserves: 0, ..small_config(dir.path()) };
        let people = People::default();
        people.0.lock().unwrap().insert(alice(), [7; 32]);
        Self {
            dir,
            clock: Arc::new(TestClock(AtomicI64::new(START.0))),
            ids: Arc::new(CountingIds(AtomicU64::new(1))),
            people: Arc::new(people),
            daily: Arc::default(),
            config,
        }
    }

    pub(crate) fn seams(&self) -> LogSeams {
        LogSeams {
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            subject_keys: self.people.clone(),
            daily_keys: self.daily.clone(),
        }
    }

    pub(crate) fn open(&self) -> (AuditLog, OpenReport) {
        AuditLog::open(&self.config, self.seams()).unwrap()
    }

    /// Closes `log` and opens the directory again.
    pub(crate) fn open_again(&self, log: &AuditLog) -> AuditLog {
        log.close();
        self.open().0
    }

    pub(crate) fn access(&self) -> AccessId {
        AccessId(self.ids.uuid_v7(self.clock.now()))
    }

    /// A complete access of alice, as two records.
    pub(crate) fn visit(&self) -> [AuditRecord; 2] {
        let decision = self.decision();
        let mut completion = AuditRecord::new(RecordType::AccessCompletion, decision.access_id, decision.time, "http");
        completion.who.subject_id = Some(alice());
        completion.completion.status = Some(200);
        completion.completion.end_cause = Some(model::record::EndCause::Closed);
        [decision, completion]
    }

    pub(crate) fn decision(&self) -> AuditRecord {
        let mut record = AuditRecord::new(RecordType::AccessDecision, self.access(), self.clock.now(), "http");
        record.who.subject_id = Some(alice());
        record.who.subject_kind = Some(model::record::SubjectKind::Person);
        record.who.subject_name = Some("Alice Canary-Name".into());
        record.who.subject_email = Some("alice-canary@example.com".into());
        record.what.app = Some("payroll".into());
        record.what.resource = Some("payroll/records".into());
        record.what.action = Some("http.get");
        record.what.method = Some("GET".into());
        record.what.url_path = Some("/records/7".into());
        record.what.url_query = Some("canary_param".into());
        record.from.src_ip = Some("203.0.113.77".parse().unwrap());
        record.from.src_net = Some("203.0.113.0/24".into());
        record.from.user_agent = Some("CanaryBrowser/1.0".into());
        record.decision.effect = Some(Effect::Allow);
        record.decision.reason = Some(Reason::Allow);
        record.decision.policies = vec!["payroll/staff".into()];
        record
    }

    /// Segment files, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        files.sort();
        files
    }
}

pub(crate) fn small_config(dir: &Path) -> LogConfig {
    // How full the disk of the machine is must not end up in the log of a test.
    let space_marks = audit::SpaceMarks { low: 0, critical: 0 };
    LogConfig {
        segment_bytes: MIN_SEGMENT_BYTES,
        space_marks,
        ..LogConfig::new(dir.to_path_buf(), "log.example/node1".into())
    }
}

pub(crate) fn alice() -> UserId {
    UserId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0a11))
}

pub(crate) fn bob() -> UserId {
    UserId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0b0b))
}
