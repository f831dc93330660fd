//! One request to the console: who asks, what they may, what they sent, and the frame every answer has.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::directory::ADMINS_GROUP;
use model::seams::ReservedContext;
use model::{Action, Session, Timestamp, UserId};
use pages::Link;
use pages::console::{Choice, Columns, ConsoleNotice, Message, NavItem, Shell};

use super::guard::{self, NotOurs};
use super::notices;
use super::rights::Rights;
use super::{Console, Screen};
use crate::actor::Actor;
use crate::control::{ControlPlane, Published};
use crate::failure::Failure;
use crate::http::portal::{Portal, page, retry_after};
use crate::preferences::{List, Preferences};

/// When a sign-in that asked too often may ask again: its allowance grows back meanwhile.
const RETRY_SECS: u64 = 5;

/// How fresh a confirmation must be for an act on other people (UI-7).
pub(super) const FRESH_SECS: i64 = 300;
/// Names of fields that are ours and not typed by anybody.
const OWN_FIELDS: &[&str] = &["token", "expected"];

/// A screen of the navigation.
pub(super) struct NavScreen {
    pub(super) text: &'static str,
    url: &'static str,
    right: Action,
    /// Typed after `g`.
    pub(super) letter: char,
}

const fn nav(text: &'static str, url: &'static str, right: Action, letter: char) -> NavScreen {
    NavScreen { text, url, right, letter }
}

/// Screens of the navigation with the right each needs.
pub(super) const NAV: &[NavScreen] = &[
    nav("Overview", "/console", Action::AdminRead, 'o'),
    nav("Access", "/console/access", Action::AuditRead, 'a'),
    nav("Why", "/console/why", Action::AdminRead, 'w'),
    nav("Apps", "/console/apps", Action::AdminRead, 'p'),
    nav("People", "/console/people", Action::AdminRead, 'e'),
    nav("Sessions", "/console/sessions", Action::AdminRead, 's'),
];

