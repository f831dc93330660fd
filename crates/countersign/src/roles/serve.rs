//! `serve`: control plane and gateway in one process on an embedded store. Puts the rooms together and takes them down;
//! it decides nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use api::control::{Checked, GatewayControl, Kept, assemble, at_start, check_files, fits};
use api::http::{Portal, PortalParts, ReservedEndpoints, local_router};
use api::{Actor, ApiSettings, ControlPlane, ControlPlaneParts, Failure, Published};
use arc_swap::ArcSwap;
use audit::floods::FloodGate;
use audit::{AuditLog, Sinks};
use config::server::ListenerConfig;
use config::{Known, ServerConfig};
use feed::Source;
use model::record::RecordType;
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Recorder, SessionControl, SessionView, UserId};
use pdp_administrator::{Administrator, FixCounts, SessionTable};
use pep_gateway::{Gateway, GatewayParts, GatewaySettings, listener};
use pip_identity::links::Links;
use pip_identity::passkeys::{Passkeys, RelyingParty};
use pip_identity::password_hash::HashCost;
use pip_identity::throttle::Throttle;
use pip_identity::{Accounts, PasswordRules, People};
use pki::tls::Certificate;
use pki::{Kek, NamedCertificate};
use store::{ConfigStore, SessionStore, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control_loop::{self, ControlLoopParts, Controller};
use super::control_socket::ControlSocket;
use super::doors::{Doors, LateEndpoints, config_source, is_covered, snapshot};
use super::gateway_listener::{self, GatewayListener};
use super::gateways::{Gateways, GatewaysParts};
use super::ground::{DataLock, Ground};
use super::hub::Hub;
use super::keys::{SubjectRing, Vault};
use super::local_door::LocalDoor;
use super::signing_keys::{NamedRing, SigningKeys};
use super::stages::Stages;
use super::{admin_listener, record_watch, startup};

/// The name of the only gateway of this role, in receipts and withdrawals.
pub(super) const GATEWAY: &str = "local";

/// How long after a start kept versions are compiled.
const WARM_AFTER: Duration = Duration::from_secs(10);
/// How often the age of signing keys is looked at.
const KEY_CHECK: Duration = Duration::from_secs(1);

/// A server that runs.
pub struct Server {
    /// The operations.
    pub control: Arc<ControlPlane>,
    /// The pages; makes links.
    pub portal: Arc<Portal>,
    /// Where people connect; several listeners in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// The admin listener.
    pub admin_address: SocketAddr,
    /// Where gateways connect.
    pub gateway_address: Option<SocketAddr>,
    /// The control socket.
    pub socket: PathBuf,
    gateway: Arc<Gateway>,
    controller: Arc<Controller>,
    log: Arc<AuditLog>,
    floods: Arc<FloodGate>,
    store: Arc<Store>,
    readiness: admin_listener::Readiness,
    drain_delay: Duration,
    haste: CancellationToken,
    shutdown: CancellationToken,
    doors: TaskTracker,
    admin_shutdown: CancellationToken,
    tasks: TaskTracker,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    lock: DataLock,
}

/// What differs between a server and a demo.
pub struct ServeOptions {
    /// How long everything goes on after a stop was asked for while `/readyz` already says no, so that balancers send
    /// nobody here any more (GW-79).
    pub drain_delay: Duration,
    /// How long requests may go on after a stop was asked for.
    pub drain: Duration,
    /// Blank log segments kept ready.
    pub log_reserves: usize,
}

impl ServeOptions {
    /// A server's.
    pub const STANDARD: ServeOptions =
        ServeOptions { drain_delay: Duration::from_secs(5), drain: listener::DRAIN_LIMIT, log_reserves: 4 };
}

/// Everything that has been opened before rooms are put together.
struct Opened {
    config: ServerConfig,
    options: ServeOptions,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    lock: DataLock,
    kek: Arc<Kek>,
    store: Arc<Store>,
    vault: Arc<Vault>,
    people: Arc<People>,
    subject_keys: Arc<SubjectRing>,
    log: Arc<AuditLog>,
    named: Vec<NamedCertificate>,
    certificates: Vec<Certificate>,
}

impl Server {
    /// Starts everything and answers when requests are served.
    ///
    /// # Errors
    /// Whatever keeps it from serving, with what to mend; nothing is left running.
    pub async fn start(
        config: ServerConfig,
        options: ServeOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self> {
        let opened = Opened::open(config, options, clock, ids).await?;
        let listeners = bind(&opened.config.listeners).await?;
        let admin = admin_listener::open(opened.config.admin_listen).await?;
        let for_gateways = opened.config.gateways.listen.map(gateway_listener::open).transpose()?;
        let gateway_address = for_gateways.as_ref().map(TcpListener::local_addr).transpose()?;
        let socket_path =
            opened.config.control_socket.clone().unwrap_or_else(|| opened.config.data_dir.join("control.sock"));
        let socket = ControlSocket::open(&socket_path).await?;
        let tls = opened.config.listeners.iter().map(|listener| opened.tls(listener)).collect::<Result<Vec<_>>>()?;
        let trusted = opened.config.listeners.iter().map(trusted_peers).collect::<Result<Vec<_>>>()?;
        let roots = opened.upstream_roots()?;
        let identities: Arc<[NamedCertificate]> = Arc::from(opened.named.as_slice());
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let admin_address = admin.local_addr()?;
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let public_port = opened.config.auth_url.port;
        let ServeOptions { drain, drain_delay, .. } = opened.options;
        let (doors, haste, admin_shutdown) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());

        let assembled = opened.assemble(&tasks, &shutdown).await?;
        let readiness = Arc::new(AtomicBool::new(true));
        let (told, sinks) = (Arc::clone(&assembled.gateway), Arc::clone(&assembled.sinks));
        tasks.spawn(admin_listener::serve(admin, told, sinks, Arc::clone(&readiness), admin_shutdown.clone()));
        let router = local_router(Arc::clone(&assembled.control), Arc::clone(&assembled.portal));
        tasks.spawn(socket.serve(router, shutdown.clone()));
        for (((listener, tls), trusted_peers), address) in listeners.into_iter().zip(tls).zip(trusted).zip(&addresses) {
            let settings = listener::ListenerSettings {
                name: Arc::from(address.to_string()),
                public_port,
                limits: listener::ListenerLimits::STANDARD,
                drain,
                haste: haste.clone(),
                trusted_peers,
                upstream_roots_pem: roots.clone(),
                upstream_identities: Arc::clone(&identities),
            };
            let tls = Arc::new(ArcSwap::new(tls));
            doors.spawn(listener::serve(Arc::clone(&assembled.gateway), listener, tls, settings, shutdown.clone()));
        }
        if let (Some(listener), Some(serving)) = (for_gateways, assembled.gateway_listener) {
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                if let Err(error) = serving.serve(listener, shutdown).await {
                    tracing::error!(error = format!("{error:#}"), "gateways cannot connect");
                }
            });
        }
        doors.close();
        tasks.close();
        Ok(Self {
            gateway_address,
            control: assembled.control,
            portal: assembled.portal,
            addresses,
            admin_address,
            socket: socket_path,
            gateway: assembled.gateway,
            controller: assembled.controller,
            log: assembled.log,
            floods: assembled.floods,
            store: assembled.store,
            readiness,
            drain_delay,
            haste,
            shutdown,
            doors,
            admin_shutdown,
            tasks,
            ids: assembled.ids,
            clock: assembled.clock,
            lock: assembled.lock,
        })
    }

    /// The log, as a drill and tests reach it.
    pub fn log(&self) -> &Arc<AuditLog> {
        &self.log
    }

    /// Cancel it to end a stop that is under way: whatever still flows is cut, records are kept nevertheless.
    pub fn haste(&self) -> CancellationToken {
        self.haste.clone()
    }

    /// Drains and stops: not ready, after the delay no new requests, open ones end, records are kept, then store and log
    /// close. Health is told until the doors are closed.
    pub async fn stop(self) {
        self.readiness.store(false, Ordering::Relaxed);
        self.haste.run_until_cancelled(tokio::time::sleep(self.drain_delay)).await;
        self.shutdown.cancel();
        self.doors.wait().await;
        self.admin_shutdown.cancel();
        self.tasks.wait().await;
        self.gateway.finish_records().await;
        self.floods.flush(true).await;
        self.controller.stop().await;
        let now = self.clock.now();
        let actor = Actor::system(AccessId(self.ids.uuid_v7(now)));
        let mut record = actor.record(RecordType::SystemStop, now, &self.control.published().directory);
        record.change.change = Some(Arc::from("stopped"));
        self.log.append(record, Durability::Strict).await.ok();
        let log = Arc::clone(&self.log);
        tokio::task::spawn_blocking(move || log.close()).await.ok();
        self.store.close().await;
        drop(self.lock);
    }
}

