//! What opening finds after a crash, after damage, and after neither (AUD-6, AUD-15).

use std::path::Path;

use audit::log::MIN_SEGMENT_BYTES;
use audit::verify::verify;
use audit::{AuditLog, OpenError, Query, SealedAccess};
use model::record::RecordType;
use model::seams::Durability;

use crate::common::World;

const HEADER: usize = 4096;

/// Offsets and lengths of the frames of a segment, read with nothing but the documented layout.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = HEADER;
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(head.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        found.push((at, 17 + length));
        at += 17 + length;
    }
    found
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn append(log: &AuditLog, world: &World, visits: usize) {
    for record in (0..visits).flat_map(|_| world.visit()) {
        log.append_blocking(record, Durability::Standard).unwrap();
    }
}

fn everything(log: &AuditLog) -> audit::Answer {
    log.query(&Query { limit: 10_000, ..Query::default() }, SealedAccess::Open).unwrap()
}

fn seqs(answer: &audit::Answer) -> Vec<u64> {
    answer.rows.iter().rev().map(|row| row.seq).collect()
}

#[test]
fn an_empty_log_opens_twice_and_proves() {
    let world = World::new();
    drop(world.open());
    let (log, report) = world.open();
    assert_eq!((report.next_seq, report.cut_bytes, report.gaps.len()), (0, 0, 0));
    assert_eq!(report.origin, "log.example/node1/1");
    drop(log);
    let found = verify(world.dir.path()).unwrap();
    assert_eq!((found.segments, found.records, found.problems), (1, 0, vec![]));
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_frame() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 2);
    drop(log);
    let path = world.segments().remove(0);
    let whole = std::fs::read(&path).unwrap();
    let (start, length) = *frames(&whole).last().unwrap();
    for kept in 0..length {
        edit(&path, |bytes| {
            bytes.copy_from_slice(&whole);
            bytes[start + kept..start + length].fill(0);
        });
        // The last bytes of a frame may be zero anyway; then nothing was torn.
        let is_torn = std::fs::read(&path).unwrap() != whole;
        let (log, report) = world.open();
        assert_eq!(report.gaps, vec![], "kept {kept} of {length}");
        assert_eq!(report.origin, "log.example/node1/1");
        assert_eq!(report.cut_bytes > 0, is_torn && whole[start..start + kept].iter().any(|byte| *byte != 0));
        let expected = if is_torn { vec![0, 1, 2] } else { vec![0, 1, 2, 3] };
        assert_eq!(seqs(&everything(&log))[..expected.len()], expected);
        // What comes next stands where the torn frame stood and proves.
        append(&log, &world, 1);
        assert!(everything(&log).coverage.is_complete());
        drop(log);
        assert_eq!(verify(world.dir.path()).unwrap().problems, vec![]);
    }
}

#[test]
fn a_file_cut_short_in_its_last_frame_opens() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 2);
    drop(log);
    let path = world.segments().remove(0);
    let whole = std::fs::read(&path).unwrap();
    let (start, length) = *frames(&whole).last().unwrap();
    for end in [start, start + 1, start + 16, start + 17, start + length - 1] {
        edit(&path, |bytes| *bytes = whole[..end].to_vec());
        let (log, report) = world.open();
        assert_eq!(report.gaps, vec![]);
        append(&log, &world, 1);
        drop(log);
        assert_eq!(verify(world.dir.path()).unwrap().problems, vec![]);
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_not_taken_for_a_torn_tail() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 5);
    drop(log);
    let path = world.segments().remove(0);
    let all = frames(&std::fs::read(&path).unwrap());
    edit(&path, |bytes| bytes[all[4].0 + 40] ^= 0x10);

    let (log, report) = world.open();
    assert_eq!(report.origin, "log.example/node1/2");
    assert_eq!(report.gaps.len(), 1);
    assert_eq!((report.gaps[0].first_seq, report.gaps[0].records), (4, 1));
    let answer = everything(&log);
    // Record 4 is lost, record 10 says so, and no number is used twice.
    let decisions: Vec<u64> = seqs(&answer).into_iter().filter(|seq| *seq < 10).collect();
    assert_eq!(decisions, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let gap = answer.rows.iter().find(|row| row.kind() == Some(RecordType::AuditGap)).unwrap();
    assert_eq!(gap.seq, 10);
    assert!(gap.text(audit::Column::Change).unwrap().starts_with("records 4 to 4 of e000001-"));
    assert!(!answer.coverage.is_complete());
    drop(log);

    // Told once: the next start goes on in the same epoch, and the answer still names the hole.
    let (log, report) = world.open();
    assert_eq!((report.origin.as_str(), report.gaps.len()), ("log.example/node1/2", 0));
    assert_eq!(everything(&log).coverage.holes.len(), 1);
    drop(log);
    assert!(!verify(world.dir.path()).unwrap().problems.is_empty());
}

#[test]
fn a_length_set_to_zero_in_the_middle_hides_nothing() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 5);
    drop(log);
    let path = world.segments().remove(0);
    let all = frames(&std::fs::read(&path).unwrap());
    edit(&path, |bytes| bytes[all[2].0..all[2].0 + 4].fill(0));
    let (log, report) = world.open();
    assert_eq!(report.gaps.len(), 1);
    assert!(seqs(&everything(&log)).contains(&9));
}

