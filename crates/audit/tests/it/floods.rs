//! Floods of refusals (AUD-12): counted exactly, and nothing that matters is only counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use audit::floods::{COALESCE_FOR, FloodGate, MAX_SOURCES, PER_SECOND};
use audit::log::faults::Fault;
use audit::{AuditLog, Column, Query, SealedAccess, StoredRecord, Value};
use model::record::{AuditRecord, RecordType, SubjectKind};
use model::seams::{Durability, Recorded};
use model::{Effect, Reason, Recorder};

use crate::common::{World, alice};

fn open(world: &World) -> (Arc<AuditLog>, FloodGate) {
    let log = Arc::new(world.open().0);
    let gate = FloodGate::new(log.clone(), world.clock.clone(), world.ids.clone());
    (log, gate)
}

fn refusal(world: &World, network: &str) -> AuditRecord {
    let mut record =
        AuditRecord::new(RecordType::GateRefused, world.access(), model::Clock::now(&*world.clock), "http");
    record.who.subject_kind = Some(SubjectKind::Anonymous);
    record.from.src_net = Some(network.into());
    record.decision.effect = Some(Effect::Deny);
    record.decision.reason = Some(Reason::Gate);
    record
}

fn rows(log: &AuditLog) -> Vec<StoredRecord> {
    log.query(&Query { limit: 10_000, ..Query::default() }, SealedAccess::Closed).unwrap().rows
}

fn counted(rows: &[StoredRecord]) -> u64 {
    let count = |row: &StoredRecord| match row.get(Column::Count) {
        Some(Value::Uint(count)) => *count,
        _ => 1,
    };
    rows.iter().map(count).sum()
}

fn forward(world: &World, by: Duration) {
    world.clock.0.fetch_add(by.as_nanos() as i64, Ordering::SeqCst);
}

#[tokio::test]
async fn a_flood_of_refusals_becomes_one_record_with_the_exact_count() {
    let world = World::new();
    let (log, gate) = open(&world);
    for _ in 0..1_000 {
        gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await.unwrap();
    }
    gate.flush(false).await;
    assert_eq!(rows(&log).len(), PER_SECOND as usize, "nothing is due yet");
    forward(&world, COALESCE_FOR);
    gate.flush(false).await;
    let found = rows(&log);
    assert_eq!(found.len(), PER_SECOND as usize + 1);
    assert_eq!(found[0].text(Column::SrcNet), Some("203.0.113.0/24"));
    assert_eq!(counted(&found), 1_000);
    gate.flush(true).await;
    assert_eq!(counted(&rows(&log)), 1_000, "told once");
}

#[tokio::test]
async fn what_was_allowed_what_is_about_somebody_and_what_is_strict_is_never_coalesced() {
    let world = World::new();
    let (log, gate) = open(&world);
    let mut of_person = refusal(&world, "203.0.113.0/24");
    of_person.who.subject_kind = Some(SubjectKind::Person);
    of_person.who.subject_id = Some(alice());
    let mut allowed = refusal(&world, "203.0.113.0/24");
    allowed.kind = RecordType::AccessDecision;
    allowed.decision.effect = Some(Effect::Allow);
    for _ in 0..200 {
        gate.append(of_person.clone(), Durability::Standard).await.unwrap();
        gate.append(allowed.clone(), Durability::Standard).await.unwrap();
        gate.append(refusal(&world, "203.0.113.0/24"), Durability::Strict).await.unwrap();
    }
    assert_eq!(rows(&log).len(), 600);
}

#[tokio::test]
async fn networks_reasons_and_seconds_have_a_budget_each() {
    let world = World::new();
    let (log, gate) = open(&world);
    for _ in 0..PER_SECOND {
        gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await.unwrap();
        gate.append(refusal(&world, "198.51.100.0/24"), Durability::Standard).await.unwrap();
        let mut other = refusal(&world, "203.0.113.0/24");
        other.decision.reason = Some(Reason::Forbidden);
        gate.append(other, Durability::Standard).await.unwrap();
    }
    forward(&world, Duration::from_secs(1));
    gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await.unwrap();
    assert_eq!(rows(&log).len(), 3 * PER_SECOND as usize + 1);
}

