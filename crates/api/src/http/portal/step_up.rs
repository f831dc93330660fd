//! Confirming with a passkey for one action in one app (GW-17, R-11). What is noted is a fact with an age; the
//! request itself is judged afresh at the door (PO-7).

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::record::RecordType;
use model::seams::ReservedContext;
use model::session::StepUp;
use model::{Action, ActionClass, App};

use super::answers::{json, page, parameter, see_other, unavailable, with_cookie};
use super::login::{Begin, Finish, is_served_at, refused, sign_in_first, start_over};
use super::{Portal, Transaction, bind_browser};

impl Portal {
    pub(super) fn step_up_page(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let Some(session) = &context.session else {
            // Sign in first, with the same way back; the door asks for the step-up again.
            let ticket = parameter(query.as_bytes(), "rt").filter(|rt| self.open_ticket(rt, context.now).is_some());
            return see_other(&ticket.map_or("/login".to_owned(), |rt| format!("/login?rt={rt}")));
        };
        let app = parameter(query.as_bytes(), "app").and_then(|name| self.app(&name));
        let action: Option<Action> = parameter(query.as_bytes(), "action").and_then(|action| action.parse().ok());
        let (Some(app), Some(action)) = (app, action.filter(|action| action.class() != ActionClass::Portal)) else {
            return see_other("/");
        };
        // A ticket of another app would lead there with a confirmation meant for this one.
        let ticket = parameter(query.as_bytes(), "rt").and_then(|rt| self.open_ticket(&rt, context.now));
        let ticket = ticket.filter(|ticket| is_served_at(&app, &ticket.authority));
        if ticket.is_none() && !self.may_know(context, session, &app, action) {
            return see_other("/");
        }
        let cancel_url = ticket.as_ref().map_or("/".to_owned(), |ticket| format!("https://{}/", ticket.authority));
        let (browser, cookie) = bind_browser(self, context);
        let transaction = Transaction { ticket, step_up: Some((session.id, app.name.clone(), action)), browser };
        let transaction = self.begin_transaction(transaction, context.now);
        let directory = &self.control().published().directory;
        let identity = directory.users.get(&session.user).map_or_else(String::new, |user| user.email.clone());
        let step_up = pages::StepUp {
            app_title: app.title.clone(),
            action_text: action_text(action).to_owned(),
            window_text: window_text(&app),
            identity,
            begin_url: "/step-up/begin".to_owned(),
            finish_url: "/step-up/finish".to_owned(),
            transaction,
            cancel_url,
        };
        let response = page(StatusCode::OK, step_up.render());
        match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        }
    }

    pub(super) async fn step_up_begin(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return sign_in_first() };
        if self.transaction_of::<Begin>(context, request, |body| &body.transaction).is_none() {
            return start_over();
        }
        match self.passkeys.start_step_up(session).await {
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
        if let Err(refusal) = self.passkeys.finish_step_up(session, answer, context.client.ip()).await {
            self.record_failed(context, &refusal, "step-up").await;
            return refused(&refusal);
        }
        let Some(transaction) = self.transactions.take(&body.transaction, context.now) else { return start_over() };
        // What was confirmed was confirmed by the session that read the page.
        let Some((_, app, action)) = transaction.step_up.filter(|(of, ..)| *of == session.id) else {
            return start_over();
        };
        match self.note_step_up(context, session.id, StepUp { app, action, at: context.now, fix: Vec::new() }).await {
            Ok(cookie) => {
                let next = self.next_url(session.id, transaction.ticket, context.now);
                with_cookie(json(StatusCode::OK, &serde_json::json!({ "next": next })), &cookie)
            }
            Err(failure) => unavailable(&failure),
        }
    }

    /// Durable and recorded before anything relies on it; the cookie of the auth host is rotated (ID-55).
    async fn note_step_up(
        &self,
        context: &ReservedContext,
        session: model::SessionId,
        step_up: StepUp,
    ) -> Result<String, crate::Failure> {
        let control = self.control();
        let mut record = control.actor_record(&self.actor(context), RecordType::AuthStepUp);
        record.what.app = Some(std::sync::Arc::from(step_up.app.as_str()));
        record.what.action = Some(step_up.action.as_str());
        record.change.object_kind = Some("session");
        record.change.object_id = Some(std::sync::Arc::from(session.to_string()));
        record.change.change = Some(std::sync::Arc::from("confirmed with a passkey"));
        control.sessions.step_up(session, step_up, None).await?;
        let cookie = self.bind(session, &context.host).await?;
        control.record(record).await?;
        Ok(cookie)
    }

    pub(super) fn app(&self, name: &str) -> Option<std::sync::Arc<App>> {
        self.control().published().apps.iter().find(|app| app.name.as_str() == name).cloned()
    }

    /// `/.countersign/step-up?action=…` on an app host: the way to the page above, for links inside apps.
    pub(super) fn step_up_link(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let action: Option<Action> = parameter(query.as_bytes(), "action").and_then(|action| action.parse().ok());
        let (Some(app), Some(action)) = (&context.app, action) else { return see_other("/") };
        let (browser, cookie) = bind_browser(self, context);
        let ticket = pki::return_ticket::ReturnTicket {
            authority: context.authority.clone(),
            target: pki::return_ticket::ReturnTarget::Inline("/".to_owned()),
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
fn window_text(app: &App) -> String {
    match app.effective_sensitivity().step_up_freshness().as_secs() / 60 {
        minutes if minutes >= 120 => format!("{} hours", minutes / 60),
        60 => "an hour".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}
