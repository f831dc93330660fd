//! JSON bodies: read strictly, with the field that is wrong in the answer.

use axum::extract::FromRequest;
use http::header;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A JSON body. A POST from a page of another origin cannot have this content type without a preflight, which we
/// never grant; so the type is part of the defence against cross-site requests (ID-60) and never optional.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Failure> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json =
            content_type.is_some_and(|value| value.split(';').next().is_some_and(|v| v.trim() == "application/json"));
        if !is_json {
            return Err(Failure::invalid("", "the body must have `Content-Type: application/json`"));
        }
        let bytes = bytes::Bytes::from_request(request, state)
            .await
            .map_err(|error| Failure::invalid("", format!("the body could not be read: {error}")))?;
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|error| Failure::invalid("", format!("the body is not as expected: {error}")))
    }
}
