//! The reserved endpoints on app hosts: arriving from a sign-in, signing out, who am I, keys.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{Principal, SessionId, TokenHash};

use super::answers::{json, page, parameter, problem, retry_after, see_other, unavailable, with_cookie};
use super::{MAX_OWN_LOOK_UPS, Portal, cacheable};
use crate::failure::Failure;

impl Portal {
    pub(crate) async fn on_app_host(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path().strip_prefix("/.countersign/").unwrap_or_default();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            // Only GET: a HEAD of a link scanner would use the code up.
            "handoff" if request.method() == Method::GET => self.arrive(context, request).await,
            // The door asks an anonymous visitor of `/` to sign in; one who is signed in is where they wanted to be.
            "login" if is_read => see_other("/"),
            "logout" if is_read => self.logout_page(context, "/.countersign/logout"),
            "logout" if request.method() == Method::POST => self.logout(context, request).await,
            "session" if is_read => self.who_am_i(context),
            "step-up" if is_read => self.step_up_link(context, request),
            // Only GET: each step is taken once.
            "link" if request.method() == Method::GET => self.link(context, request),
            "renew" if request.method() == Method::GET => self.renew(context, request),
            "renewed" if is_read => self.renewed(),
            "client.js" if is_read => client_script(),
            "jwks.json" if is_read => self.assertion_jwks(context.now),
            other if is_read && other.starts_with("decision/") => self.own_decision(context, other).await,
            _ => problem(StatusCode::NOT_FOUND, "not_found", "Nothing of ours is at this address."),
        }
    }

    /// Takes a hand-off code, once, from the browser it was made for, on the host it was made for (GW-12, ATK-32).
    async fn arrive(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let code = parameter(query.as_bytes(), "code").unwrap_or_default();
        let handoff = self.handoffs.take(&TokenHash::of(code.as_bytes()), context.now);
        let Some(browser) = context.login_binding else { return no_cookies(context) };
        let Some(handoff) = handoff.filter(|h| h.authority == context.authority) else { return see_other("/") };
        if handoff.browser != browser {
            // Tabs that came at once were each given a binding, and the browser kept one. Nobody is signed in by this, but
            // each tab goes on to where it was going, and asks anew there if need be (GW-11).
            return see_other(&handoff.target);
        }
        if let Some(page) = self.circle(context, &handoff) {
            return page;
        }
        match self.carry_over(context, handoff.session).await {
            Ok(cookie) => with_cookie(see_other(&self.onwards(context, handoff.session, &handoff.target)), &cookie),
            Err(Failure::NotFound { .. } | Failure::Conflict { .. }) => see_other("/"),
            Err(failure) => unavailable(&failure),
        }
    }

    /// The session's cookie for this host, recorded before the browser has it (AUD-7).
    async fn carry_over(&self, context: &ReservedContext, id: SessionId) -> Result<String, Failure> {
        let control = self.control();
        let session = control.session_view.session(id, context.now);
        let cookie = self.bind(id, &context.host).await?;
        let mut actor = self.actor(context);
        if let Some(session) = &session {
            actor.principal = Principal::User(session.user);
        }
        actor.session = session;
        let mut record = control.actor_record(&actor, RecordType::SessionCreated);
        record.what.app = context.app.as_ref().map(|app| Arc::from(app.as_str()));
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(id.to_string()));
        record.change.change = Some(Arc::from("signed in on another host by hand-off"));
        control.record(record).await?;
        Ok(cookie)
    }

    /// Who the app sees, for its own scripts.
    fn who_am_i(&self, context: &ReservedContext) -> Response<Bytes> {
        let Some(session) = &context.session else {
            return problem(StatusCode::UNAUTHORIZED, "login_required", model::Reason::LoginRequired.sentence());
        };
        let directory = &self.control().published().directory;
        let user = directory.users.get(&session.user);
        let (idle, absolute) = (session.last_active + session.idle_limit, session.created + session.absolute_limit);
        let body = serde_json::json!({
            "user": {
                "id": session.user,
                "name": user.map(|user| user.name.clone()),
                "email": user.map(|user| user.email.clone()),
            },
            "app": context.app,
            "acr": session.acr,
            "auth_time": session.auth_time.unix_secs(),
            "idle_expires_in": context.now.until(idle).as_secs(),
            "expires_in": context.now.until(absolute).as_secs(),
            "bound": false,
            "groups": user.map(|user| user.groups.iter().map(|g| g.as_str().to_owned()).collect::<Vec<_>>()),
        });
        json(StatusCode::OK, &body)
    }
}

