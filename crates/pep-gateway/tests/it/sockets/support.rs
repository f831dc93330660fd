//! A running door, clients that speak raw bytes, and upstreams that do as they are told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::app::{App, UpstreamName, UpstreamScheme, UpstreamTarget};
use model::record::{AuditRecord, RecordType};
use model::{SessionId, UserId};
use pep_gateway::listener::{ListenerLimits, ListenerSettings, TrustedPeers, serve};
use rustls::pki_types::ServerName;
use testkit::{FakePdp, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::core::world::{ALICE, World, app, apps, rules};

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const WIKI: &str = "wiki.localhost";
pub(crate) const NAMES: &[&str] = &["localhost", WIKI, "payroll.localhost"];

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// A door that serves the company of [`World`].
pub(crate) struct Running {
    pub(crate) world: World,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    address: SocketAddr,
    ca: TestCa,
}

impl Running {
    /// A door whose wiki is at `upstream`.
    pub(crate) async fn wiki_at(upstream: SocketAddr) -> Self {
        Self::start(wiki_apps(&[upstream]), |_| ()).await
    }

    pub(crate) async fn start(apps: Vec<App>, change: impl FnOnce(&mut ListenerSettings)) -> Self {
        Self::over(World::with(apps, |directory| rules(Arc::clone(directory))), change).await
    }

    /// A door on the port of the scheme that lets everybody in, so that only the gate stands before the upstream.
    pub(crate) async fn for_everybody(apps: Vec<App>) -> Self {
        Self::over(World::with(apps, |_| FakePdp::allowing()), |settings| {
            settings.public_port = 443;
            settings.limits.handshakes_per_second = u32::MAX;
        })
        .await
    }

    pub(crate) async fn over(world: World, change: impl FnOnce(&mut ListenerSettings)) -> Self {
        let ca = TestCa::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = ListenerSettings {
            name: Arc::from("127.0.0.1:8443"),
            public_port: 8443,
            limits: ListenerLimits::STANDARD,
            drain: Duration::from_secs(5),
            haste: CancellationToken::new(),
            trusted_peers: Arc::new(TrustedPeers::NONE),
            upstream_roots_pem: Some(Arc::from(ca.root_pem())),
            upstream_identities: Arc::from([]),
        };
        change(&mut settings);
        let tls = Arc::new(ArcSwap::new(ca.server_config(NAMES)));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(Arc::clone(&world.gateway), listener, tls, settings, shutdown.clone()));
        Self { world, shutdown, serving, address, ca }
    }

    /// A client that speaks HTTP/1.1 in raw bytes.
    pub(crate) async fn client(&self) -> Client {
        Client { stream: self.connect(&[b"http/1.1"]).await, read: Vec::new() }
    }

    /// A client that speaks HTTP/2.
    pub(crate) async fn client_h2(&self) -> h2::client::SendRequest<bytes::Bytes> {
        let (sender, connection) = h2::client::handshake(self.connect(&[b"h2"]).await).await.unwrap();
        tokio::spawn(async move {
            // Ends with an error where a test cuts or stops the door.
            let _ = connection.await;
        });
        sender
    }

    /// A client that has not said anything yet.
    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn connect(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let tcp = self.tcp().await;
        self.secure(tcp, alpn).await
    }

    /// TLS over a connection on which something was said already.
    pub(crate) async fn secure(&self, tcp: TcpStream, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        tcp.set_nodelay(true).unwrap();
        let connector = tokio_rustls::TlsConnector::from(self.ca.client_config(alpn));
        soon(connector.connect(ServerName::try_from(WIKI).unwrap(), tcp)).await.unwrap()
    }

    /// The cookie of `user` on the wiki.
    pub(crate) fn cookie(&self, user: UserId) -> String {
        self.sign_in(user).1
    }

    pub(crate) fn sign_in(&self, user: UserId) -> (SessionId, String) {
        self.world.sign_in(user, WIKI)
    }

    /// Waits for a completion record.
    pub(crate) async fn completion(&self) -> AuditRecord {
        self.record(RecordType::AccessCompletion).await
    }

    pub(crate) async fn record(&self, kind: RecordType) -> AuditRecord {
        soon(async {
            loop {
                if let Some(record) = self.world.recorder.of_type(kind).pop() {
                    return record;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub(crate) fn ca(&self) -> &TestCa {
        &self.ca
    }
}

/// The company, with the wiki at `targets`.
pub(crate) fn wiki_apps(targets: &[SocketAddr]) -> Vec<App> {
    let mut all = apps();
    for app in &mut all {
        for upstream in app.upstreams.values_mut() {
            upstream.targets = targets.iter().map(|target| target_at(*target, UpstreamScheme::Http)).collect();
        }
    }
    all
}

pub(crate) fn target_at(address: SocketAddr, scheme: UpstreamScheme) -> UpstreamTarget {
    UpstreamTarget { scheme, host: address.ip().to_string(), port: address.port() }
}

/// The wiki alone, changed.
pub(crate) fn wiki_with(target: SocketAddr, change: impl FnOnce(&mut App)) -> Vec<App> {
    let mut wiki = app("wiki", &[WIKI]);
    let upstream = wiki.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
    upstream.targets = vec![target_at(target, UpstreamScheme::Http)];
    change(&mut wiki);
    vec![wiki]
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that speaks raw bytes.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) read: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads until `is_enough`.
    pub(crate) async fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) {
        soon(async {
            while !is_enough(&self.read) {
                let count = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(count, 0, "the door hung up after {:?}", String::from_utf8_lossy(&self.read));
            }
        })
        .await;
    }

    pub(crate) async fn head(&mut self) -> String {
        self.read_until(|read| find(read, b"\r\n\r\n").is_some()).await;
        let end = find(&self.read, b"\r\n\r\n").unwrap() + 4;
        String::from_utf8(self.read.drain(..end).collect()).unwrap()
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.read_until(|read| read.len() >= count).await;
        self.read.drain(..count).collect()
    }

    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        self.read_until(|read| find(read, b"\r\n").is_some()).await;
        let end = find(&self.read, b"\r\n").unwrap();
        let line: Vec<u8> = self.read.drain(..end + 2).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
        let mut data = self.exactly(size + 2).await;
        data.truncate(size);
        data
    }

    /// One whole response.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        if let Some(length) = answer.header("content-length") {
            answer.body = self.exactly(length.parse().unwrap()).await;
        } else if answer.header("transfer-encoding").is_some() {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                answer.body.extend(chunk);
            }
        }
        answer
    }

    /// Everything up to the end, clean or not; true if it was clean.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let end = soon(self.stream.read_to_end(&mut self.read)).await;
        (std::mem::take(&mut self.read), end.is_ok())
    }

    /// A GET of alice's, or whoever's cookie it is.
    pub(crate) async fn get(&mut self, target: &str, cookie: &str) -> Answer {
        self.send(request("GET", target, cookie, "")).await;
        self.answer().await
    }
}

