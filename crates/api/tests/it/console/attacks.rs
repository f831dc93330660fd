//! Attacks on forms and on the live tail: planted cookies, a form sent twice at once, more tails than allowed, a tail that
//! outlives its session; and every page is well-formed.

use std::time::Duration;

use http::{Request, StatusCode, header};
use model::{SessionControl, UserState};
use scraper::Html;
use serde_json::json;

use super::{Page, Reader, form, hidden, own, put_record};
use crate::world::{ALICE, CAROL, World};

#[tokio::test]
async fn cookie_tossing_a_companion_planted_by_a_sibling_host_opens_no_form() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let mallory = Reader::at(&world, world.session(ALICE, 2)).await;
    let (name, own_value) = carol.companion.split_once('=').unwrap();
    let evil = mallory.companion.split_once('=').unwrap().1;
    let body = form(&[("token", &carol.token), ("name", "Mallory"), ("email", "mallory@corp.test")]);
    let path = "/console/people/invite";
    for cookies in [
        format!("{name}={evil}"),
        format!("{name}={evil}; {name}={own_value}"),
        format!("{name}={own_value}; {name}={evil}"),
        format!("{name}={own_value}; {name}={own_value}"),
        format!("{name}={own_value};{name}="),
        // Without a name, as some browsers once took them: on the wire it looks like one with a name.
        format!("={name}={own_value}"),
        format!("{}={own_value}", name.to_lowercase()),
        format!("{}={own_value}", name.trim_start_matches("__Host-")),
        format!("x{name}={own_value}"),
        format!("{name}=\"{own_value}\""),
        format!("{name}={own_value}x"),
    ] {
        let page = carol.send(own(path).header("cookie", &cookies), &body).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{cookies}");
        assert!(world.control.published().directory.find("mallory@corp.test").is_none(), "{cookies}");
    }
    // Two headers are one list.
    let twice = own(path).header("cookie", format!("{name}={evil}")).header("cookie", &carol.companion);
    assert_eq!(carol.send(twice, &body).await.status, StatusCode::FORBIDDEN);
    let good = carol.send(own(path).header("cookie", format!("a=b; {}; c=d", carol.companion)), &body).await;
    assert_eq!(good.status, StatusCode::SEE_OTHER, "{}", good.body);
}

#[tokio::test]
async fn double_submit_a_form_sent_twice_at_once_acts_once() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let done = |pages: &[Page]| pages.iter().filter(|page| page.status == StatusCode::SEE_OTHER).count();

    let fields = [("name", "Dan"), ("email", "dan@corp.test"), ("group", "staff")];
    let from = world.recorder.records().len();
    let (a, b, c) = tokio::join!(
        carol.post("/console/people/invite", &fields),
        carol.post("/console/people/invite", &fields),
        carol.post("/console/people/invite", &fields),
    );
    assert_eq!(done(&[a, b, c]), 1, "one invitation");
    let created = world.kinds_since(from).iter().filter(|kind| **kind == "identity.user_created").count();
    assert_eq!(created, 1, "{:?}", world.kinds_since(from));

    let path = format!("/console/people/{ALICE}/disable");
    let expected = hidden(&carol.get(&path).await, "expected");
    let from = world.recorder.records().len();
    let fields = [("expected", expected.as_str())];
    let (a, b) = tokio::join!(carol.post(&path, &fields), carol.post(&path, &fields));
    assert_eq!(world.user_state(ALICE), UserState::Disabled);
    let disabled = world.kinds_since(from).iter().filter(|kind| **kind == "identity.user_disabled").count();
    assert_eq!((done(&[a, b]), disabled), (1, 1), "{:?}", world.kinds_since(from));

    let sessions = [world.session(CAROL, 11), world.session(CAROL, 12)];
    let expected = hidden(&carol.get("/console/sessions/end").await, "expected");
    let from = world.recorder.records().len();
    let fields = [("expected", expected.as_str())];
    let (a, b) =
        tokio::join!(carol.post("/console/sessions/end", &fields), carol.post("/console/sessions/end", &fields),);
    let now = world.control.now();
    assert!(sessions.iter().all(|it| model::SessionView::session(&*world.sessions, it.id, now).is_none()));
    assert_eq!(done(&[a, b]), 1);
    assert_eq!(world.kinds_since(from), ["session.revoked"; 2], "one a session");
}

