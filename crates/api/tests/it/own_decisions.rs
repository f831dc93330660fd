//! `/.countersign/decision/{id}`: a person reads about their own refusals, and about nothing else (LEAP-9, GW-16).

use std::time::Duration;

use http::StatusCode;
use model::record::AuditRecord;
use model::{AccessId, Effect, Reason};
use serde_json::Value;

use crate::console::put_record;
use crate::world::{ALICE, CAROL, World};

const HOST: &str = "wiki.test";

fn path(id: impl std::fmt::Display) -> String {
    format!("/.countersign/decision/{id}")
}

fn hard_forbid(record: &mut AuditRecord) {
    record.decision.reason = Some(Reason::UserDisabled);
}

fn of_vault(record: &mut AuditRecord) {
    record.what.app = Some("vault".into());
    record.what.resource = Some("vault/all".into());
}

async fn told(world: &World, id: AccessId) -> Value {
    let session = world.session(ALICE, 1);
    let answer = world.get(world.context(HOST, Some(&session), None), &path(id)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn ones_own_refusal_is_told_with_its_reason_and_nothing_that_policies_say() {
    let world = World::new().await;
    let id = put_record(&world, |record| {
        hard_forbid(record);
        record.decision.policies = vec!["secret/tor-exits".into()];
        record.who.subject_email = Some("alice@corp.test".into());
    });
    let told = told(&world, id).await;
    assert_eq!((told["request"].as_str(), told["effect"].as_str()), (Some(&*id.to_string()), Some("DENY")));
    assert_eq!(told["sentence"].as_str(), Some(Reason::UserDisabled.sentence()));
    let mut keys: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["effect", "fix", "request", "sentence", "time"], "nothing else is told");
}

#[tokio::test]
async fn somebody_elses_decision_looks_like_none_at_all() {
    let world = World::new().await;
    let theirs = put_record(&world, |record| record.who.subject_id = Some(CAROL));
    let nobodys = put_record(&world, |record| record.who.subject_id = None);
    let own = put_record(&world, |_| ());
    let session = world.session(ALICE, 1);
    let ask = async |path: String| world.get(world.context(HOST, Some(&session), None), &path).await;
    let absent = ask(path("0000000000000000000000000a")).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    for hidden in [path(theirs), path(nobodys), path("..%2f"), path("")] {
        let answer = ask(hidden.clone()).await;
        assert_eq!((answer.status, &answer.body), (absent.status, &absent.body), "{hidden}");
    }
    // Without a session, also one's own.
    let answer = world.get(world.context(HOST, None, None), &path(own)).await;
    assert_eq!((answer.status, &answer.body), (absent.status, &absent.body));
    assert_eq!(ask(path(own)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_app_that_explains_nothing_keeps_the_reason_of_its_refusal() {
    let world = World::new().await;
    let mut sentences = Vec::new();
    for reason in [Reason::UserDisabled, Reason::NotPermitted, Reason::PolicyError] {
        let id = put_record(&world, |record| {
            of_vault(record);
            record.decision.reason = Some(reason);
            record.decision.step_up = vec!["passkey".into()];
        });
        let told = told(&world, id).await;
        assert!(told["fix"].is_null(), "{told}");
        assert!(!told.to_string().contains(reason.audit_code()), "{told}");
        sentences.push(told["sentence"].clone());
    }
    sentences.dedup();
    assert_eq!(sentences.len(), 1, "the reasons cannot be told apart: {sentences:?}");
    // An app that is gone says nothing of itself either.
    let gone = put_record(&world, |record| record.what.app = Some("gone".into()));
    assert_eq!(told(&world, gone).await["sentence"], sentences[0]);
}

#[tokio::test]
async fn what_a_person_can_mend_is_told_also_where_refusals_are_not_explained() {
    let world = World::new().await;
    let id = put_record(&world, |record| {
        of_vault(record);
        record.decision.effect = Some(Effect::StepUp);
        record.decision.reason = Some(Reason::StepUpMfa);
        record.decision.step_up = vec!["passkey".into()];
    });
    let told = told(&world, id).await;
    assert_eq!(told["sentence"].as_str(), Some(Reason::StepUpMfa.sentence()));
    assert_eq!(told["fix"], serde_json::json!(["passkey"]));
}

#[tokio::test]
async fn guessing_ids_is_limited_whether_they_are_found_or_not() {
    let world = World::new().await;
    let own = put_record(&world, |_| ());
    let theirs = put_record(&world, |record| record.who.subject_id = Some(CAROL));
    let session = world.session(ALICE, 1);
    let mut refused = 0;
    for round in 0..40 {
        let asked = path(if round % 2 == 0 { own } else { theirs });
        let answer = world.get(world.context(HOST, Some(&session), None), &asked).await;
        refused += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 10);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.get(world.context(HOST, Some(&session), None), &path(own)).await.status, StatusCode::OK);
}
