//! What is kept of an access, column by column, and the ids it is found by (GW-34, GW-82, AUD-6, AUD-8; R-2).

use std::sync::Arc;
use std::time::Duration;

use model::decision::{DeterminingPolicy, Pins, PolicySet};
use model::record::{AuditRecord, ChangeColumns, CompletionColumns, EndCause, PinColumns, RecordType, SubjectKind};
use model::record::{CredentialColumns, DecisionColumns, FromColumns, WhatColumns, WhoColumns};
use model::{Clock, Decision, Effect, Reason};
use pki::AssertionClaims;
use pki::jose::VerifyingKeys;
use testkit::FakePdp;

use super::support::{Answer, Running, Scripted, VISITOR, WIKI, nobody, request, soon, wiki_apps};
use crate::core::world::{ALICE, AUTH_URL, BOB, World};

const CLIENT_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A door whose policies have names.
async fn door(app: &Scripted) -> Running {
    let world = World::with(wiki_apps(&[app.address]), |_| {
        FakePdp::new(|_, now| {
            let plain = testkit::decision(Effect::Allow, Reason::Allow, now);
            Decision {
                policies: vec![DeterminingPolicy { id: Arc::from("wiki/readers"), set: PolicySet::Permit }],
                would: vec![Arc::from("shadow")],
                pins: Pins { entities_version: 9, ..plain.pins },
                ..plain
            }
        })
    });
    Running::over(world, |_| ()).await
}

