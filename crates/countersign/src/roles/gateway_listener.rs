//! Where gateways connect (R-40, AUD-61): mutual TLS only. A stranger may join with a token and do nothing else; a
//! gateway is told what it has missed and everything from then on, and may ask for what its visitors need.
//!
//! Invariants: nobody says anything before a handshake that proved a key; what a gateway says of who somebody is does not
//! count, only the session does; one that does not answer within [`SILENCE`] is out of reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use api::http::Portal;
use api::{Actor, ControlPlane};
use feed::{Ask, Down, Hello, Purpose, Reply, Up, Welcome, WireRequest, WireResponse};
use model::app::HostPattern;
use model::record::RecordType;
use model::seams::{ReservedContext, SessionView};
use model::{AccessId, Clock, DecisionId, Ids, Principal, ReservedService, SessionLookup};
use pki::svid::ProvenKey;
use pki::tls::identity::{Peer, PeerVerifier, control_config};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::gateways::Gateways;
use super::hub::{Hub, News, Subscriber};
use super::line::{self, LineReader, SEND_BUFFER_BYTES};

/// How long a gateway may say nothing; it answers every beat.
pub const SILENCE: Duration = Duration::from_secs(5);
/// How long a handshake and the first message may take.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// The most connections at once, strangers among them.
const MAX_CONNECTIONS: usize = 256;
/// The most questions of one gateway that are answered at once.
const MAX_ASKS: usize = 64;
/// The longest return target that is parked.
const MAX_TARGET_BYTES: usize = 8 * 1024;
/// The longest key it is parked under.
const MAX_PARK_KEY_BYTES: usize = 64;
/// How long nothing is accepted after the system refused.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 256;

/// What the listener is put together from.
pub struct GatewayListener {
    /// Who is a gateway.
    pub gateways: Arc<Gateways>,
    /// Tells them.
    pub hub: Arc<Hub>,
    /// Records who joins; knows the apps.
    pub control: Arc<ControlPlane>,
    /// Keeps long return targets.
    pub portal: Arc<Portal>,
    /// Our own endpoints.
    pub endpoints: Arc<dyn ReservedService>,
    /// The sessions.
    pub sessions: Arc<dyn SessionView>,
    /// What gateways are told of this server, without their own key.
    pub auth_url: String,
    /// The canonical auth host.
    pub auth_host: String,
    /// The port browsers use.
    pub public_port: u16,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
}

/// Opens the listener. Little is buffered in the system, so that an urgent message does not wait behind a snapshot.
///
/// # Errors
/// The address is taken.
pub fn open(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address).with_context(|| format!("cannot listen for gateways on {address}"))?;
    Ok(socket.listen(BACKLOG)?)
}

