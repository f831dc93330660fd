//! The form of a question: its fields, what a record fills into them, and the question they make.
//!
//! Invariant: what is left open is unknown, and unknown helps least; where a recorded decision is the base, what nobody
//! touched is what was recorded.

use std::sync::Arc;

use audit::Column;
use model::decision::{LOCAL_OPERATOR, StepUpContext};
use model::facts::{AuthFacts, DeviceFacts, NEVER_SECS, PostureFact};
use model::{AccessRequest, Action, App, Facts, Principal, ResourceRef, Timestamp, UserEntry};
use pages::console::{Choice, FieldError, FilterField};

use super::super::text::shown;
use super::super::visit::Visit;
use crate::control::Past;
use crate::control::standing::{fresh_facts, method};

/// The most of a value that is looked at.
const MAX_VALUE_BYTES: usize = 2_048;

/// A field of the form.
pub(super) struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    /// Before anything is typed.
    start: &'static str,
    choices: &'static [(&'static str, &'static str)],
}

const fn text(name: &'static str, label: &'static str, hint: &'static str, start: &'static str) -> Field {
    Field { name, label, hint, start, choices: &[] }
}

const fn posture(name: &'static str, label: &'static str) -> Field {
    Field { name, label, hint: "", start: "", choices: &[("", "unknown"), ("yes", "yes"), ("no", "no")] }
}

impl Field {
    /// Who does what.
    pub(super) const QUESTION: &'static [Field] = &[
        text("who", "Who", "address, id, anonymous or local-operator", ""),
        text("app", "App", "its name", ""),
        text("route", "Route", "its name; empty: the one of the path", ""),
        text("action", "Action", "e.g. http.get, http.delete", "http.get"),
        text("path", "Path", "as the app sees it", "/"),
    ];
    /// How they come.
    pub(super) const CONTEXT: &'static [Field] = &[
        Field {
            name: "auth",
            label: "Signed in with",
            hint: "",
            start: "passkey",
            choices: &[
                ("passkey", "a passkey on one device"),
                ("synced", "a synced passkey"),
                ("mfa", "two factors, no passkey"),
                ("password", "one factor"),
                ("none", "nothing: not signed in"),
            ],
        },
        text("auth_age", "Signed in, seconds ago", "a number", "0"),
        text("step_up_age", "Confirmed, seconds ago", "empty: never", ""),
        text("ip", "Address", "for named networks, e.g. 192.0.2.7", ""),
        text("country", "Country", "two letters; empty: unknown", ""),
        text("risk", "Risk points", "0 to 100; empty: unknown", ""),
        text("time", "Time", "2026-01-31T08:00:00Z; empty: now", ""),
    ];
    /// Their device.
    pub(super) const DEVICE: &'static [Field] = &[
        posture("device", "Enrolled"),
        posture("managed", "Managed"),
        posture("encrypted", "Disk encrypted"),
        posture("compliant", "Compliant"),
        posture("os_patched", "System patched"),
        posture("firewall", "Firewall on"),
        posture("screen_lock", "Screen lock on"),
        posture("edr", "Endpoint detection on"),
        text("device_age", "Seen, seconds ago", "a number", "10"),
        text("device_level", "Evidence level", "0 to 3", "1"),
    ];
}

fn all() -> impl Iterator<Item = &'static Field> {
    Field::QUESTION.iter().chain(Field::CONTEXT).chain(Field::DEVICE)
}

