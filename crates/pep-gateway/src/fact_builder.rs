//! What a door knows about a request, as policy facts (GW-27).
//!
//! Invariant: starts from [`Facts::unknown`], so a fact nobody brings keeps the value that helps least.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http_gate::CanonicalRequest;
use model::access::ADDRESS_KNOWN;
use model::facts::RequestFacts;
use model::{AccessRequest, Action, App, AppName, Facts, Session, TimeZone, Timestamp};

use crate::connection::ConnectionInfo;

/// How many path segments and context headers enter the facts; longer lists are cut, and a rule that needs what was
/// cut does not hold. The gate's target limit allows 8 Ki segments.
const SEGMENTS_MAX: usize = 256;

/// What of the request enters the facts.
pub(crate) struct RequestView<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// After any rewrite.
    pub(crate) path: &'a str,
    /// Before it.
    pub(crate) original_path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) is_websocket: bool,
    /// `name=value` of the headers the app names.
    pub(crate) headers: BTreeSet<String>,
    pub(crate) door: &'static str,
    /// The labels of the client's address.
    pub(crate) zones: BTreeSet<String>,
}

/// What time it is: on the clock of the policies, and on those the app's rules name.
#[derive(Clone, Copy)]
pub(crate) struct LocalTime<'a> {
    pub(crate) now: Timestamp,
    pub(crate) zone: &'a TimeZone,
    pub(crate) app: &'a App,
}

/// The facts of a request.
pub(crate) fn build(
    view: RequestView<'_>,
    connection: &ConnectionInfo,
    session: Option<(&Session, &AppName, Action)>,
    clock: LocalTime<'_>,
) -> Facts {
    let now = clock.now;
    let mut facts = Facts::unknown();
    facts.net.zones = view.zones;
    facts.request = RequestFacts {
        door: view.door.to_owned(),
        method: view.method.to_owned(),
        host: view.host.to_owned(),
        path: view.path.to_owned(),
        original_path: view.original_path.to_owned(),
        segments: segments(view.path),
        route: view.route.to_owned(),
        headers: view.headers,
        grpc_service: String::new(),
        grpc_method: String::new(),
        websocket: view.is_websocket,
        port: i64::from(connection.public_port),
        tls_version: connection.tls.as_ref().map(|tls| tls.version.to_owned()).unwrap_or_default(),
        tls_pq: connection.tls.as_ref().is_some_and(|tls| tls.is_post_quantum),
        ..facts.request
    };
    facts.request.tell_time(now, clock.zone, Some(clock.app));
    if let Some((session, app, action)) = session {
        facts.auth = session.auth_facts(app, action, now);
        facts.session = session.session_facts(now);
    }
    facts
}

/// What a service token proves: who asks, and nothing that takes a person.
pub(crate) fn add_machine(facts: &mut Facts) {
    facts.auth.authenticated = true;
}

/// The same question at another time: ages, clock and the session as it is now (GW-55).
pub(crate) fn refresh(mut question: AccessRequest, session: Option<&Session>, clock: LocalTime<'_>) -> AccessRequest {
    let now = clock.now;
    question.facts.request.tell_time(now, clock.zone, Some(clock.app));
    let unknown = Facts::unknown();
    match session {
        Some(session) => {
            question.facts.auth = session.auth_facts(&question.resource.app, question.action, now);
            question.facts.session = session.session_facts(now);
            question.session_ends = Some(session.ends_at());
        }
        None => {
            question.facts.auth = unknown.auth;
            question.facts.session = unknown.session;
            question.session_ends = None;
        }
    }
    question
}

/// The labels of an address: that it is known, and each network named by the app's rules that it is in. Policies never
/// parse an address, and never see one.
pub(crate) fn zones(app: &App, client: IpAddr) -> BTreeSet<String> {
    let rules = app.access.iter().chain(app.routes.iter().filter_map(|route| route.access.as_ref()));
    let networks = rules.flat_map(|rules| rules.networks()).filter(|network| network.contains(client));
    networks.map(|network| network.zone()).chain([ADDRESS_KNOWN.to_owned()]).collect()
}

fn segments(path: &str) -> BTreeSet<String> {
    path.split('/').filter(|segment| !segment.is_empty()).take(SEGMENTS_MAX).map(str::to_owned).collect()
}

/// The headers the app lets policies see, each value on its own (GW-27).
pub(crate) fn context_headers(request: &CanonicalRequest, app: &App) -> BTreeSet<String> {
    if app.context_headers.is_empty() {
        return BTreeSet::new();
    }
    request
        .fields()
        .iter()
        .filter(|field| app.context_headers.contains(field.name()))
        .filter_map(|field| std::str::from_utf8(field.value()).ok().map(|value| format!("{}={value}", field.name())))
        .collect()
}
