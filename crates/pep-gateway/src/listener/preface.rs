//! The PROXY header a trusted peer may put before TLS (GW-66).
//!
//! Not here: who is trusted, and what the header says; `http_gate` reads it.
//!
//! Invariant: not one byte behind the header is taken from the socket, so that the handshake begins where it should.

use std::io;
use std::net::SocketAddr;

use http_gate::client_address::{ProxyHeader, read_proxy_header};
use http_gate::{GateCode, GateRefusal};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How much is looked at in one go; longer headers take more turns.
const PEEK_BYTES: usize = 512;

/// Why a connection does not get as far as its handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrefaceError {
    #[error("the connection ended before its handshake")]
    Gone(#[from] io::Error),
    #[error("{0}")]
    Refused(GateRefusal),
}

/// Takes a PROXY header off the front of `tcp`; gives the source it names, if any.
pub(super) async fn read(tcp: &mut TcpStream) -> Result<Option<SocketAddr>, PrefaceError> {
    let mut held = Vec::new();
    loop {
        let begun = held.len();
        held.resize(begun + PEEK_BYTES, 0);
        let peeked = tcp.peek(held.get_mut(begun..).unwrap_or_default()).await?;
        held.truncate(begun + peeked);
        if peeked == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let (wanted, source) = match read_proxy_header(&held).map_err(PrefaceError::Refused)? {
            ProxyHeader::Present { length, source } => (length, Some(source)),
            ProxyHeader::NeedMore => (held.len(), None),
            ProxyHeader::Absent if begun == 0 => return Ok(None),
            // It began like a header, and those bytes begin nothing else.
            ProxyHeader::Absent => return Err(PrefaceError::Refused(GateRefusal::new(GateCode::ProxyProtocol, begun))),
        };
        // Everything up to `wanted` belongs to the header and has arrived.
        tcp.read_exact(held.get_mut(begun..wanted).unwrap_or_default()).await?;
        if let Some(source) = source {
            return Ok(source);
        }
        held.truncate(wanted);
    }
}
