//! Queries, explanations and tails over a log with something in it (AUD-1 to AUD-3).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use audit::query::IpRange;
use audit::{AuditLog, Column, ExplainError, Query, QueryError, SealedAccess, TailItem};
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;
use model::{AccessId, Clock, Effect, Reason, Recorder, Timestamp, UserId};

use crate::common::{START, World, alice, bob};

fn people(who: &str) -> Option<UserId> {
    match who {
        "alice" => Some(alice()),
        "bob" => Some(bob()),
        _ => None,
    }
}

fn ask(log: &AuditLog, now: Timestamp, filters: &[(&str, &str)]) -> audit::Answer {
    let query = Query::parse(filters.iter().copied(), now, &people).unwrap();
    log.query(&query, SealedAccess::Open).unwrap()
}

/// alice reads payroll, bob is refused it, and somebody unknown is sent to sign in.
fn three(world: &World, log: &AuditLog) -> [AuditRecord; 3] {
    let allowed = world.decision();
    let mut denied = world.decision();
    denied.who.subject_id = Some(bob());
    denied.who.subject_email = Some("bob@example.com".into());
    denied.decision.effect = Some(Effect::Deny);
    denied.decision.reason = Some(Reason::NotPermitted);
    denied.decision.policies = Vec::new();
    denied.from.src_ip = Some("198.51.100.9".parse().unwrap());
    denied.from.src_net = Some("198.51.100.0/24".into());
    let mut unknown = world.decision();
    unknown.who = Default::default();
    unknown.who.subject_kind = Some(model::record::SubjectKind::Anonymous);
    unknown.what.app = Some("wiki".into());
    unknown.what.resource = Some("wiki".into());
    unknown.decision.effect = Some(Effect::StepUp);
    unknown.decision.reason = Some(Reason::StepUpRequired);
    unknown.decision.step_up = vec!["passkey".into()];
    unknown.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
    let all = [allowed, denied, unknown];
    for record in &all {
        log.append_blocking(record.clone(), Durability::Strict).unwrap();
    }
    all
}

#[test]
fn every_filter_finds_what_it_says_and_nothing_else() {
    let world = World::new();
    let (log, _) = world.open();
    let [allowed, ..] = three(&world, &log);
    let found =
        |filters: &[(&str, &str)]| -> Vec<u64> { ask(&log, START, filters).rows.iter().map(|row| row.seq).collect() };
    assert_eq!(found(&[]), [2, 1, 0], "newest first");
    assert_eq!(found(&[("who", "alice")]), [0]);
    assert_eq!(found(&[("who", &bob().to_string())]), [1]);
    assert_eq!(found(&[("who", "anonymous")]), [2]);
    assert_eq!(found(&[("who", "local-operator")]), [] as [u64; 0]);
    assert_eq!(found(&[("what", "payroll")]), [1, 0]);
    assert_eq!(found(&[("what", "payroll/records")]), [1, 0]);
    assert_eq!(found(&[("what", "pay")]), [] as [u64; 0], "whole names, not prefixes");
    assert_eq!(found(&[("app", "wiki")]), [2]);
    assert_eq!(found(&[("effect", "deny")]), [1]);
    assert_eq!(found(&[("reason", "deny.default")]), [1]);
    assert_eq!(found(&[("policy", "payroll/staff")]), [2, 0]);
    assert_eq!(found(&[("policy", "payroll")]), [2, 0]);
    assert_eq!(found(&[("action", "http.get"), ("door", "http")]), [2, 1, 0]);
    assert_eq!(found(&[("action", "http.put")]), [] as [u64; 0]);
    assert_eq!(found(&[("trace", "0AF7651916CD43DD8448EB211C80319C")]), [2]);
    assert_eq!(found(&[("access", &allowed.access_id.to_string())]), [0]);
    assert_eq!(found(&[("type", "access.completion")]), [] as [u64; 0]);
    assert_eq!(found(&[("ip", "198.51.100.0/24")]), [1]);
    assert_eq!(found(&[("ip", "198.51.100.9")]), [1]);
    assert_eq!(found(&[("ip", "198.51.100.8")]), [] as [u64; 0]);
    assert_eq!(found(&[("ip", "198.0.0.0/8")]), [1]);
    assert_eq!(found(&[("limit", "2")]), [2, 1]);
    let now = START + Duration::from_secs(3600);
    let later = |filters: &[(&str, &str)]| ask(&log, now, filters).rows.len();
    assert_eq!(later(&[("since", "30m")]), 0);
    assert_eq!(later(&[("since", "2h"), ("until", "30m")]), 3);
}

