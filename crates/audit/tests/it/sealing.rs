//! Sealed columns: nothing of them on disk in the clear, commitments that hold, keys that end (AUD-40).

use audit::{Column, Query, Sealed, SealedAccess, StoredRecord, Value};
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;

use crate::common::{World, alice};

const CANARIES: [&str; 5] =
    ["Alice Canary-Name", "alice-canary@example.com", "canary_param", "203.0.113.77", "CanaryBrowser/1.0"];
const SEALED: [Column; 5] =
    [Column::SubjectName, Column::SubjectEmail, Column::UrlQuery, Column::SrcIp, Column::UserAgent];

fn all(world: &World, access: SealedAccess) -> Vec<StoredRecord> {
    let (log, _) = world.open();
    log.query(&Query::default(), access).unwrap().rows
}

fn sealed(record: &StoredRecord) -> Vec<Sealed> {
    let state = |column: &Column| match record.get(*column) {
        Some(Value::Sealed(sealed)) => sealed.clone(),
        other => panic!("{column:?}: {other:?}"),
    };
    SEALED.iter().map(state).collect()
}

fn write_one(world: &World, context: &[u8]) {
    let (log, _) = world.open();
    let mut record = world.decision();
    record.pins.context = Some(context.into());
    log.append_blocking(record, Durability::Strict).unwrap();
}

#[test]
fn canaries_in_sealed_columns_never_reach_the_disk_in_the_clear() {
    let world = World::new();
    write_one(&world, b"context with Canary-Context inside");
    {
        let (log, _) = world.open();
        let mut nobody = world.decision();
        nobody.who = Default::default();
        log.append_blocking(nobody, Durability::Strict).unwrap();
    }
    let mut files = 0;
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for canary in CANARIES.into_iter().chain(["Canary"]) {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} is on disk in the clear");
        }
    }
    assert!(files >= 2);
    // And the test looks for the right thing: the reader with the right sees every one of them.
    let rows = all(&world, SealedAccess::Open);
    let opened: Vec<String> = sealed(&rows[rows.len() - 1]).iter().map(|value| value.as_str().into()).collect();
    assert_eq!(opened, CANARIES);
}

#[test]
fn without_the_right_sealed_columns_stay_closed() {
    let world = World::new();
    write_one(&world, b"");
    assert!(all(&world, SealedAccess::Closed).iter().rev().take(1).all(|row| sealed(row) == vec![Sealed::Closed; 5]));
}

#[test]
fn an_erased_person_leaves_records_that_still_prove() {
    let world = World::new();
    write_one(&world, b"ctx");
    world.people.0.lock().unwrap().remove(&alice());
    let rows = all(&world, SealedAccess::Open);
    assert_eq!(sealed(rows.last().unwrap()), vec![Sealed::KeyDestroyed; 5]);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
    let (log, _) = world.open();
    assert_eq!(log.context(rows.last().unwrap()).unwrap(), None);
}