#[test]
fn a_record_rewritten_with_a_right_checksum_breaks_the_root() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 1_200);
    drop(log);
    let path = world.segments().remove(0);
    assert!(world.segments().len() > 1, "the test needs a second segment");
    let (start, length) = frames(&std::fs::read(&path).unwrap())[10];
    edit(&path, |bytes| {
        let frame = &mut bytes[start..start + length];
        let at = frame.windows(7).position(|window| window == b"payroll").unwrap();
        frame[at] = b'q';
        let crc = crc32c::crc32c(&frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
    });
    let problems = verify(world.dir.path()).unwrap().problems;
    assert!(problems.iter().any(|problem| problem.why.contains("root")), "{problems:?}");
    let (_log, report) = world.open();
    assert_eq!(report.gaps.len(), 1, "{:?}", report.gaps);
}

#[test]
fn a_missing_segment_is_a_gap() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 2_000);
    drop(log);
    let segments = world.segments();
    assert!(segments.len() >= 3);
    std::fs::remove_file(&segments[1]).unwrap();
    let (log, report) = world.open();
    assert_eq!(report.gaps.len(), 1, "{:?}", report.gaps);
    assert!(report.gaps[0].records > 100);
    assert_eq!(everything(&log).coverage.holes.len(), 1);
}

#[test]
fn a_destroyed_header_closes_the_epoch_and_no_number_is_used_twice() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 5);
    drop(log);
    edit(&world.segments()[0], |bytes| bytes[..HEADER].fill(0));
    let (log, report) = world.open();
    assert_eq!(report.gaps.len(), 1);
    assert!(report.next_seq > 10);
    append(&log, &world, 1);
    drop(log);
    let (_log, report) = world.open();
    assert_eq!(report.gaps, vec![]);
}

#[test]
fn segments_roll_and_the_tree_goes_on() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 3_000);
    assert_eq!(seqs(&everything(&log)), (0..6_000).collect::<Vec<_>>());
    drop(log);
    let found = verify(world.dir.path()).unwrap();
    assert_eq!((found.records, found.problems), (6_000, vec![]));
    assert!(found.segments > 3);
    assert_eq!((found.epochs.len(), found.epochs[0].size), (1, 6_000));
}

#[test]
fn two_processes_cannot_share_a_log() {
    let world = World::new();
    let (_log, _) = world.open();
    let second = AuditLog::open(&world.config, world.seams());
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[test]
fn a_refusal_ended_with_its_decision_and_is_not_taken_for_an_access_that_was_cut_off() {
    let world = World::new();
    let (log, _) = world.open();
    let mut refused = world.decision();
    refused.decision.effect = Some(model::Effect::Deny);
    log.append_blocking(refused, Durability::Strict).unwrap();
    drop(log);
    assert_eq!(world.open().1.closed_accesses, 0);
}

#[test]
fn an_access_whose_door_died_ends_as_unknown_exactly_once() {
    let world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 1);
    let open = world.decision();
    let id = open.access_id;
    log.append_blocking(open, Durability::Strict).unwrap();
    drop(log);
    let (log, report) = world.open();
    assert_eq!(report.closed_accesses, 1);
    let story = log.explain(id, SealedAccess::Closed).unwrap();
    assert_eq!(story.completion().unwrap().text(audit::Column::EndCause), Some("unknown"));
    assert_eq!(story.completion().unwrap().uint(audit::Column::Status), None);
    drop(log);
    assert_eq!(world.open().1.closed_accesses, 0);
}

#[test]
fn another_origin_begins_another_epoch() {
    let mut world = World::new();
    let (log, _) = world.open();
    append(&log, &world, 1);
    drop(log);
    world.config.origin = "log.example/node2".into();
    let (log, report) = world.open();
    assert_eq!((report.origin.as_str(), report.next_seq), ("log.example/node2/2", 2));
    append(&log, &world, 1);
    assert_eq!(seqs(&everything(&log)), [0, 1, 2, 3]);
    drop(log);
    assert_eq!(verify(world.dir.path()).unwrap().problems, vec![]);
}

#[test]
fn origins_and_sizes_that_cannot_work_are_refused() {
    let mut world = World::new();
    for origin in ["", "a b", "a+b", "a\nb"] {
        world.config.origin = origin.into();
        assert!(matches!(AuditLog::open(&world.config, world.seams()), Err(OpenError::Origin(_))), "{origin:?}");
    }
    world.config.origin = "ok/1".into();
    world.config.segment_bytes = MIN_SEGMENT_BYTES - 1;
    assert!(matches!(AuditLog::open(&world.config, world.seams()), Err(OpenError::SegmentSize(_))));
}

#[test]
fn blank_segments_are_laid_in_and_used_and_half_made_ones_removed() {
    let mut world = World::new();
    std::fs::write(world.dir.path().join("reserve-1.part"), b"half").unwrap();
    std::fs::write(world.dir.path().join("reserve-2.zero"), b"wrong size").unwrap();
    world.config.reserves = 2;
    let (log, _) = world.open();
    let reserves = || {
        let names = std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".zero")).count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while reserves() < 2 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(reserves(), 2);
    append(&log, &world, 2_000);
    drop(log);
    assert!(world.segments().len() > 2);
    assert_eq!(verify(world.dir.path()).unwrap().problems, vec![]);
    let (_log, report) = world.open();
    assert_eq!(report.gaps, vec![]);
}
