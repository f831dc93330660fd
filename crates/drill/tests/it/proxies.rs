//! Proxies to be drilled: one that relays bytes, one that reads with the gate, one that shares upstream connections.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use http_gate::h1::{Event, ServerConnection};
use http_gate::upstream::UpstreamRequest;
use http_gate::{GateSettings, RawRequest};
use model::app::{PathProfile, PathSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A running proxy; it ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepting }
    }

    /// Looks at the first line of a connection and copies bytes from there on.
    pub(crate) async fn relay(upstream: SocketAddr) -> Self {
        Self::serve(move |mut client| async move {
            let mut buffer = vec![0; 64 * 1024];
            let count = client.read(&mut buffer).await?;
            let first = &buffer[..count];
            if first.split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.starts_with(b"/admin")) {
                return client.write_all(FORBIDDEN).await;
            }
            let mut server = TcpStream::connect(upstream).await?;
            server.write_all(first).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        })
        .await
    }

    /// Reads with the gate, forwards what the gate serialises on a connection of its own, takes one answer back.
    pub(crate) async fn gate(upstream: SocketAddr) -> Self {
        Self::serve(move |client| forward(client, move || async move { TcpStream::connect(upstream).await }, |_| {}))
            .await
    }

    /// As [`Self::gate`], but whatever upstream connection is at hand is used again, with whatever is left in it.
    pub(crate) async fn sharing(upstream: SocketAddr) -> Self {
        let shelf: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        Self::serve(move |client| {
            let (from, to) = (Arc::clone(&shelf), Arc::clone(&shelf));
            let open = move || {
                let shelf = Arc::clone(&from);
                async move {
                    match shelf.lock().await.pop() {
                        Some(stream) => Ok(stream),
                        None => TcpStream::connect(upstream).await,
                    }
                }
            };
            forward(client, open, move |stream| {
                if let Ok(mut shelf) = to.try_lock() {
                    shelf.push(stream);
                }
            })
        })
        .await
    }
}

async fn forward<F>(
    mut client: TcpStream,
    open: impl Fn() -> F + Send,
    give_back: impl Fn(TcpStream) + Send,
) -> std::io::Result<()>
where
    F: Future<Output = std::io::Result<TcpStream>> + Send,
{
    let mut connection = ServerConnection::new();
    let mut request: Option<(Vec<u8>, Vec<u8>, bool)> = None;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match connection.next_event() {
            Ok(Event::Head(raw)) => match head(*raw) {
                Ok((head, is_chunked)) => request = Some((head, Vec::new(), is_chunked)),
                Err(status) => connection.refuse_as(status, &HeaderMap::new(), b""),
            },
            Ok(Event::Body(data)) => {
                if let Some((_, body, _)) = &mut request {
                    body.extend_from_slice(&data);
                }
            }
            Ok(Event::End { .. }) => {}
            Ok(Event::Waiting) => {
                let Some((mut bytes, body, is_chunked)) = request.take() else { return Ok(()) };
                match is_chunked {
                    true if body.is_empty() => bytes.extend_from_slice(b"0\r\n\r\n"),
                    true => bytes.extend_from_slice(
                        &[format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
                    ),
                    false => bytes.extend_from_slice(&body),
                }
                let mut server = open().await?;
                server.write_all(&bytes).await?;
                match answer(&mut server).await {
                    Some(body) => {
                        give_back(server);
                        let _ = connection.respond(StatusCode::OK, &HeaderMap::new(), &body);
                    }
                    None => connection.refuse_as(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b""),
                }
            }
            Ok(Event::NeedMore) => {
                client.write_all(&connection.take_output()).await?;
                match client.read(&mut buffer).await? {
                    0 => connection.receive_end(),
                    count => connection.receive(&buffer[..count]),
                }
            }
            Ok(Event::Closed) => {}
            Err(refusal) => connection.refuse(&refusal),
        }
        if connection.should_close() {
            client.write_all(&connection.take_output()).await?;
            return client.shutdown().await;
        }
    }
}

/// The head as it goes upstream, or why it does not.
fn head(raw: RawRequest) -> Result<(Vec<u8>, bool), StatusCode> {
    let path = PathSettings { profile: PathProfile::Strict, allow: Default::default(), is_case_insensitive: false };
    let owned = ["x-forwarded-user".to_owned()];
    let settings = GateSettings {
        path: &path,
        has_path_rules: true,
        passes_odd_header_names: false,
        judges_method_override: false,
        owned_names: &owned,
    };
    if raw.host().name() != "app.localhost" || raw.is_websocket() {
        return Err(StatusCode::MISDIRECTED_REQUEST);
    }
    let request = raw.canonicalise(&settings).map_err(|refusal| refusal.status())?;
    if http_gate::path::path_matches("/admin", request.match_path()) {
        return Err(StatusCode::FORBIDDEN);
    }
    let mut bytes = BytesMut::new();
    UpstreamRequest { request: &request, host: None, extra: &HeaderMap::new() }.write_head(&mut bytes);
    Ok((bytes.to_vec(), request.framing() == http_gate::Framing::Chunked))
}

/// The body of one answer with a plain length; the first that is read, wherever it comes from.
async fn answer(server: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(server.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let mut lengths = text.lines().filter_map(|line| line.strip_prefix("content-length: "));
    let (first, second) = (lengths.next(), lengths.next());
    if text.contains("transfer-encoding") || second.is_some() || !text.starts_with("http/1.1 200 ") {
        return None;
    }
    let mut body = vec![0; first?.trim().parse().ok()?];
    server.read_exact(&mut body).await.ok()?;
    Some(body)
}
