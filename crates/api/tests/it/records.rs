//! Every route that changes something leaves a record of its own (AUD-7), and no record holds an address in the clear.

use std::collections::BTreeSet;

use http::StatusCode;
use model::record::RecordType;
use serde_json::{Value, json};

use crate::authorisation::routes;
use crate::world::{APPS, World, has_text};

/// What is called on the local socket, the route it stands for, and the records it must leave.
type Change = (&'static str, &'static str, String, Value, &'static [&'static str]);

/// Calls it; method and route.
async fn walk(world: &World, (method, route, path, body, kinds): Change) -> (String, String) {
    let from = world.recorder.records().len();
    let token = world.control.published().directory.service_tokens.keys().next().map(ToString::to_string);
    let path = path.replace("THE-TOKEN", &token.unwrap_or_default());
    let answer = world.local(method, &path, &body).await;
    let is_refused = kinds.contains(&"config.refused");
    assert_eq!(answer.status.is_success(), !is_refused, "{method} {path}: {} {}", answer.status, answer.body);
    let records = world.recorder.records();
    assert_eq!(records[from].kind, RecordType::AccessDecision, "{method} {path}");
    let left: BTreeSet<&str> = world.kinds_since(from).into_iter().collect();
    assert!(kinds.iter().all(|kind| left.contains(kind)), "{method} {path}: {left:?}, expected {kinds:?}");
    (method.to_owned(), route.to_owned())
}

/// What is called in turn where others have to approve.
async fn proposals(world: &World) -> Vec<Change> {
    let files: Vec<Value> = APPS.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let propose = |files: &[Value]| -> Change {
        let route = "/api/v1/config/apply";
        ("POST", route, route.into(), json!({ "files": files }), &["config.proposed"])
    };
    let plan = world.local("POST", "/api/v1/config/plan", &json!({ "files": files })).await.json();
    let path = format!("/api/v1/config/proposals/{}", plan["digest"].as_str().unwrap());
    let route = "/api/v1/config/proposals/{digest}";
    vec![
        propose(&files),
        ("DELETE", route, path.clone(), Value::Null, &["config.withdrawn"]),
        propose(&files),
        (
            "POST",
            "/api/v1/config/proposals/{digest}/approve",
            format!("{path}/approve"),
            json!({ "break_glass": "for carol@corp.test" }),
            &["config.break_glass", "config.applied"],
        ),
    ]
}

