//! `/api/v1`: what the command line, the console and scripts call. JSON in, JSON out; failures are problem JSON.

mod audit;
mod configs;
mod deletions;
mod gateways;
mod groups;
mod imports;
mod keys;
mod policy;
mod proposals;
mod recoveries;
mod services;
mod sessions;
mod users;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post, put};

use super::Portal;
use crate::control::ControlPlane;

/// What handlers reach.
#[derive(Clone)]
pub(crate) struct V1 {
    pub(crate) control: Arc<ControlPlane>,
    pub(crate) portal: Arc<Portal>,
}

impl FromRef<V1> for Arc<ControlPlane> {
    fn from_ref(state: &V1) -> Self {
        Arc::clone(&state.control)
    }
}

impl FromRef<V1> for Arc<Portal> {
    fn from_ref(state: &V1) -> Self {
        Arc::clone(&state.portal)
    }
}

/// The routes. The caller puts an [`crate::Actor`] into the extensions of every request.
pub(crate) fn router(control: Arc<ControlPlane>, portal: Arc<Portal>) -> Router {
    Router::new()
        .route("/api/v1/users", get(users::list).post(users::create))
        .route("/api/v1/users/import", post(imports::import))
        .route("/api/v1/users/{who}", get(users::show).delete(users::delete))
        .route("/api/v1/users/{who}/disable", post(users::disable))
        .route("/api/v1/users/{who}/enable", post(users::enable))
        .route("/api/v1/users/{who}/recover", post(recoveries::step))
        .route("/api/v1/users/{who}/deletion", get(deletions::consequences).delete(deletions::dismiss))
        .route("/api/v1/deletions", get(deletions::list))
        .route("/api/v1/recoveries", get(recoveries::list))
        .route("/api/v1/admin-recovery", post(recoveries::admin))
        .route("/api/v1/invites", get(users::links).post(users::invite))
        .route("/api/v1/setup-link", post(users::set_up_link))
        .route("/api/v1/groups", get(groups::list).post(groups::create))
        .route("/api/v1/groups/{id}", get(groups::show).delete(groups::delete))
        .route("/api/v1/groups/{id}/members/{who}", put(groups::add).delete(groups::remove))
        .route("/api/v1/keys", get(keys::list))
        .route("/api/v1/keys/{purpose}/rotate", post(keys::rotate))
        .route("/api/v1/gateways", get(gateways::list))
        .route("/api/v1/gateways/{name}", axum::routing::delete(gateways::remove))
        .route("/api/v1/gateways/{name}/token", post(gateways::invite))
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/sessions/revoke", post(sessions::revoke))
        .route("/api/v1/revocations/{id}", get(sessions::revocation))
        .route("/api/v1/service-accounts", get(services::list).post(services::create))
        .route("/api/v1/service-accounts/{name}", get(services::show).delete(services::delete))
        .route("/api/v1/service-accounts/{name}/groups", post(services::set_groups))
        .route("/api/v1/service-accounts/{name}/disable", post(services::disable))
        .route("/api/v1/service-accounts/{name}/enable", post(services::enable))
        .route("/api/v1/service-tokens", get(services::tokens).post(services::create_token))
        .route("/api/v1/service-tokens/{id}", axum::routing::delete(services::revoke_token))
        .route("/api/v1/service-tokens/{id}/rotate", post(services::rotate_token))
        .route("/api/v1/apps", get(configs::apps))
        .route("/api/v1/apps/{name}", get(configs::app))
        .route("/api/v1/apps/{name}/explain", get(configs::explain))
        .route("/api/v1/config", get(versions::history))
        .route("/api/v1/config/check", post(configs::check))
        .route("/api/v1/config/apply", post(configs::apply))
        .route("/api/v1/config/plan", post(versions::plan))
        .route("/api/v1/config/rollback", post(versions::rollback))
        .route("/api/v1/config/proposals", get(proposals::list))
        .route("/api/v1/config/proposals/{digest}", get(proposals::show).delete(proposals::withdraw))
        .route("/api/v1/config/proposals/{digest}/approve", post(proposals::approve))
        .route("/api/v1/policies", get(policy::list))
        .route("/api/v1/policies/explain", get(policy::explain))
        .route("/api/v1/rights", get(configs::rights))
        .route("/api/v1/status", get(configs::status))
        .route("/api/v1/audit/records", get(audit::query))
        .route("/api/v1/audit/export", get(audit::export))
        .route("/api/v1/audit/records/{id}", get(audit::explain))
        .route("/api/v1/audit/tail", get(audit::tail))
        .route("/api/v1/audit/alerts", get(audit::alerts))
        .route("/api/v1/audit/drill", post(audit::drill))
        .route("/api/v1/audit/sinks", get(audit::sinks))
        .route("/api/v1/audit/sinks/{name}/test", post(audit::test_sink))
        .with_state(V1 { control, portal })
}
