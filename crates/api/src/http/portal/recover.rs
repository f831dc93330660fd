//! Getting back in without the usual factor (ID-6): a recovery code opens a case; one more proof, the authenticator app
//! that is still bound or an administrator who vouches, proves it; then a new passkey is enrolled, and what was there
//! before is kept only where the person says so.
//!
//! Invariants: never by one secret; unknown people, wrong codes and disabled accounts look alike; the address of a case is
//! of use only in the browser that opened it.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, Response, StatusCode};
use model::seams::ReservedContext;
use model::{Timestamp, TokenHash};
use pip_identity::recovery::{RecoveryRefusal, RecoveryView};

use super::account::{address, foreign_form, sentence};
use super::answers::{page, parameter, retry_after, see_other, unavailable, with_cookie};
use super::password::busy;
use super::{Portal, bind_browser};
use crate::control::RecoveryFailure;
use crate::failure::retry_after_secs;
use crate::http::reserved::is_own_origin;

/// The longest address of a case that is looked at.
const MAX_CASE_BYTES: usize = 512;

impl Portal {
    pub(super) fn recover_page(&self, context: &ReservedContext) -> Response<Bytes> {
        let (_, cookie) = bind_browser(self, context);
        let response = page(StatusCode::OK, opening("", None).render());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    pub(super) async fn recover(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        if !is_own_origin(context, request) {
            return foreign_form(context);
        }
        let Some(browser) = context.login_binding else { return see_other("/recover") };
        let value = |name| parameter(request.body(), name).unwrap_or_default().chars().take(254).collect::<String>();
        let (email, code) = (value("email"), value("recovery_code"));
        let actor = self.actor(context);
        let opened = self.control().open_recovery(&actor, &email, &code, context.client.ip(), Some(browser));
        let opened = match opened.await {
            Ok(opened) => opened,
            Err(RecoveryFailure::Failure(failure)) => return unavailable(&failure),
            Err(RecoveryFailure::Refused(why)) => {
                let form = opening(&email, Some(sentence(&why.to_string())));
                return retry_after(page(status_of(&why), form.render()), why.throttled().map(retry_after_secs));
            }
        };
        see_other(&address("/recover/case", &[("case", &self.case_of(browser, opened.ticket.expose()))]))
    }

    /// Where a case stands, and what it waits for.
    pub(super) async fn case_page(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        problem: Option<(StatusCode, String)>,
    ) -> Response<Bytes> {
        let Some((case, ticket)) = self.ticket(context, request) else { return see_other("/recover") };
        let view = match self.accounts().recovery.status(&ticket).await {
            Ok(view) if view.is_open => view,
            Ok(_) | Err(RecoveryRefusal::Unknown) => return over(context),
            Err(refusal) => return busy(refusal),
        };
        let (code, problem) = problem.map_or((StatusCode::OK, None), |(code, text)| (code, Some(text)));
        page(code, case_form(&view, case, problem).render())
    }

    /// The second proof, or, when both are there, the way to a new passkey.
    pub(super) async fn case_step(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        if !is_own_origin(context, request) {
            return foreign_form(context);
        }
        let Some((case, ticket)) = self.ticket(context, request) else { return see_other("/recover") };
        let actor = self.actor(context);
        let code = parameter(request.body(), "code").filter(|code| !code.is_empty());
        let next = match code {
            Some(code) => {
                let proven = self.control().prove_recovery(&actor, &ticket, &code, context.client.ip()).await;
                proven.map(|_| address("/recover/case", &[("case", &case)]))
            }
            None => {
                let link = self.control().claim_recovery(&actor, &ticket).await;
                link.map(|link| address("/recover/link", &[("code", link.secret.expose())]))
            }
        };
        match next {
            Ok(next) => see_other(&next),
            Err(RecoveryFailure::Failure(failure)) => unavailable(&failure),
            Err(RecoveryFailure::Refused(RecoveryRefusal::Unknown)) => over(context),
            Err(RecoveryFailure::Refused(why)) => {
                let problem = (status_of(&why), sentence(&why.to_string()));
                let wait = why.throttled().map(retry_after_secs);
                retry_after(self.case_page(context, request, Some(problem)).await, wait)
            }
        }
    }

    /// The address of a case: its ticket, sealed for this browser.
    fn case_of(&self, browser: TokenHash, ticket: &str) -> String {
        let aad = pki::seal::column_aad("recovery", &browser.0, "ticket", 1);
        let sealed = self.form_sealer.seal(&aad, ticket.as_bytes(), self.control().ids.as_ref()).unwrap_or_default();
        BASE64URL_NOPAD.encode(&sealed)
    }

    fn ticket(&self, context: &ReservedContext, request: &Request<Bytes>) -> Option<(String, String)> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let case = parameter(request.body(), "case").or_else(|| parameter(query, "case"))?;
        if case.len() > MAX_CASE_BYTES {
            return None;
        }
        let aad = pki::seal::column_aad("recovery", &context.login_binding?.0, "ticket", 1);
        let ticket = self.form_sealer.open(&aad, &BASE64URL_NOPAD.decode(case.as_bytes()).ok()?).ok()?;
        let ticket = std::str::from_utf8(ticket.expose()).ok()?.to_owned();
        Some((case, ticket))
    }
}

