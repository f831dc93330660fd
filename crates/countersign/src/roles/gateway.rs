//! `gateway run`: doors in a process of their own. Everything they decide by is told by the control plane over one
//! connection and kept on disk, so that they go on while it is away, for as long as each app allows (GW-47, AUD-65).
//!
//! Puts the rooms together and takes them down; it decides nothing. Invariants: no request waits for the control plane but
//! hand-offs and cookies nobody knows here; nothing is served before the first whole snapshot.

mod compile;
mod endpoints;
mod follower;
mod joined;
mod sessions;
mod spool;
mod uplink;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::Actor;
use api::control::KeyControl;
use arc_swap::ArcSwap;
use audit::AuditLog;
use audit::floods::FloodGate;
use config::server::GatewayConfig;
use feed::{Down, Effect, Hello, Known, Purpose, Replica, Up, Welcome};
use model::directory::Directory;
use model::record::RecordType;
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Recorder, SessionView, Timestamp};
use pdp_administrator::{FixCounts, SessionTable};
use pep_gateway::{Gateway, GatewayParts, GatewaySettings, GatewaySnapshot, listener};
use pki::{Kek, KeyRing, NamedCertificate};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::follower::{FollowerParts, Input, Line};
use self::joined::Joined;
use self::spool::{Entry, Spool};
use self::uplink::Uplink;
use super::ground::{DataLock, open_log};
use super::keys::{SubjectRing, Vault};
use super::line::{self, LineReader};
use super::serve::{self, ServeOptions};
use super::signing_keys::{NamedRing, SigningKeys};
use super::{admin_listener, record_watch, startup};

/// How long the control plane may say nothing; it says that it lives four times a second.
const SILENCE: Duration = Duration::from_secs(5);
/// The shortest and the longest wait before the next try to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How old a signing key gets before the next one is published (GW-29).
const KEY_AGE: Duration = Duration::from_secs(30 * 86_400);
/// How often the age of keys and of the certificate is looked at.
const KEY_CHECK: Duration = Duration::from_secs(10);
/// How many messages up may wait.
const UP_QUEUE: usize = 1_024;
/// What signs assertions.
const ASSERTION: &str = "assertion";

/// Everything that is opened before anything is served.
struct Ground {
    lock: DataLock,
    kek: Kek,
    store: Arc<Store>,
    vault: Arc<Vault>,
}

impl Ground {
    async fn open(config: &GatewayConfig, clock: &Arc<dyn Clock>, ids: &Arc<dyn Ids>) -> Result<Self> {
        startup::data_dir(&config.data_dir)?;
        let lock = DataLock::take(&config.data_dir)?;
        let kek = startup::kek(&config.data_dir, ids.as_ref())?;
        let store =
            Store::open(&config.data_dir.join("state.db"), clock.now()).await.context("the store does not open")?;
        let store = Arc::new(store);
        let keys: Arc<dyn store::KeyStore> = store.clone();
        let vault = Arc::new(Vault::new(keys, kek.sealer("secrets")?, Arc::clone(clock), Arc::clone(ids)));
        Ok(Self { lock, kek, store, vault })
    }
}

/// Makes this process a gateway. Gives its name.
///
/// # Errors
/// In words for whoever types the command.
pub async fn join(
    config: &GatewayConfig,
    control: &str,
    token: &str,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
) -> Result<String> {
    let Ground { lock, store, vault, .. } = Ground::open(config, clock, ids).await?;
    let joined = joined::join(control, token, clock).await?;
    joined.keep(&vault).await?;
    store.close().await;
    drop(lock);
    Ok(joined.name)
}

/// A gateway that runs.
pub struct GatewayProcess {
    /// Where people connect.
    pub addresses: Vec<SocketAddr>,
    /// The admin listener.
    pub admin_address: SocketAddr,
    gateway: Arc<Gateway>,
    log: Arc<AuditLog>,
    floods: Arc<FloodGate>,
    store: Arc<Store>,
    readiness: admin_listener::Readiness,
    haste: CancellationToken,
    shutdown: CancellationToken,
    doors: TaskTracker,
    tasks: TaskTracker,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    lock: DataLock,
}

