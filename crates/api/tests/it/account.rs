//! The self-service pages, and those who would like to use them in somebody else's place.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use model::Session;
use model::record::RecordType;
use serde_json::json;

use crate::device::Device;
use crate::world::{ALICE, AUTH, Answer, CAROL, World, has_text};

const STALE: Duration = Duration::from_secs(301);

/// Answers the "confirm that it is you" page; where it leads.
async fn confirm(world: &World, session: &Arc<Session>, device: &mut Device, page: &Answer) -> String {
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
    let transaction = page.attribute("data-transaction");
    let begun = world.script(Some(session), "/step-up/begin", &json!({ "transaction": transaction })).await;
    let credential = device.get(&begun.json()["options"]).await.0;
    let answer = json!({ "transaction": transaction, "credential": credential });
    let done = world.script(Some(session), "/step-up/finish", &answer).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    done.json()["next"].as_str().unwrap().to_owned()
}

async fn add(world: &World, session: &Arc<Session>, page: &Answer, name: &str) -> Answer {
    let transaction = page.attribute("data-transaction");
    let fields = json!({ "transaction": transaction, "name": name });
    let begun = world.script(Some(session), "/me/passkeys/begin", &fields).await;
    let mut device = Device::at(&format!("https://{AUTH}"));
    let credential = device.create(&begun.json()["options"]).await.0;
    let answer = json!({ "transaction": transaction, "name": name, "credential": credential });
    world.script(Some(session), "/me/passkeys/finish", &answer).await
}

#[tokio::test]
async fn a_passkey_is_added_renamed_and_removed_and_each_is_recorded() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    world.clock.advance(Duration::from_secs(1));
    let page = world.page(Some(&session), "/me/passkeys/add").await;
    assert_eq!(add(&world, &session, &page, "Blue key").await.status, StatusCode::OK);
    let me = world.page(Some(&session), "/me").await;
    assert!(me.body.contains("Blue key") && me.body.contains("Test key"), "{}", me.body);
    let handles: Vec<String> = world.passkeys.list(ALICE).await.unwrap().into_iter().map(|key| key.handle).collect();

    let page = world.page(Some(&session), &format!("/me/passkeys/rename?passkey={}", handles[1])).await;
    let token = page.field("token");
    let fields = [("token", token.as_str()), ("passkey", &handles[1]), ("name", "Green key")];
    assert_eq!(world.form(Some(&session), "/me/passkeys/rename", &fields).await.location, "/me");
    let names = |keys: Vec<pip_identity::passkeys::PasskeyView>| keys.into_iter().map(|k| k.name).collect::<Vec<_>>();
    assert_eq!(names(world.passkeys.list(ALICE).await.unwrap()), ["Test key", "Green key"]);

    let page = world.page(Some(&session), &format!("/me/passkeys/remove?passkey={}", handles[1])).await;
    assert!(page.body.contains("What happens"), "consequences come before the button: {}", page.body);
    let done = world.form(Some(&session), "/me/passkeys/remove", &fields[..2]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert_eq!(names(world.passkeys.list(ALICE).await.unwrap()), ["Test key"]);
    assert_eq!(world.recorder.of_type(RecordType::AuthMfaEnrolled).len(), 1);
    let removed = world.recorder.of_type(RecordType::AuthMfaRemoved);
    assert_eq!(removed[0].change.object_id.as_deref(), Some(handles[1].as_str()));
    assert!(done.body.contains(&removed[0].access_id.to_string()), "the page names its record");
}

