//! Confirming for one action in one app (GW-17). What is noted is a fact with an age; the request itself is
//! judged afresh at the door (PO-7).
//!
//! Invariants: what is asked for comes sealed from the door or afresh from the engine, never from a parameter; a
//! ceremony belongs to one page of one session; its proof is held against the demand before anything is noted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_LANGUAGE;
use http::{HeaderMap, Request, Response, StatusCode};
use model::app::HostPattern;
use model::decision::{Fix, FixKind, Remedy, is_loop};
use model::record::RecordType;
use model::remedy::Languages;
use model::seams::ReservedContext;
use model::session::{Proof, StepUp};
use model::{Action, ActionClass, App, AppName, RemedyList, Session, SessionId, TokenHash};
use pip_identity::passkeys::ACR_PASSKEY;
use pki::return_ticket::{ReturnTarget, ReturnTicket};
use pki::step_up_ticket::StepUpTicket;

use super::account::address;
use super::answers::{json, page, parameter, problem, see_other, unavailable, with_cookie};
use super::login::{Begin, Finish, is_served_at, refused, sign_in_first, start_over};
use super::{Portal, Transaction, bind_browser};

/// The parameter a door puts its sealed demand into.
const DEMAND: &str = "demand";
/// The level of a second factor.
const ACR_MFA: &str = "urn:countersign:acr:mfa";
/// The level of a passkey bound to one device (ID-13).
const ACR_HARDWARE: &str = "phrh";

/// What a page asks its session to confirm.
#[derive(Clone)]
pub(super) struct Confirmation {
    /// Which session read the page.
    pub(super) session: SessionId,
    /// For which app.
    pub(super) app: AppName,
    /// For which action.
    pub(super) action: Action,
    /// What would open it; empty when nothing asked and the person confirms of their own accord.
    pub(super) fix: Vec<Fix>,
    /// A page of ours to go back to; `None`: the ticket says where.
    pub(super) then: Option<String>,
}

impl Confirmation {
    /// Whether only a passkey will do.
    pub(super) fn needs_passkey(&self) -> bool {
        let by_level = |fix: &Fix| [ACR_PASSKEY, ACR_HARDWARE].contains(&fix.acr_values.as_str());
        self.fix.iter().any(|fix| fix.remedy == Remedy::Passkey || by_level(fix))
    }
    /// What of the demand `proof` does not meet.
    fn unmet(&self, proof: &Proof) -> Vec<&Fix> {
        let is_met = |fix: &&Fix| {
            let by_level = match fix.acr_values.as_str() {
                ACR_HARDWARE => proof.is_phishing_resistant && !proof.is_passkey_synced,
                ACR_PASSKEY => proof.is_phishing_resistant,
                _ => true,
            };
            let by_remedy = match fix.remedy {
                Remedy::Passkey => proof.is_phishing_resistant,
                Remedy::Mfa => proof.is_mfa,
                Remedy::Own(_) if fix.acr_values == ACR_MFA => proof.is_mfa,
                _ => true,
            };
            by_level && by_remedy
        };
        self.fix.iter().filter(|fix| fix.remedy.kind() == FixKind::Auth).filter(|fix| !is_met(fix)).collect()
    }

    /// The remedies alone, sorted: how the loop guard knows a set.
    fn remedies(&self) -> Vec<Remedy> {
        let mut remedies: Vec<Remedy> = self.fix.iter().map(|fix| fix.remedy).collect();
        remedies.sort_unstable();
        remedies.dedup();
        remedies
    }
}

/// What remedies are called in somebody's language.
pub(super) struct Words {
    remedies: Arc<RemedyList>,
    languages: Languages,
}

impl Words {
    /// What is told about a part of a fix.
    pub(super) fn text(&self, fix: &Fix) -> String {
        self.remedies.text(fix.remedy, &self.languages).to_owned()
    }
}

impl Portal {
    /// The operators' words, for whoever sent these headers.
    pub(super) fn words(&self, headers: &HeaderMap) -> Words {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Words {
            remedies: Arc::clone(self.control().published().policies.remedies()),
            languages: accepted.map(Languages::accepted).unwrap_or_default(),
        }
    }

