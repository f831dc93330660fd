//! ATK-33, ATK-48, ATK-50: sessions that are planted, borrowed, damaged, ended or confirmed for something else.

use std::time::Duration;

use crate::harness::browser::{Browser, LOGIN, SESSION, attribute, resolve};
use crate::harness::{AUTH, NAVIGATION, PAYROLL, WIKI, World, request};

#[tokio::test(flavor = "multi_thread")]
async fn atk_33_a_planted_session_cookie_is_not_adopted() {
    let world = World::open().await;
    let mut mallory = world.person("mallory", "engineering").await;
    let mut alice = world.person("alice", "engineering").await;
    mallory.open(WIKI, "/").await;
    // Mallory plants cookies in the browser alice signs in with: her own live ones, and one of her making.
    let live = [mallory.cookie(AUTH, SESSION).unwrap(), mallory.cookie(WIKI, SESSION).unwrap()];
    let made = "A".repeat(43);
    for planted in [&live, &[made.clone(), made]] {
        let mut victim = Browser::new(&world.door);
        victim.device = alice.device.clone();
        victim.plant(AUTH, SESSION, &planted[0]);
        let login = victim.send("GET", AUTH, "/logout", NAVIGATION, "").await;
        if planted[0] == live[0] {
            // A live one is mallory's until alice signs in herself.
            assert!(login.text().contains("mallory@example.org"), "{}", login.text());
        }
        victim.plant(AUTH, SESSION, &"B".repeat(43));
        victim.plant(WIKI, SESSION, &"C".repeat(43));
        victim.open(WIKI, "/mine").await;
        for host in [AUTH, WIKI] {
            let now = victim.cookie(host, SESSION).unwrap();
            assert!(!planted.contains(&now) && !now.starts_with("BBB") && !now.starts_with("CCC"), "adopted on {host}");
        }
        let who = victim.fetch(WIKI, "/.countersign/session").await.json();
        assert_eq!(who["user"]["email"], "alice@example.org");
        alice.device = victim.device.clone();
    }
    // What was planted is worth nothing more than before: the made one nothing at all.
    let made = format!("{SESSION}={}", "B".repeat(43));
    assert_eq!(world.ask(request("GET", AUTH, "/api/v1/status", &made, "")).await.status, 401);
    println!("ATK-33: planted cookies, live and made up, were replaced at sign-in");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_33_signing_out_needs_the_page_of_the_session_and_ends_it_on_every_host() {
    let world = World::open().await;
    let mut mallory = world.person("mallory", "engineering").await;
    let mut alice = world.person("alice", "engineering").await;
    for host in [WIKI, PAYROLL] {
        alice.open(host, "/").await;
        mallory.open(host, "/").await;
    }
    let stolen = alice.clone();
    let token = form_token(&mut alice, WIKI).await;
    let foreign_token = form_token(&mut mallory, WIKI).await;
    let auth_token = form_token(&mut alice, AUTH).await;
    let own = format!("Origin: https://{WIKI}\r\n");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let good = format!("token={token}");
    for (what, origin, body) in [
        ("no token", own.as_str(), "scope=session".to_owned()),
        ("an empty token", own.as_str(), "token=".to_owned()),
        ("somebody else's token", own.as_str(), format!("token={foreign_token}")),
        ("a damaged token", own.as_str(), format!("token={}", flip(&token))),
        ("no origin", "", good.clone()),
        ("a foreign origin", "Origin: https://evil.localhost\r\n", good.clone()),
        ("a sibling's origin", "Origin: https://payroll.localhost\r\n", good.clone()),
        ("the origin in the clear", "Origin: http://wiki.localhost\r\n", good.clone()),
        ("no origin at all", "Origin: null\r\n", good.clone()),
    ] {
        let answer = alice.send("POST", WIKI, "/.countersign/logout", &format!("{origin}{form}"), &body).await;
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        world.records_of(&answer).await;
    }
    let got = alice.send("GET", WIKI, &format!("/.countersign/logout?token={token}"), NAVIGATION, "").await;
    assert!(got.text().contains("Sign out?"), "a link signs nobody out");
    assert_eq!(alice.fetch(WIKI, "/").await.status, 200, "none of these ended the session");

    assert!(!auth_token.is_empty());
    let done = alice.post_form(WIKI, "/.countersign/logout", &good).await;
    assert!(done.status == 200 && done.text().contains("signed out"), "{}", done.text());
    for host in [WIKI, PAYROLL] {
        let answer = world.ask(request("GET", host, "/", &stolen.cookies(host), "")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("session_revoked")), "{host}");
    }
    let answer = world.ask(request("GET", AUTH, "/api/v1/status", &stolen.cookies(AUTH), "")).await;
    assert_eq!(answer.status, 401);
    let (host, target, _) = stolen.clone().visit(WIKI, "/").await;
    assert!(host == AUTH && target.starts_with("/login?"), "a kept cookie leads to signing in: {host}{target}");
    assert_eq!(mallory.fetch(WIKI, "/").await.status, 200, "nobody else was signed out");
    println!("ATK-33: 9 forged sign-outs refused; the real one ended the session on three hosts");
}