/// What was on disk.
struct Restored {
    table: Arc<SessionTable>,
    replica: Replica,
    known: Option<Known>,
    welcome: Option<Welcome>,
    keys: String,
    spool: Spool,
    /// How long ago everything was last known to be current.
    age: Option<Duration>,
}

impl GatewayProcess {
    /// Starts, and answers when requests are served: at once from the last good state, or after the first snapshot.
    ///
    /// # Errors
    /// Whatever keeps it from serving, with what to mend.
    pub async fn start(config: GatewayConfig, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let ground = Ground::open(&config, &clock, &ids).await?;
        let joined = Joined::load(&ground.vault).await?;
        let name = joined.name.clone();
        let subjects = Arc::new(SubjectRing::load(Arc::clone(&ground.vault), &[]).await?);
        let log = open_log(&config.audit, &config.data_dir, &name, 4, &ground.vault, &subjects, &clock, &ids).await?;
        let ring = ground.vault.ring_of(ASSERTION, &name, None).await?;
        let ring = Arc::new(ArcSwap::from_pointee(ring));
        let listeners = serve::bind(&config.listeners).await?;
        let admin = admin_listener::open(config.admin_listen).await?;
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());

        let sealer = Arc::new(ground.kek.sealer(spool::PURPOSE)?);
        let restored = restore(&config, sealer, &clock, &ids)?;
        let (age, table) = (restored.age, Arc::clone(&restored.table));
        let uplink = Arc::<Uplink>::default();
        let keys = Arc::new(ArcSwap::from_pointee(restored.keys));
        let (applied, events) = watch::channel(restored.replica.ack().events);
        let (ready, first) = oneshot::channel();
        let follower = FollowerParts {
            table: Arc::clone(&table),
            replica: restored.replica,
            known: restored.known,
            welcome: restored.welcome,
            spool: restored.spool,
            uplink: Arc::clone(&uplink),
            keys: Arc::clone(&keys),
            applied,
            clock: Arc::clone(&clock),
            ready,
        };
        let inputs = follower::start(follower, shutdown.clone());
        let connection = Connection {
            joined: Arc::new(ArcSwap::from_pointee(joined)),
            vault: Arc::clone(&ground.vault),
            ring: Arc::clone(&ring),
            uplink: Arc::clone(&uplink),
            inputs: inputs.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
        };
        tasks.spawn(connection.hold(shutdown.clone()));
        let (snapshot, welcome) = first.await.context("the control plane gave nothing to serve")?;

        let floods = Arc::new(FloodGate::new(Arc::clone(&log), Arc::clone(&clock), Arc::clone(&ids)));
        let sessions = Arc::new(sessions::GatewaySessions::new(table, Arc::clone(&uplink), events));
        let endpoints = endpoints::RemoteEndpoints { uplink: Arc::clone(&uplink), keys, ids: Arc::clone(&ids) };
        let gateway = gateway(&welcome, snapshot, sessions, &floods, Arc::new(endpoints), &ring, &clock, &ids)?;
        if let Some(age) = age {
            gateway.note_age(age);
        }
        inputs.send(Input::Opened(Arc::clone(&gateway))).await.ok();
        record_start(&log, &clock, &ids).await?;