fn opening(email: &str, problem: Option<String>) -> pages::FormPage {
    pages::FormPage {
        heading: "Get back in".to_owned(),
        paragraphs: vec![
            "Another device, security key or password manager that holds a passkey of yours still works: go back and choose it when the browser asks.".to_owned(),
            "Otherwise it takes two proofs: one of your recovery codes, and then your authenticator app or an administrator who knows you. Neither is enough alone.".to_owned(),
            "No code left? Two administrators together can let you back in.".to_owned(),
        ],
        consequences: vec![
            "The code is used up, and you are told of the attempt.".to_owned(),
            "Nothing else changes before the second proof.".to_owned(),
        ],
        problem,
        fields: vec![pages::Field::email(email), pages::Field::recovery_code()],
        action_url: "/recover".to_owned(),
        submit: "Go on".to_owned(),
        cancel: ("Back to signing in".to_owned(), "/login".to_owned()),
        ..pages::FormPage::default()
    }
}

fn case_form(view: &RecoveryView, case: String, problem: Option<String>) -> pages::FormPage {
    let fact = |name: &str, value: String| pages::Fact { name: name.to_owned(), value };
    let facts = vec![fact("Case", view.row.id.to_string()), fact("Open until", view.row.expires_at.readable())];
    let form = pages::FormPage {
        facts,
        problem,
        hidden: vec![("case".to_owned(), case.clone())],
        action_url: "/recover/case".to_owned(),
        cancel: ("Look again".to_owned(), address("/recover/case", &[("case", &case)])),
        ..pages::FormPage::default()
    };
    if let Some(until) = view.waits_until {
        return waiting(form, until);
    }
    if view.is_proven {
        return pages::FormPage {
            heading: "You have proven who you are".to_owned(),
            consequences: vec![
                "Next you create a new passkey, and choose what you keep of what you had.".to_owned(),
                "With that, every sign-in of your account ends, on all devices.".to_owned(),
                "Go on in this browser: the way is open once.".to_owned(),
            ],
            submit: "Go on to the new passkey".to_owned(),
            ..form
        };
    }
    let by_administrator = format!(
        "{} an administrator who knows you to vouch. Read them the case id below, not the code; they approve it on your page of the console, or with the command below. Then look again here, in this browser.",
        if view.has_authenticator { "Or ask" } else { "Ask" },
    );
    // The id and not the address, in which shells read more than a name.
    let command = format!("countersign user recover {} --approve {}", view.row.user, view.row.id);
    let (lead, fields, submit) = if view.has_authenticator {
        let lead = "Your code was good. Now the second proof: the code your authenticator app shows.".to_owned();
        (lead, vec![pages::Field::one_time_code()], "Prove it with the app")
    } else {
        ("Your code was good. Now the second proof.".to_owned(), Vec::new(), "Go on when they have vouched")
    };
    pages::FormPage {
        heading: "One more proof".to_owned(),
        paragraphs: vec![lead, by_administrator],
        copy: Some(command),
        fields,
        submit: submit.to_owned(),
        ..form
    }
}

/// Proven, and an administrator's where those wait (ID-6).
fn waiting(mut form: pages::FormPage, until: Timestamp) -> pages::FormPage {
    form.facts.push(pages::Fact { name: "Opens".to_owned(), value: until.readable() });
    pages::FormPage {
        heading: "Proven, and waiting".to_owned(),
        paragraphs: vec![
            "Your account administers this place. So that nobody takes it over unseen, its recovery waits a day after the last proof. Nothing makes that shorter.".to_owned(),
            "Come back to this page then, in this browser. Keep the address.".to_owned(),
        ],
        consequences: vec![
            "Until then another administrator can stop it, and so can you, if you get in another way.".to_owned(),
        ],
        submit: "Go on when the time has come".to_owned(),
        ..form
    }
}

fn over(context: &ReservedContext) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "This recovery is over".to_owned(),
        paragraphs: vec!["It was completed, refused, took too long, or a newer one took its place.".to_owned()],
        command: None,
        links: vec![
            pages::Link { text: "Begin again".to_owned(), url: "/recover".to_owned() },
            pages::Link { text: "Sign in".to_owned(), url: "/login".to_owned() },
        ],
        request_id: Some(context.access_id.to_string()),
    };
    page(StatusCode::GONE, notice.render())
}

fn status_of(refusal: &RecoveryRefusal) -> StatusCode {
    match refusal {
        _ if refusal.throttled().is_some() => StatusCode::TOO_MANY_REQUESTS,
        RecoveryRefusal::People(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
