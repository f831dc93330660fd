//! What somebody may do on the console: the engine's answers for the session as it is now. Screens leave out what a person
//! may not do; the handlers ask again.

use model::app::CONTROL_APP;
use model::seams::ReservedContext;
use model::{AccessRequest, Action, AppName, Effect, Facts, ResourceRef, Session, TimeZone, Timestamp};

use crate::control::Published;

/// The rights screens are made of.
const ASKED: [Action; 4] = [Action::AdminRead, Action::AdminWrite, Action::AuditExport, Action::AuditRead];

/// Which of them are held now.
#[derive(Clone, Debug)]
pub(super) struct Rights(Vec<Action>);

impl Rights {
    /// Asks the engine. STEP_UP counts as held: the door asks for the confirmation when it comes to it.
    pub(super) fn of(published: &Published, context: &ReservedContext, session: &Session, now: Timestamp) -> Self {
        let held = |action: &Action| {
            let question = question(context, session, *action, (now, published.time_zone()));
            published.pdp.decide(&question, now).effect != Effect::Deny
        };
        Self(ASKED.into_iter().filter(held).collect())
    }

    /// Whether an action may be offered and done.
    pub(super) fn may(&self, action: Action) -> bool {
        self.0.contains(&action)
    }
}

fn question(
    context: &ReservedContext,
    session: &Session,
    action: Action,
    (now, zone): (Timestamp, &TimeZone),
) -> AccessRequest {
    let app = AppName::new(CONTROL_APP);
    let mut facts = Facts::unknown();
    facts.auth = session.auth_facts(&app, action, now);
    facts.session = session.session_facts(now);
    facts.request.door = "http".to_owned();
    facts.request.host.clone_from(&context.host);
    facts.request.path = "/console".to_owned();
    facts.request.original_path = "/console".to_owned();
    facts.request.tell_time(now, zone, None);
    AccessRequest {
        principal: context.principal.clone(),
        action,
        resource: ResourceRef { app, route: None },
        facts,
        is_public_path: false,
        session_ends: Some(session.ends_at()),
        step_up: model::decision::StepUpContext::browser(),
    }
}
