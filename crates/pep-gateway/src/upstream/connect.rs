//! Opens connections to upstream targets: TCP, then TLS where the target says so, then the HTTP handshake.
//!
//! Not a pool: every call opens a new connection. Certificates are verified unless the operator wrote down why not
//! (GW-74); connect and TLS have their own time-outs, and each failure names the one that fired (GW-73).

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use model::app::{UpstreamScheme, UpstreamTarget, UpstreamTimeouts, UpstreamTls};
use pki::NamedCertificate;
use pki::tls::{ALPN_H2, ALPN_HTTP11, Verify, upstream_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::upload::UploadBody;
use super::{Phase, UpstreamError};

/// What a connection may hold of a message in memory, each way (GW-40).
const BUFFER_BYTES: usize = 64 * 1024;
/// Fields of a response head.
const MAX_RESPONSE_FIELDS: usize = 128;
/// The window given to an upstream for one HTTP/2 stream (GW-40).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The window given to an upstream for a whole HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// TLS configurations kept; more roots than this in use are rebuilt each time.
const MAX_TLS_CONFIGS: usize = 256;

/// Which connections are interchangeable (GW-69).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// Where to.
    pub(crate) target: UpstreamTarget,
    /// Under which identity; `None` without TLS.
    tls: Option<TlsIdentity>,
    /// A WebSocket needs HTTP/1.1, whatever else the upstream speaks.
    pub(crate) is_http1_only: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TlsIdentity {
    roots_pem: Option<Arc<str>>,
    server_name: String,
    is_verified: bool,
    san: Option<String>,
    client: Option<Arc<str>>,
}

impl PoolKey {
    /// The key of connections to `target` as `tls` asks.
    pub(crate) fn new(target: &UpstreamTarget, tls: &UpstreamTls, is_http1_only: bool) -> Self {
        let tls = (target.scheme == UpstreamScheme::Https).then(|| TlsIdentity {
            roots_pem: tls.ca_pem.clone(),
            server_name: tls.sni.clone().unwrap_or_else(|| target.host.clone()),
            is_verified: tls.unverified_because.is_none(),
            san: tls.san.clone(),
            client: tls.client.clone(),
        });
        Self { target: target.clone(), tls, is_http1_only }
    }
}

impl PoolKey {
    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// An open connection.
pub(crate) enum Connection {
    /// One request at a time.
    Http1(Http1Connection),
    /// Many.
    Http2(http2::SendRequest<UploadBody>),
}

/// An exclusive connection. Dropping it ends the connection at once.
pub(crate) struct Http1Connection {
    pub(crate) sender: http1::SendRequest<UploadBody>,
    /// Bytes the upstream has sent on it.
    pub(crate) received: Arc<AtomicU64>,
    /// Ends by itself when an upgrade takes the connection over.
    driver: JoinHandle<()>,
}

impl Http1Connection {
    /// Ends the connection and waits until nothing is written to it any more.
    pub(crate) async fn kill(mut self) {
        self.driver.abort();
        // Aborted or ended: either way it is over.
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Http1Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Bytes the upstream has sent; a shared connection does not tell for one request.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Connection::Http1(connection) => connection.received.load(Ordering::Relaxed),
            Connection::Http2(_) => 0,
        }
    }
}

/// The tasks that drive connections. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Drivers {
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Drivers {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        })
    }

    /// Ends all of them and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Drivers
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

/// Opens connections. Owns the tasks that drive them.
pub(crate) struct Connector {
    roots_pem: Option<Arc<str>>,
    identities: Arc<[NamedCertificate]>,
    tls: ArcSwap<HashMap<(TlsIdentity, bool), Arc<ClientConfig>>>,
    drivers: Drivers,
}

impl Connector {
    /// `roots_pem`: trusted where an upstream names no roots of its own. `identities`: what upstreams may be shown.
    pub(crate) fn new(roots_pem: Option<Arc<str>>, identities: Arc<[NamedCertificate]>, drivers: Drivers) -> Self {
        Self { roots_pem, identities, tls: ArcSwap::default(), drivers }
    }

    /// Opens a connection, within the time-outs. Also says how long it took.
    pub(crate) async fn open(
        &self,
        key: &PoolKey,
        timeouts: &UpstreamTimeouts,
    ) -> Result<(Connection, Duration), UpstreamError> {
        let started = Instant::now();
        let address = (key.target.host.trim_matches(['[', ']']), key.target.port);
        let tcp = within(timeouts.connect, Phase::Connect, key, TcpStream::connect(address)).await?;
        if let Err(error) = tcp.set_nodelay(true) {
            return Err(UpstreamError::down(key, error));
        }
        let (io, speaks_http2) = match &key.tls {
            None => (UpstreamIo::Plain(tcp), key.target.scheme == UpstreamScheme::H2c),
            Some(identity) => self.secure(tcp, identity, key, timeouts).await?,
        };
        let connection = self.handshake(io, speaks_http2, key).await?;
        Ok((connection, started.elapsed()))
    }

