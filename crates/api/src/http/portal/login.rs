//! Signing in (ID-10, GW-11, GW-12): a page with one button, a discoverable passkey, and the way back to the app.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::app::{App, Explain};
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{Principal, Timestamp, TokenHash};
use pip_identity::links::LinkRefusal;
use pip_identity::passkeys::{PasskeyRefusal, Refusal};
use pki::return_ticket::{ReturnTarget, ReturnTicket};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answers::{json, page, parameter, problem, retry_after, see_other, unavailable, with_cookie};
use super::{Handoff, Portal, Transaction, bind_browser, restart};
use crate::failure::{Failure, retry_after_secs};

/// What the script sends to begin a ceremony.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    pub(super) transaction: String,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    #[serde(default, rename = "keep")]
    _keep: Option<serde::de::IgnoredAny>,
}

/// What the script sends to finish one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    pub(super) transaction: String,
    pub(super) credential: Box<RawValue>,
    /// Older factors somebody who gets back in wants to keep.
    #[serde(default)]
    pub(super) keep: Vec<String>,
    #[serde(default, rename = "name")]
    _name: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "email")]
    _email: Option<serde::de::IgnoredAny>,
}

impl Portal {
    pub(super) fn login_page(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let ticket = parameter(query, "rt").and_then(|rt| self.open_ticket(&rt, context.now));
        if let Some(session) = &context.session {
            // Signed in on the auth host already: straight on, no second prompt.
            return self.go_on(session.id, ticket, context.now);
        }
        let asks_nothing = parameter(query, "quiet").is_some();
        if let Some(answer) = ticket.as_ref().filter(|_| asks_nothing).and_then(Self::renewed_without_asking) {
            return answer;
        }
        let (browser, cookie) = bind_browser(self, context);
        let app_title = ticket.as_ref().and_then(|ticket| self.app_title(&ticket.authority));
        let transaction = self.begin_transaction(Transaction { ticket, step_up: None, browser }, context.now);
        let sign_in = pages::SignIn {
            app_title,
            notice: None,
            password_url: self.accounts().passwords.is_enabled().then(|| password_url(query)),
            begin_url: "/login/begin".to_owned(),
            finish_url: "/login/finish".to_owned(),
            transaction,
        };
        let response = page(StatusCode::OK, sign_in.render());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    pub(super) fn login_begin(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some((browser, _)) = self.transaction_of::<Begin>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        match self.passkeys.start_sign_in(browser) {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => refused(&refusal),
        }
    }

    pub(super) async fn login_finish(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some((browser, body)) = self.transaction_of::<Finish>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        let answer = body.credential.get().as_bytes();
        let signed_in = match self.passkeys.finish_sign_in(browser, answer, context.client.ip()).await {
            Ok(signed_in) => signed_in,
            Err(refusal) => {
                self.record_failed(context, &refusal, "sign-in").await;
                return refused(&refusal);
            }
        };
        let Some(transaction) = self.transactions.take(&body.transaction, context.now) else { return start_over() };
        let opened = match self.open_session(context, request, &signed_in).await {
            Ok(opened) => opened,
            Err(failure) => return unavailable(&failure),
        };
        let next = self.next_url(opened.session, transaction.ticket, context.now);
        with_cookie(json(StatusCode::OK, &serde_json::json!({ "next": next })), &opened.cookie)
    }

    /// Checks body and browser of a step of a journey, and leaves the journey open.
    pub(super) fn transaction_of<B: serde::de::DeserializeOwned>(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        id: impl Fn(&B) -> &String,
    ) -> Option<(TokenHash, B)> {
        let body: B = read(request)?;
        let transaction = self.transactions.peek(id(&body), context.now)?;
        (context.login_binding == Some(transaction.browser)).then_some((transaction.browser, body))
    }

    pub(super) fn begin_transaction(&self, transaction: Transaction, now: Timestamp) -> String {
        let id = pki::random_token(self.control.ids.as_ref()).expose().to_owned();
        self.transactions.put(id.clone(), transaction, now);
        id
    }

    /// An unusable ticket is no error: the person lands on the launchpad.
    pub(super) fn open_ticket(&self, text: &str, now: Timestamp) -> Option<ReturnTicket> {
        let ticket = self.open_sealed(|sealer| ReturnTicket::open(text, sealer, now).ok())?;
        // Only hosts that are configured now are ever led to.
        let published = self.control.published();
        let is_ours = self.leads_to_console(&ticket);
        (is_ours || published.apps.iter().any(|app| is_served_at(app, &ticket.authority))).then_some(ticket)
    }

    /// The title of the app a stranger is on the way to; apps that explain nothing are not named (GW-16).
    fn app_title(&self, authority: &str) -> Option<String> {
        let published = self.control.published();
        let app = published.apps.iter().find(|app| is_served_at(app, authority))?;
        (app.explain != Explain::None).then(|| app.title.clone())
    }

    pub(super) fn go_on(
        &self,
        session: model::SessionId,
        ticket: Option<ReturnTicket>,
        now: Timestamp,
    ) -> Response<Bytes> {
        see_other(&self.next_url(session, ticket, now))
    }

    /// The app host's hand-off address with a fresh code, or the launchpad.
    pub(super) fn next_url(&self, session: model::SessionId, ticket: Option<ReturnTicket>, now: Timestamp) -> String {
        let Some(ticket) = ticket else { return "/".to_owned() };
        let is_own_host = self.is_own_authority(&ticket.authority);
        let target = match ticket.target {
            ReturnTarget::Inline(target) => target,
            ReturnTarget::Parked(key) => self.parked.take(&key, now).unwrap_or_else(|| "/".to_owned()),
        };
        if is_own_host {
            // The session is bound to this host already, and only the console is ever returned to here.
            return if is_console_path(&target) { target } else { "/".to_owned() };
        }
        let code = pki::random_token(self.control.ids.as_ref());
        let handoff = Handoff {
            session,
            authority: ticket.authority.clone(),
            browser: ticket.binding,
            target,
            began: ticket.created,
        };
        self.handoffs.put(TokenHash::of(code.expose().as_bytes()), handoff, now);
        format!("https://{}/.countersign/handoff?code={}", ticket.authority, code.expose())
    }

    pub(super) async fn record_failed(&self, context: &ReservedContext, refusal: &Refusal, what: &str) {
        let mut actor = self.actor(context);
        if let Some(user) = refusal.user {
            actor.principal = Principal::User(user);
        }
        let mut record = self.control.actor_record(&actor, RecordType::AuthFailed);
        record.credential.kind = Some("passkey");
        record.credential.id = refusal.credential.as_deref().map(std::sync::Arc::from);
        record.decision.reason_text = Some(std::sync::Arc::from(refusal.why.code()));
        // The code and not the sentence, which may name an address (AUD-40).
        record.change.change = Some(std::sync::Arc::from(format!("{what} failed: {}", refusal.why.code())));
        if let Err(failure) = self.control.record(record).await {
            tracing::error!(%failure, "a failed sign-in could not be recorded");
        }
    }
}

impl Portal {
    /// A ticket back to a screen of the console, which lives on this very host.
    pub(super) fn leads_to_console(&self, ticket: &ReturnTicket) -> bool {
        let is_console = match &ticket.target {
            ReturnTarget::Inline(target) => is_console_path(target),
            // What is parked is looked at when it is taken.
            ReturnTarget::Parked(_) => true,
        };
        is_console && self.is_own_authority(&ticket.authority)
    }

