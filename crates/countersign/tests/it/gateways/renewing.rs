//! The next certificate of a gateway, and tokens whose time is over.

use std::time::Duration;

use feed::{Ask, Down, Purpose, Reply, Up};
use pki::svid::IdentityKey;
use pki::tls::identity::Identity;
use serde_json::json;

use super::fleet::Fleet;
use super::joining::{Talk, greet, joining, now, refusal, stranger, subscribing};
use crate::harness::World;

/// A gateway that is no process: its identity, as it comes of joining.
async fn joined(feed: std::net::SocketAddr, token: &str) -> Identity {
    let first = stranger();
    match greet(feed, &first, token, feed::PROTOCOL, joining(token)).await {
        Some(Down::Reply { reply: Reply::Certificate { chain_pem, .. }, .. }) => {
            Identity { chain_pem, key_pem: first.key_pem }
        }
        other => panic!("{}", refusal(other)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_renews_with_another_key_by_its_old_one_which_is_good_until_the_new_one_is_used() {
    let fleet = Fleet::start(&[], "5m").await;
    let token = fleet.token("west").await;
    let old = joined(fleet.feed, &token).await;
    let (mut talk, answer) = Talk::begin(fleet.feed, &old, &token, subscribing()).await;
    assert!(matches!(answer, Some(Down::Welcome(_))));
    let next = IdentityKey::generate().unwrap();
    let (_, proof) = next.proof(now()).unwrap();
    let mut altered = proof.clone();
    altered[proof.len() / 3] ^= 1;
    talk.say(&Up::Ask { ask: 1, question: Ask::Renew { proof: altered } }).await;
    assert!(matches!(talk.reply(1).await, Reply::Refused(_)), "a key nobody has proven");
    talk.say(&Up::Ask { ask: 2, question: Ask::Renew { proof } }).await;
    let Reply::Certificate { chain_pem, .. } = talk.reply(2).await else { panic!("no certificate") };
    drop(talk);
    // Whoever has the old key only (the answer may have been lost) is still a gateway.
    let (talk, answer) = Talk::begin(fleet.feed, &old, &token, subscribing()).await;
    assert!(matches!(answer, Some(Down::Welcome(_))));
    drop(talk);
    let new = Identity { chain_pem, key_pem: next.pem() };
    let (talk, answer) = Talk::begin(fleet.feed, &new, &token, subscribing()).await;
    assert!(matches!(answer, Some(Down::Welcome(_))));
    let again = greet(fleet.feed, &old, &token, feed::PROTOCOL, subscribing()).await;
    assert!(refusal(again).contains("another one joined"), "the old key is good no more");
    // Keys of somebody else are not published under this name.
    let foreign = pki::Jwks::new([pki::SigningKey::generate("east").unwrap().public_jwk()]).to_json();
    let posing = Purpose::Subscribe { have: None, keys: foreign };
    let why = refusal(greet(fleet.feed, &new, &token, feed::PROTOCOL, posing).await);
    assert!(why.contains("is not that of a key of `west`"), "{why}");
    drop(talk);
    // Another one joins under the name: the one before is none any more.
    let token = fleet.token("west").await;
    joined(fleet.feed, &token).await;
    let replaced = greet(fleet.feed, &new, &token, feed::PROTOCOL, subscribing()).await;
    assert!(refusal(replaced).contains("another one joined"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_token_older_than_ten_minutes_or_replaced_by_a_newer_one_is_good_for_nothing() {
    let world = World::fresh().await;
    let feed = world.server.gateway_address.unwrap();
    let token = async |world: &World| {
        let answer = world.operator.post("/api/v1/gateways/west/token", &json!({})).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    };
    let (first, second) = (token(&world).await, token(&world).await);
    let refused = greet(feed, &stranger(), &first, feed::PROTOCOL, joining(&first)).await;
    assert!(refusal(refused).contains("older than ten minutes"), "a newer token takes its place");
    world.clock.jump(Duration::from_secs(601));
    let refused = greet(feed, &stranger(), &second, feed::PROTOCOL, joining(&second)).await;
    assert!(refusal(refused).contains("older than ten minutes"));
    for name in ["local", "-west", "West", "a.b"] {
        let path = format!("/api/v1/gateways/{name}/token");
        assert!(world.operator.post(&path, &json!({})).await.is_err(), "{name}");
    }
    let listed = world.operator.get("/api/v1/gateways").await.unwrap();
    assert_eq!(listed["gateways"][0]["state"], "invited", "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_gateway_speaks_for_nobody_and_reaches_no_page_of_the_auth_host() {
    let fleet = Fleet::start(&[], "5m").await;
    let token = fleet.token("west").await;
    let west = joined(fleet.feed, &token).await;
    let (mut talk, answer) = Talk::begin(fleet.feed, &west, &token, subscribing()).await;
    assert!(matches!(answer, Some(Down::Welcome(_))));
    let request = |host: &str, authority: &str, target: &str| feed::WireRequest {
        method: "GET".into(),
        target: target.into(),
        host: host.into(),
        authority: authority.into(),
        headers: Vec::new(),
        body: Vec::new(),
        access: uuid::Uuid::from_u128(1),
        decision: uuid::Uuid::from_u128(2),
        trace_id: "0".repeat(32),
        session: Some(model::SessionId(uuid::Uuid::from_u128(3))),
        login_binding: None,
        client: "192.0.2.1:1".parse().unwrap(),
    };
    for (number, (host, authority, target)) in [
        ("localhost", "localhost", "/api/v1/users"),
        ("localhost", "localhost", "/console"),
        ("nowhere.localhost", "nowhere.localhost", "/.countersign/session"),
        ("wiki.localhost", "localhost", "/api/v1/users"),
    ]
    .into_iter()
    .enumerate()
    {
        let ask = number as u64;
        let question = Ask::Call(Box::new(request(host, authority, target)));
        talk.say(&Up::Ask { ask, question }).await;
        assert!(matches!(talk.reply(ask).await, Reply::Refused(_)), "{host}{target}");
    }
    // On a host of its own it gets what anybody gets: paths of the auth host are not there, and a session nobody has
    // speaks for nobody.
    for (ask, (target, status)) in [(10, ("/api/v1/users", 404)), (11, ("/.countersign/session", 401))] {
        let question = Ask::Call(Box::new(request("wiki.localhost", "wiki.localhost", target)));
        talk.say(&Up::Ask { ask, question }).await;
        let Reply::Response(response) = talk.reply(ask).await else { panic!("{target}") };
        assert_eq!(response.status, status, "{target}");
    }
    // Reports of orders nobody gave, and of activity of sessions nobody has, change nothing.
    talk.say(&Up::Active(vec![(model::SessionId(uuid::Uuid::from_u128(3)), now())])).await;
    let (received, last_cut) = (now(), now());
    let report = model::seams::CutReport { examined: 0, streams: Vec::new(), unproven: Vec::new(), received, last_cut };
    talk.say(&Up::Report { revocation: model::RevocationId(uuid::Uuid::from_u128(4)), report }).await;
    talk.say(&Up::Ack(feed::Ack { facts: u64::MAX, events: u64::MAX })).await;
    let question = Ask::Call(Box::new(request("wiki.localhost", "wiki.localhost", "/.countersign/session")));
    talk.say(&Up::Ask { ask: 12, question }).await;
    let Reply::Response(response) = talk.reply(12).await else { panic!("no answer") };
    assert_eq!(response.status, 401);
}