#[tokio::test]
async fn an_old_sign_in_confirms_first_and_comes_back_to_what_was_typed() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut device = world.device(&session).await;
    let page = world.page(Some(&session), "/me/passkeys/add").await;
    world.clock.advance(STALE);
    // The page was open too long: the script is led to the proof, and the name comes along.
    let fields = json!({ "transaction": page.attribute("data-transaction"), "name": "Büro & <Key>" });
    let begun = world.script(Some(&session), "/me/passkeys/begin", &fields).await.json();
    let next = begun["next"].as_str().unwrap();
    let asks = world.page(Some(&session), next).await;
    let back = confirm(&world, &session, &mut device, &asks).await;
    assert_eq!(back, next);
    let session = world.now(&session);
    let page = world.page(Some(&session), &back).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("value=\"Büro &#38; &#60;Key&#62;\""), "{}", page.body);
    assert_eq!(add(&world, &session, &page, "Büro").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_old_sign_in_changes_nothing_by_itself() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let token = world.page(Some(&session), "/me").await.field("token");
    world.clock.advance(STALE);
    for (path, fields) in [
        ("/me/passkeys/remove", vec![("token", token.as_str()), ("passkey", handle.as_str())]),
        ("/me/codes", vec![("token", token.as_str())]),
    ] {
        let answer = world.form(Some(&session), path, &fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.body.contains("Confirm that it is you"), "{path}: {}", answer.body);
    }
    assert_eq!(world.passkeys.list(ALICE).await.unwrap().len(), 1);
    assert!(world.kinds_since(0).is_empty(), "{:?}", world.kinds_since(0));
}

#[tokio::test]
async fn new_recovery_codes_are_shown_once_and_acknowledged() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let token = world.page(Some(&session), "/me/codes").await.field("token");
    let made = world.form(Some(&session), "/me/codes", &[("token", &token)]).await;
    assert_eq!(made.location, "/enrol/codes");
    let shown = world.page(Some(&session), "/enrol/codes").await;
    assert_eq!(shown.body.matches("<li><code>").count(), 10, "{}", shown.body);
    let again = world.page(Some(&session), "/enrol/codes").await;
    assert_eq!(again.body.matches("<li><code>").count(), 0, "{}", again.body);
    let not_yet = world.form(Some(&session), "/enrol/codes", &[("token", &token)]).await;
    assert_eq!(not_yet.status, StatusCode::UNPROCESSABLE_ENTITY);
    let saved = world.form(Some(&session), "/enrol/codes", &[("token", &token), ("saved", "yes")]).await;
    assert_eq!(saved.location, "/");
    assert!(world.page(Some(&session), "/me").await.body.contains("10 codes are left"));
    assert_eq!(world.recorder.of_type(RecordType::AuthMfaEnrolled).len(), 2, "made and saved");
}

#[tokio::test]
async fn csrf_no_form_of_the_account_takes_another_page_or_another_session() {
    let world = World::new().await;
    let (session, other) = (world.session(ALICE, 1), world.session(CAROL, 2));
    world.device(&session).await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let own = world.page(Some(&session), "/me").await.field("token");
    let foreign = world.page(Some(&other), "/me").await.field("token");
    for path in
        ["/me/passkeys/remove", "/me/passkeys/rename", "/me/codes", "/me/delete", "/enrol/codes", "/me/passkeys/begin"]
    {
        for (origin, site, token) in [
            ("https://wiki.test", None, own.as_str()),
            ("null", None, &own),
            ("https://auth.test", Some("cross-site"), &own),
            ("https://auth.test", Some("same-origin"), &foreign),
            ("https://auth.test", None, ""),
        ] {
            let body = format!("token={token}&passkey={handle}&name=x&saved=yes");
            let request = Request::post(path).header("origin", origin);
            let request = site.into_iter().fold(request, |request, site| request.header("sec-fetch-site", site));
            let answer = world.call(world.context(AUTH, Some(&session), Some(9)), request, &body).await;
            assert!(answer.status.is_client_error(), "{path} {origin} {site:?}: {}", answer.status);
        }
    }
    let kept = world.passkeys.list(ALICE).await.unwrap();
    assert!(kept.len() == 1 && kept[0].name == "Test key", "{kept:?}");
    assert!(world.kinds_since(0).is_empty(), "{:?}", world.kinds_since(0));
}