/// Every column is named here, so that a new one has to say where it comes from.
#[tokio::test]
async fn every_column_that_has_a_source_is_filled() {
    let mut app = Scripted::echo().await;
    let target = app.address;
    let door = door(&app).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let more =
        format!("User-Agent: Agent/1\r\ntraceparent: 00-{CLIENT_TRACE}-b7ad6b7169203331-01\r\nContent-Length: 5\r\n");
    let mut client = door.client().await;
    client.send(request("POST", "/page/one?year=2026&token=secret", &cookie, &more) + "hello").await;
    let answer = client.answer().await;
    let asked = app.next().await;
    let token = asked.all("x-countersign-assertion")[0].to_owned();
    let now = door.world.clock.now();
    let keys = VerifyingKeys::from_jwks(&door.world.keys.load().jwks(now)).unwrap();
    let assertion = AssertionClaims::verify(&token, &keys, AUTH_URL, "wiki", now).unwrap();

    let AuditRecord {
        kind,
        access_id,
        time,
        door: room,
        listener,
        trace_id,
        span_id,
        client_trace_id,
        count,
        between,
        who,
        credential,
        what,
        from,
        decision,
        pins,
        completion,
        change,
    } = door.record(RecordType::AccessDecision).await;
    assert_eq!((kind, room, listener.as_deref()), (RecordType::AccessDecision, "http", Some("127.0.0.1:8443")));
    assert_eq!(Some(&*access_id.to_string()), answer.header("x-request-id"));
    assert_eq!((time, count, between), (now, None, None), "it stands for itself");
    assert_eq!(client_trace_id.as_deref(), Some(CLIENT_TRACE));
    assert_eq!(trace_id.as_deref(), Some(&*assertion.trace));
    let parent = format!("00-{}-{}-01", trace_id.as_deref().unwrap(), span_id.as_deref().unwrap());
    assert_eq!(asked.all("traceparent"), [parent]);

    let WhoColumns { subject_id, subject_kind, subject, subject_name, subject_email, idp, session_id } = who;
    assert_eq!((subject_id, subject_kind, session_id), (Some(ALICE), Some(SubjectKind::Person), Some(session)));
    assert_eq!((subject_name.as_deref(), subject_email.as_deref()), (Some("Alice"), Some("alice@corp.test")));
    assert_eq!((idp.as_deref(), subject), (Some("local"), None), "`subject` is for workloads");

    let CredentialColumns { kind, id, acr, amr, auth_time } = credential;
    assert_eq!((kind, id.as_deref(), acr.as_deref()), (Some("passkey"), Some("00000000"), Some("phr")));
    assert_eq!((amr, auth_time), (vec!["hwk".into(), "user".into()], Some(now)));

    let WhatColumns { app, resource, resource_type, action, method, route, host, url_path, url_query, label } = what;
    assert_eq!((app.as_deref(), resource.as_deref(), resource_type), (Some("wiki"), Some("wiki/web"), Some("Route")));
    assert_eq!((action, method.as_deref(), route.as_deref()), (Some("http.post"), Some("POST"), Some("web")));
    assert_eq!((host.as_deref(), url_path.as_deref()), (Some(WIKI), Some("/page/one")));
    assert_eq!((url_query.as_deref(), label.as_deref()), (Some("year&token"), Some("internal")));

    let FromColumns { src_ip, src_port, src_net, user_agent, tls_version, tls_group, sni, alpn, http_version } = from;
    assert_eq!((src_ip, src_net.as_deref()), (Some("127.0.0.1".parse().unwrap()), Some("127.0.0.0/24")));
    assert_eq!(src_port, Some(client.stream.get_ref().0.local_addr().unwrap().port()));
    assert_eq!((user_agent.as_deref(), tls_version), (Some("Agent/1"), Some("1.3")));
    assert_eq!((tls_group.as_deref(), sni.as_deref()), (Some("X25519MLKEM768"), Some(WIKI)));
    assert_eq!((alpn.as_deref(), http_version), (Some("http/1.1"), Some("1.1")));

    let DecisionColumns {
        decision_id,
        effect,
        reason,
        reason_text,
        policies,
        would,
        step_up,
        valid_until,
        cached,
        degraded,
    } = decision;
    let decision_id = decision_id.unwrap().to_string();
    assert_eq!(Some(&*decision_id), answer.header("x-countersign-decision"));
    assert_eq!(asked.all("x-countersign-decision"), [decision_id.as_str()]);
    assert_eq!(assertion.dec, decision_id);
    assert_eq!((effect, reason, reason_text), (Some(Effect::Allow), Some(Reason::Allow), None));
    assert_eq!((policies, would), (vec!["wiki/readers".into()], vec!["shadow".into()]));
    assert_eq!(valid_until, Some(now + Duration::from_secs(3600)));
    assert_eq!((step_up, cached, degraded), (vec![], Some(false), vec![]));

    let PinColumns {
        policy_set_hash,
        schema_hash,
        entities_version,
        entity_slice,
        context,
        engine_version,
        config_version,
        eval_ns,
    } = pins;
    assert_eq!(policy_set_hash.map(|hash| hash.to_string()), Some(assertion.pol));
    assert_eq!((schema_hash.is_some(), entity_slice.is_some(), context.is_some()), (true, true, true));
    assert_eq!((entities_version, config_version, engine_version), (Some(9), Some(1), Some("fake")));
    assert!(eval_ns.is_some());
    assert_eq!((completion, change), (CompletionColumns::default(), ChangeColumns::default()), "it has only begun");

    let end = door.completion().await;
    assert_eq!((end.access_id, end.decision.decision_id.unwrap().to_string()), (access_id, decision_id));
    let CompletionColumns {
        status,
        bytes_in,
        bytes_out,
        duration_ns,
        end_cause,
        upstream,
        upstream_connect_ns,
        upstream_first_byte_ns,
        assertion_jti,
    } = end.completion;
    assert_eq!((status, end_cause), (Some(200), Some(EndCause::Closed)));
    assert_eq!((bytes_in, bytes_out), (Some(5), Some(answer.body.len() as u64)));
    assert!(duration_ns.is_some());
    assert_eq!(upstream.as_deref(), Some(&*format!("http://{target}")));
    assert!(upstream_connect_ns.is_some_and(|took| took > 0) && upstream_first_byte_ns.is_some_and(|took| took > 0));
    assert_eq!(assertion_jti.as_deref(), Some(&*assertion.jti));
    // What joins and finds it is repeated; what is sealed or large is not.
    assert_eq!((end.trace_id, end.span_id, end.listener), (trace_id, span_id, listener));
    assert_eq!((end.who.subject_id, end.who.session_id, end.what.route), (Some(ALICE), Some(session), route));
    assert_eq!((end.who.subject_email, end.from.src_ip, end.what.url_query), (None, None, None));
}

