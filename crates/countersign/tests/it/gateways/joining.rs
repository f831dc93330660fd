//! Attacks on joining, on the certificates that come of it, and on the listener they are shown to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use feed::frame::{Assembler, Cutter, HEAD_BYTES, Head};
use feed::{Down, Hello, Purpose, Up};
use model::Timestamp;
use pki::svid::{IdentityCa, IdentityKey, ProvenKey, SVID_LIFE};
use pki::tls::identity::{Identity, Trust, control_name, gateway_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::ask;
use super::fleet::Fleet;
use crate::harness::{WIKI, soon};

pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_nanos()).unwrap())
}

fn pin(token: &str) -> [u8; 32] {
    let (_, pin) = token.rsplit_once('.').unwrap();
    data_encoding::BASE64URL_NOPAD.decode(pin.as_bytes()).unwrap().try_into().unwrap()
}

pub(super) fn stranger() -> Identity {
    let key = IdentityKey::generate().unwrap();
    Identity { chain_pem: key.proof(now()).unwrap().0, key_pem: key.pem() }
}

async fn connect(feed: SocketAddr, identity: &Identity, token: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(gateway_config(identity, Trust::Pin(pin(token))).unwrap());
    let stream = TcpStream::connect(feed).await?;
    connector.connect(control_name().unwrap(), stream).await
}

/// A conversation in the frames of the feed, by hand.
pub(super) struct Talk {
    stream: TlsStream<TcpStream>,
    assembler: Assembler,
}

impl Talk {
    /// Connects and greets; what comes back, `None` when the connection ends instead.
    pub(super) async fn begin(
        feed: SocketAddr,
        identity: &Identity,
        token: &str,
        purpose: Purpose,
    ) -> (Self, Option<Down>) {
        let stream = connect(feed, identity, token).await.unwrap();
        let mut talk = Self { stream, assembler: Assembler::default() };
        talk.say(&Up::Hello(Hello { protocol: feed::PROTOCOL, software: "test".into(), purpose })).await;
        let answer = talk.next().await;
        (talk, answer)
    }

