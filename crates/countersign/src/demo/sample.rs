//! What the two sample apps share: a plain HTTP/1.1 server on loopback, pages and their headers. They stand for apps that
//! know nothing of Countersign but the assertion.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::assertion::{Verifier, Visitor, require};

/// How long a client may take over its request head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// The most connections of one app.
const MAX_CONNECTIONS: usize = 1024;
/// Nothing from elsewhere, nothing inline.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";
const STYLE: &str = include_str!("assets/sample.css");

/// A loopback port that the system chose.
///
/// # Errors
/// The system has none.
pub async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no loopback port for a sample app")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves `router` behind the verifier until `shutdown`.
pub fn serve(listener: TcpListener, router: Router, verifier: Arc<Verifier>, shutdown: CancellationToken) {
    let router = router
        .route("/style.css", axum::routing::get(|| async { asset("text/css", STYLE) }))
        .layer(axum::middleware::from_fn_with_state(verifier, require));
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&room).acquire_owned().await) else { continue };
            let service = TowerToHyperService::new(router.clone());
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
                let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
                tokio::select! {
                    _ = connection => {}
                    () = shutdown.cancelled() => {}
                }
                drop(place);
            });
        }
    });
}

/// A page of an app. `main` is HTML; everything of it that came from outside went through [`escape`].
pub fn page(title: &str, visitor: &Visitor, script: Option<&str>, main: &str) -> Response {
    let script = script.map(|path| format!("<script src=\"{path}\" defer></script>")).unwrap_or_default();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">{script}</head>\n<body>\n<header><a href=\"/\">{title}</a>\
         <p>Signed in as <strong id=\"who\">{name}</strong> · <a href=\"/.countersign/logout\">Sign out</a></p></header>\n\
         <main>\n{main}\n</main>\n</body>\n</html>\n",
        title = escape(title),
        name = escape(visitor.name()),
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, html).into_response()
}

/// A script or style.
pub fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

/// Text as HTML text or attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use hyper::service::Service;

    /// Asks an app without the verifier in front, as a visitor who passed it.
    pub(crate) async fn ask(router: &Router, method: &str, target: &str, kind: &str, body: &str) -> (u16, String) {
        let mut request = http::Request::builder().method(method).uri(target);
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let visitor = Visitor(Arc::new(super::super::assertion::tests::claims("GET", "wiki.localhost", "/")));
        let request = request.extension(visitor).body(Body::from(body.to_owned())).unwrap();
        let response = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn stored_script_in_a_page_text_is_escaped() {
        assert_eq!(escape("<script a='b' c=\"d\">&"), "&lt;script a=&#39;b&#39; c=&quot;d&quot;&gt;&amp;");
    }
}
