//! The page that confirms a step-up: what it asks, what it takes for an answer, and who tries to weaken it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use model::decision::Fix;
use model::session::MAX_ROUNDS;
use model::{Action, AppName, Remedy, Session};
use pki::step_up_ticket::StepUpTicket;
use serde_json::json;

use crate::device::Device;
use crate::world::{ALICE, Answer, World};

fn fix(remedy: Remedy, level: &str) -> Fix {
    Fix { remedy, acr_values: level.to_owned(), max_age_secs: 300, facts: Vec::new() }
}

/// The address of the page a door leads to when it asks `session` for `fix`.
fn asked(world: &World, session: &Session, fix: &[Fix]) -> String {
    let demand = StepUpTicket {
        session: session.id,
        app: AppName::new("wiki"),
        action: Action::HttpDelete,
        fix: fix.to_vec(),
        created: world.control.now(),
    };
    let demand = demand.seal(&world.return_sealer, world.ids.as_ref()).unwrap();
    format!("/step-up?app=wiki&action=http.delete&demand={demand}&rt={}", world.ticket("wiki.test", 1, "/pages/7"))
}

async fn confirm(world: &World, session: &Arc<Session>, device: &mut Device, page: &Answer) -> Answer {
    let transaction = page.attribute("data-transaction");
    let begun = world.script(Some(session), "/step-up/begin", &json!({ "transaction": transaction })).await;
    let credential = device.get(&begun.json()["options"]).await.0;
    let answer = json!({ "transaction": transaction, "credential": credential });
    world.script(Some(session), "/step-up/finish", &answer).await
}

#[tokio::test]
async fn a_confirmation_notes_the_whole_set_and_leads_back() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let set = [fix(Remedy::Passkey, "phr"), fix(Remedy::Recheck, "")];
    let page = world.page(Some(&session), &asked(&world, &session, &set)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains(Remedy::Recheck.text()), "everything of the set is shown at once: {}", page.body);
    let done = confirm(&world, &session, &mut device, &page).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert!(done.sets_session, "the cookie rotates");
    let next = done.json()["next"].as_str().unwrap().to_owned();
    assert!(next.starts_with("https://wiki.test/.countersign/handoff?code="), "{next}");
    let noted = world.now(&session).step_ups.clone();
    assert_eq!(noted[0].fix, [Remedy::Passkey, Remedy::Recheck]);
    assert_eq!((noted[0].app.as_str(), noted[0].action), ("wiki", Action::HttpDelete));
}

#[tokio::test]
async fn a_transaction_is_good_for_one_confirmation() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let page = world.page(Some(&session), &asked(&world, &session, &[fix(Remedy::Passkey, "phr")])).await;
    assert_eq!(confirm(&world, &session, &mut device, &page).await.status, StatusCode::OK);
    let begin = json!({ "transaction": page.attribute("data-transaction") });
    assert_eq!(world.script(Some(&session), "/step-up/begin", &begin).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_answer_from_another_page_of_the_same_session_confirms_nothing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let address = asked(&world, &session, &[fix(Remedy::Passkey, "phr")]);
    let (one, other) = (world.page(Some(&session), &address).await, world.page(Some(&session), &address).await);
    let (one, other) = (one.attribute("data-transaction"), other.attribute("data-transaction"));
    let begun = world.script(Some(&session), "/step-up/begin", &json!({ "transaction": one })).await;
    let credential = device.get(&begun.json()["options"]).await.0;
    let answer = json!({ "transaction": other, "credential": credential });
    let refused = world.script(Some(&session), "/step-up/finish", &answer).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
    assert!(world.now(&session).step_ups.is_empty());
}

#[tokio::test]
async fn a_demand_of_another_session_or_an_altered_one_is_not_believed() {
    let world = World::new().await;
    let (session, other) = (world.session(ALICE, 1), world.session(ALICE, 2));
    let address = asked(&world, &other, &[fix(Remedy::Recheck, "")]);
    // Without a demand to believe, the engine is asked; it asks for nothing about the device.
    let page = world.page(Some(&session), &address).await;
    assert!(!page.body.contains(Remedy::Recheck.text()), "{}", page.body);
    assert!(page.body.contains("data-ceremony"), "{}", page.body);
}

#[tokio::test]
async fn a_weaker_proof_than_the_demand_confirms_nothing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let hardware = [fix(Remedy::Passkey, "phrh")];
    let page = world.page(Some(&session), &asked(&world, &session, &hardware)).await;
    let answer = confirm(&world, &session, &mut device, &page).await;
    // The device of the tests says of its passkey that it may be synced.
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    assert_eq!(answer.json()["code"], "not_enough");
    assert!(world.now(&session).step_ups.is_empty());
}

#[tokio::test]
async fn after_two_rounds_without_success_the_page_says_what_is_missing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let set = [fix(Remedy::Passkey, "phr")];
    for round in 0..MAX_ROUNDS {
        let page = world.page(Some(&world.now(&session)), &asked(&world, &session, &set)).await;
        if round == 2 {
            assert_eq!(page.status, StatusCode::FORBIDDEN);
            assert!(page.body.contains("confirm with your passkey"), "{}", page.body);
            assert!(!page.body.contains("data-ceremony"), "no third prompt");
            break;
        }
        assert_eq!(page.status, StatusCode::OK, "round {round}");
        assert_eq!(confirm(&world, &session, &mut device, &page).await.status, StatusCode::OK);
    }
    world.clock.advance(Duration::from_secs(601));
    let later = world.page(Some(&world.now(&session)), &asked(&world, &session, &set)).await;
    assert_eq!(later.status, StatusCode::OK, "the guard forgets after ten minutes");
}

#[tokio::test]
async fn a_set_nobody_can_prove_shows_what_to_do_and_no_ceremony() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let set = [fix(Remedy::Encrypt, ""), fix(Remedy::Patch, "")];
    let page = world.page(Some(&session), &asked(&world, &session, &set)).await;
    assert!(page.body.contains(Remedy::Encrypt.text()) && page.body.contains(Remedy::Patch.text()), "{}", page.body);
    assert!(!page.body.contains("data-ceremony"), "{}", page.body);
}
