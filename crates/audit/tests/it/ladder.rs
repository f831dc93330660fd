//! The ladder from outside (AUD-18, AUD-19): what is done to the files and the disk of an open log is seen in time, mended
//! where it can be, told where it cannot, and nothing is lost in silence.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use audit::log::faults::Fault;
use audit::{AlertKind, AuditLog, Column, OnFailure, Query, Rung, SealedAccess, SpaceMarks, StoredRecord};
use model::record::RecordType;
use model::seams::{Durability, Recorded};

use crate::common::World;

/// How soon an alert has to be there (AUD-19).
const IN_TIME: Duration = Duration::from_secs(2);
/// For machines that are busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

fn count(log: &AuditLog, kind: AlertKind) -> u64 {
    log.health().alerts.iter().find(|alert| alert.kind == kind).map_or(0, |alert| alert.count)
}

fn records(log: &AuditLog, kind: RecordType) -> Vec<StoredRecord> {
    let query = Query { kind: Some(kind), limit: 10_000, ..Query::default() };
    log.query(&query, SealedAccess::Closed).unwrap().rows
}

fn current(world: &World) -> PathBuf {
    world.segments().pop().unwrap()
}

/// Appends, does `harm` to the current file, and sees to it that it is found in time.
fn harmed(world: &World, expected: AlertKind, harm: impl FnOnce(&PathBuf)) -> (AuditLog, Duration) {
    let (log, _) = world.open();
    for _ in 0..20 {
        log.append_blocking(world.decision(), Durability::Strict).unwrap();
    }
    harm(&current(world));
    let took = wait(expected.as_str(), || count(&log, expected) > 0);
    wait("mended", || !log.alerts().is_active(expected));
    wait("recorded", || {
        let alerts = records(&log, RecordType::AuditAlert);
        alerts.iter().any(|record| record.text(Column::ObjectId) == Some(expected.as_str()))
    });
    (log, took)
}

fn nothing_is_lost(world: &World, log: &AuditLog) {
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    assert_eq!(records(log, RecordType::AccessDecision).len(), 21);
    assert_eq!(records(log, RecordType::AuditGap).len(), 0);
    log.close();
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
    let (log, report) = world.open();
    assert_eq!(report.gaps, vec![]);
    assert_eq!(records(&log, RecordType::AccessDecision).len(), 21);
}

#[test]
fn a_deleted_file_is_seen_and_laid_down_again_whole() {
    let world = World::new();
    let (log, took) = harmed(&world, AlertKind::FileDeleted, |file| fs::remove_file(file).unwrap());
    assert!(took < IN_TIME, "{took:?}");
    nothing_is_lost(&world, &log);
}

#[test]
fn a_moved_file_is_seen_and_laid_down_again_whole() {
    let world = World::new();
    let (log, took) =
        harmed(&world, AlertKind::FileMoved, |file| fs::rename(file, file.with_extension("elsewhere")).unwrap());
    assert!(took < IN_TIME, "{took:?}");
    nothing_is_lost(&world, &log);
}

#[test]
fn a_file_replaced_by_an_older_copy_of_itself_is_seen_and_set_aside() {
    let world = World::new();
    let (log, took) = harmed(&world, AlertKind::FileReplaced, |file| {
        let copy = file.with_extension("copy");
        fs::copy(file, &copy).unwrap();
        fs::rename(copy, file).unwrap();
    });
    assert!(took < IN_TIME, "{took:?}");
    let is_aside = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("aside-1-");
    assert!(fs::read_dir(world.dir.path()).unwrap().any(|entry| is_aside(entry.unwrap())));
    nothing_is_lost(&world, &log);
}

#[test]
fn a_file_cut_to_nothing_is_seen_and_written_again_from_memory() {
    let world = World::new();
    let (log, took) = harmed(&world, AlertKind::FileTruncated, |file| {
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
    });
    assert!(took < IN_TIME, "{took:?}");
    nothing_is_lost(&world, &log);
}

