//! ATK-11, ATK-30, ATK-53: what anybody can reach without signing in, and where signing in leads.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::browser::{Browser, resolve};
use crate::harness::wire::Wire;
use crate::harness::{AUTH, NAVIGATION, OTHER, PAYROLL, WIKI, World, request, soon};

#[tokio::test(flavor = "multi_thread")]
async fn atk_11_a_huge_body_to_the_sign_in_is_refused_and_never_buffered() {
    let world = World::open().await;
    let post = |host: &str, path: &str, more: &str| {
        request("POST", host, path, "", &format!("Origin: https://{host}\r\nContent-Type: application/json\r\n{more}"))
    };
    let endpoints = [
        (AUTH, "/login/begin"),
        (AUTH, "/login/finish"),
        (AUTH, "/enrol/begin"),
        (AUTH, "/enrol/finish"),
        (AUTH, "/step-up/begin"),
        (AUTH, "/step-up/finish"),
        (AUTH, "/logout"),
        (WIKI, "/.countersign/logout"),
    ];
    for (host, path) in endpoints {
        let answer = world.ask(post(host, path, "Content-Length: 5000000000\r\n")).await;
        refused_as_too_large(&world, &answer, path).await;
        // With leave asked for: it is not given.
        let answer = world.ask(post(host, path, "Content-Length: 5000000000\r\nExpect: 100-continue\r\n")).await;
        refused_as_too_large(&world, &answer, path).await;
        // Not announced: a chunk a time until it is too much.
        let mut wire = world.wire().await;
        wire.send(post(host, path, "Transfer-Encoding: chunked\r\n")).await;
        let chunk = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n"].concat();
        for _ in 0..9 {
            wire.send(&chunk).await;
        }
        let answer = wire.answer().await;
        refused_as_too_large(&world, &answer, path).await;
        assert!(is_closed(&mut wire).await, "{path}: what was left unread is not taken for a request");
    }
    // The largest that is taken: refused for what it says, not for its size.
    let body = "x".repeat(64 * 1024);
    let fits = world.ask(post(AUTH, "/login/finish", "Content-Length: 65536\r\n") + &body).await;
    assert_eq!(fits.status, 409, "{}", fits.text());
    println!("ATK-11: {} endpoints refuse gigabytes, announced or not", endpoints.len());
}

async fn refused_as_too_large(world: &World, answer: &crate::harness::wire::Answer, path: &str) {
    assert_eq!(answer.status, 413, "{path}: {answer:?}");
    assert!(!answer.head.contains("100 Continue"), "{path}: {answer:?}");
    world.records_of(answer).await;
}

