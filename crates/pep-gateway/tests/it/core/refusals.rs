//! How a no sounds to each kind of caller (GW-8, GW-9, GW-16, GW-18; ID-59).

use model::app::Explain;
use model::{Effect, Reason};
use testkit::FakePdp;

use super::world::{ALICE, BOB, CAROL, World, apps, body, header};

const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document";

/// Asks for the wiki without a session, with these headers.
async fn check(method: &str, headers: &str, status: u16, kind: &str) {
    let world = World::new();
    let refusal = world.refused(&format!("{method} /page wiki.localhost:8443\n{headers}")).await;
    assert_eq!(refusal.status().as_u16(), status, "{method} {headers:?}");
    let got = header(&refusal, "content-type").unwrap_or("none");
    assert!(got.starts_with(kind), "{method} {headers:?}: {got}");
    assert_eq!(refusal.headers().contains_key("location"), status == 303, "{method} {headers:?}");
    assert_eq!(header(&refusal, "cache-control"), Some("no-store"), "{method} {headers:?}");
    assert_eq!(world.last_record().decision.reason, Some(Reason::LoginRequired));
}

#[tokio::test]
async fn only_top_level_navigations_are_redirected() {
    let upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: https://wiki.localhost:8443";
    check("GET", NAVIGATION, 303, "none").await;
    check("HEAD", NAVIGATION, 303, "none").await;
    check("POST", NAVIGATION, 401, "text/html").await;
    check("GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe", 401, "text/html").await;
    check("GET", "Sec-Fetch-Mode: cors\nSec-Fetch-Dest: empty\nAccept: text/html", 401, "application/problem+json")
        .await;
    check("GET", "Sec-Fetch-Mode: same-origin\nSec-Fetch-Dest: serviceworker", 401, "application/problem+json").await;
    check("GET", "Sec-Fetch-Mode: navigate\nAccept: text/html", 401, "application/problem+json").await;
    check("GET", "Accept: text/html,*/*;q=0.8", 303, "none").await;
    check("GET", "Accept: text/html\nX-Requested-With: XMLHttpRequest", 401, "application/problem+json").await;
    check("GET", "Accept: text/event-stream", 401, "application/problem+json").await;
    check("GET", "Accept: application/text/html", 401, "application/problem+json").await;
    check("POST", "Accept: text/html", 401, "application/problem+json").await;
    check("GET", "", 401, "application/problem+json").await;
    check("GET", upgrade, 401, "application/problem+json").await;
}

#[tokio::test]
async fn a_401_for_code_says_where_to_sign_in() {
    let world = World::new();
    let refusal = world.refused("GET /page wiki.localhost:8443").await;
    assert_eq!(header(&refusal, "www-authenticate"), Some("Countersign"));
    let problem: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!(problem["type"], "urn:countersign:problem:login_required");
    assert_eq!(problem["code"], "login_required");
    assert_eq!(problem["status"], 401);
    assert_eq!(problem["login_url"], "https://localhost:8443/login?app=wiki");
    assert_eq!(problem["request"], refusal.access_id().to_string());
    assert_eq!(header(&refusal, "x-request-id"), problem["request"].as_str());
    assert_eq!(header(&refusal, "x-countersign-decision"), problem["decision"].as_str());
    assert_eq!(world.last_record().trace_id.as_deref(), problem["trace"].as_str());
}

#[tokio::test]
async fn a_frame_gets_a_page_that_may_be_framed_and_opens_sign_in_on_top() {
    let world = World::new();
    let refusal = world.refused("GET / wiki.localhost:8443\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe").await;
    let policy = header(&refusal, "content-security-policy").unwrap();
    assert!(!policy.contains("frame-ancestors") && policy.contains("default-src 'none'"), "{policy}");
    assert!(body(&refusal).contains("https://localhost:8443/login?app=wiki"), "{}", body(&refusal));
}

#[tokio::test]
async fn atk_35_only_a_listed_origin_can_read_a_401() {
    for (origin, allowed) in [
        ("https://editor.localhost:8443", Some("https://editor.localhost:8443")),
        ("https://editor.localhost:8443.evil.test", None),
        ("https://evil.test", None),
        ("null", None),
    ] {
        let world = World::new();
        let refusal = world.refused(&format!("GET /api wiki.localhost:8443\nOrigin: {origin}")).await;
        assert_eq!(refusal.status().as_u16(), 401, "{origin}");
        assert_eq!(header(&refusal, "access-control-allow-origin"), allowed, "{origin}");
        assert_eq!(header(&refusal, "access-control-allow-credentials").is_some(), allowed.is_some(), "{origin}");
        assert_eq!(header(&refusal, "vary"), Some("Origin"), "{origin}");
    }
}

