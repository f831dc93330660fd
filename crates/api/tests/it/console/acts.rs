//! Acts: counted before the button, confirmed within five minutes, asked again when the count moved, recorded, and shown
//! once.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use model::session::StepUp;
use model::{Action, AppName, Session, SessionView, UserState};

use super::{Reader, hidden};
use crate::world::{ALICE, CAROL, World};

fn is_live(world: &World, session: &Arc<Session>) -> bool {
    world.sessions.session(session.id, world.control.now()).is_some()
}

#[tokio::test]
async fn ending_sessions_counts_first_acts_once_and_shows_its_record() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let alices = [world.session(ALICE, 2), world.session(ALICE, 3)];
    let ask = carol.get("/console/sessions/end?user=alice@corp.test").await;
    assert!(ask.body.contains("Ends 2 sessions of 1 person."), "{}", ask.body);
    let from = world.recorder.records().len();
    let fields = [("user", "alice@corp.test"), ("expected", &*hidden(&ask, "expected"))];
    let done = carol.post("/console/sessions/end", &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    assert!(alices.iter().all(|session| !is_live(&world, session)));
    assert!(is_live(&world, &carol.session), "whoever asks stays");
    assert_eq!(world.kinds_since(from), ["session.revoked"]);
    let shown = carol.get(done.header(header::LOCATION)).await;
    let record = world.recorder.records().last().unwrap().access_id.to_string();
    assert!(shown.body.contains("2 sessions ended") && shown.body.contains(&record), "{}", shown.body);
    // The same form again finds nothing to end, and does nothing.
    let again = carol.post("/console/sessions/end", &fields).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(world.kinds_since(from), ["session.revoked"]);
}

#[tokio::test]
async fn when_the_count_changed_the_question_is_asked_again() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let first = world.session(ALICE, 2);
    let ask = carol.get("/console/sessions/end").await;
    let second = world.session(ALICE, 3);
    let again = carol.post("/console/sessions/end", &[("expected", &*hidden(&ask, "expected"))]).await;
    assert_eq!(again.status, StatusCode::OK);
    assert!(again.body.contains("has changed meanwhile") && again.body.contains("Ends 2 sessions"), "{}", again.body);
    assert!(is_live(&world, &first) && is_live(&world, &second));
    let done = carol.post("/console/sessions/end", &[("expected", &*hidden(&again, "expected"))]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert!(!is_live(&world, &first) && !is_live(&world, &second));
}

#[tokio::test]
async fn an_act_on_others_needs_a_confirmation_of_the_last_five_minutes_and_comes_back_to_the_form() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    world.clock.advance(Duration::from_secs(301));
    let victim = world.session(ALICE, 2);
    let ask = carol.get("/console/sessions/end?user=alice@corp.test").await;
    assert!(ask.body.contains("Confirm with your passkey first"), "{}", ask.body);
    let button = "<form method=\"post\" action=\"/console/sessions/end\"";
    assert!(!ask.body.contains(button), "no button before the confirmation");
    let way = ask.body.split("href=\"/step-up?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let page = world.page(Some(&carol.session), &format!("/step-up?{way}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    for (path, fields) in [
        ("/console/sessions/end".to_owned(), vec![("user", "alice@corp.test")]),
        (format!("/console/people/{ALICE}/disable"), vec![("expected", "active-1")]),
        ("/console/people/invite".to_owned(), vec![("name", "Dan"), ("email", "dan@corp.test"), ("group", "staff")]),
    ] {
        let page = carol.post(&path, &fields).await;
        assert!(page.body.contains("Confirm with your passkey first"), "{path}: {}", page.body);
    }
    assert!(is_live(&world, &victim));
    assert_eq!(world.user_state(ALICE), UserState::Active);
    assert!(world.control.published().directory.find("dan@corp.test").is_none());
    let back = carol.get("/console/people?name=Dan&email=dan%40corp.test&group=staff").await;
    assert!(back.body.contains("value=\"dan@corp.test\"") && back.body.contains("value=\"staff\" checked"));
    let at = world.control.now();
    let action = Action::AdminWrite;
    let step_up = StepUp { app: AppName::new("countersign"), action, at, fix: Vec::new() };
    assert!(world.sessions.step_up(carol.session.id, step_up, None));
    let ask = carol.get("/console/sessions/end?user=alice@corp.test").await;
    assert!(ask.body.contains(button), "{}", ask.body);
}