#[test]
fn an_answer_says_when_there_is_more_and_how_much_it_looked_at() {
    let world = World::new();
    let (log, _) = world.open();
    three(&world, &log);
    let answer = ask(&log, START, &[("limit", "2")]);
    assert_eq!((answer.rows.len(), answer.has_more), (2, true));
    let answer = ask(&log, START, &[]);
    assert_eq!((answer.rows.len(), answer.has_more, answer.scanned), (3, false, 3));
    assert_eq!(answer.coverage.to_string(), "complete");
}

#[test]
fn an_exact_address_cannot_be_probed_without_the_right_to_see_it() {
    let world = World::new();
    let (log, _) = world.open();
    three(&world, &log);
    let query = |text| Query { ip: IpRange::parse(text), ..Query::default() };
    let refused = log.query(&query("198.51.100.9"), SealedAccess::Closed).unwrap_err();
    assert_eq!(refused, QueryError::NeedsSealed("198.51.100.9/32".into()));
    assert!(log.tail(query("198.51.100.9"), None, SealedAccess::Closed).is_err());
    assert_eq!(log.query(&query("198.51.100.0/24"), SealedAccess::Closed).unwrap().rows.len(), 1);
}

#[test]
fn records_older_than_the_hot_index_are_found_in_their_segments() {
    let mut world = World::new();
    world.config.hot_rows = 0;
    let (log, _) = world.open();
    let first = three(&world, &log);
    for _ in 0..5_000 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
    }
    assert!(world.segments().len() > 2);
    for round in 0..2 {
        let (fresh, _) = if round == 0 { (None, ()) } else { (Some(world.open_again(&log)), ()) };
        let log = fresh.as_ref().unwrap_or(&log);
        let story = log.explain(first[1].access_id, SealedAccess::Closed).unwrap();
        assert_eq!(story.records[0].seq, 1);
        let answer = ask(log, START, &[("effect", "deny")]);
        assert_eq!(answer.rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1]);
        assert!(answer.scanned >= 5_003 && answer.coverage.is_complete());
        let answer = ask(log, START, &[("limit", "10000"), ("type", "access.decision")]);
        let seqs: Vec<u64> = answer.rows.iter().rev().map(|row| row.seq).collect();
        assert_eq!(seqs, (0..5_003).collect::<Vec<_>>(), "round {round}");
        let answer = ask(log, START, &[("limit", "3000"), ("type", "access.decision")]);
        assert_eq!((answer.rows[0].seq, answer.rows[2_999].seq, answer.has_more), (5_002, 2_003, true));
    }
}

#[test]
fn a_segment_gone_from_the_old_part_is_named_in_the_answer() {
    let mut world = World::new();
    world.config.hot_rows = 0;
    let (log, _) = world.open();
    for _ in 0..4_000 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
    }
    let segments = world.segments();
    assert!(segments.len() > 3);
    let log = world.open_again(&log);
    log.close();
    std::fs::remove_file(&segments[1]).unwrap();
    let (log, report) = world.open();
    assert_eq!(report.gaps, vec![], "the start looks at the newest part only");
    let answer = ask(&log, START, &[("limit", "10000")]);
    assert_eq!(answer.coverage.holes.len(), 1, "{:?}", answer.coverage);
    let decisions = answer.rows.iter().filter(|row| row.kind() == Some(RecordType::AccessDecision)).count() as u64;
    assert_eq!(answer.coverage.holes[0].records + decisions, 4_000);
}

#[test]
fn an_old_question_does_not_read_what_is_too_old_to_matter() {
    let mut world = World::new();
    world.config.hot_rows = 0;
    let (log, _) = world.open();
    for _ in 0..40 {
        for _ in 0..100 {
            log.append_blocking(world.decision(), Durability::Standard).unwrap();
        }
        world.clock.0.fetch_add(3_600_000_000_000, Ordering::SeqCst);
    }
    let now = Timestamp(world.clock.0.load(Ordering::SeqCst));
    let answer = ask(&log, now, &[("since", "2h"), ("limit", "10000")]);
    assert_eq!(answer.rows.len(), 200);
    assert!(answer.scanned < 1_000, "{}", answer.scanned);
}

