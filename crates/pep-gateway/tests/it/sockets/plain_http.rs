//! Somebody types `http://` in front of an address of ours: one sentence, one record, and nothing of it is a request.

use model::record::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Running, Scripted, soon, wiki_apps};

async fn said(door: &Running, bytes: &[u8]) -> String {
    let mut tcp = door.tcp().await;
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon(tcp.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn plain_http_is_told_that_this_port_speaks_https() {
    let mut app = Scripted::echo().await;
    let door = Running::start(wiki_apps(&[app.address]), |_| {}).await;
    let answer = said(&door, b"GET /page?token=secret HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("This port speaks https") && answer.contains("Connection: close\r\n"), "{answer}");
    assert!(!answer.contains("evil") && !answer.contains("secret"), "nothing of the input comes back: {answer}");
    let record = door.record(RecordType::GateRefused).await;
    assert_eq!(record.decision.reason_text.as_deref(), Some("gate_plain_http at byte 0"));
    assert!(answer.contains(&format!("x-request-id: {}", record.access_id)), "{answer}");
    assert!(app.so_far().is_empty());
}

#[tokio::test]
async fn plain_http_with_a_long_body_still_reads_its_answer() {
    let app = Scripted::echo().await;
    let door = Running::start(wiki_apps(&[app.address]), |_| {}).await;
    let body = vec![b'x'; 48 * 1024];
    let asked =
        [b"POST / HTTP/1.1\r\nHost: wiki.localhost\r\nContent-Length: 49152\r\n\r\n".as_slice(), &body].concat();
    assert!(said(&door, &asked).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn whoever_speaks_plain_http_and_never_stops_is_left() {
    let app = Scripted::echo().await;
    let door = Running::start(wiki_apps(&[app.address]), |_| {}).await;
    let mut tcp = door.tcp().await;
    let flood = async { while tcp.write_all(&[b'A'; 8 * 1024]).await.is_ok() {} };
    soon(flood).await;
    let mut silent = door.tcp().await;
    silent.write_all(b"G").await.unwrap();
    let mut answer = String::new();
    let _reset = soon(silent.read_to_string(&mut answer)).await;
    assert!(answer.contains("This port speaks https"), "{answer}");
    soon(async {
        while silent.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
