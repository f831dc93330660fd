//! WebSocket on the wire (GW-39, GW-57, ATK-5, ATK-44, ATK-45).

use std::net::SocketAddr;

use model::record::EndCause;
use model::seams::{Cause, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::support::{Client, Running, Scripted, VISITOR, next_request, ok, request, soon, upstream};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const CLOSE_1008: &[u8] = &[0x88, 2, 0x03, 0xf0];
const CLOSE_1001: &[u8] = &[0x88, 2, 0x03, 0xe9];
const CLOSE_1002: &[u8] = &[0x88, 2, 0x03, 0xea];

fn upgrade(cookie: &str, origin: &str) -> String {
    let more = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{origin}"
    );
    request("GET", "/live", cookie, &more)
}

const OWN_ORIGIN: &str = "Origin: https://wiki.localhost:8443\r\n";

/// A masked text frame of a client, with a mask of zeros.
fn masked(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn unmasked(text: &str) -> Vec<u8> {
    [&[0x81, text.len() as u8], text.as_bytes()].concat()
}

fn switching(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
}

/// An upstream that sends each frame back, whole, and tells how its connection ended.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<&'static str>) {
    let (sender, ended) = mpsc::unbounded_channel();
    let address = upstream(move |connection, mut stream| {
        let sender = sender.clone();
        async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            stream.write_all(switching(ACCEPT).as_bytes()).await.unwrap();
            let mut header = [0; 6];
            while stream.read_exact(&mut header).await.is_ok() {
                let mut payload = vec![0; usize::from(header[1] & 0x7f)];
                stream.read_exact(&mut payload).await.unwrap();
                let frame = [&[header[0], header[1] & 0x7f], payload.as_slice()].concat();
                if stream.write_all(&frame).await.is_err() {
                    break;
                }
            }
            let _ = sender.send("hung up");
        }
    })
    .await;
    (address, ended)
}

