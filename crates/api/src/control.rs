//! The operations of the control plane. Each one: check, make durable, publish, withdraw what lost its right, record.
//!
//! One lock orders operations that move the directory or the configuration, so that what is published never runs
//! backwards. It is never held by a request through a door.

mod approvals;
mod best_case;
mod compiled;
mod config_ops;
mod deeds;
mod drill_ops;
mod gateway_ops;
mod key_ops;
mod lockout;
mod past;
mod people_ops;
mod plan;
mod policy_ops;
mod queries;
mod recovery_ops;
mod rights;
mod service_ops;
mod session_ops;
mod sink_ops;
pub(crate) mod standing;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use audit::AuditLog;
use config::SourceFile;
use model::record::AuditRecord;
use model::seams::{Durability, Revocation};
use model::{
    App, AppName, Clock, Directory, Ids, PolicyDecisionPoint, PolicySettings, Recorder, SessionControl, SessionView,
    TimeZone, Timestamp,
};
use pdp_engine::{CompiledPolicies, Engine};
use pip_identity::people::Overseer;
use pip_identity::{Accounts, People};
use store::{ConfigStore, OutboxStore, PreferenceStore, ProposalStore};

use crate::actor::Actor;
use crate::failure::Failure;

pub use approvals::{Approver, PROPOSAL_LIFE, Waiting};
pub use config_ops::{Checked, check_files};
pub use gateway_ops::{GatewayControl, GatewayLine, GatewayState, GatewayToken};
pub use key_ops::{KeyControl, KeyLine, KeyState, first_key_note};
pub use lockout::Lockout;
pub(crate) use past::mask;
pub use past::{Judged, Past};
pub use pdp_engine::{Coverage, RowResult, TestReport};
pub use people_ops::Carried;
pub use plan::{Delta, MAX_PAIRS, PeopleDelta, Plan, Reach};
pub use policy_ops::WhatIf;
pub use recovery_ops::{RecoveryFailure, Reopened};
pub use rights::{AppRights, Rights};
pub use versions::{Applied, AtStart, GoLive, Kept, MAX_REASON_BYTES, Outcome, at_start, fits};

/// What the control plane reads of the process configuration.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// `https://auth.corp.test`, no slash at the end.
    pub auth_url: String,
    /// Canonical auth host.
    pub auth_host: String,
    /// Port browsers use for app hosts.
    pub public_port: u16,
    /// Idle limit of new sessions.
    pub session_idle: std::time::Duration,
    /// Origins that may use passkeys of this relying party (ID-24).
    pub related_origins: Vec<String>,
    /// Absolute limit of new sessions.
    pub session_absolute: std::time::Duration,
    /// What policies are compiled with.
    pub policy: PolicySettings,
    /// How many persons other than the author must approve what goes live; 0 asks nobody.
    pub approvals: u8,
}

/// One version of everything doors decide by.
pub struct Published {
    /// Applied configuration, 0 before the first.
    pub config_version: u64,
    /// Its files, which doors in other processes compile themselves.
    pub files: Arc<[SourceFile]>,
    /// Declared apps and the built-in one.
    pub apps: Arc<[Arc<App>]>,
    /// Policies, compiled.
    pub policies: Arc<CompiledPolicies>,
    /// Decides with the above.
    pub pdp: Arc<dyn PolicyDecisionPoint>,
    /// People and groups.
    pub directory: Arc<Directory>,
}

impl Published {
    /// Where the clock of the policies hangs.
    pub fn time_zone(&self) -> &TimeZone {
        &self.policies.settings().time_zone
    }

    /// The declared or built-in app of this name.
    pub fn app(&self, name: &AppName) -> Option<&Arc<App>> {
        self.apps.iter().find(|app| app.name == *name)
    }
}

/// A certificate that a door shows to clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownCertificate {
    /// Names and addresses it is good for.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// From when on an ending certificate is told (GW-75).
