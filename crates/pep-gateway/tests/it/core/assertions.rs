//! What the app is told about who asks (GW-28 to GW-31).

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Clock, GroupId};
use pep_gateway::Permit;
use pki::AssertionClaims;
use pki::jose::{SigningKey, VerifyingKeys};

use super::world::{ALICE, AUTH_URL, World, app, apps, changed, rules};

fn token(permit: &Permit) -> String {
    let mut all = permit.upstream_headers().iter().filter(|(name, _)| name == pep_gateway::assertion::HEADER);
    let (_, value) = all.next().expect("an assertion");
    assert!(all.next().is_none(), "exactly one");
    assert!(value.is_sensitive(), "it must not be logged");
    value.to_str().unwrap().to_owned()
}

fn verified(world: &World, token: &str, app: &str) -> AssertionClaims {
    let now = world.clock.now();
    let keys = VerifyingKeys::from_jwks(&world.keys.load().jwks(now)).expect("published keys");
    AssertionClaims::verify(token, &keys, AUTH_URL, app, now).expect("a good assertion")
}

#[tokio::test]
async fn an_app_can_verify_who_asks_and_for_what() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit =
        world.permitted(&format!("POST /page?x=1 wiki.localhost:8443\nCookie: {cookie}\nContent-Length: 0")).await;
    let claims = verified(&world, &token(&permit), "wiki");
    assert_eq!(claims.sub, ALICE.to_string());
    assert_eq!((claims.name.as_deref(), claims.email.as_deref()), (Some("Alice"), Some("alice@corp.test")));
    assert_eq!(claims.groups, Some(vec!["engineering".to_owned(), "payroll".to_owned()]));
    assert_eq!(claims.sid, id.to_string());
    assert_eq!(claims.exp - claims.iat, 60);
    assert!(claims.req.fits("POST", "wiki.localhost:8443", "/page?x=1"));
    assert!(!claims.req.fits("GET", "wiki.localhost:8443", "/page?x=1"));
    assert!(!claims.req.fits("POST", "payroll.localhost:8443", "/page?x=1"));
    assert!(!claims.req.fits("POST", "wiki.localhost:8443", "/page?x=2"));
    let record = world.last_record();
    assert_eq!(claims.dec, record.decision.decision_id.unwrap().to_string());
    assert_eq!(Some(claims.trace.as_str()), record.trace_id.as_deref());
}

#[tokio::test]
async fn the_assertion_is_bound_to_what_the_app_receives() {
    let mut list = apps();
    list[1].upstreams.values_mut().next().unwrap().host = Some("payroll.internal".to_owned());
    let world = World::with(list, |directory| rules(directory.clone()));
    let (_, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let permit = world.permitted(&format!("GET /api/records payroll.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!(permit.upstream_authority(), "payroll.internal");
    let claims = verified(&world, &token(&permit), "payroll");
    assert!(claims.req.fits("GET", "payroll.internal", "/records"), "{:?}", claims.req);
}

#[tokio::test]
async fn reads_of_the_same_thing_share_an_assertion_and_nothing_else_does() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let (_, second) = world.sign_in(ALICE, "wiki.localhost");
    let get = async |line: &str, cookie: &str| {
        token(&*world.permitted(&format!("{line} wiki.localhost:8443\nCookie: {cookie}")).await)
    };
    let first = get("GET /a", &cookie).await;
    assert_eq!(get("GET /a", &cookie).await, first);
    let mut seen = BTreeSet::from([first.clone()]);
    for line in ["GET /b", "GET /a?x=1", "HEAD /a", "POST /a", "POST /a", "DELETE-IT /a"] {
        assert!(seen.insert(get(line, &cookie).await), "{line}");
    }
    assert!(seen.insert(get("GET /a", &second).await), "another session");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(get("GET /a", &cookie).await, first);
    world.clock.advance(Duration::from_secs(1));
    assert!(seen.insert(get("GET /a", &cookie).await), "less than half of its life is left");
}

#[tokio::test]
async fn an_assertion_kept_for_reuse_dies_with_policies_people_and_keys() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let get = async || token(&*world.permitted(&format!("GET /a wiki.localhost:8443\nCookie: {cookie}")).await);
    let first = get().await;
    world.publish(changed(ALICE, |user| user.name = "Alice B".to_owned()), |directory| {
        let directory = directory.clone();
        testkit::FakePdp::new(move |question, now| {
            let mut decision = super::world::judge(&directory, question, now);
            decision.pins.entities_version = directory.version;
            decision
        })
    });
    let second = get().await;
    assert_ne!(first, second);
    assert_eq!(verified(&world, &second, "wiki").name.as_deref(), Some("Alice B"));
    let ring = world.keys.load().rotate(SigningKey::generate("gw1").unwrap(), world.clock.now());
    world.keys.store(std::sync::Arc::new(ring));
    world.clock.advance(pki::jose::PUBLISH_LEAD);
    verified(&world, &get().await, "wiki");
}

#[tokio::test]
async fn groups_are_filtered_and_never_cut_short() {
    let check = async |wanted: &[&str], groups: usize, named: Option<usize>| {
        let mut list = vec![app("wiki", &["wiki.localhost"])];
        list[0].assertion.groups = wanted.iter().map(|group| (*group).to_owned()).collect();
        let world = World::with(list, |_| testkit::FakePdp::allowing());
        let many = changed(ALICE, |user| {
            user.direct_groups = (0..groups).map(|index| GroupId::new(&format!("team-{index}"))).collect();
        });
        world.publish(many, |_| testkit::FakePdp::allowing());
        let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
        let permit = world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
        let claims = verified(&world, &token(&permit), "wiki");
        assert_eq!(claims.groups.map(|groups| groups.len()), named, "{wanted:?} of {groups}");
        assert_eq!(claims.groups_overage, named.is_none(), "{wanted:?} of {groups}");
    };
    check(&[], 100, Some(100)).await;
    check(&[], 101, None).await;
    check(&["team-1"], 101, Some(1)).await;
    check(&["team-1*"], 30, Some(11)).await;
    check(&["other"], 30, Some(0)).await;
}

#[tokio::test]
async fn an_app_can_do_without_assertions() {
    let mut list = apps();
    list[0].assertion.is_enabled = false;
    let world = World::with(list, |directory| rules(directory.clone()));
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world.permitted(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
    assert!(permit.upstream_headers().iter().all(|(name, _)| name != pep_gateway::assertion::HEADER));
}
