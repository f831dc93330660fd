//! Styles and scripts by content hash, on every host of ours.

use bytes::Bytes;
use http::{Response, StatusCode, header};

/// The asset at `path`, or 404.
pub fn answer(path: &str) -> Response<Bytes> {
    let found = path.strip_prefix(pages::assets::PREFIX).and_then(pages::assets::find);
    let mut response = match found {
        Some(asset) => {
            let mut response = Response::new(Bytes::from_static(asset.bytes));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(asset.content_type));
            headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static(pages::assets::CACHE_CONTROL));
            response
        }
        None => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    response.headers_mut().insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}
