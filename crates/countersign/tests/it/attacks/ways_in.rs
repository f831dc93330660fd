//! Further ways in that were tried and stay shut: races and replays around the moments where trust changes hands.

use crate::harness::app::Asked;
use crate::harness::browser::{Browser, LOGIN, SESSION, attribute, resolve};
use crate::harness::{AUTH, NAVIGATION, PAYROLL, WIKI, World, email, request, soon};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn atk_32_a_hand_off_code_is_good_once_on_its_host_and_for_a_person_who_still_may() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;

    // Twice, at once: one of the two gets the session.
    let (host, target) = hand_off(&mut alice).await;
    let (mut one, mut other) = (alice.clone(), alice.clone());
    let (first, second) = tokio::join!(
        one.send("GET", &host, &target, NAVIGATION, ""),
        other.send("GET", &host, &target, NAVIGATION, ""),
    );
    let given = [&first, &second].iter().filter(|answer| answer.header("set-cookie").is_some()).count();
    assert_eq!(given, 1, "{first:?} {second:?}");

    // On another host, even in a browser whose binding cookie there has the same value.
    let (_, target) = hand_off(&mut alice).await;
    let binding = alice.cookie(WIKI, LOGIN).unwrap();
    alice.plant(PAYROLL, LOGIN, &binding);
    let elsewhere = alice.send("GET", PAYROLL, &target, NAVIGATION, "").await;
    assert!(elsewhere.header("set-cookie").is_none() && alice.cookie(PAYROLL, SESSION).is_none(), "{elsewhere:?}");

    // After the person was disabled, and after the session behind it ended.
    let (host, target) = hand_off(&mut alice).await;
    let disable = format!("/api/v1/users/{}/disable", email("alice"));
    world.operator.post(&disable, &json!({})).await.unwrap();
    let late = alice.send("GET", &host, &target, NAVIGATION, "").await;
    assert!(late.header("set-cookie").is_none(), "{late:?}");
    world.wiki.take();
    assert_ne!(alice.fetch(WIKI, "/").await.status, 200);
    assert!(world.wiki.take().is_empty());
    println!("ATK-32: a hand-off code was good once, on its host, and not for somebody disabled meanwhile");
}

