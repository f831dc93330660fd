//! ATK-29 and ATK-35: nothing of ours leaks, and nothing of theirs is shown back as more than text.

use std::time::Duration;

use model::Clock;

use crate::harness::browser::{LOGIN, SESSION};
use crate::harness::wire::find;
use crate::harness::{AUTH, NAVIGATION, PAYROLL, WIKI, World, request};

const CANARY: &str = "canary-4f9a1c";

#[tokio::test(flavor = "multi_thread")]
async fn atk_29_our_credentials_reach_neither_app_nor_record_nor_page() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    let mut secrets = alice.secrets();
    alice.open(WIKI, "/").await;
    alice.open(PAYROLL, "/").await;
    secrets.extend(alice.secrets());
    let session = alice.cookie(WIKI, SESSION).unwrap();
    let login = alice.cookie(WIKI, LOGIN).unwrap();

    // Everything of ours at once, between cookies and credentials of the app's own.
    let cookies = format!(
        "Cookie: theme=dark; {SESSION}={session}; lang=\"a b\"; {LOGIN}={login}; __Host-countersignX={CANARY}-1; a=b=c\r\n"
    );
    let bearer = format!("Authorization: Countersign {CANARY}-2\r\nX-Countersign-Authorization: Bearer {CANARY}-3\r\n");
    let token = format!("X-Countersign-Client-Id: {CANARY}-4\r\nX-Countersign-Client-Secret: {CANARY}-5\r\n");
    let ours = format!("{bearer}{token}");
    world.wiki.take();
    let answers = [
        world.ask(request("GET", WIKI, "/a", "", &cookies)).await,
        world.ask(request("GET", WIKI, "/a", "", &format!("{cookies}{bearer}"))).await,
        world.ask(request("GET", WIKI, "/a", "", &format!("{cookies}{ours}"))).await,
        world.ask(request("GET", WIKI, "/a", "", &token)).await,
        world.ask(request("GET", WIKI, "/a", "", &format!("{NAVIGATION}{token}"))).await,
        world.ask(request("GET", WIKI, "/a", "", &ours)).await,
        world.ask(request("GET", WIKI, "/a", "", &format!("{NAVIGATION}{ours}"))).await,
        world.ask(request("GET", WIKI, "/x/../a", "", &format!("{cookies}{ours}"))).await,
        world.ask(request("GET", PAYROLL, "/.countersign/nothing", "", &format!("{cookies}{ours}"))).await,
        world.ask(request("DELETE", PAYROLL, "/a", &alice.cookies(PAYROLL), &ours)).await,
        world.ask(request("GET", AUTH, &format!("/login?x={CANARY}-6"), "", &format!("{cookies}{ours}"))).await,
        world.ask(request("GET", AUTH, &format!("/.countersign/handoff?code={CANARY}-7"), "", &cookies)).await,
    ];
    for asked in world.wiki.take() {
        assert_eq!(asked.all("cookie"), ["theme=dark; lang=\"a b\"; a=b=c"], "{asked:?}");
        assert!(asked.all("authorization").is_empty(), "{asked:?}");
    }
    // The app's own token is the app's.
    let basic = "Authorization: Bearer of-the-app\r\n";
    assert_eq!(world.ask(request("GET", WIKI, "/a", &alice.cookies(WIKI), basic)).await.status, 200);
    assert_eq!(world.wiki.take()[0].all("authorization"), ["Bearer of-the-app"]);

    secrets.push(CANARY.to_owned());
    secrets.sort_unstable();
    secrets.dedup();
    let (apps, on_disk) = (world.seen_by_apps(), world.record_on_disk());
    assert!(find(&apps, b"theme=dark").is_some(), "the app saw something");
    assert!(find(&on_disk, b"access_id").is_some() || find(&on_disk, b"/a").is_some(), "the record holds something");
    let told = format!("{:?}", world.records(&[("limit", "1000".to_owned())]).await);
    for secret in &secrets {
        let wanted = secret.as_bytes();
        assert!(find(&apps, wanted).is_none(), "an app saw {secret}");
        assert!(find(&on_disk, wanted).is_none(), "the record on disk holds {secret}");
        assert!(!told.contains(secret), "the record tells {secret}");
        for answer in &answers {
            // What an app echoes is the app's; it was checked above.
            assert!(find(&answer.body, wanted).is_none(), "an answer shows {secret}: {answer:?}");
        }
    }
    println!("ATK-29: {} secrets and canaries in no app, record or page", secrets.len());
}

