//! Who would get in, under facts that have a name. Console, `countersign app explain` and `countersign doctor` ask here and
//! say the name beside every answer, so that the same words mean the same facts everywhere. Nothing here decides anything.

use model::app::{App, Route};
use model::decision::StepUpContext;
use model::{AccessRequest, Action, Effect, Facts, Principal, ResourceRef, TimeZone, Timestamp, UserEntry};

use super::Published;

/// The facts of [`fresh_facts`], in words.
pub(crate) const NOW: &str = "with a passkey used just now, on a device nothing is known of";
/// The facts of `BestCase`, in words.
pub(crate) const AT_BEST: &str = "with everything proven, on a perfect device, at the right place and hour";

/// The questions of one answer, over one version.
pub(crate) struct Standing<'a> {
    published: &'a Published,
    now: Timestamp,
}

impl<'a> Standing<'a> {
    /// Over `published`.
    pub(crate) fn new(published: &'a Published, now: Timestamp) -> Self {
        Self { published, now }
    }

    /// Whether somebody gets to the front page of an app [`NOW`], without being asked for more.
    pub(crate) fn gets_in(&self, user: &UserEntry, app: &App) -> bool {
        let question = self.question(user, app, None, None);
        self.published.pdp.decide(&question, self.now).effect == Effect::Allow
    }

    /// What is asked about somebody [`NOW`]: at the front page of an app, or at `route`; what the route does, or `action`.
    pub(crate) fn question(
        &self,
        user: &UserEntry,
        app: &App,
        route: Option<&Route>,
        action: Option<Action>,
    ) -> AccessRequest {
        let front = || app.routes.iter().find(|route| route.path_prefix == "/").or_else(|| app.routes.last());
        let route = route.or_else(front);
        let mut facts = fresh_facts(self.now);
        facts.request.tell_time(self.now, self.published.time_zone(), Some(app));
        facts.request.host = app.hosts.first().map(ToString::to_string).unwrap_or_default();
        if let Some(route) = route {
            facts.request.path.clone_from(&route.path_prefix);
            facts.request.original_path.clone_from(&route.path_prefix);
            facts.request.route = route.name.to_string();
        }
        let action = action.or(route.and_then(|route| route.action)).unwrap_or(Action::HttpGet);
        facts.request.method = method(Some(action)).to_owned();
        AccessRequest {
            principal: Principal::User(user.id),
            action,
            resource: ResourceRef { app: app.name.clone(), route: route.map(|route| route.name.clone()) },
            facts,
            is_public_path: false,
            session_ends: None,
            step_up: StepUpContext::browser(),
        }
    }
}

/// The facts of a sign-in with a passkey that happened now, by UTC; everything else unknown.
pub(crate) fn fresh_facts(now: Timestamp) -> Facts {
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.auth.acr = "phr".to_owned();
    facts.auth.idp = "local".to_owned();
    facts.auth.mfa = true;
    facts.auth.phishing_resistant = true;
    facts.auth.auth_age_secs = 0;
    facts.session.age_secs = 0;
    facts.session.idle_secs = 0;
    facts.request.door = "http".to_owned();
    facts.request.method = "GET".to_owned();
    facts.request.tell_time(now, &TimeZone::utc(), None);
    facts
}

/// The method that an action is, as a policy reads it.
pub(crate) fn method(action: Option<Action>) -> &'static str {
    match action {
        Some(Action::HttpDelete) => "DELETE",
        Some(Action::HttpHead) => "HEAD",
        Some(Action::HttpOptions) => "OPTIONS",
        Some(Action::HttpPatch) => "PATCH",
        Some(Action::HttpPut) => "PUT",
        Some(Action::HttpPost | Action::AdminWrite | Action::PolicyPublish | Action::AuditErase) => "POST",
        _ => "GET",
    }
}
