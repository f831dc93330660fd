//! Accepts connections, ends TLS, and hands each connection to the door of its protocol (GW-36, GW-37, GW-79, GW-83).
//!
//! Not here: anything about requests. An overloaded listener sheds new connections before it slows old ones.
//!
//! Invariants: every connection is a task of [`serve`], and none is left when it returns; nothing is awaited for a
//! connection between accepting it and handing it to its task.

mod admission;
mod plain;
mod preface;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
pub use http_gate::client_address::{Cidr, CidrError, TrustedPeers};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{ConnectionInfo, Protocol, TlsInfo};
use crate::doors::{self, Door};
use crate::gateway::Gateway;
use crate::upstream::Upstreams;

pub use admission::ListenerLimits;
use admission::{Admission, Admitted};
use preface::PrefaceError;

/// How long a TLS handshake may take, with the PROXY header before it (GW-83).
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
    /// Once cancelled, a drain is over at once.
    pub haste: CancellationToken,
    /// Who may say for whom it speaks, by a PROXY header or `X-Forwarded-For` (GW-66).
    pub trusted_peers: Arc<TrustedPeers>,
    /// PEM of the roots for upstreams that name none of their own.
    pub upstream_roots_pem: Option<Arc<str>>,
    /// Certificates that apps may name as ours towards their upstreams.
    pub upstream_identities: Arc<[pki::NamedCertificate]>,
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
    let upstreams = Upstreams::new(settings.upstream_roots_pem.clone(), Arc::clone(&settings.upstream_identities));
    let requests = TaskTracker::new();
    let door = Arc::new(Door {
        gateway,
        upstreams: upstreams.clone(),
        draining: shutdown.clone(),
        stopping: CancellationToken::new(),
    });
    let swept = CancellationToken::new();
    let sweeper = async { upstreams.run_sweeper(swept.clone()).await };
    let checks = async { upstreams.run_checks(&door.gateway, swept.clone()).await };
    let accepting = async {
        let connections = accept_all(&door, listener, &tls, &settings, &requests).await;
        drain(&door, connections, &requests, &settings).await;
        swept.cancel();
    };
    tokio::join!(sweeper, checks, accepting);
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
        let is_trusted = settings.trusted_peers.contains(peer.ip());
        let place = if is_trusted { admission.admit_trusted() } else { admission.admit(peer.ip(), Instant::now()) };
        let Some(admitted) = place else {
            tracing::debug!(%peer, "connection shed");
            continue;
        };
        let tls = tls.load_full();
        let connection = Accepted { peer, is_trusted, tls, settings: settings.clone(), admitted };
        let (door, requests) = (door.clone(), requests.token());
        connections.spawn(async move { connection.serve(tcp, &door, requests).await });
    }
}

async fn drain(door: &Door, mut connections: JoinSet<()>, requests: &TaskTracker, settings: &ListenerSettings) {
    requests.close();
    let waited = tokio::time::timeout(settings.drain, requests.wait());
    if !matches!(settings.haste.run_until_cancelled(waited).await, Some(Ok(()))) {
        tracing::warn!(connections = connections.len(), "requests were still under way when the drain ended");
    }
    door.stopping.cancel();
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL_LIMIT, farewell).await.is_err() {
        connections.shutdown().await;
    }
}

/// What came instead of nothing.
#[expect(clippy::large_enum_variant, reason = "taken apart at once; the stream goes on as what it is")]
enum Spoken {
    Tls(TlsStream<TcpStream>),
    Plain(TcpStream),
}

/// A connection before its handshake.
struct Accepted {
    peer: SocketAddr,
    is_trusted: bool,
    tls: Arc<ServerConfig>,
    settings: ListenerSettings,
    admitted: Admitted,
}

impl Accepted {
    async fn serve(mut self, mut tcp: TcpStream, door: &Arc<Door>, requests: doors::RequestToken) {
        let peer = self.peer;
        let begun = async {
            let client = self.client(&mut tcp).await?;
            tcp.set_nodelay(true)?;
            if plain::is_spoken(&tcp).await? {
                return Ok((Spoken::Plain(tcp), client));
            }
            Ok((Spoken::Tls(TlsAcceptor::from(Arc::clone(&self.tls)).accept(tcp).await?), client))
        };
        // On the heap for as long as it takes, so that an open connection is not as large as its handshake was.
        let begun = tokio::time::timeout(HANDSHAKE_LIMIT, Box::pin(begun));
        let Some(begun) = door.draining.run_until_cancelled(begun).await else { return };
        let (stream, client) = match begun {
            Ok(Ok((Spoken::Tls(stream), client))) => (stream, client),
            Ok(Ok((Spoken::Plain(tcp), client))) => {
                return Box::pin(plain::answer(tcp, &door.gateway, &self.info(client, None))).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a connection ended before its first request");
                if let PrefaceError::Refused(refusal) = error {
                    // Nobody is there to answer; the record is all that is left of it.
                    door.gateway.refuse_gate(&refusal, &self.info(peer, None)).await;
                }
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "a connection was too slow to begin");
                return;
            }
        };
        let info = self.info(client, Some(tls_info(stream.get_ref().1)));
        match info.protocol {
            // Each as large as it is, not as the larger of both.
            Protocol::Http1 => Box::pin(doors::http1::serve(door, stream, info, requests)).await,
            Protocol::Http2 => Box::pin(doors::http2::serve(door, stream, info, requests)).await,
        }
    }

    /// For whom the peer speaks.
    async fn client(&mut self, tcp: &mut TcpStream) -> Result<SocketAddr, PrefaceError> {
        if !self.is_trusted {
            return Ok(self.peer);
        }
        let client = preface::read(tcp).await?.unwrap_or(self.peer);
        // Whoever is trusted brings many clients, each of whom it names with its requests.
        let is_one_client = !self.settings.trusted_peers.contains(client.ip());
        if is_one_client && !self.admitted.count_for(client.ip(), Instant::now()) {
            return Err(io::Error::other("too many connections of this client").into());
        }
        Ok(client)
    }

    fn info(&self, client: SocketAddr, tls: Option<TlsInfo>) -> ConnectionInfo {
        let protocol = match tls.as_ref().and_then(|tls| tls.alpn.as_deref()) {
            Some("h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        ConnectionInfo {
            peer: self.peer,
            client,
            listener: Arc::clone(&self.settings.name),
            public_port: self.settings.public_port,
            protocol,
            tls,
            trusted_peers: Arc::clone(&self.settings.trusted_peers),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// 65,536 of them may be open at the same time; what a request needs is there while there is a request.
    #[test]
    fn an_open_connection_is_small() {
        let task =
            size_of_future(|accepted: Accepted, tcp, door: &'static Arc<Door>, token| accepted.serve(tcp, door, token));
        let http1 = size_of_future(doors::http1::serve);
        let http2 = size_of_future(doors::http2::serve::<doors::http1::ClientStream>);
        let sizes = format!("task {task}, http1 {http1}, http2 {http2}");
        assert!(task <= 5 * 1024 && http1 <= 5 * 1024 && http2 <= 7 * 1024, "{sizes}");
    }
}