async fn form_token(browser: &mut Browser, host: &str) -> String {
    let target = if host == AUTH { "/logout" } else { "/.countersign/logout" };
    let page = browser.send("GET", host, target, NAVIGATION, "").await.text();
    let field = page.split("name=\"token\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    attribute(field, "value").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_48_a_cookie_of_another_host_doubled_or_damaged_counts_as_absent() {
    let world = World::open().await;
    let mut mallory = world.person("mallory", "engineering").await;
    let mut alice = world.person("alice", "engineering").await;
    for host in [WIKI, PAYROLL] {
        alice.open(host, "/").await;
    }
    mallory.open(WIKI, "/").await;
    world.wiki.take();
    let whole = alice.cookie(WIKI, SESSION).unwrap();
    let (payroll, auth) = (alice.cookie(PAYROLL, SESSION).unwrap(), alice.cookie(AUTH, SESSION).unwrap());
    let tossed = mallory.cookie(WIKI, SESSION).unwrap();
    let login = alice.cookie(WIKI, LOGIN).unwrap();
    let line = |cookies: &str| format!("Cookie: {cookies}\r\n");
    let session = |value: &str| line(&format!("{SESSION}={value}"));
    let attempts = [
        ("of another app", session(&payroll)),
        ("of the auth host", session(&auth)),
        ("the login cookie as a session", session(&login)),
        ("tossed by a sibling, behind", line(&format!("{SESSION}={whole}; {SESSION}={tossed}"))),
        ("tossed by a sibling, in front", line(&format!("{SESSION}={tossed}; {SESSION}={whole}"))),
        ("doubled and equal", line(&format!("{SESSION}={whole}; {SESSION}={whole}"))),
        ("in two fields", format!("{}{}", session(&whole), session(&tossed))),
        ("in another case", line(&format!("__HOST-countersign={whole}"))),
        ("without its prefix", line(&format!("countersign={whole}"))),
        ("truncated", session(&whole[..whole.len() - 1])),
        ("half", session(&whole[..whole.len() / 2])),
        ("longer", session(&format!("{whole}A"))),
        ("empty", session("")),
        ("quoted", session(&format!("\"{whole}\""))),
        ("with another last letter", session(&flip(&whole))),
        ("with a space inside", session(&format!("{} {}", &whole[..20], &whole[20..]))),
        ("its hash", session(&hash(&whole))),
        ("as a bearer token", format!("Authorization: Countersign {whole}\r\n")),
    ];
    for (what, cookies) in &attempts {
        let answer = world.ask(request("GET", WIKI, "/secret", "", cookies)).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let records = world.records_of(&answer).await;
        let denied = records.iter().find(|record| record["effect"] == "DENY").unwrap_or_else(|| panic!("{records:?}"));
        assert_eq!(denied["reason"], "deny.no_session", "{what}: {denied}");
        assert!(denied["subject_id"].is_null(), "{what}: nobody is named in it: {denied}");
        assert!(!answer.head.to_ascii_lowercase().contains("set-cookie"), "{what}: no cookie is cleared by a loser");
    }
    assert!(world.wiki.take().is_empty());
    let answer = world.ask(request("GET", WIKI, "/", "", &session(&whole))).await;
    assert_eq!(answer.status, 200, "alone and whole it is good");
    // Browsers keep cookies whose names differ in case apart; ours has one spelling, and no other reaches the app.
    let beside = line(&format!("__host-countersign={tossed}; {SESSION}={whole}"));
    let who = world.ask(request("GET", WIKI, "/.countersign/session", "", &beside)).await.json();
    assert_eq!(who["user"]["email"], "alice@example.org");
    assert_eq!(world.ask(request("GET", WIKI, "/", "", &beside)).await.status, 200);
    assert!(world.wiki.take().iter().all(|asked| asked.all("cookie").is_empty()));
    println!("ATK-48: {} cookies refused with 401 and recorded", attempts.len());
}

fn flip(value: &str) -> String {
    let mut chars: Vec<char> = value.chars().collect();
    // Not the last: its low bits may be padding.
    let middle = chars.len() / 2;
    chars[middle] = if chars[middle] == 'A' { 'B' } else { 'A' };
    chars.into_iter().collect()
}

fn hash(value: &str) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&model::TokenHash::of(value.as_bytes()).0)
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_50_a_step_up_is_good_for_its_action_session_and_window_only() {
    let world = World::open().await;
    let mut carol = world.carol().await;
    let mut alice = world.person("alice", "engineering").await;
    carol.open(PAYROLL, "/").await;
    alice.open(PAYROLL, "/").await;
    // A second session of alice's, in another browser.
    let mut second = Browser::new(&world.door);
    second.device = alice.device.clone();
    second.open(PAYROLL, "/").await;
    alice.device = second.device.clone();
    world.payroll.take();

    assert_eq!(write(&mut alice, "DELETE").await, 401, "without confirming");
    let cookies = |browser: &Browser| [AUTH, PAYROLL].map(|host| browser.cookie(host, SESSION).unwrap());
    let before = cookies(&alice);
    confirm(&mut alice, "http.delete").await;
    let after = cookies(&alice);
    assert!(before[0] != after[0], "the cookie of the auth host rotates");
    assert!(before[1] != after[1], "and that of the app's host, by the hand-off (GW-45)");
    assert_eq!(write(&mut alice, "DELETE").await, 200, "confirmed");
    assert_eq!(write(&mut alice, "DELETE").await, 200, "and for a while");
    for method in ["POST", "PUT", "PATCH", "FROB"] {
        assert_eq!(write(&mut alice, method).await, 401, "{method} was not confirmed");
    }
    assert_eq!(write(&mut second, "DELETE").await, 401, "another session of hers did not confirm");
    assert_eq!(write(&mut carol, "DELETE").await, 401, "nor did carol");
    let asked = world.payroll.take();
    let writes = asked.iter().map(|asked| asked.line().to_owned()).filter(|line| !line.starts_with("GET "));
    assert_eq!(writes.collect::<Vec<_>>(), ["DELETE /salaries HTTP/1.1"; 2], "the app saw nothing else");

    world.clock.jump(Duration::from_secs(295));
    assert_eq!(write(&mut alice, "DELETE").await, 200, "just inside the window");
    world.clock.jump(Duration::from_secs(10));
    assert_eq!(write(&mut alice, "DELETE").await, 401, "and just outside");
    assert_eq!(alice.fetch(PAYROLL, "/").await.status, 200, "the session itself goes on");
    println!("ATK-50: a confirmed DELETE was good for nothing else, nobody else, and not for 305 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_50_a_step_up_cannot_be_finished_by_somebody_else_or_twice() {
    let world = World::open().await;
    let mut mallory = world.person("mallory", "engineering").await;
    let mut alice = world.person("alice", "engineering").await;
    for person in [&mut mallory, &mut alice] {
        person.open(PAYROLL, "/").await;
    }
    // Mallory's passkey in alice's browser and session: the prompt accepts alice's passkeys only.
    let page = step_up_page(&mut alice, "http.delete").await;
    let transaction = attribute(&page, "data-transaction").unwrap();
    let begin = serde_json::json!({ "transaction": transaction });
    let mut options = alice.post_json("/step-up/begin", &begin).await.json()["options"].clone();
    options["publicKey"]["allowCredentials"] = serde_json::json!([]);
    let credential = mallory.device.get(&options).await.unwrap();
    let finish = serde_json::json!({ "transaction": transaction, "credential": credential });
    assert_eq!(alice.post_json("/step-up/finish", &finish).await.status, 403);
    // Alice's transaction in mallory's browser.
    assert_eq!(mallory.post_json("/step-up/begin", &begin).await.status, 409);
    assert_eq!(mallory.post_json("/step-up/finish", &finish).await.status, 409);
    assert_eq!(write(&mut alice, "DELETE").await, 401);
    // A transaction of a step-up does not sign in, nor the other way round.
    let page = step_up_page(&mut alice, "http.delete").await;
    let transaction = attribute(&page, "data-transaction").unwrap();
    let begin = serde_json::json!({ "transaction": transaction });
    let options = alice.post_json("/step-up/begin", &begin).await.json()["options"].clone();
    let credential = alice.device.get(&options).await.unwrap();
    let finish = serde_json::json!({ "transaction": transaction, "credential": credential });
    assert_ne!(alice.post_json("/login/finish", &finish).await.status, 200);
    // Used once, the answer is worth nothing again.
    let page = step_up_page(&mut alice, "http.delete").await;
    let transaction = attribute(&page, "data-transaction").unwrap();
    let begin = serde_json::json!({ "transaction": transaction });
    let options = alice.post_json("/step-up/begin", &begin).await.json()["options"].clone();
    let credential = alice.device.get(&options).await.unwrap();
    let finish = serde_json::json!({ "transaction": transaction, "credential": credential });
    assert_eq!(alice.post_json("/step-up/finish", &finish).await.status, 200);
    assert_ne!(alice.post_json("/step-up/finish", &finish).await.status, 200);
    println!("ATK-50: another passkey, another browser and a replay confirmed nothing");
}

async fn write(browser: &mut Browser, method: &str) -> u16 {
    let answer = browser.send(method, PAYROLL, "/salaries", &format!("Origin: https://{PAYROLL}\r\n"), "x").await;
    if answer.status == 401 {
        assert_eq!(answer.json()["code"], "step_up_required", "{answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
    }
    answer.status
}

async fn step_up_page(browser: &mut Browser, action: &str) -> String {
    let (host, target, page) = browser.visit(PAYROLL, &format!("/.countersign/step-up?action={action}")).await;
    assert!(host == AUTH && target.starts_with("/step-up?"), "{host}{target}");
    page.text()
}

async fn confirm(browser: &mut Browser, action: &str) {
    let (_, _, page) = browser.visit(PAYROLL, &format!("/.countersign/step-up?action={action}")).await;
    let next = browser.ceremony("/step-up", &page).await;
    let (host, target) = resolve(AUTH, &next);
    let (host, _, landed) = browser.visit(&host, &target).await;
    assert_eq!((host.as_str(), landed.status), (PAYROLL, 200), "{}", landed.text());
}
