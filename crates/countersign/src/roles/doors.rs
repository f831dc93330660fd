//! The doors of this process as the control plane sees them, and the endpoints as the doors see them before the control
//! plane exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::control::{DoorState, ShownCertificate};
use api::{DoorControl, Published};
use bytes::Bytes;
use feed::{ConfigSource, SourceText, Terms};
use http::{Request, Response, StatusCode};
use model::{BoxFuture, Freshness, PolicySettings, ReservedService, Timestamp, UserId};
use pep_gateway::{Gateway, GatewaySnapshot};
use pki::tls::Certificate;
use tokio::sync::watch;

use super::hub::Hub;
use super::metrics;

/// Publishes to every door; counts and certificates are those of this process.
pub struct Doors {
    gateway: Arc<Gateway>,
    hub: Arc<Hub>,
    certificates: Vec<Certificate>,
    names: BTreeSet<String>,
    people: watch::Sender<Vec<UserId>>,
}

impl Doors {
    /// Over the hub and the gateway of this process, the certificates of its listeners and the names of all it has. The receiver is told of everyone in the directory.
    pub fn new(
        gateway: Arc<Gateway>,
        hub: Arc<Hub>,
        certificates: Vec<Certificate>,
        names: BTreeSet<String>,
    ) -> (Self, watch::Receiver<Vec<UserId>>) {
        let (people, told) = watch::channel(Vec::new());
        (Self { gateway, hub, certificates, names, people }, told)
    }
}

impl DoorControl for Doors {
    fn publish(&self, published: &Published) {
        let (config, directory) = (config_source(published), Arc::clone(&published.directory));
        self.hub.publish(config, directory, longest_staleness(published), || snapshot(published));
        self.people.send_replace(published.directory.users.keys().copied().collect());
    }

    fn is_covered(&self, host: &str) -> bool {
        is_covered(&self.certificates, host)
    }

    fn has_certificate(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn doors(&self) -> Vec<DoorState> {
        vec![DoorState { name: "http".to_owned(), config_version: self.gateway.snapshot().version }]
    }

    fn certificates(&self) -> Vec<ShownCertificate> {
        let shown = |certificate: &Certificate| ShownCertificate {
            names: certificate.names().collect(),
            not_after: certificate.not_after(),
        };
        self.certificates.iter().map(shown).collect()
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        metrics::counters(&self.gateway)
    }
}

/// Whether one of `certificates` is good for `host` or `*.suffix`.
pub fn is_covered(certificates: &[Certificate], host: &str) -> bool {
    // A wildcard host needs a wildcard certificate: one that covers any label in front of the suffix.
    let probe = host.strip_prefix("*.").map_or_else(|| host.to_owned(), |suffix| format!("any-label.{suffix}"));
    certificates.iter().any(|certificate| certificate.covers(&probe))
}

/// The configuration as doors in other processes are told it.
pub fn config_source(published: &Published) -> Arc<ConfigSource> {
    let text = |file: &config::SourceFile| SourceText { name: file.name.clone(), text: file.text.clone() };
    Arc::new(ConfigSource {
        number: published.config_version,
        files: published.files.iter().map(text).collect(),
        terms: terms(published.policies.settings()),
        policy_hash: published.policies.policy_hash(),
    })
}

/// Settings as doors in other processes are told them.
fn terms(settings: &PolicySettings) -> Terms {
    let Freshness { low, medium, high, critical } = settings.freshness;
    let fresh_secs = [low, medium, high, critical].iter().map(Duration::as_secs).collect();
    Terms { time_zone: settings.time_zone.name().to_owned(), fresh_secs }
}

/// What was told, as settings.
///
/// # Errors
/// In words: the time zone is not known here, or a window is missing.
pub fn settings(terms: &Terms) -> Result<PolicySettings, String> {
    let [low, medium, high, critical] = *terms.fresh_secs.as_slice() else {
        return Err("the control plane tells other windows of freshness; run the same release".to_owned());
    };
    let [low, medium, high, critical] = [low, medium, high, critical].map(Duration::from_secs);
    let time_zone = config::time_zone(&terms.time_zone)?;
    Ok(PolicySettings { time_zone, freshness: Freshness { low, medium, high, critical } })
}

/// For how long the most patient app is served on facts that nobody confirms (GW-47).
pub fn longest_staleness(published: &Published) -> Duration {
    published.apps.iter().map(|app| app.max_staleness).max().unwrap_or(model::app::MAX_STALENESS_DEFAULT)
}

/// What doors decide by.
pub fn snapshot(published: &Published) -> GatewaySnapshot {
    GatewaySnapshot::new(
        published.config_version,
        Arc::clone(&published.apps),
        Arc::clone(&published.pdp),
        Arc::clone(&published.directory),
    )
    .with_terms(published.policies.settings().time_zone.clone(), Arc::clone(published.policies.remedies()))
}

/// Stands in for the endpoints until they are built; the listeners open only afterwards.
#[derive(Default)]
pub struct LateEndpoints(OnceLock<Arc<dyn ReservedService>>);

impl LateEndpoints {
    /// Puts the real endpoints in place.
    pub fn set(&self, endpoints: Arc<dyn ReservedService>) {
        self.0.set(endpoints).ok();
    }
}

impl ReservedService for LateEndpoints {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        match self.0.get() {
            Some(endpoints) => endpoints.call(request),
            None => Box::pin(async {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }),
        }
    }

    fn park_target(&self, target: &str, now: Timestamp) -> Option<String> {
        self.0.get()?.park_target(target, now)
    }
}
