//! Whose address counts (GW-66): PROXY headers and `X-Forwarded-For`, from peers that are trusted and from those that
//! are not (ATK-21, ATK-28).

use std::net::SocketAddr;
use std::sync::Arc;

use model::record::{AuditRecord, RecordType};
use pep_gateway::listener::TrustedPeers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Client, Running, Scripted, VISITOR, request, soon, wiki_apps, wiki_with};

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

async fn trusting(blocks: &[&str], upstream: SocketAddr) -> Running {
    let blocks = blocks.iter().map(|block| block.parse().unwrap()).collect();
    Running::start(wiki_apps(&[upstream]), |settings| settings.trusted_peers = Arc::new(TrustedPeers::new(blocks)))
        .await
}

async fn client_after(door: &Running, preface: &[u8]) -> Client {
    let mut tcp = door.tcp().await;
    tcp.write_all(preface).await.unwrap();
    Client { stream: door.secure(tcp, &[b"http/1.1"]).await, read: Vec::new() }
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, block].concat()
}

fn v2_of_an_ipv4_client() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 9, 127, 0, 0, 1, 0x9c, 0x40, 0x20, 0xfb, 0xee, 0, 1, 7])
}

fn source(record: &AuditRecord) -> (String, Option<u16>, String) {
    let from = &record.from;
    (from.src_ip.unwrap().to_string(), from.src_port, from.src_net.as_deref().unwrap().to_owned())
}

/// Asks once behind `preface` with these header lines; what the app is told and what the record says must be `client`.
async fn check(trusted: &[&str], preface: &[u8], lines: &str, client: &str, port: Option<u16>, network: &str) {
    let mut app = Scripted::echo().await;
    let door = trusting(trusted, app.address).await;
    let cookie = door.cookie(VISITOR);
    let mut browser = client_after(&door, preface).await;
    browser.send(request("GET", "/page", &cookie, lines)).await;
    assert_eq!(browser.answer().await.status, 200, "{lines}");
    let asked = app.next().await;
    assert_eq!(asked.all("x-forwarded-for"), [client], "{trusted:?} {lines}");
    assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    assert_eq!(asked.all("x-forwarded-host"), ["wiki.localhost:8443"]);
    assert!(asked.all("forwarded").is_empty() && asked.all("x-real-ip").is_empty());
    let (address, recorded_port, recorded_network) = source(&door.record(RecordType::AccessDecision).await);
    assert_eq!((address.as_str(), recorded_network.as_str()), (client, network), "{trusted:?} {lines}");
    if let Some(port) = port {
        assert_eq!(recorded_port, Some(port));
    }
}

#[tokio::test]
async fn a_trusted_peer_names_its_client_in_a_proxy_header() {
    let v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 8443\r\n";
    check(&["127.0.0.1"], v1, "", "203.0.113.9", Some(40_000), "203.0.113.0/24").await;
    let v2_ip4 = v2_of_an_ipv4_client();
    check(&["127.0.0.0/8"], &v2_ip4, "", "203.0.113.9", Some(40_000), "203.0.113.0/24").await;
    let v1_ip6 = b"PROXY TCP6 2001:db8:1:2::3 ::1 40000 8443\r\n";
    check(&["127.0.0.1"], v1_ip6, "", "2001:db8:1:2::3", Some(40_000), "2001:db8:1::/48").await;
}

#[tokio::test]
async fn a_trusted_peer_may_speak_for_itself() {
    check(&["127.0.0.1"], b"", "", "127.0.0.1", None, "127.0.0.0/24").await;
    check(&["127.0.0.1"], b"PROXY UNKNOWN\r\n", "", "127.0.0.1", None, "127.0.0.0/24").await;
    check(&["127.0.0.1"], &v2(0x20, 0, &[]), "", "127.0.0.1", None, "127.0.0.0/24").await;
}

