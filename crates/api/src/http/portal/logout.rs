//! Signing out (GW-19, ID-60): GET shows the button, POST with a session-bound token ends the session before anything
//! else happens.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderValue, Request, Response, StatusCode};
use model::SessionId;
use model::seams::{Cause, ReservedContext};

use super::Portal;
use super::answers::{page, parameter, problem, see_other, unavailable, with_cookie};
use crate::failure::Failure;
use crate::http::cookies;
use crate::http::reserved::is_own_origin;

/// What the companion cookie seals, so that it is as long as the gate asks of our cookies.
const COMPANION_BYTES: usize = 16;
/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 256;

impl Portal {
    /// A token only pages of this session carry.
    pub(crate) fn form_token(&self, session: SessionId) -> String {
        let aad = pki::seal::column_aad("form", session.as_bytes(), "token", 1);
        let sealed = self.form_sealer.seal(&aad, &[], self.control().ids.as_ref()).unwrap_or_default();
        BASE64URL_NOPAD.encode(&sealed)
    }

    /// Whether a token was made for pages of this session.
    pub(crate) fn is_form_token(&self, session: SessionId, token: &str) -> bool {
        let aad = pki::seal::column_aad("form", session.as_bytes(), "token", 1);
        let sealed = Some(token).filter(|token| token.len() <= MAX_TOKEN_BYTES);
        let sealed = sealed.and_then(|token| BASE64URL_NOPAD.decode(token.as_bytes()).ok());
        sealed.is_some_and(|sealed| self.form_sealer.open(&aad, &sealed).is_ok())
    }

    /// The companion cookie of the console's forms (UI-24): `SameSite=Strict`, good for this session only. Another purpose
    /// than the form token's, so that neither can stand in for the other.
    pub(crate) fn companion(&self, session: SessionId) -> String {
        let aad = pki::seal::column_aad("form", session.as_bytes(), "companion", 1);
        let sealed = self.form_sealer.seal(&aad, &[0; COMPANION_BYTES], self.control().ids.as_ref());
        BASE64URL_NOPAD.encode(&sealed.unwrap_or_default())
    }

    /// Whether a companion cookie was made for this session.
    pub(crate) fn is_companion(&self, session: SessionId, value: &str) -> bool {
        let aad = pki::seal::column_aad("form", session.as_bytes(), "companion", 1);
        let sealed = Some(value).filter(|value| value.len() <= MAX_TOKEN_BYTES);
        let sealed = sealed.and_then(|value| BASE64URL_NOPAD.decode(value.as_bytes()).ok());
        sealed.is_some_and(|sealed| self.form_sealer.open(&aad, &sealed).is_ok())
    }

    pub(super) fn logout_page(&self, context: &ReservedContext, action_url: &str) -> Response<Bytes> {
        let Some(session) = &context.session else { return signed_out(&self.control().settings.auth_url) };
        let directory = &self.control().published().directory;
        let identity = directory.users.get(&session.user).map_or_else(String::new, |user| user.email.clone());
        let sign_out =
            pages::SignOut { identity, action_url: action_url.to_owned(), token: self.form_token(session.id) };
        page(StatusCode::OK, sign_out.render())
    }

    pub(super) async fn logout(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return signed_out(&self.control().settings.auth_url) };
        if !self.is_own_post(context, request) {
            return problem(
                StatusCode::FORBIDDEN,
                "origin_refused",
                "This form does not belong to your sign-in. Open the sign-out page again.",
            );
        }
        let actor = self.actor(context);
        let form = request.body();
        let control = self.control();
        let outcome = match parameter(form, "scope").as_deref() {
            Some("everywhere") => control.sign_out_everywhere(&actor, session).await,
            Some("one") => return self.end_one(context, form).await,
            _ => control.end_session(&actor, session.id, Cause::SignedOut).await.map(drop),
        };
        match outcome {
            // Not found: it ended between the door and here.
            Ok(()) | Err(Failure::NotFound { .. }) => self.after_sign_out(context),
            Err(failure) => unavailable(&failure),
        }
    }

    /// One of the person's other sessions; somebody else's looks like none.
    async fn end_one(&self, context: &ReservedContext, form: &Bytes) -> Response<Bytes> {
        let Some(session) = &context.session else { return see_other("/login") };
        let id: Option<SessionId> = parameter(form, "session").and_then(|id| id.parse().ok());
        let theirs = id.and_then(|id| self.control().session_view.session(id, context.now));
        let Some(target) = theirs.filter(|target| target.user == session.user) else { return see_other("/") };
        match self.control().end_session(&self.actor(context), target.id, Cause::SignedOut).await {
            Ok(_) if target.id == session.id => self.after_sign_out(context),
            Ok(_) | Err(Failure::NotFound { .. }) => see_other("/"),
            Err(failure) => unavailable(&failure),
        }
    }

    fn after_sign_out(&self, context: &ReservedContext) -> Response<Bytes> {
        let mut response = with_cookie(signed_out(&self.control().settings.auth_url), &cookies::clear_session());
        let clears = context.app.as_ref().and_then(|name| self.app(name.as_str())).is_some_and(|a| a.clears_site_data);
        if clears {
            let value = HeaderValue::from_static("\"cache\", \"cookies\"");
            response.headers_mut().insert("clear-site-data", value);
        }
        response
    }

    /// The page's own origin and a token of this session.
    pub(super) fn is_own_post(&self, context: &ReservedContext, request: &Request<Bytes>) -> bool {
        let Some(session) = &context.session else { return false };
        let token = parameter(request.body(), "token").unwrap_or_default();
        is_own_origin(context, request) && self.is_form_token(session.id, &token)
    }
}

fn signed_out(auth_url: &str) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "You are signed out".to_owned(),
        paragraphs: vec!["Every app you had open from this sign-in has lost its connection.".to_owned()],
        command: None,
        links: vec![pages::Link { text: "Sign in again".to_owned(), url: format!("{auth_url}/login") }],
        request_id: None,
    };
    page(StatusCode::OK, notice.render())
}