pub(crate) fn request(method: &str, target: &str, cookie: &str, more: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {WIKI}:8443\r\nCookie: {cookie}\r\n{more}\r\n")
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// What an upstream was sent: head and body of one request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let values = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        values.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
    }
}

/// An upstream that reads whole requests and answers each with the bytes it is told to.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) asked: mpsc::UnboundedReceiver<Asked>,
}

impl Scripted {
    /// `answer` gets the request; after `None` the connection is closed.
    pub(crate) async fn new(answer: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let answer = Arc::new(answer);
        let address = upstream(move |connection, mut stream| {
            let (sender, answer) = (sender.clone(), Arc::clone(&answer));
            async move {
                let mut read = Vec::new();
                while let Some(asked) = next_request(connection, &mut stream, &mut read).await {
                    let bytes = answer(&asked);
                    let _ = sender.send(asked);
                    match bytes {
                        Some(bytes) => stream.write_all(&bytes).await.unwrap(),
                        None => return,
                    }
                }
            }
        })
        .await;
        Self { address, asked }
    }

    /// Answers 200 with the request's head and body.
    pub(crate) async fn echo() -> Self {
        Self::new(|asked| Some(ok(&[asked.head.as_bytes(), &asked.body].concat()))).await
    }

    pub(crate) async fn next(&mut self) -> Asked {
        soon(self.asked.recv()).await.unwrap()
    }

    /// What has arrived so far, and nothing else.
    pub(crate) fn so_far(&mut self) -> Vec<Asked> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// An upstream that does with each connection what `handle` says.
pub(crate) async fn upstream<F>(handle: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(handle(connection, stream));
            connection += 1;
        }
    });
    address
}

/// The next request on a connection, whole; `None` at its end.
pub(crate) async fn next_request(connection: usize, stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Asked> {
    let end = loop {
        if let Some(end) = find(read, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read.drain(..end).collect()).unwrap();
    let mut asked = Asked { connection, head, body: Vec::new() };
    let length = asked.all("content-length").first().map(|length| length.parse().unwrap());
    let is_chunked = !asked.all("transfer-encoding").is_empty();
    loop {
        let is_whole = match length {
            Some(length) => read.len() >= length,
            None => !is_chunked || chunked_end(read).is_some(),
        };
        if is_whole {
            break;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let body_end = match length {
        Some(length) => length,
        None if is_chunked => chunked_end(read).unwrap(),
        None => 0,
    };
    asked.body = read.drain(..body_end).collect();
    Some(asked)
}

/// Where a chunked body ends, trailers included.
fn chunked_end(read: &[u8]) -> Option<usize> {
    let last_chunk = if read.starts_with(b"0\r\n") { 0 } else { find(read, b"\r\n0\r\n")? + 2 };
    Some(last_chunk + find(&read[last_chunk..], b"\r\n\r\n")? + 4)
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// The usual visitor.
pub(crate) const VISITOR: UserId = ALICE;