        let readiness = Arc::new(AtomicBool::new(true));
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let admin_address = admin.local_addr()?;
        let sinks = super::sinks::build(&config.audit, &config.data_dir, &log, &clock)?;
        let (told, numbers) = (Arc::clone(&gateway), Arc::clone(&sinks));
        tasks.spawn(admin_listener::serve(admin, told, numbers, Arc::clone(&readiness), shutdown.clone()));
        let stopping = shutdown.clone();
        tasks.spawn(async move {
            stopping.run_until_cancelled(sinks.run()).await;
        });
        tasks.spawn(Arc::clone(&gateway).run_stream_timer(shutdown.clone()));
        tasks.spawn(record_watch::floods(Arc::clone(&floods), shutdown.clone()));
        let watched = record_watch::clock(Arc::clone(&log), Arc::clone(&clock), Arc::clone(&ids), shutdown.clone());
        tasks.spawn(watched);
        let rings = vec![NamedRing { purpose: ASSERTION, owner: name, ring: Arc::clone(&ring) }];
        let signing = SigningKeys::new(rings, ground.vault, Arc::clone(&clock), KEY_AGE);
        tasks.spawn(rotate_keys(signing, uplink, Arc::clone(&clock), shutdown.clone()));
        let (doors, haste) = (TaskTracker::new(), CancellationToken::new());
        open_doors(&config, listeners, &gateway, welcome.public_port, (&doors, &haste, &shutdown))?;
        doors.close();
        tasks.close();
        let (store, lock) = (ground.store, ground.lock);
        Ok(Self {
            addresses,
            admin_address,
            gateway,
            log,
            floods,
            store,
            readiness,
            haste,
            shutdown,
            doors,
            tasks,
            clock,
            ids,
            lock,
        })
    }

    /// Cancel it to end a stop that is under way: whatever still flows is cut, records are kept nevertheless.
    pub fn haste(&self) -> CancellationToken {
        self.haste.clone()
    }

    /// Drains and stops.
    pub async fn stop(self) {
        self.readiness.store(false, Ordering::Relaxed);
        self.haste.run_until_cancelled(tokio::time::sleep(ServeOptions::STANDARD.drain_delay)).await;
        self.shutdown.cancel();
        self.doors.wait().await;
        self.tasks.wait().await;
        self.gateway.finish_records().await;
        self.floods.flush(true).await;
        let now = self.clock.now();
        let actor = Actor::system(AccessId(self.ids.uuid_v7(now)));
        let mut record = actor.record(RecordType::SystemStop, now, &Directory::default());
        record.change.change = Some(Arc::from("stopped"));
        self.log.append(record, Durability::Strict).await.ok();
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || log.close()).await.ok();
        self.store.close().await;
        drop(self.lock);
    }
}

async fn record_start(log: &Arc<AuditLog>, clock: &Arc<dyn Clock>, ids: &Arc<dyn Ids>) -> Result<()> {
    let now = clock.now();
    let actor = Actor::system(AccessId(ids.uuid_v7(now)));
    let mut record = actor.record(RecordType::SystemStart, now, &Directory::default());
    record.change.change = Some(Arc::from(format!("countersign {} started as a gateway", env!("CARGO_PKG_VERSION"))));
    log.append(record, Durability::Strict).await?;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "rooms put together once")]
fn gateway(
    welcome: &Welcome,
    snapshot: GatewaySnapshot,
    sessions: Arc<dyn SessionView>,
    floods: &Arc<FloodGate>,
    reserved: Arc<dyn model::ReservedService>,
    ring: &Arc<ArcSwap<KeyRing>>,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
) -> Result<Arc<Gateway>> {
    let key: &[u8; pki::seal::KEK_BYTES] = welcome.ticket_key.as_slice().try_into().context("a key has 32 bytes")?;
    let return_sealer = Arc::new(Kek::from_bytes(key)?.sealer(pki::return_ticket::PURPOSE)?);
    Ok(Gateway::new(GatewayParts {
        settings: GatewaySettings { auth_url: welcome.auth_url.clone() },
        snapshot,
        sessions,
        recorder: Arc::clone(floods) as Arc<dyn Recorder>,
        reserved,
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        return_sealer,
        assertion_keys: Arc::clone(ring),
        fixes: Arc::new(FixCounts::default()),
    }))
}

