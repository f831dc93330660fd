//! ATK-44 to ATK-46: who loses the right loses the open streams, on every protocol, within a second; nobody else does.

use std::future::Future;
use std::time::{Duration, Instant};

use pki::jose::receipt::ReceiptClaims;
use serde_json::json;

use crate::harness::browser::{Browser, attribute};
use crate::harness::stream::{Stream, open_four, upgrade};
use crate::harness::{AUTH, ISSUER, POLICIES, WIKI, World, email, request};
use model::Clock;

/// From acceptance to the last byte of the last stream (GW-56).
const SLO: Duration = Duration::from_secs(1);
const RECEIPTS: &str = "/.well-known/countersign/receipts/jwks.json";

#[tokio::test(flavor = "multi_thread")]
async fn atk_45_a_disabled_person_loses_every_open_stream() {
    let scene = Scene::set().await;
    let target = format!("/api/v1/users/{}/disable", email("alice"));
    scene.withdraw("ATK-45 user disabled", "user_disabled", scene.world.operator.post(&target, &json!({}))).await;
    scene.alice_is(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_45_a_revoked_session_loses_every_open_stream() {
    let scene = Scene::set().await;
    let body = json!({ "user": email("alice") });
    let revoke = scene.world.operator.post("/api/v1/sessions/revoke", &body);
    scene.withdraw("ATK-45 session revoked", "session_revoked", revoke).await;
    scene.alice_is(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_45_signing_out_everywhere_ends_every_open_stream() {
    let scene = Scene::set().await;
    let mut alice = scene.alice.clone();
    let page = alice.fetch(AUTH, "/logout").await.text();
    let token = page.split("name=\"token\"").nth(1).and_then(|rest| attribute(rest, "value")).unwrap();
    let form = format!("token={token}&scope=everywhere");
    let sign_out = async {
        let answer = alice.post_form(AUTH, "/logout", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok::<_, anyhow::Error>(())
    };
    scene.withdraw("ATK-45 signed out everywhere", "signed_out", sign_out).await;
    scene.alice_is(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_46_who_leaves_the_group_loses_every_open_stream() {
    let scene = Scene::set().await;
    let target = format!("/api/v1/groups/engineering/members/{}", email("alice"));
    scene.withdraw("ATK-46 group left", "facts_changed", scene.world.operator.delete(&target)).await;
    scene.alice_is(403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_cuts_every_stream_that_only_the_newer_version_allowed() {
    let world = World::open().await;
    let closed = POLICIES.replace(
        r#"Group::"engineering", action in Action::"http", resource in App::"wiki""#,
        r#"Group::"contractors", action in Action::"http", resource in App::"wiki""#,
    );
    let opened = format!(
        "{POLICIES}\n@id(\"more\")\npermit (principal in Group::\"contractors\", action in Action::\"read\", resource in App::\"wiki\");\n"
    );
    world.apply("", &closed).await;
    world.apply("", &opened).await;
    let scene = Scene::on(world).await;
    let rollback = async {
        let body = json!({ "reason": "the wiki was opened too far" });
        let back = scene.world.operator.post("/api/v1/config/rollback", &body).await?;
        println!("rolled back from {} to {} in {} ms", back["before"], back["version"], back["ms"]);
        anyhow::ensure!((&back["before"], &back["version"]) == (&json!(3), &json!(2)), "{back}");
        // Working out who gains and loses what takes a build without optimisation its time; the cut itself is held below.
        let most = if cfg!(debug_assertions) { 5_000 } else { 1_000 };
        anyhow::ensure!(back["ms"].as_u64().is_some_and(|ms| ms <= most), "within a second (PO-35): {back}");
        anyhow::ensure!(back["streams_cut"].as_u64() == Some(4), "{back}");
        Ok::<_, anyhow::Error>(())
    };
    scene.withdraw("PO-35 rolled back", "config_applied", rollback).await;
    scene.alice_is(403).await;
    let told = scene.world.records(&[("type", "policy.rolled_back".to_owned())]).await;
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_46_a_policy_edit_cuts_every_stream_it_no_longer_permits() {
    let scene = Scene::set().await;
    let without = POLICIES.replace(
        r#"Group::"engineering", action in Action::"http", resource in App::"wiki""#,
        r#"Group::"contractors", action in Action::"http", resource in App::"wiki""#,
    );
    assert_ne!(without, POLICIES);
    let edit = async {
        scene.world.apply("", &without).await;
        Ok::<_, anyhow::Error>(())
    };
    scene.withdraw("ATK-46 policy edited", "config_applied", edit).await;
    scene.alice_is(403).await;
}

/// Somebody asks at the door all the while: what is applied holds there within a second, and at the latest when the
/// operator is told (GW-1).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_is_live_at_the_door_within_a_second() {
    let world = World::open().await;
    let mut visitor = world.wire().await;
    let mut is_open = async || {
        visitor.send(request("GET", WIKI, "/open", "", "")).await;
        visitor.answer().await.status == 200
    };
    assert!(!is_open().await);
    for (wiki, opens) in [("  public_paths: [\"/open\"]\n", true), ("", false), ("  public_paths: [\"/open\"]\n", true)]
    {
        let began = Instant::now();
        let applying = async {
            world.apply(wiki, POLICIES).await;
            Instant::now()
        };
        let watching = async {
            while is_open().await != opens {}
            Instant::now()
        };
        let (told, live) = tokio::join!(applying, watching);
        let took = live - began;
        println!("GW-1 applied: live after {took:?}, told after {:?}", told - began);
        // A build without optimisation checks and compiles policies slowly.
        let most = if cfg!(debug_assertions) { 5 * SLO } else { SLO };
        assert!(took <= most, "{took:?}");
        assert!(live <= told + Duration::from_millis(50), "told {:?} before it was live", live - told);
        assert_eq!(is_open().await, opens);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_44_a_websocket_of_a_foreign_page_is_refused() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    world.wiki.take();
    let cookie = alice.cookies(WIKI);
    let foreign = [
        "Origin: https://evil.localhost\r\n",
        "Origin: https://payroll.localhost\r\n",
        "Origin: http://wiki.localhost\r\n",
        "Origin: https://wiki.localhost:8443\r\n",
        "Origin: https://wiki.localhost.evil.localhost\r\n",
        "Origin: https://WIKI.localhost@evil.localhost\r\n",
        "Origin: null\r\n",
        "",
    ];
    for origin in foreign {
        let answer = world.ask(upgrade("/live", &cookie, origin)).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert_eq!(answer.json()["code"], "origin_refused", "{origin}");
        let records = world.records_of(&answer).await;
        assert!(records.iter().any(|record| record["reason"] == "deny.origin"), "{records:?}");
    }
    assert!(world.wiki.take().is_empty());
    let mut wire = world.wire().await;
    wire.send(upgrade("/live", &cookie, &format!("Origin: https://{WIKI}\r\n"))).await;
    assert_eq!(wire.head().await.status, 101, "the app's own page may");
    println!("ATK-44: {} foreign origins refused and recorded", foreign.len());
}

/// Alice and carol with four streams each.
struct Scene {
    world: World,
    alice: Browser,
    hers: Vec<Stream>,
    carols: Vec<Stream>,
}

impl Scene {
    async fn set() -> Self {
        Self::on(World::open().await).await
    }

    async fn on(world: World) -> Self {
        let mut carol = world.carol().await;
        let mut alice = world.person("alice", "engineering").await;
        alice.open(WIKI, "/").await;
        carol.open(WIKI, "/").await;
        let hers = open_four(&world, "alice", &alice.cookies(WIKI)).await;
        let carols = open_four(&world, "carol", &carol.cookies(WIKI)).await;
        Self { world, alice, hers, carols }
    }

    /// Does what takes alice's right, and looks at every wire.
    async fn withdraw<T, E: std::fmt::Debug>(
        &self,
        name: &str,
        cause: &str,
        order: impl Future<Output = Result<T, E>>,
    ) {
        let (begun, begun_at) = (Instant::now(), self.world.clock.now());
        order.await.unwrap();
        let answered = begun.elapsed();
        let receipt = self.receipt(name).await;
        let accepted = receipt.received;
        for stream in &self.hers {
            let (ended, how) = stream.end().await;
            let took = ended.duration_since(begun);
            println!("{name}, {}: cut after {} ms ({how})", stream.name, took.as_millis());
            // The text of an edit is checked before it is accepted; from then on the clock runs (GW-56).
            let before = if cause == "config_applied" { accepted.since(begun_at) } else { Duration::ZERO };
            assert!(took.saturating_sub(before) < SLO, "{name}, {}: {took:?}, {before:?} before", stream.name);
            assert!(!stream.looks_whole(), "{name}, {}: a cut looks like an end", stream.name);
            match stream.name {
                "websocket" => assert!(stream.closed_by_policy(), "{name}: no close 1008"),
                "h2" => assert_eq!(how, "Some(CANCEL)", "{name}"),
                _ => {}
            }
        }
        let after: Vec<u64> = self.hers.iter().map(Stream::bytes).collect();
        for stream in &self.carols {
            stream.goes_on(20).await;
        }
        assert_eq!(after, self.hers.iter().map(Stream::bytes).collect::<Vec<_>>(), "{name}: bytes after the cut");
        self.upstreams_are_hung_up_on(name).await;
        assert_eq!(receipt.cause, cause, "{name}");
        let mut protocols: Vec<&str> = receipt.streams.iter().map(|stream| stream.protocol.as_str()).collect();
        protocols.sort_unstable();
        assert_eq!(protocols, ["h2", "http1", "sse", "websocket"], "{name}: {receipt:?}");
        assert!(receipt.ms < 1_000, "{name}: {receipt:?}");
        println!("{name}: answered after {} ms, receipt says {} ms", answered.as_millis(), receipt.ms);
    }

    /// The app's side of alice's four, and of nobody else's.
    async fn upstreams_are_hung_up_on(&self, name: &str) {
        let deadline = Instant::now() + SLO;
        loop {
            let mut ended = self.world.wiki.ended();
            ended.sort_unstable();
            if ended == ["/download?who=alice", "/download?who=alice-h2", "/events?who=alice", "/live?who=alice"] {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: {ended:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The newest receipt with streams in the record, verified as anybody could.
    async fn receipt(&self, name: &str) -> ReceiptClaims {
        let keys = self.world.keys(RECEIPTS).await;
        let deadline = Instant::now() + SLO;
        loop {
            let records = self.world.records(&[("type", "revocation.receipt".to_owned())]).await;
            let tokens = records.iter().filter_map(|record| record["receipt"].as_str());
            let claims = tokens.map(|token| {
                let claims = ReceiptClaims::verify(token, &keys, ISSUER, self.world.clock.now());
                claims.unwrap_or_else(|error| panic!("{name}: {error}: {token}"))
            });
            if let Some(claims) = claims.into_iter().find(|claims| !claims.streams.is_empty()) {
                return claims;
            }
            assert!(Instant::now() < deadline, "{name}: {records:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the old cookie is worth now.
    async fn alice_is(&self, status: u16) {
        let answer = self.alice.clone().fetch(WIKI, "/").await;
        assert_eq!(answer.status, status, "{}", answer.text());
        self.world.records_of(&answer).await;
    }
}
