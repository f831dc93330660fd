//! The way to an app: connections, one exchange over each, and what may be tried again.
//!
//! Nothing here works without a [`Permit`]: it is the only source of the request that is sent, so the bytes judged are
//! the bytes forwarded (GW-5, GW-69, GW-72 to GW-74; R-22).
//!
//! Invariants: a response reaches the request it answers or nobody; an exchange dropped before its end takes its
//! connection with it.

pub(crate) mod connect;
pub(crate) mod exchange;
mod health;
pub(crate) mod pin;
pub(crate) mod pool;
pub(crate) mod retry;
mod shelf;
mod targets;
pub(crate) mod upload;

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Upstream;
use model::app::{Balance, HashBy, UpstreamTarget};
use pki::NamedCertificate;
use tokio_util::sync::CancellationToken;

use crate::Permit;

use connect::{Connection, Connector, Drivers, PoolKey};
use exchange::{Exchange, Failed};
use pin::Pin;
use pool::Pool;
use retry::{Attempt, Failure, RetryBudget};
use targets::{Outcome, Targets};
use upload::UploadBody;

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The step of an exchange that took too long (GW-73).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Between two pieces of a body.
    BodyIdle,
    /// TCP connect.
    Connect,
    /// Until the response head.
    ResponseHead,
    /// TLS handshake.
    Tls,
}

impl Phase {
    /// The name a 504 gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::BodyIdle => "body idle",
            Phase::Connect => "connect",
            Phase::ResponseHead => "response head",
            Phase::Tls => "TLS handshake",
        }
    }
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The upstream cannot be reached, or went away before it answered: 503, 502.
    #[error("upstream `{target}` does not answer: {cause}")]
    Down {
        /// Which target.
        target: UpstreamTarget,
        /// Whether there was a connection.
        was_connected: bool,
        /// What failed.
        #[source]
        cause: io::Error,
    },
    /// The answer is not one that may be passed on: 502.
    #[error("upstream `{target}` answered in a way that is not passed on: {rule}")]
    Misbehaved {
        /// Which target.
        target: UpstreamTarget,
        /// What it did.
        rule: &'static str,
    },
    /// Every target of the upstream fails its health check, or there is none: 503.
    #[error("the upstream has no target that is well")]
    NoTarget,
    /// Too slow: 504.
    #[error("upstream `{target}` was too slow: {} time-out of {limit:?}", phase.as_str())]
    Timeout {
        /// Which target.
        target: UpstreamTarget,
        /// In which step.
        phase: Phase,
        /// The limit that passed.
        limit: Duration,
    },
    /// The request's own body did not arrive whole; the fault is the client's.
    #[error("the request body ended early")]
    UploadAborted,
}

impl UpstreamError {
    fn down(key: &PoolKey, cause: io::Error) -> Self {
        Self::Down { target: key.target.clone(), was_connected: false, cause }
    }

    fn went_away(key: &PoolKey, error: hyper::Error) -> Self {
        let is_ours = error.source().is_some_and(|source| source.is::<upload::UploadAborted>());
        if is_ours {
            return Self::UploadAborted;
        }
        Self::Down { target: key.target.clone(), was_connected: true, cause: io::Error::other(error) }
    }
}

/// All connections to upstreams of one gateway.
pub struct Upstreams {
    pool: Pool,
    connector: Connector,
    budget: RetryBudget,
    targets: Targets,
    drivers: Drivers,
}

impl Upstreams {
    /// `roots_pem` is trusted where an upstream names no roots of its own; without either, `https` targets fail.
    /// `identities` are the certificates apps may name as ours.
    pub fn new(roots_pem: Option<Arc<str>>, identities: Arc<[NamedCertificate]>) -> Arc<Self> {
        let drivers = Drivers::default();
        Arc::new(Self {
            pool: Pool::default(),
            connector: Connector::new(roots_pem, identities, drivers.clone()),
            budget: RetryBudget::new(Instant::now()),
            targets: Targets::new(Instant::now()),
            drivers,
        })
    }

