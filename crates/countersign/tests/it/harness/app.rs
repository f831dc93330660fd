//! An app that keeps every byte it is sent, echoes requests, and holds streams open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::wire::find;

/// How often an open stream says something.
const BEAT: Duration = Duration::from_millis(3);
/// The key of RFC 6455 §1.3, which every WebSocket of these tests uses, and its answer.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request as the app got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    asked: Vec<Asked>,
    ended: Vec<String>,
}

/// The app.
#[derive(Clone)]
pub(crate) struct RecordingApp {
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl RecordingApp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self { address: listener.local_addr().unwrap(), kept: Arc::default() };
        let serving = app.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(Connection { app: serving.clone(), stream, read: Vec::new() }.serve());
            }
        });
        app
    }

    /// Every byte so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.kept.lock().unwrap().bytes.clone()
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.kept.lock().unwrap().asked)
    }

    /// The targets of streams that were hung up on.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.kept.lock().unwrap().ended.clone()
    }
}

struct Connection {
    app: RecordingApp,
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    async fn serve(mut self) {
        while let Some(asked) = self.next().await {
            let target = asked.target().to_owned();
            self.app.kept.lock().unwrap().asked.push(asked.clone());
            match target.split('?').next().unwrap_or_default() {
                "/live" if !asked.all("upgrade").is_empty() => {
                    let head = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n"
                    );
                    return self.hold(&target, &head, b"\x81\x04beat").await;
                }
                "/events" => {
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                    return self.hold(&target, head, b"c\r\ndata: beat\n\n\r\n").await;
                }
                "/download" => {
                    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                    return self.hold(&target, head, b"4\r\nbeat\r\n").await;
                }
                _ => {
                    let is_head = asked.line().starts_with("HEAD ");
                    let body = if is_head { Vec::new() } else { [asked.head.as_bytes(), &asked.body].concat() };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if self.stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Says something every few milliseconds until it is hung up on.
    async fn hold(mut self, target: &str, head: &str, piece: &[u8]) {
        let mut is_open = self.stream.write_all(head.as_bytes()).await.is_ok();
        while is_open {
            let mut byte = [0];
            is_open = tokio::select! {
                read = self.stream.read(&mut byte) => {
                    self.app.kept.lock().unwrap().bytes.extend(byte);
                    read.is_ok_and(|count| count > 0)
                }
                () = tokio::time::sleep(BEAT) => self.stream.write_all(piece).await.is_ok(),
            };
        }
        self.app.kept.lock().unwrap().ended.push(target.to_owned());
    }

    async fn more(&mut self) -> Option<()> {
        let before = self.read.len();
        let count = self.stream.read_buf(&mut self.read).await.ok()?;
        self.app.kept.lock().unwrap().bytes.extend_from_slice(&self.read[before..]);
        (count > 0).then_some(())
    }

    /// The next request, whole; `None` at the end.
    async fn next(&mut self) -> Option<Asked> {
        let end = loop {
            match find(&self.read, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut asked = Asked { head, body: Vec::new() };
        if let Some(length) = asked.all("content-length").first() {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                self.more().await?;
            }
            asked.body = self.read.drain(..length).collect();
        } else if !asked.all("transfer-encoding").is_empty() {
            let end = loop {
                match chunked_end(&self.read) {
                    Some(end) => break end,
                    None => self.more().await?,
                }
            };
            asked.body = self.read.drain(..end).collect();
        }
        Some(asked)
    }
}

/// Where a chunked body ends, trailers included.
fn chunked_end(read: &[u8]) -> Option<usize> {
    let last = if read.starts_with(b"0\r\n") { 0 } else { find(read, b"\r\n0\r\n")? + 2 };
    Some(last + find(&read[last..], b"\r\n\r\n")? + 4)
}
