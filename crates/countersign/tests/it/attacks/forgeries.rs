//! ATK-27: whoever reaches the app past the door, with headers of their making, meets the verifier every app has.

use std::time::Duration;

use model::Clock;
use pki::AssertionClaims;
use pki::jose::VerifyingKeys;

use crate::harness::app::Asked;
use crate::harness::browser::Browser;
use crate::harness::{AUTH, ISSUER, PAYROLL, WIKI, World, request, soon};

const HEADER: &str = "x-countersign-assertion";

/// What the sample verifiers do: exactly one assertion, by these keys, for this app and this request.
struct Verifier<'a> {
    world: &'a World,
    keys: VerifyingKeys,
    app: &'static str,
}

impl Verifier<'_> {
    fn lets_in(&self, asked: &Asked) -> bool {
        let assertions = asked.all(HEADER);
        let [token] = assertions.as_slice() else { return false };
        self.accepts(token, asked)
    }

    fn accepts(&self, token: &str, asked: &Asked) -> bool {
        let Ok(claims) = AssertionClaims::verify(token, &self.keys, ISSUER, self.app, self.world.clock.now()) else {
            return false;
        };
        let mut line = asked.line().split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        claims.req.is_bound_to_target() && claims.req.fits(method, asked.all("host")[0], target)
    }
}

/// A page of the wiki; whether a verifier with `keys` lets its request in.
async fn lets_in_by(world: &World, who: &mut Browser, keys: &VerifyingKeys) -> bool {
    world.wiki.take();
    assert_eq!(who.fetch(WIKI, "/").await.status, 200);
    let asked = world.wiki.take().remove(0);
    AssertionClaims::verify(asked.all(HEADER)[0], keys, ISSUER, "wiki", world.clock.now()).is_ok()
}