#[tokio::test]
async fn a_form_that_waited_for_its_turn_does_nothing_once_its_session_has_ended() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let path = format!("/console/people/{ALICE}/disable");
    let expected = hidden(&carol.get(&path).await, "expected");
    SessionControl::end(&*world.session_control, carol.session.id, model::seams::Cause::SessionRevoked).await.unwrap();
    let from = world.recorder.records().len();
    let answer = carol.post(&path, &[("expected", &expected)]).await;
    assert_eq!((answer.status, answer.header(header::LOCATION)), (StatusCode::SEE_OTHER, "/login"));
    assert_eq!(world.user_state(ALICE), UserState::Active);
    assert_eq!(world.kinds_since(from), Vec::<&str>::new());
}

#[tokio::test]
async fn a_tail_that_waits_ends_when_its_session_does_and_tells_nothing_more() {
    let world = World::new().await;
    put_record(&world, |_| {});
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let end = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let cause = model::seams::Cause::SessionRevoked;
        SessionControl::end(&*world.session_control, carol.session.id, cause).await.unwrap();
        put_record(&world, |_| {});
    };
    let began = std::time::Instant::now();
    let (tail, ()) = tokio::join!(carol.get("/console/access/live?from=1"), end);
    assert!(tail.body.contains("event: end\ndata: {\"why\":\"Your sign-in has ended.\"}"), "{}", tail.body);
    assert!(!tail.body.contains("event: record"), "{}", tail.body);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_tail_ends_when_the_right_to_read_is_taken_away() {
    let world = World::new().await;
    let group = format!("/api/v1/groups/admins/members/{ALICE}");
    assert_eq!(world.local("PUT", &group, &json!(null)).await.status, StatusCode::OK);
    let alice = Reader::at(&world, world.session(ALICE, 2)).await;
    let from = world.log.next_seq();
    let take = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.local("DELETE", &group, &json!(null)).await.status, StatusCode::OK);
        put_record(&world, |_| {});
    };
    let target = format!("/console/access/live?from={from}");
    let (tail, ()) = tokio::join!(alice.get(&target), take);
    assert!(tail.body.contains("You may not read the record any more."), "{}", tail.body);
    assert!(!tail.body.contains("event: record"), "{}", tail.body);
}

#[tokio::test]
async fn a_third_tail_of_a_person_ends_the_oldest_whatever_session_it_comes_from() {
    let world = World::new().await;
    put_record(&world, |_| {});
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let elsewhere = Reader::at(&world, world.session(CAROL, 2)).await;
    let target = "/console/access/live?from=1";
    let news = async {
        // Longer than the rounds in which the oldest finds out.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        put_record(&world, |_| {});
    };
    let (first, second, third, ()) = tokio::join!(
        carol.get(target),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            elsewhere.get(target).await
        },
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            carol.get(target).await
        },
        news
    );
    assert!(first.body.contains("You opened the live view elsewhere."), "{}", first.body);
    for tail in [second, third] {
        assert!(tail.body.contains("event: record") && !tail.body.contains("event: end"), "{}", tail.body);
    }
}

