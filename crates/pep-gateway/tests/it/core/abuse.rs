//! Attacks on the way to a verdict, each named as in

use std::collections::BTreeSet;

use http_gate::{GateCode, GateRefusal};
use model::session::StepUp;
use model::{Action, AppName, Clock, Effect, Reason, RouteName};
use pep_gateway::Outcome;
use testkit::FakePdp;

use super::world::{ALICE, CAROL, World, app, apps, body, connection, header, route, rules};

#[tokio::test]
async fn atk_13_a_path_with_two_readings_is_refused_before_any_rule_sees_it() {
    let world = World::new();
    let (_, cookie) = world.sign_in(CAROL, "wiki.localhost");
    for path in
        ["/x/../admin", "/./admin", "/%2e%2e%2fadmin", "/a%2Fb", "/a%5Cb", "/a%252eb", "/a;x", "/a%00b", "//admin"]
    {
        let refusal = world.refused(&format!("GET {path} wiki.localhost:8443\nCookie: {cookie}")).await;
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (400, Reason::Gate), "{path}");
        assert!(refusal.closes_connection(), "{path}");
        assert!(!body(&refusal).contains("admin"), "{path}");
        let record = world.last_record();
        assert_eq!(record.kind, model::record::RecordType::GateRefused, "{path}");
        assert!(record.decision.reason_text.unwrap().starts_with("gate_"), "{path}");
    }
}

#[tokio::test]
async fn atk_14_a_leading_double_slash_never_becomes_an_authority() {
    let mut list = apps();
    list[0].path.allow.insert(model::app::PathOpening::EmptySegment);
    let world = World::with(list, |directory| rules(directory.clone()));
    let navigation = "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document";
    let refusal = world.refused(&format!("GET //evil.test/x wiki.localhost:8443\n{navigation}")).await;
    let location = header(&refusal, "location").unwrap();
    assert!(location.starts_with("https://localhost:8443/login?app=wiki&rt="), "{location}");
    let rt = location.split("rt=").nth(1).unwrap();
    let ticket = pki::return_ticket::ReturnTicket::open(rt, &world.sealer, world.clock.now()).unwrap();
    assert_eq!(ticket.target, pki::return_ticket::ReturnTarget::Inline("/".to_owned()));
}

#[tokio::test]
async fn atk_15_a_number_sign_never_shortens_what_the_rule_sees() {
    let world = World::new();
    for target in ["/favicon.ico%23", "/favicon.ico%23/x", "/admin%23/favicon.ico", "/%23/favicon.ico"] {
        assert_eq!(world.refused(&format!("GET {target} wiki.localhost:8443")).await.reason(), Reason::LoginRequired);
        assert_eq!(world.last_record().what.url_path.as_deref(), Some(target));
    }
    let raw_sign = world.refused("GET /favicon.ico#/admin wiki.localhost:8443").await;
    assert_eq!((raw_sign.status().as_u16(), raw_sign.reason()), (400, Reason::Gate));
}

#[tokio::test]
async fn atk_16_query_text_never_satisfies_a_public_path() {
    let world = World::new();
    for (target, is_public) in [
        ("/favicon.ico", true),
        ("/favicon.ico?x=1", true),
        ("/admin?/favicon.ico", false),
        ("/?path=/favicon.ico", false),
        ("/favicon.ico/", false),
        ("/favicon.ico/x", false),
        ("/Favicon.ico", false),
        ("/favicon.icon", false),
    ] {
        let outcome = world.ask(&format!("GET {target} wiki.localhost:8443")).await;
        assert_eq!(matches!(outcome, Outcome::Forward(_)), is_public, "{target}");
    }
    let post = world.refused("POST /favicon.ico wiki.localhost:8443").await;
    assert_eq!(post.reason(), Reason::LoginRequired);
}

#[tokio::test]
async fn a_public_path_carries_no_identity_and_is_recorded_as_public() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world.permitted(&format!("GET /favicon.ico wiki.localhost:8443\nCookie: {cookie}; theme=dark")).await;
    assert!(permit.upstream_headers().iter().all(|(name, _)| name != "x-countersign-assertion"));
    assert_eq!(permit.request().fields().single("cookie").unwrap(), "theme=dark");
    assert_eq!(world.last_record().decision.reason, Some(Reason::AllowPublic));
}