#[tokio::test]
async fn while_the_log_cannot_write_a_flood_is_refused_and_its_count_waits() {
    let world = World::new();
    let (log, gate) = open(&world);
    for _ in 0..100 {
        gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await.unwrap();
    }
    log.faults().set(Fault::Full);
    assert!(log.append(world.decision(), Durability::Strict).await.is_err());
    let answer = gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await;
    assert!(answer.is_err(), "no record, no answer");
    gate.flush(true).await;
    log.faults().set(Fault::None);
    gate.flush(true).await;
    let floods: Vec<_> = rows(&log).into_iter().filter(|row| row.get(Column::Count).is_some()).collect();
    assert_eq!(counted(&floods), 100 - u64::from(PER_SECOND));
}

#[tokio::test]
async fn a_flood_from_more_networks_than_are_told_apart_takes_no_more_memory_and_is_recorded_one_by_one() {
    let world = World::new();
    let (_log, gate) = open(&world);
    for n in 0..MAX_SOURCES {
        gate.append(
            refusal(&world, &format!("{}.{}.{}.0/24", 1 + n / 65_536, n / 256 % 256, n % 256)),
            Durability::Standard,
        )
        .await
        .unwrap();
    }
    for _ in 0..100 {
        let kept = gate.append(refusal(&world, "250.0.0.0/24"), Durability::Standard).await.unwrap();
        assert_ne!(kept.seq, Recorded::UNKEPT);
    }
}

#[tokio::test]
async fn the_id_of_a_counted_refusal_explains_as_one_of_those_counted_together() {
    let world = World::new();
    let (log, gate) = open(&world);
    let mut last = world.access();
    for n in 0..1_000 {
        if n == 500 {
            forward(&world, Duration::from_millis(100));
        }
        let record = refusal(&world, "203.0.113.0/24");
        last = record.access_id;
        gate.append(record, Durability::Standard).await.unwrap();
    }
    let unknown = log.explain(last, SealedAccess::Closed).unwrap_err().to_string();
    assert!(unknown.contains("may be counted for ten seconds before they are recorded: ask again then"), "{unknown}");
    forward(&world, COALESCE_FOR);
    let later = world.access();
    gate.flush(false).await;
    let story = log.explain(last, SealedAccess::Closed).unwrap();
    assert!(story.is_counted && story.decision().is_none(), "nothing is claimed of this one");
    let text = story.to_text();
    assert!(text.contains("950 refusals before sign-in were counted together"), "{text}");
    assert!(text.contains("from 203.0.113.0/24, deny.gate"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&story.to_json()).unwrap();
    assert_eq!((json["is_counted"].as_bool(), json["records"][0]["count"].as_u64()), (Some(true), Some(950)));
    forward(&world, COALESCE_FOR * 3);
    assert!(log.explain(later, SealedAccess::Closed).is_err(), "an id made after the flood is not one of it");
    let foreign = model::AccessId(uuid::Uuid::from_u128(9));
    assert!(log.explain(foreign, SealedAccess::Closed).is_err(), "nor is one without a time");
}

#[tokio::test]
async fn a_kill_takes_at_most_what_was_counted_since_the_last_second_and_nothing_is_told_twice() {
    let world = World::new();
    let (log, gate) = open(&world);
    let flood = async |gate: &FloodGate, times: u64| {
        for _ in 0..times {
            gate.append(refusal(&world, "203.0.113.0/24"), Durability::Standard).await.unwrap();
        }
    };
    flood(&gate, 1_000).await;
    gate.flush(false).await;
    // What a kill leaves: nobody flushes, the file stays.
    drop(gate);
    log.close();
    let (log, gate) = open(&world);
    gate.take_over().await;
    assert_eq!(counted(&rows(&log)), 1_000, "what was in the file is in the record now");

    // Killed between the record and the file that says it is no longer needed.
    forward(&world, COALESCE_FOR);
    flood(&gate, 1_000).await;
    gate.flush(false).await;
    let pending = world.dir.path().join("floods.pending");
    let before = std::fs::read(&pending).unwrap();
    forward(&world, COALESCE_FOR);
    gate.flush(false).await;
    assert!(!pending.exists());
    assert_eq!(counted(&rows(&log)), 2_000);
    std::fs::write(&pending, before).unwrap();
    drop(gate);
    log.close();
    let (log, gate) = open(&world);
    gate.take_over().await;
    assert_eq!(counted(&rows(&log)), 2_000, "told once");
    assert!(!pending.exists());
}
