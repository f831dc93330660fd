//! Stopping a server (GW-79): not ready first, then no new connections, then the end; and the same in haste.

use std::net::SocketAddr;
use std::time::Duration;

use countersign::roles::serve::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{AUTH, OPTIONS, World, request, soon};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The status that the admin listener answers with.
async fn status(address: SocketAddr, path: &str) -> String {
    let mut admin = TcpStream::connect(address).await.unwrap();
    admin.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(admin.read_to_string(&mut answer)).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_is_not_ready_but_serves_until_its_delay_is_over() {
    let world = World::started(ServeOptions { drain_delay: FOR_EVER, ..OPTIONS }).await;
    let admin = world.server.admin_address;
    let public = world.server.addresses[0];
    assert_eq!(status(admin, "/readyz").await, "200");
    let haste = world.server.haste();
    let stopping = tokio::spawn(world.server.stop());
    soon(async {
        while status(admin, "/readyz").await != "503" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(status(admin, "/livez").await, "200");
    let mut late = world.door.http1().await;
    late.send(request("GET", AUTH, "/login", "", "")).await;
    let answer = late.answer().await;
    assert_eq!(answer.status, 200, "whoever still comes is served: {answer:?}");
    assert!(!stopping.is_finished());
    haste.cancel();
    soon(stopping).await.unwrap();
    assert!(TcpStream::connect(public).await.is_err(), "nobody listens any more");
    assert!(TcpStream::connect(admin).await.is_err(), "nor here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_delay_stops_by_itself() {
    let world = World::fresh().await;
    let public = world.server.addresses[0];
    soon(world.server.stop()).await;
    assert!(TcpStream::connect(public).await.is_err());
}