#[tokio::test]
async fn a_form_from_before_the_last_sign_in_is_shown_again_with_what_was_typed() {
    let world = World::new().await;
    let (before, now) = (world.session(ALICE, 1), world.session(ALICE, 2));
    world.device(&now).await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let old = world.page(Some(&before), "/me").await.field("token");
    let fields = [("token", old.as_str()), ("passkey", &handle), ("name", "Typed name")];
    let answer = world.form(Some(&now), "/me/passkeys/rename", &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("value=\"Typed name\""), "{}", answer.body);
    let token = answer.field("token");
    let fields = [("token", token.as_str()), ("passkey", &handle), ("name", "Typed name")];
    assert_eq!(world.form(Some(&now), "/me/passkeys/rename", &fields).await.location, "/me");
}

#[tokio::test]
async fn a_stale_form_after_sign_out_changes_nothing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let token = world.page(Some(&session), "/me").await.field("token");
    for path in ["/me/codes", "/me/delete", "/me/passkeys/remove", "/enrol/codes"] {
        let answer = world.form(None, path, &[("token", &token), ("saved", "yes")]).await;
        assert_eq!((answer.status, answer.location.as_str()), (StatusCode::SEE_OTHER, "/login"), "{path}");
    }
    assert!(world.kinds_since(0).is_empty());
}

#[tokio::test]
async fn nobody_touches_the_passkey_of_another_person() {
    let world = World::new().await;
    let (alice, carol) = (world.session(ALICE, 1), world.session(CAROL, 2));
    world.device(&carol).await;
    let handle = world.passkeys.list(CAROL).await.unwrap()[0].handle.clone();
    let token = world.page(Some(&alice), "/me").await.field("token");
    let fields = [("token", token.as_str()), ("passkey", &handle), ("name", "mine now")];
    assert_eq!(world.form(Some(&alice), "/me/passkeys/remove", &fields).await.location, "/me");
    world.form(Some(&alice), "/me/passkeys/rename", &fields).await;
    assert_eq!(world.passkeys.list(CAROL).await.unwrap()[0].name, "Test key");
}

#[tokio::test]
async fn a_wrong_name_is_422_and_keeps_what_was_typed() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    let token = world.page(Some(&session), "/me").await.field("token");
    let long = "x".repeat(200);
    let fields = [("token", token.as_str()), ("passkey", &handle), ("name", &long)];
    let answer = world.form(Some(&session), "/me/passkeys/rename", &fields).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.contains(&format!("value=\"{long}\"")), "{}", answer.body);
    assert!(answer.body.contains("aria-describedby=\"name-problem") && answer.body.contains("autofocus"));
}

#[tokio::test]
async fn stored_script_in_a_name_stays_text() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    world.passkeys.rename(&session, &handle, "<script>alert(1)</script>").await.unwrap();
    for path in [
        "/me".to_owned(),
        format!("/me/passkeys/rename?passkey={handle}"),
        format!("/me/passkeys/remove?passkey={handle}"),
    ] {
        let page = world.page(Some(&session), &path).await;
        assert!(page.body.contains("&#60;script&#62;") && !page.body.contains("<script>alert"), "{path}");
    }
}

#[tokio::test]
async fn a_form_that_a_withdrawal_overtakes_changes_nothing_and_says_so() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let codes = world.page(Some(&session), "/me/codes").await.field("token");
    let page = world.page(Some(&session), "/me/passkeys/add").await;
    let handle = world.passkeys.list(ALICE).await.unwrap()[0].handle.clone();
    // The door has let the request in, and then her sign-ins are ended: the doors have not heard of it yet.
    world.control.people().end_sessions(ALICE).await.unwrap();

    let renewed = world.form(Some(&session), "/me/codes", &[("token", &codes)]).await;
    assert_eq!(renewed.status, StatusCode::FORBIDDEN);
    assert!(renewed.body.contains("was ended meanwhile"), "{}", renewed.body);
    let added = add(&world, &session, &page, "Thief").await;
    assert_eq!((added.status, &added.json()["code"]), (StatusCode::FORBIDDEN, &json!("sign_in_ended")));
    let fields = [("token", codes.as_str()), ("passkey", &handle)];
    let removed = world.form(Some(&session), "/me/passkeys/remove", &fields).await;
    assert_eq!(removed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.passkeys.list(ALICE).await.unwrap().len(), 1);
    assert_eq!(world.accounts.codes.left(ALICE).await.unwrap(), 0);
    assert!(world.recorder.of_type(RecordType::AuthMfaRemoved).is_empty());
}

