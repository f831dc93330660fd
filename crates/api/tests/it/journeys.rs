//! Journeys between auth host and app hosts, and what becomes of those who bend them: stolen and repeated hand-off codes,
//! foreign tickets, forged sign-outs, questions about apps that are nobody's business.

use http::{Request, StatusCode};
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{SessionView, UserId};

use crate::world::{ALICE, AUTH, CAROL, World};

/// alice, signed in on the auth host, is sent to the wiki of browser 1; the path with the code.
async fn handed_off(world: &World, target: &str) -> String {
    let session = world.session(ALICE, 1);
    let ticket = world.ticket("wiki.test", 1, target);
    let answer = world.get(world.context(AUTH, Some(&session), Some(9)), &format!("/login?rt={ticket}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    answer.location.strip_prefix("https://wiki.test").unwrap().to_owned()
}

#[tokio::test]
async fn a_hand_off_arrives_where_the_person_was_going_and_is_recorded() {
    let world = World::new().await;
    let path = handed_off(&world, "/pages/7?edit=1").await;
    let answer = world.get(world.context("wiki.test", None, Some(1)), &path).await;
    assert_eq!((answer.status, answer.location.as_str()), (StatusCode::SEE_OTHER, "/pages/7?edit=1"));
    assert!(answer.sets_session);
    let created = world.recorder.of_type(RecordType::SessionCreated);
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].who.subject_id, Some(ALICE));
    assert_eq!(created[0].what.app.as_deref(), Some("wiki"));
}

