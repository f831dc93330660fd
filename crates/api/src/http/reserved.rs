//! Everything of ours that doors serve in process: pages and API on the auth host, the reserved paths on app hosts.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use model::seams::ReservedContext;
use model::{BoxFuture, Principal, ReservedService, Timestamp};
use tower::ServiceExt;

use super::{BODY_BYTES, Portal, assets, v1};
use crate::actor::Actor;
use crate::control::ControlPlane;

/// The service doors call.
pub struct ReservedEndpoints {
    portal: Arc<Portal>,
    api: Router,
}

impl ReservedEndpoints {
    /// The endpoints over a control plane and its pages.
    pub fn new(control: Arc<ControlPlane>, portal: Arc<Portal>) -> Self {
        let api = v1::router(control, Arc::clone(&portal)).layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES));
        Self { portal, api }
    }

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let Some(context) = request.extensions().get::<ReservedContext>().cloned() else {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let path = request.uri().path();
        if path.starts_with(pages::assets::PREFIX) {
            return assets::answer(path);
        }
        match &context.app {
            Some(_) => self.portal.on_app_host(&context, &request).await,
            None if path.starts_with("/api/v1/") => self.call_api(context, request).await,
            None => self.portal.on_auth_host(&context, &request).await,
        }
    }

    /// The API as a signed-in person. Nobody else passes the engine, and here nobody else passes either.
    async fn call_api(&self, context: ReservedContext, mut request: Request<Bytes>) -> Response<Bytes> {
        if !matches!(context.principal, Principal::User(_)) {
            return status(StatusCode::FORBIDDEN);
        }
        let actor = self.portal.actor(&context);
        request.extensions_mut().insert(actor);
        let (parts, body) = request.into_parts();
        let response = match self.api.clone().oneshot(Request::from_parts(parts, Body::from(body))).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => Response::from_parts(parts, body.to_bytes()),
            Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl ReservedService for ReservedEndpoints {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(self.answer(request))
    }

    fn park_target(&self, target: &str, now: Timestamp) -> Option<String> {
        self.portal.park_target(target, now)
    }
}

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

impl Portal {
    /// The person behind a request that a door let through.
    pub(crate) fn actor(&self, context: &ReservedContext) -> Actor {
        let directory = &self.control().published().directory;
        let name = match &context.principal {
            Principal::User(id) => directory.users.get(id).map_or_else(|| id.to_string(), |user| user.email.clone()),
            other => other.to_string(),
        };
        Actor {
            principal: context.principal.clone(),
            name,
            session: context.session.clone(),
            access_id: context.access_id,
            trace_id: Some(Arc::clone(&context.trace_id)),
            door: "http",
            client: Some(context.client.ip()),
        }
    }
}