#[tokio::test]
async fn the_export_holds_ones_own_data_and_no_secret() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.session(CAROL, 2);
    world.device(&session).await;
    let export = world.page(Some(&session), "/me/export").await;
    let body = export.json();
    assert_eq!(body["user"]["email"], "alice@corp.test");
    assert_eq!((body["passkeys"].as_array().unwrap().len(), body["sessions"].as_array().unwrap().len()), (1, 1));
    assert!(!export.body.contains("carol"), "{}", export.body);
}

#[tokio::test]
async fn a_wish_for_deletion_is_seen_by_administrators_can_be_taken_back_and_deletes_nothing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let token = world.page(Some(&session), "/me/delete").await.field("token");
    let done = world.form(Some(&session), "/me/delete", &[("token", &token)]).await;
    assert_eq!(done.status, StatusCode::OK);
    assert!(has_text(&world.recorder.of_type(RecordType::IdentityUserChanged), "asked for the deletion"));
    assert_eq!(world.user_state(ALICE), model::UserState::Active);
    assert!(world.page(Some(&session), "/me").await.body.contains("you asked for it on"));
    let wishes = world.local("GET", "/api/v1/deletions", &serde_json::Value::Null).await.json();
    assert_eq!(wishes["deletions"][0]["email"], "alice@corp.test");
    let told = world.local("GET", "/api/v1/users/alice@corp.test/deletion", &serde_json::Value::Null).await.json();
    assert_eq!((&told["sessions"], &told["is_last_admin"]), (&1.into(), &false.into()), "{told}");
    assert!(told["asked_at"].is_string(), "{told}");

    let token = world.page(Some(&session), "/me/delete").await.field("token");
    let stranger = world.form(Some(&session), "/me/delete", &[("token", "x"), ("wish", "back")]).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    assert_eq!(world.control.people().deletion_wishes().len(), 1, "a form of another sign-in takes nothing back");
    world.form(Some(&session), "/me/delete", &[("token", &token), ("wish", "back")]).await;
    assert!(world.control.people().deletion_wishes().is_empty());
    let missing = world.local("DELETE", "/api/v1/users/alice@corp.test/deletion", &serde_json::Value::Null).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn deleting_somebody_ends_what_they_have_erases_them_and_spares_the_last_administrator() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    world.device(&session).await;
    let actor = api::Actor::local_operator(model::AccessId(uuid::Uuid::from_u128(1)));
    world.control.ask_deletion(&actor, ALICE).await.unwrap();
    let gone = world.local("DELETE", "/api/v1/users/alice@corp.test", &serde_json::Value::Null).await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    assert!(world.control.list_sessions(None).unwrap().iter().all(|session| session.user != ALICE));
    assert!(world.control.people().deletion_wishes().is_empty() && world.control.user("alice@corp.test").is_err());
    let records = world.recorder.of_type(RecordType::IdentityUserDeleted);
    assert_eq!(records[0].change.object_id.as_deref(), Some(ALICE.to_string().as_str()), "the record keeps the id");
    let told = world.local("GET", "/api/v1/users/carol@corp.test/deletion", &serde_json::Value::Null).await.json();
    assert_eq!(told["is_last_admin"], true);
    let refused = world.local("DELETE", "/api/v1/users/carol@corp.test", &serde_json::Value::Null).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
}

#[tokio::test]
async fn nobody_sees_an_account_without_signing_in() {
    let world = World::new().await;
    for path in ["/me", "/me/export", "/me/codes", "/me/passkeys/add", "/me/delete"] {
        let answer = world.page(None, path).await;
        assert_eq!((answer.status, answer.location.as_str()), (StatusCode::SEE_OTHER, "/login"), "{path}");
    }
}
