//! The authorisation matrix: who may call which route of the API. A route that is not in the table fails the test.

use std::collections::BTreeSet;

use http::{Request, StatusCode};
use model::{AccessRequest, Effect, Facts, Principal, ResourceRef};

use crate::world::{ALICE, AUTH, CAROL, World, action_of};

/// The router's own text: what it serves is what the tables must name.
const ROUTER: &str = include_str!("../../src/http/v1.rs");

/// Method and path of every route of the router.
pub(crate) fn routes() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in ROUTER.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once('"').unwrap();
        for method in ["get", "post", "put", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                found.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    found
}

/// nobody | alice (staff) | carol (admins) | local-operator, then the action, method and route.
const MATRIX: &str = "\
no no yes yes  admin.write  POST   /api/v1/admin-recovery
no no yes yes  admin.read   GET    /api/v1/apps
no no yes yes  admin.read   GET    /api/v1/apps/{name}
no no yes yes  admin.read   GET    /api/v1/apps/{name}/explain
no no yes yes  audit.read   GET    /api/v1/audit/alerts
no no yes yes  admin.write  POST   /api/v1/audit/drill
no no yes yes  audit.export GET    /api/v1/audit/export
no no yes yes  audit.read   GET    /api/v1/audit/records
no no yes yes  audit.read   GET    /api/v1/audit/records/{id}
no no yes yes  audit.read   GET    /api/v1/audit/sinks
no no yes yes  admin.write  POST   /api/v1/audit/sinks/{name}/test
no no yes yes  audit.read   GET    /api/v1/audit/tail
no no yes yes  admin.read   GET    /api/v1/config
no no yes yes  admin.write  POST   /api/v1/config/apply
no no yes yes  admin.write  POST   /api/v1/config/check
no no yes yes  admin.write  POST   /api/v1/config/plan
no no yes yes  admin.read   GET    /api/v1/config/proposals
no no yes yes  admin.read   GET    /api/v1/config/proposals/{digest}
no no yes yes  admin.write  DELETE /api/v1/config/proposals/{digest}
no no yes yes  admin.write  POST   /api/v1/config/proposals/{digest}/approve
no no yes yes  admin.write  POST   /api/v1/config/rollback
no no yes yes  admin.read   GET    /api/v1/deletions
no no yes yes  admin.read   GET    /api/v1/gateways
no no yes yes  admin.write  DELETE /api/v1/gateways/{name}
no no yes yes  admin.write  POST   /api/v1/gateways/{name}/token
no no yes yes  admin.read   GET    /api/v1/groups
no no yes yes  admin.write  POST   /api/v1/groups
no no yes yes  admin.read   GET    /api/v1/groups/{id}
no no yes yes  admin.write  DELETE /api/v1/groups/{id}
no no yes yes  admin.write  DELETE /api/v1/groups/{id}/members/{who}
no no yes yes  admin.write  PUT    /api/v1/groups/{id}/members/{who}
no no yes yes  admin.read   GET    /api/v1/invites
no no yes yes  admin.write  POST   /api/v1/invites
no no yes yes  admin.read   GET    /api/v1/keys
no no yes yes  admin.write  POST   /api/v1/keys/{purpose}/rotate
no no yes yes  admin.read   GET    /api/v1/policies
no no yes yes  admin.read   GET    /api/v1/policies/explain
no no yes yes  admin.read   GET    /api/v1/recoveries
no no yes yes  admin.read   GET    /api/v1/revocations/{id}
no no yes yes  admin.read   GET    /api/v1/rights
no no yes yes  admin.read   GET    /api/v1/service-accounts
no no yes yes  admin.write  POST   /api/v1/service-accounts
no no yes yes  admin.read   GET    /api/v1/service-accounts/{name}
no no yes yes  admin.write  DELETE /api/v1/service-accounts/{name}
no no yes yes  admin.write  POST   /api/v1/service-accounts/{name}/disable
no no yes yes  admin.write  POST   /api/v1/service-accounts/{name}/enable
no no yes yes  admin.write  POST   /api/v1/service-accounts/{name}/groups
no no yes yes  admin.read   GET    /api/v1/service-tokens
no no yes yes  admin.write  POST   /api/v1/service-tokens
no no yes yes  admin.write  DELETE /api/v1/service-tokens/{id}
no no yes yes  admin.write  POST   /api/v1/service-tokens/{id}/rotate
no no yes yes  admin.read   GET    /api/v1/sessions
no no yes yes  admin.write  POST   /api/v1/sessions/revoke
no no yes yes  admin.write  POST   /api/v1/setup-link
no no yes yes  admin.read   GET    /api/v1/status
no no yes yes  admin.read   GET    /api/v1/users
no no yes yes  admin.write  POST   /api/v1/users
no no yes yes  admin.write  POST   /api/v1/users/import
no no yes yes  admin.read   GET    /api/v1/users/{who}
no no yes yes  admin.write  DELETE /api/v1/users/{who}
no no yes yes  admin.read   GET    /api/v1/users/{who}/deletion
no no yes yes  admin.write  DELETE /api/v1/users/{who}/deletion
no no yes yes  admin.write  POST   /api/v1/users/{who}/disable
no no yes yes  admin.write  POST   /api/v1/users/{who}/enable
no no yes yes  admin.write  POST   /api/v1/users/{who}/recover
";