/// What is called in turn.
fn changes() -> Vec<Change> {
    let files: Vec<Value> = APPS.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let user = "/api/v1/users/bob@corp.test";
    let member = "/api/v1/groups/ops/members/bob@corp.test";
    vec![
        ("POST", "/api/v1/groups", "/api/v1/groups".into(), json!({ "id": "ops" }), &["identity.group_changed"]),
        (
            "POST",
            "/api/v1/users",
            "/api/v1/users".into(),
            json!({ "email": "bob@corp.test", "name": "Bob" }),
            &["identity.user_created"],
        ),
        (
            "POST",
            "/api/v1/users/import",
            "/api/v1/users/import".into(),
            json!({ "name": "people.csv", "format": "csv", "text": "email,name\neve@corp.test,Eve\n" }),
            &["identity.user_created"],
        ),
        (
            "POST",
            "/api/v1/invites",
            "/api/v1/invites".into(),
            json!({ "user": "bob@corp.test" }),
            &["identity.invitation"],
        ),
        ("PUT", "/api/v1/groups/{id}/members/{who}", member.into(), Value::Null, &["identity.membership_changed"]),
        ("DELETE", "/api/v1/groups/{id}/members/{who}", member.into(), Value::Null, &["identity.membership_changed"]),
        ("POST", "/api/v1/users/{who}/disable", format!("{user}/disable"), Value::Null, &["identity.user_disabled"]),
        ("POST", "/api/v1/users/{who}/enable", format!("{user}/enable"), Value::Null, &["identity.user_changed"]),
        (
            "POST",
            "/api/v1/sessions/revoke",
            "/api/v1/sessions/revoke".into(),
            json!({ "user": "bob@corp.test" }),
            &["session.revoked"],
        ),
        ("DELETE", "/api/v1/users/{who}", user.into(), Value::Null, &["identity.user_deleted"]),
        ("DELETE", "/api/v1/groups/{id}", "/api/v1/groups/ops".into(), Value::Null, &["identity.group_changed"]),
        (
            "POST",
            "/api/v1/config/apply",
            "/api/v1/config/apply".into(),
            json!({ "files": files }),
            &["config.applied", "policy.published"],
        ),
        (
            "POST",
            "/api/v1/config/apply",
            "/api/v1/config/apply".into(),
            json!({ "files": [{ "name": "x.yaml", "text": "kind: Nothing" }] }),
            &["config.refused"],
        ),
        (
            "POST",
            "/api/v1/audit/drill",
            "/api/v1/audit/drill".into(),
            json!({ "rungs": ["clock_jump"] }),
            &["audit.drill"],
        ),
        (
            "POST",
            "/api/v1/audit/sinks/{name}/test",
            "/api/v1/audit/sinks/copy/test".into(),
            json!({}),
            &["audit.sink_tested"],
        ),
        (
            "POST",
            "/api/v1/users/{who}/recover",
            "/api/v1/users/alice@corp.test/recover".into(),
            json!({ "step": "open" }),
            &["auth.recovery", "auth.notice"],
        ),
        (
            "DELETE",
            "/api/v1/users/{who}/deletion",
            "/api/v1/users/alice@corp.test/deletion".into(),
            Value::Null,
            &["identity.user_changed"],
        ),
        (
            "POST",
            "/api/v1/admin-recovery",
            "/api/v1/admin-recovery".into(),
            json!({ "user": "carol@corp.test" }),
            &["auth.recovery"],
        ),
        (
            "POST",
            "/api/v1/config/apply",
            "/api/v1/config/apply".into(),
            json!({ "files": files.get(..2), "reason": "closed for carol@corp.test" }),
            &["config.applied", "policy.published"],
        ),
        (
            "POST",
            "/api/v1/config/rollback",
            "/api/v1/config/rollback".into(),
            json!({ "reason": "too strict" }),
            &["policy.rolled_back"],
        ),
        (
            "POST",
            "/api/v1/gateways/{name}/token",
            "/api/v1/gateways/west/token".into(),
            json!({}),
            &["gateway.invited"],
        ),
        ("DELETE", "/api/v1/gateways/{name}", "/api/v1/gateways/west".into(), Value::Null, &["gateway.removed"]),
        ("POST", "/api/v1/keys/{purpose}/rotate", "/api/v1/keys/receipt/rotate".into(), json!({}), &["key.rotated"]),
        (
            "POST",
            "/api/v1/service-accounts",
            "/api/v1/service-accounts".into(),
            json!({ "name": "nightly" }),
            &["identity.service_changed"],
        ),
        (
            "POST",
            "/api/v1/service-accounts/{name}/groups",
            "/api/v1/service-accounts/nightly/groups".into(),
            json!({ "groups": ["admins"] }),
            &["identity.service_changed"],
        ),
        (
            "POST",
            "/api/v1/service-tokens",
            "/api/v1/service-tokens".into(),
            json!({ "service": "nightly", "apps": ["wiki"] }),
            &["identity.service_token_changed"],
        ),
        (
            "POST",
            "/api/v1/service-tokens/{id}/rotate",
            "/api/v1/service-tokens/THE-TOKEN/rotate".into(),
            json!({}),
            &["identity.service_token_changed"],
        ),
        (
            "DELETE",
            "/api/v1/service-tokens/{id}",
            "/api/v1/service-tokens/THE-TOKEN".into(),
            Value::Null,
            &["identity.service_token_changed"],
        ),
        (
            "POST",
            "/api/v1/service-accounts/{name}/disable",
            "/api/v1/service-accounts/nightly/disable".into(),
            Value::Null,
            &["identity.service_changed"],
        ),
        (
            "POST",
            "/api/v1/service-accounts/{name}/enable",
            "/api/v1/service-accounts/nightly/enable".into(),
            Value::Null,
            &["identity.service_changed"],
        ),
        (
            "DELETE",
            "/api/v1/service-accounts/{name}",
            "/api/v1/service-accounts/nightly".into(),
            Value::Null,
            &["identity.service_changed"],
        ),
        // Last: without an administrator there is a set-up link to make.
        (
            "DELETE",
            "/api/v1/users/{who}",
            "/api/v1/users/carol@corp.test?force=true".into(),
            Value::Null,
            &["identity.user_deleted"],
        ),
        ("POST", "/api/v1/setup-link", "/api/v1/setup-link".into(), json!({}), &["identity.invitation"]),
    ]
}

/// Not GET, and yet nothing changes: the decision that let it through is its record.
const CHANGES_NOTHING: &[(&str, &str)] = &[("POST", "/api/v1/config/check"), ("POST", "/api/v1/config/plan")];

#[tokio::test]
async fn every_changing_route_leaves_a_decision_and_a_record_of_its_own() {
    let world = World::new().await;
    let asks = api::Actor::local_operator(model::AccessId(uuid::Uuid::from_u128(1)));
    world.control.ask_deletion(&asks, crate::world::ALICE).await.unwrap();
    let mut walked: BTreeSet<(String, String)> =
        CHANGES_NOTHING.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    for change in changes() {
        walked.insert(walk(&world, change).await);
    }
    let asking = World::asking(1).await;
    for change in proposals(&asking).await {
        walked.insert(walk(&asking, change).await);
    }
    let changing: BTreeSet<(String, String)> = routes().into_iter().filter(|(method, _)| method != "GET").collect();
    assert_eq!(walked, changing, "every changing route of the router, and no other, is walked");
    for world in [&world, &asking] {
        assert!(!has_text(&world.recorder.records(), "@corp.test"), "a record names an address in the clear");
    }
    // How a call ended is no administrative record; that it was allowed and what it did are.
    let ends = |record: &model::record::AuditRecord| record.kind == RecordType::AccessCompletion;
    let records = world.recorder.records();
    let mut kept = records.iter().zip(world.recorder.durabilities()).filter(|(record, _)| !ends(record));
    let strict = kept.all(|(_, durability)| durability == model::seams::Durability::Strict);
    assert!(strict, "administrative records wait for the disk (AUD-17)");
    let allowed = records.iter().filter(|r| r.kind == RecordType::AccessDecision).count();
    assert_eq!(records.iter().filter(|record| ends(record)).count(), allowed, "every local call has its end (AUD-6)");
}

