//! How long a piece of a body is held (GW-40): it is passed on within 5 ms of its arrival, both ways.
//!
//! Real time on a real machine, which may be busy: the median of many pieces is what counts, and a door that waits for
//! more bytes, or for a timer, fails by far.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::support::{Running, VISITOR, find, next_request, request, soon, upstream};

const PIECES: usize = 201;
const HELD_AT_MOST: Duration = Duration::from_millis(5);
/// As an event stream pauses between its events.
const PAUSE: Duration = Duration::from_millis(1);

fn median(mut times: Vec<Duration>) -> Duration {
    assert_eq!(times.len(), PIECES);
    times.sort_unstable();
    times[PIECES / 2]
}

/// An app that streams one small piece per `()`, and tells when it wrote it.
async fn streaming() -> (std::net::SocketAddr, mpsc::Sender<()>, mpsc::UnboundedReceiver<Instant>) {
    let (make, wanted) = mpsc::channel::<()>(1);
    let (wrote, written) = mpsc::unbounded_channel();
    let wanted = std::sync::Arc::new(tokio::sync::Mutex::new(wanted));
    let address = upstream(move |connection, mut stream| {
        let (wanted, wrote) = (wanted.clone(), wrote.clone());
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while wanted.lock().await.recv().await.is_some() {
                // Before the write, so that nothing of the way through the door is left out.
                wrote.send(Instant::now()).unwrap();
                stream.write_all(b"9\r\ndata: 1\n\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    (address, make, written)
}

#[tokio::test]
async fn a_piece_of_a_download_is_passed_on_within_5_ms_over_http1() {
    let (address, make, mut written) = streaming().await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("GET", "/events", &door.cookie(VISITOR), "")).await;
    client.head().await;
    let mut times = Vec::new();
    for _ in 0..PIECES {
        make.send(()).await.unwrap();
        assert_eq!(client.chunk().await, b"data: 1\n\n");
        times.push(soon(written.recv()).await.unwrap().elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    assert!(median(times.clone()) <= HELD_AT_MOST, "{times:?}");
}

#[tokio::test]
async fn a_piece_of_a_download_is_passed_on_within_5_ms_over_http2() {
    let (address, make, mut written) = streaming().await;
    let door = Running::wiki_at(address).await;
    let mut client = soon(door.client_h2().await.ready()).await.unwrap();
    let asked = http::Request::get("https://wiki.localhost:8443/events").header("cookie", door.cookie(VISITOR));
    let (response, _) = client.send_request(asked.body(()).unwrap(), true).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    let mut times = Vec::new();
    for _ in 0..PIECES {
        make.send(()).await.unwrap();
        let data = soon(body.data()).await.unwrap().unwrap();
        assert_eq!(data, Bytes::from_static(b"data: 1\n\n"));
        body.flow_control().release_capacity(data.len()).unwrap();
        times.push(soon(written.recv()).await.unwrap().elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    assert!(median(times.clone()) <= HELD_AT_MOST, "{times:?}");
}

#[tokio::test]
async fn a_piece_of_an_upload_is_passed_on_within_5_ms() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let address = upstream(move |_, mut stream| {
        let arrived = arrived.clone();
        async move {
            let mut read = Vec::new();
            while find(&read, b"\r\n\r\n").is_none() {
                stream.read_buf(&mut read).await.unwrap();
            }
            // The first may come with the head.
            let mut passed = read.len() - find(&read, b"\r\n\r\n").unwrap() - 4;
            for _ in 0..passed {
                arrived.send(Instant::now()).unwrap();
            }
            while passed < PIECES {
                stream.read_exact(&mut [0]).await.unwrap();
                arrived.send(Instant::now()).unwrap();
                passed += 1;
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let mut client = door.client().await;
    client.send(request("PUT", "/file", &door.cookie(VISITOR), &format!("Content-Length: {PIECES}\r\n"))).await;
    let mut times = Vec::new();
    for _ in 0..PIECES {
        let sent = Instant::now();
        client.send("x").await;
        times.push(soon(arrivals.recv()).await.unwrap().duration_since(sent));
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(client.answer().await.status, 204);
    assert!(median(times.clone()) <= HELD_AT_MOST, "{times:?}");
}