#[tokio::test]
async fn last_event_id_resumes_behind_what_was_read_and_nonsense_begins_now() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let put: Vec<String> = (0..4).map(|_| put_record(&world, |_| {}).to_string()).collect();
    let tail = |id: &str| {
        let request = Request::get("/console/access/live?from=0").header("last-event-id", id);
        carol.send(request, "")
    };
    let resumed = tail("2").await;
    let told: Vec<bool> = put.iter().map(|id| resumed.body.contains(id.as_str())).collect();
    assert_eq!(told, [false, false, true, true], "what the browser has is not sent again: {}", resumed.body);
    assert!(resumed.body.ends_with("id: 4\n\n"), "{}", resumed.body);
    let ahead = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        put_record(&world, |_| {}).to_string()
    };
    let (nonsense, new) = tokio::join!(tail("-1; DROP"), ahead);
    assert_eq!(nonsense.status, StatusCode::OK, "{}", nonsense.body);
    assert!(nonsense.body.contains(&new), "{}", nonsense.body);
}

/// What is wrong with the HTML of a page, as a browser's parser tells it.
fn faults(page: &Page) -> Vec<String> {
    Html::parse_document(&page.body).errors.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn every_page_parses_without_an_html_error() {
    let world = World::new().await;
    let id = put_record(&world, |record| record.what.url_path = Some(std::sync::Arc::from("/<b>&amp;\"'")));
    for n in 0..60 {
        let new = json!({ "email": format!("p{n}@corp.test"), "name": "<i>P & Q</i>" });
        assert_eq!(world.local("POST", "/api/v1/users", &new).await.status, StatusCode::CREATED);
    }
    world.session(ALICE, 5);
    let begin = json!({ "step": "open" });
    assert_eq!(world.local("POST", &format!("/api/v1/users/{ALICE}/recover"), &begin).await.status, StatusCode::OK);
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let nobody = Reader::at(&world, world.session(ALICE, 6)).await;
    let person = |verb: &str| format!("/console/people/{ALICE}{verb}");
    let targets = [
        "/console".to_owned(),
        "/console/access".to_owned(),
        "/console/access?app=nothing".to_owned(),
        "/console/access?since=7+days&who=nobody".to_owned(),
        format!("/console/access/{id}"),
        "/console/access/nonsense".to_owned(),
        "/console/why".to_owned(),
        format!("/console/why?request={id}"),
        "/console/why?ask=yes&who=alice@corp.test&app=wiki&action=http.get&path=/%22%3E".to_owned(),
        "/console/why?ask=yes&who=nobody".to_owned(),
        "/console/apps".to_owned(),
        "/console/apps/wiki".to_owned(),
        "/console/apps/vault?after=a".to_owned(),
        "/console/people".to_owned(),
        "/console/people?q=nothing".to_owned(),
        "/console/people?name=%3Cb%3E&email=x".to_owned(),
        person(""),
        person("/disable"),
        person("/enable"),
        person("/recover"),
        person("/stop-recovery"),
        person("/vouch"),
        "/console/sessions".to_owned(),
        "/console/sessions?user=nobody".to_owned(),
        "/console/sessions/end".to_owned(),
        "/console/done/nothing".to_owned(),
        "/console/nothing".to_owned(),
        "/me/settings".to_owned(),
    ];
    for reader in [&carol, &nobody] {
        for target in &targets {
            // So many at once would be too often.
            world.clock.advance(Duration::from_millis(100));
            let page = reader.get(target).await;
            assert!(page.body.starts_with("<!doctype html>"), "{target}: {}", page.body);
            assert_eq!(faults(&page), Vec::<String>::new(), "{target}: {}", page.body);
        }
    }
    let wrong = carol.post("/console/people/invite", &[("name", ""), ("email", "<x>")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(faults(&wrong), Vec::<String>::new(), "{}", wrong.body);
    let foreign = carol.send(Request::post("/console/people/invite"), "name=%3Cb%3E&email=x").await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    assert_eq!(faults(&foreign), Vec::<String>::new(), "{}", foreign.body);
    assert!(!foreign.header(header::CONTENT_TYPE).is_empty());
    // The measure can fail.
    let broken = Html::parse_document("<!doctype html><title>x</title><p><table><b></table><div></span>");
    assert!(!broken.errors.is_empty());
}
