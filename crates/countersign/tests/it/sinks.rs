//! Sinks from outside (AUD-20): a receiver over TLS, one that lies, one that hangs, and people at the door meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use audit::sinks::signature::SigningSecret;
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{OPTIONS, PATIENCE, WIKI, World, request};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const REQUESTS: usize = 60;
/// What a busy machine may add to a request by itself.
const NOISE: Duration = Duration::from_millis(40);

#[derive(Default)]
struct Receiver {
    /// Heads and bodies.
    got: Mutex<Vec<(String, Vec<u8>)>>,
    is_hung: AtomicBool,
}

impl Receiver {
    async fn start(ca: &TestCa) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (receiver, tls) = (Arc::new(Self::default()), TlsAcceptor::from(ca.server_config(&["localhost"])));
        let serving = Arc::clone(&receiver);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(tcp).await else { return };
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) {
                        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    while serving.is_hung.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    let (head, body) = taken_apart(&bytes).unwrap();
                    serving.got.lock().unwrap().push((head, body));
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        (receiver, port)
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let got = self.got.lock().unwrap();
        let texts = got.iter().map(|(_, body)| String::from_utf8(body.clone()).unwrap());
        texts
            .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
            .collect()
    }

    fn has(&self, access: &str) -> bool {
        self.lines().iter().any(|line| line["access_id"] == access)
    }
}

fn taken_apart(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let at = crate::harness::wire::find(bytes, b"\r\n\r\n")?;
    Some((String::from_utf8(bytes[..at].to_vec()).ok()?, bytes[at + 4..].to_vec()))
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let found =
        head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

fn is_whole(bytes: &[u8]) -> bool {
    taken_apart(bytes).is_some_and(|(head, body)| field(&head, "content-length").parse() == Ok(body.len()))
}

/// A server whose record goes to a receiver of its own.
async fn world() -> (World, Arc<Receiver>) {
    let ca = TestCa::new();
    let (receiver, port) = Receiver::start(&ca).await;
    let world = World::with(OPTIONS, |folder| {
        std::fs::write(folder.join("receiver.pem"), ca.root_pem()).unwrap();
        std::fs::write(folder.join("receiver.secret"), SECRET).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        format!(
            "[[audit.sink]]\nname = \"soc\"\ntype = \"webhook\"\nurl = \"https://localhost:{port}/in?k=v\"\nca = \"{}\"\n\
             secret_file = \"{}\"\nbatch_age = \"20ms\"\nalert_after = \"1s\"\n",
            at("receiver.pem"),
            at("receiver.secret"),
        )
    })
    .await;
    world.apply("", crate::harness::POLICIES).await;
    (world, receiver)
}

/// The median of what requests of a stranger take, and the id of the last.
async fn knock_many(world: &World) -> (Duration, String) {
    let (mut times, mut last) = (Vec::new(), String::new());
    for _ in 0..REQUESTS {
        let mut wire = world.door.http1().await;
        let start = Instant::now();
        wire.send(request("GET", WIKI, "/page", "", "Accept: application/json\r\n")).await;
        let answer = tokio::time::timeout(PATIENCE, wire.answer()).await.expect("the door hangs");
        times.push(start.elapsed());
        assert_ne!(answer.status, 503, "{answer:?}");
        last = answer.header("x-request-id").unwrap().to_owned();
        // Below the flood mark, so that each has a record of its own.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    times.sort_unstable();
    (times[REQUESTS / 2], last)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_slows_no_request_is_an_alert_and_gets_everything_in_the_end() {
    let (world, receiver) = world().await;
    let (before, seen) = knock_many(&world).await;
    until("records arrive", async || receiver.has(&seen)).await;
    receiver.is_hung.store(true, Ordering::SeqCst);
    let (hung, unseen) = knock_many(&world).await;
    println!("median of a request: {before:?} before, {hung:?} while the receiver of the record hangs");
    assert!(hung <= before * 2 + NOISE, "{before:?} before, {hung:?} while it hangs");
    assert!(!receiver.has(&unseen));
    until("somebody is told", async || {
        let status = world.operator.get("/api/v1/status").await.unwrap();
        let alerts = status["audit"]["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| alert["kind"] == "sink_failing" && alert["active"] == true)
    })
    .await;
    let sinks = world.operator.get("/api/v1/audit/sinks").await.unwrap();
    assert_eq!(
        (sinks["sinks"][0]["state"].as_str(), sinks["sinks"][0]["behind"].as_u64() > Some(10)),
        (Some("failing"), true)
    );
    receiver.is_hung.store(false, Ordering::SeqCst);
    until("it catches up", async || receiver.has(&unseen)).await;
    let mut seqs: Vec<u64> = receiver.lines().iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]) && seqs[0] == 0, "nothing is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_signed_a_test_is_marked_and_recorded_and_nothing_sealed_leaves() {
    let (world, receiver) = world().await;
    let carol = world.carol().await;
    drop(carol);
    let answer = world.operator.post("/api/v1/audit/sinks/soc/test", &serde_json::json!({})).await.unwrap();
    let mark = answer["uid"].as_str().unwrap().to_owned();
    assert!(answer["target"].as_str().unwrap().ends_with("/in"), "a query may hold a key: {answer}");
    assert!(receiver.lines().iter().any(|line| line["uid"] == mark.as_str() && line["type"] == "audit.sink_test"));
    let records = world.records(&[("type", "audit.sink_tested".to_owned())]).await;
    assert!(records[0]["change"].as_str().unwrap().contains(&mark));
    until("the record of it arrives", async || receiver.lines().iter().any(|line| line["type"] == "audit.sink_tested"))
        .await;
    assert!(world.operator.post("/api/v1/audit/sinks/nobody/test", &serde_json::json!({})).await.is_err());
    let got = receiver.got.lock().unwrap();
    let secret = SigningSecret::parse(SECRET).unwrap();
    for (head, body) in &*got {
        assert!(head.starts_with("POST /in?k=v HTTP/1.1"), "{head}");
        let (id, time) = (field(head, "webhook-id"), field(head, "webhook-timestamp").parse().unwrap());
        assert_eq!(field(head, "webhook-signature"), secret.sign(id, time, body));
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(!text.contains("carol@example.org") && !text.contains("Carol"), "{text}");
    }
}
