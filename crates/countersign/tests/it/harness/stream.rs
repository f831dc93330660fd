//! Streams that stay open, read all the time by a task that notes what came and when it ended.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::app::{ACCEPT, KEY};
use super::wire::{Door, Wire};
use super::{PATIENCE, WIKI, World, request, soon};

/// Close 1008 (policy violation) with nothing else, as a server sends it.
const CLOSE_1008: &[u8] = &[0x88, 2, 0x03, 0xf0];

#[derive(Default)]
struct Heard {
    bytes: u64,
    reads: u64,
    tail: Vec<u8>,
    ended: Option<(Instant, String)>,
}

/// One open stream.
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    heard: Arc<Mutex<Heard>>,
}

impl Stream {
    /// How often something came.
    pub(crate) fn reads(&self) -> u64 {
        self.heard.lock().unwrap().reads
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.heard.lock().unwrap().bytes
    }

    pub(crate) fn is_open(&self) -> bool {
        self.heard.lock().unwrap().ended.is_none()
    }

    /// When and how it ended.
    pub(crate) async fn end(&self) -> (Instant, String) {
        self.wait(|heard| heard.ended.clone()).await
    }

    /// Waits until it said something `more` times from now on.
    pub(crate) async fn goes_on(&self, more: u64) {
        let before = self.reads();
        self.wait(|heard| (heard.reads >= before + more).then_some(())).await;
        assert!(self.is_open(), "{} was cut", self.name);
    }

    /// Whether the last bytes were a WebSocket close with 1008.
    pub(crate) fn closed_by_policy(&self) -> bool {
        self.heard.lock().unwrap().tail.ends_with(CLOSE_1008)
    }

    /// Whether the last bytes are the end of a chunked body: what a cut must never look like.
    pub(crate) fn looks_whole(&self) -> bool {
        self.heard.lock().unwrap().tail.ends_with(b"0\r\n\r\n")
    }

    /// An event stream of the wiki through `door`.
    pub(crate) async fn events(door: &Door, who: &str, cookie: &str) -> Self {
        let mut wire = door.http1().await;
        wire.send(request("GET", WIKI, &format!("/events?who={who}"), cookie, "")).await;
        assert_eq!(wire.head().await.status, 200);
        Self::of_wire("sse", wire)
    }

    async fn wait<T>(&self, done: impl Fn(&Heard) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = done(&self.heard.lock().unwrap()) {
                return done;
            }
            assert!(Instant::now() < deadline, "{}: waited too long", self.name);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn of_wire(name: &'static str, wire: Wire) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (mut stream, first) = wire.into_parts();
        note(&heard, &first);
        let noted = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            let how = loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => break "end of stream".to_owned(),
                    Ok(count) => note(&noted, &buffer[..count]),
                    Err(error) => break error.to_string(),
                }
            };
            noted.lock().unwrap().ended = Some((Instant::now(), how));
        });
        Self { name, heard }
    }
}

fn note(heard: &Mutex<Heard>, bytes: &[u8]) {
    let mut heard = heard.lock().unwrap();
    heard.bytes += bytes.len() as u64;
    heard.reads += u64::from(!bytes.is_empty());
    heard.tail.extend_from_slice(bytes);
    let extra = heard.tail.len().saturating_sub(64);
    heard.tail.drain(..extra);
}

/// A WebSocket, an event stream, a download over HTTP/1.1 and one over HTTP/2, all of one person on the wiki.
pub(crate) async fn open_four(world: &World, who: &str, cookie: &str) -> Vec<Stream> {
    let streams = vec![
        websocket(world, who, cookie).await,
        http1(world, "sse", &format!("/events?who={who}"), cookie).await,
        http1(world, "http1", &format!("/download?who={who}"), cookie).await,
        http2(world, who, cookie).await,
    ];
    for stream in &streams {
        stream.goes_on(2).await;
    }
    streams
}

pub(crate) fn upgrade(target: &str, cookie: &str, origin: &str) -> String {
    let more = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{origin}"
    );
    request("GET", WIKI, target, cookie, &more)
}

async fn websocket(world: &World, who: &str, cookie: &str) -> Stream {
    let mut wire = world.wire().await;
    wire.send(upgrade(&format!("/live?who={who}"), cookie, &format!("Origin: https://{WIKI}\r\n"))).await;
    let head = wire.head().await;
    assert!(head.status == 101 && head.head.contains(ACCEPT), "{head:?}");
    Stream::of_wire("websocket", wire)
}

async fn http1(world: &World, name: &'static str, target: &str, cookie: &str) -> Stream {
    let mut wire = world.wire().await;
    wire.send(request("GET", WIKI, target, cookie, "")).await;
    assert_eq!(wire.head().await.status, 200);
    Stream::of_wire(name, wire)
}

async fn http2(world: &World, who: &str, cookie: &str) -> Stream {
    let (sender, connection) = soon(h2::client::handshake(world.door.http2().await)).await.unwrap();
    tokio::spawn(async move {
        // Ends with the test.
        let _ = connection.await;
    });
    let mut sender = soon(sender.ready()).await.unwrap();
    let request = http::Request::get(format!("https://{WIKI}/download?who={who}-h2")).header("cookie", cookie);
    let (response, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), 200);
    let heard = Arc::new(Mutex::new(Heard::default()));
    let noted = Arc::clone(&heard);
    tokio::spawn(async move {
        // Kept, so that the connection stays and only the stream is cut.
        let _sender = sender;
        let mut body = response.into_body();
        let how = loop {
            match body.data().await {
                None => break "end of stream".to_owned(),
                Some(Err(error)) => break format!("{:?}", error.reason()),
                Some(Ok(data)) => {
                    note(&noted, &data);
                    let _ = body.flow_control().release_capacity(data.len());
                }
            }
        };
        noted.lock().unwrap().ended = Some((Instant::now(), how));
    });
    Stream { name: "h2", heard }
}
