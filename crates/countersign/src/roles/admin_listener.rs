//! Health and numbers for machines, on a listener of its own that is never public (GW-81, ATK-53).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use audit::Sinks;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pep_gateway::Gateway;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics;

/// Whether requests are served.
pub type Readiness = Arc<AtomicBool>;

/// Opens the listener.
///
/// # Errors
/// The address is taken.
pub async fn open(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on the admin address {address}; another server may have it: write `[admin]` and, below it, \
                 `listen = \"127.0.0.1:0\"` (any free port) into the process configuration"
        )
    })
}

/// Serves `/livez`, `/readyz` and `/metrics` until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    sinks: Arc<Sinks>,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let numbers =
        move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&gateway, &sinks.status())) };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(readiness);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // No descriptor left: trying again at once would only spin.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(10));
            tokio::select! {
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}