/// A browser signed in on the auth host, one step before it has a session on the wiki.
async fn hand_off(browser: &mut Browser) -> (String, String) {
    browser.plant(WIKI, SESSION, "");
    let first = browser.send("GET", WIKI, "/deep", NAVIGATION, "").await;
    let (host, target) = resolve(WIKI, first.header("location").unwrap());
    let second = browser.send("GET", &host, &target, NAVIGATION, "").await;
    let (host, target) = resolve(AUTH, second.header("location").unwrap_or_else(|| panic!("{second:?}")));
    assert!(host == WIKI && target.starts_with("/.countersign/handoff?code="), "{host}{target}");
    (host, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_used_by_many_at_once_makes_one_passkey() {
    let world = World::open().await;
    let new = json!({ "email": email("alice"), "name": "Alice", "groups": ["engineering"] });
    world.operator.post("/api/v1/users", &new).await.unwrap();
    let link = world.operator.post("/api/v1/invites", &json!({ "user": email("alice") })).await.unwrap();
    let code = link["url"].as_str().unwrap().split("code=").nth(1).unwrap().to_owned();
    let tries = (0..8).map(|_| {
        let (mut browser, code) = (Browser::new(&world.door), code.clone());
        tokio::spawn(async move {
            let options = browser.post_json("/enrol/begin", &json!({ "transaction": code })).await.json();
            if options["options"].is_null() {
                return 0;
            }
            let credential = browser.device.create(&options["options"]).await.unwrap();
            let finish = json!({ "transaction": code, "credential": credential });
            browser.post_json("/enrol/finish", &finish).await.status
        })
    });
    let mut in_at_last = 0;
    for attempt in tries.collect::<Vec<_>>() {
        in_at_last += usize::from(soon(attempt).await.unwrap() == 200);
    }
    assert_eq!(in_at_last, 1, "one link, one passkey, one session");
    let user = world.operator.get(&format!("/api/v1/users/{}", email("alice"))).await.unwrap();
    assert_eq!((user["state"].as_str(), user["sessions"].as_u64()), (Some("active"), Some(1)), "{user}");
    println!("ways in: of 8 enrolments racing for one invitation, 1 succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_answer_signs_in_once_and_only_the_browser_it_was_asked_of() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    let (mut victim, mut thief) = (Browser::new(&world.door), Browser::new(&world.door));
    let page = victim.send("GET", AUTH, "/login", NAVIGATION, "").await.text();
    let transaction = attribute(&page, "data-transaction").unwrap();
    let begin = json!({ "transaction": transaction });
    let options = victim.post_json("/login/begin", &begin).await.json();
    let credential = alice.device.get(&options["options"]).await.unwrap();

    // The thief has the answer, and a journey and a challenge of their own.
    let page = thief.send("GET", AUTH, "/login", NAVIGATION, "").await.text();
    let own = attribute(&page, "data-transaction").unwrap();
    thief.post_json("/login/begin", &json!({ "transaction": own })).await;
    for stolen in [&own, &transaction] {
        let refused =
            thief.post_json("/login/finish", &json!({ "transaction": stolen, "credential": credential })).await;
        assert!(matches!(refused.status, 403 | 409), "{refused:?}");
        world.records_of(&refused).await;
    }
    // The transaction of the victim with the binding cookie planted in the thief's jar would need the secret itself.
    let finish = json!({ "transaction": transaction, "credential": credential });
    let (mut one, mut other) = (victim.clone(), victim.clone());
    let (first, second) =
        tokio::join!(one.post_json("/login/finish", &finish), other.post_json("/login/finish", &finish));
    let given = [&first, &second].iter().filter(|answer| answer.status == 200).count();
    assert_eq!(given, 1, "{first:?} {second:?}");
    assert_ne!(victim.post_json("/login/finish", &finish).await.status, 200);
    println!("ways in: a passkey answer was good once and for its own browser");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_12_a_response_cut_short_never_reaches_the_next_person() {
    let world = World::open().await;
    let mut carol = world.carol().await;
    let mut alice = world.person("alice", "engineering").await;
    carol.open(WIKI, "/").await;
    alice.open(WIKI, "/").await;
    let (hers, carols) = (alice.cookies(WIKI), carol.cookies(WIKI));
    world.wiki.take();
    for round in 0..10 {
        // Hung up on in the middle of an answer, in the middle of an upload, and before any answer is read.
        let mut wire = world.wire().await;
        wire.send(request("GET", WIKI, "/download?of=alice", &hers, "")).await;
        wire.head().await;
        drop(wire);
        let mut wire = world.wire().await;
        wire.send(request("POST", WIKI, "/upload", &hers, "Content-Length: 9\r\n") + "GET /").await;
        drop(wire);
        let mut wire = world.wire().await;
        wire.send(request("GET", WIKI, "/secret?of=alice", &hers, "")).await;
        drop(wire);
        let target = format!("/mine?round={round}");
        let answer = world.ask(request("GET", WIKI, &target, &carols, "")).await;
        let text = answer.text();
        assert!(text.starts_with(&format!("GET {target} HTTP/1.1\r\n")) && !text.contains("alice"), "{text}");
    }
    let asked = world.wiki.take();
    assert!(asked.iter().all(|asked| !asked.line().contains("upload")), "half an upload looks whole to nobody");
    assert_eq!(asked.iter().filter(|asked| asked.line().contains("/mine")).count(), 10);
    println!("ATK-12: 30 answers and uploads cut short, 10 neighbours got their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_made_of_header_lines_stays_a_claim() {
    let world = World::open().await;
    for name in ["Eve\r\nX-Admin: 1\r\n\r\nGET /admin HTTP/1.1", "Eve\0", "Eve\u{202e}lorac"] {
        let new = json!({ "email": email("eve"), "name": name, "groups": ["engineering"] });
        assert!(world.operator.post("/api/v1/users", &new).await.is_err(), "{name:?} is refused where it is made");
    }
    let mut eve = world.person_called("eve", "Eve, carol@example.org; groups=\"admins\" \u{e9}", "engineering").await;
    eve.open(WIKI, "/").await;
    world.wiki.take();
    assert_eq!(eve.fetch(WIKI, "/").await.status, 200);
    let asked: Vec<Asked> = world.wiki.take();
    assert_eq!(asked.len(), 1);
    let head = &asked[0].head;
    assert!(!head.contains("carol") && !head.contains("admins") && head.is_ascii(), "{head}");
    println!("ways in: a hostile name reached the app inside the signed claim only");
}
