//! Plain headers about who asks, and clients that send them themselves (GW-32; ATK-21, ATK-22, ATK-24).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Reason;
use model::app::UserClaim;
use pep_gateway::permit::Permit;
use testkit::FakePdp;

use super::world::{ALICE, World, app, apps, changed, route, rules};

fn world() -> World {
    let mut all = apps();
    let mut wiki = app("wiki", &["wiki.localhost"]);
    wiki.public_paths.insert("/favicon.ico".to_owned());
    wiki.passes_odd_header_names = true;
    wiki.unsigned_headers = BTreeMap::from(
        [
            ("remote-email", UserClaim::Email),
            ("remote-groups", UserClaim::Groups),
            ("remote-name", UserClaim::Name),
            ("remote-user", UserClaim::Id),
        ]
        .map(|(name, claim)| (name.to_owned(), claim)),
    );
    // A second app on the same host that is told nothing.
    let mut notes = app("notes", &["wiki.localhost"]);
    notes.routes = vec![route("notes", "/notes")];
    notes.passes_odd_header_names = true;
    all[0] = wiki;
    all.push(notes);
    World::with(all, |_| FakePdp::allowing())
}

/// What the app is told under names like ours, by whom: the client's fields and ours.
fn told(permit: &Permit) -> Vec<(String, String)> {
    let is_one = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-").starts_with("remote-");
    let sent = permit
        .request()
        .fields()
        .iter()
        .map(|field| (field.name().to_owned(), String::from_utf8_lossy(field.value()).into_owned()));
    let ours = permit
        .upstream_headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    let mut all: Vec<_> = sent.chain(ours).filter(|(name, _)| is_one(name)).collect();
    all.sort();
    all
}

const FORGED: &str = "Remote-User: root\nREMOTE_EMAIL: root@corp.test\nremote.groups: admins\nRemote_Name: Root";

#[tokio::test]
async fn atk_21_what_a_client_says_about_itself_is_replaced_in_every_spelling() {
    let world = world();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world.permitted(&format!("GET /x wiki.localhost:8443\nCookie: {cookie}\n{FORGED}")).await;
    let told = told(&permit);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["remote-email", "remote-groups", "remote-name", "remote-user"]);
    assert_eq!(told[0].1, "alice@corp.test");
    assert_eq!(told[3].1, ALICE.to_string());
    assert!(!told.iter().any(|(_, value)| value.contains("root") || value.contains("admins")), "{told:?}");
}

#[tokio::test]
async fn atk_21_an_app_beside_it_and_a_public_path_get_neither_ours_nor_theirs() {
    let world = world();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    for request in [
        format!("GET /notes/1 wiki.localhost:8443\nCookie: {cookie}\n{FORGED}"),
        format!("GET /favicon.ico wiki.localhost:8443\nCookie: {cookie}\n{FORGED}"),
        format!("GET /favicon.ico wiki.localhost:8443\n{FORGED}"),
    ] {
        let permit = world.permitted(&request).await;
        assert_eq!(told(&permit), [], "{request}");
    }
}

#[tokio::test]
async fn atk_24_names_and_groups_reach_the_app_in_one_reading_or_not_at_all() {
    let ask = async |name: &str| {
        let world = world();
        let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
        world.publish(changed(ALICE, |alice| alice.name = name.to_owned()), |directory| rules(Arc::clone(directory)));
        world.ask(&format!("GET /x wiki.localhost:8443\nCookie: {cookie}")).await
    };
    for (name, expected) in [("\u{c5}lice, QA", "%C3%85lice, QA"), ("100%", "100%25")] {
        let pep_gateway::Outcome::Forward(permit) = ask(name).await else { panic!("{name:?} is refused") };
        assert!(told(&permit).contains(&("remote-name".to_owned(), expected.to_owned())), "{name:?}");
    }
    for name in ["a\r\nRemote-Groups: admins".to_owned(), "a\0b".to_owned(), "x".repeat(4_097), "\u{e9}".repeat(1_400)]
    {
        let pep_gateway::Outcome::Refuse(refusal) = ask(&name).await else { panic!("{name:?} goes through") };
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, Reason::NotPermitted));
    }
}
