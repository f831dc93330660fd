//! Our own endpoints on the app hosts of a gateway process: asked of the control plane, but for what is the same everywhere
//! (keys, styles), which is answered here also while it is away.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use feed::{Ask, Reply, WireRequest, WireResponse};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use model::seams::ReservedContext;
use model::{BoxFuture, Ids, ReservedService, Timestamp};

use super::uplink::Uplink;

/// How long the control plane may take to answer.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Where the public keys are, on every host.
const KEYS_PATH: &str = "/.countersign/jwks.json";

/// The endpoints.
pub(super) struct RemoteEndpoints {
    /// The way up.
    pub(super) uplink: Arc<Uplink>,
    /// The public keys of every gateway.
    pub(super) keys: Arc<ArcSwap<String>>,
    /// Randomness.
    pub(super) ids: Arc<dyn Ids>,
}

impl ReservedService for RemoteEndpoints {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        Box::pin(async move {
            let path = request.uri().path();
            if path.starts_with("/.countersign/assets/") {
                return api::http::asset(path);
            }
            if path == KEYS_PATH && request.method().is_safe() {
                return keys(&self.keys.load());
            }
            let Some(asked) = to_wire(request) else { return unavailable() };
            match self.uplink.ask(Ask::Call(Box::new(asked)), CALL_LIMIT).await {
                Some(Reply::Response(response)) => from_wire(response).unwrap_or_else(unavailable),
                _ => unavailable(),
            }
        })
    }

    fn park_target(&self, target: &str, _: Timestamp) -> Option<String> {
        let key = pki::random_token(self.ids.as_ref()).expose().to_owned();
        self.uplink.tell(Ask::Park { key: key.clone(), target: target.to_owned() }).then_some(key)
    }
}

fn to_wire(request: Request<Bytes>) -> Option<WireRequest> {
    let (parts, body) = request.into_parts();
    let context = parts.extensions.get::<ReservedContext>()?;
    let headers = parts.headers.iter().filter(|(name, _)| *name != header::HOST);
    Some(WireRequest {
        method: parts.method.as_str().to_owned(),
        target: parts.uri.path_and_query()?.as_str().to_owned(),
        host: context.host.clone(),
        authority: context.authority.clone(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
        body: body.to_vec(),
        access: context.access_id.0,
        decision: context.decision_id.0,
        trace_id: context.trace_id.to_string(),
        session: context.session.as_ref().map(|session| session.id),
        login_binding: context.login_binding,
        client: context.client,
    })
}

fn from_wire(response: WireResponse) -> Option<Response<Bytes>> {
    let mut built = Response::new(Bytes::from(response.body));
    *built.status_mut() = StatusCode::from_u16(response.status).ok()?;
    for (name, value) in response.headers {
        built.headers_mut().append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    Some(built)
}

fn keys(keys: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(keys.to_owned()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// The control plane is away, or does not know what to say.
fn unavailable() -> Response<Bytes> {
    let text = r#"{"type":"about:blank","title":"Sign-in is out of reach for the moment; try again","status":503}"#;
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