/// Values by the name of their field.
pub(super) type Values = Vec<(&'static str, String)>;

/// What was typed, with the start of every field nobody touched.
pub(super) fn typed(visit: &Visit<'_>) -> Values {
    let is_asked = !visit.asked("ask").is_empty();
    all()
        .map(|field| {
            let value = visit.asked(field.name).trim();
            // A link names only what differs; the form sends every field.
            let is_start =
                value.is_empty() && (!is_asked || matches!(field.name, "auth" | "auth_age" | "action" | "path"));
            (field.name, if is_start { field.start.to_owned() } else { value.chars().take(MAX_VALUE_BYTES).collect() })
        })
        .collect()
}

/// Before anything is typed.
pub(super) fn starts() -> Values {
    all().map(|field| (field.name, field.start.to_owned())).collect()
}

/// A recorded decision that a question starts from.
pub(super) struct Base {
    pub(super) past: Past,
    /// The form as it is filled in from it.
    pub(super) values: Values,
}

impl Base {
    /// Fills in the form from the facts of the decision.
    pub(super) fn new(past: Past, mut values: Values) -> Self {
        let mut set = |name: &str, value: String| {
            if let Some((_, slot)) = values.iter_mut().find(|(key, _)| *key == name) {
                *slot = value;
            }
        };
        let (request, record) = (&past.request, &past.record);
        set("who", request.principal.to_string());
        set("app", request.resource.app.to_string());
        set("route", request.resource.route.as_ref().map(ToString::to_string).unwrap_or_default());
        set("action", request.action.as_str().to_owned());
        set("path", record.text(Column::UrlPath).unwrap_or("/").to_owned());
        set("ip", record.text(Column::SrcIp).unwrap_or_default().to_owned());
        set("time", record.time().to_string());
        let Facts { auth, device, net, risk, .. } = &request.facts;
        let age = |secs: i64| if secs >= NEVER_SECS { String::new() } else { secs.to_string() };
        set("auth", way_in(auth).to_owned());
        set("auth_age", age(auth.auth_age_secs));
        set("step_up_age", age(auth.step_up_age_secs));
        set("country", net.country.clone());
        set("risk", if risk.known { risk.points.to_string() } else { String::new() });
        set("device", if device.known { "yes" } else { "" }.to_owned());
        for (name, fact) in postures(device) {
            let word = match fact {
                fact if *fact == PostureFact::UNKNOWN => "",
                fact if fact.ok => "yes",
                _ => "no",
            };
            set(name, word.to_owned());
        }
        if let Some((_, seen)) = postures(device).into_iter().find(|(_, fact)| **fact != PostureFact::UNKNOWN) {
            set("device_age", age(seen.age_secs));
            set("device_level", seen.level.to_string());
        }
        Self { past, values }
    }
}

fn way_in(auth: &AuthFacts) -> &'static str {
    match auth {
        auth if !auth.authenticated => "none",
        auth if auth.phishing_resistant && auth.passkey_synced => "synced",
        auth if auth.phishing_resistant => "passkey",
        auth if auth.mfa => "mfa",
        _ => "password",
    }
}