#[tokio::test]
async fn a_proxy_header_may_come_byte_by_byte() {
    let mut app = Scripted::echo().await;
    let door = trusting(&["127.0.0.1"], app.address).await;
    let cookie = door.cookie(VISITOR);
    let mut tcp = door.tcp().await;
    tcp.set_nodelay(true).unwrap();
    for byte in v2_of_an_ipv4_client() {
        tcp.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut browser = Client { stream: door.secure(tcp, &[b"http/1.1"]).await, read: Vec::new() };
    assert_eq!(browser.get("/", &cookie).await.status, 200);
    assert_eq!(app.next().await.all("x-forwarded-for"), ["203.0.113.9"]);
}

#[tokio::test]
async fn the_client_is_the_right_most_hop_that_is_not_trusted() {
    let hops = "X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.0.0.7\r\nX-Forwarded-Proto: http\r\nX-Real-IP: 1.2.3.4\r\n";
    check(&["127.0.0.1", "10.0.0.0/8"], b"", hops, "203.0.113.9", None, "203.0.113.0/24").await;
    // A balancer of ours in front of a proxy of ours.
    let balancer = b"PROXY TCP4 10.0.0.5 127.0.0.1 40000 8443\r\n";
    check(&["127.0.0.1", "10.0.0.0/8"], balancer, hops, "203.0.113.9", None, "203.0.113.0/24").await;
}

#[tokio::test]
async fn atk_21_nobody_is_trusted_by_default() {
    let lines = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n";
    check(&[], b"", lines, "127.0.0.1", None, "127.0.0.0/24").await;
    check(&["10.0.0.0/8"], b"", lines, "127.0.0.1", None, "127.0.0.0/24").await;
}

#[tokio::test]
async fn atk_21_a_client_behind_a_balancer_cannot_name_another_address() {
    let balancer = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 8443\r\n";
    let lines = "X-Forwarded-For: 127.0.0.1\r\n";
    check(&["127.0.0.1"], balancer, lines, "203.0.113.9", Some(40_000), "203.0.113.0/24").await;
}

#[tokio::test]
async fn atk_28_a_scheme_a_client_names_changes_nothing() {
    check(&[], b"", "X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\n", "127.0.0.1", None, "127.0.0.0/24")
        .await;
}

#[tokio::test]
async fn a_hop_that_is_no_address_is_refused_and_recorded() {
    let mut app = Scripted::echo().await;
    let door = trusting(&["127.0.0.1"], app.address).await;
    let cookie = door.cookie(VISITOR);
    let mut proxy = door.client().await;
    proxy.send(request("GET", "/", &cookie, "X-Forwarded-For: 203.0.113.9, nobody\r\n")).await;
    let answer = proxy.answer().await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("gate_"), "{}", answer.text());
    assert_eq!(source(&door.record(RecordType::GateRefused).await).0, "127.0.0.1");
    assert!(app.so_far().is_empty());
}

#[tokio::test]
async fn a_malformed_proxy_header_ends_the_connection_and_is_recorded() {
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat();
    let cases: [&[u8]; 6] = [
        b"PROXY TCP4 203.0.113.9 127.0.0.1 40000\r\n",
        b"PROXY TCP4 203.0.113.256 127.0.0.1 40000 8443\r\n",
        b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 8443\n",
        b"PRAXY TCP4 203.0.113.9 127.0.0.1 40000 8443\r\n",
        &long,
        &v2(0x21, 0x11, &[203, 0, 113, 9]),
    ];
    for preface in cases {
        let mut app = Scripted::echo().await;
        let door = trusting(&["127.0.0.1"], app.address).await;
        let mut tcp = door.tcp().await;
        tcp.write_all(preface).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        assert!(!answer.windows(4).any(|window| window == b"HTTP"), "{}", preface.escape_ascii());
        if preface.starts_with(b"PROXY") || preface.starts_with(V2_SIGNATURE) {
            assert_eq!(source(&door.record(RecordType::GateRefused).await).0, "127.0.0.1");
        }
        assert!(app.so_far().is_empty());
    }
}