/// Rooms that know each other.
struct Assembled {
    control: Arc<ControlPlane>,
    portal: Arc<Portal>,
    gateway: Arc<Gateway>,
    gateway_listener: Option<Arc<GatewayListener>>,
    controller: Arc<Controller>,
    log: Arc<AuditLog>,
    floods: Arc<FloodGate>,
    sinks: Arc<Sinks>,
    store: Arc<Store>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    lock: DataLock,
}

impl Opened {
    async fn open(
        config: ServerConfig,
        options: ServeOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self> {
        let mut stages = Stages::begin();
        let pairs = startup::certificates(&config.certificates)?;
        stages.done("certificates");
        let (named, certificates) = pairs.into_iter().unzip();
        let Ground { lock, kek, store, vault, people, subject_keys, log } =
            Ground::open(&config, options.log_reserves, &clock, &ids).await?;
        Ok(Self {
            config,
            options,
            clock,
            ids,
            lock,
            kek: Arc::new(kek),
            store,
            vault,
            people,
            subject_keys,
            log,
            named,
            certificates,
        })
    }

    fn tls(&self, listener: &ListenerConfig) -> Result<Arc<rustls::ServerConfig>> {
        let chosen = listener.certificates.iter().filter_map(|name| self.named.iter().find(|c| c.name == *name));
        let chosen: Vec<NamedCertificate> = chosen.cloned().collect();
        Ok(pki::tls::server_config(&chosen, startup::tls_settings(listener))?)
    }

    /// The gateways in processes of their own, if they may connect anywhere.
    async fn gateways(&self, hub: &Arc<Hub>) -> Result<Option<Arc<Gateways>>> {
        let Some(listen) = self.config.gateways.listen else { return Ok(None) };
        let gateways = Gateways::load(GatewaysParts {
            trust_domain: self.config.gateways.trust_domain.clone(),
            control: format!("https://{}:{}", self.config.auth_url.host, listen.port()),
            kek: Arc::clone(&self.kek),
            vault: Arc::clone(&self.vault),
            hub: Arc::clone(hub),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        });
        Ok(Some(Arc::new(gateways.await?)))
    }

    /// Passwords, recovery and notices, as `[identity]` says.
    fn accounts(&self, throttle: &Arc<Throttle>) -> Result<Accounts> {
        let identity = &self.config.identity;
        let rules = PasswordRules {
            is_enabled: identity.passwords,
            min_chars: identity.password_min_chars,
            admins_need_passkey: identity.admins_need_passkey,
            cost: HashCost::STANDARD,
            issuer: identity.rp_name.clone(),
            names: identity.domains.iter().chain([&identity.rp_id]).cloned().collect(),
        };
        let sealer = self.kek.sealer(pip_identity::passwords::SEAL_PURPOSE)?;
        Ok(Accounts::new(&self.people, throttle, sealer, rules)?.where_admins_wait(identity.admin_recovery_waits))
    }

    fn upstream_roots(&self) -> Result<Option<Arc<str>>> {
        let Some(path) = &self.config.upstream_roots else { return Ok(None) };
        let pem = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `upstream_roots` at `{}`", path.display()))?;
        Ok(Some(Arc::from(pem)))
    }

    async fn assemble(self, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<Assembled> {
        let mut stages = Stages::begin();
        let auth_url = self.config.auth_url.origin();
        let FirstVersion { published, checked, given_up } = self.first_version().await?;
        stages.done("configuration");
        let table = Arc::new(SessionTable::new());
        let (administrator, restored) = self.restore_sessions(&table).await?;
        stages.done("sessions");
        let return_sealer = Arc::new(self.kek.sealer(pki::return_ticket::PURPOSE)?);
        let actor = Actor::system(AccessId(self.ids.uuid_v7(self.clock.now())));
        let (assertion, receipt) = (self.ring("assertion", &actor).await?, self.ring("receipt", &actor).await?);
        stages.done("signing keys");
        let (assertion_keys, receipt_keys) = (Arc::clone(&assertion.ring), Arc::clone(&receipt.ring));
        let local_keys = Arc::clone(&assertion_keys);
        let endpoints = Arc::new(LateEndpoints::default());
        let recorder: Arc<dyn Recorder> = self.log.clone();
        let floods = Arc::new(FloodGate::new(Arc::clone(&self.log), Arc::clone(&self.clock), Arc::clone(&self.ids)));
        floods.take_over().await;
        let gateway = Gateway::new(GatewayParts {
            settings: GatewaySettings { auth_url: auth_url.clone() },
            snapshot: snapshot(&published),
            sessions: Arc::clone(&table) as Arc<dyn SessionView>,
            recorder: Arc::clone(&floods) as Arc<dyn Recorder>,
            reserved: endpoints.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            return_sealer: Arc::clone(&return_sealer),
            assertion_keys: Arc::clone(&assertion_keys),
            fixes: Arc::new(FixCounts::default()),
        });
        let lineage = self.ids.uuid_v7(self.clock.now());
        let source = Source::new(lineage, config_source(&published), Arc::clone(&published.directory));
        let known = source.known().clone();
        let (hub, news) = Hub::new(source);
        hub.add_local(LocalDoor::new(
            GATEWAY,
            (lineage, known),
            Arc::clone(&table),
            gateway.live_streams(),
            Some(Arc::clone(&gateway)),
            hub.news(),
        ));
        let gateways = self.gateways(&hub).await?;
        let (controller, _loop) = control_loop::start(ControlLoopParts {
            administrator,
            restored,
            table: Arc::clone(&table),
            store: self.store.clone(),
            hub: Arc::clone(&hub),
            news,
            recorder: Arc::clone(&recorder),
            receipt_keys: Arc::clone(&receipt_keys),
            issuer: auth_url.clone(),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        });
        let throttle = Arc::new(Throttle::new());
        let accounts = Arc::new(self.accounts(&throttle)?);
        let names = self.named.iter().map(|certificate| certificate.name.clone()).collect();
        let (doors, told) = Doors::new(Arc::clone(&gateway), Arc::clone(&hub), self.certificates, names);
        let control = ControlPlane::new(ControlPlaneParts {
            settings: ApiSettings {
                auth_url,
                auth_host: self.config.auth_url.host.clone(),
                public_port: self.config.auth_url.port,
                session_idle: self.config.identity.session_idle,
                session_absolute: self.config.identity.session_absolute,
                related_origins: self.config.identity.related_origins.clone(),
                policy: self.config.policy.clone(),
                approvals: self.config.approvals,
            },
            people: Arc::clone(&self.people),
            accounts,
            sessions: Arc::clone(&controller) as Arc<dyn SessionControl>,
            session_view: Arc::clone(&table) as Arc<dyn SessionView>,
            configs: self.store.clone(),
            notes: self.store.clone(),
            preferences: self.store.clone(),
            proposals: self.store.clone(),
            log: Arc::clone(&self.log),
            recorder,
            doors: Arc::new(doors),
            published,
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
        });
        let identity = &self.config.identity;
        let rp = RelyingParty::new(&identity.rp_id, &identity.rp_name, &[self.config.auth_url.origin()])?;
        let passkeys = Arc::new(Passkeys::new(Arc::clone(&self.people), Arc::clone(&throttle), rp));
        let portal = Arc::new(Portal::new(PortalParts {
            control: Arc::clone(&control),
            passkeys,
            links: Links::new(Arc::clone(&self.people)),
            return_sealer,
            form_sealer: self.kek.sealer("form-token")?,
            assertion_keys,
            receipt_keys,
        }));
        endpoints.set(Arc::new(ReservedEndpoints::new(Arc::clone(&control), Arc::clone(&portal))));
        stages.done("rooms");
        let gateway_listener = gateways.map(|gateways| {
            control.set_gateways(gateways.clone());
            let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
            tasks.spawn(publish_keys(Arc::clone(&hub), gateways.clone(), local_keys, clock.clone(), shutdown.clone()));
            Arc::new(GatewayListener {
                gateways,
                hub,
                control: Arc::clone(&control),
                portal: Arc::clone(&portal),
                endpoints,
                sessions: table,
                auth_url: self.config.auth_url.origin(),
                auth_host: self.config.auth_url.host.clone(),
                public_port: self.config.auth_url.port,
                clock,
                ids,
            })
        });
        tasks.spawn(cover_people(self.subject_keys, told, shutdown.clone()));
        tasks.spawn(Arc::clone(&gateway).run_stream_timer(shutdown.clone()));
        tasks.spawn(record_watch::clock(
            Arc::clone(&self.log),
            Arc::clone(&self.clock),
            Arc::clone(&self.ids),
            shutdown.clone(),
        ));
        tasks.spawn(record_watch::floods(Arc::clone(&floods), shutdown.clone()));
        tasks.spawn(record_watch::monthly_drill(Arc::clone(&control), shutdown.clone()));
        let sinks = super::sinks::build(&self.config.audit, &self.config.data_dir, &self.log, &self.clock)?;
        control.set_sinks(Arc::clone(&sinks));
        let (running, stopping) = (Arc::clone(&sinks), shutdown.clone());
        tasks.spawn(async move {
            stopping.run_until_cancelled(running.run()).await;
        });
        let (vault, every) = (Arc::clone(&self.vault), self.config.keys.rotate_every);
        let rings = vec![assertion, receipt];
        control.set_keys(Arc::new(SigningKeys::new(rings, vault, Arc::clone(&self.clock), every)));
        let mut record = actor.record(RecordType::SystemStart, self.clock.now(), &control.published().directory);
        record.change.change = Some(Arc::from(format!("countersign {} started", env!("CARGO_PKG_VERSION"))));
        // Also when the process died between keeping a configuration and recording it, this says what is in force.
        let published = control.published();
        record.pins.config_version = Some(published.config_version);
        record.pins.policy_set_hash = Some(published.policies.policy_hash());
        record.pins.schema_hash = Some(published.policies.schema_hash());
        self.log.append(record, Durability::Strict).await?;
        control.resume(&actor, checked.as_ref()).await?;
        if let Some(number) = given_up {
            control.record_given_up(&actor, number).await?;
        }
        stages.done("record of the start");
        tasks.spawn(rotate_keys(Arc::clone(&control), Arc::clone(&self.ids), shutdown.clone()));
        tasks.spawn(warm_versions(Arc::clone(&control), shutdown.clone()));
        let (log, store, ids, clock, lock) = (self.log, self.store, self.ids, self.clock, self.lock);
        Ok(Assembled {
            control,
            portal,
            gateway,
            gateway_listener,
            controller,
            log,
            floods,
            sinks,
            store,
            ids,
            clock,
            lock,
        })
    }

    /// The version that was on its way when the process ended, if it fits; or the live one, checked again against this
    /// process; without one, only the built-in app.
    async fn first_version(&self) -> Result<FirstVersion> {
        let found = at_start(self.store.as_ref()).await?;
        let mut given_up = None;
        if let Some(pending) = found.pending {
            let checked = self.check(&pending);
            let fits = match &checked {
                Ok(checked) => fits(&self.people, checked).await,
                Err(failure) => Err(failure.clone()),
            };
            match (checked, fits) {
                (Ok(checked), Ok(())) => {
                    let published = self.published(pending.number, &checked)?;
                    return Ok(FirstVersion { published, checked: Some(checked), given_up });
                }
                (_, fits) => {
                    tracing::warn!(version = pending.number, reason = ?fits.err(), "a configuration on its way does not fit; given up");
                    self.store.abandon_config(pending.number).await?;
                    given_up = Some(pending.number);
                }
            }
        }
        let is_none = found.live.is_none();
        let live = found.live.unwrap_or(Kept { number: 0, files: Vec::new() });
        let checked = self.check(&live).map_err(|failure| match failure {
            Failure::Problems(problems) => anyhow::anyhow!(
                "the applied configuration {} does not fit this process any more:\n{problems}\n\
                 restore what it needs, usually a certificate: while the server does not start, no other can be applied",
                live.number
            ),
            other => anyhow::Error::new(other),
        })?;
        let published = self.published(live.number, &checked)?;
        Ok(FirstVersion { published, checked: (!is_none).then_some(checked), given_up })
    }

    fn published(&self, number: u64, checked: &Checked) -> Result<Published> {
        let (apps, policies) = checked.parts();
        let files = Arc::clone(&checked.files);
        Ok(Published { files, ..assemble(number, apps, policies, self.people.directory())? })
    }

    fn check(&self, kept: &Kept) -> Result<Checked, Failure> {
        let groups: BTreeSet<String> = self.people.directory().groups.keys().map(|id| id.as_str().to_owned()).collect();
        let covered = |host: &str| is_covered(&self.certificates, host);
        let is_named = |name: &str| self.named.iter().any(|certificate| certificate.name == name);
        let auth_host = &self.config.auth_url.host;
        let known = Known { auth_host, is_covered: &covered, is_certificate: &is_named, groups: &groups };
        check_files(&kept.files, &known, &self.config.policy)
    }

    async fn ring(&self, purpose: &'static str, actor: &Actor) -> Result<NamedRing> {
        let ring = self.vault.ring(purpose, actor).await?;
        Ok(NamedRing { purpose, owner: purpose.to_owned(), ring: Arc::new(ArcSwap::from_pointee(ring)) })
    }

    async fn restore_sessions(&self, table: &SessionTable) -> Result<(Administrator, Vec<pdp_administrator::Output>)> {
        let mut snapshot = self.store.sessions().await?;
        let directory = self.people.directory();
        snapshot.user_epochs.extend(directory.users.values().map(|user| (user.id, user.epoch)));
        table.load(&snapshot);
        Ok(Administrator::restore(&snapshot, self.clock.now()))
    }
}

/// What a server starts with.
struct FirstVersion {
    published: Published,
    /// What `published` was made of; `None` before the first apply.
    checked: Option<Checked>,
    /// A version that was on its way and does not fit.
    given_up: Option<u64>,
}

/// Compiles kept versions well behind the first answers.
async fn warm_versions(control: Arc<ControlPlane>, shutdown: CancellationToken) {
    let work = async {
        tokio::time::sleep(WARM_AFTER).await;
        control.warm_versions().await;
    };
    shutdown.run_until_cancelled(work).await;
}

/// Publishes new signing keys when it is time.
async fn rotate_keys(control: Arc<ControlPlane>, ids: Arc<dyn Ids>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(KEY_CHECK)).await.is_some() {
        let actor = Actor::system(AccessId(ids.uuid_v7(control.now())));
        if let Err(error) = control.rotate_due_keys(&actor).await {
            tracing::error!(%error, "a signing key is due and could not be changed; trying again");
        }
    }
}

/// Tells every gateway the public keys of all of them (GW-29), whenever they are others than before.
async fn publish_keys(
    hub: Arc<Hub>,
    gateways: Arc<Gateways>,
    own: Arc<ArcSwap<pki::KeyRing>>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let mut told = String::new();
    loop {
        let keys = own.load().jwks(clock.now()).union(gateways.keys()).to_json();
        if keys != told {
            hub.publish_keys(Arc::from(keys.as_str()));
            told = keys;
        }
        tokio::select! {
            () = gateways.keys_changed.notified() => {}
            () = tokio::time::sleep(KEY_CHECK) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Makes keys for everyone who comes into the directory.
async fn cover_people(keys: Arc<SubjectRing>, mut told: watch::Receiver<Vec<UserId>>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
        let users = told.borrow_and_update().clone();
        if let Err(error) = keys.cover(&users).await {
            tracing::error!(%error, "keys for new people could not be kept");
        }
    }
}

fn cannot_listen(address: std::net::SocketAddr, error: std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root, or once `setcap cap_net_bind_service=+ep` on the binary"
        }
        std::io::ErrorKind::AddrInUse => "; another process listens there",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}{hint}"))
}

/// Who may say for whom it speaks (GW-66).
pub(super) fn trusted_peers(listener: &ListenerConfig) -> Result<Arc<listener::TrustedPeers>> {
    let block = |(network, prefix): &(IpAddr, u8)| {
        let block: listener::Cidr = format!("{network}/{prefix}").parse().context("in `trusted_peers`")?;
        Ok(block)
    };
    let blocks = listener.trusted_peers.iter().map(block).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(listener::TrustedPeers::new(blocks)))
}

pub(super) async fn bind(listeners: &[ListenerConfig]) -> Result<Vec<TcpListener>> {
    let mut bound = Vec::new();
    for listener in listeners {
        let address = listener.address;
        bound.push(TcpListener::bind(address).await.map_err(|error| cannot_listen(address, error))?);
    }
    Ok(bound)
}