#[tokio::test]
async fn handoff_code_theft_and_host_confusion_sign_nobody_in() {
    type Bend = fn(&World) -> ReservedContext;
    let bends: &[(&str, Bend)] = &[
        ("another browser", |world| world.context("wiki.test", None, Some(2))),
        ("a browser without its cookie", |world| world.context("wiki.test", None, None)),
        ("another app", |world| world.context("vault.test", None, Some(1))),
        ("another port", |world| ReservedContext {
            authority: "wiki.test:8443".to_owned(),
            ..world.context("wiki.test", None, Some(1))
        }),
        ("half a minute later", |world| {
            world.clock.advance(std::time::Duration::from_secs(30));
            world.context("wiki.test", None, Some(1))
        }),
    ];
    for (name, bend) in bends {
        let world = World::new().await;
        let path = handed_off(&world, "/").await;
        let answer = world.get(bend(&world), &path).await;
        assert!(!answer.sets_session, "{name}: {answer:?}");
        assert!(world.recorder.of_type(RecordType::SessionCreated).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn handoff_code_replay_signs_nobody_in_and_a_head_uses_none_up() {
    let world = World::new().await;
    let path = handed_off(&world, "/").await;
    let here = || world.context("wiki.test", None, Some(1));
    let scanned = world.call(here(), Request::head(&path), "").await;
    assert!(!scanned.sets_session);
    assert!(world.get(here(), &path).await.sets_session);
    let again = world.get(here(), &path).await;
    assert!(!again.sets_session);
    assert_eq!(again.location, "/");
}

#[tokio::test]
async fn a_hand_off_of_a_session_that_ended_meanwhile_signs_nobody_in() {
    let world = World::new().await;
    let path = handed_off(&world, "/").await;
    world.sessions.revoke_all(ALICE, 2);
    let answer = world.get(world.context("wiki.test", None, Some(1)), &path).await;
    assert!(!answer.sets_session, "{answer:?}");
}

#[tokio::test]
async fn open_redirect_a_ticket_that_is_none_leads_to_our_own_pages() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let foreign = world.ticket("evil.test", 1, "/");
    for rt in ["https://evil.test/", "//evil.test", "x%0d%0aSet-Cookie:%20a=b", "%00", "", foreign.as_str()] {
        for page in ["/login?rt=", "/step-up?app=wiki&action=http.get&rt="] {
            let signed_in = world.get(world.context(AUTH, Some(&session), Some(9)), &format!("{page}{rt}")).await;
            let is_ours = signed_in.status == StatusCode::OK || signed_in.location == "/";
            assert!(is_ours && !signed_in.body.contains("evil.test"), "{page}{rt}: {signed_in:?}");
        }
        let nobody = world.get(world.context(AUTH, None, Some(9)), &format!("/step-up?rt={rt}")).await;
        assert_eq!((nobody.status, nobody.location.as_str()), (StatusCode::SEE_OTHER, "/login"), "{rt}");
    }
}

#[tokio::test]
async fn a_person_does_not_learn_by_asking_which_apps_exist() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let ask = |app: &'static str| world.get(world.context(AUTH, Some(&session), Some(9)), app);
    let hidden = ask("/step-up?app=vault&action=http.delete").await;
    let absent = ask("/step-up?app=nothing&action=http.delete").await;
    assert_eq!((hidden.status, &hidden.location, &hidden.body), (absent.status, &absent.location, &absent.body));
    let own = ask("/step-up?app=wiki&action=http.delete").await;
    assert_eq!(own.status, StatusCode::OK);
    assert!(own.body.contains("Wiki"));
}

#[tokio::test]
async fn the_sign_in_page_does_not_name_an_app_that_explains_nothing() {
    let world = World::new().await;
    for (host, title, is_named) in [("wiki.test", "Wiki", true), ("vault.test", "Merger Papers", false)] {
        let ticket = world.ticket(host, 1, "/");
        let page = world.get(world.context(AUTH, None, Some(9)), &format!("/login?rt={ticket}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.body.contains(title), is_named, "{host}");
    }
}

#[tokio::test]
async fn a_step_up_for_one_app_does_not_lead_into_another() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let ticket = world.ticket("vault.test", 1, "/");
    let path = format!("/step-up?app=wiki&action=http.delete&rt={ticket}");
    let page = world.get(world.context(AUTH, Some(&session), Some(9)), &path).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.body.contains("vault.test"), "{}", page.body);
}

#[tokio::test]
async fn login_csrf_a_journey_goes_on_only_in_the_browser_it_began_in() {
    let world = World::new().await;
    let page = world.get(world.context(AUTH, None, Some(9)), "/login").await;
    let transaction = between(&page.body, "data-transaction=\"", "\"");
    let body = format!("{{\"transaction\":\"{transaction}\"}}");
    let begin = |browser| {
        let request = Request::post("/login/begin").header("content-type", "application/json");
        world.call(world.context(AUTH, None, browser), request, &body)
    };
    assert_eq!(begin(Some(9)).await.status, StatusCode::OK);
    assert_eq!(begin(Some(8)).await.status, StatusCode::CONFLICT);
    assert_eq!(begin(None).await.status, StatusCode::CONFLICT);
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {text}"));
    rest.split_once(after).unwrap().0
}

/// The token of a person's sign-out page.
async fn token(world: &World, session: &std::sync::Arc<model::Session>) -> String {
    let page = world.get(world.context(AUTH, Some(session), None), "/logout").await;
    between(&page.body, "name=\"token\" value=\"", "\"").to_owned()
}

fn is_live(world: &World, id: model::SessionId) -> bool {
    world.sessions.session(id, world.control.now()).is_some()
}

#[tokio::test]
async fn csrf_a_sign_out_needs_our_own_page_and_a_token_of_this_session() {
    let world = World::new().await;
    let (session, other) = (world.session(ALICE, 1), world.session(CAROL, 2));
    let (own, foreign) = (token(&world, &session).await, token(&world, &other).await);
    for (origin, token) in [
        ("https://wiki.test", own.as_str()),
        ("null", &own),
        ("https://auth.test", &foreign),
        ("https://auth.test", ""),
    ] {
        let request = Request::post("/logout").header("origin", origin);
        let answer = world.call(world.context(AUTH, Some(&session), None), request, &format!("token={token}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {token}");
    }
    assert!(is_live(&world, session.id));
    let request = Request::post("/logout").header("origin", "https://auth.test");
    let answer = world.call(world.context(AUTH, Some(&session), None), request, &format!("token={own}")).await;
    assert!(answer.status == StatusCode::OK && answer.sets_session, "{answer:?}");
    assert!(!is_live(&world, session.id) && is_live(&world, other.id));
    assert_eq!(world.recorder.of_type(RecordType::AuthSignout).len(), 1);
}

#[tokio::test]
async fn signing_out_everywhere_is_a_sign_out_in_the_record() {
    let world = World::new().await;
    let (here, there, other) = (world.session(ALICE, 1), world.session(ALICE, 2), world.session(CAROL, 3));
    let token = token(&world, &here).await;
    let request = Request::post("/logout").header("origin", "https://auth.test");
    let body = format!("token={token}&scope=everywhere");
    let answer = world.call(world.context(AUTH, Some(&here), None), request, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!is_live(&world, here.id) && !is_live(&world, there.id) && is_live(&world, other.id));
    assert_eq!(world.recorder.of_type(RecordType::AuthSignout).len(), 1);
}

#[tokio::test]
async fn nobody_ends_the_session_of_another_person() {
    let world = World::new().await;
    let (own, other) = (world.session(ALICE, 1), world.session(CAROL, 2));
    let token = token(&world, &own).await;
    let request = Request::post("/logout").header("origin", "https://auth.test");
    let body = format!("token={token}&scope=one&session={}", other.id);
    let answer = world.call(world.context(AUTH, Some(&own), None), request, &body).await;
    assert_eq!(answer.location, "/");
    assert!(is_live(&world, own.id) && is_live(&world, other.id));
}

#[tokio::test]
async fn a_get_a_put_or_a_delete_of_a_step_changes_nothing() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for (host, path) in [
            (AUTH, "/logout"),
            (AUTH, "/login/finish"),
            (AUTH, "/step-up/finish"),
            (AUTH, "/enrol/finish"),
            ("wiki.test", "/.countersign/logout"),
        ] {
            let request = Request::builder().method(method).uri(path).header("origin", format!("https://{host}"));
            let answer = world.call(world.context(host, Some(&session), Some(1)), request, "{}").await;
            assert!(!answer.sets_session, "{method} {host}{path}");
        }
    }
    assert!(is_live(&world, session.id));
    assert!(world.kinds_since(0).is_empty(), "{:?}", world.kinds_since(0));
}

