//! The way to the auth host and back (GW-11, GW-12; R-14).

use model::{Clock, TokenHash};
use pki::return_ticket::{RETURN_TICKET_LIFE, ReturnTarget, ReturnTicket, TicketError};

use super::world::{BOB, World, header};

const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document";

fn ticket_of(url: &str, world: &World) -> ReturnTicket {
    let rt = url.split("rt=").nth(1).expect("a ticket").split(['&', '"']).next().unwrap();
    ReturnTicket::open(rt, &world.sealer, world.clock.now()).unwrap()
}

#[tokio::test]
async fn a_navigation_is_sent_to_sign_in_with_a_ticket_bound_to_this_browser() {
    let world = World::new();
    let refusal = world.refused(&format!("GET /deep/link?a=1&b=2 wiki.localhost:8443\n{NAVIGATION}")).await;
    assert_eq!(refusal.status().as_u16(), 303);
    let location = header(&refusal, "location").unwrap();
    assert!(location.starts_with("https://localhost:8443/login?app=wiki&rt="), "{location}");
    let ticket = ticket_of(location, &world);
    assert_eq!(ticket.authority, "wiki.localhost:8443");
    assert_eq!(ticket.target, ReturnTarget::Inline("/deep/link?a=1&b=2".to_owned()));
    let cookie = header(&refusal, "set-cookie").unwrap();
    let secret = cookie.split_once('=').unwrap().1.split(';').next().unwrap();
    assert_eq!(ticket.binding, TokenHash::of(secret.as_bytes()));
    assert!(!location.contains(secret));
}

#[tokio::test]
async fn twenty_tabs_share_the_login_cookie_they_have() {
    let world = World::new();
    let secret = "L".repeat(43);
    for tab in 0..20 {
        let request =
            format!("GET /tab/{tab} wiki.localhost:8443\nCookie: __Host-countersign-login={secret}\n{NAVIGATION}");
        let refusal = world.refused(&request).await;
        assert_eq!(header(&refusal, "set-cookie"), None);
        let ticket = ticket_of(header(&refusal, "location").unwrap(), &world);
        assert_eq!(ticket.binding, TokenHash::of(secret.as_bytes()));
        assert_eq!(ticket.target, ReturnTarget::Inline(format!("/tab/{tab}")));
    }
}

#[tokio::test]
async fn a_long_target_is_parked_and_when_too_many_are_the_way_back_is_the_front_page() {
    let world = World::new();
    let long = format!("/{}", "a".repeat(4000));
    let ask = format!("GET {long} wiki.localhost:8443\n{NAVIGATION}");
    let mut last = None;
    for _ in 0..32 {
        let refusal = world.refused(&ask).await;
        let location = header(&refusal, "location").unwrap().to_owned();
        assert!(location.len() < 1024, "{}", location.len());
        let target = ticket_of(&location, &world).target;
        if let ReturnTarget::Parked(key) = &target {
            assert_eq!(world.reserved.parked(key), Some(long.clone()));
        }
        last = Some(target);
    }
    assert_eq!(last, Some(ReturnTarget::Inline("/".to_owned())));
}

#[tokio::test]
async fn code_comes_back_to_the_page_it_was_called_from() {
    let world = World::new();
    let secret = "L".repeat(43);
    for (referer, target) in [
        ("https://wiki.localhost:8443/page?x=1", "/page?x=1"),
        ("https://wiki.localhost:8443/page#part", "/page"),
        ("https://wiki.localhost:8443", "/"),
        ("https://wiki.localhost:8443.evil.test/page", "/"),
        ("https://wiki.localhost:8443@evil.test/page", "/"),
        ("https://wiki.localhost:8443//evil.test/", "/"),
        ("https://wiki.localhost:8443/\\evil.test/", "/"),
        ("https://evil.test/page", "/"),
        ("http://wiki.localhost:8443/page", "/"),
    ] {
        let request =
            format!("GET /api wiki.localhost:8443\nCookie: __Host-countersign-login={secret}\nReferer: {referer}");
        let refusal = world.refused(&request).await;
        let problem: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
        let ticket = ticket_of(problem["login_url"].as_str().unwrap(), &world);
        assert_eq!(ticket.target, ReturnTarget::Inline(target.to_owned()), "{referer}");
    }
}

#[tokio::test]
async fn fetches_without_a_login_cookie_do_not_fight_over_one() {
    let world = World::new();
    let refusal = world.refused("GET /api wiki.localhost:8443\nSec-Fetch-Mode: cors\nSec-Fetch-Dest: empty").await;
    assert_eq!(header(&refusal, "set-cookie"), None);
}

#[tokio::test]
async fn atk_31_a_ticket_altered_or_of_another_door_does_not_open() {
    let world = World::new();
    let refusal = world.refused(&format!("GET /x wiki.localhost:8443\n{NAVIGATION}")).await;
    let rt = header(&refusal, "location").unwrap().split("rt=").nth(1).unwrap().to_owned();
    let now = world.clock.now();
    for at in (0..rt.len()).step_by(7) {
        let mut altered = rt.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(ReturnTicket::open(&altered, &world.sealer, now), Err(TicketError::Invalid), "byte {at}");
    }
    let foreign = pki::seal::Kek::from_bytes(&[8; 32]).unwrap().sealer(pki::return_ticket::PURPOSE).unwrap();
    assert_eq!(ReturnTicket::open(&rt, &foreign, now), Err(TicketError::Invalid));
    let other_purpose = pki::seal::Kek::from_bytes(&[7; 32]).unwrap().sealer("cookies").unwrap();
    assert_eq!(ReturnTicket::open(&rt, &other_purpose, now), Err(TicketError::Invalid));
    let late = now + RETURN_TICKET_LIFE + std::time::Duration::from_secs(1);
    assert_eq!(ReturnTicket::open(&rt, &world.sealer, late), Err(TicketError::Expired));
}

#[tokio::test]
async fn nobody_is_sent_to_sign_in_by_the_way_in() {
    let world = World::with(super::world::apps(), |_| testkit::FakePdp::refusing());
    let refusal = world.refused(&format!("GET /login localhost:8443\n{NAVIGATION}")).await;
    assert_eq!(refusal.status().as_u16(), 403, "a redirect would never end");
    let (_, cookie) = world.sign_in(BOB, "localhost");
    let refusal = world.refused(&format!("GET / localhost:8443\nCookie: {cookie}\n{NAVIGATION}")).await;
    assert_eq!(refusal.status().as_u16(), 403);
}