#[tokio::test]
async fn atk_35_pages_escape_what_an_attacker_sends_and_show_no_token() {
    let mut list = apps();
    list[0].title = "<script>alert(1)</script>".to_owned();
    let world = World::with(list, |directory| super::world::rules(directory.clone()));
    let (_, cookie) = world.sign_in(BOB, "wiki.localhost");
    let refusal = world
        .refused(&format!(
            "GET /%3Cscript%3E?q=%3Cscript%3E wiki.localhost:8443\nCookie: {cookie}\nReferer: \"><script>\n{NAVIGATION}"
        ))
        .await;
    assert_eq!(refusal.status().as_u16(), 403);
    let page = body(&refusal);
    assert!(!page.contains("<script>alert") && page.contains("&#60;script&#62;alert"), "{page}");
    assert!(!page.contains(cookie.split('=').next_back().unwrap()), "{page}");
    assert_eq!(header(&refusal, "content-security-policy"), Some(pages::CSP));
    assert!(page.contains("bob@corp.test") && page.contains(&refusal.access_id().to_string()), "{page}");
}

#[tokio::test]
async fn a_denied_fetch_gets_the_same_verdict_as_json() {
    let world = World::new();
    let (_, cookie) = world.sign_in(BOB, "wiki.localhost");
    let refusal = world.refused(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!(refusal.status().as_u16(), 403);
    let problem: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
    assert_eq!((problem["code"].as_str(), problem["login_url"].as_str()), (Some("denied"), None));
    assert_eq!(world.last_record().decision.reason, Some(Reason::NotPermitted));
    assert_eq!(world.last_record().who.subject_id, Some(BOB));
}

#[tokio::test]
async fn an_app_that_explains_nothing_says_only_no() {
    for (explain, names_app) in [(Explain::None, false), (Explain::Reason, true)] {
        let mut list = apps();
        list[0].explain = explain;
        list[0].title = "Project Tern".to_owned();
        let world = World::with(list, |directory| super::world::rules(directory.clone()));
        let (_, cookie) = world.sign_in(BOB, "wiki.localhost");
        let refusal = world.refused(&format!("GET / wiki.localhost:8443\nCookie: {cookie}\n{NAVIGATION}")).await;
        assert_eq!(body(&refusal).contains("Project Tern"), names_app, "{explain:?}");
        assert_eq!(body(&refusal).contains(Reason::NotPermitted.sentence()), names_app, "{explain:?}");
    }
}

#[tokio::test]
async fn a_step_up_is_told_as_rfc_9470_and_as_a_button() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let code = world.refused(&format!("DELETE /records/7 payroll.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!(code.status().as_u16(), 401);
    let challenge = header(&code, "www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer error=\"insufficient_user_authentication\", error_description=\""),
        "{challenge}"
    );
    assert!(challenge.ends_with("acr_values=\"phr\", max_age=\"300\""), "{challenge}");
    let problem: serde_json::Value = serde_json::from_slice(code.body()).unwrap();
    assert_eq!(problem["code"], "step_up_required");
    assert_eq!(problem["fix"][0]["kind"], "auth");
    assert_eq!(problem["fix"][0]["acr_values"][0], "phr");
    assert_eq!(problem["fix"][0]["max_age"], 300);
    let url = problem["fix"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://localhost:8443/step-up?app=payroll&action=http.delete&demand="), "{url}");
    assert_eq!(problem["explain"], format!("/.countersign/decision/{}", code.access_id()));
    assert_eq!(world.last_record().decision.effect, Some(Effect::StepUp));
    assert_eq!(world.last_record().decision.step_up, [std::sync::Arc::from("passkey")]);

    let page =
        world.refused(&format!("DELETE /records/7 payroll.localhost:8443\nCookie: {cookie}\n{NAVIGATION}")).await;
    assert_eq!(page.status().as_u16(), 403);
    assert!(body(&page).contains("Confirm with your passkey"), "{}", body(&page));
    assert!(
        body(&page).contains("https://localhost:8443/step-up?app=payroll&#38;action=http.delete&#38;demand="),
        "{}",
        body(&page)
    );
}

#[tokio::test]
async fn an_unknown_host_is_421_and_not_repeated() {
    let world = World::new();
    for host in
        ["evil.localhost:8443", "wiki.localhost", "wiki.localhost:9443", "127.0.0.1:8443", "a.wiki.localhost:8443"]
    {
        let refusal = world.refused(&format!("GET / {host}\n{NAVIGATION}")).await;
        assert_eq!(refusal.status().as_u16(), 421, "{host}");
        assert!(!body(&refusal).contains("localhost") && !body(&refusal).contains("127.0.0.1"), "{host}");
        assert_eq!(world.last_record().decision.reason, Some(Reason::UnknownHost), "{host}");
    }
}

#[tokio::test]
async fn a_panic_of_the_engine_is_a_refusal() {
    let world = World::with(apps(), |_| FakePdp::new(|_, _| panic!("a bug in the engine")));
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let refusal = world.refused(&format!("GET / wiki.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::Internal));
    assert_eq!(world.last_record().who.subject_id, Some(ALICE));
}

#[tokio::test]
async fn an_ended_session_says_why() {
    let world = World::new();
    let (id, cookie) = world.sign_in(CAROL, "wiki.localhost");
    let request = format!("GET / wiki.localhost:8443\nCookie: {cookie}");
    world.permitted(&request).await;
    world.clock.advance(model::session::IDLE_DEFAULT);
    assert_eq!(world.refused(&request).await.reason(), Reason::SessionExpired);
    assert!(world.sessions.revoke(id));
    let refusal = world.refused(&request).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, Reason::SessionRevoked));
}

#[tokio::test]
async fn a_missing_route_is_404_for_members_and_a_sign_in_for_strangers() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let put = "PUT /api/x payroll.localhost:8443";
    assert_eq!(world.refused(&format!("{put}\nCookie: {cookie}")).await.status().as_u16(), 404);
    assert_eq!(world.refused(put).await.status().as_u16(), 401);
}

#[tokio::test]
async fn hsts_is_for_app_hosts_and_never_for_names_of_this_machine() {
    let mut list = apps();
    list.push(super::world::app("shop", &["shop.corp.test", "shop.localhost"]));
    let world = World::with(list, |_| FakePdp::allowing());
    for (host, is_sent) in [("shop.corp.test:8443", true), ("shop.localhost:8443", false)] {
        let permit = world.permitted(&format!("GET / {host}")).await;
        let sent = permit.response_headers().iter().any(|(name, _)| name == "strict-transport-security");
        assert_eq!(sent, is_sent, "{host}");
    }
}

/// A decision point whose explanation names the policy that decided.
struct Talkative;

impl model::PolicyDecisionPoint for Talkative {
    fn decide(&self, _: &model::AccessRequest, now: model::Timestamp) -> model::Decision {
        testkit::decision(Effect::Deny, Reason::Forbidden, now)
    }

    fn explain(&self, request: &model::AccessRequest, now: model::Timestamp) -> model::Explanation {
        let part = |id: &str, is_determining| model::decision::PolicyPart {
            id: id.into(),
            set: model::decision::PolicySet::HardForbid,
            declared_at: "house.cedar:1".to_owned(),
            version: String::new(),
            title: Some("No <b>Fridays</b>".to_owned()),
            is_determining,
            failing_conditions: Vec::new(),
            facts: Vec::new(),
            error: None,
        };
        model::Explanation {
            decision: self.decide(request, now),
            failed_stages: Vec::new(),
            policies: vec![part("house/no-friday", true), part("house/nearest", false)],
            unmet: Vec::new(),
            user_text: "Not today.".to_owned(),
        }
    }

    fn ways_in(&self, _: &model::AccessRequest, _: model::Timestamp) -> Vec<Vec<model::Fix>> {
        Vec::new()
    }
}

#[tokio::test]
async fn policy_names_are_for_administrators_of_apps_that_explain_in_full() {
    for (explain, user, shows_policy) in [
        (Explain::Full, CAROL, true),
        (Explain::Full, ALICE, false),
        (Explain::Reason, CAROL, false),
        (Explain::None, CAROL, false),
    ] {
        let mut list = apps();
        list[0].explain = explain;
        let world = World::with(list, |_| FakePdp::refusing());
        let old = world.gateway.snapshot();
        let (apps, directory) = (old.apps.clone(), old.directory.clone());
        world.gateway.publish(pep_gateway::GatewaySnapshot::new(2, apps, std::sync::Arc::new(Talkative), directory));
        let (_, cookie) = world.sign_in(user, "wiki.localhost");
        let page = body(&world.refused(&format!("GET / wiki.localhost:8443\nCookie: {cookie}\n{NAVIGATION}")).await);
        assert_eq!(page.contains("house/no-friday"), shows_policy, "{explain:?} {user}");
        assert_eq!(page.contains("No &#60;b&#62;Fridays&#60;/b&#62;"), shows_policy, "{explain:?} {user}: {page}");
        assert!(!page.contains("house/nearest"), "{explain:?} {user}");
    }
}
