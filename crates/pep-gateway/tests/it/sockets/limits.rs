//! Time and count limits on the wire (GW-73, GW-83). Where the clock is paused it jumps to the next timer as soon as
//! everybody waits, so whatever ends there was ended by a limit.

use std::time::Duration;

use model::app::UpstreamName;
use model::record::EndCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Running, VISITOR, next_request, nobody, request, upstream, wiki_apps, wiki_with};

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