async fn is_closed(wire: &mut Wire) -> bool {
    wire.rest().await.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_30_signing_in_leads_to_the_host_it_began_on_and_nowhere_else() {
    let world = World::open().await;
    let enrolled = world.person("alice", "engineering").await;
    let targets = [
        "//evil.localhost",
        "///evil.localhost",
        "/\\evil.localhost",
        "\\/evil.localhost",
        "/%09/evil.localhost",
        "/%0a/evil.localhost",
        "/%5Cevil.localhost",
        "/%5c%5cevil.localhost",
        "/%2Fevil.localhost",
        "/%2f%2fevil.localhost",
        "/./evil.localhost",
        "/x/..//evil.localhost",
        "https:evil.localhost",
        "https://evil.localhost/",
        "//user@evil.localhost/",
        "/@evil.localhost",
        "/.evil.localhost",
        "/:80",
        "/http://evil.localhost",
        "/?next=//evil.localhost",
        "/%E3%80%82evil.localhost",
        "/%EF%BC%8Fevil.localhost",
        "/;//evil.localhost",
        "/?//evil.localhost/\\evil",
        "/javascript:alert(1)",
    ];
    let (mut refused, mut local) = (0, 0);
    for target in targets {
        let mut browser = Browser::new(&world.door);
        let first = browser.send("GET", WIKI, target, NAVIGATION, "").await;
        if first.status != 303 {
            assert!(matches!(first.status, 400 | 404 | 421), "{target}: {first:?}");
            assert!(first.header("location").is_none());
            refused += 1;
            continue;
        }
        browser.device = enrolled.device.clone();
        let (host, there, page) = {
            let (host, there) = resolve(WIKI, first.header("location").unwrap());
            browser.visit(&host, &there).await
        };
        assert!(host == AUTH && there.starts_with("/login?"), "{target}: {host}{there}");
        let next = browser.ceremony("/login", &page).await;
        let (host, there) = resolve(AUTH, &next);
        assert_eq!(host, WIKI, "{target}");
        let landed = browser.send("GET", &host, &there, NAVIGATION, "").await;
        let location = landed.header("location").unwrap_or_else(|| panic!("{target}: {landed:?}")).to_owned();
        let (host, _) = resolve(WIKI, &location);
        assert_eq!(host, WIKI, "{target} led to {location}");
        assert!(location.starts_with('/') && !location.starts_with("//") && !location.contains('\\'), "{location}");
        local += 1;
    }
    assert!(refused > 0 && local > 0);
    println!("ATK-30: {} targets: {refused} refused, {local} stayed on their host", targets.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_30_no_parameter_of_the_sign_in_leads_elsewhere() {
    let world = World::open().await;
    let enrolled = world.person("alice", "engineering").await;
    let mut thief = Browser::new(&world.door);
    // A ticket made for another browser's journey.
    let first = thief.send("GET", WIKI, "/stolen", NAVIGATION, "").await;
    let stolen = first.header("location").unwrap().split("rt=").nth(1).unwrap().to_owned();
    let flipped = format!("{}{}", &stolen[..stolen.len() - 2], if stolen.ends_with("AA") { "BB" } else { "AA" });
    for query in [
        "rt=https://evil.localhost/".to_owned(),
        "rt=//evil.localhost".to_owned(),
        format!("rt={flipped}"),
        "next=https://evil.localhost/&redirect=//evil.localhost&return_to=//evil.localhost&rd=//evil".to_owned(),
        "app=evil&rt=".to_owned(),
        "app=https://evil.localhost".to_owned(),
    ] {
        let mut browser = Browser::new(&world.door);
        browser.device = enrolled.device.clone();
        let page = browser.send("GET", AUTH, &format!("/login?{query}"), NAVIGATION, "").await;
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        assert!(!page.text().contains("evil"), "{query}: {}", page.text());
        assert_eq!(browser.ceremony("/login", &page).await, "/", "{query}");
    }
    // A whole ticket signs in this browser, but the hand-off belongs to the other one's cookie.
    let mut browser = Browser::new(&world.door);
    browser.device = enrolled.device.clone();
    let page = browser.send("GET", AUTH, &format!("/login?app=wiki&rt={stolen}"), NAVIGATION, "").await;
    let (host, target) = resolve(AUTH, &browser.ceremony("/login", &page).await);
    let mut as_thief = thief.clone();
    // The attack: make the victim sign in, have the code redeemed by whoever began.
    let code_used = browser.send("GET", &host, &target, NAVIGATION, "").await;
    assert_eq!(code_used.status, 403, "without the cookie the journey began with: {}", code_used.text());
    let late = as_thief.send("GET", &host, &target, NAVIGATION, "").await;
    assert!(late.status == 303 && late.header("set-cookie").is_none(), "a code is used up by the first try: {late:?}");
    assert_eq!(as_thief.fetch(WIKI, "/").await.status, 401);
    println!("ATK-30: six forged parameters led to the launchpad; a stolen ticket gave nobody a session");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_53_nothing_but_the_way_in_answers_the_anonymous() {
    let world = World::open().await;
    let paths = [
        "/metrics",
        "/debug",
        "/debug/pprof",
        "/livez",
        "/readyz",
        "/healthz",
        "/health",
        "/admin",
        "/admin/",
        "/status",
        "/console",
        "/me",
        "/server-status",
        "/actuator",
        "/actuator/env",
        "/.env",
        "/.git/config",
        "/config",
        "/pprof",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/users",
        "/api/v1/users/alice",
        "/api/v1/groups",
        "/api/v1/sessions",
        "/api/v1/invites",
        "/api/v1/apps",
        "/api/v1/apps/wiki",
        "/api/v1/config",
        "/api/v1/status",
        "/api/v1/audit/records",
        "/api/v1/audit/tail",
        "/API/v1/users",
        "/api/v1/setup-link",
        "/api/v2/users",
        "/",
        "/setup",
        "/invite/x",
        "/enrol/codes",
        "/oauth2/token",
        "/.countersign/metrics",
        "/.countersign/tcp/wiki",
        "/.countersign/session",
        "/.countersign/decision/aaaa",
        "/.countersign/debug",
        "/robots.txt",
        "/favicon.ico",
    ];
    let mut seen = 0;
    for host in [AUTH, WIKI, PAYROLL, OTHER] {
        // One connection: the door counts handshakes of an address.
        let mut wire = world.wire().await;
        for path in paths {
            for more in ["", NAVIGATION] {
                wire.send(request("GET", host, path, "", more)).await;
                let answer = wire.answer().await;
                assert!((300..500).contains(&answer.status), "{host}{path}: {answer:?}");
                for ours in ["alice", "usr_", "ses_", "policy_hash", "countersign_", "heap_", "version\":"] {
                    assert!(!String::from_utf8_lossy(&answer.body).contains(ours), "{host}{path}: {answer:?}");
                }
                if answer.header("connection") == Some("close") {
                    wire = world.wire().await;
                }
                seen += 1;
            }
        }
    }
    let writes = [
        ("POST", "/api/v1/setup-link"),
        ("POST", "/api/v1/users"),
        ("POST", "/api/v1/invites"),
        ("POST", "/api/v1/config/apply"),
        ("POST", "/api/v1/sessions/revoke"),
        ("PUT", "/api/v1/groups/admins/members/alice"),
        ("DELETE", "/api/v1/users/alice"),
    ];
    for (method, path) in writes {
        let body = "{}";
        let more = format!("Origin: https://{AUTH}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n");
        let answer = world.ask(request(method, AUTH, path, "", &more) + body).await;
        assert!(matches!(answer.status, 401 | 403), "{method} {path}: {answer:?}");
        world.records_of(&answer).await;
        seen += 1;
    }
    assert!(world.seen_by_apps().is_empty());
    // Health is told on a listener of its own, which is not the public one and knows no more than health.
    assert_ne!(world.server.admin_address, world.server.addresses[0]);
    assert!(world.server.admin_address.ip().is_loopback());
    assert!(plain(&world, "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(plain(&world, "/api/v1/users").await.starts_with("HTTP/1.1 404 "));
    let numbers = plain(&world, "/metrics").await;
    assert!(numbers.contains("countersign_decisions_total{effect=\"DENY\",reason=\"deny.no_session\"} "), "{numbers}");
    for ours in ["alice", "usr_", "wiki", "localhost", "/api"] {
        assert!(!numbers.contains(ours), "{numbers}");
    }
    let status = world.operator.get("/api/v1/status").await.unwrap();
    assert_eq!(status["counters"]["countersign_policy_errors_total"], 0, "{status}");
    println!("ATK-53: {seen} requests of nobody, not one answered with 2xx");
}

/// What the admin listener answers.
async fn plain(world: &World, path: &str) -> String {
    let mut stream = soon(TcpStream::connect(world.server.admin_address)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_53_a_fresh_server_knows_nobody_and_no_password() {
    let world = World::fresh().await;
    let users = world.operator.get("/api/v1/users").await.unwrap();
    assert_eq!(users["users"].as_array().unwrap().len(), 0, "{users}");
    for credentials in ["YWRtaW46YWRtaW4=", "cm9vdDpyb290", "Y291bnRlcnNpZ246Y291bnRlcnNpZ24="] {
        let basic = format!("Authorization: Basic {credentials}\r\n");
        let answer = world.ask(request("GET", AUTH, "/api/v1/status", "", &basic)).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    for path in ["/setup", "/setup?code=", "/setup?code=setup", "/setup?code=00000000-0000-0000-0000-000000000000"] {
        assert_eq!(world.ask(request("GET", AUTH, path, "", NAVIGATION)).await.status, 410, "{path}");
    }
    let guess = serde_json::json!({ "transaction": "setup", "name": "Mallory", "email": "mallory@example.org" });
    let mut mallory = Browser::new(&world.door);
    let refused = mallory.post_json("/enrol/begin", &guess).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    world.records_of(&refused).await;
    println!("ATK-53: a fresh server has no user, takes no password and no guessed set-up code");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_53_administration_is_for_administrators() {
    let world = World::open().await;
    let mut carol = world.carol().await;
    let mut alice = world.person("alice", "engineering").await;
    for path in ["/api/v1/users", "/api/v1/audit/records", "/api/v1/sessions", "/api/v1/config", "/api/v1/status"] {
        let answer = alice.fetch(AUTH, path).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        world.records_of(&answer).await;
        assert_eq!(carol.fetch(AUTH, path).await.status, 200, "{path}");
    }
    let promote = "/api/v1/groups/admins/members/alice@example.org";
    let more = format!("Origin: https://{AUTH}\r\n");
    assert_eq!(alice.send("PUT", AUTH, promote, &more, "").await.status, 403);
    // Nor from a page of another site in an administrator's browser, nor of a sibling host.
    for origin in ["https://evil.localhost", "https://wiki.localhost", "null"] {
        let more = format!("Origin: {origin}\r\nSec-Fetch-Site: same-site\r\n");
        let answer = carol.send("PUT", AUTH, promote, &more, "").await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
    }
    let alice = world.operator.get("/api/v1/users/alice@example.org").await.unwrap();
    assert_eq!(alice["groups"], serde_json::json!(["engineering"]));
    println!("ATK-53: the API is closed to people, to other sites, and open to the administrator");
}
