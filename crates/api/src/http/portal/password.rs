//! The second way in where an operator turned it on (ID-11): address, password and one-time code in one form, so that
//! nobody learns from the steps what an account has; and the same as a confirmation, where no passkey is asked for.
//!
//! Invariants: the form belongs to the browser it was shown in and to our own pages; what was typed as a secret is never
//! sent back.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::decision::FixKind;
use model::record::RecordType;
use model::seams::ReservedContext;
use pip_identity::passwords::{PairFailure, PairRefusal, Second};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::account::{foreign_form, sentence};
use super::answers::{json, page, page_towards, parameter, problem, retry_after, see_other, unavailable, with_cookie};
use super::login::{refused, start_over};
use super::{Portal, Transaction, bind_browser, restart};
use crate::failure::{Failure, retry_after_secs};
use crate::http::reserved::is_own_origin;

/// The longest secret that is looked at; the service has its own, shorter limit.
const MAX_SECRET_BYTES: usize = 4 * 1024;

/// What a form of a password says.
struct Typed {
    transaction: String,
    email: String,
    password: String,
    code: String,
}

/// What the script of the page with a key sends: without the credential to begin, with it to finish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyStep {
    transaction: String,
    email: String,
    password: String,
    credential: Option<Box<RawValue>>,
}

/// One sentence for whatever is wrong.
const WRONG_KEY: &str = "Address, password and key do not belong together.";
const MAX_EMAIL_CHARS: usize = 254;

impl Typed {
    fn of(request: &Request<Bytes>) -> Self {
        let value = |name| {
            let value = parameter(request.body(), name).unwrap_or_default();
            Some(value).filter(|value| value.len() <= MAX_SECRET_BYTES).unwrap_or_default()
        };
        Self {
            transaction: value("transaction"),
            email: value("email").chars().take(254).collect(),
            password: value("password"),
            code: value("code"),
        }
    }
}

