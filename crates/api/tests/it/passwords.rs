//! Password and one-time code: the second way in, as a confirmation, and how it is set; and the notices of what changed.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use model::record::RecordType;
use model::{Session, SessionView};
use serde_json::json;

use crate::device::Device;
use crate::world::{ALICE, AUTH, Answer, CAROL, PASSWORD, World, has_text};

async fn sign_in(world: &World, email: &str, password: &str, code: &str) -> Answer {
    let transaction = world.page(None, "/login/password").await.field("transaction");
    let fields = [("transaction", transaction.as_str()), ("email", email), ("password", password), ("code", code)];
    world.form(None, "/login/password", &fields).await
}

#[tokio::test]
async fn both_together_sign_in_and_lead_back_and_the_session_is_no_passkeys() {
    let world = World::new().await;
    let key = world.pair(&world.session(ALICE, 1)).await;
    let ticket = world.ticket("wiki.test", 1, "/pages/7");
    let page = world.page(None, &format!("/login/password?rt={ticket}")).await;
    let transaction = page.field("transaction");
    let code = world.one_time_code(&key);
    let fields =
        [("transaction", transaction.as_str()), ("email", "alice@corp.test"), ("password", PASSWORD), ("code", &code)];
    let answer = world.form(None, "/login/password", &fields).await;
    assert!(answer.location.starts_with("https://wiki.test/.countersign/handoff?code="), "{answer:?}");
    assert!(answer.sets_session);
    let session = world.control.list_sessions(Some("alice@corp.test")).unwrap()[0].clone();
    assert!(session.is_mfa && !session.is_phishing_resistant, "{session:?}");
    // The transaction is used, and so is the code.
    let again = world.form(None, "/login/password", &fields).await;
    assert_eq!((again.status, again.location.as_str()), (StatusCode::SEE_OTHER, "/login"));
    assert_eq!(sign_in(&world, "alice@corp.test", PASSWORD, &code).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn oracle_whatever_is_wrong_the_answer_is_the_same() {
    let world = World::new().await;
    let key = world.pair(&world.session(ALICE, 1)).await;
    let code = world.one_time_code(&key);
    let hide = |answer: Answer, email: &str| {
        let transaction = answer.field("transaction");
        (answer.status, answer.body.replace(email, "").replace(&transaction, ""))
    };
    let wrong_password = sign_in(&world, "alice@corp.test", "wrong", &code).await;
    assert!(!wrong_password.body.contains("wrong\""), "a secret is never sent back: {}", wrong_password.body);
    let first = hide(wrong_password, "alice@corp.test");
    assert_eq!(first.0, StatusCode::UNPROCESSABLE_ENTITY);
    // Without a password; unknown.
    for email in ["carol@corp.test", "nobody@corp.test"] {
        assert_eq!(hide(sign_in(&world, email, PASSWORD, &code).await, email), first, "{email}");
    }
    assert!(!has_text(&world.recorder.of_type(RecordType::AuthFailed), "corp.test"));
}

#[tokio::test]
async fn login_csrf_a_password_form_counts_only_in_its_browser_and_from_our_page() {
    let world = World::new().await;
    let key = world.pair(&world.session(ALICE, 1)).await;
    let transaction = world.page(None, "/login/password").await.field("transaction");
    let body = format!(
        "transaction={transaction}&email=alice@corp.test&password={}&code={}",
        PASSWORD.replace(' ', "+"),
        world.one_time_code(&key)
    );
    for (origin, browser) in
        [("https://wiki.test", Some(9)), ("https://auth.test", Some(8)), ("https://auth.test", None)]
    {
        let request = Request::post("/login/password").header("origin", origin);
        let answer = world.call(world.context(AUTH, None, browser), request, &body).await;
        assert!(!answer.sets_session, "{origin} {browser:?}");
    }
    let own = Request::post("/login/password").header("origin", "https://auth.test");
    assert!(world.call(world.context(AUTH, None, Some(9)), own, &body).await.sets_session);
}

/// The key a page shows for typing.
fn key_of(page: &Answer) -> String {
    let shown = page.body.split("<code class=\"block\">").nth(1).unwrap();
    shown.split('<').next().unwrap().replace(' ', "")
}

/// The key a page shows for scanning.
fn drawing(page: &Answer) -> &str {
    let drawn = page.body.split("<svg class=\"scan\" role=\"img\" aria-label=\"QR code").nth(1).unwrap();
    drawn.split("</svg>").next().unwrap()
}

#[tokio::test]
async fn a_person_sets_the_pair_keeps_what_was_shown_and_hears_of_it() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let page = world.page(Some(&session), "/me/password").await;
    let (token, secret) = (page.field("token"), key_of(&page));
    let key = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let set = |password: &'static str, code: String| {
        let (token, session, world) = (token.clone(), session.clone(), &world);
        async move {
            let fields = [("token", token.as_str()), ("password", password), ("code", &code)];
            world.form(Some(&session), "/me/password", &fields).await
        }
    };
    let short = set("short", world.one_time_code(&key)).await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(key_of(&short), secret, "the key in the app stays good");
    assert_eq!(drawing(&short), drawing(&page));
    assert_eq!(page.body.matches(&secret).count(), 0, "in fours where it is read, drawn where it is scanned");
    assert!(short.body.contains("password-problem"), "{}", short.body);
    let done = set(PASSWORD, world.one_time_code(&key)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let me = world.page(Some(&session), "/me").await;
    assert!(me.body.contains("Change the password") && me.body.contains("This was not me"), "{}", me.body);
    assert_eq!(world.recorder.of_type(RecordType::AuthMfaEnrolled).len(), 1);
    let removed = world.form(Some(&session), "/me/password/remove", &[("token", &token)]).await;
    assert_eq!(removed.status, StatusCode::UNPROCESSABLE_ENTITY, "the last way in stays: {}", removed.body);
}

#[tokio::test]
async fn password_and_code_confirm_where_the_account_has_nothing_stronger_and_not_otherwise() {
    let world = World::new().await;
    let session = by_password(&world, 1);
    let key = world.pair(&session).await;
    world.clock.advance(Duration::from_secs(300));
    let asks = world.page(Some(&session), "/me/codes").await;
    assert_eq!(asks.status, StatusCode::FORBIDDEN);
    assert!(!asks.body.contains("data-ceremony"), "no passkey, no ceremony: {}", asks.body);
    let address =
        format!("/step-up/password{}", asks.body.split("/step-up/password").nth(1).unwrap().split('"').next().unwrap());
    let form = world.page(Some(&session), &address).await;
    let (token, transaction) = (form.field("token"), form.field("transaction"));
    let code = world.one_time_code(&key);
    let fields = [("token", token.as_str()), ("transaction", &transaction), ("password", PASSWORD), ("code", &code)];
    let done = world.form(Some(&session), "/step-up/password", &fields).await;
    assert_eq!(done.location, "/me/codes", "{}", done.body);
    let session = world.now(&session);
    assert_eq!(world.page(Some(&session), "/me/codes").await.status, StatusCode::OK);
    // With a passkey in the account, only the passkey will do.
    world.device(&session).await;
    world.clock.advance(Duration::from_secs(300));
    let asks = world.page(Some(&session), "/me/codes").await;
    assert!(asks.body.contains("data-ceremony") && !asks.body.contains("/step-up/password"), "{}", asks.body);
}

#[tokio::test]
async fn this_was_not_me_ends_every_sign_in() {
    let world = World::new().await;
    let (here, there, other) = (world.session(ALICE, 1), world.session(ALICE, 2), world.session(CAROL, 3));
    world.device(&there).await;
    let page = world.page(Some(&here), "/").await;
    assert!(page.body.contains("A passkey was added"), "shown at the next sign-in: {}", page.body);
    let fields = [("token", page.field("token")), ("notice", page.field("notice"))];
    let fields = [("token", fields[0].1.as_str()), ("notice", fields[1].1.as_str())];
    let get = world.page(Some(&here), &format!("/me/notices/not-me?notice={}", fields[1].1)).await;
    assert_eq!(get.status, StatusCode::NOT_FOUND, "a link changes nothing");
    let answer = world.form(Some(&here), "/me/notices/not-me", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let is_live = |session: &model::Session| world.sessions.session(session.id, world.control.now()).is_some();
    assert!(!is_live(&here) && !is_live(&there) && is_live(&other));
    assert_eq!(world.recorder.of_type(RecordType::AuthNotice).len(), 1);
}

#[tokio::test]
async fn somebody_elses_this_was_not_me_ends_nothing_and_stays_good_for_them() {
    let world = World::new().await;
    let (hers, thief) = (world.session(ALICE, 1), world.session(CAROL, 2));
    world.device(&hers).await;
    let token = world.accounts.notices.show(ALICE).await.unwrap().remove(0).not_me;
    let actor = api::Actor::system(model::AccessId(uuid::Uuid::from_u128(1)));
    for (who, token) in [(CAROL, token.expose()), (ALICE, "never shown"), (ALICE, "")] {
        let refused = world.control.not_me(&actor, who, token).await;
        assert!(matches!(refused, Err(api::Failure::Conflict { .. })), "{who}");
    }
    let is_live = |session: &Session| world.sessions.session(session.id, world.control.now()).is_some();
    assert!(is_live(&hers) && is_live(&thief));
    assert!(world.recorder.of_type(RecordType::AuthNotice).is_empty());
    let carried = world.control.not_me(&actor, ALICE, token.expose()).await.unwrap();
    assert!(!carried.revocations.is_empty() && !is_live(&hers) && is_live(&thief));
    assert!(world.control.not_me(&actor, ALICE, token.expose()).await.is_err(), "used");
}

#[tokio::test]
async fn this_was_not_me_ends_every_sign_in_though_the_record_takes_nothing() {
    let world = World::new().await;
    let (here, there) = (world.session(ALICE, 1), world.session(ALICE, 2));
    world.device(&there).await;
    let page = world.page(Some(&here), "/").await;
    let (token, notice) = (page.field("token"), page.field("notice"));
    world.recorder.fail(true);
    let answer =
        world.form(Some(&here), "/me/notices/not-me", &[("token", token.as_str()), ("notice", notice.as_str())]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "and says so: {}", answer.body);
    assert!([here, there].iter().all(|session| world.sessions.session(session.id, world.control.now()).is_none()));
}

#[tokio::test]
async fn notices_that_were_read_are_not_shown_again_and_nobody_reads_away_anothers() {
    let world = World::new().await;
    let (alice, carol) = (world.session(ALICE, 1), world.session(CAROL, 2));
    world.device(&alice).await;
    let hers = world.page(Some(&alice), "/me").await;
    let token = world.page(Some(&carol), "/me").await.field("token");
    let fields = [("token", token.as_str()), ("until", &hers.field("until"))];
    world.form(Some(&carol), "/me/notices/seen", &fields).await;
    let hers = world.page(Some(&alice), "/me").await;
    assert!(hers.body.contains("This was not me"));
    let (token, until) = (hers.field("token"), hers.field("until"));
    world.form(Some(&alice), "/me/notices/seen", &[("token", &token), ("until", &until)]).await;
    assert!(!world.page(Some(&alice), "/me").await.body.contains("This was not me"));
}

/// A sign-in of alice with password and code.
fn by_password(world: &World, n: u128) -> Arc<Session> {
    let mut session = Session::clone(&world.session(ALICE, n));
    session.is_phishing_resistant = false;
    session.acr = pip_identity::passwords::ACR_PAIR.to_owned();
    world.sessions.open(session.clone());
    Arc::new(session)
}

#[tokio::test]
async fn downgrade_what_can_be_phished_never_makes_a_passkey_s_sign_in_young_again() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let key = world.pair(&session).await;
    world.device(&session).await;
    world.clock.advance(Duration::from_secs(3_000));
    // Asked of one's own accord, with no demand of a door: a rule on a route below may want a fresh passkey.
    let page = world.page(Some(&session), "/step-up?app=wiki&action=http.post").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(!page.body.contains("/step-up/password"), "{}", page.body);
    let token = world.page(Some(&session), "/me").await.field("token");
    let (transaction, code) = (page.attribute("data-transaction"), world.one_time_code(&key));
    let fields = [("token", token.as_str()), ("transaction", &transaction), ("password", PASSWORD), ("code", &code)];
    let answer = world.form(Some(&session), "/step-up/password", &fields).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert!(world.now(&session).step_ups.is_empty());
}

#[tokio::test]
async fn a_security_key_takes_the_place_of_the_code_and_of_nothing_else() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    assert_eq!(world.page(Some(&session), "/me/keys/add").await.location, "/me", "not without a password");
    world.pair(&session).await;
    let transaction = world.page(Some(&session), "/me/keys/add").await.attribute("data-transaction");
    let fields = json!({ "transaction": transaction, "name": "Blue key" });
    let begun = world.script(Some(&session), "/me/keys/begin", &fields).await;
    let mut key = Device::at(&format!("https://{AUTH}"));
    let credential = key.create(&begun.json()["options"]).await.0;
    let foreign = json!({ "transaction": "x", "name": "", "credential": credential });
    assert_eq!(world.script(Some(&session), "/me/keys/finish", &foreign).await.status, StatusCode::CONFLICT);
    let answer = json!({ "transaction": transaction, "name": "Blue key", "credential": credential });
    let added = world.script(Some(&session), "/me/keys/finish", &answer).await;
    assert_eq!(added.status, StatusCode::OK, "{}", added.body);
    assert!(has_text(&world.recorder.of_type(RecordType::AuthMfaEnrolled), "security key added"));
    assert!(world.page(Some(&session), "/me").await.body.contains("Blue key"));
    assert!(world.passkeys.list(ALICE).await.unwrap().is_empty(), "it is no passkey");

    // From the page with the code, with the way back to the app.
    let ticket = world.ticket("wiki.test", 1, "/pages/7");
    let transaction = world.page(None, &format!("/login/password?rt={ticket}")).await.field("transaction");
    let page = world.page(None, &format!("/login/key?transaction={transaction}")).await;
    assert_eq!(page.attribute("data-transaction"), transaction);
    let step = async |key: &mut Device, password: &str| {
        let mut body = json!({ "transaction": transaction, "email": "alice@corp.test", "password": password });
        let asked = world.script(None, "/login/key/begin", &body).await;
        body["credential"] = key.get(&asked.json()["options"]).await.0;
        world.script(None, "/login/key/finish", &body).await
    };
    let refused = step(&mut key, "wrong").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("password_or_key_wrong"))
    );
    assert!(!refused.sets_session);
    world.clock.advance(Duration::from_secs(30));
    let done = step(&mut key, PASSWORD).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let next = done.json()["next"].as_str().unwrap().to_owned();
    assert!(done.sets_session && next.starts_with("https://wiki.test/.countersign/handoff?code="), "{next}");
    let sessions = world.control.list_sessions(Some("alice@corp.test")).unwrap();
    let new = sessions.iter().find(|other| other.id != session.id).unwrap();
    assert!(new.is_mfa && !new.is_phishing_resistant && new.amr.contains("pop"), "{new:?}");

    let handle = world.passkeys.keys(ALICE).await.unwrap()[0].handle.clone();
    let token = world.page(Some(&session), &format!("/me/keys/remove?key={handle}")).await.field("token");
    world.form(Some(&session), "/me/keys/remove", &[("token", &token), ("key", &handle)]).await;
    assert!(world.passkeys.keys(ALICE).await.unwrap().is_empty());
}

/// What a page says where scripts do not run.
fn without_javascript(page: &Answer) -> &str {
    let said = page.body.split("<noscript>").nth(1).unwrap_or_else(|| panic!("{}", page.body));
    said.split("</noscript>").next().unwrap()
}

#[tokio::test]
async fn with_javascript_off_a_page_names_the_other_ways_and_they_are_open() {
    let world = World::new().await;
    let sign_in = world.page(None, "/login").await;
    let said = without_javascript(&sign_in);
    for (way, words) in [("/login/password", "password and code"), ("/recover", "recovery code")] {
        assert!(said.contains(words), "{words}: {said}");
        assert!(sign_in.body.contains(&format!("href=\"{way}")), "{way}: {}", sign_in.body);
        let page = world.page(None, way).await;
        assert_eq!(page.status, StatusCode::OK, "{way}");
        assert!(page.body.contains("<form method=\"post\"") && !page.body.contains("<script"), "{way}: {}", page.body);
    }
}