/// Only an app that says so throws away what the browser keeps of it, and only once the session has ended (GW-19).
#[tokio::test]
async fn site_data_is_cleared_after_a_sign_out_of_an_app_that_says_so_and_never_else() {
    let world = World::new().await;
    let clears = Some("\"cache\", \"cookies\"");
    let path = "/.countersign/logout";
    for (n, (host, path, origin, expected)) in [
        ("vault.test", path, "https://vault.test", clears),
        ("wiki.test", path, "https://wiki.test", None),
        (AUTH, "/logout", "https://auth.test", None),
        // Refused: nothing has ended.
        ("vault.test", path, "https://evil.test", None),
    ]
    .into_iter()
    .enumerate()
    {
        let session = world.session(ALICE, n as u128 + 1);
        let token = token(&world, &session).await;
        let shown = world.get(world.context(host, Some(&session), None), path).await;
        assert_eq!((shown.status, shown.clear_site_data), (StatusCode::OK, None), "{host}: only asked");
        let form = format!("token={token}");
        let request = Request::post(path).header("origin", origin);
        let answer = world.call(world.context(host, Some(&session), None), request, &form).await;
        assert_eq!(answer.clear_site_data.as_deref(), expected, "{host} {origin}");
        assert_eq!(is_live(&world, session.id), answer.status == StatusCode::FORBIDDEN, "{host} {origin}");
    }
}

#[tokio::test]
async fn the_page_of_a_session_tells_its_own_person_only() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let nobody = world.get(world.context("wiki.test", None, None), "/.countersign/session").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert!(!nobody.body.contains("alice"));
    let person = world.get(world.context("wiki.test", Some(&session), None), "/.countersign/session").await;
    let told: UserId = person.json()["user"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(told, ALICE);
}

#[tokio::test]
async fn decisions_are_not_looked_up_without_end() {
    let world = World::new().await;
    let (session, other) = (world.session(ALICE, 1), world.session(CAROL, 2));
    let path = "/.countersign/decision/aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let ask = |session| world.get(world.context("wiki.test", Some(session), None), path);
    for _ in 0..30 {
        assert_eq!(ask(&session).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(ask(&session).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&other).await.status, StatusCode::NOT_FOUND, "each session has its own");
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(ask(&session).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn browsers_are_told_which_other_origins_may_use_these_passkeys() {
    let world = World::new().await;
    let answer = world.get(world.context(AUTH, None, None), "/.well-known/webauthn").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), serde_json::json!({ "origins": ["https://auth.new.example"] }));
}
