//! One's own account (ID-8): who I am, passkeys, recovery codes, sessions, what happened, the data that is held.
//!
//! Invariants: only POST changes anything, from our own page with a token of this session (UI-24); what a person signs in
//! with changes only under a proof of the last five minutes (ID-7), and every such change is recorded before it is
//! confirmed.

pub(super) use self::confirm::address;

mod codes;
mod confirm;
mod keys;
mod pair;
mod passkeys;
mod settings;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use model::directory::ADMINS_GROUP;
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{Session, Timestamp, UserEntry};

use self::pair::Problem;
use super::Portal;
use super::answers::{json, page, see_other, unavailable};
use super::login::refused;
use crate::failure::Failure;
use crate::http::reserved::is_own_origin;

/// What a page of the account is asked with.
pub(super) struct Visit<'a> {
    pub(super) context: &'a ReservedContext,
    pub(super) request: &'a Request<Bytes>,
    pub(super) session: &'a Session,
}

impl Visit<'_> {
    /// A value of the form, or of the query when the page is only looked at; cut to what any field may hold.
    pub(super) fn value(&self, name: &str) -> String {
        let text = match *self.request.method() {
            Method::POST => self.request.body(),
            _ => self.request.uri().query().unwrap_or_default().as_bytes(),
        };
        super::answers::parameter(text, name).unwrap_or_default().chars().take(MAX_VALUE_CHARS).collect()
    }
}

/// The longest value of a field that is looked at.
const MAX_VALUE_CHARS: usize = 256;

impl Portal {
    /// Every page and form below `/me`.
    pub(super) async fn account(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = &context.session else { return see_other("/login") };
        let visit = Visit { context, request, session };
        let path = request.uri().path();
        if request.method() == Method::POST {
            return match path {
                "/me/passkeys/begin" => self.passkey_begin(&visit).await,
                "/me/passkeys/finish" => self.passkey_finish(&visit).await,
                "/me/keys/begin" => self.key_begin(&visit).await,
                "/me/keys/finish" => self.key_finish(&visit).await,
                _ => self.account_form(&visit, path).await,
            };
        }
        match path {
            "/me" => self.me(&visit).await,
            "/me/export" => self.export(&visit).await,
            "/me/passkeys/add" => self.passkey_add_page(&visit).await,
            "/me/passkeys/rename" => self.passkey_rename_page(&visit, StatusCode::OK, None).await,
            "/me/passkeys/remove" => self.passkey_remove_page(&visit, StatusCode::OK, None).await,
            "/me/keys/add" => self.key_add_page(&visit).await,
            "/me/keys/remove" => self.key_remove_page(&visit, StatusCode::OK, None).await,
            "/me/codes" => self.codes_page(&visit, StatusCode::OK, None).await,
            "/me/password" => self.pair_page(&visit, StatusCode::OK, Problem::default()).await,
            "/me/password/remove" => self.pair_remove_page(&visit, StatusCode::OK, None).await,
            "/me/delete" => self.deletion_page(&visit, StatusCode::OK, None),
            "/me/settings" => self.settings_page(&visit).await,
            _ => self.nothing_here(context),
        }
    }

    /// A form of ours. One that is not of this sign-in is shown again, filled in, and changes nothing.
    async fn account_form(&self, visit: &Visit<'_>, path: &str) -> Response<Bytes> {
        if !is_own_origin(visit.context, visit.request) {
            return foreign_form(visit.context);
        }
        let refused = (!self.is_own_post(visit.context, visit.request)).then_some(OLD_FORM);
        match (path, refused) {
            ("/me/passkeys/rename", Some(_)) => self.passkey_rename_page(visit, StatusCode::FORBIDDEN, refused).await,
            ("/me/passkeys/rename", None) => self.passkey_rename(visit).await,
            ("/me/passkeys/remove", Some(_)) => self.passkey_remove_page(visit, StatusCode::FORBIDDEN, refused).await,
            ("/me/passkeys/remove", None) => self.passkey_remove(visit).await,
            ("/me/keys/remove", Some(_)) => self.key_remove_page(visit, StatusCode::FORBIDDEN, refused).await,
            ("/me/keys/remove", None) => self.key_remove(visit).await,
            ("/me/codes", Some(_)) => self.codes_page(visit, StatusCode::FORBIDDEN, refused).await,
            ("/me/codes", None) => self.codes_renew(visit).await,
            ("/me/password", Some(_)) => self.pair_page(visit, StatusCode::FORBIDDEN, Problem::whole(OLD_FORM)).await,
            ("/me/password", None) => self.pair_set(visit).await,
            ("/me/password/remove", Some(_)) => self.pair_remove_page(visit, StatusCode::FORBIDDEN, refused).await,
            ("/me/password/remove", None) => self.pair_remove(visit).await,
            ("/me/notices/seen", None) => self.notices_seen(visit).await,
            ("/me/notices/not-me", None) => self.not_me(visit).await,
            ("/me/delete", Some(_)) => self.deletion_page(visit, StatusCode::FORBIDDEN, refused),
            ("/me/delete", None) => self.deletion_request(visit).await,
            ("/me/settings", None) => self.settings_set(visit).await,
            (_, Some(_)) => foreign_form(visit.context),
            (_, None) => self.nothing_here(visit.context),
        }
    }

