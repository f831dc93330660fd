//! Approval by others (PO-35): what waits, what counts, and every way around it that was thought of.

use std::time::Duration;

use api::control::PROPOSAL_LIFE;
use http::{Request, StatusCode};
use model::{Session, UserId};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::console::{Reader, hidden};
use crate::world::{ALICE, APPS, AUTH, Answer, CAROL, DAVE, ERIN, World, has_text};

const GROUP: (&str, &str) = ("g.yaml", "apiVersion: countersign/v1\nkind: Group\nmetadata:\n  name: night\nspec: {}\n");
const OTHER: (&str, &str) = ("g.yaml", "apiVersion: countersign/v1\nkind: Group\nmetadata:\n  name: day\nspec: {}\n");

fn body(extra: &[(&str, &str)]) -> Value {
    let all = APPS.iter().chain(extra);
    json!({ "files": all.map(|(name, text)| json!({ "name": name, "text": text })).collect::<Vec<_>>() })
}

/// Somebody signed in, at the API of the auth host.
struct Person<'a> {
    world: &'a World,
    session: Arc<Session>,
}

impl<'a> Person<'a> {
    fn of(world: &'a World, user: UserId) -> Self {
        Self { world, session: world.session(user, user.0.as_u128()) }
    }

    async fn propose(&self, extra: &[(&str, &str)]) -> Answer {
        self.world.script(Some(&self.session), "/api/v1/config/apply", &body(extra)).await
    }

    async fn approve(&self, digest: &str) -> Answer {
        let path = format!("/api/v1/config/proposals/{digest}/approve");
        self.world.script(Some(&self.session), &path, &json!({})).await
    }

    async fn withdraw(&self, digest: &str) -> Answer {
        let request = Request::delete(format!("/api/v1/config/proposals/{digest}"))
            .header("content-type", "application/json")
            .header("origin", format!("https://{AUTH}"));
        self.world.call(self.world.context(AUTH, Some(&self.session), Some(9)), request, "").await
    }
}

fn digest(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    answer.json()["proposal"]["digest"].as_str().unwrap().to_owned()
}

async fn waiting(world: &World) -> Vec<Value> {
    let answer = world.local("GET", "/api/v1/config/proposals", &Value::Null).await;
    answer.json()["proposals"].as_array().unwrap().clone()
}

async fn live(world: &World) -> Value {
    world.local("GET", "/api/v1/config", &Value::Null).await.json()["live"].clone()
}

/// The local operator makes it live alone.
async fn break_glass(world: &World, digest: &str) -> Answer {
    let path = format!("/api/v1/config/proposals/{digest}/approve");
    world.local("POST", &path, &json!({ "break_glass": "the door is shut" })).await
}

async fn member(world: &World, method: &str, group: &str, who: &str) {
    let path = format!("/api/v1/groups/{group}/members/{who}");
    assert!(world.local(method, &path, &Value::Null).await.status.is_success(), "{method} {path}");
}

#[tokio::test]
async fn a_configuration_waits_until_as_many_others_as_asked_for_approved_it() {
    let world = World::asking(2).await;
    let [carol, dave, erin] = [CAROL, DAVE, ERIN].map(|user| Person::of(&world, user));
    let from = world.recorder.records().len();
    let proposed = carol.propose(&[]).await;
    let id = digest(&proposed);
    assert_eq!(proposed.json()["plan"]["digest"], id, "{}", proposed.body);
    assert_eq!((live(&world).await, world.doors.published().len()), (json!(0), 0), "nothing is live");
    let first = dave.approve(&id).await;
    assert_eq!((first.status, &first.json()["proposal"]["counted"]), (StatusCode::ACCEPTED, &json!(1)));
    let shown = world.local("GET", &format!("/api/v1/config/proposals/{id}"), &Value::Null).await.json();
    assert_eq!(shown["files"].as_array().unwrap().len(), APPS.len());
    assert_eq!(shown["proposal"]["approvals"][0]["user"], "dave@corp.test");
    let second = erin.approve(&id).await;
    assert_eq!((second.status, &second.json()["version"]), (StatusCode::OK, &json!(1)), "{}", second.body);
    assert_eq!(live(&world).await, json!(1));
    assert!(waiting(&world).await.is_empty());
    let versions = world.local("GET", "/api/v1/config", &Value::Null).await.json();
    assert_eq!(versions["versions"][0]["author"], "carol@corp.test");
    let kinds: Vec<&str> = world.kinds_since(from).into_iter().filter(|kind| *kind != "access.completion").collect();
    let all = ["config.proposed", "config.approved", "config.approved", "config.applied", "policy.published"];
    assert_eq!(kinds, all);
    let records = world.recorder.records();
    assert!(has_text(&records, &format!("proposed by {CAROL}, approved by {DAVE}, {ERIN}")));
    assert!(!has_text(&records, "@corp.test"), "a record names an address in the clear");
}

