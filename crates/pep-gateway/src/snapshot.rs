//! What the door knows, as one immutable value swapped whole (GW-78, SP 800-207 §3).
//!
//! Invariant: a request loads the snapshot once; apps, routes, people and policies it sees belong to one version.

use std::sync::Arc;

use model::{App, Directory, PolicyDecisionPoint, RemedyList, TimeZone};

use crate::routing::RoutingTable;

/// One version of everything a decision needs beside the session.
pub struct GatewaySnapshot {
    /// Version of the applied configuration, for records.
    pub version: u64,
    /// The apps, the built-in one included.
    pub apps: Arc<[Arc<App>]>,
    /// Decides with this version's policies.
    pub pdp: Arc<dyn PolicyDecisionPoint>,
    /// People and groups of this version.
    pub directory: Arc<Directory>,
    /// Hosts and paths of `apps`.
    pub routing: RoutingTable,
    /// Where the clock of the policies hangs.
    pub time_zone: TimeZone,
    /// What operators say about remedies.
    pub remedies: Arc<RemedyList>,
}

impl GatewaySnapshot {
    /// A snapshot whose routing table is built from `apps`.
    pub fn new(
        version: u64,
        apps: Arc<[Arc<App>]>,
        pdp: Arc<dyn PolicyDecisionPoint>,
        directory: Arc<Directory>,
    ) -> Self {
        let routing = RoutingTable::build(&apps);
        Self { version, apps, pdp, directory, routing, time_zone: TimeZone::utc(), remedies: Arc::default() }
    }

    /// With another clock than UTC, and with the operators' words about remedies.
    #[must_use]
    pub fn with_terms(self, time_zone: TimeZone, remedies: Arc<RemedyList>) -> Self {
        Self { time_zone, remedies, ..self }
    }
}