#[test]
fn a_refusal_explains_itself() {
    let world = World::new();
    let (log, _) = world.open();
    let [allowed, denied, step_up] = three(&world, &log);
    let mut end = AuditRecord::new(RecordType::AccessCompletion, allowed.access_id, START, "http");
    end.completion.status = Some(200);
    end.completion.bytes_out = Some(512);
    end.completion.duration_ns = Some(12_000_000);
    end.completion.end_cause = Some(model::record::EndCause::Closed);
    log.append_blocking(end, Durability::Standard).unwrap();
    let text = |id| log.explain(id, SealedAccess::Open).unwrap().to_text();
    insta::assert_snapshot!("explain_allow", text(allowed.access_id));
    insta::assert_snapshot!("explain_deny", text(denied.access_id));
    insta::assert_snapshot!("explain_step_up", text(step_up.access_id));
    let json: serde_json::Value =
        serde_json::from_str(&log.explain(step_up.access_id, SealedAccess::Closed).unwrap().to_json()).unwrap();
    assert_eq!(json["would_change_it"][0], "Confirm with your passkey");
    assert_eq!(json["records"][0]["subject_name"], serde_json::Value::Null);
    assert_eq!(json["records"][0]["src_ip"]["state"], "sealed");
    assert_eq!(json["records"][0]["reason"], "step_up.reauth");
}

#[test]
fn the_id_of_a_decision_explains_its_access() {
    let world = World::new();
    let (log, _) = world.open();
    three(&world, &log);
    let mut decision = world.decision();
    let decision_id = model::DecisionId(world.access().0);
    decision.decision.decision_id = Some(decision_id);
    let access_id = decision.access_id;
    log.append_blocking(decision, Durability::Standard).unwrap();
    let story = log.explain(AccessId(decision_id.0), SealedAccess::Closed).unwrap();
    assert_eq!((story.access_id, story.records.len()), (access_id, 1));
    assert_eq!(story, log.explain(access_id, SealedAccess::Closed).unwrap());
}

#[test]
fn an_unknown_access_says_what_was_searched() {
    let world = World::new();
    let (log, _) = world.open();
    three(&world, &log);
    let id = AccessId(uuid::Uuid::from_u128(9));
    let error = log.explain(id, SealedAccess::Closed).unwrap_err();
    assert!(matches!(error, ExplainError::Unknown { last_seq: 2, scanned: 3, .. }), "{error:?}");
    assert!(error.to_string().ends_with("searched 3 records, 0 to 2, coverage complete; it was never recorded here"));
}

#[test]
fn hostile_text_in_a_record_cannot_move_the_reader_s_cursor() {
    let world = World::new();
    let (log, _) = world.open();
    let mut record = world.decision();
    record.what.url_path = Some("/\u{1b}[2J\r\n2026-01-01 ALLOW forged\u{202e}".into());
    record.what.resource = Some("=cmd|'/c calc'!A1".into());
    let id = record.access_id;
    log.append_blocking(record, Durability::Standard).unwrap();
    let rows = ask(&log, START, &[]).rows;
    let story = log.explain(id, SealedAccess::Open).unwrap();
    let outputs = [
        audit::render::table(&rows),
        audit::render::json(&rows[0]),
        audit::render::csv(&rows[0]),
        story.to_text(),
        story.to_json(),
    ];
    for output in outputs {
        assert!(!output.contains(['\u{1b}', '\u{202e}']), "{output}");
        assert!(!output.lines().any(|line| line.starts_with("2026-01-01")), "{output}");
    }
    assert!(audit::render::csv(&rows[0]).contains(",'=cmd|"));
    let json: serde_json::Value = serde_json::from_str(&audit::render::json(&rows[0])).unwrap();
    assert_eq!(json["url_path"], "/\u{1b}[2J\r\n2026-01-01 ALLOW forged\u{202e}");
}

