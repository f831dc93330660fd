//! Who is at the door and in which tongue they are answered (GW-8, GW-9, GW-18; ID-59).
//!
//! Invariant: only a top-level navigation by GET or HEAD is ever redirected; everything else is told.

use std::sync::Arc;

use http_gate::{CanonicalRequest, Fields};
use model::app::CrossOrigin;
use model::{AccessId, App, DecisionId};

/// What kind of caller asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caller {
    /// fetch, XHR, EventSource, service worker, curl: problem JSON.
    Code,
    /// A navigation that cannot be repeated by a redirect (a posted form): a page.
    Form,
    /// A navigation inside a frame: a small page that opens sign-in on top.
    Frame,
    /// A top-level navigation: may be redirected.
    Navigation,
    /// A WebSocket opening: refused before 101.
    WebSocket,
}

impl Caller {
    /// The caller behind a request.
    pub(crate) fn of(request: &CanonicalRequest) -> Self {
        if request.is_websocket() {
            return Caller::WebSocket;
        }
        let fields = request.fields();
        let is_safe = matches!(request.method(), "GET" | "HEAD");
        match (text(fields, "sec-fetch-mode"), text(fields, "sec-fetch-dest")) {
            (Some("navigate"), Some("document")) if is_safe => Caller::Navigation,
            (Some("navigate"), Some("document")) => Caller::Form,
            (Some("navigate"), Some("iframe" | "frame" | "embed" | "object")) => Caller::Frame,
            (None, None) if is_old_navigation(request) => Caller::Navigation,
            _ => Caller::Code,
        }
    }
}

/// Browsers without Sec-Fetch headers: GET whose `Accept` names HTML, and not XHR.
fn is_old_navigation(request: &CanonicalRequest) -> bool {
    let fields = request.fields();
    let names_html = fields.all("accept").any(|accept| {
        accept.split(|byte| *byte == b',').any(|range| {
            let kind = range.split(|byte| *byte == b';').next().unwrap_or_default();
            kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
        })
    });
    request.method() == "GET" && names_html && !fields.contains("x-requested-with")
}

/// The value of a header that came exactly once and is text.
pub(crate) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.single(name).and_then(|value| std::str::from_utf8(value).ok())
}

/// One visit to the door: what any answer to it needs.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) access: AccessId,
    pub(crate) decision: DecisionId,
    pub(crate) trace_id: Arc<str>,
    pub(crate) caller: Caller,
    /// `Origin`, if it came once.
    pub(crate) origin: Option<Arc<str>>,
    /// The app, once it is known.
    pub(crate) app: Option<Arc<App>>,
    /// What scripts of other origins may read of the answer.
    pub(crate) cors: Arc<CrossOrigin>,
    /// Who is signed in, for pages.
    pub(crate) identity: Option<Arc<str>>,
    /// Whether the connection is TLS.
    pub(crate) is_tls: bool,
    /// Whether the host is a name of this machine.
    pub(crate) is_localhost: bool,
}

impl Visit {
    /// HSTS means nothing without TLS, and on `localhost` it would shut out every other server there (GW-76).
    pub(crate) fn sends_hsts(&self) -> bool {
        self.is_tls && !self.is_localhost && self.app.as_ref().is_some_and(|app| app.sends_hsts)
    }
}