#[tokio::test]
async fn a_proxy_header_of_a_peer_that_is_not_trusted_is_no_handshake() {
    let mut app = Scripted::echo().await;
    let door = trusting(&["10.0.0.0/8"], app.address).await;
    for preface in [b"PROXY TCP4 10.0.0.1 127.0.0.1 40000 8443\r\n".to_vec(), v2_of_an_ipv4_client()] {
        let mut tcp = door.tcp().await;
        tcp.write_all(&preface).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        assert!(!answer.windows(4).any(|window| window == b"HTTP"));
    }
    assert!(app.so_far().is_empty());
    assert!(door.world.recorder.records().is_empty());
}

#[tokio::test]
async fn only_a_trusted_peer_continues_a_trace() {
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let lines = format!("traceparent: {sent}\r\ntracestate: vendor=1\r\n");
    let balancer = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 8443\r\n".as_slice();
    for (trusted, preface, continues) in [
        (["127.0.0.1"], b"".as_slice(), true),
        (["10.0.0.0/8"], b"", false),
        // The balancer passes bytes on; the trace is the client's word.
        (["127.0.0.1"], balancer, false),
    ] {
        let mut app = Scripted::echo().await;
        let door = trusting(&trusted, app.address).await;
        let cookie = door.cookie(VISITOR);
        let mut browser = client_after(&door, preface).await;
        browser.send(request("GET", "/", &cookie, &lines)).await;
        assert_eq!(browser.answer().await.status, 200);
        let asked = app.next().await;
        let record = door.record(RecordType::AccessDecision).await;
        let [passed_on] = asked.all("traceparent")[..] else { panic!("one traceparent") };
        let (trace_id, span_id) = (record.trace_id.unwrap(), record.span_id.unwrap());
        assert_eq!(passed_on, format!("00-{trace_id}-{span_id}-01"), "the app's span is a child of ours");
        assert_eq!(&*trace_id == "0af7651916cd43dd8448eb211c80319c", continues);
        assert_ne!(&*span_id, "b7ad6b7169203331");
        assert_eq!(record.client_trace_id.is_none(), continues);
        let state: Vec<_> = asked.all("tracestate").into_iter().filter(|state| !state.is_empty()).collect();
        assert_eq!(state == ["vendor=1"], continues, "{state:?}");
    }
}

/// An app that asked for `Forwarded` gets ours alone, whatever the client or a trusted proxy wrote there.
#[tokio::test]
async fn atk_21_forwarded_is_made_afresh_for_an_app_that_asks_for_it() {
    let own = "by=_countersign;for=127.0.0.1;host=\"wiki.localhost:8443\";proto=https";
    let of_ip6 = "by=_countersign;for=\"[2001:db8:1:2::3]\";host=\"wiki.localhost:8443\";proto=https";
    let of_hop = "by=_countersign;for=203.0.113.9;host=\"wiki.localhost:8443\";proto=https";
    let hostile = "Forwarded: for=_hidden, for=unknown;by=\"[::1]\"\r\nFORWARDED: for=10.0.0.1;proto=http\r\n\
                   X-Forwarded-Proto: http;host=evil.test\r\n";
    let proxied = format!("{hostile}X-Forwarded-For: 203.0.113.9\r\n");
    let ip6 = b"PROXY TCP6 2001:db8:1:2::3 ::1 40000 8443\r\n".as_slice();
    for (trusted, preface, lines, expected) in [
        ("10.0.0.0/8", b"".as_slice(), hostile, own),
        ("127.0.0.1", b"", hostile, own),
        ("127.0.0.1", b"", &proxied, of_hop),
        ("127.0.0.1", ip6, hostile, of_ip6),
    ] {
        let mut app = Scripted::echo().await;
        let apps = wiki_with(app.address, |app| app.sends_forwarded = true);
        let peers = Arc::new(TrustedPeers::new(vec![trusted.parse().unwrap()]));
        let door = Running::start(apps, |settings| settings.trusted_peers = peers).await;
        let cookie = door.cookie(VISITOR);
        let mut browser = client_after(&door, preface).await;
        browser.send(request("GET", "/", &cookie, lines)).await;
        assert_eq!(browser.answer().await.status, 200);
        let asked = app.next().await;
        assert_eq!(asked.all("forwarded"), [expected], "{trusted}");
        assert_eq!(asked.all("x-forwarded-proto"), ["https"]);
    }
}