#[tokio::test]
async fn a_change_without_a_kept_decision_is_not_made() {
    let world = World::new().await;
    world.recorder.fail(true);
    let answer = world.local("POST", "/api/v1/groups", &json!({ "id": "ops" })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!world.control.published().directory.groups.contains_key(&model::GroupId::new("ops")));
}

#[tokio::test]
async fn the_set_up_link_that_a_start_prints_is_recorded_too() {
    let world = World::new().await;
    world.local("DELETE", "/api/v1/users/carol@corp.test?force=true", &Value::Null).await;
    let from = world.recorder.records().len();
    world.portal.set_up_link("countersign serve").await.unwrap();
    assert_eq!(world.kinds_since(from), ["identity.invitation"]);
}

#[tokio::test]
async fn applying_what_is_live_already_is_recorded_again() {
    let world = World::new().await;
    let files: Vec<Value> = APPS.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    for is_new in [true, false] {
        let from = world.recorder.records().len();
        let answer = world.local("POST", "/api/v1/config/apply", &json!({ "files": files })).await;
        assert_eq!(answer.json()["new"], is_new);
        assert!(world.kinds_since(from).contains(&"config.applied"), "new: {is_new}");
    }
}

#[tokio::test]
async fn a_question_is_recorded_without_the_name_it_asked_for() {
    let world = World::new().await;
    let known = world.local("GET", "/api/v1/audit/records?who=alice@corp.test&ip=192.0.2.9", &Value::Null).await;
    assert_eq!(known.status, StatusCode::OK, "{}", known.body);
    let words = |name: &str, value: &str| world.control.query_words(&[(name.to_owned(), value.to_owned())]);
    assert_eq!(words("who", "Mallory Smith"), "who=***");
    assert_eq!(words("who", "mallory@corp.test"), "who=***");
    let records = world.recorder.of_type(RecordType::AuditQuery);
    assert_eq!(records.len(), 1);
    for secret in ["alice", "192.0.2.9"] {
        assert!(!has_text(&records, secret), "{records:?}");
    }
}

#[tokio::test]
async fn reading_the_log_from_a_number_of_ones_own_choice_does_not_avoid_the_record() {
    let world = World::new().await;
    let asked = || world.recorder.of_type(RecordType::AuditQuery).len();
    let follow = |from: Option<u64>| {
        let actor = api::Actor::local_operator(model::AccessId(uuid::Uuid::from_u128(2)));
        let control = std::sync::Arc::clone(&world.control);
        async move { control.follow(&actor, &[], from).await.map(drop) }
    };
    follow(None).await.unwrap();
    assert_eq!(asked(), 1);
    follow(Some(0)).await.unwrap();
    assert_eq!(asked(), 2, "`from` alone must not count as going on");
    let actor = api::Actor::local_operator(model::AccessId(uuid::Uuid::from_u128(3)));
    world.control.will_go_on(&actor, &[], 0);
    follow(Some(0)).await.unwrap();
    assert_eq!(asked(), 2, "going on where the last answer ended is the same question");
    follow(Some(0)).await.unwrap();
    assert_eq!(asked(), 3, "and only once");
}

#[tokio::test]
async fn more_than_a_page_is_an_export_with_a_right_and_a_record_of_its_own() {
    let world = World::new().await;
    let page = world.local("GET", "/api/v1/audit/records?limit=1000", &Value::Null).await;
    assert_eq!(page.status, StatusCode::OK);
    let more = world.local("GET", "/api/v1/audit/records?limit=1001", &Value::Null).await;
    assert_eq!(more.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(more.body.contains("audit.export"), "{}", more.body);
    let export = world.local("GET", "/api/v1/audit/export?limit=1001", &Value::Null).await;
    assert_eq!(export.status, StatusCode::OK);
    let records = world.recorder.records();
    let is_export = |record: &model::record::AuditRecord| record.what.action == Some("audit.export");
    assert_eq!(records.iter().filter(|record| is_export(record)).count(), 2, "its decision and its end");
    let asked: Vec<_> = records.iter().filter(|record| record.kind == RecordType::AuditQuery).collect();
    assert!(asked.last().unwrap().change.change.as_deref().unwrap().contains("export limit=1001"));
}
