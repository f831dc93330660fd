//! Apps with several hosts, renewals from inside a page, and browsers that go round in circles (GW-13, GW-14).

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use model::app::AppName;
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{Clock, Session, SessionView};
use serde_json::{Value, json};

use crate::world::{ALICE, APPS, AUTH, Answer, CAROL, World};

const HOSTS: [&str; 3] = ["wiki.test", "api.test", "files.test"];

/// The wiki answers on three hosts.
async fn world() -> World {
    let world = World::new().await;
    let files: Vec<Value> = APPS
        .iter()
        .map(|(name, text)| {
            let text = text.replace("[wiki.test]", "[wiki.test, api.test, files.test, \"*.wiki.test\"]");
            json!({ "name": name, "text": text })
        })
        .collect();
    let applied = world.local("POST", "/api/v1/config/apply", &json!({ "files": files })).await;
    assert_eq!(applied.status, StatusCode::OK, "{applied:?}");
    world
}

/// A request to the wiki on `host`, from browser 1.
fn at(world: &World, host: &str, session: Option<&Arc<Session>>) -> ReservedContext {
    ReservedContext { app: Some(AppName::new("wiki")), ..world.context(host, session, Some(1)) }
}

fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("https://").unwrap_or_else(|| panic!("`{url}` leads to no host"));
    rest.split_at(rest.find('/').unwrap())
}

/// Follows redirects as browser 1 with alice's session on the auth host and wherever a cookie was set; returns the way.
async fn walk(world: &World, session: &Arc<Session>, mut url: String, keeps_cookies: bool) -> Vec<String> {
    let (mut way, mut signed_in) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (host, path) = split(&url);
        way.push(format!("{host}{}", path.split('?').next().unwrap()));
        let answer: Answer = if host == AUTH {
            world.get(world.context(AUTH, Some(session), Some(9)), path).await
        } else if path.starts_with("/.countersign/") {
            let has_cookie = signed_in.contains(&host.to_owned());
            world.get(at(world, host, has_cookie.then_some(session)), path).await
        } else {
            return way;
        };
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{url}: {answer:?}");
        if answer.sets_session && keeps_cookies {
            signed_in.push(host.to_owned());
        }
        url = match answer.location.starts_with('/') {
            true => format!("https://{host}{}", answer.location),
            false => answer.location,
        };
    }
    panic!("it never ends: {way:#?}");
}