fn open_doors(
    config: &GatewayConfig,
    listeners: Vec<TcpListener>,
    gateway: &Arc<Gateway>,
    public_port: u16,
    (doors, haste, shutdown): (&TaskTracker, &CancellationToken, &CancellationToken),
) -> Result<()> {
    let pairs = startup::certificates(&config.certificates)?;
    let named: Vec<NamedCertificate> = pairs.into_iter().map(|(named, _)| named).collect();
    let identities: Arc<[NamedCertificate]> = Arc::from(named.as_slice());
    let roots = match &config.upstream_roots {
        Some(path) => Some(Arc::from(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `upstream_roots` at `{}`", path.display()))?,
        )),
        None => None,
    };
    for (listener, declared) in listeners.into_iter().zip(&config.listeners) {
        let chosen: Vec<NamedCertificate> =
            declared.certificates.iter().filter_map(|name| named.iter().find(|c| c.name == *name)).cloned().collect();
        let tls = pki::tls::server_config(&chosen, startup::tls_settings(declared))?;
        let settings = listener::ListenerSettings {
            name: Arc::from(listener.local_addr()?.to_string()),
            public_port,
            limits: listener::ListenerLimits::STANDARD,
            drain: ServeOptions::STANDARD.drain,
            haste: haste.clone(),
            trusted_peers: serve::trusted_peers(declared)?,
            upstream_roots_pem: roots.clone(),
            upstream_identities: Arc::clone(&identities),
        };
        let tls = Arc::new(ArcSwap::new(tls));
        doors.spawn(listener::serve(Arc::clone(gateway), listener, tls, settings, shutdown.clone()));
    }
    Ok(())
}

/// Reads the last good state and runs the machine over it. What was altered is not used.
fn restore(
    config: &GatewayConfig,
    sealer: Arc<pki::Sealer>,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
) -> Result<Restored> {
    let folder = config.data_dir.join("feed");
    startup::data_dir(&folder)?;
    let read = Spool::open(&folder, Arc::clone(&sealer), Arc::clone(ids));
    match read.and_then(|(spool, entries)| replay(spool, entries, clock.now())) {
        Ok(restored) => Ok(restored),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the last good state is of no use; everything is asked for");
            std::fs::remove_file(folder.join("state")).ok();
            let (spool, entries) = Spool::open(&folder, sealer, Arc::clone(ids))?;
            replay(spool, entries, clock.now())
        }
    }
}

/// Runs the machine over what it was told before.
fn replay(spool: Spool, entries: Vec<Entry>, now: Timestamp) -> Result<Restored> {
    let (table, mut replica) = (Arc::new(SessionTable::new()), Replica::new());
    let (mut known, mut welcome, mut keys, mut confirmed) = (None, None, "{\"keys\":[]}".to_owned(), None);
    for entry in entries {
        match entry {
            Entry::Applied(change) => table.apply(&change),
            Entry::Confirmed(at) => confirmed = Some(at),
            Entry::Told(Down::Welcome(told)) => welcome = Some(told),
            Entry::Told(message) => {
                for effect in replica.apply(message).context("it contradicts itself")? {
                    match effect {
                        Effect::Change(change) => table.apply(&change),
                        Effect::Keep(kept) => table.keep_only(&kept),
                        Effect::Keys(told) => keys = told.to_string(),
                        Effect::Publish(facts) => known = Some(facts),
                        // Nothing is open that could be judged, and who asked has stopped waiting.
                        Effect::Acknowledge(_) | Effect::Confirm | Effect::Judge(_) | Effect::JudgeAll => {}
                    }
                }
            }
        }
    }
    replica.interrupted();
    let age = known.is_some().then(|| age_of(confirmed, now));
    Ok(Restored { table, replica, known, welcome, keys, spool, age })
}

/// How old the state is. A clock that stands before the last confirmation says nothing, and then it counts as too old.
fn age_of(confirmed: Option<Timestamp>, now: Timestamp) -> Duration {
    const TOO_OLD: Duration = Duration::from_secs(365 * 86_400);
    confirmed.filter(|at| *at <= now).map_or(TOO_OLD, |at| now.since(at))
}

/// Publishes the next signing key when it is time, as long as somebody is there to publish it to.
async fn rotate_keys(signing: SigningKeys, uplink: Arc<Uplink>, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(KEY_CHECK)).await.is_some() {
        if !uplink.is_connected() {
            continue;
        }
        for purpose in signing.due(clock.now()) {
            if let Err(error) = signing.rotate_untold(purpose).await {
                tracing::error!(error, "a signing key is due and could not be changed; trying again");
            }
        }
    }
}