#[test]
fn bytes_overwritten_in_the_middle_are_seen_and_written_again_from_memory() {
    let world = World::new();
    let (log, took) = harmed(&world, AlertKind::FileDamaged, |file| {
        fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(b"harm", 6_000).unwrap();
    });
    assert!(took < IN_TIME, "{took:?}");
    nothing_is_lost(&world, &log);
}

#[test]
fn a_destroyed_header_is_seen_and_written_again() {
    let world = World::new();
    let (log, took) = harmed(&world, AlertKind::FileDamaged, |file| {
        fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(&[0; 4_096], 0).unwrap();
    });
    assert!(took < IN_TIME, "{took:?}");
    nothing_is_lost(&world, &log);
}

#[test]
fn what_cannot_be_brought_back_is_a_gap_with_its_numbers_in_the_next_epoch() {
    let world = World::new();
    for _ in 0..20 {
        let (log, _) = world.open();
        log.append_blocking(world.decision(), Durability::Strict).unwrap();
    }
    // A log that was opened has nothing of what was written before in memory.
    let (log, report) = world.open();
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    let file = fs::OpenOptions::new().write(true).open(current(&world)).unwrap();
    file.write_all_at(&vec![0; 3_000], 5_000).unwrap();
    wait("gap", || !records(&log, RecordType::AuditGap).is_empty());
    assert!(log.alerts().is_active(AlertKind::Gap));
    let gap = records(&log, RecordType::AuditGap).remove(0);
    assert!(gap.text(Column::Change).unwrap().starts_with("records "), "{gap:?}");
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    let answer = log.query(&Query { limit: 10_000, ..Query::default() }, SealedAccess::Closed).unwrap();
    assert!(!answer.coverage.is_complete());
    let next = log.next_seq();
    assert!(next > report.next_seq);
    drop(log);
    // Told once: a restart neither repeats nor forgets it.
    let (log, report) = world.open();
    assert_eq!(report.gaps, vec![]);
    assert_eq!(records(&log, RecordType::AuditGap).len(), 1);
    assert!(log.next_seq() >= next);
}

#[test]
fn an_old_segment_that_disappears_is_seen_and_its_numbers_told() {
    let world = World::new();
    let (log, _) = world.open();
    while world.segments().len() < 3 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
    }
    wait("seen once", || {
        log.next_seq() > 0 && {
            std::thread::sleep(Duration::from_millis(1_200));
            true
        }
    });
    fs::remove_file(&world.segments()[0]).unwrap();
    let took = wait("old file", || count(&log, AlertKind::FileDeleted) > 0);
    assert!(took < IN_TIME, "{took:?}");
    wait("gap", || !records(&log, RecordType::AuditGap).is_empty());
    let gap = records(&log, RecordType::AuditGap).remove(0);
    assert!(gap.text(Column::Change).unwrap().starts_with("records 0 to "), "{gap:?}");
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(count(&log, AlertKind::FileDeleted), 1, "told once");
}

#[test]
fn a_disk_that_cannot_write_in_place_gets_a_reserve_and_nobody_notices() {
    let mut world = World::new();
    world.config.reserves = 2;
    let faults = std::sync::Arc::new(audit::log::faults::Faults::default());
    let os = audit::log::disk::OsDisk::new(world.dir.path());
    let disk = std::sync::Arc::new(audit::log::faults::FaultyDisk::new(os, faults.clone()));
    let (log, _) = AuditLog::open_on(disk.clone(), &world.config, world.seams()).unwrap();
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    wait("reserves", || log.health().reserves.0 == 2);
    faults.set_for_open_files(Fault::Broken, &disk);
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    assert_eq!(count(&log, AlertKind::DiskError), 1);
    assert_eq!(records(&log, RecordType::AccessDecision).len(), 2);
    assert_eq!(log.health().unkept.total(), 0);
    log.close();
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}