/// Everything any server of this process has logged since the first call.
fn process_log() -> Vec<u8> {
    static LOG: std::sync::OnceLock<std::sync::Arc<std::sync::Mutex<Vec<u8>>>> = std::sync::OnceLock::new();
    struct Writer(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = LOG.get_or_init(|| {
        let log = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(move || Writer(writer.clone()))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    });
    log.lock().unwrap().clone()
}

/// A canary nobody else has, and which the eye finds: digits that stand for the position.
fn canary(position: usize) -> String {
    format!("kanarie{position:02}x7e1f")
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_29_twenty_secrets_in_every_position_of_a_request_reach_no_record_log_or_page() {
    process_log();
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    let cookies = alice.cookies(WIKI);
    let c: Vec<String> = (0..20).map(canary).collect();
    let headers = format!(
        "Authorization: Bearer {}\r\nProxy-Authorization: Basic {}\r\nX-Api-Key: {}\r\nReferer: https://x/?t={}\r\n\
         If-None-Match: \"{}\"\r\nX-Forwarded-For: {}\r\nX-Csrf-Token: {}\r\nX-Countersign-Authorization: Bearer {}\r\n\
         Traceparent: {}\r\nTracestate: a={}\r\n",
        c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]
    );
    let mixed = format!("{cookies}; own={}; __Host-countersignY={}", c[10], c[11]);
    let json = format!("{{\"password\":\"{}\"}}", c[12]);
    let form = format!("password={}&x=1", c[13]);
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", c[14].len(), c[14]);
    let with = |kind: &str, body: &str| format!("{headers}Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    let origin = format!("Origin: https://{WIKI}\r\n");
    let mut answers = Vec::new();
    for cookie in [mixed.as_str(), "", &format!("own={}", c[10])] {
        for (method, target, more, body) in [
            ("GET", format!("/a?token={}&{}=1", c[15], "n"), headers.clone(), String::new()),
            ("GET", format!("/reset/{}", c[16]), headers.clone(), String::new()),
            ("GET", format!("/a?q={}", c[15]), format!("{headers}{NAVIGATION}"), String::new()),
            ("POST", "/a".to_owned(), format!("{origin}{}", with("application/json", &json)), json.clone()),
            (
                "POST",
                "/a".to_owned(),
                format!("{origin}{}", with("application/x-www-form-urlencoded", &form)),
                form.clone(),
            ),
            ("POST", "/a".to_owned(), format!("{origin}{headers}Transfer-Encoding: chunked\r\n"), chunked.clone()),
            // Refused by the gate, with the canary in the bytes it refuses.
            ("GET", "/a".to_owned(), format!("X-A : {}\r\n", c[17]), String::new()),
            ("GET", format!("/%zz{}", c[18]), String::new(), String::new()),
        ] {
            let bytes = format!("{}{body}", request(method, WIKI, &target, cookie, &more));
            answers.push(world.ask(bytes).await);
        }
    }
    // What the app says back is the app's, and only of what it was meant to see.
    for host in [AUTH, PAYROLL] {
        answers.push(world.ask(request("GET", host, &format!("/login?code={}", c[15]), &mixed, &headers)).await);
    }
    // A frame of a WebSocket.
    let mut wire = world.wire().await;
    wire.send(crate::harness::stream::upgrade("/live?who=alice", &cookies, &origin)).await;
    assert_eq!(wire.head().await.status, 101);
    let text = c[19].as_bytes();
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text);
    wire.send(frame).await;
    drop(wire);
    // Secrets of our own.
    let own = world.own_secrets();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (on_disk, log) = (world.record_on_disk(), process_log());
    let told = format!("{:?}", world.records(&[("limit", "1000".to_owned())]).await);
    assert!(find(&on_disk, b"reset/***").is_some(), "the record holds what was asked");
    assert!(find(&log, b"audit log is open").is_some() || !log.is_empty(), "the process log holds something");
    for secret in c.iter().map(String::as_str).chain(own.iter().map(String::as_str)) {
        let wanted = secret.as_bytes();
        assert!(find(&on_disk, wanted).is_none(), "the record on disk holds {secret}");
        assert!(!told.contains(secret), "the record tells {secret}");
        assert!(find(&log, wanted).is_none(), "the process log holds {secret}: {}", around(&log, wanted));
        for answer in answers.iter().filter(|answer| answer.status >= 300) {
            let is_redirect = answer.header("location").is_some_and(|location| location.contains(secret));
            assert!(find(&answer.body, wanted).is_none(), "an answer shows {secret}: {answer:?}");
            assert!(!is_redirect, "a redirect shows {secret}: {answer:?}");
        }
    }
    println!("ATK-29: {} canaries in {} requests, in no record, log or page", c.len(), answers.len());
}

fn around(log: &[u8], wanted: &[u8]) -> String {
    let at = find(log, wanted).unwrap_or(0);
    String::from_utf8_lossy(&log[at.saturating_sub(200)..(at + 100).min(log.len())]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_35_refusals_show_attackers_text_as_text_and_no_token() {
    let world = World::open().await;
    let name = "<img src=x onerror=alert(1)>\"'&";
    let mut bob = world.person_called("bob", name, "contractors").await;
    let page = bob.visit(WIKI, "/?q=<script>alert(1)</script>").await;
    // Raw angle brackets in a target are no target; the page that says so repeats nothing.
    assert!(!page.2.text().contains("<script>alert"), "{}", page.2.text());
    let (host, _, denied) = bob.visit(WIKI, "/page?q=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert_eq!((host.as_str(), denied.status), (WIKI, 403), "{}", denied.text());
    let csp = denied.header("content-security-policy").unwrap();
    assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"), "{csp}");
    let mut shown = vec![denied.text()];
    for (method, host, target, more) in [
        ("GET", WIKI, "/%22%3E%3Cscript%3E", NAVIGATION),
        ("POST", WIKI, "/form", NAVIGATION),
        ("GET", PAYROLL, "/", NAVIGATION),
        ("GET", AUTH, "/logout", NAVIGATION),
        ("GET", AUTH, "/", NAVIGATION),
        ("GET", AUTH, "/nowhere/%3Cscript%3E", NAVIGATION),
        ("GET", AUTH, "/setup?code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", NAVIGATION),
        ("GET", AUTH, "/invite/x?code=%22%3E%3Cimg%20src=x%3E", NAVIGATION),
        ("GET", WIKI, "/x", "X-A: <script>\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"),
    ] {
        shown.push(bob.send(method, host, target, more, "").await.text());
    }
    let secrets = bob.secrets();
    for text in &shown {
        for hostile in ["<script>", "<img src=x", "onerror=alert(1)>"] {
            assert!(!text.contains(hostile), "{hostile}: {text}");
        }
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "a page shows a cookie: {text}");
    }
    let sign_out = &shown[4];
    assert!(sign_out.contains("bob@example.org"), "{sign_out}");
    println!("ATK-35: {} pages with hostile names, paths and queries show text", shown.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_35_fetch_gets_json_and_only_listed_origins_may_read_it() {
    let world = World::fresh().await;
    world.apply("  cors: { origins: [\"https://spa.localhost\"] }\n", crate::harness::POLICIES).await;
    let fetch = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/html\r\n";
    for (origin, may_read) in [
        ("https://spa.localhost", true),
        ("https://evil.localhost", false),
        ("https://spa.localhost.evil.localhost", false),
        ("http://spa.localhost", false),
        ("https://spa.localhost:8443", false),
        ("null", false),
        ("<script>", false),
    ] {
        for more in [fetch.to_owned(), "X-Requested-With: XMLHttpRequest\r\nAccept: text/html\r\n".to_owned()] {
            let answer = world.ask(request("GET", WIKI, "/data", "", &format!("Origin: {origin}\r\n{more}"))).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.json()["code"], "login_required");
            assert!(answer.header("location").is_none());
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, may_read.then_some(origin), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-credentials").is_some(), may_read);
            assert_eq!(answer.header("vary"), Some("Origin"), "caches keep origins apart");
            assert!(!String::from_utf8_lossy(&answer.body).contains("<script>"));
            world.records_of(&answer).await;
        }
    }
    println!("ATK-35: fetch gets 401 JSON; of 7 origins the listed one may read it");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_29_a_session_that_ended_by_time_leaves_its_cookie_nowhere() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    let cookie = alice.cookie(WIKI, SESSION).unwrap();
    let before = world.clock.now();
    world.clock.jump(Duration::from_secs(3_601));
    assert!(world.clock.now().since(before) > Duration::from_secs(3_600));
    let answer = alice.fetch(WIKI, "/").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("session_expired")), "idle for an hour");
    assert!(find(&world.record_on_disk(), cookie.as_bytes()).is_none());
    println!("ATK-29: an expired cookie is refused by its own name and written nowhere");
}