#[tokio::test]
async fn disabling_and_enabling_leave_records_and_the_last_administrator_stays() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let session = world.session(ALICE, 2);
    for (verb, state, kind) in [
        ("disable", UserState::Disabled, "identity.user_disabled"),
        ("enable", UserState::Invited, "identity.user_changed"),
    ] {
        let path = format!("/console/people/{ALICE}/{verb}");
        let ask = carol.get(&path).await;
        let from = world.recorder.records().len();
        let done = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
        assert_eq!(world.user_state(ALICE), state, "{verb}");
        assert!(world.kinds_since(from).contains(&kind), "{verb}: {:?}", world.kinds_since(from));
        assert!(carol.get(done.header(header::LOCATION)).await.body.contains("Recorded as"));
    }
    assert!(!is_live(&world, &session));
    let path = format!("/console/people/{CAROL}/disable");
    let ask = carol.get(&path).await;
    assert!(ask.body.contains("This is you"), "{}", ask.body);
    let refused = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body.contains("no active administrator"), "{}", refused.body);
    assert_eq!(world.user_state(CAROL), UserState::Active);
}

#[tokio::test]
async fn an_invitation_is_shown_once_and_only_to_whoever_made_it() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let taken = [("name", "Alice Two"), ("email", "alice@corp.test"), ("group", "staff")];
    let bad = carol.post("/console/people/invite", &taken).await;
    assert_eq!(bad.status, StatusCode::CONFLICT);
    assert!(bad.body.contains("Alice Two") && bad.body.contains("value=\"staff\" checked"), "{}", bad.body);
    let fields = [("name", "Dan"), ("email", "dan@corp.test"), ("group", "staff")];
    let done = carol.post("/console/people/invite", &fields).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    let place = done.header(header::LOCATION).to_owned();
    let stranger = Reader::at(&world, world.session(ALICE, 2)).await;
    assert_eq!(stranger.get(&place).await.status, StatusCode::FORBIDDEN);
    let first = carol.get(&place).await;
    assert!(first.body.contains("https://auth.test/invite/"), "{}", first.body);
    let second = carol.get(&place).await;
    assert_eq!(second.status, StatusCode::OK);
    assert!(!second.body.contains("/invite/"), "the link is shown once");
    let dan = world.control.published().directory.find("dan@corp.test").cloned().unwrap();
    assert!(dan.groups.iter().any(|group| group.as_str() == "staff"));
}

#[tokio::test]
async fn why_answers_as_the_engine_does_and_one_fact_changes_it() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let ask =
        |auth: &str| format!("/console/why?ask=yes&who=alice@corp.test&app=wiki&action=http.get&path=/&auth={auth}");
    let allowed = carol.get(&ask("passkey")).await;
    assert!(allowed.body.contains("✓ ALLOW") && allowed.body.contains("wiki/staff"), "{}", allowed.body);
    assert!(allowed.body.contains("kind: PolicyTest") && allowed.body.contains("want: ALLOW"), "{}", allowed.body);
    let denied = carol.get(&ask("none")).await;
    assert!(denied.body.contains("✕ DENY") && denied.body.contains("context.auth.authenticated"), "{}", denied.body);
    let apps = carol.get("/console/apps/wiki").await;
    assert!(apps.body.contains("staff › wiki/staff"), "the path that gives it: {}", apps.body);
}