impl Portal {
    /// Takes the first free of a session's look-ups of this minute.
    fn may_look_up(&self, session: SessionId, now: model::Timestamp) -> bool {
        let free = (0..MAX_OWN_LOOK_UPS).find(|n| self.look_ups.peek(&(session, *n), now).is_none());
        if let Some(n) = free {
            // What has ended makes way for its successor.
            self.look_ups.take(&(session, n), now);
            self.look_ups.put((session, n), (), now);
        }
        free.is_some()
    }

    /// One's own decision, explained as far as a person may know it (LEAP-9); anybody else's is not there.
    async fn own_decision(&self, context: &ReservedContext, path: &str) -> Response<Bytes> {
        let not_here = || problem(StatusCode::NOT_FOUND, "not_found", "No decision of yours has this id.");
        let id = path.strip_prefix("decision/").and_then(|id| id.parse().ok());
        let (Some(id), Some(session)) = (id, &context.session) else { return not_here() };
        if !self.may_look_up(session.id, context.now) {
            let sentence = "Too many look-ups in a minute; wait a little.";
            return retry_after(problem(StatusCode::TOO_MANY_REQUESTS, "too_many", sentence), Some(60));
        }
        let Ok(story) = self.control_arc().explain_access(&self.actor(context), id).await else { return not_here() };
        let Some(record) = story.decision() else { return not_here() };
        let text = |column| record.text(column).map(str::to_owned);
        if record.subject_id() != Some(session.user) {
            return not_here();
        }
        let reason: Option<model::Reason> = text(audit::Column::Reason).and_then(|code| code.parse().ok());
        let effect = text(audit::Column::Effect);
        // What the door kept to itself is not told here either (GW-16).
        let app = text(audit::Column::App).and_then(|name| self.app(&name));
        let explains = app.is_some_and(|app| app.explain != model::app::Explain::None);
        let is_denied = effect.as_deref() == Some(model::Effect::Deny.as_str());
        let (sentence, fix) = match explains || !is_denied {
            true => (reason.map(model::Reason::sentence), Some(record.list(audit::Column::StepUp))),
            false => (Some("You cannot do this."), None),
        };
        let body = serde_json::json!({
            "request": id,
            "time": record.time(),
            "effect": effect,
            "sentence": sentence,
            "fix": fix,
        });
        json(StatusCode::OK, &body)
    }
}

/// The script an app may load to keep its pages going (GW-13). Its address does not change, so it is asked for again.
fn client_script() -> Response<Bytes> {
    match pages::assets::named("client.js") {
        Some(asset) => cacheable(crate::http::assets::answer(&pages::assets::path(asset.name))),
        None => problem(StatusCode::NOT_FOUND, "not_found", "Nothing of ours is at this address."),
    }
}

/// A browser that sends no binding cookie cannot be signed in; going round would never end (GW-14).
fn no_cookies(context: &ReservedContext) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "Your browser did not come back with its cookie".to_owned(),
        paragraphs: vec![
            format!(
                "Signing in to {} needs a cookie of this address. It is blocked, or the address was opened in another browser.",
                context.host
            ),
            "Allow cookies for this address and open the app again.".to_owned(),
        ],
        command: None,
        links: vec![pages::Link { text: "Try again".to_owned(), url: "/".to_owned() }],
        request_id: Some(context.access_id.to_string()),
    };
    page(StatusCode::FORBIDDEN, notice.render())
}
