//! Counting recent decisions from the index.

use std::sync::atomic::Ordering;
use std::time::Duration;

use audit::{AuditLog, Counts};
use model::record::RecordType;
use model::seams::Durability;
use model::{Effect, Reason, Timestamp};

use crate::common::{START, World};

const HOUR: Duration = Duration::from_secs(3_600);
const NANOS: i64 = 3_600_000_000_000;

fn put(world: &World, log: &AuditLog, effect: Effect, reason: Reason) {
    let mut record = world.decision();
    record.decision.effect = Some(effect);
    record.decision.reason = Some(reason);
    log.append_blocking(record, Durability::Standard).unwrap();
}

#[test]
fn decisions_are_counted_in_the_hour_they_fell_and_where_nothing_is_known_is_a_gap() {
    let world = World::new();
    let (log, _) = world.open();
    put(&world, &log, Effect::Allow, Reason::Allow);
    put(&world, &log, Effect::Allow, Reason::AllowPublic);
    world.clock.0.fetch_add(2 * NANOS, Ordering::Relaxed);
    put(&world, &log, Effect::Deny, Reason::NotPermitted);
    put(&world, &log, Effect::Deny, Reason::NotPermitted);
    put(&world, &log, Effect::StepUp, Reason::StepUpRequired);
    let mut end = world.decision();
    end.kind = RecordType::AccessCompletion;
    log.append_blocking(end, Durability::Standard).unwrap();
    let tally = log.tally(START + 3 * HOUR, HOUR, 5);
    let counts = |allowed, denied, step_up| Some(Counts { allowed, denied, step_up });
    assert_eq!(tally.spans, [None, None, counts(2, 0, 0), counts(0, 0, 0), counts(0, 2, 1)]);
    assert_eq!(tally.since, START - 2 * HOUR);
    assert_eq!((tally.all.total(), tally.public, tally.floods), (5, 1, 0));
    assert_eq!(tally.reasons, [(Reason::NotPermitted, 2), (Reason::StepUpRequired, 1)]);
    // The end of a span belongs to the next.
    assert_eq!(log.tally(START + 2 * HOUR, HOUR, 2).all.total(), 2);
}

#[test]
fn an_empty_log_and_odd_spans_are_told_as_gaps_and_never_as_nought() {
    let world = World::new();
    let (log, _) = world.open();
    assert_eq!(log.tally(START, HOUR, 3).spans, [None, None, None]);
    put(&world, &log, Effect::Allow, Reason::Allow);
    for (until, span, spans) in [
        (Timestamp(i64::MIN), HOUR, 3),
        (Timestamp(i64::MAX), HOUR, 3),
        (START, Duration::ZERO, 0),
        (START, Duration::MAX, usize::MAX),
    ] {
        let tally = log.tally(until, span, spans);
        assert!(tally.spans.len() <= audit::tally::MAX_SPANS && tally.all.total() <= 1, "{until:?} {span:?} {spans}");
    }
}

#[test]
fn what_the_index_forgot_is_a_gap() {
    let mut world = World::new();
    world.config.hot_rows = 0;
    let (log, _) = world.open();
    for _ in 0..3 {
        for _ in 0..1_024 {
            put(&world, &log, Effect::Allow, Reason::Allow);
        }
        world.clock.0.fetch_add(NANOS, Ordering::Relaxed);
    }
    let tally = log.tally(START + 3 * HOUR, HOUR, 3);
    assert_eq!(tally.spans[0], None, "a thousand rows are remembered, and the first hour is not among them");
    assert!(tally.all.total() < 3 * 1_024);
}
