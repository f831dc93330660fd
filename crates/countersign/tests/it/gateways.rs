//! Gateways in processes of their own: everything here is real processes on loopback, killed without warning.

mod fleet;
mod joining;
mod renewing;

use std::time::{Duration, Instant};

use serde_json::json;

use self::fleet::Fleet;
use crate::harness::stream::Stream;
use crate::harness::wire::{Answer, Door};
use crate::harness::{WIKI, email, request};

async fn ask(door: &Door, cookie: &str) -> Answer {
    let mut wire = door.http1().await;
    wire.send(request("GET", WIKI, "/page", cookie, "")).await;
    wire.answer().await
}

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() - 1) * part / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_through_one_gateway_is_good_at_the_other_at_once_and_a_revocation_cuts_both_within_a_second() {
    let fleet = Fleet::start(&["west", "east"], "5m").await;
    let (west, east) = (&fleet.gateways[0].door, &fleet.gateways[1].door);
    let mut alice = fleet.engineer("alice", 0).await;
    alice.open(WIKI, "/page").await;
    let cookie = alice.cookies(WIKI);
    assert_eq!(ask(east, &cookie).await.status, 200, "{}", fleet.logs());
    let who = alice.fetch(WIKI, "/.countersign/session").await;
    assert_eq!((who.status, who.json()["user"]["email"].as_str()), (200, Some("alice@example.org")));

    // Every gateway signs with a key of its own, and every host publishes them all (GW-29).
    for door in [west, east] {
        let mut wire = door.http1().await;
        wire.send(request("GET", WIKI, "/.countersign/jwks.json", "", "")).await;
        let keys = wire.answer().await.json();
        let kids: Vec<&str> = keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert!(kids.iter().any(|kid| kid.starts_with("west-")), "{kids:?}");
        assert!(kids.iter().any(|kid| kid.starts_with("east-")), "{kids:?}");
    }

    let mut streams = Vec::new();
    for number in 0..50 {
        let door = if number % 2 == 0 { west } else { east };
        streams.push(Stream::events(door, &format!("alice{number}"), &cookie).await);
    }
    for stream in &streams {
        stream.goes_on(1).await;
    }
    let began = Instant::now();
    let answer = fleet.operator().post("/api/v1/sessions/revoke", &json!({ "user": email("alice") })).await.unwrap();
    let mut took = Vec::new();
    for stream in &streams {
        took.push(stream.end().await.0.saturating_duration_since(began));
    }
    took.sort();
    println!("50 streams at two gateways cut: p50 {:?}, p99 {:?}", percentile(&took, 50), percentile(&took, 99));
    assert!(percentile(&took, 99) < Duration::from_secs(1), "{took:?}");
    let gateways = answer["revocations"][0]["gateways"].as_array().unwrap();
    let mut told: Vec<(&str, &str)> =
        gateways.iter().map(|door| (door["id"].as_str().unwrap(), door["state"].as_str().unwrap())).collect();
    told.sort();
    assert_eq!(told, [("east", "cut"), ("local", "nothing_open"), ("west", "cut")], "{answer}");
    for door in [west, east] {
        assert_eq!(ask(door, &cookie).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_gateways_go_on_until_their_facts_are_too_old_and_recover_by_themselves() {
    let mut fleet = Fleet::start(&["west"], "4s").await;
    let mut alice = fleet.engineer("alice", 0).await;
    alice.open(WIKI, "/page").await;
    let (door, cookie) = (fleet.gateways[0].door.clone(), alice.cookies(WIKI));
    let stream = Stream::events(&door, "alice", &cookie).await;
    fleet.control.kill();
    let killed = Instant::now();
    assert_eq!(ask(&door, &cookie).await.status, 200, "decisions are made here");
    stream.goes_on(2).await;
    loop {
        let answer = ask(&door, &cookie).await;
        if answer.status == 503 {
            assert!(answer.text().contains("facts_stale") && answer.header("retry-after").is_some(), "{answer:?}");
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(killed.elapsed() < Duration::from_secs(10), "served on stale facts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(killed.elapsed() > Duration::from_secs(3), "closed after {:?}", killed.elapsed());
    stream.end().await;
    fleet.control.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(&door, &cookie).await.status != 200 {
        assert!(Instant::now() < deadline, "{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fleet.until("west", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_started_from_its_disk_honours_every_end_it_has_acknowledged_and_no_state_that_is_too_old() {
    let mut fleet = Fleet::start(&["west"], "6s").await;
    let (mut alice, mut bob) = (fleet.engineer("alice", 0).await, fleet.engineer("bob", 0).await);
    alice.open(WIKI, "/page").await;
    bob.open(WIKI, "/page").await;
    let door = fleet.gateways[0].door.clone();
    let ended = fleet.operator().post("/api/v1/sessions/revoke", &json!({ "user": email("bob") })).await.unwrap();
    let gateways = ended["revocations"][0]["gateways"].as_array().unwrap();
    assert!(gateways.iter().all(|door| door["state"] == "nothing_open") && gateways.len() == 2, "{ended}");
    // Acknowledged is on disk: nothing is flushed by what follows.
    fleet.gateways[0].kill();
    fleet.control.kill();
    fleet.gateways[0].start();
    assert_eq!(ask(&door, &bob.cookies(WIKI)).await.status, 401, "{}", fleet.logs());
    assert_eq!(ask(&door, &alice.cookies(WIKI)).await.status, 200, "{}", fleet.logs());
    fleet.gateways[0].kill();
    tokio::time::sleep(Duration::from_secs(7)).await;
    fleet.gateways[0].start();
    let answer = ask(&door, &alice.cookies(WIKI)).await;
    assert_eq!(answer.status, 503, "the age of the state survives restarts: {answer:?}");
    assert!(answer.text().contains("facts_stale"));

    // A state that was altered is not used, and without a control plane there is nothing to serve.
    fleet.gateways[0].kill();
    let path = fleet.gateways[0].state_file();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    fleet.gateways[0].spawn();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(fleet.gateways[0].is_running(), "it waits for its control plane:\n{}", fleet.gateways[0].log());
    fleet.control.start();
    fleet.until("west", "current").await;
    assert_eq!(ask(&door, &bob.cookies(WIKI)).await.status, 401);
    assert_eq!(ask(&door, &alice.cookies(WIKI)).await.status, 200, "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_live_at_every_gateway_within_a_second_and_who_is_away_is_told_so() {
    let mut fleet = Fleet::start(&["west", "east"], "5m").await;
    let mut alice = fleet.engineer("alice", 0).await;
    alice.open(WIKI, "/page").await;
    let cookie = alice.cookies(WIKI);
    fleet.apply("  max_staleness: 5m\n  public_paths: [/page]\n").await;
    let applied = Instant::now();
    for gateway in &fleet.gateways {
        while ask(&gateway.door, "").await.status != 200 {
            assert!(applied.elapsed() < Duration::from_secs(1), "{}", fleet.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    fleet.gateways[1].kill();
    fleet.until("east", "away").await;
    let began = Instant::now();
    let ended = fleet.operator().post("/api/v1/sessions/revoke", &json!({ "user": email("alice") })).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for who is known to be away");
    let gateways = ended["revocations"][0]["gateways"].as_array().unwrap();
    let away = gateways.iter().find(|door| door["id"] == "east").unwrap();
    assert_eq!(away["state"], "unreachable", "{ended}");
    assert!(away["fails_closed_at"].is_string(), "{ended}");
    // Back again it has missed the end, is told so, and honours it.
    fleet.gateways[1].start();
    fleet.until("east", "current").await;
    let mut wire = fleet.gateways[1].door.http1().await;
    wire.send(request("GET", WIKI, "/private", &cookie, "")).await;
    assert_eq!(wire.answer().await.status, 401);
}