async fn open(door: &Running, cookie: &str) -> Client {
    let mut client = door.client().await;
    client.send(upgrade(cookie, OWN_ORIGIN)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
    client
}

#[tokio::test]
async fn frames_pass_both_ways() {
    let (address, _ended) = echo().await;
    let door = Running::wiki_at(address).await;
    let mut client = open(&door, &door.cookie(VISITOR)).await;
    for text in ["one", "", "three"] {
        client.send(masked(text)).await;
        let expected = unmasked(text);
        assert_eq!(client.exactly(expected.len()).await, expected);
    }
    client.send([0x88, 0x80, 0, 0, 0, 0]).await;
    assert_eq!(client.exactly(2).await, [0x88, 0]);
    drop(client);
    let completion = door.completion().await.completion;
    assert_eq!((completion.status, completion.end_cause), (Some(101), Some(EndCause::Closed)));
    assert_eq!((completion.bytes_in, completion.bytes_out), (Some(32), Some(16)));
}

#[tokio::test]
async fn atk_45_a_web_socket_of_a_revoked_session_is_closed_with_1008_and_no_byte_follows() {
    let (address, mut ended) = echo().await;
    let door = Running::wiki_at(address).await;
    let (session, cookie) = door.sign_in(VISITOR);
    let mut client = open(&door, &cookie).await;
    let mut other = open(&door, &door.cookie(VISITOR)).await;
    client.send(masked("hi")).await;
    assert_eq!(client.exactly(4).await, unmasked("hi"));
    door.world.sessions.revoke(session);
    let report = door.world.gateway.live_streams().reevaluate(Scope::Session(session), Cause::SessionRevoked).await;
    assert_eq!(report.streams.len(), 1);
    let cut = &report.streams[0];
    assert_eq!((cut.protocol, cut.bytes_in, cut.bytes_out), ("websocket", 8, 4));
    let _ = client.stream.write_all(&masked("late")).await;
    assert_eq!(client.rest().await.0, CLOSE_1008);
    assert_eq!(soon(ended.recv()).await, Some("hung up"));
    other.send(masked("still here")).await;
    assert_eq!(other.exactly(12).await, unmasked("still here"));
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_frame_never_puts_the_close_inside_it() {
    for is_finished in [false, true] {
        let (resume, wanted) = tokio::sync::watch::channel(false);
        let address = upstream(move |connection, mut stream| {
            let mut wanted = wanted.clone();
            async move {
                next_request(connection, &mut stream, &mut Vec::new()).await;
                stream.write_all(switching(ACCEPT).as_bytes()).await.unwrap();
                stream.write_all(&[0x82, 4, 1, 2]).await.unwrap();
                wanted.wait_for(|wanted| *wanted).await.unwrap();
                // The rest of the frame, and one that must not pass.
                let _ = stream.write_all(&[3, 4, 0x82, 1, 9]).await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        })
        .await;
        let door = Running::wiki_at(address).await;
        let (session, cookie) = door.sign_in(VISITOR);
        let mut client = open(&door, &cookie).await;
        assert_eq!(client.exactly(4).await, [0x82, 4, 1, 2]);
        door.world.sessions.revoke(session);
        let streams = door.world.gateway.live_streams();
        let cutting = streams.reevaluate(Scope::Session(session), Cause::SessionRevoked);
        // The cut is ordered before the upstream goes on.
        let (report, ()) = tokio::join!(cutting, async { resume.send(is_finished).unwrap() });
        assert_eq!(report.streams.len(), 1);
        let rest = client.rest().await.0;
        match is_finished {
            true => assert_eq!(rest, [&[3, 4], CLOSE_1008].concat()),
            false => assert_eq!(rest, b""),
        }
    }
}

#[tokio::test]
async fn a_stopping_door_says_that_it_goes_away() {
    let (address, _ended) = echo().await;
    let door = Running::wiki_at(address).await;
    let mut client = open(&door, &door.cookie(VISITOR)).await;
    door.shutdown.cancel();
    assert_eq!(client.rest().await.0, CLOSE_1001);
    soon(door.serving).await.unwrap();
    assert_eq!(door.world.recorder.records().last().unwrap().completion.end_cause, Some(EndCause::DoorStop));
}

#[tokio::test]
async fn after_101_nothing_but_frames_passes() {
    let (address, mut ended) = echo().await;
    let door = Running::wiki_at(address).await;
    let mut client = open(&door, &door.cookie(VISITOR)).await;
    client.send("GET /admin HTTP/1.1\r\nHost: wiki.localhost:8443\r\n\r\n").await;
    assert_eq!(client.rest().await.0, CLOSE_1002);
    assert_eq!(soon(ended.recv()).await, Some("hung up"));
}

#[tokio::test]
async fn atk_44_an_upgrade_from_a_foreign_page_is_refused() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    for origin in ["Origin: https://evil.test\r\n", "Origin: null\r\n", ""] {
        let mut client = door.client().await;
        client.send(upgrade(&cookie, origin)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert!(answer.text().contains("origin_refused"), "{origin}: {answer:?}");
    }
    assert!(wiki.so_far().is_empty());
}

#[tokio::test]
async fn atk_5_bytes_behind_an_upgrade_are_refused() {
    let mut wiki = Scripted::echo().await;
    let door = Running::wiki_at(wiki.address).await;
    let mut client = door.client().await;
    client.send([upgrade(&door.cookie(VISITOR), OWN_ORIGIN).as_bytes(), &masked("early")].concat()).await;
    assert_eq!(client.answer().await.status, 400);
    assert!(wiki.so_far().is_empty());
}

#[tokio::test]
async fn a_101_that_does_not_answer_the_question_is_not_passed_on() {
    let extra = |line: &str| switching(ACCEPT).replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let answers = [
        switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        switching(ACCEPT).replace("upgrade: websocket", "upgrade: h2c"),
        switching(ACCEPT).replace("upgrade: websocket", "upgrade: websocket, h2c"),
        extra("upgrade: h2c"),
        extra("sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        extra("sec-websocket-protocol: chat"),
        extra("sec-websocket-extensions: permessage-deflate"),
    ];
    for bytes in answers {
        let sent = bytes.clone();
        let wiki = Scripted::new(move |_| Some(sent.clone().into_bytes())).await;
        let door = Running::wiki_at(wiki.address).await;
        let mut client = door.client().await;
        client.send(upgrade(&door.cookie(VISITOR), OWN_ORIGIN)).await;
        let answer = client.answer().await;
        assert!(matches!(answer.status, 502 | 503), "{bytes}: {answer:?}");
    }
}

#[tokio::test]
async fn atk_4_an_upgrade_that_is_not_taken_stays_http() {
    let wiki = Scripted::new(|_| Some(ok(b"no sockets here"))).await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    client.send(upgrade(&cookie, OWN_ORIGIN)).await;
    assert_eq!(client.answer().await.text(), "no sockets here");
    // Either the connection ends or what follows is judged; it is never a tunnel.
    let _ = client.stream.write_all(request("GET", "/admin", "", "").as_bytes()).await;
    let _ = client.stream.flush().await;
    let rest = String::from_utf8(client.rest().await.0).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 401 "), "{rest}");
}
