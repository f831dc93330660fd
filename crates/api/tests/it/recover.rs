//! The way back in (ID-6): with a code and a second proof, and in no other way.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use model::record::RecordType;
use model::{AccessId, Principal, Session, SessionView, UserId};
use pip_identity::recovery::{Approver, COOL_DOWN};
use serde_json::json;

use crate::device::Device;
use crate::world::{ALICE, AUTH, Answer, CAROL, World, has_text};

/// Ten fresh codes of alice.
async fn codes(world: &World) -> Vec<String> {
    world
        .accounts
        .codes
        .regenerate(&world.fresh_session(ALICE))
        .await
        .unwrap()
        .iter()
        .map(|code| code.expose())
        .collect()
}

async fn open(world: &World, email: &str, code: &str) -> Answer {
    world.form(None, "/recover", &[("email", email), ("recovery_code", code)]).await
}

/// What the browser has of a case: the sealed part of its address.
fn case(opened: &Answer) -> String {
    assert_eq!(opened.status, StatusCode::SEE_OTHER, "{}", opened.body);
    opened.location.strip_prefix("/recover/case?case=").unwrap().to_owned()
}

async fn vouch(world: &World) {
    vouch_for(world, ALICE).await;
}

async fn vouch_for(world: &World, user: UserId) {
    let id = world.accounts.recovery.open_case_of(user).await.unwrap().row.id;
    let by = if user == CAROL { ("local-operator", None) } else { ("carol@corp.test", Some(CAROL)) };
    let approver = Approver { name: by.0.to_owned(), user: by.1 };
    world.accounts.recovery.approve(id, &approver).await.unwrap();
}

/// Enrols through the link of a recovery, keeping what `keep` names.
async fn enrol(world: &World, address: &str, keep: &[&str]) -> (Answer, Device) {
    let page = world.page(None, address).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let transaction = page.attribute("data-transaction");
    let begin = json!({ "transaction": transaction, "keep": keep });
    let begun = world.script(None, "/enrol/begin", &begin).await;
    let mut device = Device::at(&format!("https://{AUTH}"));
    let credential = device.create(&begun.json()["options"]).await.0;
    let answer = json!({ "transaction": transaction, "credential": credential, "keep": keep });
    (world.script(None, "/enrol/finish", &answer).await, device)
}

fn is_live(world: &World, session: &Arc<Session>) -> bool {
    world.sessions.session(session.id, world.control.now()).is_some()
}

#[tokio::test]
async fn a_code_and_an_administrator_lead_to_a_new_passkey_and_end_everything_else() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let old = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let code = codes(&world).await.remove(0);
    let case = case(&open(&world, "alice@corp.test", &code).await);
    let waits = world.page(None, &format!("/recover/case?case={case}")).await;
    assert!(waits.body.contains("One more proof"), "{}", waits.body);
    vouch(&world).await;
    let proven = world.page(None, &format!("/recover/case?case={case}")).await;
    assert!(proven.body.contains("What happens"), "consequences come before the button: {}", proven.body);
    let claimed = world.form(None, "/recover/case", &[("case", &case)]).await;
    let page = world.page(None, &claimed.location).await;
    assert!(page.body.contains("Test key") && page.body.contains("data-keep"), "{}", page.body);
    let (done, _) = enrol(&world, &claimed.location, &[]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(done.sets_session);
    assert_eq!(done.json()["next"], "/enrol/codes");
    assert!(!is_live(&world, &session), "every earlier session ended");
    let kept = world.passkeys.list(ALICE).await.unwrap();
    assert!(kept.len() == 1 && kept[0].handle != old, "{kept:?}");
    assert_eq!(world.accounts.codes.left(ALICE).await.unwrap(), 10, "the used code is replaced");
    let recovered = world.recorder.of_type(RecordType::AuthRecovery);
    for step in ["begun with a recovery code", "link made", "recovered through a link"] {
        assert!(has_text(&recovered, step), "{step}");
    }
    assert!(has_text(&world.recorder.of_type(RecordType::AuthNotice), "begun with a recovery code"), "they are told");
    assert_eq!(world.recorder.of_type(RecordType::AuthMfaRemoved).len(), 1);
    let again = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert_eq!(again.status, StatusCode::GONE, "the way is open once: {}", again.body);
}