#[tokio::test]
async fn an_administrator_vouches_at_the_console_and_the_browser_that_began_goes_on() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let path = format!("/console/people/{ALICE}/vouch");
    let early = carol.post(&path, &[("expected", "none")]).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.body);
    let code = world.accounts.codes.regenerate(&world.fresh_session(ALICE)).await.unwrap().remove(0).expose();
    let opened = world.form(None, "/recover", &[("email", "alice@corp.test"), ("recovery_code", &code)]).await;
    let case = opened.location.strip_prefix("/recover/case?case=").unwrap().to_owned();
    let person = carol.get(&format!("/console/people/{ALICE}")).await;
    assert!(person.body.contains("a recovery code") && person.body.contains("nobody yet"), "{}", person.body);
    let ask = carol.get(&path).await;
    let id = world.accounts.recovery.open_case_of(ALICE).await.unwrap().row.id;
    assert!(ask.body.contains(&format!("it must be {id}")), "the case id is there to compare: {}", ask.body);
    assert!(ask.body.contains(&format!("user recover alice@corp.test --approve {id}")), "{}", ask.body);
    let stale = carol.post(&path, &[("expected", "something else")]).await;
    assert!(stale.body.contains("has changed meanwhile"), "{}", stale.body);
    let waits = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert_eq!(waits.status, StatusCode::UNPROCESSABLE_ENTITY, "nothing was done yet: {}", waits.body);
    let done = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    let shown = carol.get(done.header(header::LOCATION)).await;
    assert!(!shown.body.contains("/invite/"), "the link is for the browser that began: {}", shown.body);
    let claimed = world.form(None, "/recover/case", &[("case", &case)]).await;
    assert!(claimed.location.starts_with("/recover/link?code="), "{claimed:?}");
}

#[tokio::test]
async fn without_a_code_two_administrators_vouch_nobody_for_themselves_and_the_second_gets_the_link() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let step = |user: String, verb: &str| format!("/console/people/{user}/{verb}");
    let path = step(ALICE.to_string(), "recover");
    let ask = carol.get(&path).await;
    let done = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert!(!carol.get(done.header(header::LOCATION)).await.body.contains("/invite/"), "one word is not enough");
    let path = step(ALICE.to_string(), "vouch");
    let ask = carol.get(&path).await;
    let twice = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert_eq!(twice.status, StatusCode::CONFLICT, "nobody is two administrators: {}", twice.body);
    let own = step(CAROL.to_string(), "recover");
    let ask = carol.get(&own).await;
    let refused = carol.post(&own, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert!(refused.status == StatusCode::CONFLICT && refused.body.contains("their own account"), "{}", refused.body);
    // The operator of the host began this one, so carol is the second.
    let path = format!("/api/v1/users/{ALICE}/recover");
    let begun = world.local("POST", &path, &serde_json::json!({ "step": "open", "restart": true })).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.body);
    let path = step(ALICE.to_string(), "vouch");
    let ask = carol.get(&path).await;
    let done = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    let place = done.header(header::LOCATION).to_owned();
    let shown = carol.get(&place).await;
    assert!(shown.body.contains("https://auth.test/invite/"), "{}", shown.body);
    assert!(!carol.get(&place).await.body.contains("/invite/"), "the link is shown once");
    let url = shown.body.split("<code>https://auth.test").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(world.page(None, &url).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stopped_recovery_leads_nowhere() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let code = world.accounts.codes.regenerate(&world.fresh_session(ALICE)).await.unwrap().remove(0).expose();
    let opened = world.form(None, "/recover", &[("email", "alice@corp.test"), ("recovery_code", &code)]).await;
    let path = format!("/console/people/{ALICE}/stop-recovery");
    let ask = carol.get(&path).await;
    let done = carol.post(&path, &[("expected", &*hidden(&ask, "expected"))]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    assert_eq!(world.page(None, &opened.location).await.status, StatusCode::GONE);
    assert!(carol.get(&format!("/console/people/{ALICE}")).await.body.contains("No recovery is open"));
}

#[tokio::test]
async fn whoever_does_not_confirm_goes_back_to_the_console() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    world.clock.advance(Duration::from_secs(301));
    let path = format!("/console/people/{ALICE}/disable");
    let ask = carol.get(&path).await;
    let way = ask.body.split("href=\"/step-up?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let page = world.page(Some(&carol.session), &format!("/step-up?{way}")).await;
    assert!(page.body.contains(&format!("<a href=\"{path}\">Go back without confirming</a>")), "{}", page.body);
}