#[tokio::test]
async fn a_connection_that_was_used_before_took_no_time_to_open() {
    let app = Scripted::echo().await;
    let door = door(&app).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/", &cookie).await.status, 200);
    }
    let ends = soon(async {
        loop {
            let ends = door.world.recorder.of_type(RecordType::AccessCompletion);
            if ends.len() == 2 {
                return ends;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let times = |end: &AuditRecord| {
        (end.completion.upstream_connect_ns.is_some(), end.completion.upstream_first_byte_ns.is_some())
    };
    assert_eq!(ends.iter().map(times).collect::<Vec<_>>(), [(true, true), (false, true)]);
}

#[tokio::test]
async fn records_name_the_protocol_that_was_spoken() {
    let app = Scripted::echo().await;
    let door = door(&app).await;
    let cookie = door.cookie(VISITOR);
    let spoken = |record: &AuditRecord| (record.from.http_version, record.from.alpn.as_deref().map(str::to_owned));
    let mut client = door.client().await;
    client.send(format!("GET / HTTP/1.0\r\nHost: {WIKI}:8443\r\nCookie: {cookie}\r\n\r\n")).await;
    client.head().await;
    assert_eq!(spoken(&door.record(RecordType::AccessDecision).await), (Some("1.0"), Some("http/1.1".to_owned())));
    let mut h2 = soon(door.client_h2().await.ready()).await.unwrap();
    let ask = http::Request::get(format!("https://{WIKI}:8443/")).header("cookie", &cookie).body(()).unwrap();
    let response = soon(h2.send_request(ask, true).unwrap().0).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(spoken(&door.record(RecordType::AccessDecision).await), (Some("2"), Some("h2".to_owned())));
}

/// What the client was told must be what the record says.
fn check_ids(door: &Running, what: &str, kind: RecordType, request_id: Option<&str>, decision: Option<&str>) {
    let record = door.world.recorder.of_type(kind).pop().unwrap_or_else(|| panic!("no record of {what}"));
    assert_eq!(request_id, Some(&*record.access_id.to_string()), "{what}");
    assert_eq!(decision, Some(&*record.decision.decision_id.unwrap().to_string()), "{what}");
}

#[tokio::test]
async fn every_answer_over_http1_names_the_request_and_the_decision() {
    let app = Scripted::new(|asked| match asked.line() {
        line if line.contains("/live") => Some(
            b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: \
              s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nx-request-id: forged\r\n\r\n"
                .to_vec(),
        ),
        _ => Some(
            b"HTTP/1.1 200 OK\r\nx-request-id: forged\r\nX-Countersign-Decision: forged\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
    })
    .await;
    let door = Running::wiki_at(app.address).await;
    let (alice, bob) = (door.cookie(VISITOR), door.cookie(BOB));
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let live = format!("{socket}Origin: https://{WIKI}:8443\r\n");
    let foreign = format!("{socket}Origin: https://evil.test\r\n");
    let (decided, refused) = (RecordType::AccessDecision, RecordType::GateRefused);
    let cases = [
        ("forwarded", 200, decided, request("GET", "/", &alice, "")),
        ("web socket", 101, decided, request("GET", "/live", &alice, &live)),
        ("nobody", 401, decided, request("GET", "/", "", "")),
        ("denied", 403, decided, request("GET", "/", &bob, "")),
        ("step-up", 401, decided, request("DELETE", "/", &alice, "")),
        ("web socket from elsewhere", 403, decided, request("GET", "/live", &alice, &foreign)),
        ("ours", 200, decided, request("GET", "/.countersign/session", &alice, "")),
        ("ours, unknown", 404, decided, request("GET", "/.countersign/nothing", &alice, "")),
        ("unknown host", 421, decided, "GET / HTTP/1.1\r\nHost: evil.test:8443\r\n\r\n".to_owned()),
        ("path", 400, refused, request("GET", "/a/../b", &alice, "")),
        ("bytes", 400, refused, request("GET", "/", &alice, "Bad Name: x\r\n")),
    ];
    for (what, status, kind, bytes) in cases {
        let mut client = door.client().await;
        client.send(bytes).await;
        let head = client.head().await;
        let answer = Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        check_ids(&door, what, kind, answer.header("x-request-id"), answer.header("x-countersign-decision"));
        assert!(!answer.head.contains("forged"), "{what}: {}", answer.head);
    }
}

#[tokio::test]
async fn every_answer_over_http2_names_the_request_and_the_decision() {
    let app = Scripted::echo().await;
    let door = Running::wiki_at(app.address).await;
    let (alice, bob) = (door.cookie(VISITOR), door.cookie(BOB));
    let mut h2 = door.client_h2().await;
    for (what, status, kind, path, cookie) in [
        ("forwarded", 200, RecordType::AccessDecision, "/", &alice),
        ("denied", 403, RecordType::AccessDecision, "/", &bob),
        ("ours", 200, RecordType::AccessDecision, "/.countersign/session", &alice),
        ("path", 400, RecordType::GateRefused, "/a/../b", &alice),
    ] {
        h2 = soon(h2.ready()).await.unwrap();
        let ask = http::Request::get(format!("https://{WIKI}:8443{path}")).header("cookie", cookie).body(()).unwrap();
        let response = soon(h2.send_request(ask, true).unwrap().0).await.unwrap();
        assert_eq!(response.status(), status, "{what}");
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        check_ids(&door, what, kind, header("x-request-id"), header("x-countersign-decision"));
    }
}

#[tokio::test]
async fn an_upstream_that_fails_leaves_an_answer_with_the_ids_and_a_completion() {
    let door = Running::wiki_at(nobody().await).await;
    let cookie = door.cookie(VISITOR);
    let answer = door.client().await.get("/", &cookie).await;
    assert_eq!(answer.status, 503);
    let ids = (answer.header("x-request-id"), answer.header("x-countersign-decision"));
    check_ids(&door, "down", RecordType::AccessDecision, ids.0, ids.1);
    let end = door.completion().await;
    assert_eq!(Some(&*end.access_id.to_string()), ids.0);
    assert_eq!((end.completion.status, end.completion.end_cause), (Some(503), Some(EndCause::UpstreamError)));
}
