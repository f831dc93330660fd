//! A disk that fails, lies or hangs (AUD-18): callers are refused in time, and once the disk is well again the
//! log goes on without a restart and proves.

use std::sync::Arc;

use audit::log::disk::OsDisk;
use audit::log::faults::{Fault, Faults, FaultyDisk};
use audit::{AuditLog, Query, SealedAccess};
use model::Recorder;
use model::seams::Durability;

use crate::common::World;

fn open(world: &World) -> (AuditLog, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Arc::new(FaultyDisk::new(OsDisk::new(world.dir.path()), faults.clone()));
    let (log, _) = AuditLog::open_on(disk, &world.config, world.seams()).unwrap();
    (log, faults)
}

/// Beside what the log says of itself.
fn decisions(log: &AuditLog) -> usize {
    let kind = Some(model::record::RecordType::AccessDecision);
    let query = Query { kind, limit: 10_000, ..Query::default() };
    log.query(&query, SealedAccess::Closed).unwrap().rows.len()
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_space_again() {
    let world = World::new();
    let (log, faults) = open(&world);
    log.append_blocking(world.decision(), Durability::Standard).unwrap();
    faults.set(Fault::Full);
    for durability in [Durability::Standard, Durability::Strict] {
        let error = log.append_blocking(world.decision(), durability).unwrap_err();
        assert!(error.to_string().contains("no space left on device"), "{error}");
    }
    faults.set(Fault::None);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    assert_eq!(decisions(&log), 2);
    drop(log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}

#[test]
fn a_full_disk_at_the_end_of_a_segment_leaves_no_files_behind() {
    let world = World::new();
    let (log, faults) = open(&world);
    let mut taken = 0;
    while world.segments().len() < 2 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
        taken += 1;
    }
    // From here to the end of the second segment, and then no further.
    let in_second = taken;
    for _ in 0..in_second - 60 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
        taken += 1;
    }
    faults.set(Fault::Full);
    for _ in 0..50 {
        assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    }
    faults.set(Fault::None);
    for _ in 0..200 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
        taken += 1;
    }
    assert_eq!(world.segments().len(), 3);
    assert_eq!(decisions(&log) as u64, taken);
    drop(log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
    let files = std::fs::read_dir(world.dir.path()).unwrap().count();
    assert_eq!(files, 4, "three segments and the lock");
}

#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let world = World::new();
    let (log, faults) = open(&world);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    log.append_blocking(world.decision(), Durability::Standard).unwrap();
    faults.set(Fault::ForgetsOnSync);
    assert!(log.append_blocking(world.decision(), Durability::Strict).is_err());
    // While it is not known to be safe, nothing else is taken.
    assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    faults.set(Fault::None);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    // The strict one that was refused is there too: refused means "do not rely on it", not "undone".
    assert_eq!(decisions(&log), 4);
    drop(log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_disk_hangs_nobody() {
    let mut world = World::new();
    world.config.queue_records = 4;
    let (log, faults) = open(&world);
    faults.set(Fault::Hung);
    // Some wait for their answer, the rest for room in the queue; everybody is refused.
    let all: Vec<_> = (0..20).map(|_| tokio::spawn(log.append(world.decision(), Durability::Standard))).collect();
    let mut causes = std::collections::BTreeSet::new();
    for one in all {
        causes.insert(one.await.unwrap().unwrap_err().cause);
    }
    assert!(causes.iter().any(|cause| cause == "its queue stayed full for 1 s"), "{causes:?}");
    assert!(causes.iter().any(|cause| cause == "no answer within 5 s"), "{causes:?}");
    faults.set(Fault::None);
    tokio::time::resume();
    assert!(log.append(world.decision(), Durability::Strict).await.is_ok());
}

#[tokio::test]
async fn a_closed_log_refuses() {
    let world = World::new();
    let (log, _) = world.open();
    log.close();
    let error = log.append(world.decision(), Durability::Standard).await.unwrap_err();
    assert!(error.to_string().contains("the log is closed"), "{error}");
    assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
}

#[test]
fn a_daily_key_that_cannot_be_kept_seals_nothing() {
    struct Full;
    impl audit::DailyKeyStore for Full {
        fn load(&self) -> Result<Vec<(audit::Day, audit::SealKey)>, audit::KeyStoreError> {
            Ok(Vec::new())
        }
        fn save(&self, _: audit::Day, _: &audit::SealKey) -> Result<(), audit::KeyStoreError> {
            Err(audit::KeyStoreError { cause: "read-only".into() })
        }
        fn destroy(&self, _: audit::Day) -> Result<(), audit::KeyStoreError> {
            Ok(())
        }
    }
    let world = World::new();
    let seams = audit::LogSeams { daily_keys: Arc::new(Full), ..world.seams() };
    let error = AuditLog::open(&world.config, seams).err().unwrap();
    assert_eq!(error.to_string(), "the key store failed: read-only");
}
