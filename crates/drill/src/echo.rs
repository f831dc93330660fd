//! The upstream of a drill: it records every request byte by byte as the gate reads it, and answers with what it saw.
//!
//! It is as strict as the gate: what the gate refuses has two readings, and an app behind the proxy may take the other
//! one. It speaks HTTP/1.1 without TLS.
//!
//! Invariants: nothing is forgotten before [`Echo::take`]; a connection keeps at most [`MAX_KEPT_BYTES`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, StatusCode};
use http_gate::RawRequest;
use http_gate::h1::{Event, ResponseBody, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::misbehaviour;

/// Names the exchange; what comes back tells whose answer it is.
pub(crate) const MARKER: &str = "x-drill";
/// Tells the echo to misbehave.
pub(crate) const ORDER: &str = "x-drill-answer";
/// The answer to [`crate::wire::WEBSOCKET_KEY`].
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Of a body and of one connection's bytes.
pub(crate) const MAX_KEPT_BYTES: usize = 256 * 1024;
/// The most connections at once; more wait.
const MAX_CONNECTIONS: usize = 1024;

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// Which connection, counted from the start.
    pub connection: u64,
    /// As sent.
    pub method: String,
    /// `path[?query]` as sent.
    pub target: String,
    /// The canonical host.
    pub host: String,
    /// In order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// As far as it came.
    pub body: Vec<u8>,
    /// True once its last byte was there.
    pub is_whole: bool,
    /// What the gate said instead of reading it; then `method` is empty and `target` is how the bytes begin.
    pub refused: Option<String>,
}

impl Arrived {
    /// Every value of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// What names the exchange it belongs to.
    pub fn marker(&self) -> Option<&str> {
        self.all(MARKER).next()
    }
}

/// The running upstream. It ends when dropped.
pub struct Echo {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    accepting: JoinHandle<()>,
}

impl Echo {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn start(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&arrived)));
        Ok(Self { address, arrived, accepting })
    }

    /// Where the proxy has to send requests.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that arrived since the last call.
    pub fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, arrived: Arc<Mutex<Vec<Arrived>>>) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    let mut number = 0;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        number += 1;
        let arrived = Arc::clone(&arrived);
        connections.spawn(async move {
            let _slot = slot;
            let _ = Served { number, arrived, at: None, is_upgraded: false }.serve(stream).await;
        });
    }
}

struct Served {
    number: u64,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    /// The request being read.
    at: Option<Arrived>,
    is_upgraded: bool,
}

impl Served {
    async fn serve(mut self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut connection = ServerConnection::new();
        let mut received = Vec::new();
        loop {
            let output = self.handle(&mut connection, &received);
            stream.write_all(&output).await?;
            if connection.should_close() {
                return stream.shutdown().await;
            }
            let mut buffer = [0; 16 * 1024];
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            let bytes = buffer.get(..count).unwrap_or_default();
            if self.is_upgraded && count > 0 {
                // WebSocket frames, or what the proxy takes for them: the same bytes come back.
                stream.write_all(bytes).await?;
                continue;
            }
            if received.len() < MAX_KEPT_BYTES {
                received.extend_from_slice(bytes);
            }
            match count {
                0 => connection.receive_end(),
                _ => connection.receive(bytes),
            }
            if count == 0 {
                self.handle(&mut connection, &received);
                self.keep();
                return Ok(());
            }
        }
    }

    /// Takes all that is there; gives what to send.
    fn handle(&mut self, connection: &mut ServerConnection, received: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            match connection.next_event() {
                Ok(Event::Head(raw)) => {
                    self.keep();
                    connection.write_continue();
                    self.at = Some(arrived(&raw, self.number));
                }
                Ok(Event::Body(data)) => {
                    if let Some(at) = self.at.as_mut().filter(|at| at.body.len() < MAX_KEPT_BYTES) {
                        at.body.extend_from_slice(&data);
                    }
                }
                Ok(Event::End { .. }) => {}
                Ok(Event::Waiting) => {
                    output.extend_from_slice(&connection.take_output());
                    let Some(mut at) = self.at.take() else { return output };
                    at.is_whole = true;
                    let answer = answer(&at, connection);
                    self.is_upgraded = answer.starts_with(b"HTTP/1.1 101 ");
                    self.push(at);
                    output.extend_from_slice(&answer);
                    if connection.should_close() {
                        return output;
                    }
                }
                Ok(Event::NeedMore | Event::Closed) => {
                    output.extend_from_slice(&connection.take_output());
                    return output;
                }
                Err(refusal) => {
                    let start = received.get(..received.len().min(200)).unwrap_or_default();
                    let mut at = self.at.take().unwrap_or_else(|| Arrived {
                        connection: self.number,
                        target: start.escape_ascii().to_string(),
                        ..Arrived::default()
                    });
                    at.refused = Some(refusal.to_string());
                    self.push(at);
                    connection.refuse(&refusal);
                    output.extend_from_slice(&connection.take_output());
                    return output;
                }
            }
        }
    }

    /// Records the request in progress as it is.
    fn keep(&mut self) {
        if let Some(at) = self.at.take() {
            self.push(at);
        }
    }

    fn push(&self, at: Arrived) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    }
}

fn arrived(raw: &RawRequest, connection: u64) -> Arrived {
    let mut target = raw.raw_path().escape_ascii().to_string();
    if let Some(query) = raw.raw_query() {
        target.push('?');
        target.push_str(&query.escape_ascii().to_string());
    }
    let fields = raw.fields().iter();
    Arrived {
        connection,
        method: raw.method().to_owned(),
        target,
        host: raw.host().to_string(),
        fields: fields
            .map(|field| (field.name().to_owned(), String::from_utf8_lossy(field.value()).into_owned()))
            .collect(),
        ..Arrived::default()
    }
}

/// What the app says; the connection then waits for its next request.
fn answer(at: &Arrived, connection: &mut ServerConnection) -> Vec<u8> {
    let is_websocket = at.all("upgrade").any(|value| value.eq_ignore_ascii_case("websocket"))
        && at.all("sec-websocket-key").next().is_some();
    let mut headers = HeaderMap::new();
    if is_websocket && !at.target.contains("refuses-upgrade") {
        for (name, value) in
            [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", WEBSOCKET_ACCEPT)]
        {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        // The raw answer: the gate's writer would take the connection for upgraded.
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n"
        );
        let _ = connection.write_head(StatusCode::SWITCHING_PROTOCOLS, &headers, ResponseBody::Empty);
        connection.take_output();
        return head.into_bytes();
    }
    let marker = at.marker().unwrap_or("none").to_owned();
    if let Ok(value) = http::HeaderValue::try_from(marker.as_str()) {
        headers.insert(MARKER, value);
    }
    let body = format!("drill {marker} end\n");
    let answered = connection.respond(StatusCode::OK, &headers, body.as_bytes());
    let proper = connection.take_output().to_vec();
    match at.all(ORDER).next() {
        Some(order) if answered.is_ok() => misbehaviour::answer(order, &marker).unwrap_or(proper),
        _ => proper,
    }
}
