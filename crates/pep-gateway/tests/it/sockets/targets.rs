//! Several targets of one upstream, and targets that fail (GW-70, GW-71).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::app::{Balance, HashBy, HealthCheck, UpstreamName, UpstreamScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::support::{Running, VISITOR, next_request, request, soon, target_at, upstream, wiki_with};

/// An app that says who it is, is well or not, and counts what it is asked.
struct Site {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    checked: Arc<AtomicUsize>,
    is_well: Arc<AtomicBool>,
}

async fn site(name: &'static str) -> Site {
    let (asked, checked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let is_well = Arc::new(AtomicBool::new(true));
    let counters = (Arc::clone(&asked), Arc::clone(&checked), Arc::clone(&is_well));
    let address = upstream(move |connection, mut stream| {
        let (asked, checked, is_well) = counters.clone();
        async move {
            let mut read = Vec::new();
            while let Some(request) = next_request(connection, &mut stream, &mut read).await {
                let is_check = request.line() == "GET /healthz HTTP/1.1";
                if is_check {
                    assert!(request.all("x-countersign-assertion").is_empty() && request.all("cookie").is_empty());
                }
                let count = if is_check { &checked } else { &asked };
                count.fetch_add(1, Ordering::Relaxed);
                let status = if is_well.load(Ordering::Relaxed) { "200 OK" } else { "503 Service Unavailable" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    Site { address, asked, checked, is_well }
}

async fn door(targets: &[SocketAddr], balance: Balance, health: Option<HealthCheck>) -> Running {
    let apps = wiki_with(targets[0], |wiki| {
        let upstream = wiki.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.targets = targets.iter().map(|target| target_at(*target, UpstreamScheme::Http)).collect();
        upstream.balance = balance;
        upstream.health = health;
    });
    Running::start(apps, |_| ()).await
}

/// An address nobody listens at.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/healthz".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        down_after: 2,
        up_after: 2,
    }
}

#[tokio::test]
async fn requests_are_spread_over_the_targets_and_none_is_lost_when_one_is_gone() {
    let (one, two) = (site("one").await, site("two").await);
    let door = door(&[one.address, nobody().await, two.address], Balance::RoundRobin, None).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    for n in 0..60 {
        client.send(request("GET", "/", &cookie, "")).await;
        assert_eq!(client.answer().await.status, 200, "{n}");
    }
    let (one, two) = (one.asked.load(Ordering::Relaxed), two.asked.load(Ordering::Relaxed));
    assert!(one + two == 60 && one.min(two) >= 15, "{one} {two}");
    let rested = door.world.gateway.samples();
    let rested = rested.iter().find(|sample| sample.name == "countersign_upstream_targets_rested_total").unwrap();
    assert_eq!(rested.value, 1);
}

#[tokio::test]
async fn a_session_stays_with_its_target() {
    let sites = [site("one").await, site("two").await, site("three").await];
    let addresses: Vec<SocketAddr> = sites.iter().map(|site| site.address).collect();
    let door = door(&addresses, Balance::Hash(HashBy::Session), None).await;
    for _ in 0..3 {
        let cookie = door.cookie(VISITOR);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let mut client = door.client().await;
            client.send(request("GET", "/", &cookie, "")).await;
            seen.insert(client.answer().await.text());
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

#[tokio::test]
async fn a_target_that_fails_its_check_gets_nothing_until_it_is_well_again() {
    let (one, two) = (site("one").await, site("two").await);
    let door = door(&[one.address, two.address], Balance::RoundRobin, Some(check())).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    one.is_well.store(false, Ordering::Relaxed);
    let wait_for = async |checks: usize| {
        let seen = one.checked.load(Ordering::Relaxed);
        soon(async {
            while one.checked.load(Ordering::Relaxed) < seen + checks {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        })
        .await;
    };
    wait_for(2).await;
    let before = one.asked.load(Ordering::Relaxed);
    for _ in 0..10 {
        client.send(request("GET", "/", &cookie, "")).await;
        assert_eq!(client.answer().await.text(), "two");
    }
    assert_eq!(one.asked.load(Ordering::Relaxed), before);
    one.is_well.store(true, Ordering::Relaxed);
    wait_for(2).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        client.send(request("GET", "/", &cookie, "")).await;
        seen.insert(client.answer().await.text());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn when_every_target_is_down_the_answer_is_503_at_once() {
    let (gone, hung) = (
        nobody().await,
        upstream(|_, stream| async move {
            // Accepts and says nothing.
            tokio::time::sleep(Duration::from_secs(30)).await;
            drop(stream);
        })
        .await,
    );
    let door = door(&[gone, hung], Balance::LeastRequest, Some(check())).await;
    let cookie = door.cookie(VISITOR);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let mut client = door.client().await;
    let asked = Instant::now();
    client.send(request("GET", "/", &cookie, "")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(answer.header("retry-after").is_some());
}
