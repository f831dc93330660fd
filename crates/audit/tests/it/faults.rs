//! A disk that fails, lies or hangs (AUD-18): callers are refused in time, and once the disk is well again the
//! log goes on without a restart and proves.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use audit::log::disk::{Disk, DiskFile, OsDisk};
use audit::{AuditLog, Query, SealedAccess};
use model::Recorder;
use model::seams::Durability;

use crate::common::World;

#[derive(Default)]
struct Faults {
    fails_writes: AtomicBool,
    /// A sync fails and what was written since the last good one is gone, as after a lost page cache.
    loses_on_sync: AtomicBool,
    hangs: Mutex<bool>,
    let_go: Condvar,
}

impl Faults {
    fn wait(&self) {
        drop(self.let_go.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.let_go.notify_all();
    }
}

struct FaultDisk(OsDisk, Arc<Faults>);

struct FaultFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Faults>,
    unsynced: Mutex<Vec<(u64, usize)>>,
}

impl FaultDisk {
    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultFile { file, faults: self.1.clone(), unsynced: Mutex::default() })
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.0.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.0.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.wait();
        if self.faults.fails_writes.load(Ordering::SeqCst) {
            // Half of it arrives, as it does in life.
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        self.unsynced.lock().unwrap().push((offset, bytes.len()));
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.wait();
        let unsynced = std::mem::take(&mut *self.unsynced.lock().unwrap());
        if self.faults.loses_on_sync.load(Ordering::SeqCst) {
            for (offset, length) in unsynced {
                self.file.write_at(&vec![0; length], offset)?;
            }
            return Err(io::Error::other("input/output error"));
        }
        self.file.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

fn open(world: &World) -> (AuditLog, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Arc::new(FaultDisk(OsDisk::new(world.dir.path()), faults.clone()));
    let (log, _) = AuditLog::open_on(disk, &world.config, world.seams()).unwrap();
    (log, faults)
}

fn seqs(log: &AuditLog) -> Vec<u64> {
    let query = Query { limit: 10_000, ..Query::default() };
    log.query(&query, SealedAccess::Closed).unwrap().rows.iter().rev().map(|row| row.seq).collect()
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_space_again() {
    let world = World::new();
    let (log, faults) = open(&world);
    log.append_blocking(world.decision(), Durability::Standard).unwrap();
    faults.fails_writes.store(true, Ordering::SeqCst);
    for durability in [Durability::Standard, Durability::Strict] {
        let error = log.append_blocking(world.decision(), durability).unwrap_err();
        assert!(error.to_string().contains("no space left on device"), "{error}");
    }
    faults.fails_writes.store(false, Ordering::SeqCst);
    assert_eq!(log.append_blocking(world.decision(), Durability::Strict).unwrap().seq, 1);
    assert_eq!(seqs(&log), [0, 1]);
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
    faults.fails_writes.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    }
    faults.fails_writes.store(false, Ordering::SeqCst);
    for _ in 0..200 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
        taken += 1;
    }
    assert_eq!(world.segments().len(), 3);
    drop(log);
    let found = audit::verify::verify(world.dir.path()).unwrap();
    assert_eq!((found.records, found.problems), (taken, vec![]));
    let files = std::fs::read_dir(world.dir.path()).unwrap().count();
    assert_eq!(files, 4, "three segments and the lock");
}

#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let world = World::new();
    let (log, faults) = open(&world);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    log.append_blocking(world.decision(), Durability::Standard).unwrap();
    faults.loses_on_sync.store(true, Ordering::SeqCst);
    assert!(log.append_blocking(world.decision(), Durability::Strict).is_err());
    // While it is not known to be safe, nothing else is taken.
    assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    faults.loses_on_sync.store(false, Ordering::SeqCst);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    // The strict one that was refused is there too: refused means "do not rely on it", not "undone".
    assert_eq!(seqs(&log), [0, 1, 2, 3]);
    drop(log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_disk_hangs_nobody() {
    let mut world = World::new();
    world.config.queue_records = 4;
    let (log, faults) = open(&world);
    faults.hang(true);
    // Some wait for their answer, the rest for room in the queue; everybody is refused.
    let all: Vec<_> = (0..20).map(|_| tokio::spawn(log.append(world.decision(), Durability::Standard))).collect();
    let mut causes = std::collections::BTreeSet::new();
    for one in all {
        causes.insert(one.await.unwrap().unwrap_err().cause);
    }
    assert!(causes.iter().any(|cause| cause == "its queue stayed full for 1 s"), "{causes:?}");
    assert!(causes.iter().any(|cause| cause == "no answer within 5 s"), "{causes:?}");
    faults.hang(false);
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
