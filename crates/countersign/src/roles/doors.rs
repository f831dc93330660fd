//! The doors of this process as the control plane sees them, and the endpoints as the doors see them before the control
//! plane exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use api::{DoorControl, Published};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::{BoxFuture, ReservedService, Timestamp, UserId};
use pep_gateway::{Gateway, GatewaySnapshot};
use pki::tls::Certificate;
use tokio::sync::watch;

use super::metrics;

/// Publishes to the gateway of this process.
pub struct LocalDoors {
    gateway: Arc<Gateway>,
    certificates: Vec<Certificate>,
    names: BTreeSet<String>,
    people: watch::Sender<Vec<UserId>>,
}

impl LocalDoors {
    /// Over a gateway, the certificates of its listeners and the names of all it has. The receiver is told of everyone in the directory.
    pub fn new(
        gateway: Arc<Gateway>,
        certificates: Vec<Certificate>,
        names: BTreeSet<String>,
    ) -> (Self, watch::Receiver<Vec<UserId>>) {
        let (people, told) = watch::channel(Vec::new());
        (Self { gateway, certificates, names, people }, told)
    }
}

impl DoorControl for LocalDoors {
    fn publish(&self, published: &Published) {
        self.gateway.publish(snapshot(published));
        self.people.send_replace(published.directory.users.keys().copied().collect());
    }

    fn is_covered(&self, host: &str) -> bool {
        is_covered(&self.certificates, host)
    }

    fn has_certificate(&self, name: &str) -> bool {
        self.names.contains(name)
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

/// What doors decide by.
pub fn snapshot(published: &Published) -> GatewaySnapshot {
    GatewaySnapshot::new(
        published.config_version,
        Arc::clone(&published.apps),
        Arc::clone(&published.pdp),
        Arc::clone(&published.directory),
    )
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