/// The connection to the control plane, held for as long as the process runs.
struct Connection {
    joined: Arc<ArcSwap<Joined>>,
    vault: Arc<Vault>,
    ring: Arc<ArcSwap<KeyRing>>,
    uplink: Arc<Uplink>,
    inputs: mpsc::Sender<Input>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Connection {
    async fn hold(self, shutdown: CancellationToken) {
        let mut wait = BACK_OFF.0;
        while !shutdown.is_cancelled() {
            let began = tokio::time::Instant::now();
            let ended = tokio::select! {
                ended = self.follow() => ended,
                () = shutdown.cancelled() => return,
            };
            self.inputs.send(Input::Lost).await.ok();
            if let Err(error) = ended {
                tracing::warn!(error = format!("{error:#}"), "no connection to the control plane");
            }
            // Who was connected for a while begins anew; everybody else waits a little longer each time.
            wait = if began.elapsed() > BACK_OFF.1 { BACK_OFF.0 } else { (wait * 2).min(BACK_OFF.1) };
            let mut random = [0];
            self.ids.fill_random(&mut random);
            let jitter = wait.mul_f64(f64::from(u8::from_be_bytes(random)) / 512.0);
            shutdown.run_until_cancelled(tokio::time::sleep(wait / 2 + jitter)).await;
        }
    }

    /// One connection from its first to its last message.
    async fn follow(&self) -> Result<()> {
        let stream = self.joined.load_full().connect().await?;
        let (reading, writing) = tokio::io::split(stream);
        let (asked, have) = oneshot::channel();
        self.inputs.send(Input::Connecting(asked)).await.ok();
        let have = have.await.context("the process is stopping")?;
        let mut told_keys = self.ring.load().jwks(self.clock.now()).to_json();
        let purpose = Purpose::Subscribe { have, keys: told_keys.clone() };
        let hello = Hello { protocol: feed::PROTOCOL, software: env!("CARGO_PKG_VERSION").to_owned(), purpose };
        let ((urgent, urgent_out), (bulk, bulk_out)) = (mpsc::channel(UP_QUEUE), mpsc::channel(UP_QUEUE));
        let writer = tokio::spawn(line::write(writing, vec![Up::Hello(hello)], urgent_out, bulk_out));
        let cancel = CancellationToken::new();
        let _writer = AbortOnDrop(writer);
        let mut reader = LineReader::new(reading);
        match reader.next::<Down>(joined::GREETING_LIMIT).await? {
            Down::Welcome(welcome) => self.inputs.send(Input::Welcomed(welcome)).await.ok(),
            Down::Refused(why) => bail!("the control plane refuses: {why}"),
            _ => bail!("the control plane begins with something else than a welcome"),
        };
        let line = Line { urgent: urgent.clone(), bulk, cancel: cancel.clone() };
        self.inputs.send(Input::Connected(line)).await.ok();
        tracing::info!(control = self.joined.load().control, "connected to the control plane");
        let upkeep = self.upkeep(&urgent, &mut told_keys);
        tokio::pin!(upkeep);
        loop {
            tokio::select! {
                message = reader.next::<Down>(SILENCE) => match message? {
                    Down::Refused(why) => bail!("the control plane refuses: {why}"),
                    message => {
                        self.inputs.send(Input::Told(message)).await.ok();
                    }
                },
                renewed = &mut upkeep => return renewed,
                () = cancel.cancelled() => bail!("the stream is broken"),
            }
        }
    }

    /// Tells keys that changed; returns once there is a new certificate to connect with.
    async fn upkeep(&self, urgent: &mpsc::Sender<Up>, told_keys: &mut String) -> Result<()> {
        loop {
            tokio::time::sleep(KEY_CHECK).await;
            let now = self.clock.now();
            let keys = self.ring.load().jwks(now).to_json();
            if keys != *told_keys {
                urgent.try_send(Up::Keys(keys.clone())).ok();
                *told_keys = keys;
            }
            let joined = self.joined.load_full();
            if joined.is_due(now) {
                match joined.renewed(&self.uplink, now).await {
                    Ok(renewed) => {
                        renewed.keep(&self.vault).await?;
                        self.joined.store(Arc::new(renewed));
                        tracing::info!("the next certificate is there");
                        return Ok(());
                    }
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "no next certificate yet"),
                }
            }
        }
    }
}

/// Ends a task with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), line::LineError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
