//! How somebody likes the console: columns, notices put aside, keys; each kept for them alone, and recorded.

use std::time::Duration;

use http::{Request, StatusCode, header};
use model::record::RecordType;
use scraper::{Html, Selector};

use super::{Page, Reader, form, own, put_record};
use crate::world::{ALICE, CAROL, World};

const PATH: &str = "/me/settings";

fn texts(page: &Page, selector: &str) -> Vec<String> {
    let document = Html::parse_document(&page.body);
    let selector = Selector::parse(selector).unwrap();
    document.select(&selector).map(|found| found.text().collect::<String>().trim().to_owned()).collect()
}

fn value(page: &Page, selector: &str) -> String {
    let document = Html::parse_document(&page.body);
    let found = document.select(&Selector::parse(selector).unwrap()).next();
    found.and_then(|found| found.attr("value")).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn columns_are_chosen_per_person_and_per_list_and_come_back_to_the_same_page() {
    let world = World::new().await;
    put_record(&world, |_| {});
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let here = "/console/access?type=access.decision";
    let before = carol.get(here).await;
    assert_eq!(texts(&before, "thead th"), ["Time", "Answer", "Who", "Action", "What", "Reason", "Door"]);
    assert_eq!(value(&before, ".columns input[name=back]"), here);
    let fields = [("what", "columns"), ("list", "access"), ("column", "who"), ("column", "why"), ("column", "evil")];
    let kept = carol.post(PATH, &[&fields[..], &[("back", here)]].concat()).await;
    assert_eq!((kept.status, kept.header(header::LOCATION)), (StatusCode::SEE_OTHER, here));
    let after = carol.get(here).await;
    assert_eq!(texts(&after, "thead th"), ["Time", "Who", "Reason"]);
    assert_eq!(texts(&after, "tbody tr:first-child > *").len(), 3);
    assert_eq!(texts(&carol.get("/console/people").await, "thead th").len(), 5, "another list stays as it was");
    let records = world.recorder.of_type(RecordType::IdentityUserChanged);
    assert_eq!(records.last().unwrap().change.change.as_deref(), Some("columns of the list access"));
    // None at all: the first column names the row and stays.
    let none = carol.post(PATH, &[("what", "columns"), ("list", "people")]).await;
    assert_eq!(none.status, StatusCode::SEE_OTHER);
    assert_eq!(texts(&carol.get("/console/people").await, "thead th"), ["Person"]);
    // Somebody else sees what they always saw.
    let group = format!("/api/v1/groups/admins/members/{ALICE}");
    assert_eq!(world.local("PUT", &group, &serde_json::Value::Null).await.status, StatusCode::OK);
    let alice = Reader::at(&world, world.session(ALICE, 2)).await;
    assert_eq!(texts(&alice.get(here).await, "thead th").len(), 7);
}

#[tokio::test]
async fn a_notice_put_aside_stays_away_until_it_changes_and_for_this_person_alone() {
    let world = World::new().await;
    let now = world.control.now();
    world.doors.show_certificate("wiki.test", now + Duration::from_secs(20 * 86_400));
    world.doors.show_certificate("later.test", now + Duration::from_secs(90 * 86_400));
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let page = carol.get("/console").await;
    let notices = texts(&page, ".watch li > span");
    assert_eq!(notices.iter().filter(|text| text.contains("certificate")).count(), 1, "{notices:?}");
    assert!(notices.iter().any(|text| text.starts_with("Only one person administers")), "{notices:?}");
    let (key, state) = (value(&page, ".watch input[name=key]"), value(&page, ".watch input[name=state]"));
    assert_eq!(key, "certificate:wiki.test");
    let fields = [("what", "aside"), ("key", key.as_str()), ("state", state.as_str()), ("back", "/console")];
    assert_eq!(carol.post(PATH, &fields).await.status, StatusCode::SEE_OTHER);
    let told = texts(&carol.get("/console").await, ".watch li > span").join(" ");
    assert!(!told.contains("certificate") && told.contains("Only one person"), "{told}");
    assert!(carol.get(PATH).await.body.contains("1 notice of the console is put aside"));
    // It ends: that is something else.
    world.clock.advance(Duration::from_secs(21 * 86_400));
    let back = Reader::at(&world, world.session(CAROL, 2)).await;
    assert!(texts(&back.get("/console").await, ".watch li > span").join(" ").contains("wiki.test ended"));
    // Everything again, at once.
    let fields = [("what", "aside"), ("key", "single-administrator"), ("state", "0")];
    back.post(PATH, &fields).await;
    let again = back.post(PATH, &[("what", "notices")]).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    assert!(again.header(header::LOCATION).starts_with("/me/settings?recorded="));
    let saved = back.get(again.header(header::LOCATION)).await;
    assert!(saved.body.contains("Saved. Recorded as "), "{}", saved.body);
    assert!(!saved.body.contains("put aside until"));
}

#[tokio::test]
async fn whoever_waits_to_be_let_back_in_is_told_to_administrators_with_the_way_there() {
    let world = World::new().await;
    let begin = serde_json::json!({ "step": "open" });
    world.local("POST", &format!("/api/v1/users/{ALICE}/recover"), &begin).await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let page = carol.get("/console").await;
    assert!(page.body.contains("alice@corp.test waits to be let back in"), "{}", page.body);
    assert!(page.body.contains(&format!("href=\"/console/people/{ALICE}\">Look at it")));
}

#[tokio::test]
async fn keys_are_letters_until_they_are_switched_off() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let script = pages::assets::path("keys.js");
    assert!(carol.get("/console").await.body.contains(&script));
    assert_eq!(carol.post(PATH, &[("what", "pages")]).await.status, StatusCode::SEE_OTHER);
    assert!(!carol.get("/console").await.body.contains(&script), "switched off means not loaded at all");
    assert_eq!(carol.post(PATH, &[("what", "pages"), ("letters", "yes")]).await.status, StatusCode::SEE_OTHER);
    assert!(carol.get("/console").await.body.contains(&script));
}

