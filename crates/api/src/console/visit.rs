//! One request to the console: who asks, what they may, what they sent, and the frame every answer has.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::directory::ADMINS_GROUP;
use model::seams::ReservedContext;
use model::{Action, Session, Timestamp, UserId, UserState};
use pages::Link;
use pages::console::{ConsoleNotice, Message, NavItem, Shell};

use super::guard::{self, NotOurs};
use super::rights::Rights;
use super::{Console, Screen};
use crate::actor::Actor;
use crate::control::{ControlPlane, Published};
use crate::failure::Failure;
use crate::http::portal::{Portal, page};

/// How fresh a confirmation must be for an act on other people (UI-7).
pub(super) const FRESH_SECS: i64 = 300;
/// Names of fields that are ours and not typed by anybody.
const OWN_FIELDS: &[&str] = &["token", "expected"];

/// Screens of the navigation with the right each needs.
const NAV: &[(&str, &str, Action)] = &[
    ("Overview", "/console", Action::AdminRead),
    ("Access", "/console/access", Action::AuditRead),
    ("Why", "/console/why", Action::AdminRead),
    ("Apps", "/console/apps", Action::AdminRead),
    ("People", "/console/people", Action::AdminRead),
    ("Sessions", "/console/sessions", Action::AdminRead),
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
        let rights = Rights::of(published.pdp.as_ref(), context, &session, context.now);
        let parse = |bytes: &[u8]| form_urlencoded::parse(bytes).into_owned().take(guard::MAX_FIELDS + 1).collect();
        let query = parse(request.uri().query().unwrap_or_default().as_bytes());
        let is_form = *request.method() == Method::POST && request.body().len() <= guard::BODY_BYTES;
        let form = if is_form { parse(request.body()) } else { Vec::new() };
        Self { console, context, request, session, screen, captured, rights, published, query, form }
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
        let best = NAV.iter().map(|(_, url, _)| *url).filter(|url| is_below(path, url)).max_by_key(|url| url.len());
        let nav = NAV.iter().filter(|(_, _, action)| self.rights.may(*action));
        Shell {
            title: title.to_owned(),
            identity: self.name_of(self.session.user),
            nav: nav.map(|(text, url, _)| NavItem { text, url, is_current: Some(*url) == best }).collect(),
            notices: self.notices(),
            api,
            command,
            request_id: self.context.access_id.to_string(),
        }
    }

    /// The address of a person, or their id when there is none any more.
    pub(super) fn name_of(&self, user: UserId) -> String {
        let known = self.published.directory.users.get(&user);
        known.map_or_else(|| user.to_string(), |user| super::text::shown(&user.email))
    }

    /// What somebody who administers should look at (UI-9).
    fn notices(&self) -> Vec<ConsoleNotice> {
        let mut notices = Vec::new();
        if !self.rights.may(Action::AdminRead) {
            return notices;
        }
        // What somebody did to the record comes first; the list is kept in memory, so no page waits for the disk.
        for alert in self.control().log.alerts().list().iter().filter(|alert| alert.is_active) {
            let kind = alert.kind;
            notices.push(ConsoleNotice {
                text: format!(
                    "The record, {}: {}.",
                    kind.as_str().replace('_', " "),
                    super::text::shown(&alert.detail)
                ),
                action: Link { text: kind.what_to_do().to_owned(), url: "/console/access?type=audit.alert".to_owned() },
            });
        }
        let users = self.published.directory.users.values();
        let is_admin = |user: &&Arc<model::UserEntry>| {
            user.state == UserState::Active && user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP)
        };
        if users.filter(is_admin).count() == 1 {
            notices.push(ConsoleNotice {
                text: "Only one person administers: if their passkey is lost, nobody can.".to_owned(),
                action: Link { text: "Invite another".to_owned(), url: "/console/people#invite".to_owned() },
            });
        }
        let wishes = self.control().people().deletion_wishes();
        if let Some((first, _)) = wishes.iter().min_by_key(|(_, at)| **at) {
            notices.push(ConsoleNotice {
                text: format!(
                    "{} to be deleted; `countersign user deletions` shows who.",
                    super::text::count(wishes.len(), "person asks", "people ask")
                ),
                action: Link { text: "Who waits longest".to_owned(), url: format!("/console/people/{first}") },
            });
        }
        let findings = self.published.policies.findings().len();
        if findings > 0 {
            notices.push(ConsoleNotice {
                text: format!("{} in the policies.", super::text::count(findings, "finding", "findings")),
                action: Link { text: "Look at them".to_owned(), url: "/console#findings".to_owned() },
            });
        }
        notices
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
        self.message(code, title, vec![super::text::shown(&failure.to_string())])
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
        self.message(StatusCode::TOO_MANY_REQUESTS, "Too many requests", vec![text])
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
