//! The sink `webhook`: one POST of JSON lines per batch, on a connection of its own, signed when there is a secret (Standard
//! Webhooks 1.0).
//!
//! Invariants: certificates are verified; redirects are not followed; addresses of clouds' metadata services and of the local
//! link are not spoken to, whatever a name resolves to; without TLS only this machine is; nothing of a secret or of an answer's
//! body reaches an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use audit::sinks::signature::SigningSecret;
use audit::{Batch, Sink, SinkError};
use bytes::Bytes;
use config::server::WebhookUrl;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::{BoxFuture, Clock};
use pki::SecretText;
use pki::tls::{ALPN_HTTP11, Verify, client_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// How long connecting to one address may take. The whole try has its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The longest secret or token in a file.
const MAX_SECRET_BYTES: u64 = 8 * 1024;
/// Metadata services that are not on the local link.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

pub(super) struct Webhook {
    url: WebhookUrl,
    tls: Option<Arc<ClientConfig>>,
    secret_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// Reads the system's roots where `roots` names none.
    pub(super) fn new(
        url: WebhookUrl,
        roots: Option<&str>,
        secret_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let tls = match url.is_tls {
            true => Some(client_config(roots, &[ALPN_HTTP11], Verify::Normal)?),
            false => None,
        };
        Ok(Self { url, tls, secret_file, token_file, clock })
    }

    async fn post(&self, batch: &Batch) -> Result<(), SinkError> {
        let request = self.request(batch).await?;
        let tcp = self.connect().await?;
        let response = match &self.tls {
            None => send(tcp, request).await?,
            Some(config) => {
                let name = ServerName::try_from(self.url.host.clone()).map_err(later)?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(later)?;
                send(stream, request).await?
            }
        };
        judge(response.status(), response.headers().get(header::RETRY_AFTER))
    }

    async fn request(&self, batch: &Batch) -> Result<Request<Full<Bytes>>, SinkError> {
        let now = self.clock.now().unix_secs();
        let host = if self.url.host.contains(':') { format!("[{}]", self.url.host) } else { self.url.host.clone() };
        let mut request = Request::post(&self.url.path)
            .header(header::HOST, format!("{host}:{}", self.url.port))
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::USER_AGENT, concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .header("webhook-id", &batch.id)
            .header("webhook-timestamp", now);
        if let Some(file) = &self.secret_file {
            let secret = SigningSecret::parse(secret(file).await?.expose())
                .map_err(|why| stopped(format!("`{}`: {why}", file.display())))?;
            request = request.header("webhook-signature", secret.sign(&batch.id, now, &batch.lines));
        }
        if let Some(file) = &self.token_file {
            let token = secret(file).await?;
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose().trim()));
            let mut value = value.map_err(|_| stopped(format!("`{}` holds no token", file.display())))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(Bytes::copy_from_slice(&batch.lines))).map_err(|error| stopped(error.to_string()))
    }

    /// The first address that answers, of those that may be spoken to: what was looked at is what is connected to.
    async fn connect(&self) -> Result<TcpStream, SinkError> {
        let found = tokio::net::lookup_host((self.url.host.as_str(), self.url.port)).await.map_err(later)?;
        let (allowed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
            found.partition(|address| may_speak_to(address.ip(), self.url.is_tls));
        let mut trouble = match refused.first() {
            Some(refused) => stopped(format!("`{}` is at {}, which is not spoken to", self.url.host, refused.ip())),
            None => later(format!("`{}` has no address", self.url.host)),
        };
        for address in allowed.into_iter().take(MAX_ADDRESSES) {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => trouble = later(format!("{address}: {error}")),
                Err(_) => trouble = later(format!("{address} does not answer")),
            }
        }
        Err(trouble)
    }
}

impl Sink for Webhook {
    fn deliver<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(self.post(batch))
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<hyper::body::Incoming>, SinkError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(later)?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    // The head is the whole answer: a body is not read.
    sender.send_request(request).await.map_err(later)
}

fn judge(status: StatusCode, retry_after: Option<&HeaderValue>) -> Result<(), SinkError> {
    let cause = || format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        400 | 422 => Err(SinkError::Rejected { cause: cause() }),
        413 => Err(SinkError::TooLarge { cause: cause() }),
        408 | 425 | 429 | 500..=599 => {
            let secs = retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
            Err(SinkError::Later { cause: cause(), after: secs.map(Duration::from_secs) })
        }
        300..=399 => Err(stopped(format!("{}; redirects are not followed: write the new address", cause()))),
        _ => Err(stopped(cause())),
    }
}

/// What a NAT64 makes of an address under its well-known prefix (`64:ff9b::/96`).
fn as_v4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
            }
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

fn may_speak_to(address: IpAddr, is_tls: bool) -> bool {
    let address = as_v4(address.to_canonical());
    let is_on_link = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_nobody = address.is_unspecified() || address.is_multicast();
    !is_on_link && !is_nobody && !METADATA.contains(&address) && (is_tls || address.is_loopback())
}

/// Read anew each time, so that a secret can be changed without a restart.
async fn secret(file: &PathBuf) -> Result<SecretText, SinkError> {
    let read = async {
        let mut text = String::new();
        tokio::fs::File::open(file).await?.take(MAX_SECRET_BYTES).read_to_string(&mut text).await?;
        std::io::Result::Ok(SecretText::new(text))
    };
    read.await.map_err(|error| stopped(format!("`{}` cannot be read: {error}", file.display())))
}

fn later(error: impl std::fmt::Display) -> SinkError {
    SinkError::Later { cause: error.to_string(), after: None }
}

fn stopped(cause: String) -> SinkError {
    SinkError::Stopped { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_and_the_local_link_are_not_spoken_to_in_any_spelling() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!may_speak_to(address.parse().unwrap(), true), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.7", "203.0.113.7", "2001:db8::7"] {
            assert!(may_speak_to(address.parse().unwrap(), true), "{address}");
        }
        assert!(may_speak_to("127.0.0.1".parse().unwrap(), false) && !may_speak_to("10.0.0.7".parse().unwrap(), false));
    }

    #[test]
    fn an_answer_says_what_becomes_of_the_batch() {
        let judged = |status: u16, after: &str| {
            let value = HeaderValue::try_from(after).unwrap();
            judge(StatusCode::from_u16(status).unwrap(), Some(&value))
        };
        assert_eq!(judged(204, ""), Ok(()));
        let secs = |secs| Some(Duration::from_secs(secs));
        for (status, asked, after) in [(503, "7", secs(7)), (429, "soon", None), (500, "-1", None)] {
            let Err(SinkError::Later { after: found, .. }) = judged(status, asked) else { panic!("{status}") };
            assert_eq!(found, after, "{status}");
        }
        assert!(matches!(judged(400, ""), Err(SinkError::Rejected { .. })));
        assert!(matches!(judged(413, ""), Err(SinkError::TooLarge { .. })));
        for status in [302, 401, 403, 404, 410] {
            assert!(matches!(judged(status, ""), Err(SinkError::Stopped { .. })), "{status}");
        }
    }
}
