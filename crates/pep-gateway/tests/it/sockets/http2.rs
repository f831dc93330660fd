//! HTTP/2 on the wire (GW-37, GW-57, ATK-9, ATK-10, ATK-43).

use bytes::Bytes;
use http::Request;
use model::record::{EndCause, RecordType};
use model::seams::{Cause, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::support::{Running, Scripted, VISITOR, find, next_request, ok, soon, upstream};
use crate::core::world::BOB;

type Sender = h2::client::SendRequest<Bytes>;

fn request(method: &str, host: &str, path: &str, cookie: &str) -> Request<()> {
    let uri = format!("https://{host}:8443{path}");
    Request::builder().method(method).uri(uri).header("cookie", cookie).body(()).unwrap()
}

/// Status and body of a request without body.
async fn ask(sender: &Sender, request: Request<()>) -> (u16, String) {
    let mut sender = soon(sender.clone().ready()).await.unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let response = soon(response).await.unwrap();
    let status = response.status().as_u16();
    (status, text(response.into_body()).await.unwrap())
}

async fn text(mut body: h2::RecvStream) -> Result<String, h2::Error> {
    let mut text = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    Ok(String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn atk_43_each_stream_of_a_connection_is_judged_by_its_own_host() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let client = door.client_h2().await;
    let (status, _) = ask(&client, request("GET", "wiki.localhost", "/a?b=%2F", &cookie)).await;
    assert_eq!(status, 200);
    assert_eq!(wiki.next().await.line(), "GET /a?b=%2F HTTP/1.1");
    // The wiki's cookie is good on the wiki only.
    assert_eq!(ask(&client, request("GET", "payroll.localhost", "/", &cookie)).await.0, 401);
    assert_eq!(ask(&client, request("GET", "wiki.localhost", "/", &door.cookie(BOB))).await.0, 403);
    assert_eq!(ask(&client, request("GET", "unknown.localhost", "/", &cookie)).await.0, 421);
    assert_eq!(ask(&client, request("GET", "wiki.localhost", "/again", &cookie)).await.0, 200);
    assert_eq!(wiki.next().await.line(), "GET /again HTTP/1.1");
    assert!(wiki.so_far().is_empty());
    assert!(door.world.recorder.of_type(RecordType::AccessDecision).len() >= 4);
}

#[tokio::test]
async fn atk_9_what_http1_could_read_differently_reaches_no_upstream() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    for (name, value) in [("host", "payroll.localhost"), ("content-length", "1,1"), ("te", "gzip")] {
        let client = door.client_h2().await;
        let mut request = request("GET", "wiki.localhost", "/", &cookie);
        request.headers_mut().insert(name, value.parse().unwrap());
        let mut sender = soon(client.ready()).await.unwrap();
        let Ok((response, _)) = sender.send_request(request, true) else { continue };
        // Reset by `h2`, or refused by the gate.
        let status = soon(response).await.map(|response| response.status().as_u16());
        assert!(name == "te" || status.as_ref().map_or(true, |status| *status == 400), "{name}: {status:?}");
    }
    for asked in wiki.so_far() {
        assert_eq!(asked.all("host"), ["wiki.localhost:8443"]);
        assert!(asked.all("te").is_empty() && asked.all("content-length").is_empty(), "{asked:?}");
    }
}

#[tokio::test]
async fn atk_9_a_body_unlike_its_content_length_never_looks_whole_upstream() {
    for (announced, sent) in [("5", "hell"), ("3", "hello")] {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let address = upstream(move |_, mut stream| {
            let sender = sender.clone();
            async move {
                let mut read = Vec::new();
                // However it ends.
                let _ = stream.read_to_end(&mut read).await;
                let _ = sender.send(read);
            }
        })
        .await;
        let door = Running::wiki_at(address).await;
        let mut client = soon(door.client_h2().await.ready()).await.unwrap();
        let mut request = request("POST", "wiki.localhost", "/", &door.cookie(VISITOR));
        request.headers_mut().insert("content-length", announced.parse().unwrap());
        let (response, mut body) = client.send_request(request, false).unwrap();
        let _ = body.send_data(Bytes::from_static(sent.as_bytes()), true);
        let answered = soon(response).await.map(|response| response.status().as_u16());
        assert!(answered.as_ref().map_or(true, |status| *status == 400), "{announced}: {answered:?}");
        // The connection may not even have been opened.
        if let Ok(Some(seen)) = tokio::time::timeout(std::time::Duration::from_millis(500), seen.recv()).await {
            let end = find(&seen, b"\r\n\r\n").map_or(seen.len(), |end| end + 4);
            assert_ne!((seen.len() - end).to_string(), announced, "{}", String::from_utf8_lossy(&seen));
        }
    }
}

#[tokio::test]
async fn a_body_passes_both_ways_and_is_whole() {
    let mut wiki = Scripted::new(|asked| Some(ok(&asked.body))).await;
    let door = Running::wiki_at(wiki.address).await;
    let mut client = soon(door.client_h2().await.ready()).await.unwrap();
    let mut request = request("POST", "wiki.localhost", "/", &door.cookie(VISITOR));
    let sent = "x".repeat(300_000);
    request.headers_mut().insert("content-length", sent.len().into());
    let (response, mut body) = client.send_request(request, false).unwrap();
    let sending = async {
        let mut left = Bytes::from(sent.clone());
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = std::future::poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            let piece = left.split_to(room.min(left.len()));
            body.send_data(piece, left.is_empty()).unwrap();
        }
    };
    let receiving = async { text(response.await.unwrap().into_body()).await.unwrap() };
    let ((), received) = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(received == sent, "{} bytes came back", received.len());
    assert_eq!(wiki.next().await.body.len(), sent.len());
    let completion = door.completion().await.completion;
    assert_eq!((completion.bytes_in, completion.bytes_out), (Some(300_000), Some(300_000)));
}