#[test]
fn a_record_of_nobody_known_opens_with_the_key_of_its_day_until_that_is_destroyed() {
    let world = World::new();
    {
        let (log, _) = world.open();
        let mut record = AuditRecord::new(RecordType::GateRefused, world.access(), crate::common::START, "http");
        record.from.user_agent = Some("scanner".into());
        log.append_blocking(record, Durability::Standard).unwrap();
    }
    let open = |world: &World| all(world, SealedAccess::Open)[0].get(Column::UserAgent).cloned().unwrap();
    assert_eq!(open(&world), Value::Sealed(Sealed::Open("scanner".into())));
    assert_eq!(world.daily.0.lock().unwrap().len(), 2, "today and tomorrow");
    world.clock.0.fetch_add(92 * 86_400 * 1_000_000_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(open(&world), Value::Sealed(Sealed::KeyDestroyed));
    assert_eq!(world.daily.0.lock().unwrap().len(), 2);
}

#[test]
fn a_ciphertext_moved_to_another_record_is_tampering() {
    // Same person, same field, another value: the ciphertext opens, but it is not what the entry committed to.
    let world = World::new();
    {
        let (log, _) = world.open();
        for agent in ["AgentAAAA", "AgentBBBB"] {
            let mut record = world.decision();
            record.from.user_agent = Some(agent.into());
            log.append_blocking(record, Durability::Strict).unwrap();
        }
    }
    let path = world.segments().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let frame = |bytes: &[u8], at: usize| {
        let length = 17 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at..at + length
    };
    let first = frame(&bytes, 4096);
    let second = frame(&bytes, first.end);
    assert_eq!(first.len(), second.len());
    // The sealed user agent is the last 25 bytes of the payload: nine of text and a tag of sixteen.
    let (from, to) = (first.end - 25..first.end, second.end - 25..second.end);
    bytes.copy_within(from, to.start);
    let crc = crc32c::crc32c(&bytes[second.start + 8..second.end]);
    bytes[second.start + 4..second.start + 8].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (log, _) = world.open();
    let rows = log.query(&Query { kind: Some(RecordType::AccessDecision), ..Query::default() }, SealedAccess::Open);
    let agents: Vec<_> = rows.unwrap().rows.iter().map(|row| row.get(Column::UserAgent).cloned().unwrap()).collect();
    assert_eq!(agents, [Value::Sealed(Sealed::Tampered), Value::Sealed(Sealed::Open("AgentAAAA".into()))]);
}

#[test]
fn a_published_commitment_is_recomputed_from_salt_and_value() {
    let world = World::new();
    let (log, _) = world.open();
    let record = world.decision();
    log.append_blocking(record.clone(), Durability::Strict).unwrap();
    let key = audit::SealKey::new([7; 32]);
    let salt = audit::entry::salt(&key, record.access_id, record.kind, record.time, "src_ip");
    let commitment = audit::entry::commitment("src_ip", &salt, b"203.0.113.77");
    let bytes = std::fs::read(&world.segments()[0]).unwrap();
    assert!(bytes.windows(32).any(|window| window == commitment));
    // Unsalted, an address could be guessed.
    let unsalted = audit::entry::commitment("src_ip", &[0; 32], b"203.0.113.77");
    assert!(!bytes.windows(32).any(|window| window == unsalted));
}

#[test]
fn context_and_entity_slice_come_back_and_a_slice_is_stored_once() {
    let world = World::new();
    let slice: std::sync::Arc<[u8]> = b"EntitySliceBytes".to_vec().into();
    let slice =
        std::sync::Arc::new(model::decision::EntitySlice { hash: model::ids::Digest32::of(&slice), bytes: slice });
    let (log, _) = world.open();
    for context in ["one", "two"] {
        let mut record = world.decision();
        record.pins.context = Some(context.as_bytes().into());
        record.pins.entity_slice = Some(slice.clone());
        log.append_blocking(record, Durability::Strict).unwrap();
    }
    let rows = log.query(&Query::default(), SealedAccess::Open).unwrap().rows;
    assert_eq!(log.context(&rows[0]).unwrap().unwrap(), b"two");
    assert_eq!(log.context(&rows[1]).unwrap().unwrap(), b"one");
    assert_eq!(log.entity_slice(&rows[0]).unwrap().unwrap(), &*slice.bytes);
    let bytes = std::fs::read(&world.segments()[0]).unwrap();
    assert_eq!(bytes.windows(16).filter(|window| *window == b"EntitySliceBytes").count(), 1);
    drop(log);
    // Also across a restart within the segment.
    let (log, _) = world.open();
    let mut record = world.decision();
    record.pins.entity_slice = Some(slice);
    log.append_blocking(record, Durability::Strict).unwrap();
    let found = audit::verify::verify(world.dir.path()).unwrap();
    assert_eq!((found.slices, found.problems), (1, vec![]));
}

#[test]
fn a_record_beyond_the_limit_is_cut_and_marked_and_kept() {
    let world = World::new();
    let (log, _) = world.open();
    let mut record = world.decision();
    record.what.url_path = Some(format!("/{}", "é".repeat(100_000)).into());
    record.from.user_agent = Some("u".repeat(100_000).into());
    record.decision.policies = (0..5_000).map(|n| format!("policy/{n:060}").into()).collect();
    record.pins.context = Some(vec![1; 100_000].into());
    log.append_blocking(record, Durability::Strict).unwrap();
    let row = log.query(&Query::default(), SealedAccess::Open).unwrap().rows.remove(0);
    assert_eq!(row.get(Column::IsTruncated), Some(&Value::Bool(true)));
    assert!(row.uint(Column::UntruncatedSize).unwrap() > 600_000);
    assert_eq!(row.text(Column::UserAgent).unwrap().len(), audit::entry::MAX_SEALED_BYTES);
    assert!(row.text(Column::UrlPath).unwrap().starts_with("/éé"));
    assert!(!row.list(Column::Policies).is_empty());
    assert_eq!(log.context(&row).unwrap(), None);
    drop(log);
    assert_eq!(audit::verify::verify(world.dir.path()).unwrap().problems, vec![]);
}
