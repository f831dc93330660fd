//! The app behind the gateway, in the test process, and visitors who keep their connections. The app notes which access
//! reached it; a visitor notes which access was answered, as soon as the head of the answer is there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::rng::Rng;
use crate::harness::{WIKI, soon};

/// Allowed to engineers under either configuration.
pub(super) const PAGE: &str = "/page";
/// The largest request head the app reads; the gateway sends small ones.
const HEAD_BYTES: usize = 64 * 1024;

/// Which accesses reached the app.
#[derive(Clone, Default)]
pub(super) struct Reached(Arc<Mutex<Vec<String>>>);

impl Reached {
    /// What reached it since the last look.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Serves the app on a loopback port of its own.
pub(super) async fn serve_app() -> (u16, Reached) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (port, reached) = (listener.local_addr().unwrap().port(), Reached::default());
    let noted = reached.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, noted.clone()));
        }
    });
    (port, reached)
}

/// Answers requests without bodies until the gateway is gone.
async fn answer_all(mut stream: TcpStream, reached: Reached) {
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
        while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            let text = String::from_utf8(std::mem::replace(&mut head, rest)).unwrap().to_ascii_lowercase();
            let access = text.lines().find_map(|line| line.strip_prefix("x-request-id:")).unwrap();
            reached.0.lock().unwrap().push(access.trim().to_owned());
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n").await.is_err() {
                return;
            }
        }
    }
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) access: String,
    pub(super) status: StatusCode,
    pub(super) target: String,
    /// The session whose cookie was sent, by its place in the list.
    pub(super) session: Option<usize>,
    pub(super) asked: Instant,
}

/// A TLS connection that is kept.
pub(super) struct Line {
    sender: SendRequest<Empty<Bytes>>,
}

impl Line {
    /// Connects to the app's host; `None` when nobody answers.
    pub(super) async fn open(address: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> Option<Self> {
        let stream = soon(TcpStream::connect(address)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(WIKI).unwrap(), stream);
        let (sender, connection) = http1::handshake(TokioIo::new(soon(stream).await.ok()?)).await.ok()?;
        tokio::spawn(connection);
        Some(Self { sender })
    }

    /// GETs as a script of the app does. `None` when no head came; then the line is over.
    pub(super) async fn get(&mut self, target: &str, cookie: Option<(usize, &str)>) -> Option<Answered> {
        let mut request = Request::get(target)
            .header(header::HOST, WIKI)
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-dest", "empty");
        if let Some((_, cookie)) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let asked = Instant::now();
        soon(self.sender.ready()).await.ok()?;
        let response = soon(self.sender.send_request(request.body(Empty::new()).unwrap())).await.ok()?;
        let answered = Answered {
            access: response.headers()["x-request-id"].to_str().unwrap().to_owned(),
            status: response.status(),
            target: target.to_owned(),
            session: cookie.map(|(session, _)| session),
            asked,
        };
        // Read whole where possible, or the line could not be used again; the answer counts in any case.
        soon(response.into_body().collect()).await.ok();
        Some(answered)
    }
}

/// What one visitor asks for.
pub(super) struct Visits {
    pub(super) address: SocketAddr,
    pub(super) tls: Arc<rustls::ClientConfig>,
    /// Cookies by the place of their sessions.
    pub(super) cookies: Arc<[(usize, String)]>,
    /// Asked without a cookie, too.
    pub(super) targets: &'static [&'static str],
    pub(super) is_over: Arc<AtomicBool>,
    pub(super) rng: Rng,
}

impl Visits {
    /// Asks until it is over. Everything that was answered.
    pub(super) async fn run(mut self) -> Vec<Answered> {
        let mut answers = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let Some(mut line) = Line::open(self.address, &self.tls).await else {
                tokio::task::yield_now().await;
                continue;
            };
            while let Some(answer) = self.ask(&mut line).await {
                answers.push(answer);
            }
        }
        answers
    }

    async fn ask(&mut self, line: &mut Line) -> Option<Answered> {
        if self.rng.below(8) == 0 {
            let target = self.targets[self.rng.below(self.targets.len())];
            return line.get(target, None).await;
        }
        let (session, cookie) = &self.cookies[self.rng.below(self.cookies.len())];
        line.get(PAGE, Some((*session, cookie))).await
    }
}