#[test]
fn while_the_disk_is_full_everything_is_refused_and_afterwards_the_record_says_how_much() {
    let world = World::new();
    let (log, _) = world.open();
    log.faults().set(Fault::Full);
    for _ in 0..7 {
        assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    }
    assert!(log.append_blocking(world.visit()[1].clone(), Durability::Standard).is_err());
    assert_eq!((log.health().rung, log.health().unkept.refused, log.health().unkept.ends), (Rung::Refusing, 7, 1));
    assert!(log.alerts().is_active(AlertKind::DiskFull));
    log.faults().set(Fault::None);
    // By itself: nobody asks for anything.
    wait("well", || log.health().rung == Rung::Well);
    wait("gap", || records(&log, RecordType::AuditGap).len() == 1);
    let gap = records(&log, RecordType::AuditGap).remove(0);
    let text = gap.text(Column::Change).unwrap();
    assert!(text.starts_with("8 records could not be kept"), "{text}");
    assert!(text.contains("7 refused, 0 accesses allowed without a record, 1 ends of accesses"), "{text}");
    assert!(text.contains("no space left"), "{text}");
    assert_eq!(log.health().unkept.total(), 0);
}

#[test]
fn allow_marked_lets_standard_accesses_through_counts_them_and_never_strict_ones() {
    let mut world = World::new();
    world.config.on_failure = OnFailure::AllowMarked;
    let (log, _) = world.open();
    log.faults().set(Fault::Full);
    for _ in 0..5 {
        let marked = log.append_blocking(world.decision(), Durability::Standard).unwrap();
        assert_eq!(marked, Recorded { seq: Recorded::UNKEPT });
    }
    assert!(log.append_blocking(world.decision(), Durability::Strict).is_err(), "a strict resource");
    let mut administration = world.decision();
    administration.kind = RecordType::IdentityUserChanged;
    assert!(log.append_blocking(administration, Durability::Standard).is_err(), "administration");
    assert_eq!(log.health().rung, Rung::AllowingMarked);
    log.faults().set(Fault::None);
    wait("gap", || records(&log, RecordType::AuditGap).len() == 1);
    let gap = records(&log, RecordType::AuditGap).remove(0);
    let text = gap.text(Column::Change).unwrap();
    assert!(text.contains("2 refused, 5 accesses allowed without a record"), "{text}");
    log.close();
    // What could never be told is never allowed.
    assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
}

#[test]
fn nobody_waits_for_a_disk_that_is_known_to_hang() {
    let world = World::new();
    let (log, _) = world.open();
    log.faults().set(Fault::Hung);
    let start = Instant::now();
    assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    assert!(start.elapsed() < audit::log::ANSWER_TIMEOUT + Duration::from_secs(2), "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..100 {
        assert!(log.append_blocking(world.decision(), Durability::Standard).is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(log.alerts().is_active(AlertKind::DiskHung));
    log.faults().set(Fault::None);
    wait("well", || log.append_blocking(world.decision(), Durability::Strict).is_ok());
    wait("gap", || !records(&log, RecordType::AuditGap).is_empty());
    wait("over", || !log.alerts().is_active(AlertKind::DiskHung));
}

#[test]
fn free_space_below_the_marks_is_an_alert_and_above_them_none() {
    let mut world = World::new();
    world.config.space_marks = SpaceMarks { low: 20, critical: 10 };
    let faults = std::sync::Arc::new(audit::log::faults::Faults::default());
    faults.claim_free(Some(50));
    let os = audit::log::disk::OsDisk::new(world.dir.path());
    let disk = std::sync::Arc::new(audit::log::faults::FaultyDisk::new(os, faults.clone()));
    let (log, _) = AuditLog::open_on(disk, &world.config, world.seams()).unwrap();
    faults.claim_free(Some(19));
    assert!(wait("low", || log.alerts().is_active(AlertKind::SpaceLow)) < IN_TIME);
    assert!(!log.alerts().is_active(AlertKind::SpaceCritical));
    faults.claim_free(Some(9));
    wait("critical", || log.alerts().is_active(AlertKind::SpaceCritical));
    faults.claim_free(Some(20));
    wait("above the first by too little", || !log.alerts().is_active(AlertKind::SpaceCritical));
    assert!(log.alerts().is_active(AlertKind::SpaceLow), "20 is not clearly above 20");
    faults.claim_free(Some(21));
    wait("above", || !log.alerts().is_active(AlertKind::SpaceLow));
    wait("recorded", || records(&log, RecordType::AuditAlert).len() == 2);
}