impl GatewayListener {
    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// The certificate of the control plane cannot be made.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let (identity, verifier) = self.gateways.own_identity()?;
        let acceptor = TlsAcceptor::from(control_config(&identity, Arc::clone(&verifier))?);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = Arc::new(AtomicU64::new(1));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Ok((stream, from)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!(%from, "too many connections of gateways; one is refused");
                continue;
            };
            let (this, acceptor, verifier) = (Arc::clone(&self), acceptor.clone(), Arc::clone(&verifier));
            let (connection, shutdown) = (connections.fetch_add(1, Ordering::Relaxed), shutdown.child_token());
            tokio::spawn(async move {
                let _place = place;
                stream.set_nodelay(true).ok();
                if let Err(error) = this.meet(stream, &acceptor, &verifier, connection, shutdown).await {
                    tracing::info!(%from, error = format!("{error:#}"), "a gateway's connection ended");
                }
            });
        }
    }

    async fn meet(
        self: &Arc<Self>,
        stream: TcpStream,
        acceptor: &TlsAcceptor,
        verifier: &PeerVerifier,
        connection: u64,
        cancel: CancellationToken,
    ) -> Result<()> {
        let stream = tokio::time::timeout(GREETING_LIMIT, acceptor.accept(stream)).await.context("no handshake")??;
        let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
        let now = Duration::from_nanos(u64::try_from(self.clock.now().0).unwrap_or(0));
        let peer = verifier.peer(chain, now)?;
        let (reading, mut writing) = tokio::io::split(stream);
        let mut reader = LineReader::new(reading);
        let Up::Hello(hello) = reader.next::<Up>(GREETING_LIMIT).await? else {
            anyhow::bail!("it began with something else than a greeting");
        };
        match self.greet(&peer, &hello).await {
            Ok(Greeted::Joined(reply)) => say(&mut writing, Down::Reply { ask: 0, reply }).await,
            Ok(Greeted::Gateway { name, key, welcome }) => {
                say(&mut writing, Down::Welcome(welcome)).await?;
                let asks = Arc::new(Semaphore::new(MAX_ASKS));
                let line = Line { name, key, connection, cancel, asks };
                self.attend(line, reader, writing, hello).await
            }
            Err(why) => {
                tracing::warn!(why, "a connection is refused");
                say(&mut writing, Down::Refused(why)).await
            }
        }
    }

    async fn greet(&self, peer: &Peer, hello: &Hello) -> Result<Greeted, String> {
        if hello.protocol != feed::PROTOCOL {
            return Err(format!(
                "this control plane speaks version {} of the feed, the gateway version {}; run the same release",
                feed::PROTOCOL,
                hello.protocol
            ));
        }
        match (&hello.purpose, peer) {
            (Purpose::Join { token }, Peer::Stranger(key)) => {
                let (name, chain_pem) = self.gateways.join(token, key).await?;
                let actor = Actor::system(AccessId(self.ids.uuid_v7(self.clock.now())));
                let text = format!("joined; key {}", data_encoding::HEXLOWER.encode(&key.fingerprint()));
                let recorded = self.control.record_gateway(&actor, RecordType::GatewayJoined, &name, text).await;
                recorded.map_err(|failure| failure.to_string())?;
                Ok(Greeted::Joined(Reply::Certificate { chain_pem, ca_pem: self.gateways.ca_pem().to_owned() }))
            }
            (Purpose::Join { .. }, Peer::Known(..)) => Err("a gateway that has joined needs no token".to_owned()),
            (Purpose::Subscribe { keys, .. }, Peer::Known(id, key)) => {
                let name = self.gateways.admit(id, key)?;
                self.gateways.arrived(&name, Some(key), keys).await?;
                let welcome = Welcome {
                    auth_url: self.auth_url.clone(),
                    auth_host: self.auth_host.clone(),
                    public_port: self.public_port,
                    ticket_key: self.gateways.ticket_key(&name)?,
                };
                Ok(Greeted::Gateway { name, key: key.clone(), welcome })
            }
            (Purpose::Subscribe { .. }, Peer::Stranger(_)) => {
                Err("the certificate is not one of the internal authority, or its time is over; join first".to_owned())
            }
        }
    }

    async fn attend(
        self: &Arc<Self>,
        line: Line,
        mut reader: LineReader<tokio::io::ReadHalf<TlsStream<TcpStream>>>,
        writing: tokio::io::WriteHalf<TlsStream<TcpStream>>,
        hello: Hello,
    ) -> Result<()> {
        let Purpose::Subscribe { have, .. } = hello.purpose else { anyhow::bail!("not a subscription") };
        let ((urgent, urgent_out), (bulk, bulk_out)) = Subscriber::queues();
        let (first, first_out) = oneshot::channel();
        let subscriber = Subscriber {
            name: line.name.clone(),
            have,
            software: hello.software,
            urgent: urgent.clone(),
            bulk,
            first,
            cancel: line.cancel.clone(),
            connection: line.connection,
            since: self.clock.now(),
        };
        let news = self.hub.news();
        news.send(News::Subscribe(subscriber)).await.map_err(|_| anyhow::anyhow!("the server is stopping"))?;
        let first = first_out.await.context("it is no gateway any more")?;
        let writer = tokio::spawn(line::write(writing, first, urgent_out, bulk_out));
        let ended = loop {
            tokio::select! {
                () = line.cancel.cancelled() => break Ok(()),
                message = reader.next::<Up>(SILENCE) => match message {
                    Ok(message) => if let Err(error) = self.hear(&line, message, &news, &urgent).await { break Err(error) },
                    Err(error) => break Err(error.into()),
                },
            }
        };
        line.cancel.cancel();
        writer.abort();
        if let Some(fails_closed_at) = self.hub.lost(&line.name, line.connection, self.clock.now()) {
            news.send(News::Away { door: line.name.clone(), fails_closed_at }).await.ok();
        }
        ended
    }

    async fn hear(
        self: &Arc<Self>,
        line: &Line,
        message: Up,
        news: &mpsc::Sender<News>,
        replies: &mpsc::Sender<Down>,
    ) -> Result<()> {
        match message {
            Up::Ack(ack) => self.hub.acked(&line.name, ack, self.clock.now()),
            Up::Active(batch) => drop(news.send(News::Active(batch)).await),
            Up::Ask { ask, question } => {
                let Ok(place) = Arc::clone(&line.asks).try_acquire_owned() else {
                    let reply = Reply::Refused("too many questions at once".to_owned());
                    drop(replies.try_send(Down::Reply { ask, reply }));
                    return Ok(());
                };
                let (this, name, key, replies) =
                    (Arc::clone(self), line.name.clone(), line.key.clone(), replies.clone());
                tokio::spawn(async move {
                    let reply = this.answer(&name, &key, question).await;
                    drop((place, replies.try_send(Down::Reply { ask, reply })));
                });
            }
            Up::Keys(keys) => self.gateways.arrived(&line.name, None, &keys).await.map_err(anyhow::Error::msg)?,
            Up::Nack { facts, reason } => self.hub.refused(&line.name, facts, reason),
            Up::Report { revocation, report } => {
                news.send(News::Report { revocation, door: line.name.clone(), report }).await.ok();
            }
            Up::Hello(_) => anyhow::bail!("it greets twice"),
        }
        Ok(())
    }

    async fn answer(&self, name: &str, key: &ProvenKey, question: Ask) -> Reply {
        match question {
            Ask::Call(request) => self.call(*request).await,
            Ask::LookUp { token, host } => {
                let found = self.sessions.look_up(&token, &host, self.clock.now());
                Reply::Session(matches!(found, SessionLookup::Live(_)).then(|| self.hub.newest_event()))
            }
            Ask::Park { key, target } => {
                if key.len() <= MAX_PARK_KEY_BYTES && target.len() <= MAX_TARGET_BYTES {
                    self.portal.park_target_as(&key, &target);
                }
                Reply::Session(None)
            }
            Ask::Renew { proof } => match self.gateways.renew(name, key, &proof).await {
                Ok(chain_pem) => Reply::Certificate { chain_pem, ca_pem: self.gateways.ca_pem().to_owned() },
                Err(why) => Reply::Refused(why),
            },
        }
    }

    /// One of our own endpoints on an app host. Pages of the auth host are not served through gateways: what
    /// administers is reached by nobody's word but that of a door of this process.
    async fn call(&self, asked: WireRequest) -> Reply {
        let now = self.clock.now();
        let published = self.control.published();
        let serves = |app: &&Arc<model::App>| {
            !app.is_control_plane() && app.hosts.iter().any(|pattern| covers(pattern, &asked.host))
        };
        let Some(app) = published.apps.iter().find(serves).map(|app| app.name.clone()) else {
            return Reply::Refused("no app has this host".to_owned());
        };
        let session = asked.session.and_then(|id| self.sessions.session(id, now));
        let principal = session.as_ref().map_or(Principal::Anonymous, |session| Principal::User(session.user));
        let context = ReservedContext {
            access_id: AccessId(asked.access),
            decision_id: DecisionId(asked.decision),
            trace_id: Arc::from(asked.trace_id.as_str()),
            principal,
            session,
            login_binding: asked.login_binding,
            host: asked.host.clone(),
            authority: asked.authority.clone(),
            client: asked.client,
            app: Some(app),
            now,
        };
        let Some(mut request) = to_http(asked) else { return Reply::Refused("not a request".to_owned()) };
        request.extensions_mut().insert(context);
        let response = self.endpoints.call(request).await;
        let headers = response.headers().iter();
        Reply::Response(WireResponse {
            status: response.status().as_u16(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
            body: response.into_body().to_vec(),
        })
    }
}