#[tokio::test]
async fn a_tail_sees_every_matching_record_in_order_and_resumes_by_number() {
    let world = World::new();
    let (log, _) = world.open();
    let log = Arc::new(log);
    let query = Query { effect: Some(Effect::Allow), ..Query::default() };
    let mut tail = log.tail(query.clone(), None, SealedAccess::Closed).unwrap();
    let writer = {
        let (log, records) = (log.clone(), (0..300).flat_map(|_| world.visit()).collect::<Vec<_>>());
        tokio::spawn(async move {
            for record in records {
                log.append(record, Durability::Standard).await.unwrap();
            }
        })
    };
    let mut seen = Vec::new();
    while seen.len() < 150 {
        collect(&mut seen, tail.next().await.unwrap());
    }
    let resume = tail.next_seq();
    drop(tail);
    let mut tail = log.tail(query, Some(resume), SealedAccess::Closed).unwrap();
    while seen.len() < 300 {
        collect(&mut seen, tail.next().await.unwrap());
    }
    writer.await.unwrap();
    assert_eq!(seen, (0..300).map(|n| n * 2).collect::<Vec<u64>>());
    log.close();
    assert_eq!(tail.next().await, None);
}

fn collect(seen: &mut Vec<u64>, items: Vec<TailItem>) {
    for item in items {
        match item {
            TailItem::Record(record) => seen.push(record.seq),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_slow_reader_is_told_what_it_missed_and_never_holds_the_writer() {
    let world = World::new();
    let (log, _) = world.open();
    let mut tail = log.tail(Query::default(), Some(0), SealedAccess::Closed).unwrap();
    for _ in 0..audit::tail::MAX_BEHIND + 500 {
        log.append_blocking(world.decision(), Durability::Standard).unwrap();
    }
    let items = tail.take_ready();
    assert_eq!(items[0], TailItem::Skipped { from_seq: 0, records: 500 });
    assert!(matches!(&items[1], TailItem::Record(record) if record.seq == 500));
    assert!(items.len() < 1_000, "a batch is bounded");
}

#[test]
fn a_table_shows_what_happened_in_one_line_each() {
    let world = World::new();
    let (log, _) = world.open();
    three(&world, &log);
    let rows = ask(&log, START, &[]).rows;
    insta::assert_snapshot!("table", audit::render::table(&rows));
    assert!(rows.iter().all(|row| row.get(Column::AccessId).is_some()));
}

#[tokio::test]
async fn a_list_leaves_out_only_answered_reads_of_our_own_files_and_says_how_many() {
    let world = World::new();
    let (log, _) = world.open();
    let put = |method: &str, path: &str, effect| {
        let mut record = world.decision();
        record.what.method = Some(method.into());
        record.what.url_path = Some(path.into());
        record.decision.effect = Some(effect);
        log.append_blocking(record.clone(), Durability::Strict).unwrap();
        record.access_id
    };
    let own = [
        put("GET", "/.countersign/assets/0123456789abcdef.css", Effect::Allow),
        put("HEAD", "/.countersign/client.js", Effect::Allow),
    ];
    let shown = [
        put("GET", "/records", Effect::Allow),
        put("GET", "/.countersign/assets/0123456789abcdef.css", Effect::Deny),
        put("POST", "/.countersign/client.js", Effect::Allow),
        put("GET", "/.countersign/client.json", Effect::Allow),
        put("GET", "/.countersign/assets/../../records", Effect::Allow),
        put("GET", "/app/.countersign/assets/x.css", Effect::Allow),
        put("GET", "/.countersign/session", Effect::Allow),
    ];
    let now = world.clock.now();
    let ids = |answer: &audit::Answer| {
        let mut ids: Vec<_> = answer.rows.iter().filter_map(|row| row.id(Column::AccessId)).map(AccessId).collect();
        ids.reverse();
        ids
    };
    let kind = ("type", "access.decision");
    let short = ask(&log, now, &[kind, ("all", "no")]);
    assert_eq!((ids(&short), short.left_out, short.has_more), (shown.to_vec(), 2, false));
    for filters in [&[kind][..], &[kind, ("all", "yes")]] {
        let whole = ask(&log, now, filters);
        assert_eq!((ids(&whole), whole.left_out), ([&own[..], &shown].concat(), 0));
    }
    let one = ask(&log, now, &[("access", &own[0].to_string()), ("all", "no")]);
    assert_eq!(ids(&one), own[..1], "who asks for one access gets it");

    let query = Query::parse([kind, ("all", "no")], now, &people).unwrap();
    let mut tail = log.tail(query, Some(0), SealedAccess::Closed).unwrap();
    let mut followed = Vec::new();
    while followed.len() < shown.len() {
        for item in tail.next().await.unwrap() {
            let TailItem::Record(record) = item else { panic!("{item:?}") };
            followed.extend(record.id(Column::AccessId).map(AccessId));
        }
    }
    assert_eq!(followed, shown);
}