    /// The person behind a session, while there is one.
    pub(super) fn user_of(&self, session: &Session) -> Option<Arc<UserEntry>> {
        self.control().published().directory.users.get(&session.user).cloned()
    }

    async fn me(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(user) = self.user_of(visit.session) else { return see_other("/login") };
        let (passkeys, accepted) = match self.passkeys_of(visit.session).await {
            Ok(found) => found,
            Err(refusal) => return refused(&refusal),
        };
        let codes_left = match self.accounts().codes.left(user.id).await {
            Ok(left) => left,
            Err(refusal) => return unavailable(&Failure::unavailable(refusal)),
        };
        let groups: Vec<&str> = user.groups.iter().map(|group| group.as_str()).collect();
        let fact = |name: &str, value: String| pages::Fact { name: name.to_owned(), value };
        let keys = match self.keys_of(user.id).await {
            Ok(keys) => keys,
            Err(refusal) => return refused(&refusal),
        };
        let wish = self.control.people().deletion_wishes().get(&user.id).copied();
        let me = pages::Me {
            identity: user.email.clone(),
            facts: vec![
                fact("Name", user.name.clone()),
                fact("E-mail address", user.email.clone()),
                fact("Groups", if groups.is_empty() { "none".to_owned() } else { groups.join(", ") }),
                fact("Account since", user.created_at.readable()),
            ]
            .into_iter()
            .chain(wish.map(|at| fact("Deletion", format!("you asked for it on {}", at.readable()))))
            .collect(),
            notices: self.notice_lines(user.id).await,
            passkeys,
            accepted: Some(accepted),
            codes_left,
            pair: self.pair_of(user.id).await,
            keys,
            sessions: self.session_rows(visit.context, visit.session),
            token: self.form_token(visit.session.id),
            is_admin: is_admin(&user),
        };
        page(StatusCode::OK, me.render())
    }

