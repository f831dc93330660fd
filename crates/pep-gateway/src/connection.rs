//! What the listener knows about the connection a request came on.
//!
//! Invariant: nothing here comes from request headers; `client` is the peer, or whom a trusted peer named in a PROXY
//! header (GW-66).

use std::net::SocketAddr;
use std::sync::Arc;

use http_gate::client_address::TrustedPeers;

/// A client connection, after the handshake.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The source of a trusted peer's PROXY header, otherwise `peer`. Where it is trusted itself, each request names its
    /// own client.
    pub client: SocketAddr,
    /// Address of the listener, for records.
    pub listener: Arc<str>,
    /// The port people type: part of the authority unless it is the scheme's default.
    pub public_port: u16,
    /// `h2` or `http1`.
    pub protocol: Protocol,
    /// `None` on a plain listener.
    pub tls: Option<TlsInfo>,
    /// Who may say for whom it speaks.
    pub trusted_peers: Arc<TrustedPeers>,
}

impl ConnectionInfo {
    /// Whether whoever writes the requests may name their client and continue its trace (GW-34, GW-66). A balancer that
    /// passes a client's bytes on behind a PROXY header does not make that client trusted.
    pub fn is_client_trusted(&self) -> bool {
        self.trusted_peers.contains(self.client.ip())
    }
}

/// The outcome of a TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// `1.3` or `1.2`.
    pub version: &'static str,
    /// Key exchange group.
    pub group: Arc<str>,
    /// The group is a hybrid post-quantum one.
    pub is_post_quantum: bool,
    /// Server name the client asked for.
    pub sni: Option<Arc<str>>,
    /// `h2` or `http/1.1`.
    pub alpn: Option<Arc<str>>,
}

/// What is spoken on the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// `http1` or `h2`, as receipts name it (GW-58).
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "h2",
        }
    }

    /// `1.1` or `2`, as records name it.
    pub fn http_version(self) -> &'static str {
        match self {
            Protocol::Http1 => "1.1",
            Protocol::Http2 => "2",
        }
    }
}