    pub(super) async fn step_up_page(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let Some(session) = &context.session else {
            // Sign in first, with the same way back; the door asks for the step-up again.
            let ticket = parameter(query, "rt").filter(|rt| self.open_ticket(rt, context.now).is_some());
            return see_other(&ticket.map_or("/login".to_owned(), |rt| format!("/login?rt={rt}")));
        };
        let ticket = parameter(query, "rt").and_then(|rt| self.open_ticket(&rt, context.now));
        let Some((app, confirmation, ticket)) = self.demand(context, session, query, ticket) else {
            return see_other("/");
        };
        let rounds = session.completed_rounds(&app.name, confirmation.action, context.now);
        let age_secs = session.step_up_age_secs(&app.name, confirmation.action, context.now);
        if is_loop(&rounds, &confirmation.fix, age_secs) {
            let words = self.words(request.headers());
            return self.what_is_missing(context, (&app, &confirmation), ticket.as_ref(), &words);
        }
        let cancel_url = ticket.as_ref().map_or("/".to_owned(), |ticket| self.way_back(ticket));
        let (browser, cookie) = bind_browser(self, context);
        let advice = confirmation.fix.iter().filter(|fix| fix.remedy.kind() != FixKind::Auth);
        let words = self.words(request.headers());
        let advice: Vec<String> = advice.map(|fix| words.text(fix)).collect();
        let asks_person = confirmation.fix.is_empty() || advice.len() < confirmation.fix.len();
        let action_text = action_text(confirmation.action).to_owned();
        let by_password = self.password_counts(&confirmation, session).await;
        let transaction = Transaction { ticket, step_up: Some(confirmation), browser };
        let transaction = self.begin_transaction(transaction, context.now);
        let password_url = address("/step-up/password", &[("transaction", &transaction)]);
        let step_up = pages::StepUp {
            app_title: app.title.clone(),
            action_text,
            window_text: window_text(
                self.control().published().policies.settings().freshness.of(app.effective_sensitivity()),
            ),
            identity: self.identity(session),
            asks_person,
            advice,
            begin_url: "/step-up/begin".to_owned(),
            finish_url: "/step-up/finish".to_owned(),
            password_url: by_password.then_some(password_url),
            transaction,
            cancel_url,
        };
        let response = page(StatusCode::OK, step_up.render());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    /// Where somebody goes who does not confirm: the screen of the console they came from, or the front of the app.
    fn way_back(&self, ticket: &ReturnTicket) -> String {
        match &ticket.target {
            ReturnTarget::Inline(target) if self.leads_to_console(ticket) => target.clone(),
            ReturnTarget::Inline(_) | ReturnTarget::Parked(_) => format!("https://{}/", ticket.authority),
        }
    }

    /// What a page is to ask: sealed by the door, or, for links inside apps, what the engine asks for now.
    fn demand(
        &self,
        context: &ReservedContext,
        session: &Session,
        query: &[u8],
        ticket: Option<ReturnTicket>,
    ) -> Option<(Arc<App>, Confirmation, Option<ReturnTicket>)> {
        let open =
            |text: String| self.open_sealed(|sealer| StepUpTicket::open(&text, sealer, session.id, context.now).ok());
        let sealed = parameter(query, DEMAND).and_then(open);
        let (app, action) = match &sealed {
            Some(demand) => (self.app(demand.app.as_str())?, demand.action),
            None => {
                let app = parameter(query, "app").and_then(|name| self.app(&name))?;
                (app, parameter(query, "action")?.parse().ok()?)
            }
        };
        if action.class() == ActionClass::Portal {
            return None;
        }
        // A ticket of another app would lead there with a confirmation meant for this one.
        let fits = |ticket: &ReturnTicket| {
            is_served_at(&app, &ticket.authority) || (app.is_control_plane() && self.leads_to_console(ticket))
        };
        let ticket = ticket.filter(fits);
        if ticket.is_none() && !self.may_know(context, session, &app, action) {
            return None;
        }
        let fix = match sealed {
            Some(StepUpTicket { fix, .. }) => fix,
            None => self.asked_now(context, session, &app, action),
        };
        let confirmation = Confirmation { session: session.id, app: app.name.clone(), action, fix, then: None };
        Some((app, confirmation, ticket))
    }

    /// What the engine would ask for at the front of the app.
    fn asked_now(&self, context: &ReservedContext, session: &Session, app: &App, action: Action) -> Vec<Fix> {
        let host = app.hosts.first().map_or_else(String::new, HostPattern::to_string);
        let route = app.routes.iter().find(|route| route.path_prefix == "/").or_else(|| app.routes.last());
        let decision = route.map(|route| self.decision(context, session, (app, route, &host), action));
        decision.map(|decision| decision.fix).unwrap_or_default()
    }

    /// After two rounds without success (PO-9): no third prompt, but what is still missing.
    fn what_is_missing(
        &self,
        context: &ReservedContext,
        (app, confirmation): (&App, &Confirmation),
        ticket: Option<&ReturnTicket>,
        words: &Words,
    ) -> Response<Bytes> {
        let texts: Vec<String> = confirmation.fix.iter().map(|fix| words.text(fix)).collect();
        let notice = pages::Notice {
            heading: "Confirming again will not help".to_owned(),
            paragraphs: vec![
                format!(
                    "You confirmed twice, and {} still refuses to let you {}.",
                    app.title,
                    action_text(confirmation.action)
                ),
                format!("What it asks for: {}.", texts.join(", ").to_lowercase()),
                "Ask the owner of the app, and give them the request id below.".to_owned(),
            ],
            command: None,
            links: vec![
                pages::Link {
                    text: format!("Back to {}", app.title),
                    url: ticket.map_or("/".to_owned(), |ticket| self.way_back(ticket)),
                },
                pages::Link { text: "Your apps".to_owned(), url: "/".to_owned() },
            ],
            request_id: Some(context.access_id.to_string()),
        };
        page(StatusCode::FORBIDDEN, notice.render())
    }

    pub(super) async fn step_up_begin(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return sign_in_first() };
        let Some((_, body)) = self.transaction_of::<Begin>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        match self.passkeys.start_step_up(session, page_of(&body.transaction)).await {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => refused(&refusal),
        }
    }