    pub(super) async fn say(&mut self, message: &Up) {
        let mut cutter = Cutter::new(message.lane(), feed::wire::encode(message)).unwrap();
        let mut bytes = Vec::new();
        while let Some((head, piece)) = cutter.next_frame() {
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(piece);
        }
        // Who has refused already may be gone; what was said before is read next.
        if self.stream.write_all(&bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    pub(super) async fn next(&mut self) -> Option<Down> {
        loop {
            let mut head = [0; HEAD_BYTES];
            soon(self.stream.read_exact(&mut head)).await.ok()?;
            let head = Head::read(head).unwrap();
            let mut piece = vec![0; head.bytes];
            soon(self.stream.read_exact(&mut piece)).await.ok()?;
            if let Some(message) = self.assembler.add(head, &piece).unwrap() {
                return Some(feed::wire::decode(&message).unwrap());
            }
        }
    }

    /// The answer to a question; everything else is passed over.
    pub(super) async fn reply(&mut self, wanted: u64) -> feed::Reply {
        loop {
            match self.next().await {
                Some(Down::Reply { ask, reply }) if ask == wanted => return reply,
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    }
}

/// What comes back to a greeting; `None` when the connection ends instead.
pub(super) async fn greet(
    feed: SocketAddr,
    identity: &Identity,
    token: &str,
    protocol: u16,
    purpose: Purpose,
) -> Option<Down> {
    let stream = connect(feed, identity, token).await.ok()?;
    let mut talk = Talk { stream, assembler: Assembler::default() };
    talk.say(&Up::Hello(Hello { protocol, software: "test".into(), purpose })).await;
    talk.next().await
}

pub(super) fn refusal(answer: Option<Down>) -> String {
    match answer {
        Some(Down::Refused(why)) => why,
        Some(_) => panic!("not refused"),
        None => "ended".to_owned(),
    }
}

pub(super) fn joining(token: &str) -> Purpose {
    Purpose::Join { token: Zeroizing::new(token.to_owned()) }
}

pub(super) fn subscribing() -> Purpose {
    Purpose::Subscribe { have: None, keys: "{\"keys\":[]}".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_a_token_is_good_for_one_key_and_certificates_only_for_gateways_that_are_listed() {
    let mut fleet = Fleet::start(&[], "5m").await;
    fleet.prepare("west");
    let token = fleet.token("west").await;
    // Guessed: the right pin and another secret.
    let (_, pin) = token.rsplit_once('.').unwrap();
    let guessed = format!("{}.{pin}", "A".repeat(43));
    let first = stranger();
    assert!(refusal(greet(fleet.feed, &first, &guessed, feed::PROTOCOL, joining(&guessed)).await).contains("unknown"));
    // Another release.
    let why = refusal(greet(fleet.feed, &first, &token, feed::PROTOCOL + 1, joining(&token)).await);
    assert!(why.contains("run the same release"), "{why}");
    // The first key may repeat itself, any other is told what a guess is told.
    for _ in 0..2 {
        assert!(matches!(
            greet(fleet.feed, &first, &token, feed::PROTOCOL, joining(&token)).await,
            Some(Down::Reply { reply: feed::Reply::Certificate { .. }, .. })
        ));
    }
    assert!(refusal(greet(fleet.feed, &stranger(), &token, feed::PROTOCOL, joining(&token)).await).contains("unknown"));
    let failed = fleet.join(0, &token);
    assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("used"), "{failed:?}");
    // A key alone is told nothing.
    let why = refusal(greet(fleet.feed, &first, &token, feed::PROTOCOL, subscribing()).await);
    assert!(why.contains("join first"), "{why}");
    // A certificate of another authority is not even a handshake.
    let other = IdentityCa::create("localhost", now()).unwrap();
    let key = IdentityKey::generate().unwrap();
    let proven = ProvenKey::of(&key.proof(now()).unwrap().1).unwrap();
    let id = "spiffe://localhost/countersign/gateway/west".parse().unwrap();
    let forged = Identity { chain_pem: other.issue(&id, &proven, now(), SVID_LIFE).unwrap(), key_pem: key.pem() };
    assert_eq!(refusal(greet(fleet.feed, &forged, &token, feed::PROTOCOL, subscribing()).await), "ended");
    // The record has the invitation and one joining per answer, and nothing of the token.
    let kinds = fleet.operator().get_with("/api/v1/audit/records", &[("type", "gateway.joined".to_owned())]).await;
    let records = kinds.unwrap();
    assert!(!records["records"].as_array().unwrap().is_empty(), "{records}");
    assert!(!records.to_string().contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_hostile_bytes_end_the_connection_and_nothing_else() {
    let fleet = Fleet::start(&["west"], "5m").await;
    let token = fleet.token("east").await;
    for bytes in [
        vec![0xff; 64],
        vec![2, 0, 0x40, 1],
        vec![1, 1, 0, 5, 3, 0xff, 0xff, 0xff, 0xff],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
    ] {
        let mut stream = connect(fleet.feed, &stranger(), &token).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{bytes:?} keeps the connection");
    }
    // Plain bytes to a TLS port.
    let mut plain = TcpStream::connect(fleet.feed).await.unwrap();
    plain.write_all(&[0; 100]).await.unwrap();
    fleet.until("west", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_removed_is_refused_and_its_keys_are_gone_at_once() {
    let mut fleet = Fleet::start(&["west", "east"], "3s").await;
    let mut alice = fleet.engineer("alice", 0).await;
    alice.open(WIKI, "/page").await;
    let cookie = alice.cookies(WIKI);
    fleet.operator().delete("/api/v1/gateways/east").await.unwrap();
    let kids = async |fleet: &Fleet| {
        let mut wire = fleet.control.door.http1().await;
        wire.send(crate::harness::request("GET", "localhost", "/.well-known/countersign/jwks.json", "", "")).await;
        wire.answer().await.text()
    };
    let keys = kids(&fleet).await;
    assert!(keys.contains("west-") && !keys.contains("east-"), "{keys}");
    assert_eq!(fleet.states().await.len(), 1);
    // Its process goes on with what it knew, and closes when that is too old.
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(&fleet.gateways[1].door, &cookie).await.status != 503 {
        assert!(Instant::now() < deadline, "{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(fleet.gateways[1].log().contains("was removed"), "{}", fleet.gateways[1].log());
    // Started again it comes no further.
    fleet.gateways[1].kill();
    fleet.gateways[1].spawn();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_ne!(ask(&fleet.gateways[0].door, &cookie).await.status, 503);
    assert_eq!(fleet.states().await.len(), 1);
    assert!(fleet.operator().delete("/api/v1/gateways/east").await.is_err(), "there is none any more");
    // A withdrawal names who is left, and is proven without the one that is gone.
    let whose = serde_json::json!({ "user": "alice@example.org" });
    let ended = fleet.operator().post("/api/v1/sessions/revoke", &whose).await.unwrap();
    assert_eq!(ended["revocations"][0]["gateways"].as_array().unwrap().len(), 2, "{ended}");
}