    /// Closes connections that waited too long, until `shutdown`; then closes all of them.
    pub(crate) async fn run_sweeper(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => self.pool.sweep(Instant::now()),
            }
        }
        self.pool.clear();
        self.drivers.stop().await;
    }

    /// Sends the permitted request and waits for the head of its response. `pin`: the place of the client's connection,
    /// if it can have one upstream connection of its own.
    ///
    /// # Errors
    /// Nothing of a response was seen; the caller answers 502, 503 or 504.
    pub(crate) async fn send(
        &self,
        permit: &Permit,
        body: UploadBody,
        pin: Option<&Pin>,
    ) -> Result<Exchange, UpstreamError> {
        self.budget.note_request(Instant::now());
        let upstream = permit.upstream();
        let targets = &upstream.targets;
        let how = (&upstream.balance, upstream.health.is_some());
        let affinity = affinity(permit, upstream);
        let mut failed_target = None;
        let mut body = Some(body);
        let mut retries = 0;
        loop {
            let chosen = self.targets.choose(targets, how, affinity, failed_target, Instant::now());
            let (target, in_use) = chosen.ok_or(UpstreamError::NoTarget)?;
            let key = PoolKey::new(target, &upstream.tls, permit.request().is_websocket());
            // A retry never trusts a second connection that waited.
            let failed = match self.attempt(permit, &key, &mut body, pin.filter(|_| retries == 0), retries == 0).await {
                Ok(mut exchange) => {
                    self.note(permit, target, outcome_of(exchange.head.status));
                    exchange.in_use = in_use;
                    return Ok(exchange);
                }
                Err(failed) => failed,
            };
            if failed.failure == Failure::Connect {
                self.note(permit, target, Outcome::Failed);
            }
            let attempt = Attempt {
                retries,
                failure: failed.failure,
                is_repeatable: body.is_some(),
                is_idempotent: retry::is_idempotent(permit.request().method()),
                has_other_target: targets.len() > 1,
            };
            if !retry::may_retry(attempt) || !self.budget.spend(Instant::now()) {
                return Err(failed.error);
            }
            // A decision is not stretched by a failing upstream.
            if !permit.stream().still_holds() {
                return Err(failed.error);
            }
            tracing::debug!(error = %failed.error, "upstream request is tried once more");
            retries += 1;
            failed_target = Some(target).filter(|_| failed.failure == Failure::Connect);
        }
    }

    fn note(&self, permit: &Permit, target: &UpstreamTarget, outcome: Outcome) {
        if self.targets.note(&permit.upstream().targets, target, outcome, Instant::now()) {
            tracing::warn!(app = %permit.app().name, %target, "an upstream target failed five times in a row and rests");
            permit.metrics().target_rests();
        }
    }

    /// One attempt. `body` is taken, and put back if it never left.
    async fn attempt(
        &self,
        permit: &Permit,
        key: &PoolKey,
        body: &mut Option<UploadBody>,
        pin: Option<&Pin>,
        may_reuse: bool,
    ) -> Result<Exchange, Failed> {
        let now = Instant::now();
        let session = permit.stream().session();
        let pinned = pin.and_then(|pin| pin.take(key, session, now)).map(Connection::Http1);
        let was_pinned = pinned.is_some();
        let pooled = if may_reuse && !was_pinned { self.pool.take(key, now) } else { pinned };
        let was_pooled = pooled.is_some();
        let (connection, connect_time) = match pooled {
            Some(connection) => (connection, None),
            None => {
                let opened = self.connector.open(key, &permit.upstream().timeouts).await;
                let (connection, took) = opened.map_err(|error| Failed { error, failure: Failure::Connect })?;
                (connection, Some(took))
            }
        };
        if let (Connection::Http2(sender), false) = (&connection, was_pooled) {
            self.pool.share(key.clone(), sender.clone(), Instant::now());
        }
        let mut exchange = exchange::run(permit, key, connection, was_pooled, body).await?;
        exchange.connect_time = connect_time;
        if was_pinned {
            exchange.bind();
        }
        Ok(exchange)
    }

    /// Gives the connection of an exchange that ended well to the next request: of anybody, or of the client it is
    /// bound to.
    pub(crate) async fn finish(&self, exchange: Exchange, pin: Option<&Pin>) {
        let (session, is_bound) = (exchange.session, exchange.is_bound());
        let Some((key, connection)) = exchange.into_reusable().await else { return };
        match (is_bound, pin) {
            (false, _) => self.pool.put_back(key, connection, Instant::now()),
            (true, Some(pin)) => pin.keep(key, session, connection, Instant::now()),
            (true, None) => {}
        }
    }
}

/// What an answer says about the target that gave it (GW-71).
fn outcome_of(status: http::StatusCode) -> Outcome {
    match status.as_u16() {
        502..=504 => Outcome::Failed,
        _ => Outcome::Served,
    }
}

/// What the upstream's balance keeps together; `None` where it keeps nothing, or this request has none of it.
fn affinity(permit: &Permit, upstream: &Upstream) -> Option<u64> {
    match &upstream.balance {
        Balance::LeastRequest | Balance::RoundRobin => None,
        Balance::Hash(HashBy::ClientIp) => Some(targets::affinity(permit.stream().client())),
        Balance::Hash(HashBy::Header(name)) => permit.request().fields().single(name).map(targets::affinity),
        Balance::Hash(HashBy::Session) => permit.stream().session().map(targets::affinity),
    }
}
