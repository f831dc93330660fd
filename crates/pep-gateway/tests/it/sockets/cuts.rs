//! Withdrawn answers on the wire: live streams end, and nothing of the app follows (GW-55, GW-57, ATK-45, ATK-46).

use std::sync::Arc;
use std::time::Duration;

use model::record::{EndCause, RecordType};
use model::seams::{Cause, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::support::{Running, VISITOR, next_request, request, soon, upstream, wiki_apps};
use crate::core::world::{CAROL, changed, rules};

/// An upstream that never stops sending events, and says when it is hung up on.
async fn endless() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<&'static str>) {
    let (sender, ended) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let sender = sender.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"9\r\ndata: x\n\n\r\n").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let _ = sender.send("hung up");
        }
    })
    .await;
    (address, ended)
}

#[tokio::test]
async fn atk_46_an_event_stream_is_cut_when_its_reader_leaves_the_group_and_others_go_on() {
    let (address, mut ended) = endless().await;
    let door = Running::wiki_at(address).await;
    let (mut alice, mut carol) = (door.client().await, door.client().await);
    alice.send(request("GET", "/events", &door.cookie(VISITOR), "")).await;
    carol.send(request("GET", "/events", &door.cookie(CAROL), "")).await;
    for client in [&mut alice, &mut carol] {
        client.head().await;
        assert_eq!(client.chunk().await, b"data: x\n\n");
    }
    door.world.publish(changed(VISITOR, |alice| alice.direct_groups.clear()), |directory| rules(Arc::clone(directory)));
    let report = door.world.gateway.live_streams().reevaluate(Scope::User(VISITOR), Cause::FactsChanged).await;
    assert_eq!((report.examined, report.streams.len()), (1, 1));
    assert_eq!(report.streams[0].protocol, "sse");
    let (bytes, is_clean) = alice.rest().await;
    assert!(!is_clean && !bytes.ends_with(b"0\r\n\r\n"), "a cut never looks like an end");
    assert_eq!(soon(ended.recv()).await, Some("hung up"));
    // The report says how many bytes the client can have got: it got no more.
    assert!(bytes.len() as u64 <= report.streams[0].bytes_out * 2);
    assert_eq!(carol.chunk().await, b"data: x\n\n");
    assert_eq!(door.world.gateway.streams().len(), 1);
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::Revoked));
}

#[tokio::test]
async fn atk_45_an_upload_of_a_revoked_person_ends_and_never_looks_whole() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            let mut read = Vec::new();
            while super::support::find(&read, b"first").is_none() {
                stream.read_buf(&mut read).await.unwrap();
            }
            sender.send(Vec::new()).unwrap();
            // However it ends.
            let _ = stream.read_to_end(&mut read).await;
            sender.send(read).unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let mut client = door.client().await;
    client.send(request("POST", "/", &cookie, "Transfer-Encoding: chunked\r\n") + "5\r\nfirst\r\n").await;
    soon(seen.recv()).await.unwrap();
    door.world.sessions.revoke(session);
    let report = door.world.gateway.live_streams().reevaluate(Scope::Session(session), Cause::SessionRevoked).await;
    assert_eq!((report.streams.len(), report.streams[0].bytes_in), (1, 5));
    // The connection may be gone before this leaves.
    let _ = client.stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await;
    let _ = client.stream.flush().await;
    let seen = soon(seen.recv()).await.unwrap();
    assert!(seen.ends_with(b"5\r\nfirst\r\n"), "{}", String::from_utf8_lossy(&seen));
    let (bytes, is_clean) = client.rest().await;
    assert!(bytes.is_empty() && !is_clean);
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_cut_too() {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let sender = sender.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            sender.send("asked").unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            sender.send("hung up").unwrap();
        }
    })
    .await;
    let door = Running::wiki_at(address).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let mut client = door.client().await;
    client.send(request("GET", "/slow", &cookie, "")).await;
    assert_eq!(soon(asked.recv()).await, Some("asked"));
    door.world.sessions.revoke(session);
    let report = door.world.gateway.live_streams().reevaluate(Scope::Everything, Cause::SessionRevoked).await;
    assert_eq!(report.streams.len(), 1);
    assert_eq!(client.rest().await.0, b"");
    assert_eq!(soon(asked.recv()).await, Some("hung up"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_all_the_same() {
    let address = upstream(|connection, mut stream| async move {
        next_request(connection, &mut stream, &mut Vec::new()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let door = Running::wiki_at(address).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let mut client = door.client().await;
    client.send(request("GET", "/", &cookie, "")).await;
    client.head().await;
    door.world.sessions.revoke(session);
    let report = door.world.gateway.live_streams().reevaluate(Scope::Everything, Cause::SessionRevoked).await;
    assert_eq!(report.streams.len(), 1, "the cut was confirmed in time");
    assert!(!client.rest().await.1);
}

#[tokio::test]
async fn a_stop_in_haste_cuts_what_is_under_way_and_still_records_it() {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let sender = sender.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            sender.send("asked").unwrap();
            let _ = stream.read(&mut [0; 1]).await;
        }
    })
    .await;
    let haste = CancellationToken::new();
    let door = Running::start(wiki_apps(&[address]), |settings| {
        settings.drain = Duration::from_secs(3600);
        settings.haste = haste.clone();
    })
    .await;
    let mut client = door.client().await;
    client.send(request("GET", "/slow", &door.cookie(VISITOR), "")).await;
    assert_eq!(soon(asked.recv()).await, Some("asked"));
    door.shutdown.cancel();
    haste.cancel();
    soon(door.serving).await.unwrap();
    assert_eq!(client.rest().await.0, b"");
    soon(door.world.gateway.finish_records()).await;
    let ends = door.world.recorder.of_type(RecordType::AccessCompletion);
    assert_eq!(ends.iter().map(|end| end.completion.end_cause).collect::<Vec<_>>(), [Some(EndCause::DoorStop)]);
}