    fn is_own_authority(&self, authority: &str) -> bool {
        self.control.settings.auth_url.strip_prefix("https://") == Some(authority)
    }
}

/// The second way in, with the same way back.
fn password_url(query: &[u8]) -> String {
    match parameter(query, "rt") {
        Some(rt) => super::account::address("/login/password", &[("rt", &rt)]),
        None => "/login/password".to_owned(),
    }
}

/// Whether people reach this app at `authority`; never so for our own pages.
pub(super) fn is_served_at(app: &App, authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    !app.is_control_plane() && app.hosts.iter().any(|pattern| covers(pattern, host))
}

/// A path of the console, with or without a query.
fn is_console_path(target: &str) -> bool {
    let rest = target.strip_prefix("/console");
    pki::return_ticket::is_local_target(target)
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

/// Whether a pattern names this host (GW-3).
fn covers(pattern: &model::app::HostPattern, host: &str) -> bool {
    match pattern {
        model::app::HostPattern::Exact(exact) => exact == host,
        model::app::HostPattern::Wildcard(suffix) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
        }
    }
}

/// A JSON body of one of our scripts. The content type is part of the defence against cross-site forms (ID-60).
pub(super) fn read<T: serde::de::DeserializeOwned>(request: &Request<Bytes>) -> Option<T> {
    let kind = request.headers().get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    if kind.split(';').next().is_none_or(|kind| kind.trim() != "application/json") {
        return None;
    }
    serde_json::from_slice(request.body()).ok()
}

/// A journey that is stale, used or another browser's (GW-11): the page tells the person to begin again.
pub(super) fn start_over() -> Response<Bytes> {
    problem(
        StatusCode::CONFLICT,
        "start_over",
        "This page has been open too long or was used already. Reload it and try again.",
    )
}

/// A refused ceremony, with the one sentence of its check (ID-25).
pub(super) fn refused(refusal: &Refusal) -> Response<Bytes> {
    if is_store_error(&refusal.why) {
        return unavailable(&Failure::unavailable(&refusal.why));
    }
    let (status, wait) = match &refusal.why {
        PasskeyRefusal::Throttled(throttled) => (StatusCode::TOO_MANY_REQUESTS, Some(retry_after_secs(throttled))),
        _ => (StatusCode::FORBIDDEN, None),
    };
    let mut detail = refusal.why.to_string();
    if let Some(first) = detail.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    detail.push('.');
    retry_after(problem(status, refusal.why.code(), &detail), wait)
}

/// Whether the database is at fault and not the person.
fn is_store_error(why: &PasskeyRefusal) -> bool {
    use pip_identity::people::PeopleError::{Busy, Store};
    matches!(why, PasskeyRefusal::People(Busy | Store(_)) | PasskeyRefusal::Link(LinkRefusal::People(Busy | Store(_))))
}

/// For steps that need a session and have none.
pub(super) fn sign_in_first() -> Response<Bytes> {
    restart()
}
