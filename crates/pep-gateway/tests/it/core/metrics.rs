//! What the door counts (PO-3, R-6).

use std::collections::BTreeMap;

use model::record::AuditRecord;
use model::seams::{Cause, Durability, RecordError, Recorded, Scope};
use model::{BoxFuture, Decision, Effect, LiveStreams, Reason, Remedy};
use testkit::FakePdp;

use super::world::{ALICE, BOB, World, apps, changed, rules};

/// The counters that are not 0, with their labels.
fn told(world: &World) -> BTreeMap<String, u64> {
    let name = |sample: &pep_gateway::metrics::Sample| {
        let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| *value).collect();
        format!("{} {}", sample.name.trim_start_matches("countersign_"), labels.join(" ")).trim().to_owned()
    };
    let samples = world.gateway.samples();
    samples.iter().filter(|sample| sample.value > 0).map(|sample| (name(sample), sample.value)).collect()
}

fn expect(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test]
async fn each_answer_each_end_and_each_cut_is_counted_once() {
    let world = World::new();
    let (_, alice) = world.sign_in(ALICE, "wiki.localhost");
    let (_, bob) = world.sign_in(BOB, "wiki.localhost");
    world.refused(&format!("GET / wiki.localhost:8443\nCookie: {bob}")).await;
    world.refused("GET / wiki.localhost:8443").await;
    world.refused("GET /a//b wiki.localhost:8443").await;
    let short = world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {alice}")).await;
    let long = world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {alice}")).await;
    drop(short);
    let under_way = expect(&[
        ("access_ends_total client_abort", 1),
        ("decisions_total ALLOW allow", 2),
        ("decisions_total DENY deny.default", 1),
        ("decisions_total DENY deny.no_session", 1),
        ("gate_refusals_total", 1),
        ("live_streams", 1),
    ]);
    assert_eq!(told(&world), under_way);

    let cut = tokio::spawn(async move {
        long.stream().cut().await;
        drop(long);
    });
    world.publish(changed(ALICE, |user| user.direct_groups.clear()), |directory| rules(directory.clone()));
    for _ in 0..2 {
        world.gateway.streams().reevaluate(Scope::User(ALICE), Cause::FactsChanged).await;
    }
    cut.await.unwrap();
    let after = told(&world);
    assert_eq!((after["stream_cuts_total"], after.get("live_streams")), (1, None));
    assert_eq!(after["access_ends_total revoked"], 1);
}

#[tokio::test]
async fn policy_errors_and_repeated_fixes_are_counted() {
    let world = World::with(apps(), |_| FakePdp::always(Effect::Deny, Reason::PolicyError));
    let (_, alice) = world.sign_in(ALICE, "wiki.localhost");
    let request = format!("GET / wiki.localhost:8443\nCookie: {alice}");
    for _ in 0..3 {
        world.refused(&request).await;
    }
    world.fixes.exhaust(&[Remedy::Passkey]);
    world.refused(&request).await;
    let rows = [("decisions_total DENY deny.error", 4), ("fixes_repeated_total", 1), ("policy_errors_total", 4)];
    assert_eq!(told(&world), expect(&rows));
}

#[tokio::test]
async fn a_search_for_a_fix_that_was_given_up_is_counted() {
    let world = World::with(apps(), |_| {
        FakePdp::new(|question, now| {
            let refused = testkit::decision(Effect::Deny, Reason::NotPermitted, now);
            Decision { is_search_exhausted: question.facts.request.path == "/given-up", ..refused }
        })
    });
    let (_, alice) = world.sign_in(ALICE, "wiki.localhost");
    for path in ["/", "/given-up", "/given-up"] {
        world.refused(&format!("GET {path} wiki.localhost:8443\nCookie: {alice}")).await;
    }
    assert_eq!(told(&world), expect(&[("decisions_total DENY deny.default", 3), ("fixes_exhausted_total", 2)]));
}

#[tokio::test]
async fn an_answer_that_cannot_be_recorded_is_counted_as_that() {
    struct Full;
    impl model::Recorder for Full {
        fn append(&self, _: AuditRecord, _: Durability) -> BoxFuture<'static, Result<Recorded, RecordError>> {
            Box::pin(async { Err(RecordError { cause: "the disk is full".to_owned() }) })
        }
    }
    let world = World::recorded_by(std::sync::Arc::new(Full));
    let (_, alice) = world.sign_in(ALICE, "wiki.localhost");
    world.ask(&format!("GET / wiki.localhost:8443\nCookie: {alice}")).await;
    assert_eq!(told(&world)["decisions_total DENY deny.audit_unavailable"], 1);
    assert!(!told(&world).contains_key("decisions_total ALLOW allow"));
}
