//! HTTPS to the demo's own front door: 127.0.0.1 by address, the right name in SNI and `Host`, the demo's authority as
//! the only root (R-35: `*.localhost` resolves in browsers only). Not a general client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pki::tls::{ALPN_HTTP11, Verify};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one exchange may take until its head is there.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
/// The largest answer that is read.
pub const ANSWER_BYTES: usize = 1 << 20;

/// The way to the front door.
#[derive(Clone)]
pub struct FrontDoor {
    port: u16,
    tls: Arc<rustls::ClientConfig>,
}

impl FrontDoor {
    /// On this port, trusting this root alone.
    ///
    /// # Errors
    /// The PEM is no certificate.
    pub fn new(port: u16, root_pem: &str) -> Result<Self> {
        let tls = pki::tls::client_config(Some(root_pem), &[ALPN_HTTP11], Verify::Normal)?;
        Ok(Self { port, tls })
    }

    /// `host:port` as browsers write it.
    pub fn authority(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    /// The address of a path on a host.
    pub fn url(&self, host: &str, target: &str) -> String {
        format!("https://{}{target}", self.authority(host))
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// No connection, no trust, or no answer in time.
    pub async fn send(&self, host: &str, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let exchange = async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.context("cannot connect to the demo")?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(host.to_owned())?;
            let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            anyhow::Ok(sender.send_request(request).await?)
        };
        tokio::time::timeout(EXCHANGE_LIMIT, exchange)
            .await
            .map_err(|_| anyhow!("no answer from `{host}` within {} s", EXCHANGE_LIMIT.as_secs()))?
    }

    /// GETs a text as a program does.
    ///
    /// # Errors
    /// As [`Self::send`], or the answer is not 200.
    pub async fn text(&self, host: &str, target: &str) -> Result<String> {
        let request = Request::get(target)
            .header(header::HOST, self.authority(host))
            .header(header::ACCEPT, "*/*")
            .body(Full::default())?;
        let response = self.send(host, request).await?;
        if response.status() != StatusCode::OK {
            bail!("`{}` answered {}", self.url(host, target), response.status());
        }
        Ok(String::from_utf8(read(response).await?.to_vec())?)
    }
}

/// Reads a body up to [`ANSWER_BYTES`].
///
/// # Errors
/// It is larger, or ends early.
pub async fn read(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect();
    let body = tokio::time::timeout(EXCHANGE_LIMIT, body).await.map_err(|_| anyhow!("the answer never ended"))?;
    Ok(body.map_err(|error| anyhow!("the answer could not be read: {error}"))?.to_bytes())
}
