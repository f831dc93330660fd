//! The drill itself: it passes where the log is well, and it fails where it must.

use std::sync::Arc;

use audit::drill::{DETECT_WITHIN, DrillRung, Outcome, live, shadow};
use audit::log::faults::Fault;
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;

use crate::common::{START, World};

#[test]
fn a_shadow_drill_passes_every_rung_in_time() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let report = shadow(dir.path(), world.clock.clone(), world.ids.clone(), DrillRung::ALL).unwrap();
    for found in &report.rungs {
        assert_eq!(found.outcome, Outcome::Passed, "{report:?}");
        assert!(found.detected_in.unwrap() <= DETECT_WITHIN);
    }
    assert_eq!(report.rungs.len(), DrillRung::ALL.len());
    assert!(report.has_passed());
    assert!(report.summary().starts_with("shadow drill passed: disk_full passed (seen in "), "{}", report.summary());
    let sink = report.rungs.iter().find(|found| found.rung == DrillRung::SinkHang).unwrap();
    assert!(sink.detail.contains("while sinks hung (1)") && sink.detail.contains("came in order"), "{}", sink.detail);
}

#[test]
fn a_live_drill_leaves_the_log_whole_and_its_disk_well() {
    let world = World::new();
    let (log, _) = world.open();
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    let report = live(&log, world.dir.path(), &*world.clock, &*world.ids, None, DrillRung::ALL);
    assert!(report.has_passed(), "{report:?}");
    let corrupt = report.rungs.iter().find(|found| found.rung == DrillRung::Corrupt).unwrap();
    assert!(corrupt.outcome == Outcome::Passed && corrupt.detected_in.unwrap() <= DETECT_WITHIN, "{report:?}");
    let files =
        std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!files.into_iter().any(|name| name.starts_with("aside-")), "the place of evidence stays free");
    let mut told = AuditRecord::new(RecordType::AuditDrill, world.access(), START, "control");
    told.change.object_id = Some(audit::drill::REPORT.into());
    told.change.change = Some(report.summary().into());
    log.append_blocking(told, Durability::Strict).unwrap();
    log.append_blocking(world.decision(), Durability::Strict).unwrap();
    log.close();
    let found = audit::verify::verify(world.dir.path()).unwrap();
    assert_eq!(found.problems, vec![]);
    assert!(found.drills[0].contains(&report.summary()), "{:?}", found.drills);
}

#[test]
fn a_frame_that_reads_back_wrong_is_found_each_time_and_costs_no_record() {
    let world = World::new();
    let (log, _) = world.open();
    for _ in 0..3 {
        let report = live(&log, world.dir.path(), &*world.clock, &*world.ids, None, &[DrillRung::Corrupt]);
        assert!(report.has_passed(), "{report:?}");
    }
    let log = world.open_again(&log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().epochs.len(), 1, "no record was given up");
    drop(log);
}

#[test]
fn a_log_whose_disk_does_not_get_well_fails_the_drill() {
    let world = World::new();
    let (log, _) = world.open();
    let log = Arc::new(log);
    let (breaker, stop) = (log.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    // Somebody else keeps the disk broken, whatever the drill wishes.
    let thread = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            breaker.faults().set(Fault::Broken);
        }
        breaker.faults().set(Fault::None);
    });
    let drill = || live(&log, world.dir.path(), &*world.clock, &*world.ids, None, &[DrillRung::DiskFull]);
    // A write may slip in between the drill's mending and the next breaking; then the disk was well, and the drill says so.
    let failed = (0..200).map(|_| drill()).find(|report| !report.has_passed());
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    thread.join().unwrap();
    assert_eq!(failed.unwrap().rungs[0].outcome, Outcome::Failed);
    let mut record = world.decision();
    record.kind = RecordType::AuditDrill;
    assert!(log.append_blocking(record, Durability::Strict).is_ok());
}

#[test]
fn damage_to_a_new_frame_is_found_in_time_while_others_write_on() {
    let world = World::new();
    let (log, _) = world.open();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                log.append_blocking(world.decision(), Durability::Standard).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let report = live(&log, world.dir.path(), &*world.clock, &*world.ids, None, &[DrillRung::Corrupt]);
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(report.has_passed(), "{report:?}");
    });
    log.close();
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}