/// One request.
pub(super) struct Visit<'a> {
    console: &'a Console,
    context: &'a ReservedContext,
    request: &'a Request<Bytes>,
    session: Arc<Session>,
    screen: Screen,
    captured: String,
    rights: Rights,
    published: Arc<Published>,
    query: Vec<(String, String)>,
    form: Vec<(String, String)>,
    preferences: Preferences,
    notices: Vec<ConsoleNotice>,
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        console: &'a Console,
        context: &'a ReservedContext,
        request: &'a Request<Bytes>,
        session: Arc<Session>,
        screen: Screen,
        captured: String,
    ) -> Self {
        let published = console.portal.control().published();
        let rights = Rights::of(&published, context, &session, context.now);
        let parse = |bytes: &[u8]| form_urlencoded::parse(bytes).into_owned().take(guard::MAX_FIELDS + 1).collect();
        let query = parse(request.uri().query().unwrap_or_default().as_bytes());
        let is_form = *request.method() == Method::POST && request.body().len() <= guard::BODY_BYTES;
        let form = if is_form { parse(request.body()) } else { Vec::new() };
        Self {
            console,
            context,
            request,
            session,
            screen,
            captured,
            rights,
            published,
            query,
            form,
            preferences: Preferences::default(),
            notices: Vec::new(),
        }
    }

    /// With what this person has set and what they should look at. Files and streams have a use for neither.
    pub(super) async fn prepared(mut self) -> Self {
        if !matches!(self.screen, Screen::Export | Screen::Live | Screen::Take) {
            self.preferences = self.control().preferences(self.session.user).await;
            self.notices = notices::of(&self).await;
        }
        self
    }

    pub(super) fn console(&self) -> &Console {
        self.console
    }

    pub(super) fn portal(&self) -> &Arc<Portal> {
        &self.console.portal
    }

    pub(super) fn control(&self) -> &Arc<ControlPlane> {
        self.console.portal.control_arc()
    }

    /// The version this whole answer is made from.
    pub(super) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(super) fn context(&self) -> &ReservedContext {
        self.context
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.now
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn screen(&self) -> Screen {
        self.screen
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(super) fn preferences(&self) -> &Preferences {
        &self.preferences
    }

    pub(super) fn may_write(&self) -> bool {
        self.rights.may(Action::AdminWrite)
    }

    pub(super) fn may_read_record(&self) -> bool {
        self.rights.may(Action::AuditRead)
    }

    /// What stood in the place of `{…}`.
    pub(super) fn captured(&self) -> &str {
        &self.captured
    }

    pub(super) fn actor(&self) -> Actor {
        self.portal().actor(self.context)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// What was asked for: the query, without what was left empty.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        self.query.iter().filter(|(_, value)| !value.is_empty()).cloned().collect()
    }

    /// A value of the query, empty when it is not there.
    pub(super) fn asked(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A value of the form, empty when it is not there.
    pub(super) fn posted(&self, name: &str) -> &str {
        self.form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Every value of the form of that name.
    pub(super) fn all_posted(&self, name: &str) -> Vec<&str> {
        self.form.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The token forms of this page carry.
    pub(super) fn token(&self) -> String {
        self.portal().form_token(self.session.id)
    }

    /// Whether the person was confirmed at most five minutes ago, by signing in or for administering (UI-7).
    pub(super) fn is_fresh(&self) -> bool {
        let control = model::AppName::new(model::app::CONTROL_APP);
        self.session.auth_facts(&control, Action::AdminWrite, self.now()).auth_age_secs <= FRESH_SECS
    }

    /// A step must be a form of this session's own pages; nothing else was read of it before.
    pub(super) fn check_step(&self) -> Option<Response<Bytes>> {
        if *self.request.method() != Method::POST {
            return None;
        }
        let checked = guard::check(self.portal(), self.context, self.request, &self.form, self.session.id);
        let (code, title, text) = match checked {
            Ok(()) => return None,
            Err(NotOurs::Body) => (StatusCode::PAYLOAD_TOO_LARGE, "Too much was sent", "A form may have 1 MiB."),
            Err(NotOurs::Fields) => (StatusCode::PAYLOAD_TOO_LARGE, "Too much was sent", "A form may have 200 fields."),
            Err(NotOurs::Origin) => (
                StatusCode::FORBIDDEN,
                "This form is not from here",
                "It does not belong to this sign-in, or it came from another site, so nothing was done. Open the page again and send it from there.",
            ),
        };
        Some(self.message(code, title, vec![text.to_owned()]))
    }

    /// The frame of a page.
    pub(super) fn shell(&self, title: &str, api: String, command: String) -> Shell {
        let path = self.request.uri().path();
        let best = NAV.iter().map(|to| to.url).filter(|url| is_below(path, url)).max_by_key(|url| url.len());
        let nav = NAV.iter().filter(|to| self.rights.may(to.right)).map(|to| NavItem {
            text: to.text,
            url: to.url,
            letter: to.letter,
            is_current: Some(to.url) == best,
        });
        Shell {
            title: title.to_owned(),
            identity: self.name_of(self.session.user),
            nav: nav.collect(),
            notices: self.notices.clone(),
            api,
            command,
            request_id: self.context.access_id.to_string(),
            token: self.token(),
            here: self.here(),
            has_letters: self.preferences.has_letters(),
        }
    }

    /// The address to come back to: this page, or the overview after a step.
    fn here(&self) -> String {
        let is_page = matches!(*self.request.method(), Method::GET | Method::HEAD);
        let target = self.request.uri().path_and_query().filter(|_| is_page);
        target.map_or("/console", http::uri::PathAndQuery::as_str).to_owned()
    }

    /// The columns of a list as this person wants them.
    pub(super) fn columns(&self, list: List) -> Columns {
        let choice = |(name, text): &(&str, &str)| Choice {
            value: (*name).to_owned(),
            text: (*text).to_owned(),
            is_chosen: self.preferences.shows(list, name),
        };
        Columns { list: list.name(), all: list.columns().iter().map(choice).collect() }
    }

    /// The address of a person, or their id when there is none any more.
    pub(super) fn name_of(&self, user: UserId) -> String {
        let known = self.published.directory.users.get(&user);
        known.map_or_else(|| user.to_string(), |user| super::text::shown(&user.email))
    }

    /// A page that says one thing, with whatever was typed.
    pub(super) fn message(&self, code: StatusCode, title: &str, paragraphs: Vec<String>) -> Response<Bytes> {
        let typed = self.form.iter().filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str()));
        let message = Message {
            shell: self.shell(title, String::new(), String::new()),
            paragraphs,
            kept: typed.map(|(name, value)| (super::text::shown(name), super::text::shown(value))).collect(),
            links: vec![Link { text: "To the console".to_owned(), url: "/console".to_owned() }],
        };
        page(code, message.render())
    }

    /// An operation failed; the page says how, in its words.
    pub(super) fn failed(&self, failure: &Failure) -> Response<Bytes> {
        let (code, title) = match failure {
            Failure::Conflict { .. } => (StatusCode::CONFLICT, "It clashes with what is there"),
            Failure::Forbidden { .. } => (StatusCode::FORBIDDEN, "You may not do this"),
            Failure::Invalid { .. } | Failure::Problems(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Something is not valid")
            }
            Failure::NotFound { .. } => (StatusCode::NOT_FOUND, "There is no such thing"),
            Failure::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too often"),
            Failure::DoneUnrecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "Done, but not recorded"),
            Failure::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "This cannot be done right now"),
        };
        let wait = match failure {
            Failure::TooMany { retry_after_secs } => Some(*retry_after_secs),
            _ => None,
        };
        retry_after(self.message(code, title, vec![super::text::shown(&failure.to_string())]), wait)
    }

    pub(super) fn nothing_here(&self) -> Response<Bytes> {
        self.message(
            StatusCode::NOT_FOUND,
            "Nothing is here",
            vec!["The address is not one of the console.".to_owned()],
        )
    }

    pub(super) fn too_many(&self) -> Response<Bytes> {
        let text = "This sign-in asked too often; wait a few seconds. What you sent was not done.".to_owned();
        retry_after(self.message(StatusCode::TOO_MANY_REQUESTS, "Too many requests", vec![text]), Some(RETRY_SECS))
    }

    /// Names the right that is missing, and who gives it (UI-4).
    pub(super) fn missing_right(&self, action: Action) -> Response<Bytes> {
        let text = format!(
            "This needs the right {action}. Whoever writes the policies of the app `countersign` gives it; the group `{ADMINS_GROUP}` has it."
        );
        self.message(StatusCode::FORBIDDEN, "You may not see this", vec![text])
    }
}

fn is_below(path: &str, url: &str) -> bool {
    path.strip_prefix(url).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_screen_has_a_letter_of_its_own() {
        let letters: BTreeSet<char> = NAV.iter().map(|to| to.letter).collect();
        assert_eq!(letters.len(), NAV.len());
        assert!(letters.iter().all(|letter| letter.is_ascii_lowercase() && *letter != 'g'));
    }
}
