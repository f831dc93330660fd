//! Health checks (GW-71): a request of our own, as an operator declared it, to each target of an upstream that asks for
//! them. It carries nothing of any person and its answer is read by nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, header};
use model::Upstream;
use model::app::{HealthCheck, UpstreamTarget, UpstreamTimeouts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Upstreams;
use super::connect::{Connection, PoolKey};
use super::upload::UploadBody;
use crate::gateway::Gateway;

/// How often it is looked which checks are due.
const TICK: Duration = Duration::from_secs(1);
/// The most checks under way at once; the others are made when they are due again.
const MAX_CHECKS: usize = 256;

impl Upstreams {
    /// Makes the checks the apps of `gateway` ask for, until `shutdown`.
    pub(crate) async fn run_checks(self: &Arc<Self>, gateway: &Gateway, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let checks = TaskTracker::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => self.begin_checks(gateway, &checks, &shutdown),
            }
        }
        checks.close();
        checks.wait().await;
    }

    fn begin_checks(self: &Arc<Self>, gateway: &Gateway, checks: &TaskTracker, shutdown: &CancellationToken) {
        let snapshot = gateway.snapshot();
        let upstreams = || snapshot.apps.iter().flat_map(|app| app.upstreams.values());
        let named: BTreeSet<UpstreamTarget> = upstreams().flat_map(|upstream| upstream.targets.clone()).collect();
        let checked = upstreams().filter(|upstream| upstream.health.is_some());
        self.targets.retain(&named, &checked.flat_map(|upstream| upstream.targets.clone()).collect());
        for upstream in upstreams() {
            let Some(check) = &upstream.health else { continue };
            for target in &upstream.targets {
                if checks.len() >= MAX_CHECKS || !self.targets.take_check(target, check, Instant::now()) {
                    continue;
                }
                let (upstreams, check) = (Arc::clone(self), check.clone());
                let (upstream, target, shutdown) = (upstream.clone(), target.clone(), shutdown.clone());
                checks.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = upstreams.check(&upstream, &target, &check) => {}
                    }
                });
            }
        }
    }

    async fn check(&self, upstream: &Upstream, target: &UpstreamTarget, check: &HealthCheck) {
        let outcome = tokio::time::timeout(check.timeout, self.is_well(upstream, target, check)).await;
        match self.targets.note_check(target, check, outcome.unwrap_or(false)) {
            Some(true) => tracing::info!(%target, "an upstream target is well again"),
            Some(false) => tracing::warn!(%target, path = check.path, "an upstream target fails its health check"),
            None => {}
        }
    }

    /// Whether the target answers the check with 2xx or 3xx.
    async fn is_well(&self, upstream: &Upstream, target: &UpstreamTarget, check: &HealthCheck) -> bool {
        let key = PoolKey::new(target, &upstream.tls, false);
        let timeouts = UpstreamTimeouts { connect: check.timeout, tls: check.timeout, ..upstream.timeouts };
        let Ok((connection, _)) = self.connector.open(&key, &timeouts).await else { return false };
        let authority = upstream.host.clone().unwrap_or_else(|| format!("{}:{}", target.host, target.port));
        let status = match connection {
            Connection::Http1(mut connection) => {
                let Some(request) = request(check.path.clone(), &authority, true) else { return false };
                connection.sender.send_request(request).await.map(|response| response.status())
            }
            Connection::Http2(mut sender) => {
                let scheme = if key.is_tls() { "https" } else { "http" };
                let uri = format!("{scheme}://{authority}{}", check.path);
                let Some(request) = request(uri, &authority, false) else { return false };
                sender.send_request(request).await.map(|response| response.status())
            }
        };
        status.is_ok_and(|status| status.is_success() || status.is_redirection())
    }
}

fn request(uri: String, authority: &str, names_host: bool) -> Option<Request<UploadBody>> {
    let mut request = Request::get(uri).body(UploadBody::empty()).ok()?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("countersign-health"));
    if names_host {
        headers.insert(header::HOST, HeaderValue::try_from(authority).ok()?);
    }
    Some(request)
}