/// What is known of a device, by the name of its field.
fn postures(device: &DeviceFacts) -> [(&'static str, &PostureFact); 7] {
    [
        ("managed", &device.managed),
        ("encrypted", &device.encrypted),
        ("compliant", &device.compliant),
        ("os_patched", &device.os_patched),
        ("firewall", &device.firewall),
        ("screen_lock", &device.screen_lock),
        ("edr", &device.edr),
    ]
}

/// The fields of a group with their values and problems.
pub(super) fn fields(
    visit: &Visit<'_>,
    group: &'static [Field],
    values: &[(&'static str, String)],
    errors: &[FieldError],
) -> Vec<FilterField> {
    let make = |field: &'static Field| {
        let value = value_of(values, field.name).to_owned();
        let problem = errors.iter().find(|error| error.field == field.name).map(|error| error.message.clone());
        FilterField {
            name: field.name,
            label: field.label,
            hint: field.hint,
            choices: choices(visit, field, &value),
            value,
            problem,
        }
    };
    group.iter().map(make).collect()
}

fn choices(visit: &Visit<'_>, field: &Field, value: &str) -> Vec<Choice> {
    let choice =
        |text: &str, word: &str| Choice { value: word.to_owned(), text: shown(text), is_chosen: word == value };
    let mut choices: Vec<Choice> = match field.name {
        "app" => {
            let none = choice("choose one", "");
            std::iter::once(none)
                .chain(visit.published().apps.iter().map(|app| choice(&app.title, app.name.as_str())))
                .collect()
        }
        "action" => Action::ALL.iter().map(|action| choice(action.as_str(), action.as_str())).collect(),
        _ => field.choices.iter().map(|(word, text)| choice(text, word)).collect(),
    };
    if !choices.is_empty() && !choices.iter().any(|choice| choice.is_chosen) {
        choices.push(Choice { value: value.to_owned(), text: shown(value), is_chosen: true });
    }
    choices
}

fn value_of<'a>(values: &'a [(&'static str, String)], name: &str) -> &'a str {
    values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

/// A question that can be asked.
pub(super) struct Asked {
    pub(super) request: AccessRequest,
    pub(super) at: Timestamp,
    /// Part of the path is masked in the record it came from.
    pub(super) is_masked: bool,
    pub(super) user: Option<Arc<UserEntry>>,
    pub(super) app: Arc<App>,
}

/// Collects problems instead of stopping at the first, so that all are shown at once.
struct Reader<'a> {
    values: &'a [(&'static str, String)],
    base: Option<&'a Base>,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    /// Whether one of the fields says something else than the recorded decision; without one, each counts.
    fn is_touched(&self, fields: &[&str]) -> bool {
        let base = self.base.map(|base| base.values.as_slice());
        base.is_none_or(|base| fields.iter().any(|field| value_of(self.values, field) != value_of(base, field)))
    }

    fn wrong(&mut self, field: &str, message: impl ToString) {
        self.errors.push(FieldError { field: field.to_owned(), message: shown(&message.to_string()) });
    }

    fn number(&mut self, field: &str, most: i64, open: i64) -> i64 {
        let value = value_of(self.values, field);
        if value.is_empty() {
            return open;
        }
        match value.parse::<i64>() {
            Ok(number) if (0..=most).contains(&number) => number,
            _ => {
                self.wrong(field, format!("`{value}` is not a number from 0 to {most}"));
                open
            }
        }
    }

    fn posture(&mut self, field: &str, (age_secs, level): (i64, i64), fact: &mut PostureFact) {
        if self.is_touched(&[field, "device_age", "device_level"]) {
            *fact = match self.yes(field) {
                Some(ok) => PostureFact { ok, age_secs, level },
                None => PostureFact::UNKNOWN,
            };
        }
    }

    fn yes(&mut self, field: &str) -> Option<bool> {
        match value_of(self.values, field) {
            "" => None,
            "yes" => Some(true),
            "no" => Some(false),
            other => {
                let message = format!("`{other}` is not yes, no or empty");
                self.wrong(field, message);
                None
            }
        }
    }
}

impl Asked {
    /// Reads the form.
    ///
    /// # Errors
    /// Everything that was not understood, at its field.
    pub(super) fn read(
        visit: &Visit<'_>,
        values: &[(&'static str, String)],
        base: Option<&Base>,
    ) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader { values, base, errors: Vec::new() };
        let value = |name| value_of(values, name);
        let at = reader.time(visit.now());
        let (principal, user) = reader.who(visit);
        let app = visit.published().apps.iter().find(|app| app.name.as_str() == value("app")).cloned();
        if app.is_none() {
            reader.wrong("app", format!("there is no app `{}`", value("app")));
        }
        let action = value("action").parse::<Action>().map_err(|error| reader.wrong("action", error)).ok();
        let route = match base.filter(|_| !reader.is_touched(&["app", "route", "path"])) {
            Some(base) => base.past.request.resource.route.clone(),
            None => app.as_ref().and_then(|app| route(app, value("route"), value("path"))),
        };
        if route.is_none() && !value("route").is_empty() {
            reader.wrong("route", format!("the app has no route `{}`", value("route")));
        }
        let facts = facts(&mut reader, visit, app.as_deref(), at, action);
        let is_masked = base.is_some_and(|base| base.past.is_masked()) && !reader.is_touched(&["path"]);
        match (app, action, reader.errors.is_empty()) {
            (Some(app), Some(action), true) => {
                let resource = ResourceRef { app: app.name.clone(), route: route.clone() };
                let mut facts = facts;
                facts.request.route = route.map(|route| route.to_string()).unwrap_or_default();
                let is_read = matches!(action, Action::HttpGet | Action::HttpHead);
                let request = AccessRequest {
                    is_public_path: is_read && app.public_paths.contains(&facts.request.path),
                    principal,
                    action,
                    resource,
                    facts,
                    session_ends: None,
                    step_up: base.map_or_else(StepUpContext::browser, |base| base.past.request.step_up.clone()),
                };
                Ok(Self { request, at, is_masked, user, app })
            }
            _ => Err(reader.errors),
        }
    }
}

impl Reader<'_> {
    /// When it is asked for.
    fn time(&mut self, now: Timestamp) -> Timestamp {
        match (self.base.filter(|_| !self.is_touched(&["time"])), value_of(self.values, "time")) {
            (Some(base), _) => base.past.time(),
            (None, "") => now,
            (None, time) => Timestamp::parse_rfc3339(time).unwrap_or_else(|| {
                self.wrong("time", format!("`{time}` is not a time; give one like 2026-01-31T08:00:00Z"));
                now
            }),
        }
    }

    /// Who asks, and the person behind it.
    fn who(&mut self, visit: &Visit<'_>) -> (Principal, Option<Arc<UserEntry>>) {
        let who = value_of(self.values, "who");
        let user = visit.published().directory.find(who).cloned();
        let principal = match (self.base.filter(|_| !self.is_touched(&["who"])), who, &user) {
            (Some(base), ..) => base.past.request.principal.clone(),
            (None, "anonymous", _) => Principal::Anonymous,
            (None, LOCAL_OPERATOR, _) => Principal::Workload(Arc::from(LOCAL_OPERATOR)),
            (None, _, Some(user)) => Principal::User(user.id),
            (None, who, None) => {
                let message = format!("`{who}` is nobody known; give an address, an id, anonymous or local-operator");
                self.wrong("who", message);
                Principal::Anonymous
            }
        };
        (principal, user)
    }
}

/// The named route, or the one a door would find for the path.
fn route(app: &App, name: &str, path: &str) -> Option<model::RouteName> {
    let is_below = |prefix: &str| {
        prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = match name {
        "" => app.routes.iter().find(|route| is_below(&route.path_prefix)),
        name => app.routes.iter().find(|route| route.name.as_str() == name),
    };
    found.map(|route| route.name.clone())
}

fn facts(
    reader: &mut Reader<'_>,
    visit: &Visit<'_>,
    app: Option<&App>,
    at: Timestamp,
    action: Option<Action>,
) -> Facts {
    let values = reader.values;
    let mut facts = reader.base.map_or_else(|| fresh_facts(at), |base| base.past.request.facts.clone());
    if reader.base.is_none() || reader.is_touched(&["time"]) {
        facts.request.tell_time(at, visit.published().time_zone(), app);
    }
    if reader.is_touched(&["auth", "auth_age", "step_up_age"]) {
        auth(reader, at, &mut facts);
    }
    device(reader, &mut facts);
    surroundings(reader, visit, &mut facts);
    if reader.is_touched(&["path"]) {
        let path = value_of(values, "path");
        path.clone_into(&mut facts.request.path);
        path.clone_into(&mut facts.request.original_path);
        facts.request.segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    }
    if reader.is_touched(&["action"]) {
        facts.request.method = method(action).to_owned();
    }
    if reader.is_touched(&["app"]) {
        facts.request.host = app.and_then(|app| app.hosts.first()).map(ToString::to_string).unwrap_or_default();
    }
    facts
}

/// How they signed in.
fn auth(reader: &mut Reader<'_>, at: Timestamp, facts: &mut Facts) {
    let auth_age = reader.number("auth_age", NEVER_SECS, 0);
    let step_up_age = reader.number("step_up_age", NEVER_SECS, NEVER_SECS);
    let way = value_of(reader.values, "auth");
    if reader.is_touched(&["auth"]) {
        let fresh = fresh_facts(at);
        (facts.auth, facts.session) = (fresh.auth, fresh.session);
        let (acr, mfa, phishing_resistant) = match way {
            "passkey" | "synced" => ("phr", true, true),
            "mfa" => ("urn:countersign:acr:mfa", true, false),
            "password" | "none" => ("", false, false),
            other => {
                reader.wrong("auth", format!("`{other}` is not a way to sign in"));
                ("", false, false)
            }
        };
        facts.auth.acr = acr.to_owned();
        facts.auth.mfa = mfa;
        facts.auth.phishing_resistant = phishing_resistant;
        facts.auth.passkey_synced = way == "synced";
    }
    if way == "none" {
        let unknown = Facts::unknown();
        (facts.auth, facts.session) = (unknown.auth, unknown.session);
        return;
    }
    facts.auth.auth_age_secs = auth_age.min(step_up_age);
    facts.auth.step_up_age_secs = step_up_age;
}

fn device(reader: &mut Reader<'_>, facts: &mut Facts) {
    let seen = (reader.number("device_age", NEVER_SECS, NEVER_SECS), reader.number("device_level", 3, 0));
    let device = &mut facts.device;
    if reader.is_touched(&["device"]) {
        device.known = reader.yes("device").unwrap_or(false);
        device.owner_is_principal = device.known;
    }
    reader.posture("managed", seen, &mut device.managed);
    reader.posture("encrypted", seen, &mut device.encrypted);
    reader.posture("compliant", seen, &mut device.compliant);
    reader.posture("os_patched", seen, &mut device.os_patched);
    reader.posture("firewall", seen, &mut device.firewall);
    reader.posture("screen_lock", seen, &mut device.screen_lock);
    reader.posture("edr", seen, &mut device.edr);
}

/// Network, country and risk.
fn surroundings(reader: &mut Reader<'_>, visit: &Visit<'_>, facts: &mut Facts) {
    match value_of(reader.values, "ip") {
        _ if !reader.is_touched(&["ip"]) => {}
        "" => facts.net.zones.clear(),
        text => match text.parse::<std::net::IpAddr>() {
            Ok(address) => {
                let apps = visit.published().apps.iter();
                let rules = apps.flat_map(|app| {
                    app.access.iter().chain(app.routes.iter().filter_map(|route| route.access.as_ref()))
                });
                let networks = rules.flat_map(|rules| rules.networks()).filter(|network| network.contains(address));
                facts.net.zones = networks.map(|network| network.zone()).collect();
            }
            Err(_) => {
                let message = format!("`{text}` is not an address");
                reader.wrong("ip", message);
            }
        },
    }
    let country = value_of(reader.values, "country").to_ascii_uppercase();
    if reader.is_touched(&["country"]) && country.is_empty() {
        let unknown = Facts::unknown().net;
        (facts.net.country_known, facts.net.country) = (unknown.country_known, unknown.country);
    } else if reader.is_touched(&["country"]) {
        if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            reader.wrong("country", format!("`{country}` is not a code of two letters"));
        }
        facts.net.country_known = true;
        facts.net.country = country;
    }
    if reader.is_touched(&["risk"]) && value_of(reader.values, "risk").is_empty() {
        facts.risk = Facts::unknown().risk;
    } else if reader.is_touched(&["risk"]) {
        facts.risk.points = reader.number("risk", 100, 100);
        facts.risk.known = true;
        facts.risk.age_secs = 0;
    }
}