#[tokio::test]
async fn a_chunk_passes_before_the_next_is_made_and_a_cut_resets_the_stream_alone() {
    let (make, wanted) = mpsc::channel::<&str>(1);
    let wanted = std::sync::Arc::new(tokio::sync::Mutex::new(wanted));
    let address = upstream(move |connection, mut stream| {
        let wanted = wanted.clone();
        async move {
            let asked = next_request(connection, &mut stream, &mut Vec::new()).await.unwrap();
            if asked.line().starts_with("GET /plain ") {
                stream.write_all(&ok(b"plain")).await.unwrap();
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            while let Some(event) = wanted.lock().await.recv().await {
                stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let other = door.cookie(VISITOR);
    let client = door.client_h2().await;
    let mut sender = soon(client.clone().ready()).await.unwrap();
    let (response, _) = sender.send_request(request("GET", "wiki.localhost", "/events", &cookie), true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    for event in ["one", "two"] {
        make.send(event).await.unwrap();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), event);
    }
    door.world.sessions.revoke(session);
    let report = door.world.gateway.live_streams().reevaluate(Scope::Session(session), Cause::SessionRevoked).await;
    assert_eq!((report.streams.len(), report.streams[0].protocol, report.streams[0].bytes_out), (1, "h2", 6));
    let error = soon(body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(ask(&client, request("GET", "wiki.localhost", "/plain", &other)).await, (200, "plain".to_owned()));
    let completions = door.world.recorder.of_type(RecordType::AccessCompletion);
    assert!(completions.iter().any(|record| record.completion.end_cause == Some(EndCause::Revoked)));
}

#[tokio::test]
async fn atk_10_a_client_that_resets_stream_after_stream_is_sent_away() {
    let address = upstream(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let door = Running::wiki_at(address).await;
    let cookie = door.cookie(VISITOR);
    let client = door.client_h2().await;
    let mut made = 0;
    for _ in 0..2_000 {
        let Ok(mut sender) = soon(client.clone().ready()).await else { break };
        let Ok((response, mut body)) = sender.send_request(request("GET", "wiki.localhost", "/", &cookie), false)
        else {
            break;
        };
        made += 1;
        tokio::task::yield_now().await;
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    assert!(made < 2_000, "nobody stopped it");
    // The neighbours are unharmed.
    let other = door.client_h2().await;
    assert_eq!(ask(&other, request("GET", "unknown.localhost", "/", "")).await.0, 421);
}

#[tokio::test]
async fn an_endpoint_of_ours_answers_over_http2_and_takes_no_huge_body() {
    let door = Running::wiki_at(super::support::nobody().await).await;
    let client = door.client_h2().await;
    assert_eq!(ask(&client, request("GET", "localhost", "/login", "")).await, (200, "ours".to_owned()));
    let mut sender = soon(client.ready()).await.unwrap();
    let mut huge = request("POST", "localhost", "/login", "");
    huge.headers_mut().insert("content-length", "9000000000".parse().unwrap());
    let (response, _body) = sender.send_request(huge, false).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_stopping_door_lets_streams_finish() {
    let (answer, wanted) = tokio::sync::watch::channel(false);
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let (mut wanted, asked) = (wanted.clone(), asked.clone());
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            asked.send(()).unwrap();
            wanted.wait_for(|wanted| *wanted).await.unwrap();
            stream.write_all(&ok(b"done")).await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let client = door.client_h2().await;
    let cookie = door.cookie(VISITOR);
    let asking = ask(&client, request("GET", "wiki.localhost", "/", &cookie));
    let stopping = async {
        soon(was_asked.recv()).await.unwrap();
        door.shutdown.cancel();
        answer.send(true).unwrap();
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_eq!(answer, (200, "done".to_owned()));
    drop(client);
    soon(door.serving).await.unwrap();
}

#[tokio::test]
async fn nothing_but_a_head_answers_head() {
    let door = Running::wiki_at(super::support::nobody().await).await;
    let client = door.client_h2().await;
    let cookie = door.cookie(VISITOR);
    for (host, path, cookie, status) in [
        ("wiki.localhost", "/", "", 401),
        ("wiki.localhost", "/a/../b", cookie.as_str(), 400),
        ("wiki.localhost", "/", cookie.as_str(), 503),
        ("localhost", "/login", "", 200),
    ] {
        let mut sender = soon(client.clone().ready()).await.unwrap();
        let (response, _) = sender.send_request(request("HEAD", host, path, cookie), true).unwrap();
        let response = soon(response).await.unwrap();
        assert_eq!(response.status(), status, "{host}{path}");
        assert_ne!(response.headers()["content-length"], "0", "what GET would say");
        assert!(soon(response.into_body().data()).await.is_none(), "{host}{path}");
    }
}