async fn to_hand_off(world: &World, session: &Arc<Session>, target: &str) -> String {
    let ticket = world.ticket(HOSTS[0], 1, target);
    let answer = world.get(world.context(AUTH, Some(session), Some(9)), &format!("/login?rt={ticket}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    answer.location
}

#[tokio::test]
async fn a_hand_off_walks_every_exact_host_of_the_app_and_lands_where_the_person_was_going() {
    let world = world().await;
    let session = world.session(ALICE, 1);
    let start = to_hand_off(&world, &session, "/pages/7?edit=1").await;
    let way = walk(&world, &session, start, true).await;
    assert_eq!(
        way,
        [
            "wiki.test/.countersign/handoff",
            "api.test/.countersign/link",
            "auth.test/login",
            "api.test/.countersign/handoff",
            "api.test/.countersign/link",
            "files.test/.countersign/link",
            "auth.test/login",
            "files.test/.countersign/handoff",
            "files.test/.countersign/link",
            "wiki.test/pages/7",
        ]
    );
    assert_eq!(world.recorder.of_type(RecordType::SessionCreated).len(), HOSTS.len());
}

#[tokio::test]
async fn a_host_that_keeps_no_cookie_is_passed_and_holds_nobody_up() {
    let world = world().await;
    let session = world.session(ALICE, 1);
    let start = to_hand_off(&world, &session, "/pages/7").await;
    let way = walk(&world, &session, start, false).await;
    assert_eq!(way.last().unwrap(), "wiki.test/pages/7");
}

#[tokio::test]
async fn a_walk_of_somebody_else_leads_nobody_anywhere() {
    type Bend = fn(&World) -> ReservedContext;
    let bends: [(&str, Bend); 2] = [
        ("another host", |world| at(world, HOSTS[2], Some(&world.session(ALICE, 1)))),
        ("somebody else", |world| at(world, HOSTS[1], Some(&world.session(CAROL, 2)))),
    ];
    for (what, bend) in bends {
        let world = world().await;
        let session = world.session(ALICE, 1);
        let start = to_hand_off(&world, &session, "/secret-plan").await;
        let first = world.get(at(&world, HOSTS[0], None), split(&start).1).await;
        let answer = world.get(bend(&world), split(&first.location).1).await;
        assert_eq!((answer.location.as_str(), answer.sets_session), ("/", false), "{what}");
    }
    let world = world().await;
    let session = world.session(ALICE, 1);
    let start = to_hand_off(&world, &session, "/secret-plan").await;
    let first = world.get(at(&world, HOSTS[0], None), split(&start).1).await;
    let (host, step) = split(&first.location);
    let scanned = world.call(at(&world, host, Some(&session)), Request::head(step), "").await;
    assert_eq!(scanned.status, StatusCode::NOT_FOUND);
    let stepped = world.get(at(&world, host, Some(&session)), step).await;
    assert!(stepped.location.starts_with("https://files.test/.countersign/link?walk="), "{stepped:?}");
    let again = world.get(at(&world, host, Some(&session)), step).await;
    assert_eq!(again.location, "/");
}

#[tokio::test]
async fn a_walk_goes_on_where_another_tab_signed_the_same_person_in() {
    let world = world().await;
    let (session, other_tab) = (world.session(ALICE, 1), world.session(ALICE, 2));
    let start = to_hand_off(&world, &session, "/pages/7").await;
    let first = world.get(at(&world, HOSTS[0], None), split(&start).1).await;
    let (host, step) = split(&first.location);
    let answer = world.get(at(&world, host, Some(&other_tab)), step).await;
    assert!(answer.location.starts_with("https://files.test/.countersign/link?walk="), "{answer:?}");
}

#[tokio::test]
async fn a_renewal_in_a_frame_asks_nobody_and_ends_on_its_page() {
    let world = world().await;
    let framed = || Request::get("/.countersign/renew").header("sec-fetch-dest", "iframe");
    let begun = world.call(at(&world, HOSTS[0], None), framed(), "").await;
    let (host, path) = split(&begun.location);
    assert_eq!(host, AUTH);
    // Nobody is signed in on the auth host: back without a question.
    let back = world.get(world.context(AUTH, None, Some(9)), path).await;
    assert_eq!(back.location, "https://wiki.test/.countersign/renewed");
    // Somebody is: through every host, to the same page.
    let session = world.session(ALICE, 1);
    let end = world.get(world.context(AUTH, Some(&session), Some(9)), path).await;
    let arrived = world.get(at(&world, HOSTS[0], None), split(&end.location).1).await;
    assert!(arrived.sets_session && arrived.location.starts_with("https://api.test/.countersign/link?walk="));
    let page = world.get(at(&world, HOSTS[0], Some(&session)), "/.countersign/renewed").await;
    assert_eq!(page.status, StatusCode::OK);
    // In a window of its own, people are asked.
    let asked = world.get(at(&world, HOSTS[0], None), "/.countersign/renew").await;
    let page = world.get(world.context(AUTH, None, Some(9)), split(&asked.location).1).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
}

#[tokio::test]
async fn open_redirect_quiet_leads_only_to_the_end_of_a_renewal() {
    let world = world().await;
    let ticket = world.ticket(HOSTS[0], 1, "/pages/7");
    let answer = world.get(world.context(AUTH, None, Some(9)), &format!("/login?rt={ticket}&quiet=1")).await;
    assert_eq!(answer.status, StatusCode::OK, "a person is asked: {answer:?}");
    let answer = world.get(world.context(AUTH, None, Some(9)), "/login?quiet=1&rt=https://evil.test/").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn the_third_hand_off_in_a_row_without_a_cookie_ends_in_a_page_with_the_likely_cause() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    for round in 1..=3 {
        let location = to_hand_off(&world, &session, "/pages/7").await;
        world.clock.advance(Duration::from_secs(1));
        let context = world.context(HOSTS[0], None, Some(1));
        let id = context.access_id.to_string();
        let answer = world.get(context, split(&location).1).await;
        if round < 3 {
            assert!(answer.sets_session, "{round}: {answer:?}");
            continue;
        }
        assert_eq!((answer.status, answer.sets_session), (StatusCode::FORBIDDEN, false));
        assert!(answer.body.contains("cookies are blocked") && answer.body.contains(&id), "{}", answer.body);
    }
}

#[tokio::test]
async fn atk_49_twenty_tabs_of_one_address_at_once_are_no_circle() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    let mut tabs = Vec::new();
    for _ in 0..20 {
        tabs.push(to_hand_off(&world, &session, "/pages/7").await);
    }
    world.clock.advance(Duration::from_secs(1));
    for tab in tabs {
        let answer = world.get(world.context(HOSTS[0], None, Some(1)), split(&tab).1).await;
        assert_eq!((answer.status, answer.location.as_str()), (StatusCode::SEE_OTHER, "/pages/7"));
        assert!(answer.sets_session);
    }
    assert!(world.sessions.session(session.id, world.clock.now()).is_some());
}

#[tokio::test]
async fn a_browser_that_came_back_with_its_cookie_starts_to_count_anew() {
    let world = World::new().await;
    let session = world.session(ALICE, 1);
    for round in 0..6 {
        let location = to_hand_off(&world, &session, "/pages/7").await;
        world.clock.advance(Duration::from_secs(1));
        // Every second time the cookie of the time before came along.
        let cookie = (round % 2 == 1).then_some(&session);
        let answer = world.get(world.context(HOSTS[0], cookie, Some(1)), split(&location).1).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{round}");
    }
}