#[tokio::test]
async fn approving_ones_own_proposal_is_refused() {
    let world = World::asking(1).await;
    let carol = Person::of(&world, CAROL);
    let id = digest(&carol.propose(&[]).await);
    assert_eq!(carol.approve(&id).await.status, StatusCode::FORBIDDEN);
    // Nor does another session of theirs help, nor the machine they may sit at.
    let elsewhere = Person { world: &world, session: world.session(CAROL, 77) };
    assert_eq!(elsewhere.approve(&id).await.status, StatusCode::FORBIDDEN);
    let path = format!("/api/v1/config/proposals/{id}/approve");
    assert_eq!(world.local("POST", &path, &json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!((live(&world).await, waiting(&world).await[0]["counted"].clone()), (json!(0), json!(0)));
}

#[tokio::test]
async fn approving_twice_counts_once() {
    let world = World::asking(2).await;
    let [carol, dave] = [CAROL, DAVE].map(|user| Person::of(&world, user));
    let id = digest(&carol.propose(&[]).await);
    assert_eq!(dave.approve(&id).await.status, StatusCode::ACCEPTED);
    assert_eq!(dave.approve(&id).await.status, StatusCode::CONFLICT);
    // The digest without its prefix is the same one.
    assert_eq!(dave.approve(id.strip_prefix("sha256:").unwrap()).await.status, StatusCode::CONFLICT);
    assert_eq!(dave.approve("sha256:nonsense").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((live(&world).await, waiting(&world).await[0]["counted"].clone()), (json!(0), json!(1)));
}

#[tokio::test]
async fn an_approval_is_not_carried_over_to_changed_content() {
    let world = World::asking(2).await;
    let [carol, dave, erin] = [CAROL, DAVE, ERIN].map(|user| Person::of(&world, user));
    let first = digest(&carol.propose(&[GROUP]).await);
    assert_eq!(dave.approve(&first).await.status, StatusCode::ACCEPTED);
    // The same said in other words is the same proposal, whoever says it, and may not ask for more.
    let reworded =
        ("g.yaml", "# tonight\napiVersion: countersign/v1\nkind: Group\nmetadata: { name: night }\nspec: {}\n");
    assert_eq!(carol.propose(&[reworded]).await.status, StatusCode::CONFLICT);
    let mut greedy = body(&[GROUP]);
    greedy["allow_lockout"] = json!(true);
    let greedy = world.script(Some(&carol.session), "/api/v1/config/apply", &greedy).await;
    assert_eq!(greedy.status, StatusCode::CONFLICT);
    let second = digest(&carol.propose(&[OTHER]).await);
    let after = erin.approve(&second).await;
    assert_eq!(after.json()["proposal"]["counted"], 1, "dave approved something else: {}", after.body);
    assert_eq!(live(&world).await, json!(0));
    // Withdrawn and proposed again, it starts from nothing.
    assert_eq!(carol.withdraw(&first).await.status, StatusCode::OK);
    assert_eq!(erin.approve(&first).await.status, StatusCode::NOT_FOUND);
    digest(&carol.propose(&[GROUP]).await);
    assert_eq!(erin.approve(&first).await.json()["proposal"]["counted"], 1);
}

#[tokio::test]
async fn who_may_not_administer_does_not_approve_and_who_no_longer_may_does_not_count() {
    let world = World::asking(2).await;
    let [alice, carol, dave, erin] = [ALICE, CAROL, DAVE, ERIN].map(|user| Person::of(&world, user));
    let id = digest(&carol.propose(&[]).await);
    assert_eq!(alice.approve(&id).await.status, StatusCode::FORBIDDEN, "whatever let her as far as this");
    // Being let in later does not make it an approval either.
    member(&world, "PUT", "admins", "alice@corp.test").await;
    assert_eq!(waiting(&world).await[0]["counted"], 0);
    member(&world, "DELETE", "admins", "alice@corp.test").await;
    assert_eq!(dave.approve(&id).await.status, StatusCode::ACCEPTED);
    member(&world, "DELETE", "admins", "dave@corp.test").await;
    let after = erin.approve(&id).await;
    assert_eq!((after.status, &after.json()["proposal"]["counted"]), (StatusCode::ACCEPTED, &json!(1)));
    assert_eq!(after.json()["proposal"]["approvals"][0]["counts"], false, "{}", after.body);
    assert_eq!(live(&world).await, json!(0));
}

#[tokio::test]
async fn the_approval_of_a_disabled_or_deleted_account_does_not_count() {
    let world = World::asking(2).await;
    let [carol, dave, erin] = [CAROL, DAVE, ERIN].map(|user| Person::of(&world, user));
    let id = digest(&carol.propose(&[]).await);
    assert_eq!(dave.approve(&id).await.status, StatusCode::ACCEPTED);
    world.local("POST", "/api/v1/users/dave@corp.test/disable", &Value::Null).await;
    assert_eq!(erin.approve(&id).await.json()["proposal"]["counted"], 1);
    world.local("DELETE", "/api/v1/users/dave@corp.test", &Value::Null).await;
    let left = waiting(&world).await;
    assert_eq!((&left[0]["counted"], &left[0]["approvals"][0]["user"]), (&json!(1), &json!(DAVE.to_string())));
    assert_eq!(live(&world).await, json!(0));
}

#[tokio::test]
async fn a_stale_proposal_does_not_go_live() {
    let world = World::asking(1).await;
    let [carol, dave] = [CAROL, DAVE].map(|user| Person::of(&world, user));
    let plain = digest(&carol.propose(&[]).await);
    let night = digest(&carol.propose(&[GROUP]).await);
    assert_eq!(dave.approve(&plain).await.status, StatusCode::OK);
    assert_eq!(dave.approve(&night).await.status, StatusCode::NOT_FOUND, "another version went live");
    // Not even when the version it was made for is live again.
    let night = digest(&carol.propose(&[GROUP]).await);
    let day = digest(&carol.propose(&[OTHER]).await);
    assert_eq!(dave.approve(&day).await.json()["version"], 2);
    let back = world.script(Some(&carol.session), "/api/v1/config/rollback", &json!({})).await;
    assert_eq!(back.json()["proposal"]["goes_back_to"], 1, "{}", back.body);
    assert_eq!(dave.approve(&digest(&back)).await.json()["version"], 1);
    assert_eq!(dave.approve(&night).await.status, StatusCode::NOT_FOUND);
    // After a week it is over.
    let night = digest(&carol.propose(&[GROUP]).await);
    world.clock.advance(PROPOSAL_LIFE - Duration::from_secs(1));
    assert_eq!(waiting(&world).await.len(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert!(waiting(&world).await.is_empty());
    assert_eq!(dave.approve(&night).await.status, StatusCode::NOT_FOUND);
    assert_eq!(live(&world).await, json!(1));
    digest(&carol.propose(&[GROUP]).await);
}

#[tokio::test]
async fn what_would_lock_everybody_out_by_then_is_refused_and_can_be_tried_again() {
    let world = World::asking(1).await;
    let [carol, erin] = [CAROL, ERIN].map(|user| Person::of(&world, user));
    world.local("POST", "/api/v1/groups", &json!({ "id": "ops" })).await;
    member(&world, "PUT", "ops", "dave@corp.test").await;
    let narrow = "@id(\"ops\")\nforbid (principal is User, action == Action::\"admin.write\", resource) unless { principal in Group::\"ops\" };\n";
    let id = digest(&carol.propose(&[("ops.cedar", narrow)]).await);
    member(&world, "DELETE", "ops", "dave@corp.test").await;
    let refused = erin.approve(&id).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    assert!(refused.body.contains("lock everybody out"), "{}", refused.body);
    assert_eq!((live(&world).await, waiting(&world).await[0]["counted"].clone()), (json!(0), json!(1)));
    member(&world, "PUT", "ops", "dave@corp.test").await;
    assert_eq!(erin.approve(&id).await.status, StatusCode::OK);
    assert_eq!(live(&world).await, json!(1));
}

#[tokio::test]
async fn breaking_the_glass_is_for_the_machine_alone_and_on_record_before_it_happens() {
    let world = World::asking(2).await;
    let [carol, dave] = [CAROL, DAVE].map(|user| Person::of(&world, user));
    let id = digest(&world.local("POST", "/api/v1/config/apply", &body(&[])).await);
    let path = format!("/api/v1/config/proposals/{id}/approve");
    let by_carol = world.script(Some(&carol.session), &path, &json!({ "break_glass": "me" })).await;
    assert_eq!(by_carol.status, StatusCode::FORBIDDEN);
    let silent = world.local("POST", &path, &json!({ "break_glass": " " })).await;
    assert_eq!(silent.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(dave.approve(&id).await.status, StatusCode::ACCEPTED);
    let from = world.recorder.records().len();
    let broken = break_glass(&world, &id).await;
    assert_eq!((broken.status, live(&world).await), (StatusCode::OK, json!(1)), "{}", broken.body);
    let kinds = world.kinds_since(from);
    let at = |kind: &str| kinds.iter().position(|found| *found == kind).unwrap();
    assert!(at("config.break_glass") < at("config.applied"), "{kinds:?}");
    assert!(has_text(
        &world.recorder.records(),
        "without approval, 1 of 2, by breaking the glass; reason: the door is shut"
    ));
}

#[tokio::test]
async fn on_the_console_a_notice_leads_to_what_would_change_and_one_button_approves_it() {
    let world = World::asking(1).await;
    let id = digest(&Person::of(&world, CAROL).propose(&[GROUP]).await);
    let path = format!("/console/proposals/{id}/approve");
    let dave = Reader::at(&world, world.session(DAVE, 5)).await;
    let home = dave.get("/console").await;
    assert!(home.body.contains("waits for approval: 0 of 1") && home.body.contains(&path), "{}", home.body);
    let asked = dave.get(&path).await;
    for told in ["Groups added: night.", "Proposed by carol@corp.test", "Approved by nobody yet: 0 of 1"] {
        assert!(asked.body.contains(told), "{told}: {}", asked.body);
    }
    let stale = dave.post(&path, &[("expected", "something else")]).await;
    assert!(stale.body.contains("It has changed meanwhile") && live(&world).await == json!(0), "{}", stale.body);
    let done = dave.post(&path, &[("expected", &hidden(&asked, "expected"))]).await;
    assert_eq!((done.status, live(&world).await), (StatusCode::SEE_OTHER, json!(1)), "{}", done.body);
    // Whoever proposed is led to taking it back, and the other button refuses them.
    let id = digest(&Person::of(&world, DAVE).propose(&[OTHER]).await);
    let home = dave.get("/console").await;
    assert!(home.body.contains(&format!("/console/proposals/{id}/withdraw")), "{}", home.body);
    let path = format!("/console/proposals/{id}/approve");
    let asked = dave.get(&path).await;
    let refused = dave.post(&path, &[("expected", &hidden(&asked, "expected"))]).await;
    assert_eq!((refused.status, live(&world).await), (StatusCode::FORBIDDEN, json!(1)), "{}", refused.body);
}

#[tokio::test]
async fn what_is_live_already_waits_for_nobody_unless_it_may_lock_everybody_out() {
    let world = World::asking(1).await;
    let [carol, dave] = [CAROL, DAVE].map(|user| Person::of(&world, user));
    let id = digest(&carol.propose(&[]).await);
    assert_eq!(dave.approve(&id).await.status, StatusCode::OK);
    assert_eq!(carol.propose(&[]).await.status, StatusCode::OK);
    let mut greedy = body(&[]);
    greedy["allow_lockout"] = json!(true);
    let greedy = world.script(Some(&carol.session), "/api/v1/config/apply", &greedy).await;
    assert_eq!(greedy.json()["proposal"]["allow_lockout"], true, "{}", greedy.body);
}

#[tokio::test]
async fn files_with_mistakes_are_refused_before_anybody_is_asked() {
    let world = World::asking(1).await;
    let carol = Person::of(&world, CAROL);
    let refused = carol.propose(&[("x.yaml", "kind: Nothing")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
    assert!(waiting(&world).await.is_empty());
}
