//! New TLS 1.3 connections: how many a second, and what a thousand idle ones cost in memory. A client of our own, because
//! one source address is only let in 200 times a second (GW-83): it comes from many addresses of 127.0.0.0/8.
//!
//! Invariants: no resumption, and each handshake is seen through to the server's own end of the connection. The client
//! does not check the certificate: its core must stay faster than the proxy's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pki::tls::{ALPN_H2, ALPN_HTTP11};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::load::Shape;
use crate::machine::{cpu_time, resident_bytes};
use crate::target::{APP_HOST, Target};

/// Handshakes under way at once.
const CONCURRENT: usize = 32;
/// Source addresses that take turns.
const SOURCES: u32 = 4_000;
/// Connections opened and kept before memory is first read, so that pools and caches are warm.
const WARM_CONNECTIONS: usize = 100;
/// Connections whose memory is measured.
pub(crate) const IDLE_CONNECTIONS: usize = 1_000;
/// How long freed memory gets to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long one connection may take for anything.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// HTTP/2: the preface and empty SETTINGS; the server's answer is its own SETTINGS and an acknowledgement.
const H2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const H2_SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// The key exchange that is offered; nothing else is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyExchange {
    X25519,
    X25519MlKem768,
}

/// What a proxy did when asked for nothing but handshakes.
#[derive(Clone, Copy)]
pub(crate) struct Handshakes {
    pub(crate) per_second: f64,
    /// Processor time of the proxy for one, in microseconds.
    pub(crate) cpu_us: f64,
    /// Part of its core that the proxy used.
    pub(crate) core: f64,
}

/// New connections, one after another on 32 tasks, each closed at once.
pub(crate) async fn handshakes(target: &Target, kind: KeyExchange, length: Duration) -> Result<Handshakes> {
    let client = Arc::new(Client::new(target, tls(Some(kind), ALPN_HTTP11)?));
    let done = Arc::new(AtomicU64::new(0));
    let begun = (Instant::now(), cpu_time(target.process.pid())?);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONCURRENT {
        let (client, done, until) = (Arc::clone(&client), Arc::clone(&done), begun.0 + length);
        tasks.spawn(async move {
            while Instant::now() < until {
                client.shake_hands(kind).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task?.with_context(|| format!("a handshake with {}", target.name))?;
    }
    let used = cpu_time(target.process.pid())?.saturating_sub(begun.1).as_secs_f64();
    let (wall, count) = (begun.0.elapsed().as_secs_f64(), done.load(Ordering::Relaxed) as f64);
    Ok(Handshakes { per_second: count / wall, cpu_us: used / count * 1e6, core: used / wall })
}

/// Resident bytes per idle connection: each has had one request answered (HTTP/1.1) or its settings exchanged (HTTP/2).
pub(crate) async fn idle_bytes(target: &Target, shape: Shape) -> Result<f64> {
    let alpn = match shape {
        Shape::Http1 => ALPN_HTTP11,
        Shape::Http2 => ALPN_H2,
    };
    let client = Client::new(target, tls(None, alpn)?);
    let mut held = Vec::with_capacity(WARM_CONNECTIONS + IDLE_CONNECTIONS);
    let mut before = 0;
    for opened in 0..WARM_CONNECTIONS + IDLE_CONNECTIONS {
        if opened == WARM_CONNECTIONS {
            tokio::time::sleep(SETTLE).await;
            before = resident_bytes(target.process.pid())?;
        }
        held.push(
            client
                .settle_down(target, shape)
                .await
                .with_context(|| format!("an idle connection to {}", target.name))?,
        );
    }
    tokio::time::sleep(SETTLE).await;
    let after = resident_bytes(target.process.pid())?;
    Ok(after.saturating_sub(before) as f64 / IDLE_CONNECTIONS as f64)
}

struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
    next_source: AtomicU32,
}

impl Client {
    fn new(target: &Target, tls: Arc<ClientConfig>) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, target.port)),
            tls: TlsConnector::from(tls),
            name: ServerName::try_from(APP_HOST).unwrap_or_else(|_| Ipv4Addr::LOCALHOST.into()),
            next_source: AtomicU32::new(0),
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let source = Ipv4Addr::from_bits(0x7f01_0001 + self.next_source.fetch_add(1, Ordering::Relaxed) % SOURCES);
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into()).with_context(|| format!("cannot connect from {source}"))?;
        let connecting = async {
            let stream = socket.connect(self.address).await?;
            stream.set_nodelay(true)?;
            anyhow::Ok(self.tls.connect(self.name.clone(), stream).await?)
        };
        tokio::time::timeout(STEP_LIMIT, connecting).await?
    }

    async fn shake_hands(&self, kind: KeyExchange) -> Result<()> {
        let mut stream = self.connect().await?;
        let session = stream.get_ref().1;
        ensure!(session.negotiated_key_exchange_group().is_some_and(|group| group.name() == kind.group().name()));
        ensure!(session.handshake_kind() == Some(rustls::HandshakeKind::Full));
        stream.shutdown().await?;
        // The server's end tells that it has read all of ours. How it ends does not matter.
        let mut rest = Vec::new();
        tokio::time::timeout(STEP_LIMIT, stream.read_to_end(&mut rest)).await?.ok();
        Ok(())
    }

    async fn settle_down(&self, target: &Target, shape: Shape) -> Result<TlsStream<TcpStream>> {
        let mut stream = self.connect().await?;
        let (name, value) = &target.credential;
        let (hello, wanted) = match shape {
            Shape::Http1 => {
                let request = format!("GET / HTTP/1.1\r\nhost: {}\r\n{name}: {value}\r\n\r\n", target.authority());
                (request.into_bytes(), [b'x'; 100].to_vec())
            }
            Shape::Http2 => (H2_HELLO.to_vec(), H2_SETTINGS_ACK.to_vec()),
        };
        stream.write_all(&hello).await?;
        let mut read = Vec::new();
        while !read.windows(wanted.len()).any(|window| window == wanted) {
            let more = tokio::time::timeout(STEP_LIMIT, stream.read_buf(&mut read)).await??;
            ensure!(more > 0, "the connection ended instead: {}", String::from_utf8_lossy(&read));
        }
        Ok(stream)
    }
}

impl KeyExchange {
    fn group(self) -> &'static dyn SupportedKxGroup {
        match self {
            KeyExchange::X25519 => kx_group::X25519,
            KeyExchange::X25519MlKem768 => kx_group::X25519MLKEM768,
        }
    }
}

fn tls(kind: Option<KeyExchange>, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(kind) = kind {
        provider.kx_groups = vec![kind.group()];
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
    let verifier = Arc::new(Unchecked);
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Checks nothing: what it would check is the client's work, and the client is not measured.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