#[tokio::test]
async fn the_page_of_an_administrators_recovery_says_until_when_it_waits() {
    let world = World::new().await;
    let fresh = world.fresh_session(CAROL);
    let code = world.accounts.codes.regenerate(&fresh).await.unwrap().remove(0).expose();
    let case = case(&open(&world, "carol@corp.test", &code).await);
    vouch_for(&world, CAROL).await;
    let address = format!("/recover/case?case={case}");
    let waits = world.page(None, &address).await;
    let until = (world.control.now() + COOL_DOWN).readable();
    assert!(waits.body.contains("Proven, and waiting") && waits.body.contains(&until), "{}", waits.body);
    let early = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert_eq!(early.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(early.body.contains("and not before"), "{}", early.body);
    world.clock.advance(COOL_DOWN);
    let open = world.page(None, &address).await;
    assert!(open.body.contains("You have proven who you are"), "{}", open.body);
    let claimed = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert!(claimed.location.starts_with("/recover/link?code="), "{claimed:?}");
}

#[tokio::test]
async fn two_administrators_wait_for_the_link_of_a_third_and_the_wait_is_recorded() {
    let world = World::new().await;
    let step = |step: &str| json!({ "step": step });
    let path = "/api/v1/users/carol@corp.test/recover";
    let begun = world.local("POST", path, &step("open")).await.json();
    let id = begun["id"].as_str().unwrap().parse().unwrap();
    let second = api::Actor {
        principal: Principal::User(ALICE),
        name: "alice@corp.test".to_owned(),
        ..api::Actor::system(AccessId(uuid::Uuid::from_u128(1)))
    };
    let (view, link) = world.control.approve_recovery(&second, CAROL, id).await.unwrap();
    assert!(view.is_proven && link.is_none());
    let until = view.waits_until.unwrap();
    assert!(has_text(&world.recorder.of_type(RecordType::AuthRecovery), &format!("waits until {until}")));
    let listed = world.local("GET", "/api/v1/recoveries", &json!({})).await.json();
    assert_eq!(listed["recoveries"][0]["waits_until"], until.to_string(), "{listed}");
    assert!(world.control.approve_recovery(&second, CAROL, id).await.is_err(), "not before its time");
    world.clock.advance(COOL_DOWN);
    let (_, link) = world.control.approve_recovery(&second, CAROL, id).await.unwrap();
    assert!(link.is_some(), "whoever vouched last comes again for the link");

    let begun = world.local("POST", path, &json!({ "step": "open", "restart": true })).await.json();
    let id = begun["id"].as_str().unwrap().parse().unwrap();
    world.control.approve_recovery(&second, CAROL, id).await.unwrap();
    assert_eq!(world.local("POST", path, &step("stop")).await.json()["state"], "stopped");
    world.clock.advance(COOL_DOWN);
    assert!(world.control.approve_recovery(&second, CAROL, id).await.is_err(), "stopped while it waited");
}

#[tokio::test]
async fn whoever_guesses_too_often_is_told_on_the_page_when_to_try_again() {
    let world = World::new().await;
    world.pair(&world.session(ALICE, 1)).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(open(&world, "alice@corp.test", "aaaa-aaaa-aaaa-aaaa").await);
    }
    let last = answers.pop().unwrap();
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS, "{}", last.body);
    let wait: u64 = last.retry_after.clone().unwrap().parse().unwrap();
    assert!(wait >= 1 && last.body.contains("<form"), "{last:?}");
    assert_eq!(answers[0].retry_after, None);
    // Whoever waits so long has waited long enough.
    world.clock.advance(Duration::from_secs(wait));
    assert_eq!(open(&world, "alice@corp.test", "aaaa-aaaa-aaaa-aaaa").await.status, StatusCode::UNPROCESSABLE_ENTITY);

    world.clock.advance(Duration::from_secs(3_600));
    let mut last = None;
    for _ in 0..12 {
        let transaction = world.page(None, "/login/password").await.field("transaction");
        let fields =
            [("transaction", transaction.as_str()), ("email", "alice@corp.test"), ("password", "wrong"), ("code", "1")];
        last = Some(world.form(None, "/login/password", &fields).await);
    }
    let last = last.unwrap();
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS, "{}", last.body);
    assert!(last.retry_after.is_some());
}

#[tokio::test]
async fn an_old_passkey_stays_only_by_explicit_choice() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let old = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let code = codes(&world).await.remove(0);
    let case = case(&open(&world, "alice@corp.test", &code).await);
    vouch(&world).await;
    let claimed = world.form(None, "/recover/case", &[("case", &case)]).await;
    let (done, _) = enrol(&world, &claimed.location, &[&old]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let kept: Vec<String> = world.passkeys.list(ALICE).await.unwrap().into_iter().map(|key| key.handle).collect();
    assert!(kept.len() == 2 && kept.contains(&old), "{kept:?}");
}