/// The published keys once there are `count` of them.
async fn keys_of(world: &World, path: &str, count: usize) -> VerifyingKeys {
    soon(async {
        loop {
            let keys = world.keys(path).await;
            if keys.kids().count() == count {
                return keys;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_go_on_accepting_while_signing_keys_rotate_by_themselves() {
    const PATH: &str = "/.well-known/countersign/jwks.json";
    const RECEIPTS: &str = "/.well-known/countersign/receipts/jwks.json";
    let world = World::open().await;
    let first = world.records(&[("type", "key.issued".to_owned())]).await;
    assert_eq!(first.len(), 2, "the keys of a first start: {first:?}");
    let old = keys_of(&world, PATH, 1).await;
    // Keys are due after 30 days.
    world.clock.jump(Duration::from_secs(30 * 86_400 + 60));
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    let both = keys_of(&world, PATH, 2).await;
    keys_of(&world, RECEIPTS, 2).await;
    assert!(lets_in_by(&world, &mut alice, &old).await, "the old key still signs: caches of the set are not stale");
    assert!(lets_in_by(&world, &mut alice, &both).await);

    // A restart in the middle keeps the ring, and makes no new key.
    let world = world.restarted().await;
    keys_of(&world, PATH, 2).await;
    assert!(lets_in_by(&world, &mut alice, &old).await);
    let told = world.records(&[("type", "key.rotated".to_owned())]).await;
    assert_eq!(told.len(), 2, "assertion and receipt: {told:?}");
    assert!(world.records(&[("type", "key.issued".to_owned())]).await.len() <= 2);

    world.clock.jump(Duration::from_secs(601));
    assert!(!lets_in_by(&world, &mut alice, &old).await, "the new key signs");
    assert!(lets_in_by(&world, &mut alice, &both).await, "and was published ten minutes before");
    keys_of(&world, PATH, 2).await;
    let body = serde_json::json!({ "user": "alice@example.org" });
    let revoked = world.operator.post("/api/v1/sessions/revoke", &body).await.unwrap();
    assert_eq!(revoked["revocations"][0]["receipts"].as_array().unwrap().len(), 1);

    world.clock.jump(Duration::from_secs(600));
    let new = keys_of(&world, PATH, 1).await;
    assert!(old.kids().all(|kid| new.kids().all(|other| other != kid)), "the old key has left");
    keys_of(&world, RECEIPTS, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_rotates_a_key_once_and_not_twice_before_it_signs() {
    let world = World::open().await;
    let ask = async |purpose: &str| {
        world.operator.post(&format!("/api/v1/keys/{purpose}/rotate"), &serde_json::json!({})).await
    };
    assert_eq!(ask("assertion").await.unwrap()["state"], "coming");
    assert!(ask("assertion").await.unwrap_err().to_string().contains("published already"));
    assert!(ask("nothing").await.unwrap_err().to_string().contains("there are no keys for `nothing`"));
    let listed = world.operator.get("/api/v1/keys").await.unwrap();
    let lines = listed["keys"].as_array().unwrap().iter();
    let mut lines: Vec<_> =
        lines.map(|line| (line["purpose"].as_str().unwrap(), line["state"].as_str().unwrap())).collect();
    lines.sort_unstable();
    assert_eq!(lines, [("assertion", "coming"), ("assertion", "signing"), ("receipt", "signing")]);
    assert_eq!(world.records(&[("type", "key.rotated".to_owned())]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_27_a_forged_header_straight_to_the_app_is_refused_by_its_verifier() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    alice.open(PAYROLL, "/").await;
    world.payroll.take();
    world.wiki.take();
    assert_eq!(alice.fetch(PAYROLL, "/salaries?of=alice").await.status, 200);
    let keys = world.keys("/.well-known/countersign/jwks.json").await;
    let verifier = Verifier { world: &world, keys, app: "payroll" };
    let real = world.payroll.take().remove(0);
    assert!(verifier.lets_in(&real), "what came through the door is good: {real:?}");
    let token = real.all(HEADER)[0].to_owned();
    alice.fetch(WIKI, "/salaries?of=alice").await;
    let of_wiki = world.wiki.take().remove(0).all(HEADER)[0].to_owned();

    let asked = |line: &str, more: &str| Asked {
        head: format!("{line} HTTP/1.1\r\nhost: {PAYROLL}\r\n{more}\r\n"),
        body: Vec::new(),
    };
    let same = "GET /salaries?of=alice";
    assert!(verifier.lets_in(&asked(same, &format!("{HEADER}: {token}\r\n"))));
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"countersign-assertion+jwt"}"#);
    let forged = data_encoding::BASE64URL_NOPAD.encode(
        &String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap())
            .unwrap()
            .replace("alice", "carol")
            .into_bytes(),
    );
    let with = |token: &str| format!("{HEADER}: {token}\r\n");
    for (what, line, fields) in [
        ("no header", same, String::new()),
        (
            "names only",
            same,
            "x-forwarded-user: alice\r\nremote-user: alice\r\nx-auth-request-email: a@b\r\n".to_owned(),
        ),
        ("no signature", same, with(&format!("{header}.{claims}."))),
        ("alg none", same, with(&format!("{none}.{claims}."))),
        ("alg none with the old signature", same, with(&format!("{none}.{claims}.{signature}"))),
        ("other claims under the signature", same, with(&format!("{header}.{forged}.{signature}"))),
        ("two headers", same, with(&token) + &with(&token)),
        ("an underscored header", same, format!("x_countersign_assertion: {token}\r\n")),
        ("of another app", same, with(&of_wiki)),
        ("for another path", "GET /salaries?of=carol", with(&token)),
        ("for another query", "GET /salaries", with(&token)),
        ("for another method", "DELETE /salaries?of=alice", with(&token)),
        ("not a token", same, with("ey")),
    ] {
        assert!(!verifier.lets_in(&asked(line, &fields)), "{what}");
    }
    world.clock.jump(std::time::Duration::from_secs(70));
    assert!(!verifier.lets_in(&real), "and a minute later the real one is over");
    println!("ATK-27: 14 forged and borrowed assertions refused by the verifier");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_27_a_receipt_or_a_key_of_receipts_is_no_assertion() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(PAYROLL, "/").await;
    world.payroll.take();
    alice.fetch(PAYROLL, "/").await;
    let real = world.payroll.take().remove(0);
    let body = serde_json::json!({ "user": "alice@example.org" });
    let revoked = world.operator.post("/api/v1/sessions/revoke", &body).await.unwrap();
    let receipt = revoked["revocations"][0]["receipts"][0].as_str().unwrap().to_owned();
    let assertion_keys = world.keys("/.well-known/countersign/jwks.json").await;
    let receipt_keys = world.keys("/.well-known/countersign/receipts/jwks.json").await;
    for keys in [assertion_keys, receipt_keys] {
        let verifier = Verifier { world: &world, keys, app: "payroll" };
        assert!(!verifier.accepts(&receipt, &real));
    }
    let keys = world.keys("/.well-known/countersign/receipts/jwks.json").await;
    assert!(!Verifier { world: &world, keys, app: "payroll" }.lets_in(&real), "receipt keys sign no assertion");
    println!("ATK-27: receipts and their keys assert nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_28_a_spoofed_scheme_changes_neither_cookie_nor_redirect() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    world.wiki.take();
    for spoof in [
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Proto: http, https\r\n",
        "X-Forwarded-Scheme: http\r\nX-Scheme: http\r\n",
        "Forwarded: proto=http;host=evil.localhost\r\n",
        "X-Forwarded-Ssl: off\r\nFront-End-Https: off\r\nX-Url-Scheme: http\r\n",
        "X-Forwarded-Host: evil.localhost\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Server: evil.localhost\r\n",
    ] {
        let more = format!("{}{spoof}", crate::harness::NAVIGATION);
        let answer = world.ask(request("GET", WIKI, "/deep?x=1", "", &more)).await;
        assert_eq!(answer.status, 303, "{spoof}: {answer:?}");
        let location = answer.header("location").unwrap();
        assert!(location.starts_with("https://localhost/login?app=wiki&rt="), "{spoof}: {location}");
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-countersign-login=") && cookie.contains("; Secure; HttpOnly"), "{cookie}");
        let page = world.ask(request("GET", AUTH, "/login", "", &more)).await;
        assert!(page.header("set-cookie").unwrap().contains("; Secure;"), "{page:?}");
        assert!(!page.text().contains("http://") && !page.text().contains("evil"), "{}", page.text());

        assert_eq!(world.ask(request("GET", WIKI, "/", &alice.cookies(WIKI), spoof)).await.status, 200);
        let asked = world.wiki.take().remove(0);
        assert_eq!(asked.all("x-forwarded-proto"), ["https"], "{spoof}");
        assert_eq!(asked.all("x-forwarded-host"), [WIKI], "{spoof}");
        assert!(asked.all("forwarded").is_empty() && !asked.head.contains("evil"), "{asked:?}");
    }
    println!("ATK-28: six spoofed schemes changed nothing");
}
