//! The sample wiki: pages, edits, and live updates over WebSocket and as server-sent events.
//!
//! Invariants: it serves nobody without a verified assertion ([`super::assertion`]); pages are bounded in number and size
//! and kept in memory only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Form, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::channel::{Channel, Sender};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::assertion::Visitor;
use super::sample::{asset, escape, page};
use super::websocket::{End, Frame, WebSocket, accept_value};

/// The most pages.
const MAX_PAGES: usize = 100;
/// The longest page, and the longest form that brings one.
const MAX_TEXT_BYTES: usize = 16 * 1024;
const MAX_FORM_BYTES: usize = 64 * 1024;
/// The longest name of a page.
const MAX_NAME_BYTES: usize = 63;
/// Edits a slow follower may be behind before it is told to reload.
const MAX_BEHIND: usize = 64;
/// The slow download: one line each, this many, this far apart.
const STREAM_LINES: usize = 600;
const STREAM_PAUSE: Duration = Duration::from_millis(100);

const WELCOME: &str = "This page changes on every screen that shows it as soon as somebody saves.\n\n\
    Open it in two browsers, write something, and watch the other one.";

/// The wiki.
pub struct Wiki {
    pages: Mutex<BTreeMap<String, String>>,
    edits: broadcast::Sender<Arc<str>>,
}

#[derive(Deserialize)]
struct Edit {
    text: String,
}

/// The wiki's routes.
pub fn router() -> Router {
    let pages = BTreeMap::from([("welcome".to_owned(), WELCOME.to_owned())]);
    let wiki = Wiki { pages: Mutex::new(pages), edits: broadcast::channel(MAX_BEHIND).0 };
    Router::new()
        .route("/", get(list))
        .route("/pages/{name}", get(show).post(save))
        .route("/live", get(live))
        .route("/events", get(events))
        .route("/stream", get(stream))
        .route("/wiki.js", get(|| async { asset("text/javascript", include_str!("assets/wiki.js")) }))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .with_state(Arc::new(wiki))
}

impl Wiki {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn list(State(wiki): State<Arc<Wiki>>, Extension(visitor): Extension<Visitor>) -> Response {
    let items: String =
        wiki.pages().keys().map(|name| format!("<li><a href=\"/pages/{0}\">{0}</a></li>", escape(name))).collect();
    page("Wiki", &visitor, None, &format!("<h1>Pages</h1>\n<ul>{items}</ul>"))
}

async fn show(
    State(wiki): State<Arc<Wiki>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    if !is_name(&name) {
        return (StatusCode::NOT_FOUND, "no such page\n").into_response();
    }
    let text = escape(&wiki.pages().get(&name).cloned().unwrap_or_default());
    let main = format!(
        "<h1>{name}</h1>\n<div class=\"text\" id=\"text\" data-page=\"{name}\">{text}</div>\n\
         <p class=\"quiet\" id=\"live\" role=\"status\">connecting</p>\n\
         <form method=\"post\" action=\"/pages/{name}\"><p><label for=\"edit\">Edit</label></p>\n\
         <textarea id=\"edit\" name=\"text\" maxlength=\"{MAX_TEXT_BYTES}\">\n{text}</textarea>\n\
         <p><button>Save</button></p></form>"
    );
    page("Wiki", &visitor, Some("/wiki.js"), &main)
}

async fn save(
    State(wiki): State<Arc<Wiki>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Form(edit): Form<Edit>,
) -> Response {
    if !is_name(&name) || edit.text.len() > MAX_TEXT_BYTES {
        let rule = format!("a page is called by a-z, 0-9 and `-`, and has at most {MAX_TEXT_BYTES} bytes\n");
        return (StatusCode::UNPROCESSABLE_ENTITY, rule).into_response();
    }
    {
        let mut pages = wiki.pages();
        if pages.len() >= MAX_PAGES && !pages.contains_key(&name) {
            return (StatusCode::UNPROCESSABLE_ENTITY, "the wiki is full\n").into_response();
        }
        pages.insert(name.clone(), edit.text.clone());
    }
    let news = serde_json::json!({ "page": name, "by": visitor.name(), "text": edit.text }).to_string();
    // Nobody listening is fine.
    wiki.edits.send(Arc::from(news)).ok();
    Redirect::to(&format!("/pages/{name}")).into_response()
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Opens a WebSocket that tells every edit.
async fn live(State(wiki): State<Arc<Wiki>>, mut request: Request) -> Response {
    let Some(accept) = accept_of(request.headers()) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], "only for WebSocket\n")
            .into_response();
    };
    let edits = wiki.edits.subscribe();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            follow(WebSocket::new(TokioIo::new(upgraded), End::Server), edits).await;
        }
    });
    let headers = [
        (header::CONNECTION, "upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn accept_of(headers: &HeaderMap) -> Option<String> {
    let is = |name, wanted: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
    };
    let fits = is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| fits).map(|key| accept_value(key.as_bytes()))
}