    /// What is held about the person, without a secret.
    async fn export(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(user) = self.user_of(visit.session) else { return see_other("/login") };
        let passkeys = match self.passkeys.list(user.id).await {
            Ok(passkeys) => passkeys,
            Err(refusal) => return refused(&refusal),
        };
        let codes_left = match self.accounts().codes.left(user.id).await {
            Ok(left) => left,
            Err(refusal) => return unavailable(&Failure::unavailable(refusal)),
        };
        let passkey = |passkey: &pip_identity::passkeys::PasskeyView| {
            serde_json::json!({
                "handle": passkey.handle,
                "name": passkey.name,
                "added": passkey.created_at,
                "last_used": passkey.last_used_at,
                "is_synced": passkey.is_synced,
            })
        };
        let keys = match self.passkeys.keys(user.id).await {
            Ok(keys) => keys,
            Err(refusal) => return refused(&refusal),
        };
        let session = |session: &Arc<Session>| {
            serde_json::json!({
                "id": session.id,
                "began": session.created,
                "last_used": session.last_active,
                "level": session.acr,
                "network": session.src_net,
                "browser": session.user_agent,
            })
        };
        let sessions = self.control().sessions.sessions();
        let body = serde_json::json!({
            "exported": visit.context.now,
            "user": {
                "id": user.id,
                "name": user.name,
                "email": user.email,
                "state": user.state.as_str(),
                "is_external": user.is_external,
                "created": user.created_at,
                "groups": user.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>(),
                "attributes": user.tags,
            },
            "passkeys": passkeys.iter().map(passkey).collect::<Vec<_>>(),
            "security_keys": keys.iter().map(passkey).collect::<Vec<_>>(),
            "recovery_codes_left": codes_left,
            "asked_for_deletion": self.control.people().deletion_wishes().get(&user.id),
            "sessions": sessions.iter().filter(|s| s.user == user.id && !s.is_expired(visit.context.now)).map(session).collect::<Vec<_>>(),
        });
        let mut response = json(StatusCode::OK, &body);
        let name = HeaderValue::from_static("attachment; filename=\"countersign-account.json\"");
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// Asks for the deletion, or takes the wish back that is there.
    fn deletion_page(&self, visit: &Visit<'_>, code: StatusCode, problem: Option<&str>) -> Response<Bytes> {
        if let Some(asked) = self.control.people().deletion_wishes().get(&visit.session.user) {
            let form = pages::FormPage {
                heading: "Take back the wish to be deleted?".to_owned(),
                paragraphs: vec![format!("You asked on {}; no administrator has acted on it yet.", asked.readable())],
                problem: problem.map(str::to_owned),
                hidden: vec![
                    ("token".to_owned(), self.form_token(visit.session.id)),
                    ("wish".to_owned(), "back".to_owned()),
                ],
                action_url: "/me/delete".to_owned(),
                submit: "Take it back".to_owned(),
                cancel: back(),
                ..pages::FormPage::default()
            };
            return page(code, form.render());
        }
        let form = pages::FormPage {
            heading: "Ask for your account to be deleted?".to_owned(),
            paragraphs: vec!["An administrator deletes it; nothing is deleted by this form alone.".to_owned()],
            consequences: vec![
                "Your wish is recorded, where administrators see it.".to_owned(),
                "When they act on it, you are signed out everywhere and lose access to every app.".to_owned(),
                "What you did before stays in the record, under a key of your own that can be destroyed.".to_owned(),
            ],
            problem: problem.map(str::to_owned),
            hidden: vec![("token".to_owned(), self.form_token(visit.session.id))],
            action_url: "/me/delete".to_owned(),
            submit: "Ask for deletion".to_owned(),
            is_dangerous: true,
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    async fn deletion_request(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let (user, actor) = (visit.session.user, self.actor(visit.context));
        if visit.value("wish") == "back" {
            return match self.control.drop_deletion(&actor, user).await {
                Ok(_) => done(visit, "Your wish is taken back", &["Your account stays as it is."]),
                Err(failure) => unavailable(&failure),
            };
        }
        match self.control.ask_deletion(&actor, user).await {
            Ok(_) => done(
                visit,
                "Your wish is recorded",
                &[
                    "An administrator sees it, and tells you when your account is gone. Until then you can take it back.",
                ],
            ),
            Err(failure) => unavailable(&failure),
        }
    }

    /// Keeps the record of a change of one's own account.
    pub(super) async fn record_change(&self, visit: &Visit<'_>, about: Change, text: &str) -> Result<(), Failure> {
        let mut record = self.control.actor_record(&self.actor(visit.context), about.kind);
        record.change.object_kind = Some(about.object.0);
        record.change.object_id = Some(Arc::from(about.object.1));
        record.change.object_subject = Some(visit.session.user);
        record.change.change = Some(Arc::from(text));
        self.control.record(record).await
    }
}

/// What a record of a change is about.
pub(super) struct Change {
    pub(super) kind: RecordType,
    /// Kind and id of what changed.
    pub(super) object: (&'static str, String),
}

/// Why a form of an earlier sign-in changes nothing.
const OLD_FORM: &str = "This page is from before your last sign-in. Look at it again and send it once more.";

/// "It is done", with the id that finds the record.
pub(super) fn done(visit: &Visit<'_>, heading: &str, paragraphs: &[&str]) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: heading.to_owned(),
        paragraphs: paragraphs.iter().map(|text| (*text).to_owned()).collect(),
        command: None,
        links: vec![pages::Link { text: "Back to your account".to_owned(), url: "/me".to_owned() }],
        request_id: Some(visit.context.access_id.to_string()),
    };
    page(StatusCode::OK, notice.render())
}

/// A form that no page of ours sent.
pub(super) fn foreign_form(context: &ReservedContext) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "Nothing was changed".to_owned(),
        paragraphs: vec![
            "The form did not come from a page of your sign-in. Open the page again and repeat it.".to_owned(),
        ],
        command: None,
        links: vec![pages::Link { text: "Your account".to_owned(), url: "/me".to_owned() }],
        request_id: Some(context.access_id.to_string()),
    };
    page(StatusCode::FORBIDDEN, notice.render())
}

pub(super) fn is_admin(user: &UserEntry) -> bool {
    user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP)
}

fn back() -> (String, String) {
    ("Go back".to_owned(), "/me".to_owned())
}

pub(super) fn moment(time: Timestamp) -> pages::Moment {
    (time.to_string(), time.readable())
}

/// A refusal as a sentence for a page.
pub(super) fn sentence(text: &str) -> String {
    let mut sentence = text.to_owned();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    sentence.push('.');
    sentence
}