const CERTIFICATE_NOTICE: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// How near the end of a certificate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// More than 30 days away.
    Later,
    /// It has ended.
    Over,
    /// Within 30 days.
    Soon,
}

impl ShownCertificate {
    pub(crate) fn ending(&self, now: Timestamp) -> Ending {
        match self.not_after {
            end if end <= now => Ending::Over,
            end if end <= now + CERTIFICATE_NOTICE => Ending::Soon,
            _ => Ending::Later,
        }
    }
}

/// A door and what it decides by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoorState {
    /// Its name.
    pub name: String,
    /// The configuration it has.
    pub config_version: u64,
}

/// The doors of this process, as the control plane needs them.
pub trait DoorControl: Send + Sync {
    /// Makes a version the one requests are decided by from now on.
    fn publish(&self, published: &Published);

    /// Whether a certificate of a listener covers a host or `*.suffix`.
    fn is_covered(&self, host: &str) -> bool;

    /// Whether the process has a certificate of this name, for doors to show to apps.
    fn has_certificate(&self, name: &str) -> bool;

    /// The certificates that doors of this process show to clients.
    fn certificates(&self) -> Vec<ShownCertificate> {
        Vec::new()
    }

    /// The doors, with the configuration each decides by.
    fn doors(&self) -> Vec<DoorState> {
        Vec::new()
    }

    /// What the doors counted since they started, by the names of their metrics.
    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// What a control plane is put together from.
pub struct ControlPlaneParts {
    /// Settings.
    pub settings: ApiSettings,
    /// People and groups.
    pub people: Arc<People>,
    /// Passwords, recovery, notices.
    pub accounts: Arc<Accounts>,
    /// Opens and ends sessions.
    pub sessions: Arc<dyn SessionControl>,
    /// Reads sessions.
    pub session_view: Arc<dyn SessionView>,
    /// Keeps applied configurations.
    pub configs: Arc<dyn ConfigStore>,
    /// Keeps what must be in the record until it is.
    pub notes: Arc<dyn OutboxStore>,
    /// Keeps how people like their pages.
    pub preferences: Arc<dyn PreferenceStore>,
    /// Configurations that wait for approval.
    pub proposals: Arc<dyn ProposalStore>,
    /// The log, for queries.
    pub log: Arc<AuditLog>,
    /// The log, for records.
    pub recorder: Arc<dyn Recorder>,
    /// The doors.
    pub doors: Arc<dyn DoorControl>,
    /// The first version; published already.
    pub published: Published,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
}

/// The operations.
pub struct ControlPlane {
    pub(crate) settings: ApiSettings,
    pub(crate) people: Arc<People>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) sessions: Arc<dyn SessionControl>,
    pub(crate) session_view: Arc<dyn SessionView>,
    configs: Arc<dyn ConfigStore>,
    notes: Arc<dyn OutboxStore>,
    pub(crate) preferences: Arc<dyn PreferenceStore>,
    proposals: Arc<dyn ProposalStore>,
    pub(crate) log: Arc<AuditLog>,
    pub(crate) recorder: Arc<dyn Recorder>,
    doors: Arc<dyn DoorControl>,
    published: ArcSwap<Published>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// Orders everything that moves directory or configuration.
    order: tokio::sync::Mutex<()>,
    revocations: session_ops::Revocations,
    keys: OnceLock<Arc<dyn KeyControl>>,
    sinks: OnceLock<Arc<audit::Sinks>>,
    gateways: OnceLock<Arc<dyn GatewayControl>>,
    followers: queries::Followers,
    drilling: tokio::sync::Mutex<()>,
    /// One at a time asks the engine about everybody: rights and plans.
    pondering: tokio::sync::Semaphore,
}