async fn follow(mut socket: WebSocket<TokioIo<hyper::upgrade::Upgraded>>, mut edits: broadcast::Receiver<Arc<str>>) {
    loop {
        let sent = tokio::select! {
            edit = edits.recv() => match edit {
                Ok(edit) => socket.send_text(&edit).await,
                // Too slow, or the wiki stops: the browser reloads.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return socket.close(1001).await.unwrap_or_default(),
            },
            arrived = socket.next() => match arrived.map(|arrived| arrived.frame) {
                Some(Frame::Ping(payload)) => socket.pong(&payload).await,
                Some(Frame::Pong | Frame::Text(_)) => Ok(()),
                Some(Frame::Close(_)) => return socket.close(1000).await.unwrap_or_default(),
                None => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The same edits as server-sent events.
async fn events(State(wiki): State<Arc<Wiki>>) -> Response {
    let (sender, body) = Channel::<Bytes>::new(1);
    let edits = wiki.edits.subscribe();
    tokio::spawn(tell(sender, edits));
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], Body::new(body))
        .into_response()
}

async fn tell(mut sender: Sender<Bytes>, mut edits: broadcast::Receiver<Arc<str>>) {
    if sender.send_data(Bytes::from_static(b": live\n\n")).await.is_err() {
        return;
    }
    while let Ok(edit) = edits.recv().await {
        // JSON has no bare line ends, so one edit is one `data` line.
        if sender.send_data(Bytes::from(format!("event: edit\ndata: {edit}\n\n"))).await.is_err() {
            return;
        }
    }
}

/// A download that takes a minute, to watch what a cut does to it.
async fn stream() -> Response {
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for line in 1..=STREAM_LINES {
            if sender.send_data(Bytes::from(format!("line {line} of {STREAM_LINES}\n"))).await.is_err() {
                return;
            }
            tokio::time::sleep(STREAM_PAUSE).await;
        }
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::new(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sample::tests::ask;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[tokio::test]
    async fn stored_script_is_shown_as_text() {
        let router = router();
        let saved =
            ask(&router, "POST", "/pages/a", FORM, "text=%3C/textarea%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
        assert_eq!(saved.0, 303);
        let (_, page) = ask(&router, "GET", "/pages/a", "", "").await;
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>"), "{page}");
    }

    #[tokio::test]
    async fn pages_are_bounded_in_name_size_and_number() {
        let router = router();
        let long = format!("text={}", "x".repeat(MAX_TEXT_BYTES + 1));
        assert_eq!(ask(&router, "POST", "/pages/a", FORM, &long).await.0, 422);
        assert_eq!(ask(&router, "POST", "/pages/a", FORM, &"x".repeat(MAX_FORM_BYTES + 1)).await.0, 413);
        assert_eq!(ask(&router, "POST", "/pages/%3Cb%3E", FORM, "text=x").await.0, 422);
        assert_eq!(ask(&router, "GET", "/pages/%3Cb%3E", "", "").await.0, 404);
        // One page was there from the beginning.
        for page in 1..MAX_PAGES {
            assert_eq!(ask(&router, "POST", &format!("/pages/{page}"), FORM, "text=x").await.0, 303);
        }
        assert_eq!(ask(&router, "POST", "/pages/one-more", FORM, "text=x").await.0, 422);
        assert_eq!(ask(&router, "POST", "/pages/welcome", FORM, "text=x").await.0, 303);
    }

    #[tokio::test]
    async fn a_plain_request_to_the_live_line_is_told_what_it_is_for() {
        assert_eq!(ask(&router(), "GET", "/live", "", "").await.0, 426);
    }
}
