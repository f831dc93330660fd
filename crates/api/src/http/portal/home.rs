//! The launchpad (UI-3): the apps the engine lets a person open, and where they are signed in.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use model::app::{HostPattern, Route};
use model::decision::{DrivenFixes, Fix, FixKind, StepUpContext};
use model::seams::ReservedContext;
use model::{AccessRequest, Action, App, Decision, Effect, Facts, ResourceRef, Session, Timestamp, UserId};

use super::Portal;
use super::account::{is_admin, moment};
use super::answers::{page, see_other};
use super::step_up::Words;

impl Portal {
    pub(super) async fn launchpad(&self, context: &ReservedContext, headers: &HeaderMap) -> Response<Bytes> {
        let Some(session) = &context.session else { return see_other("/login") };
        let published = self.control().published();
        let words = self.words(headers);
        let mut tiles: Vec<pages::Tile> = published
            .apps
            .iter()
            .filter(|app| !app.is_control_plane())
            .filter_map(|app| self.tile(context, session, app, &words))
            .collect();
        tiles.sort_by(|a, b| a.title.cmp(&b.title));
        let launchpad = pages::Launchpad {
            identity: self.identity(session),
            is_admin: self.user_of(session).is_some_and(|user| is_admin(&user)),
            notices: self.launchpad_notices(session.user, context.now).await,
            offers_passkey: !session.is_phishing_resistant,
            tiles,
            sessions: self.session_rows(context, session),
            token: self.form_token(session.id),
        };
        page(StatusCode::OK, launchpad.render())
    }

    /// What happened, and what a person who administers alone has to hear each time.
    async fn launchpad_notices(&self, user: UserId, now: Timestamp) -> Vec<pages::NoticeLine> {
        let mut lines = self.notice_lines(user).await;
        let admins = self.control().people().administrators();
        if admins.len() == 1 && admins.contains(&user) {
            let text = "You are the only administrator. Add a second one: if you lose your passkey, only the machine itself lets you back in.";
            lines.push(pages::NoticeLine {
                at: moment(now),
                stamp: now.0.to_string(),
                text: text.to_owned(),
                token: None,
            });
        }
        lines
    }

    /// The live sessions of the person behind `session`, newest first.
    pub(super) fn session_rows(&self, context: &ReservedContext, session: &Session) -> Vec<pages::SessionRow> {
        let sessions = self.control().sessions.sessions();
        let own = sessions.iter().filter(|other| other.user == session.user && !other.is_expired(context.now));
        own.map(|other| row(other, session)).collect()
    }

    /// Asks the engine about the app's front page, as the person is now; nothing listed is then refused.
    fn tile(&self, context: &ReservedContext, session: &Session, app: &App, words: &Words) -> Option<pages::Tile> {
        let HostPattern::Exact(host) = app.hosts.iter().find(|host| matches!(host, HostPattern::Exact(_)))? else {
            return None;
        };
        let route = app.routes.iter().find(|route| route.path_prefix == "/").or_else(|| app.routes.last())?;
        let decision = self.decision(context, session, (app, route, host), Action::HttpGet);
        let hint = match decision.effect {
            Effect::Allow => None,
            Effect::StepUp => Some(tile_hint(&decision.fix, words)),
            Effect::Deny => return None,
        };
        let port = self.control().settings.public_port;
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let url = format!("https://{authority}{}", route.path_prefix);
        Some(pages::Tile { title: app.title.clone(), host: host.clone(), url, hint })
    }

    /// Whether a person may learn that an app exists: somewhere in it the engine does not plainly refuse them (GW-16).
    pub(super) fn may_know(&self, context: &ReservedContext, session: &Session, app: &App, action: Action) -> bool {
        let host = app.hosts.first().map(ToString::to_string).unwrap_or_default();
        let is_open = |route: &Route| {
            [action, Action::HttpGet]
                .iter()
                .any(|action| self.decision(context, session, (app, route, &host), *action).effect != Effect::Deny)
        };
        app.routes.iter().any(is_open)
    }

    /// The engine's answer about the front of a route, as the person is now.
    pub(super) fn decision(
        &self,
        context: &ReservedContext,
        session: &Session,
        (app, route, host): (&App, &Route, &str),
        action: Action,
    ) -> Decision {
        let mut facts = Facts::unknown();
        facts.auth = session.auth_facts(&app.name, action, context.now);
        facts.session = session.session_facts(context.now);
        facts.request.door = "http".to_owned();
        facts.request.method = "GET".to_owned();
        facts.request.host = host.to_owned();
        facts.request.path = route.path_prefix.clone();
        facts.request.original_path = route.path_prefix.clone();
        facts.request.segments = segments(&route.path_prefix);
        facts.request.route = route.name.to_string();
        let published = self.control().published();
        facts.request.tell_time(context.now, published.time_zone(), Some(app));
        let question = AccessRequest {
            principal: context.principal.clone(),
            action,
            resource: ResourceRef { app: app.name.clone(), route: Some(route.name.clone()) },
            facts,
            is_public_path: false,
            session_ends: Some(session.ends_at()),
            step_up: StepUpContext {
                drives: DrivenFixes::ALL,
                completed_rounds: session.completed_rounds(&app.name, action, context.now),
                only_fix: None,
            },
        };
        published.pdp.decide(&question, context.now)
    }
}

/// What a tile says when opening it will ask for something (UI-3).
fn tile_hint(fix: &[Fix], words: &Words) -> String {
    let asks = |kind| fix.iter().any(|fix| fix.remedy.kind() == kind);
    if asks(FixKind::Auth) && !asks(FixKind::Device) && !asks(FixKind::Grant) {
        return "Will ask you to confirm that it is you".to_owned();
    }
    let texts: Vec<String> = fix.iter().map(|fix| words.text(fix)).collect();
    format!("First: {}", texts.join(", ").to_lowercase())
}

fn segments(path: &str) -> BTreeSet<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn row(session: &Session, current: &Session) -> pages::SessionRow {
    pages::SessionRow {
        id: session.id.to_string(),
        user_agent: browser_name(&session.user_agent),
        network: session.src_net.clone(),
        since: moment(session.created),
        last_used: moment(session.last_active),
        is_current: session.id == current.id,
    }
}

/// What most browsers call themselves, in two words; the raw text of the others. For recognition, never for a decision.
pub(crate) fn browser_name(user_agent: &str) -> String {
    // Browsers name their ancestors too, so the youngest comes first.
    let browsers =
        [("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari")];
    let systems = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&browsers), find(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        _ if user_agent.is_empty() => "unknown browser".to_owned(),
        _ => user_agent.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_recognised_by_its_youngest_name() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(browser_name(chrome), "Chrome on Linux");
        assert_eq!(browser_name("curl/8.0"), "curl/8.0");
        assert_eq!(browser_name(""), "unknown browser");
    }
}
