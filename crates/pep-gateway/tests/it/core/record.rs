//! No record, no bytes; two records for each access (GW-82, AUD-6, AUD-10, AUD-18).

use std::sync::Arc;
use std::time::Duration;

use model::record::{EndCause, RecordType, SubjectKind};
use model::seams::Durability;
use model::{Decision, Effect, Reason};
use pep_gateway::{Completion, Outcome};
use testkit::FakePdp;

use super::world::{ALICE, World, apps};

#[tokio::test]
async fn without_a_record_nothing_flows_and_the_answer_is_503() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    world.recorder.fail(true);
    for request in [
        format!("GET / wiki.localhost:8443\nCookie: {cookie}"),
        "GET / wiki.localhost:8443\nAccept: text/html".to_owned(),
        "GET /favicon.ico wiki.localhost:8443".to_owned(),
        "GET /login localhost:8443".to_owned(),
        "GET / evil.test:8443".to_owned(),
    ] {
        let Outcome::Refuse(refusal) = world.ask(&request).await else { panic!("{request:?} went through") };
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::AuditUnavailable), "{request:?}");
    }
    assert!(world.gateway.streams().is_empty(), "nothing is left open");
    world.recorder.fail(false);
    world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
}

#[tokio::test]
async fn the_decision_record_says_who_what_where_and_why() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let permit = world
        .permitted(&format!(
            "GET /api/records?year=2026&token=secret payroll.localhost:8443\nCookie: {cookie}\nUser-Agent: {}",
            "Mozilla ".repeat(100)
        ))
        .await;
    let record = world.last_record();
    assert_eq!(record.kind, RecordType::AccessDecision);
    assert_eq!(record.access_id, permit.access_id());
    assert_eq!((record.who.subject_id, record.who.session_id), (Some(ALICE), Some(id)));
    assert_eq!(record.who.subject_kind, Some(SubjectKind::Person));
    assert_eq!(record.credential.kind, Some("passkey"));
    assert_eq!(record.what.resource.as_deref(), Some("payroll/api"));
    assert_eq!(record.what.action, Some("http.get"));
    assert_eq!(record.what.url_path.as_deref(), Some("/records"));
    assert_eq!(record.what.url_query.as_deref(), Some("year&token"));
    assert_eq!(record.from.src_ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(record.from.tls_version, Some("1.3"));
    assert_eq!(record.from.user_agent.as_deref().map(str::len), Some(256));
    assert_eq!(record.decision.effect, Some(Effect::Allow));
    assert_eq!(record.pins.config_version, Some(1));
    assert!(record.pins.policy_set_hash.is_some() && record.pins.context.is_some());
    assert_eq!(record.completion.status, None);
}

#[tokio::test]
async fn a_finished_access_leaves_one_completion() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
    let access = permit.access_id();
    permit.stream().count_in(3);
    permit.stream().count_out(5);
    permit.stream().count_out(2);
    world.clock.advance(Duration::from_millis(4));
    permit.finish(Completion {
        status: Some(200),
        end_cause: EndCause::Closed,
        upstream: Some("http://127.0.0.1:9".into()),
        connect: Some(Duration::from_nanos(7)),
        first_byte: Some(Duration::from_nanos(9)),
    });
    world.gateway.finish_records().await;
    let completions = world.recorder.of_type(RecordType::AccessCompletion);
    let [record] = completions.as_slice() else { panic!("{} completions", completions.len()) };
    assert_eq!(record.access_id, access);
    let end = &record.completion;
    assert_eq!((end.status, end.bytes_in, end.bytes_out), (Some(200), Some(3), Some(7)));
    assert_eq!((end.duration_ns, end.end_cause), (Some(4_000_000), Some(EndCause::Closed)));
    assert_eq!((end.upstream_connect_ns, end.upstream_first_byte_ns), (Some(7), Some(9)));
    assert!(end.assertion_jti.is_some());
    assert_eq!(record.who.subject_name, None, "nothing sealed twice");
}

#[tokio::test]
async fn a_permit_that_is_dropped_is_recorded_as_a_client_that_went_away() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    drop(world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await);
    world.gateway.finish_records().await;
    let completions = world.recorder.of_type(RecordType::AccessCompletion);
    assert_eq!(completions.len(), 1);
    assert_eq!(completions[0].completion.end_cause, Some(EndCause::ClientAbort));
    assert!(world.gateway.streams().is_empty());
}

#[tokio::test]
async fn a_strict_policy_makes_the_record_strict_also_of_a_refusal() {
    for (is_strict, effect) in [(false, Effect::Allow), (true, Effect::Allow), (true, Effect::Deny)] {
        let world = World::with(apps(), |_| {
            FakePdp::new(move |_, now| Decision {
                is_audit_strict: is_strict,
                ..testkit::decision(effect, Reason::Forbidden, now)
            })
        });
        let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
        let _outcome = world.ask(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
        let expected = if is_strict { Durability::Strict } else { Durability::Standard };
        assert_eq!(world.recorder.durabilities(), [expected], "{effect}");
    }
}

#[tokio::test]
async fn activity_is_reported_only_for_what_was_allowed() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "payroll.localhost");
    world.refused(&format!("DELETE /records/7 payroll.localhost:8443\nCookie: {cookie}")).await;
    assert!(world.sessions.touched().is_empty());
    world.permitted(&format!("GET /records/7 payroll.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!(world.sessions.touched().first().map(|(session, _)| *session), Some(id));
}

/// An endpoint of ours with a bug.
struct Broken;

impl model::ReservedService for Broken {
    fn call(&self, _: http::Request<bytes::Bytes>) -> model::BoxFuture<'_, http::Response<bytes::Bytes>> {
        panic!("a bug in the endpoint")
    }

    fn park_target(&self, _: &str, _: model::Timestamp) -> Option<String> {
        panic!("a bug in the endpoint")
    }
}

#[tokio::test]
async fn a_panic_anywhere_while_judging_is_a_recorded_refusal() {
    let world = World::new();
    let old = world.gateway.snapshot();
    let broken = pep_gateway::Gateway::new(pep_gateway::GatewayParts {
        settings: pep_gateway::GatewaySettings { auth_url: super::world::AUTH_URL.to_owned() },
        snapshot: pep_gateway::GatewaySnapshot::new(
            1,
            Arc::clone(&old.apps),
            Arc::clone(&old.pdp),
            Arc::clone(&old.directory),
        ),
        sessions: Arc::clone(&world.sessions) as _,
        recorder: Arc::clone(&world.recorder) as _,
        reserved: Arc::new(Broken),
        clock: Arc::clone(&world.clock) as _,
        ids: Arc::new(testkit::SeqIds::default()),
        return_sealer: Arc::clone(&world.sealer),
        assertion_keys: Arc::clone(&world.keys),
        fixes: Arc::clone(&world.fixes) as _,
    });
    let long = format!("GET /{} wiki.localhost:8443\nAccept: text/html", "a".repeat(4000));
    let outcome = broken.enforce(super::world::raw(&long), &super::world::connection()).await;
    let Outcome::Refuse(refusal) = outcome else { panic!("it went through") };
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::Internal));
    assert_eq!(refusal.headers()["retry-after"], "5");
    let record = world.last_record();
    assert_eq!((record.access_id, record.decision.reason), (refusal.access_id(), Some(Reason::Internal)));
}
