//! The launchpad (UI-3): the apps the engine lets a person open, and where they are signed in.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::app::HostPattern;
use model::seams::ReservedContext;
use model::{AccessRequest, Action, App, Effect, Facts, ResourceRef, Session};

use super::Portal;
use super::answers::{page, see_other};

impl Portal {
    pub(super) fn launchpad(&self, context: &ReservedContext) -> Response<Bytes> {
        let Some(session) = &context.session else { return see_other("/login") };
        let published = self.control().published();
        let mut tiles: Vec<pages::Tile> = published
            .apps
            .iter()
            .filter(|app| !app.is_control_plane())
            .filter_map(|app| self.tile(context, session, app))
            .collect();
        tiles.sort_by(|a, b| a.title.cmp(&b.title));
        let identity = published.directory.users.get(&session.user).map_or_else(String::new, |u| u.email.clone());
        let sessions = self.control().sessions.sessions();
        let rows = sessions.iter().filter(|other| other.user == session.user && !other.is_expired(context.now));
        let launchpad = pages::Launchpad {
            identity,
            tiles,
            sessions: rows.map(|other| row(other, session)).collect(),
            token: self.form_token(session.id),
        };
        page(StatusCode::OK, launchpad.render())
    }

    /// Asks the engine about the app's front page, as the person is now; nothing listed is then refused.
    fn tile(&self, context: &ReservedContext, session: &Session, app: &App) -> Option<pages::Tile> {
        let HostPattern::Exact(host) = app.hosts.iter().find(|host| matches!(host, HostPattern::Exact(_)))? else {
            return None;
        };
        let route = app.routes.iter().find(|route| route.path_prefix == "/").or_else(|| app.routes.last())?;
        let mut facts = Facts::unknown();
        facts.auth = session.auth_facts(&app.name, Action::HttpGet, context.now);
        facts.session = session.session_facts(context.now);
        facts.request.door = "http".to_owned();
        facts.request.method = "GET".to_owned();
        facts.request.host = host.clone();
        facts.request.path = route.path_prefix.clone();
        facts.request.original_path = route.path_prefix.clone();
        facts.request.segments = segments(&route.path_prefix);
        facts.request.route = route.name.to_string();
        facts.request.epoch_secs = context.now.unix_secs();
        (facts.request.minute_of_day, facts.request.weekday) = context.now.minute_and_weekday();
        let question = AccessRequest {
            principal: context.principal.clone(),
            action: Action::HttpGet,
            resource: ResourceRef { app: app.name.clone(), route: Some(route.name.clone()) },
            facts,
            is_public_path: false,
            session_ends: Some(session.ends_at()),
        };
        let decision = self.control().published().pdp.decide(&question, context.now);
        let hint = match decision.effect {
            Effect::Allow => None,
            Effect::StepUp => Some("Will ask for your passkey".to_owned()),
            Effect::Deny => return None,
        };
        let port = self.control().settings.public_port;
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        let url = format!("https://{authority}{}", route.path_prefix);
        Some(pages::Tile { title: app.title.clone(), host: host.clone(), url, hint })
    }
}

fn segments(path: &str) -> BTreeSet<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn row(session: &Session, current: &Session) -> pages::SessionRow {
    let user_agent =
        if session.user_agent.is_empty() { "unknown browser".to_owned() } else { session.user_agent.clone() };
    pages::SessionRow {
        id: session.id.to_string(),
        user_agent,
        network: session.src_net.clone(),
        since: session.created.to_string(),
        last_used: session.last_active.to_string(),
        is_current: session.id == current.id,
    }
}
