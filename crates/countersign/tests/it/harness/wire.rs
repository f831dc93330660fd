//! Clients that write and read raw bytes over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::Value;
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{WIKI, soon};

/// Where clients connect.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    http1: Arc<rustls::ClientConfig>,
    http2: Arc<rustls::ClientConfig>,
}

impl Door {
    pub(crate) fn new(address: SocketAddr, ca: TestCa) -> Self {
        Self { address, http1: ca.client_config(&[b"http/1.1"]), http2: ca.client_config(&[b"h2"]) }
    }

    /// For a server whose authority is a file.
    pub(crate) fn trusting(address: SocketAddr, root_pem: &str) -> Self {
        let config = |alpn: &[u8]| pki::tls::client_config(Some(root_pem), &[alpn], pki::tls::Verify::Normal).unwrap();
        Self { address, http1: config(b"http/1.1"), http2: config(b"h2") }
    }

    /// A connection for HTTP/1.1.
    pub(crate) async fn http1(&self) -> Wire {
        Wire { stream: self.connect(&self.http1).await, read: Vec::new() }
    }

    /// A connection for HTTP/2, nothing said yet.
    pub(crate) async fn http2(&self) -> TlsStream<TcpStream> {
        self.connect(&self.http2).await
    }

    async fn connect(&self, config: &Arc<rustls::ClientConfig>) -> TlsStream<TcpStream> {
        let tcp = soon(TcpStream::connect(self.address)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        soon(connector.connect(ServerName::try_from(WIKI).unwrap(), tcp)).await.unwrap()
    }
}

/// A response as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", if self.status == 0 { &self.head } else { "" }, String::from_utf8_lossy(&self.body))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection.
pub(crate) struct Wire {
    pub(crate) stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Wire {
    /// Sends, whether the other side still listens or not.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            // The door may have answered and hung up already; what it said is what counts.
            let _ = self.stream.write_all(bytes.as_ref()).await;
            let _ = self.stream.flush().await;
        };
        soon(sent).await;
    }

    /// More bytes; false at the end, clean or not.
    async fn more(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.read)).await.is_ok_and(|count| count > 0)
    }

    async fn until(&mut self, wanted: &[u8]) -> usize {
        loop {
            if let Some(at) = find(&self.read, wanted) {
                return at + wanted.len();
            }
            assert!(self.more().await, "the door hung up after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// A response head.
    pub(crate) async fn head(&mut self) -> Answer {
        let end = self.until(b"\r\n\r\n").await;
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new() }
    }

    /// A whole response to anything but HEAD.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                assert!(self.more().await, "cut short: {answer:?}");
            }
            answer.body = self.read.drain(..length).collect();
        } else if answer.header("transfer-encoding").is_some() {
            loop {
                let end = self.until(b"\r\n").await;
                let line: Vec<u8> = self.read.drain(..end).collect();
                let size = usize::from_str_radix(std::str::from_utf8(&line[..end - 2]).unwrap(), 16).unwrap();
                while self.read.len() < size + 2 {
                    assert!(self.more().await, "cut short: {answer:?}");
                }
                answer.body.extend(self.read.drain(..size));
                self.read.drain(..2);
                if size == 0 {
                    break;
                }
            }
        }
        answer
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// The stream and what was read of it already.
    pub(crate) fn into_parts(self) -> (TlsStream<TcpStream>, Vec<u8>) {
        (self.stream, self.read)
    }
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