fn may(world: &World, who: &Principal, method: &str, path: &str) -> (bool, &'static str) {
    let published = world.control.published();
    let (action, route) = action_of(&published.apps, method, path);
    let mut facts = Facts::unknown();
    facts.auth.authenticated = *who != Principal::Anonymous;
    facts.request.door = "http".to_owned();
    let question = AccessRequest {
        principal: who.clone(),
        action,
        resource: ResourceRef { app: model::AppName::new(model::app::CONTROL_APP), route: Some(route) },
        facts,
        is_public_path: false,
        session_ends: None,
        step_up: model::decision::StepUpContext::default(),
    };
    (published.pdp.decide(&question, world.control.now()).effect == Effect::Allow, action.as_str())
}

#[tokio::test]
async fn only_administrators_reach_the_api_whatever_the_route() {
    let world = World::new().await;
    let everyone = [
        Principal::Anonymous,
        Principal::User(ALICE),
        Principal::User(CAROL),
        Principal::Workload("local-operator".into()),
    ];
    let mut lines = Vec::new();
    for (method, path) in routes() {
        let answers: Vec<(bool, &str)> = everyone.iter().map(|who| may(&world, who, &method, &path)).collect();
        let words: Vec<&str> = answers.iter().map(|(may, _)| if *may { "yes" } else { "no" }).collect();
        lines.push((path.clone(), format!("{}  {:<12} {method:<6} {path}\n", words.join(" "), answers[0].1)));
    }
    lines.sort();
    let matrix: String = lines.into_iter().map(|(_, line)| line).collect();
    assert_eq!(matrix, MATRIX, "\n{matrix}");
}

#[tokio::test]
async fn an_anonymous_call_that_slipped_through_a_door_is_refused_by_the_api_itself() {
    let world = World::new().await;
    for (method, path) in routes() {
        let request = Request::builder().method(method.as_str()).uri(&path);
        let answer = world.call(world.context(AUTH, None, None), request, "{}").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        assert!(answer.body.is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn csrf_a_change_that_does_not_come_from_our_own_pages_is_refused() {
    let world = World::new().await;
    let session = world.session(CAROL, 1);
    let disable = "/api/v1/users/alice@corp.test/disable";
    for origin in
        [None, Some("null"), Some("https://wiki.test"), Some("http://auth.test"), Some("https://auth.test:444")]
    {
        let request = Request::post(disable);
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        let answer = world.call(world.context(AUTH, Some(&session), None), request, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(world.user_state(ALICE), model::UserState::Active, "{origin:?}");
    }
    let own = Request::post(disable).header("origin", "https://auth.test");
    let answer = world.call(world.context(AUTH, Some(&session), None), own, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(world.user_state(ALICE), model::UserState::Disabled);
}

#[tokio::test]
async fn csrf_a_body_that_a_form_could_send_is_refused() {
    let world = World::new().await;
    let session = world.session(CAROL, 1);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let request =
            Request::post("/api/v1/groups").header("origin", "https://auth.test").header("content-type", kind);
        let answer = world.call(world.context(AUTH, Some(&session), None), request, "{\"id\":\"evil\"}").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{kind}");
    }
    assert!(!world.control.published().directory.groups.contains_key(&model::GroupId::new("evil")));
}

#[tokio::test]
async fn an_administrator_cannot_blind_the_real_record_by_drilling_it_from_afar() {
    let world = World::new().await;
    let carol = world.session(CAROL, 1);
    let live = |rung: &str| serde_json::json!({ "rungs": [rung], "live": true });
    for rung in ["disk_full", "delete_file", "clock_jump"] {
        let answer = world.script(Some(&carol), "/api/v1/audit/drill", &live(rung)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{rung}: {}", answer.body);
    }
    let shadow = serde_json::json!({ "rungs": ["clock_jump"] });
    assert_eq!(world.script(Some(&carol), "/api/v1/audit/drill", &shadow).await.status, StatusCode::OK);
    assert_eq!(world.local("POST", "/api/v1/audit/drill", &live("clock_jump")).await.status, StatusCode::OK);
}
