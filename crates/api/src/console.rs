//! The console: screens on the auth host for people who administer. Every screen and every step has a typed action; the
//! engine is asked about it at the door and once more here, and decides which buttons a page has.
//!
//! It has no rights of its own and no way to data but the operations of [`crate::ControlPlane`]. Not here: templates
//! (`pages::console`), what the operations do.
//!
//! Invariants: only POST changes anything, and only after [`guard`] found it to be a form of this very session; whatever
//! was typed wrongly changes nothing and comes back with what was typed.

mod access;
mod act;
mod apps;
mod filters;
mod guard;
mod home;
mod live;
mod notices;
mod people;
mod proposals;
mod reach;
mod record;
mod recoveries;
mod rights;
mod sessions;
mod take;
mod text;
mod visit;
mod why;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use model::seams::ReservedContext;
use model::{Action, SessionId, UserId};
use pages::console::Outcome;

use self::guard::Limiter;
use self::live::Tails;
use self::proposals::Verdict;
use self::recoveries::Step;
use self::visit::Visit;
use crate::http::Portal;
use crate::http::portal::{see_other, with_cookie};
use crate::http::{cookies, reserved::status};
use crate::pending::Pending;

/// How long the outcome of an act can be looked at again.
const OUTCOME_LIFE: Duration = Duration::from_secs(600);
/// The most outcomes that are kept.
const MAX_OUTCOMES: usize = 1_000;

/// Whether a path of the auth host belongs to the console.
pub(crate) fn is_ours(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Whether a path is a page of the console, and no file, stream or step.
pub(crate) fn is_page(path: &str) -> bool {
    let found = find(&Method::GET, path);
    found.is_some_and(|(screen, _)| !matches!(screen, Screen::Export | Screen::Live | Screen::Take))
}

/// The keys of the console: what is typed, and where it leads (UI-50).
pub(crate) fn keys() -> Vec<(String, &'static str)> {
    let screens = visit::NAV.iter().map(|screen| (format!("g {}", screen.letter), screen.text));
    screens.chain([("/".to_owned(), "To the filter"), ("?".to_owned(), "The list of keys")]).collect()
}

/// A screen, or a step that changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Screen {
    Access,
    App,
    Apps,
    AskDisable,
    AskEnable,
    AskEnd,
    AskProposal(Verdict),
    AskRecovery(Step),
    Disable,
    Done,
    Enable,
    End,
    Export,
    Home,
    Invite,
    Live,
    People,
    Person,
    Proposal(Verdict),
    Record,
    Recovery(Step),
    Sessions,
    Take,
    Why,
}

impl Screen {
    /// What the engine is asked. A screen without an action does not compile (UI-25).
    fn action(self) -> Action {
        match self {
            Screen::Access | Screen::Live | Screen::Record => Action::AuditRead,
            Screen::Export => Action::AuditExport,
            Screen::App
            | Screen::Apps
            | Screen::AskDisable
            | Screen::AskEnable
            | Screen::AskEnd
            | Screen::AskProposal(_)
            | Screen::AskRecovery(_)
            | Screen::Done
            | Screen::Home
            | Screen::People
            | Screen::Person
            | Screen::Sessions
            | Screen::Take
            | Screen::Why => Action::AdminRead,
            Screen::Disable
            | Screen::Enable
            | Screen::End
            | Screen::Invite
            | Screen::Proposal(_)
            | Screen::Recovery(_) => Action::AdminWrite,
        }
    }
}

/// One address of the console.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleRoute {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{…}` stands for one segment.
    pub pattern: &'static str,
    screen: Screen,
}

impl ConsoleRoute {
    /// What the engine is asked about it.
    pub fn action(&self) -> Action {
        self.screen.action()
    }
}

const fn get(pattern: &'static str, screen: Screen) -> ConsoleRoute {
    ConsoleRoute { method: "GET", pattern, screen }
}

const fn post(pattern: &'static str, screen: Screen) -> ConsoleRoute {
    ConsoleRoute { method: "POST", pattern, screen }
}