impl Portal {
    pub(super) fn password_page(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        if !self.accounts().passwords.is_enabled() {
            return restart();
        }
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let ticket = parameter(query, "rt").and_then(|rt| self.open_ticket(&rt, context.now));
        if let Some(session) = &context.session {
            return self.go_on(session.id, ticket, context.now);
        }
        let (browser, cookie) = bind_browser(self, context);
        let towards = ticket.as_ref().map(|ticket| ticket.authority.clone());
        let transaction = self.begin_transaction(Transaction { ticket, step_up: None, browser }, context.now);
        let form = sign_in_form(transaction, "", None);
        let response = page_towards(StatusCode::OK, form.render(), towards.as_deref());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    pub(super) async fn password_sign_in(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        if !is_own_origin(context, request) {
            return foreign_form(context);
        }
        let typed = Typed::of(request);
        let open = self.transactions.peek(&typed.transaction, context.now);
        let open = open.filter(|open| open.step_up.is_none() && context.login_binding == Some(open.browser));
        let Some(open) = open else { return restart() };
        let towards = open.ticket.as_ref().map(|ticket| ticket.authority.clone());
        let passwords = &self.accounts().passwords;
        let from = context.client.ip();
        let second = Second::Code(&typed.code);
        let proven = passwords.sign_in(&typed.email, &typed.password, second, from, context.login_binding).await;
        let signed_in = match proven {
            Ok(signed_in) => signed_in,
            Err(failure) => {
                self.record_wrong_pair(context, &failure, "sign-in").await;
                let form = sign_in_form(typed.transaction, &typed.email, Some(sentence(&failure.why.to_string())));
                let response = page_towards(status_of(&failure.why), form.render(), towards.as_deref());
                return retry_after(response, wait_of(&failure.why));
            }
        };
        let Some(transaction) = self.transactions.take(&typed.transaction, context.now) else { return restart() };
        match self.open_session(context, request, &signed_in).await {
            Ok(opened) => {
                let next = self.next_url(opened.session, transaction.ticket, context.now);
                with_cookie(see_other(&next), &opened.cookie)
            }
            Err(failure) => unavailable(&failure),
        }
    }

    /// The page for password and security key.
    pub(super) fn key_page(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        if !self.accounts().passwords.is_enabled() {
            return restart();
        }
        if let Some(session) = &context.session {
            return self.go_on(session.id, None, context.now);
        }
        let (browser, cookie) = bind_browser(self, context);
        // The page with the code leads here, and its way back to an app goes on.
        let begun = parameter(request.uri().query().unwrap_or_default().as_bytes(), "transaction");
        let is_own = |id: &String| {
            let open = self.transactions.peek(id, context.now);
            open.is_some_and(|open| open.step_up.is_none() && context.login_binding == Some(open.browser))
        };
        let transaction = begun.filter(is_own).unwrap_or_else(|| {
            self.begin_transaction(Transaction { ticket: None, step_up: None, browser }, context.now)
        });
        let response = page(StatusCode::OK, pages::KeySignIn { transaction }.render());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    /// What a key is asked, whatever the password is: it is looked at together with the answer.
    pub(super) async fn key_asked(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some((browser, body)) = self.transaction_of::<KeyStep>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        if !is_own_origin(context, request) || !self.accounts().passwords.is_enabled() {
            return start_over();
        }
        let email: String = body.email.chars().take(MAX_EMAIL_CHARS).collect();
        match self.passkeys.start_second_factor(&email, browser).await {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => refused(&refusal),
        }
    }

    pub(super) async fn key_sign_in(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some((browser, body)) = self.transaction_of::<KeyStep>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        let is_long = body.password.len() > MAX_SECRET_BYTES;
        let open = self.transactions.peek(&body.transaction, context.now).filter(|open| open.step_up.is_none());
        let (Some(credential), Some(_), false) = (&body.credential, open, is_long) else { return start_over() };
        if !is_own_origin(context, request) {
            return start_over();
        }
        let email: String = body.email.chars().take(MAX_EMAIL_CHARS).collect();
        let second = Second::Key { keys: &self.passkeys, login: browser, answer: credential.get().as_bytes() };
        let (passwords, from) = (&self.accounts().passwords, context.client.ip());
        let signed_in = match passwords.sign_in(&email, &body.password, second, from, context.login_binding).await {
            Ok(signed_in) => signed_in,
            Err(failure) => {
                self.record_wrong_pair(context, &failure, "sign-in").await;
                let (code, text) = match &failure.why {
                    PairRefusal::Wrong => ("password_or_key_wrong", WRONG_KEY.to_owned()),
                    why => (why.code(), sentence(&why.to_string())),
                };
                return problem(status_of(&failure.why), code, &text);
            }
        };
        let Some(transaction) = self.transactions.take(&body.transaction, context.now) else { return start_over() };
        match self.open_session(context, request, &signed_in).await {
            Ok(opened) => {
                let next = self.next_url(opened.session, transaction.ticket, context.now);
                with_cookie(json(StatusCode::OK, &serde_json::json!({ "next": next })), &opened.cookie)
            }
            Err(failure) => unavailable(&failure),
        }
    }

    /// Whether password and code of the account could meet what a page asks for.
    pub(super) async fn password_counts(&self, asked: &super::step_up::Confirmation, session: &model::Session) -> bool {
        let asks_person = asked.fix.is_empty() || asked.fix.iter().any(|fix| fix.remedy.kind() == FixKind::Auth);
        let passwords = &self.accounts().passwords;
        asks_person
            && !asked.needs_passkey()
            && !session.is_phishing_resistant
            && passwords.is_enabled()
            && matches!(passwords.view(session.user).await, Ok(Some(_)))
    }

    pub(super) async fn password_step_page(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let transaction = parameter(query, "transaction").unwrap_or_default();
        self.step_form(context, transaction, None).await
    }

    async fn step_form(
        &self,
        context: &ReservedContext,
        transaction: String,
        problem: Option<(StatusCode, String)>,
    ) -> Response<Bytes> {
        let Some(session) = &context.session else { return restart() };
        let open = self.transactions.peek(&transaction, context.now);
        let open = open.filter(|open| context.login_binding == Some(open.browser));
        let asked = open.as_ref().and_then(|open| open.step_up.as_ref()).filter(|asked| asked.session == session.id);
        let Some(asked) = asked else { return see_other("/") };
        if !self.password_counts(asked, session).await {
            return see_other("/");
        }
        let towards = open.as_ref().and_then(|open| open.ticket.as_ref()).map(|ticket| ticket.authority.clone());
        let (code, problem) = problem.map_or((StatusCode::OK, None), |(code, text)| (code, Some(text)));
        let form = pages::FormPage {
            heading: "Confirm with password and code".to_owned(),
            facts: vec![pages::Fact { name: "Signed in as".to_owned(), value: self.identity(session) }],
            problem,
            fields: vec![
                pages::Field::password("password", "Password", "current-password"),
                pages::Field::one_time_code(),
            ],
            hidden: vec![("token".to_owned(), self.form_token(session.id)), ("transaction".to_owned(), transaction)],
            action_url: "/step-up/password".to_owned(),
            submit: "Confirm".to_owned(),
            cancel: ("Go back".to_owned(), "/".to_owned()),
            ..pages::FormPage::default()
        };
        page_towards(code, form.render(), towards.as_deref())
    }

    pub(super) async fn password_step(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return restart() };
        if !self.is_own_post(context, request) {
            return foreign_form(context);
        }
        let typed = Typed::of(request);
        let open = self.transactions.peek(&typed.transaction, context.now);
        if open.is_none_or(|open| context.login_binding != Some(open.browser)) {
            return see_other("/");
        }
        let passwords = &self.accounts().passwords;
        let from = context.client.ip();
        let proven = passwords.step_up(session, &typed.password, &typed.code, from, context.login_binding).await;
        let proof = match proven {
            Ok(signed_in) => signed_in.proof(),
            Err(failure) => {
                self.record_wrong_pair(context, &failure, "step-up").await;
                let problem = (status_of(&failure.why), sentence(&failure.why.to_string()));
                let response = self.step_form(context, typed.transaction, Some(problem)).await;
                return retry_after(response, wait_of(&failure.why));
            }
        };
        match self.confirmed(context, session, &typed.transaction, proof).await {
            Ok((next, cookie)) => with_cookie(see_other(&next), &cookie),
            Err(response) => response,
        }
    }

    async fn record_wrong_pair(&self, context: &ReservedContext, failure: &PairFailure, what: &str) {
        let text = format!("{what} failed: {}", failure.why.code());
        let about = (RecordType::AuthFailed, ("password", String::new()));
        if let Err(failure) = self.record_about(context, about, failure.user, &text).await {
            tracing::error!(%failure, "a failed sign-in could not be recorded");
        }
    }
}

fn sign_in_form(transaction: String, email: &str, problem: Option<String>) -> pages::FormPage {
    pages::FormPage {
        heading: "Sign in with password and code".to_owned(),
        paragraphs: vec!["Both together, and the code of the moment. A passkey is quicker, and safer.".to_owned()],
        problem,
        fields: vec![
            pages::Field::email(email),
            pages::Field::password("password", "Password", "current-password"),
            pages::Field::one_time_code(),
        ],
        also: Some((
            "Use a security key instead of the code".to_owned(),
            super::account::address("/login/key", &[("transaction", &transaction)]),
        )),
        hidden: vec![("transaction".to_owned(), transaction)],
        action_url: "/login/password".to_owned(),
        submit: "Sign in".to_owned(),
        cancel: ("Use a passkey".to_owned(), "/login".to_owned()),
        ..pages::FormPage::default()
    }
}

/// Which status a refused pair has.
pub(super) fn status_of(why: &PairRefusal) -> StatusCode {
    match why {
        PairRefusal::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        PairRefusal::Busy(_) | PairRefusal::People(_) | PairRefusal::Unreadable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn wait_of(why: &PairRefusal) -> Option<u64> {
    match why {
        PairRefusal::Throttled(throttled) => Some(retry_after_secs(throttled)),
        _ => None,
    }
}

/// What stands between a person and a sentence they can read.
pub(super) fn busy(error: impl ToString) -> Response<Bytes> {
    unavailable(&Failure::unavailable(error.to_string()))
}