    async fn secure(
        &self,
        tcp: TcpStream,
        identity: &TlsIdentity,
        key: &PoolKey,
        timeouts: &UpstreamTimeouts,
    ) -> Result<(UpstreamIo, bool), UpstreamError> {
        let config = self.tls_config(identity, key).await?;
        let name = ServerName::try_from(identity.server_name.trim_matches(['[', ']']).to_owned())
            .map_err(|error| UpstreamError::down(key, io::Error::other(error)))?;
        let connecting = TlsConnector::from(config).connect(name, tcp);
        let stream = within(timeouts.tls, Phase::Tls, key, connecting).await?;
        let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        Ok((UpstreamIo::Tls(Box::new(stream)), speaks_http2))
    }

    async fn tls_config(&self, identity: &TlsIdentity, key: &PoolKey) -> Result<Arc<ClientConfig>, UpstreamError> {
        let slot = (identity.clone(), key.is_http1_only);
        if let Some(config) = self.tls.load().get(&slot) {
            return Ok(Arc::clone(config));
        }
        let roots = identity.roots_pem.clone().or_else(|| self.roots_pem.clone());
        let alpn: &[&[u8]] = if key.is_http1_only { &[ALPN_HTTP11] } else { &[ALPN_H2, ALPN_HTTP11] };
        let verify = if identity.is_verified { Verify::Normal } else { Verify::Off };
        // Reading the system's roots takes milliseconds.
        let shown = self.identity(identity, key)?;
        let san = identity.san.clone();
        let build = tokio::task::spawn_blocking(move || {
            upstream_config(roots.as_deref(), alpn, verify, san.as_deref(), shown.as_ref())
        });
        let config = build
            .await
            .map_err(|error| UpstreamError::down(key, io::Error::other(error)))?
            .map_err(|error| UpstreamError::down(key, io::Error::other(error)))?;
        self.tls.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < MAX_TLS_CONFIGS {
                known.insert(slot.clone(), Arc::clone(&config));
            }
            known
        });
        Ok(config)
    }

    /// The certificate to prove ourselves with. One that is gone is an error, never a connection without it.
    fn identity(&self, identity: &TlsIdentity, key: &PoolKey) -> Result<Option<NamedCertificate>, UpstreamError> {
        let Some(name) = identity.client.as_deref() else { return Ok(None) };
        let found = self.identities.iter().find(|certificate| certificate.name == name).cloned();
        let missing = || UpstreamError::down(key, io::Error::other(format!("no certificate is called `{name}`")));
        found.map(Some).ok_or_else(missing)
    }

    async fn handshake(&self, io: UpstreamIo, speaks_http2: bool, key: &PoolKey) -> Result<Connection, UpstreamError> {
        let received = Arc::new(AtomicU64::new(0));
        let io = TokioIo::new(Counted { io, received: received.clone() });
        if speaks_http2 {
            let (sender, driver) = http2::Builder::new(self.drivers.clone())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_send_buf_size(BUFFER_BYTES)
                .handshake(io)
                .await
                .map_err(|error| UpstreamError::down(key, io::Error::other(error)))?;
            self.drivers.spawn(async move { note_end(driver.await) });
            return Ok(Connection::Http2(sender));
        }
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(MAX_RESPONSE_FIELDS)
            .handshake(io)
            .await
            .map_err(|error| UpstreamError::down(key, io::Error::other(error)))?;
        let driver = self.drivers.spawn(async move { note_end(driver.with_upgrades().await) });
        Ok(Connection::Http1(Http1Connection { sender, received, driver }))
    }
}

/// Whoever waits for a response has the error; this is for connections that wait for requests.
fn note_end(end: hyper::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "upstream connection ended");
    }
}

async fn within<T>(
    limit: Duration,
    phase: Phase,
    key: &PoolKey,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, UpstreamError> {
    match tokio::time::timeout(limit, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(UpstreamError::down(key, error)),
        Err(_) => Err(UpstreamError::Timeout { target: key.target.clone(), phase, limit }),
    }
}

enum UpstreamIo {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Counts what the upstream sends, so that a retry can be sure that nothing came (GW-72).
struct Counted {
    io: UpstreamIo,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = match &mut this.io {
            UpstreamIo::Plain(io) => Pin::new(io).poll_read(context, buffer),
            UpstreamIo::Tls(io) => Pin::new(io).poll_read(context, buffer),
        };
        let count = buffer.filled().len().saturating_sub(before);
        this.received.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(io) => Pin::new(io).poll_write(context, bytes),
            UpstreamIo::Tls(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(io) => Pin::new(io).poll_flush(context),
            UpstreamIo::Tls(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(io) => Pin::new(io).poll_shutdown(context),
            UpstreamIo::Tls(io) => Pin::new(io).poll_shutdown(context),
        }
    }
}
