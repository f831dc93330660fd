//! Appends per second and the time to an answer, with 1, 64 and 256 records in flight: `cargo bench -p audit`.
//! Give a directory on the disk in question as `AUDIT_BENCH_DIR`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench that cannot run stops")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use audit::{AuditLog, DailyKeyStore, Day, KeyStoreError, LogConfig, LogSeams, SealKey, SubjectKeys};
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;
use model::{AccessId, Clock, Effect, Ids, Reason, Recorder, Timestamp, UserId};
use uuid::Uuid;

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

struct Outside(AtomicU64);

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_341_600_000_000_000)
    }
}

impl Ids for Outside {
    fn uuid_v7(&self, _: Timestamp) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(3);
    }
}

impl SubjectKeys for Outside {
    fn key_for(&self, _: &UserId) -> Option<SealKey> {
        Some(SealKey::new([5; 32]))
    }
}

impl DailyKeyStore for Outside {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        Ok(Vec::new())
    }

    fn save(&self, _: Day, _: &SealKey) -> Result<(), KeyStoreError> {
        Ok(())
    }

    fn destroy(&self, _: Day) -> Result<(), KeyStoreError> {
        Ok(())
    }
}

fn record(outside: &Outside) -> AuditRecord {
    let id = AccessId(outside.uuid_v7(Timestamp(0)));
    let mut record = AuditRecord::new(RecordType::AccessDecision, id, outside.now(), "http");
    record.who.subject_id = Some(UserId(Uuid::from_u128(1)));
    record.who.subject_name = Some("Alice Example".into());
    record.who.subject_email = Some("alice@example.com".into());
    record.what.app = Some("payroll".into());
    record.what.resource = Some("payroll/records".into());
    record.what.url_path = Some("/records/2026/11/alice".into());
    record.from.src_ip = Some("203.0.113.77".parse().unwrap());
    record.from.src_net = Some("203.0.113.0/24".into());
    record.from.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into());
    record.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
    record.decision.effect = Some(Effect::Allow);
    record.decision.reason = Some(Reason::Allow);
    record.decision.policies = vec!["payroll/staff".into()];
    record.pins.context = Some(vec![0xa0; 300].into());
    record
}

async fn round(log: Arc<AuditLog>, outside: Arc<Outside>, in_flight: usize, durability: Durability) -> (f64, Vec<u64>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (log, outside, times) = (log.clone(), outside.clone(), times.clone());
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while start.elapsed() < ROUND {
                    let began = Instant::now();
                    log.append(record(&outside), durability).await.unwrap();
                    mine.push(began.elapsed().as_nanos() as u64);
                }
                times.lock().unwrap().extend(mine);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let secs = start.elapsed().as_secs_f64();
    let mut times = std::mem::take(&mut *times.lock().unwrap());
    times.sort_unstable();
    (times.len() as f64 / secs, times)
}

fn main() {
    let dir = match std::env::var_os("AUDIT_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("durability  in flight  records/s  p50 us  p99 us   (medians of {ROUNDS} rounds)");
    for (name, durability) in [("standard", Durability::Standard), ("strict", Durability::Strict)] {
        for in_flight in [1, 64, 256] {
            let outside = Arc::new(Outside(AtomicU64::new(1)));
            let config = LogConfig::new(dir.path().join(format!("{name}-{in_flight}")), "bench/1".into());
            let seams = LogSeams {
                clock: outside.clone(),
                ids: outside.clone(),
                subject_keys: outside.clone(),
                daily_keys: outside.clone(),
            };
            let (log, _) = AuditLog::open(&config, seams).unwrap();
            let log = Arc::new(log);
            let mut rounds: Vec<(f64, u64, u64)> = (0..ROUNDS)
                .map(|_| {
                    let (rate, times) = runtime.block_on(round(log.clone(), outside.clone(), in_flight, durability));
                    let at = |share: usize| times.get(times.len() * share / 100).map_or(0, |ns| ns / 1_000);
                    (rate, at(50), at(99))
                })
                .collect();
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (rate, p50, p99) = rounds[ROUNDS / 2];
            println!("{name:<10}  {in_flight:>9}  {rate:>9.0}  {p50:>6}  {p99:>6}");
        }
    }
}