#[tokio::test]
async fn atk_17_the_decision_holds_for_the_rewritten_path() {
    let world = World::with(apps(), |_| {
        FakePdp::new(|question, now| {
            let facts = &question.facts.request;
            let is_admin = facts.path.starts_with("/admin");
            assert_eq!(facts.original_path, format!("/api{}", facts.path));
            let (effect, reason) = match is_admin {
                true => (Effect::Deny, Reason::Forbidden),
                false => (Effect::Allow, Reason::Allow),
            };
            testkit::decision(effect, reason, now)
        })
    });
    let (_, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let ask = |path| format!("GET {path} payroll.localhost:8443\nCookie: {cookie}");
    let permit = world.permitted(&ask("/api/records?x=1")).await;
    assert_eq!(permit.request().target(), "/records?x=1");
    assert_eq!(world.last_record().what.url_path.as_deref(), Some("/records"));
    assert_eq!(world.refused(&ask("/api/admin")).await.reason(), Reason::Forbidden);
    assert_eq!(world.refused(&ask("/api//admin")).await.reason(), Reason::Gate);
}

#[tokio::test]
async fn atk_17_a_rewrite_that_leaves_the_normal_form_is_refused() {
    let mut list = apps();
    list[0].path.allow.insert(model::app::PathOpening::EmptySegment);
    list[0].routes[0].rewrite = Some(model::app::Rewrite::StripPrefix("/a".to_owned()));
    let world = World::with(list, |directory| rules(directory.clone()));
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let refusal = world.refused(&format!("GET /a//evil.test wiki.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (400, Reason::Gate));
    assert!(world.last_record().decision.reason_text.unwrap().starts_with("gate_path_rewrite"));
}

#[tokio::test]
async fn atk_18_every_spelling_of_a_host_meets_the_same_rule() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    for host in ["wiki.localhost:8443", "WIKI.LocalHost:8443", "wiki.localhost.:8443"] {
        let permit = world.permitted(&format!("GET /page {host}\nCookie: {cookie}")).await;
        assert_eq!(permit.upstream_authority(), "wiki.localhost:8443", "{host}");
        assert_eq!(world.refused(&format!("GET /page {host}")).await.reason(), Reason::LoginRequired, "{host}");
    }
}

#[tokio::test]
async fn a_sibling_app_with_a_longer_prefix_is_judged_by_its_own_rule() {
    let mut admin = app("wiki-admin", &["wiki.localhost"]);
    admin.routes = vec![route("admin", "/admin")];
    let mut list = apps();
    list.push(admin);
    let world = World::with(list, |directory| rules(directory.clone()));
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    for (path, app) in [("/", "wiki"), ("/administrator", "wiki"), ("/adminx/admin", "wiki")] {
        let permit = world.permitted(&format!("GET {path} wiki.localhost:8443\nCookie: {cookie}")).await;
        assert_eq!(permit.app().name.as_str(), app, "{path}");
    }
    for path in ["/admin", "/admin/", "/admin/x", "/%61dmin"] {
        world.refused(&format!("GET {path} wiki.localhost:8443\nCookie: {cookie}")).await;
        assert_eq!(world.last_record().what.resource.as_deref(), Some("wiki-admin/admin"), "{path}");
    }
}

#[tokio::test]
async fn atk_21_identity_headers_of_the_client_are_gone() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world
        .permitted(&format!(
            "GET / wiki.localhost:8443\nCookie: {cookie}\nX-Countersign-Assertion: forged\nX-Forwarded-For: 10.0.0.1\n\
             X-Forwarded-Host: evil.test\nX-Forwarded-Proto: http\nForwarded: for=10.0.0.1\nX-Real-IP: 10.0.0.1\n\
             X-Original-URL: /admin\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\
             X-Request-Id: mine\nX-Custom: stays"
        ))
        .await;
    let names: BTreeSet<&str> = permit.request().fields().iter().map(|field| field.name()).collect();
    assert!(names.contains("x-custom"), "{names:?}");
    let is_owned = |name: &str| name.starts_with("x-countersign") || name.contains("forwarded") || name == "x-real-ip";
    assert!(!names.iter().any(|name| is_owned(name) || *name == "x-original-url"), "{names:?}");
    let ours = |name: &str| {
        let mut values = permit.upstream_headers().iter().filter(|(of, _)| of == name);
        let value = values.next().map(|(_, value)| value.to_str().unwrap().to_owned());
        assert!(values.next().is_none(), "{name} twice");
        value
    };
    assert_eq!(ours("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    assert_eq!(ours("x-forwarded-host").as_deref(), Some("wiki.localhost:8443"));
    assert_eq!(ours("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(ours("x-request-id"), Some(permit.access_id().to_string()));
    let record = world.last_record();
    assert_eq!(record.client_trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_ne!(record.trace_id, record.client_trace_id);
}

#[tokio::test]
async fn atk_28_a_spoofed_scheme_flips_neither_cookie_nor_redirect() {
    let world = World::new();
    let refusal = world
        .refused("GET / wiki.localhost:8443\nX-Forwarded-Proto: http\nForwarded: proto=http\nAccept: text/html")
        .await;
    assert!(header(&refusal, "location").unwrap().starts_with("https://localhost:8443/login?"));
    let cookie = header(&refusal, "set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-countersign-login="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn atk_29_our_credentials_reach_neither_upstream_nor_record_nor_page() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let secret = cookie.split_once('=').unwrap().1;
    let bearer = "eyJhbGciOiJFUzI1NiJ9.canary.canary";
    let permit = world
        .permitted(&format!(
            "GET /p?token={secret} wiki.localhost:8443\nCookie: a=1; {cookie}; b=2\nAuthorization: Countersign {bearer}"
        ))
        .await;
    let token = "X-Countersign-Client-Id: canary\nX-Countersign-Client-Secret: csk_canary";
    for more in [format!("{token}\nCookie: {cookie}"), token.to_owned()] {
        let refusal = world.refused(&format!("GET /p wiki.localhost:8443\n{more}")).await;
        let shown = format!("{} {:?}", String::from_utf8_lossy(refusal.body()), refusal.headers());
        assert!(!shown.contains("canary") && !shown.contains(secret), "{shown}");
    }
    for field in permit.request().fields() {
        let value = String::from_utf8_lossy(field.value());
        assert!(!value.contains(secret) && !value.contains("canary"), "{}", field.name());
    }
    drop(permit);
    world.gateway.finish_records().await;
    let printed = format!("{:?}", world.recorder.records());
    assert!(printed.contains("token"), "the name of the parameter stays");
    assert!(!printed.contains(secret) && !printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn atk_33_a_planted_session_id_is_never_adopted() {
    let world = World::new();
    let planted = format!("__Host-countersign={}", "P".repeat(43));
    let request = format!("GET / wiki.localhost:8443\nCookie: {planted}\nAccept: text/html");
    let refusal = world.refused(&request).await;
    assert_eq!(refusal.status().as_u16(), 303);
    assert!(header(&refusal, "set-cookie").unwrap().starts_with("__Host-countersign-login="));
    world.sign_in(ALICE, "wiki.localhost");
    assert_eq!(
        world.refused(&request).await.reason(),
        Reason::LoginRequired,
        "somebody signed in, the id still is nobody's"
    );
}

#[tokio::test]
async fn atk_44_a_websocket_of_a_foreign_origin_is_refused() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (origin, is_open) in [
        ("Origin: https://wiki.localhost:8443", true),
        ("Origin: https://editor.localhost:8443", true),
        ("Origin: https://evil.test", false),
        ("Origin: http://wiki.localhost:8443", false),
        ("Origin: https://wiki.localhost", false),
        ("Origin: https://wiki.localhost:8443.evil.test", false),
        ("Origin: null", false),
        ("", false),
    ] {
        let request = format!("GET /live wiki.localhost:8443\nCookie: {cookie}\n{upgrade}\n{origin}");
        if is_open {
            assert!(world.permitted(&request).await.is_websocket(), "{origin}");
            continue;
        }
        let refusal = world.refused(&request).await;
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, Reason::OriginRefused), "{origin}");
        assert!(body(&refusal).contains("origin_refused"), "{origin}");
    }
}

#[tokio::test]
async fn cross_site_writes_are_refused_where_the_app_says_so() {
    let world = World::new();
    let (_, wiki) = world.sign_in(ALICE, "wiki.localhost");
    let (_, payroll) = world.sign_in(ALICE, "payroll.localhost");
    let check = async |app: &str, cookie: &str, method: &str, headers: &str, is_refused: bool| {
        let outcome = world.ask(&format!("{method} / {app}.localhost:8443\nCookie: {cookie}\n{headers}")).await;
        assert_eq!(matches!(outcome, Outcome::Refuse(_)), is_refused, "{app} {method} {headers:?}");
    };
    let foreign = "Origin: https://evil.test\nSec-Fetch-Site: cross-site";
    check("wiki", &wiki, "POST", foreign, false).await;
    check("payroll", &payroll, "POST", foreign, true).await;
    check("payroll", &payroll, "POST", "Origin: https://evil.test", true).await;
    check("payroll", &payroll, "POST", "Sec-Fetch-Site: cross-site", true).await;
    check("payroll", &payroll, "POST", "Origin: null", true).await;
    check("payroll", &payroll, "GET", foreign, false).await;
    check("payroll", &payroll, "POST", "Origin: https://payroll.localhost:8443\nSec-Fetch-Site: same-origin", false)
        .await;
    check("payroll", &payroll, "POST", "", false).await;
}

#[tokio::test]
async fn a_write_to_our_own_endpoints_needs_our_own_origin() {
    let world = World::new();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    for (headers, is_refused) in [
        ("Origin: https://wiki.localhost:8443", false),
        ("Origin: https://editor.localhost:8443\nSec-Fetch-Site: same-site", true),
        ("Sec-Fetch-Site: same-site", true),
        ("Origin: https://evil.test", true),
    ] {
        let request = format!("POST /.countersign/logout wiki.localhost:8443\nCookie: {cookie}\n{headers}");
        assert_eq!(matches!(world.ask(&request).await, Outcome::Refuse(_)), is_refused, "{headers}");
    }
}

#[tokio::test]
async fn atk_48_a_cookie_of_another_app_doubled_or_cut_counts_as_absent() {
    let world = World::new();
    let (_, wiki) = world.sign_in(ALICE, "wiki.localhost");
    let (_, payroll) = world.sign_in(ALICE, "payroll.localhost");
    world.permitted(&format!("GET / payroll.localhost:8443\nCookie: {payroll}")).await;
    let cut: String = payroll.chars().take(payroll.len() - 1).collect();
    for (name, cookies, note) in [
        ("of another app", wiki.clone(), "not known on this host"),
        ("doubled", format!("{payroll}; {payroll}"), "twice or damaged"),
        ("tossed from a sibling", format!("{payroll}; {wiki}"), "twice or damaged"),
        ("cut short", cut, "twice or damaged"),
        ("invented", format!("__Host-countersign={}", "x".repeat(43)), "not known on this host"),
    ] {
        let refusal = world.refused(&format!("GET / payroll.localhost:8443\nCookie: {cookies}")).await;
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, Reason::LoginRequired), "{name}");
        let text = world.last_record().decision.reason_text.expect("a note in the record");
        assert!(text.contains(note), "{name}: {text}");
        assert!(!text.contains(payroll.split_once('=').unwrap().1), "{name}");
    }
}

#[tokio::test]
async fn atk_50_a_step_up_for_one_action_is_not_usable_for_another() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "payroll.localhost");
    let (other, other_cookie) = world.sign_in(CAROL, "payroll.localhost");
    assert_ne!(id, other);
    let delete = |cookie: &str| format!("DELETE /records/7 payroll.localhost:8443\nCookie: {cookie}");
    let step_up = |app: &str, action| StepUp { app: AppName::new(app), action, at: world.clock.now(), fix: Vec::new() };
    world.sessions.step_up(id, step_up("payroll", Action::HttpPut), None);
    world.sessions.step_up(id, step_up("wiki", Action::HttpDelete), None);
    assert_eq!(world.refused(&delete(&cookie)).await.reason(), Reason::StepUpRequired);
    world.sessions.step_up(id, step_up("payroll", Action::HttpDelete), None);
    world.permitted(&delete(&cookie)).await;
    assert_eq!(world.refused(&delete(&other_cookie)).await.reason(), Reason::StepUpRequired);
    world.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(world.refused(&delete(&cookie)).await.reason(), Reason::StepUpRequired);
}

#[tokio::test]
async fn atk_53_no_endpoint_of_ours_but_the_listed_ones() {
    let world = World::new();
    let (_, cookie) = world.sign_in(CAROL, "wiki.localhost");
    for path in [
        "/.countersign/",
        "/.countersign",
        "/.countersign/metrics",
        "/.countersign/admin",
        "/.countersign/session/x",
        "/.countersign/assets/",
        "/.countersign/assets/a/b",
        "/.COUNTERSIGN/session",
        "/.Countersign/debug/pprof",
    ] {
        let refusal = world.refused(&format!("GET {path} wiki.localhost:8443\nCookie: {cookie}")).await;
        assert_eq!(refusal.status().as_u16(), 404, "{path}");
    }
    for path in ["/metrics", "/livez", "/debug/pprof"] {
        let permit = world.permitted(&format!("GET {path} wiki.localhost:8443\nCookie: {cookie}")).await;
        assert_eq!(permit.request().path(), path, "the app's own path");
        assert_eq!(world.refused(&format!("GET {path} wiki.localhost:8443")).await.reason(), Reason::LoginRequired);
    }
    assert!(world.reserved.calls().is_empty());
}

#[tokio::test]
async fn a_listed_endpoint_of_ours_is_decided_recorded_and_answered_in_process() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let request = format!(
        "GET /.countersign/session?x=1 wiki.localhost:8443\nCookie: {cookie}; other=1\nX-Forwarded-For: 1.2.3.4"
    );
    let Outcome::Reserved(call) = world.ask(&request).await else { panic!("not answered in process") };
    let record = world.last_record();
    assert_eq!((record.what.resource.as_deref(), record.what.action), (Some("countersign"), Some("portal.signin")));
    assert_eq!(record.decision.effect, Some(Effect::Allow));
    assert_eq!(call.max_body_bytes(), 64 * 1024);
    let response = call.answer(bytes::Bytes::new()).await;
    assert_eq!(response.headers()["x-request-id"].to_str().unwrap(), record.access_id.to_string());
    assert_eq!(world.reserved.calls(), ["GET https://wiki.localhost:8443/.countersign/session?x=1"]);
    let context = world.reserved.contexts().pop().unwrap();
    assert_eq!(context.app, Some(AppName::new("wiki")));
    assert_eq!(context.session.unwrap().id, id);
    world.gateway.finish_records().await;
    assert_eq!(world.last_record().completion.status, Some(200));
}

#[tokio::test]
async fn the_auth_host_is_decided_like_any_app() {
    let world = World::new();
    let Outcome::Reserved(call) = world.ask("GET /login?app=wiki localhost:8443").await else {
        panic!("sign-in is closed")
    };
    assert_eq!(call.context().app, None);
    assert_eq!(world.last_record().what.resource.as_deref(), Some("countersign/login"));
    let (_, alice) = world.sign_in(ALICE, "localhost");
    let (_, carol) = world.sign_in(CAROL, "localhost");
    let post = |cookie: &str| format!("POST /api/v1/users localhost:8443\nCookie: {cookie}");
    assert_eq!(world.refused(&post(&alice)).await.status().as_u16(), 403);
    assert_eq!(world.refused("POST /api/v1/users localhost:8443").await.status().as_u16(), 401);
    let Outcome::Reserved(_call) = world.ask(&post(&carol)).await else { panic!("an administrator is kept out") };
    assert_eq!(world.recorder.durabilities().pop(), Some(model::seams::Durability::Strict));
    assert_eq!(world.last_record().what.route, Some(RouteName::new("api").as_str().into()));
}

#[tokio::test]
async fn bytes_that_never_became_a_request_are_recorded_too() {
    let world = World::new();
    let gate = GateRefusal::new(GateCode::BareLf, 17);
    let refusal = world.gateway.refuse_gate(&gate, &connection()).await;
    assert_eq!(refusal.status().as_u16(), 400);
    let record = world.last_record();
    assert_eq!(record.decision.reason_text.as_deref(), Some("gate_bare_lf at byte 17"));
    assert_eq!(record.access_id, refusal.access_id());
    assert_eq!(record.from.src_net.as_deref(), Some("192.0.2.0/24"));
}