/// Every address there is, whole names before `{…}`.
pub const ROUTES: &[ConsoleRoute] = &[
    get("/console", Screen::Home),
    get("/console/access", Screen::Access),
    get("/console/access/export", Screen::Export),
    get("/console/access/live", Screen::Live),
    get("/console/access/{id}", Screen::Record),
    get("/console/export/{list}", Screen::Take),
    get("/console/why", Screen::Why),
    get("/console/apps", Screen::Apps),
    get("/console/apps/{name}", Screen::App),
    get("/console/people", Screen::People),
    post("/console/people/invite", Screen::Invite),
    get("/console/people/{id}", Screen::Person),
    get("/console/people/{id}/disable", Screen::AskDisable),
    post("/console/people/{id}/disable", Screen::Disable),
    get("/console/people/{id}/enable", Screen::AskEnable),
    post("/console/people/{id}/enable", Screen::Enable),
    get("/console/people/{id}/recover", Screen::AskRecovery(Step::Begin)),
    post("/console/people/{id}/recover", Screen::Recovery(Step::Begin)),
    get("/console/people/{id}/stop-recovery", Screen::AskRecovery(Step::Stop)),
    post("/console/people/{id}/stop-recovery", Screen::Recovery(Step::Stop)),
    get("/console/people/{id}/vouch", Screen::AskRecovery(Step::Vouch)),
    post("/console/people/{id}/vouch", Screen::Recovery(Step::Vouch)),
    get("/console/proposals/{digest}/approve", Screen::AskProposal(Verdict::Approve)),
    post("/console/proposals/{digest}/approve", Screen::Proposal(Verdict::Approve)),
    get("/console/proposals/{digest}/withdraw", Screen::AskProposal(Verdict::Withdraw)),
    post("/console/proposals/{digest}/withdraw", Screen::Proposal(Verdict::Withdraw)),
    get("/console/sessions", Screen::Sessions),
    get("/console/sessions/end", Screen::AskEnd),
    post("/console/sessions/end", Screen::End),
    get("/console/done/{id}", Screen::Done),
];

/// The screens.
pub(crate) struct Console {
    portal: Arc<Portal>,
    limiter: Limiter,
    tails: Tails,
    /// One step at a time: what a form counted is compared and changed with no other step in between, so that a form sent
    /// twice acts once.
    turn: tokio::sync::Mutex<()>,
    /// What acts did, for whoever did them, by the id of the record.
    outcomes: Pending<String, (UserId, Outcome)>,
}

impl Console {
    /// The screens over the pages and operations of `portal`.
    pub(crate) fn new(portal: Arc<Portal>) -> Self {
        Self {
            portal,
            limiter: Limiter::default(),
            tails: Tails::default(),
            turn: tokio::sync::Mutex::default(),
            outcomes: Pending::new(OUTCOME_LIFE, MAX_OUTCOMES),
        }
    }

    /// Answers a request that a door let through, and asks once more whether it may.
    pub(crate) async fn answer(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(session) = context.session.clone() else { return see_other("/login") };
        let turn = match *request.method() == Method::POST {
            true => Some(self.turn.lock().await),
            false => None,
        };
        if turn.is_some() && !self.is_live(session.id) {
            return see_other("/login");
        }
        let Some((screen, captured)) = find(request.method(), request.uri().path()) else {
            let visit = Visit::new(self, context, request, session, Screen::Home, String::new()).prepared().await;
            return visit.nothing_here();
        };
        let visit = Visit::new(self, context, request, session, screen, captured).prepared().await;
        let response = match self.refusal(&visit) {
            Some(refusal) => refusal,
            None => self.show(&visit).await,
        };
        self.with_companion(request, visit.session().id, response)
    }

    /// Whether a session goes on: it may have ended while its step waited for another.
    fn is_live(&self, session: SessionId) -> bool {
        let control = self.portal.control();
        control.session_view.session(session, control.now()).is_some()
    }

