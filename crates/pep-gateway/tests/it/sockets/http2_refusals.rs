//! Every kind of refusal over HTTP/2 leaves a record that says what the client was told (GW-34, GW-37, AUD-6).

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use model::record::{AuditRecord, EndCause, RecordType};
use model::{Effect, Reason};

use super::support::{Running, Scripted, VISITOR, nobody, soon, wiki_apps};
use crate::core::world::{BOB, apps};

type Sender = h2::client::SendRequest<Bytes>;

async fn ask(sender: &Sender, request: Request<()>) -> Response<h2::RecvStream> {
    let mut sender = soon(sender.clone().ready()).await.unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    soon(response).await.unwrap()
}

fn request(method: &str, host: &str, path: &str, cookie: &str, fields: &[(&'static str, &str)]) -> Request<()> {
    let mut request =
        Request::builder().method(method).uri(format!("https://{host}:8443{path}")).header("cookie", cookie);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The record of what a response answers: there is exactly one that decided it.
fn record_of(door: &Running, response: &Response<h2::RecvStream>) -> AuditRecord {
    let id = response.headers()["x-request-id"].to_str().unwrap();
    let kinds = [RecordType::AccessDecision, RecordType::GateRefused];
    let records = door.world.recorder.records();
    let mut of_this =
        records.into_iter().filter(|record| kinds.contains(&record.kind) && record.access_id.to_string() == id);
    let record = of_this.next().unwrap_or_else(|| panic!("{id} left no record"));
    assert!(of_this.next().is_none(), "{id} was decided twice");
    record
}

#[tokio::test]
async fn each_refusal_over_http2_leaves_its_record() {
    let app = Scripted::echo().await;
    let door = Running::wiki_at(app.address).await;
    let (alice, bob) = (door.cookie(VISITOR), door.cookie(BOB));
    let (_, in_payroll) = door.world.sign_in(VISITOR, "payroll.localhost");
    let client = door.client_h2().await;
    let wiki = "wiki.localhost";
    let navigates = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")][..];
    let crosses = &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")][..];
    let asks = [
        (request("GET", "unknown.localhost", "/", &alice, &[]), 421, Reason::UnknownHost),
        (request("GET", wiki, "/", "", &[]), 401, Reason::LoginRequired),
        (request("GET", wiki, "/", "", navigates), 303, Reason::LoginRequired),
        (
            request("GET", wiki, "/", "__Host-countersign=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &[]),
            401,
            Reason::LoginRequired,
        ),
        (request("GET", wiki, "/", &bob, &[]), 403, Reason::NotPermitted),
        (request("POST", "payroll.localhost", "/", &in_payroll, crosses), 403, Reason::OriginRefused),
        (request("PUT", "localhost", "/login", "", crosses), 403, Reason::OriginRefused),
        (request("GET", wiki, "/.countersign/none-of-ours", &alice, &[]), 404, Reason::NotPermitted),
    ];
    for (asked, status, reason) in asks {
        let what = format!("{} {}", asked.method(), asked.uri());
        let response = ask(&client, asked).await;
        let record = record_of(&door, &response);
        assert_eq!((response.status().as_u16(), record.decision.reason), (status, Some(reason)), "{what}");
        assert_ne!(record.decision.effect, Some(Effect::Allow), "{what}");
        assert_eq!(record.completion.status, Some(status), "{what}");
        assert_eq!(record.completion.end_cause, Some(EndCause::Refused), "{what}");
        assert_eq!((record.from.http_version, record.from.alpn.as_deref()), (Some("2"), Some("h2")), "{what}");
    }
}

#[tokio::test]
async fn a_step_up_over_http2_leaves_its_record() {
    let app = Scripted::echo().await;
    let door = Running::wiki_at(app.address).await;
    let cookie = door.cookie(VISITOR);
    door.world.clock.advance(std::time::Duration::from_secs(301));
    let response = ask(&door.client_h2().await, request("DELETE", "wiki.localhost", "/", &cookie, &[])).await;
    let record = record_of(&door, &response);
    assert_eq!((record.decision.effect, record.decision.reason), (Some(Effect::StepUp), Some(Reason::StepUpRequired)));
    assert_eq!(record.completion.status, Some(response.status().as_u16()));
}

#[tokio::test]
async fn bytes_the_gate_refuses_over_http2_leave_their_record() {
    let app = Scripted::echo().await;
    let door = Running::wiki_at(app.address).await;
    let cookie = door.cookie(VISITOR);
    let client = door.client_h2().await;
    for path in ["/a//b", "/a/%2e%2e/b", "/a%2Fb", "/a%00"] {
        let response = ask(&client, request("GET", "wiki.localhost", path, &cookie, &[])).await;
        let record = record_of(&door, &response);
        assert_eq!((response.status().as_u16(), record.kind), (400, RecordType::GateRefused), "{path}");
    }
    // What is no request at all: refused before it has a host.
    let mut twice = request("GET", "wiki.localhost", "/", &cookie, &[]);
    twice.headers_mut().append("host", HeaderValue::from_static("payroll.localhost"));
    let response = ask(&client, twice).await;
    assert_eq!((response.status().as_u16(), record_of(&door, &response).kind), (400, RecordType::GateRefused));
}

#[tokio::test]
async fn an_allowed_request_whose_app_fails_over_http2_ends_in_the_record() {
    let door = Running::start(wiki_apps(&[nobody().await]), |_| ()).await;
    let response =
        ask(&door.client_h2().await, request("GET", "wiki.localhost", "/", &door.cookie(VISITOR), &[])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(record_of(&door, &response).decision.effect, Some(Effect::Allow));
    let completion = door.completion().await.completion;
    assert_eq!((completion.status, completion.end_cause), (Some(503), Some(EndCause::UpstreamError)));
}

#[tokio::test]
async fn a_body_too_large_for_an_endpoint_of_ours_ends_in_the_record_over_http2() {
    let door = Running::start(apps(), |_| ()).await;
    let mut client = soon(door.client_h2().await.ready()).await.unwrap();
    let huge = request("POST", "localhost", "/login", "", &[("content-length", "9000000000")]);
    let (response, _body) = client.send_request(huge, false).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), 413);
    let completion = door.completion().await;
    assert_eq!(completion.completion.status, Some(413));
    assert_eq!(completion.access_id.to_string(), response.headers()["x-request-id"].to_str().unwrap());
}
