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

use super::portal::problem;
use super::{BODY_BYTES, Portal, assets, to_the_end, v1};
use crate::actor::Actor;
use crate::console::{self, Console};
use crate::control::ControlPlane;

/// The service doors call. Whatever began is carried to its end, also when the client hangs up.
pub struct ReservedEndpoints(Arc<Endpoints>);

struct Endpoints {
    console: Console,
    portal: Arc<Portal>,
    api: Router,
}

impl ReservedEndpoints {
    /// The endpoints over a control plane and its pages.
    pub fn new(control: Arc<ControlPlane>, portal: Arc<Portal>) -> Self {
        let api = v1::router(control, Arc::clone(&portal)).layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES));
        Self(Arc::new(Endpoints { console: Console::new(Arc::clone(&portal)), portal, api }))
    }
}

impl Endpoints {
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
            None if console::is_ours(path) => self.console.answer(&context, &request).await,
            None if path.starts_with("/api/v1/") => self.call_api(context, request).await,
            None => self.portal.on_auth_host(&context, &request).await,
        }
    }

    /// The API as a signed-in person. Nobody else passes the engine, and here nobody else passes either.
    async fn call_api(&self, context: ReservedContext, mut request: Request<Bytes>) -> Response<Bytes> {
        if !matches!(context.principal, Principal::User(_)) {
            return status(StatusCode::FORBIDDEN);
        }
        if !request.method().is_safe() && !is_own_origin(&context, &request) {
            let detail = "Changes through the browser come from our own pages. Use the command line elsewhere.";
            return problem(StatusCode::FORBIDDEN, "origin_refused", detail);
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
        let endpoints = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = to_the_end(async move { endpoints.answer(request).await }).await;
            answered.unwrap_or_else(|| status(StatusCode::INTERNAL_SERVER_ERROR))
        })
    }

    fn park_target(&self, target: &str, now: Timestamp) -> Option<String> {
        self.0.portal.park_target(target, now)
    }
}

/// Whether a request says that it comes from a page of this host; one that does not say is none (UI-24, ID-60).
pub(crate) fn is_own_origin(context: &ReservedContext, request: &Request<Bytes>) -> bool {
    let origin = request.headers().get(http::header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let site = request.headers().get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    origin.is_some_and(|origin| origin.strip_prefix("https://") == Some(context.authority.as_str()))
        && site.is_none_or(|site| site == b"same-origin")
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