    /// What is checked before any screen: how often, the right, and for a step that it is ours.
    fn refusal(&self, visit: &Visit<'_>) -> Option<Response<Bytes>> {
        if !self.limiter.passes(visit.session().id, visit.now()) {
            return Some(visit.too_many());
        }
        if !visit.rights().may(visit.screen().action()) {
            return Some(visit.missing_right(visit.screen().action()));
        }
        visit.check_step()
    }

    async fn show(&self, visit: &Visit<'_>) -> Response<Bytes> {
        match visit.screen() {
            Screen::Access => access::list(visit).await,
            Screen::App => apps::detail(visit),
            Screen::Apps => apps::list(visit),
            Screen::AskDisable | Screen::AskEnable => people::ask(visit, None),
            Screen::AskEnd => sessions::ask(visit, None).await,
            Screen::AskProposal(verdict) => proposals::ask(visit, verdict, None).await,
            Screen::AskRecovery(step) => recoveries::ask(visit, step, None).await,
            Screen::Disable | Screen::Enable => people::change(visit).await,
            Screen::Done => act::done(visit),
            Screen::End => sessions::end(visit).await,
            Screen::Export => access::export(visit).await,
            Screen::Home => home::show(visit).await,
            Screen::Invite => people::invite(visit).await,
            Screen::Live => live::events(visit).await,
            Screen::People => people::list(visit, None),
            Screen::Person => people::detail(visit).await,
            Screen::Proposal(verdict) => proposals::act(visit, verdict).await,
            Screen::Record => record::show(visit).await,
            Screen::Recovery(step) => recoveries::act(visit, step).await,
            Screen::Sessions => sessions::list(visit).await,
            Screen::Take => take::along(visit).await,
            Screen::Why => why::show(visit).await,
        }
    }

    /// Pages carry the companion cookie that their forms need (UI-24).
    fn with_companion(
        &self,
        request: &Request<Bytes>,
        session: SessionId,
        response: Response<Bytes>,
    ) -> Response<Bytes> {
        let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == pages::HTML);
        if !is_page || guard::has_companion(&self.portal, request, session) {
            return response;
        }
        with_cookie(response, &cookies::set_console(&self.portal.companion(session)))
    }
}

/// The screen at a path, with what stands in the place of `{…}`.
fn find(method: &Method, path: &str) -> Option<(Screen, String)> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route.screen, captured(route.pattern, path)?)))
}

fn captured(pattern: &str, path: &str) -> Option<String> {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    let mut captured = String::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(captured),
            (Some(wanted), Some(found)) if wanted.starts_with('{') && !found.is_empty() => {
                captured = text::unescaped(found);
            }
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return None,
        }
    }
}

/// An answer that is a file.
fn file(content_type: &'static str, name: &str, body: String) -> Response<Bytes> {
    let mut response = status(StatusCode::OK);
    *response.body_mut() = Bytes::from(body);
    let headers = response.headers_mut();
    for (name, value) in pages::PAGE_HEADERS {
        headers.insert(*name, http::HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    if let Ok(value) = http::HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_one_screen_and_a_stranger_to_none() {
        let at = |method: Method, path: &str| find(&method, path);
        assert_eq!(at(Method::GET, "/console/access/live"), Some((Screen::Live, String::new())));
        assert_eq!(at(Method::HEAD, "/console/apps/wiki"), Some((Screen::App, "wiki".to_owned())));
        assert_eq!(at(Method::POST, "/console/people/usr_x/disable"), Some((Screen::Disable, "usr_x".to_owned())));
        for (method, path) in [
            (Method::POST, "/console/access"),
            (Method::GET, "/console/apps/"),
            (Method::GET, "/console/apps/a/b"),
            (Method::DELETE, "/console/people/x"),
            (Method::GET, "/console/"),
        ] {
            assert_eq!(at(method.clone(), path), None, "{method} {path}");
        }
    }

    #[test]
    fn only_what_is_posted_changes_anything() {
        for route in ROUTES {
            assert_eq!(route.method == "POST", route.action() == Action::AdminWrite, "{route:?}");
        }
    }
}