    pub(super) async fn step_up_finish(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return sign_in_first() };
        let Some((_, body)) = self.transaction_of::<Finish>(context, request, |body| &body.transaction) else {
            return start_over();
        };
        let answer = body.credential.get().as_bytes();
        let page_of = page_of(&body.transaction);
        let proof = match self.passkeys.finish_step_up(session, page_of, answer, context.client.ip()).await {
            Ok(signed_in) => signed_in.proof(),
            Err(refusal) => {
                self.record_failed(context, &refusal, "step-up").await;
                return refused(&refusal);
            }
        };
        match self.confirmed(context, session, &body.transaction, proof).await {
            Ok((next, cookie)) => with_cookie(json(StatusCode::OK, &serde_json::json!({ "next": next })), &cookie),
            Err(response) => response,
        }
    }

    /// Notes what `proof` confirms; where to go and the new cookie of this host.
    pub(super) async fn confirmed(
        &self,
        context: &ReservedContext,
        session: &Session,
        transaction: &str,
        proof: Proof,
    ) -> Result<(String, String), Response<Bytes>> {
        let asked = self.transactions.peek(&transaction.to_owned(), context.now);
        // What was confirmed was confirmed by the session that read the page.
        let asked = asked.and_then(|asked| asked.step_up).filter(|asked| asked.session == session.id);
        let asked = asked.ok_or_else(start_over)?;
        if let Some(fix) = asked.unmet(&proof).first() {
            return Err(not_enough(&fix.acr_values));
        }
        // What a passkey opened is not made young again by what can be phished, whatever was asked for.
        if session.is_phishing_resistant && !proof.is_phishing_resistant {
            return Err(not_enough(ACR_PASSKEY));
        }
        let Some(transaction) = self.transactions.take(&transaction.to_owned(), context.now) else {
            return Err(start_over());
        };
        let step_up = StepUp { app: asked.app.clone(), action: asked.action, at: context.now, fix: asked.remedies() };
        let cookie = self.note_step_up(context, session.id, step_up, proof).await.map_err(|why| unavailable(&why))?;
        let next = asked.then.unwrap_or_else(|| self.next_url(session.id, transaction.ticket, context.now));
        Ok((next, cookie))
    }

    /// Durable and recorded before anything relies on it; the cookie of the auth host is rotated (ID-55).
    async fn note_step_up(
        &self,
        context: &ReservedContext,
        session: SessionId,
        step_up: StepUp,
        proof: Proof,
    ) -> Result<String, crate::Failure> {
        let control = self.control();
        let mut record = control.actor_record(&self.actor(context), RecordType::AuthStepUp);
        record.what.app = Some(Arc::from(step_up.app.as_str()));
        record.what.action = Some(step_up.action.as_str());
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(session.to_string()));
        let with = if proof.is_phishing_resistant { "a passkey" } else { "password and code" };
        record.change.change = Some(Arc::from(format!("confirmed with {with}")));
        control.sessions.step_up(session, step_up, Some(proof)).await?;
        let cookie = self.bind(session, &context.host).await?;
        control.record(record).await?;
        Ok(cookie)
    }

    /// The way to confirm `action` of the control plane and back to `target`, a screen of the console (UI-7), with the
    /// cookie that binds the journey to this browser when it has none yet.
    pub(crate) fn way_to_confirm(
        &self,
        context: &ReservedContext,
        action: Action,
        target: &str,
    ) -> (String, Option<String>) {
        let (browser, cookie) = bind_browser(self, context);
        let fits = target.len() <= pki::return_ticket::MAX_INLINE_TARGET_BYTES;
        let ticket = ReturnTicket {
            authority: context.authority.clone(),
            target: ReturnTarget::Inline(if fits { target } else { "/console" }.to_owned()),
            binding: browser,
            created: context.now,
        };
        let app = model::app::CONTROL_APP;
        let url = match ticket.seal(&self.return_sealer, self.control().ids.as_ref()) {
            Ok(sealed) => format!("/step-up?app={app}&action={action}&rt={sealed}"),
            Err(_) => format!("/step-up?app={app}&action={action}"),
        };
        (url, cookie)
    }

    pub(super) fn app(&self, name: &str) -> Option<Arc<App>> {
        self.control().published().apps.iter().find(|app| app.name.as_str() == name).cloned()
    }

    /// The address of the person who is signed in.
    pub(super) fn identity(&self, session: &Session) -> String {
        let directory = &self.control().published().directory;
        directory.users.get(&session.user).map_or_else(String::new, |user| user.email.clone())
    }

    /// `/.countersign/step-up?action=…` on an app host: the way to the page above, for links inside apps.
    pub(super) fn step_up_link(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let action: Option<Action> = parameter(query.as_bytes(), "action").and_then(|action| action.parse().ok());
        let (Some(app), Some(action)) = (&context.app, action) else { return see_other("/") };
        let (browser, cookie) = bind_browser(self, context);
        let ticket = ReturnTicket {
            authority: context.authority.clone(),
            target: ReturnTarget::Inline("/".to_owned()),
            binding: browser,
            created: context.now,
        };
        let Ok(sealed) = ticket.seal(&self.return_sealer, self.control().ids.as_ref()) else { return see_other("/") };
        let auth_url = &self.control().settings.auth_url;
        let response = see_other(&format!("{auth_url}/step-up?app={app}&action={action}&rt={sealed}"));
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }
}

/// The page a ceremony belongs to, by its transaction.
pub(super) fn page_of(transaction: &str) -> TokenHash {
    TokenHash::of(transaction.as_bytes())
}

/// The person proved who they are, but not as strongly as was asked.
fn not_enough(acr_values: &str) -> Response<Bytes> {
    let detail = match acr_values {
        ACR_HARDWARE => "This asks for a passkey that stays on one device, such as a security key. Use that one.",
        _ => "This asks for a passkey. Use one.",
    };
    problem(StatusCode::FORBIDDEN, "not_enough", detail)
}

/// The action in a person's words.
fn action_text(action: Action) -> &'static str {
    match action {
        Action::HttpDelete => "delete something",
        Action::HttpPatch | Action::HttpPost | Action::HttpPut | Action::HttpOther => "change something",
        Action::AdminWrite | Action::PolicyPublish | Action::AuditErase => "administer",
        _ => "go on",
    }
}

/// PO-8 in words.
fn window_text(window: Duration) -> String {
    match window.as_secs() / 60 {
        0 => format!("{} seconds", window.as_secs()),
        1 => "a minute".to_owned(),
        minutes if minutes >= 120 => format!("{} hours", minutes / 60),
        60 => "an hour".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}
