//! An app with several hosts is signed in to on all of them at once (GW-13), and a way for its scripts to renew a
//! sign-in without leaving the page. A walk leads the browser from host to host; each step is a hand-off of its own, bound
//! to that host and to the browser's cookie there.
//!
//! Invariants: a walk signs nobody in, it only leads through hand-offs; where it leads is kept on the server and comes
//! from the configuration; a host that keeps no cookie is passed once and never waited for.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use model::app::{App, HostPattern};
use model::seams::ReservedContext;
use model::{SessionId, Timestamp, UserId};
use pki::return_ticket::{ReturnTarget, ReturnTicket};

use super::answers::{page, parameter, see_other, with_cookie};
use super::{Portal, bind_browser};

/// The most hosts one hand-off leads through (GW-13).
const MAX_LINKED_HOSTS: usize = 5;
/// Where a step of a walk is taken.
const STEP: &str = "/.countersign/link?walk=";
/// Where a renewal ends.
const RENEWED: &str = "/.countersign/renewed";
/// The page at the end of a renewal may be framed by the app's own pages, and by nobody else.
const RENEWED_CSP: &str =
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; frame-ancestors 'self'";

/// A browser on its way through the hosts of an app.
#[derive(Clone)]
pub(super) struct Walk {
    session: SessionId,
    /// The host of the next step.
    at: String,
    /// Hosts after it.
    left: Vec<String>,
    /// This host has had its hand-off already.
    was_tried: bool,
    /// Where the person was going.
    target: String,
}

impl Portal {
    /// Where a browser goes that has just been signed in on `context.host`: through the app's other hosts, or to `target`.
    pub(super) fn onwards(&self, context: &ReservedContext, session: SessionId, target: &str) -> String {
        let others = self.other_hosts(context);
        match others.split_first() {
            Some((first, left)) if !target.starts_with(STEP) => {
                let target = format!("https://{}{target}", context.authority);
                let at = first.clone();
                self.step(Walk { session, at, left: left.to_vec(), was_tried: false, target }, context.now)
            }
            _ => target.to_owned(),
        }
    }

    /// `/.countersign/link?walk=…`: one step of a walk.
    pub(super) fn link(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let key = parameter(query.as_bytes(), "walk").unwrap_or_default();
        let walk = self.walks.take(&key, context.now).filter(|walk| walk.at == context.authority);
        let Some(mut walk) = walk else { return see_other("/") };
        match &context.session {
            // Another tab may have signed the same person in here with another session.
            Some(session) if self.is_of(walk.session, session.user, context.now) => {
                see_other(&self.next_step(walk, context.now))
            }
            // Somebody else is signed in here; their way is not this one.
            Some(_) => see_other("/"),
            None if walk.was_tried => see_other(&self.next_step(walk, context.now)),
            None => {
                walk.was_tried = true;
                let step = self.step(walk, context.now);
                let target = step.strip_prefix(&format!("https://{}", context.authority)).unwrap_or("/");
                self.to_sign_in(context, target, false)
            }
        }
    }

    /// `/.countersign/renew`: signs this browser in again on every host of the app and ends on a page a script waits for.
    /// In a frame nobody can be asked for anything, so there it ends without a sign-in where one would be needed.
    pub(super) fn renew(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let is_framed = request.headers().get("sec-fetch-dest").is_some_and(|dest| dest == "iframe");
        match &context.session {
            Some(session) => see_other(&self.onwards(context, session.id, RENEWED)),
            None => self.to_sign_in(context, RENEWED, is_framed),
        }
    }

    /// `/.countersign/renewed`.
    pub(super) fn renewed(&self) -> Response<Bytes> {
        let mut response = page(StatusCode::OK, pages::Renewed.render());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(RENEWED_CSP));
        // The page that opened this one in a window of its own may close it.
        headers.remove("cross-origin-opener-policy");
        response
    }

    /// Whoever cannot be asked anything in a frame is sent back as they came.
    pub(super) fn renewed_without_asking(ticket: &ReturnTicket) -> Option<Response<Bytes>> {
        let is_renewal = matches!(&ticket.target, ReturnTarget::Inline(target) if target == RENEWED);
        is_renewal.then(|| see_other(&format!("https://{}{RENEWED}", ticket.authority)))
    }

    /// To the auth host, with a way back to `target` on this host.
    fn to_sign_in(&self, context: &ReservedContext, target: &str, is_quiet: bool) -> Response<Bytes> {
        let (binding, cookie) = bind_browser(self, context);
        let ticket = ReturnTicket {
            authority: context.authority.clone(),
            target: ReturnTarget::Inline(target.to_owned()),
            binding,
            created: context.now,
        };
        let Ok(rt) = ticket.seal(&self.return_sealer, self.control.ids.as_ref()) else { return see_other("/") };
        let quiet = if is_quiet { "&quiet=1" } else { "" };
        let response = see_other(&format!("{}/login?rt={rt}{quiet}", self.control.settings.auth_url));
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    /// Whether a live session is this person's.
    fn is_of(&self, session: SessionId, user: UserId, now: Timestamp) -> bool {
        self.control.session_view.session(session, now).is_some_and(|session| session.user == user)
    }

    /// Keeps a walk under a new key and says where its next step is.
    fn step(&self, walk: Walk, now: Timestamp) -> String {
        let key = pki::random_token(self.control.ids.as_ref()).expose().to_owned();
        let url = format!("https://{}{STEP}{key}", walk.at);
        self.walks.put(key, walk, now);
        url
    }

    fn next_step(&self, walk: Walk, now: Timestamp) -> String {
        match walk.left.split_first() {
            Some((next, left)) => {
                let (at, left) = (next.clone(), left.to_vec());
                self.step(Walk { at, left, was_tried: false, ..walk }, now)
            }
            None => walk.target,
        }
    }

    /// The other exact hosts of the app behind this one, as browsers write them.
    fn other_hosts(&self, context: &ReservedContext) -> Vec<String> {
        let published = self.control.published();
        let app = context.app.as_ref().and_then(|name| published.apps.iter().find(|app| app.name == *name));
        app.map(|app| other_hosts(app, &context.host, &context.authority)).unwrap_or_default()
    }
}

/// A wildcard names no host one could be led to.
fn other_hosts(app: &App, host: &str, authority: &str) -> Vec<String> {
    let port = authority.strip_prefix(host).unwrap_or_default();
    let exact = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(other) if other != host => Some(format!("{other}{port}")),
        HostPattern::Exact(_) | HostPattern::Wildcard(_) => None,
    };
    app.hosts.iter().filter_map(exact).take(MAX_LINKED_HOSTS - 1).collect()
}
