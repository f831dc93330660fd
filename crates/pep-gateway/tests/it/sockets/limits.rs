//! Time and count limits on the wire (GW-73, GW-83). Where the clock is paused it jumps to the next timer as soon as
//! everybody waits, so whatever ends there was ended by a limit.

use std::time::Duration;

use model::app::UpstreamName;
use model::record::{EndCause, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Running, VISITOR, next_request, nobody, request, soon, upstream, wiki_apps, wiki_with};

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let door = Running::wiki_at(nobody().await).await;
    let mut client = door.client().await;
    client.send("GET / HTTP/1.1\r\nHost: wiki").await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let door = Running::wiki_at(nobody().await).await;
    let mut silent = door.tcp().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let door = Running::wiki_at(nobody().await).await;
    let mut client = door.client().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    client.stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 75);
}

#[tokio::test]
async fn a_second_connection_of_an_address_with_one_place_is_shed() {
    let door =
        Running::start(wiki_apps(&[nobody().await]), |settings| settings.limits.connections_per_address = 1).await;
    let mut first = door.client().await;
    let mut second = door.tcp().await;
    // Closed or reset: nothing comes.
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(first.get("/", &door.cookie(VISITOR)).await.status, 503, "the first is still served");
}

#[tokio::test]
async fn a_body_that_falls_silent_is_cut_short() {
    let address = upstream(|connection, mut stream| async move {
        next_request(connection, &mut stream, &mut Vec::new()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let apps = wiki_with(address, |app| {
        let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.timeouts.body_idle = Duration::from_millis(50);
    });
    let door = Running::start(apps, |_| ()).await;
    let mut client = door.client().await;
    client.send(request("GET", "/", &door.cookie(VISITOR), "")).await;
    let (bytes, is_clean) = client.rest().await;
    assert!(bytes.ends_with(b"abc") && !is_clean);
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::Idle));
}

/// What an HTTP/2 client says first, and nothing after it: it answers no SETTINGS and no PING.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn an_http2_client_that_never_answers_the_goodbye_does_not_keep_its_place() {
    let door = Running::wiki_at(nobody().await).await;
    let mut silent = door.connect(&[b"h2"]).await;
    // The beginning of a header list that never goes on.
    let headers = [H2_PREFACE, b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    silent.write_all(&headers).await.unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let _ = silent.read_to_end(&mut Vec::new()).await;
    assert_eq!(begun.elapsed().as_secs(), 75 + 5);
}

#[tokio::test]
async fn a_silent_http2_client_does_not_hold_up_a_stopping_door() {
    let door =
        Running::start(wiki_apps(&[nobody().await]), |settings| settings.drain = Duration::from_secs(3600)).await;
    let mut silent = door.connect(&[b"h2"]).await;
    silent.write_all(H2_PREFACE).await.unwrap();
    // It is a connection once the door has said something on it.
    silent.read_exact(&mut [0; 9]).await.unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    door.shutdown.cancel();
    door.serving.await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_http2_upload_that_an_upstream_stops_taking_is_given_up() {
    let address = upstream(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let apps = wiki_with(address, |app| {
        let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.timeouts.body_idle = Duration::from_millis(100);
    });
    let door = Running::start(apps, |_| ()).await;
    let mut client = soon(door.client_h2().await.ready()).await.unwrap();
    let request = http::Request::post("https://wiki.localhost:8443/").header("cookie", door.cookie(VISITOR));
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // More than every buffer on the way holds.
    let pouring = async {
        loop {
            body.reserve_capacity(16 * 1024);
            let Some(Ok(room)) = std::future::poll_fn(|context| body.poll_capacity(context)).await else { return };
            if body.send_data(vec![b'x'; room].into(), false).is_err() {
                return;
            }
        }
    };
    let (answer, ()) = soon(async { tokio::join!(response, pouring) }).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::Idle));
}

#[tokio::test]
async fn a_client_that_falls_silent_in_its_body_is_given_up_over_either_protocol() {
    let address = upstream(|connection, mut stream| async move {
        next_request(connection, &mut stream, &mut Vec::new()).await;
    })
    .await;
    let apps = wiki_with(address, |app| {
        let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.timeouts.body_idle = Duration::from_millis(100);
    });
    let door = Running::start(apps, |_| ()).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    client.send(request("POST", "/", &cookie, "Content-Length: 10\r\n") + "abc").await;
    assert_eq!(client.rest().await.0, b"");
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::Idle));

    let mut client = soon(door.client_h2().await.ready()).await.unwrap();
    let request = http::Request::post("https://wiki.localhost:8443/").header("cookie", cookie).body(()).unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    assert!(soon(response).await.is_err());
    let ends = || door.world.recorder.of_type(RecordType::AccessCompletion);
    soon(async {
        while ends().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let causes: Vec<_> = ends().iter().map(|end| (end.completion.end_cause, end.completion.bytes_in)).collect();
    assert_eq!(causes, [(Some(EndCause::Idle), Some(3)); 2]);
    assert!(door.world.gateway.streams().is_empty(), "nothing is left of either");
}