/// What comes of a greeting.
enum Greeted {
    Gateway { name: String, key: ProvenKey, welcome: Welcome },
    Joined(Reply),
}

/// A gateway's connection.
struct Line {
    name: String,
    key: ProvenKey,
    connection: u64,
    cancel: CancellationToken,
    asks: Arc<Semaphore>,
}

/// One message, and nothing after it yet.
async fn say(stream: &mut (impl tokio::io::AsyncWrite + Unpin), message: Down) -> Result<()> {
    let mut cutter = feed::frame::Cutter::new(message.lane(), feed::wire::encode(&message))?;
    while let Some((head, piece)) = cutter.next_frame() {
        stream.write_all(&head).await?;
        stream.write_all(piece).await?;
    }
    Ok(stream.flush().await?)
}

fn covers(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
    }
}

fn to_http(asked: WireRequest) -> Option<http::Request<bytes::Bytes>> {
    // The host the app was found by and the one that cookies are made for are one.
    let name = asked.authority.rsplit_once(':').map_or(asked.authority.as_str(), |(name, _)| name);
    if name != asked.host {
        return None;
    }
    let uri = http::Uri::builder().scheme("https").authority(asked.authority.as_str());
    let uri = uri.path_and_query(asked.target.as_str()).build().ok()?;
    let mut built = http::Request::builder().method(asked.method.as_str()).uri(uri).body(asked.body.into()).ok()?;
    for (name, value) in asked.headers {
        let name = http::HeaderName::try_from(name).ok()?;
        built.headers_mut().append(name, http::HeaderValue::try_from(value).ok()?);
    }
    Some(built)
}
