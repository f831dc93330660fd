//! Accepts connections, ends TLS, and hands each connection to the door of its protocol (GW-36, GW-37, GW-79, GW-83).
//!
//! Not here: anything about requests. An overloaded listener sheds new connections before it slows old ones.
//!
//! Invariants: every connection is a task of [`serve`], and none is left when it returns; nothing is awaited for a
//! connection between accepting it and handing it to its task.

mod admission;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{ConnectionInfo, Protocol, TlsInfo};
use crate::doors::{self, Door};
use crate::gateway::Gateway;
use crate::upstream::Upstreams;

use admission::Admission;
pub use admission::ListenerLimits;

/// How long a TLS handshake may take (GW-83).
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long requests may go on after a stop was asked for (GW-79).
pub const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long connections get to say goodbye once the drain is over.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// How long to wait when the system cannot give another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a listener behaves.
#[derive(Clone)]
pub struct ListenerSettings {
    /// Its address as records name it.
    pub name: Arc<str>,
    /// The port people type.
    pub public_port: u16,
    /// How much it takes on.
    pub limits: ListenerLimits,
    /// How long requests may go on after a stop was asked for.
    pub drain: Duration,
    /// PEM of the roots for upstreams that name none of their own.
    pub upstream_roots_pem: Option<Arc<str>>,
}

/// Serves until `shutdown`, then drains: no new connection, `Connection: close` and GOAWAY, up to `settings.drain` for
/// requests, then close 1001 for WebSockets, then the end of whatever is left.
///
/// `tls` may be swapped at any time; connections accepted later use the new one.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    tls: Arc<ArcSwap<ServerConfig>>,
    settings: ListenerSettings,
    shutdown: CancellationToken,
) {
    let upstreams = Upstreams::new(settings.upstream_roots_pem.clone());
    let requests = TaskTracker::new();
    let door = Arc::new(Door {
        gateway,
        upstreams: upstreams.clone(),
        draining: shutdown.clone(),
        stopping: CancellationToken::new(),
    });
    let swept = CancellationToken::new();
    let sweeper = async { upstreams.run_sweeper(swept.clone()).await };
    let accepting = async {
        let connections = accept_all(&door, listener, &tls, &settings, &requests).await;
        drain(&door, connections, &requests, settings.drain).await;
        swept.cancel();
    };
    tokio::join!(sweeper, accepting);
}

async fn accept_all(
    door: &Arc<Door>,
    listener: TcpListener,
    tls: &ArcSwap<ServerConfig>,
    settings: &ListenerSettings,
    requests: &TaskTracker,
) -> JoinSet<()> {
    let admission = Arc::new(Admission::new(settings.limits));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = door.draining.cancelled() => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(admitted) = admission.admit(peer.ip(), tokio::time::Instant::now()) else {
            tracing::debug!(%peer, "connection shed");
            continue;
        };
        let connection = Accepted { tcp, peer, tls: tls.load_full(), settings: settings.clone() };
        let (door, requests) = (door.clone(), requests.token());
        connections.spawn(async move {
            connection.serve(&door, requests).await;
            drop(admitted);
        });
    }
}

async fn drain(door: &Door, mut connections: JoinSet<()>, requests: &TaskTracker, limit: Duration) {
    requests.close();
    if tokio::time::timeout(limit, requests.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were still under way when the drain ended");
    }
    door.stopping.cancel();
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL_LIMIT, farewell).await.is_err() {
        connections.shutdown().await;
    }
}

/// A connection before its handshake.
struct Accepted {
    tcp: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    settings: ListenerSettings,
}

impl Accepted {
    async fn serve(self, door: &Arc<Door>, requests: doors::RequestToken) {
        let peer = self.peer;
        let Some(result) = door.draining.run_until_cancelled(self.handshake()).await else { return };
        let (stream, info) = match result {
            Ok(done) => done,
            Err(error) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return;
            }
        };
        match info.protocol {
            Protocol::Http1 => doors::http1::serve(door, stream, info, requests).await,
            Protocol::Http2 => doors::http2::serve(door, stream, info, requests).await,
        }
    }

    async fn handshake(self) -> io::Result<(TlsStream<TcpStream>, ConnectionInfo)> {
        self.tcp.set_nodelay(true)?;
        let handshake = TlsAcceptor::from(self.tls).accept(self.tcp);
        let stream = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await.map_err(io::Error::other)??;
        let tls = tls_info(stream.get_ref().1);
        let protocol = match tls.alpn.as_deref() {
            Some("h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let info = ConnectionInfo {
            peer: self.peer,
            client: self.peer,
            listener: self.settings.name,
            public_port: self.settings.public_port,
            protocol,
            tls: Some(tls),
            is_peer_trusted: false,
        };
        Ok((stream, info))
    }
}

fn tls_info(connection: &rustls::ServerConnection) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
        _ => "",
    };
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    TlsInfo {
        version,
        group: group.map(|group| format!("{group:?}")).unwrap_or_default().into(),
        is_post_quantum: group == Some(rustls::NamedGroup::X25519MLKEM768),
        sni: connection.server_name().map(Arc::from),
        alpn: connection.alpn_protocol().and_then(|alpn| std::str::from_utf8(alpn).ok()).map(Arc::from),
    }
}