#[tokio::test]
async fn csrf_nobody_sets_how_somebody_else_sees_the_console() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let other = Reader::at(&world, world.session(CAROL, 2)).await;
    let page = carol.get("/console").await;
    let (key, state) = (value(&page, ".watch input[name=key]"), value(&page, ".watch input[name=state]"));
    let fields = |token: &str| form(&[("token", token), ("what", "aside"), ("key", &key), ("state", &state)]);
    let plain = || Request::post(PATH).header("content-type", "application/x-www-form-urlencoded");
    let attacks = [
        ("no origin", plain(), fields(&carol.token)),
        ("origin null", plain().header("origin", "null"), fields(&carol.token)),
        ("sibling host", plain().header("origin", "https://wiki.test"), fields(&carol.token)),
        (
            "fetch site none",
            plain().header("origin", "https://auth.test").header("sec-fetch-site", "none"),
            fields(&carol.token),
        ),
        ("no token", own(PATH), fields("")),
        ("token of another session", own(PATH), fields(&other.token)),
    ];
    for (name, request, body) in attacks {
        assert_eq!(carol.send(request, &body).await.status, StatusCode::FORBIDDEN, "{name}");
    }
    assert_eq!(texts(&carol.get("/console").await, ".watch li").len(), texts(&page, ".watch li").len());
}

#[tokio::test]
async fn what_is_no_setting_changes_nothing_and_is_not_recorded() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let from = world.recorder.records().len();
    let long = "x".repeat(65);
    for fields in [
        &[("what", "everything")][..],
        &[("what", "columns"), ("list", "secrets")],
        &[("what", "aside"), ("key", ""), ("state", "1")],
        &[("what", "aside"), ("key", "a b"), ("state", "1")],
        &[("what", "aside"), ("key", "a=b"), ("state", "1")],
        &[("what", "aside"), ("key", long.as_str()), ("state", "1")],
    ] {
        let page = carol.post(PATH, fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{fields:?}: {}", page.body);
    }
    assert_eq!(world.kinds_since(from), Vec::<&str>::new());
    let away = carol.post(PATH, &[("what", "pages"), ("letters", "yes"), ("back", "https://evil.example/")]).await;
    assert!(away.header(header::LOCATION).starts_with("/me/settings?recorded="), "an address elsewhere is not gone to");
    let shown = carol.get("/me/settings?recorded=%3Cscript%3E").await;
    assert!(!shown.body.contains("Saved"), "only an id is shown back");
}

#[tokio::test]
async fn notices_put_aside_are_bounded() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    for n in 0..50 {
        let key = format!("{n:064}");
        let put = carol.post(PATH, &[("what", "aside"), ("key", &key), ("state", &key)]).await;
        assert_eq!(put.status, StatusCode::SEE_OTHER, "{}", put.body);
        world.clock.advance(Duration::from_secs(1));
    }
    assert!(carol.get(PATH).await.body.contains("30 notices of the console are put aside"));
}