#[tokio::test]
async fn the_authenticator_app_is_a_second_proof_and_a_wrong_code_of_it_is_none() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let key = world.pair(&session).await;
    let code = codes(&world).await.remove(0);
    let case = case(&open(&world, "alice@corp.test", &code).await);
    let wrong = world.form(None, "/recover/case", &[("case", &case), ("code", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.body);
    let right = [("case", case.as_str()), ("code", &world.one_time_code(&key))];
    assert_eq!(world.form(None, "/recover/case", &right).await.status, StatusCode::SEE_OTHER);
    let claimed = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert!(claimed.location.starts_with("/recover/link?code="), "{claimed:?}");
}

#[tokio::test]
async fn recovery_with_one_secret_leads_nowhere() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let codes = codes(&world).await;
    let first = case(&open(&world, "alice@corp.test", &codes[0]).await);
    let claimed = world.form(None, "/recover/case", &[("case", &first)]).await;
    assert_eq!(claimed.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", claimed.body);
    // Two codes are one kind of proof.
    let second = case(&open(&world, "alice@corp.test", &codes[1]).await);
    let claimed = world.form(None, "/recover/case", &[("case", &second)]).await;
    assert_eq!(claimed.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", claimed.body);
    // And a code is used up by the attempt.
    assert_eq!(open(&world, "alice@corp.test", &codes[0]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(is_live(&world, &session));
    assert_eq!(world.passkeys.list(ALICE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_case_stolen_from_the_address_bar_is_worth_nothing_in_another_browser() {
    let world = World::new().await;
    let code = codes(&world).await.remove(0);
    let case = case(&open(&world, "alice@corp.test", &code).await);
    vouch(&world).await;
    for browser in [Some(8), None] {
        let request = http::Request::post("/recover/case").header("origin", format!("https://{AUTH}"));
        let answer = world.call(world.context(AUTH, None, browser), request, &format!("case={case}")).await;
        assert_eq!(answer.location, "/recover", "{answer:?}");
    }
}

#[tokio::test]
async fn oracle_unknown_people_wrong_codes_and_known_people_look_alike() {
    let world = World::new().await;
    codes(&world).await;
    let known = open(&world, "alice@corp.test", "aaaa-aaaa-aaaa-aaaa").await;
    let unknown = open(&world, "nobody@corp.test", "aaaa-aaaa-aaaa-aaaa").await;
    let hide = |answer: &Answer, email: &str| answer.body.replace(email, "");
    assert_eq!((known.status, hide(&known, "alice@corp.test")), (unknown.status, hide(&unknown, "nobody@corp.test")));
    assert_eq!(known.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(known.body.contains("value=\"alice@corp.test\"") && !known.body.contains("aaaa-aaaa"), "{}", known.body);
    let failed = world.recorder.of_type(RecordType::AuthFailed);
    assert!(failed.len() == 2 && !has_text(&failed, "corp.test"), "{failed:?}");
}

#[tokio::test]
async fn guessing_codes_is_slowed_down_alike_for_known_and_unknown_people() {
    for email in ["alice@corp.test", "nobody@corp.test"] {
        let world = World::new().await;
        codes(&world).await;
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(open(&world, email, "aaaa-aaaa-aaaa-aaaa").await.status.as_u16());
        }
        assert_eq!(statuses.last(), Some(&429), "{email}: {statuses:?}");
    }
}

#[tokio::test]
async fn csrf_no_other_page_begins_or_goes_on_with_a_recovery() {
    let world = World::new().await;
    let code = codes(&world).await.remove(0);
    for origin in ["https://wiki.test", "null"] {
        for path in ["/recover", "/recover/case"] {
            let request = http::Request::post(path).header("origin", origin);
            let body = format!("email=alice@corp.test&recovery_code={code}");
            let answer = world.call(world.context(AUTH, None, Some(9)), request, &body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {path}");
        }
    }
    assert_eq!(world.accounts.codes.left(ALICE).await.unwrap(), 10);
}

#[tokio::test]
async fn confused_deputy_vouching_for_one_recovery_never_proves_another_that_took_its_place() {
    let world = World::new().await;
    world.device(&world.session(ALICE, 1)).await;
    let mut codes = codes(&world).await;
    case(&open(&world, "alice@corp.test", &codes.remove(0)).await);
    let hers = world.accounts.recovery.open_case_of(ALICE).await.unwrap().row.id;
    // While alice reads that id to an administrator, whoever stole another code of hers begins anew.
    case(&open(&world, "alice@corp.test", &codes.remove(0)).await);
    let path = "/api/v1/users/alice@corp.test/recover";
    let vouched = world.local("POST", path, &json!({ "step": "approve", "case": hers })).await;
    assert!(vouched.status.is_client_error(), "{}", vouched.body);
    let unnamed = world.local("POST", path, &json!({ "step": "approve" })).await;
    assert_eq!(unnamed.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", unnamed.body);
    let other = world.accounts.recovery.open_case_of(ALICE).await.unwrap();
    assert!(other.row.id != hers && !other.is_proven);
    let vouched = world.local("POST", path, &json!({ "step": "approve", "case": other.row.id })).await;
    assert_eq!((vouched.status, &vouched.json()["is_proven"]), (StatusCode::OK, &json!(true)), "{}", vouched.body);
}