impl ControlPlane {
    /// A control plane over `parts`.
    pub fn new(parts: ControlPlaneParts) -> Arc<Self> {
        let control = Arc::new(Self {
            settings: parts.settings,
            people: parts.people,
            accounts: parts.accounts,
            sessions: parts.sessions,
            session_view: parts.session_view,
            configs: parts.configs,
            notes: parts.notes,
            preferences: parts.preferences,
            proposals: parts.proposals,
            log: parts.log,
            recorder: parts.recorder,
            doors: parts.doors,
            published: ArcSwap::from_pointee(parts.published),
            clock: parts.clock,
            ids: parts.ids,
            order: tokio::sync::Mutex::new(()),
            revocations: session_ops::Revocations::default(),
            keys: OnceLock::new(),
            sinks: OnceLock::new(),
            gateways: OnceLock::new(),
            followers: queries::no_followers(),
            drilling: tokio::sync::Mutex::new(()),
            pondering: tokio::sync::Semaphore::new(1),
        });
        let overseer: Weak<dyn Overseer> = Arc::<Self>::downgrade(&control);
        control.people.watch(overseer);
        control
    }

    /// What the doors counted since they started, by the names of their metrics.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.doors.counters()
    }

    /// The certificates that doors of this process show to clients.
    pub(crate) fn certificates(&self) -> Vec<ShownCertificate> {
        self.doors.certificates()
    }

    /// The doors, with the configuration each decides by.
    pub(crate) fn doors_now(&self) -> Vec<DoorState> {
        self.doors.doors()
    }

    /// What doors decide by now.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The people service.
    pub fn people(&self) -> &Arc<People> {
        &self.people
    }

    /// Passwords, recovery codes, recovery and notices.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// Keeps a record as strictly as administrative records are kept (AUD-17).
    pub(crate) async fn record(&self, record: AuditRecord) -> Result<(), Failure> {
        self.recorder.append(record, Durability::Strict).await.map(drop).map_err(Failure::DoneUnrecorded)
    }

    /// A record of `actor` against the directory of now.
    pub(crate) fn actor_record(&self, actor: &Actor, kind: model::record::RecordType) -> AuditRecord {
        actor.record(kind, self.now(), &self.published().directory)
    }

    /// Publishes the directory of now under the configuration of now.
    fn publish_directory(&self, directory: Arc<Directory>) -> Result<(), Failure> {
        let current = self.published();
        let files = Arc::clone(&current.files);
        self.publish(current.config_version, files, Arc::clone(&current.apps), Arc::clone(&current.policies), directory)
    }

    fn publish(
        &self,
        config_version: u64,
        files: Arc<[SourceFile]>,
        apps: Arc<[Arc<App>]>,
        policies: Arc<CompiledPolicies>,
        directory: Arc<Directory>,
    ) -> Result<(), Failure> {
        let next = Published { files, ..assemble(config_version, apps, policies, directory)? };
        self.doors.publish(&next);
        self.published.store(Arc::new(next));
        Ok(())
    }

    /// Groups that exist without being declared in files.
    fn undeclared_groups(&self) -> BTreeSet<String> {
        self.published().directory.groups.keys().map(|id| id.as_str().to_owned()).collect()
    }
}

/// Puts one version together; its files are added by whoever publishes it.
///
/// # Errors
/// The engine refuses the entities; nothing is published.
pub fn assemble(
    config_version: u64,
    apps: Arc<[Arc<App>]>,
    policies: Arc<CompiledPolicies>,
    directory: Arc<Directory>,
) -> Result<Published, Failure> {
    let engine = Engine::new(Arc::clone(&policies), &apps, Arc::clone(&directory), directory.version)
        .map_err(Failure::unavailable)?;
    Ok(Published { config_version, files: Arc::from([]), apps, policies, pdp: Arc::new(engine), directory })
}

/// All streams that several withdrawals cut.
pub fn cut_streams(revocations: &[Revocation]) -> usize {
    revocations.iter().flat_map(|revocation| &revocation.reports).map(|(_, report)| report.streams.len()).sum()
}
