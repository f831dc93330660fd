//! The form of a question: its fields, what a record fills into them, and the question they make.
//!
//! Invariant: what is left open is unknown, and unknown helps least.

use audit::{Column, StoredRecord, Value, render};
use model::decision::{LOCAL_OPERATOR, StepUpContext};
use model::facts::{NEVER_SECS, PostureFact};
use model::{AccessRequest, Action, App, Explanation, Facts, Principal, ResourceRef, Timestamp, UserEntry};
use pages::console::{Choice, FieldError, FilterField};

use super::super::reach::fresh_facts;
use super::super::text::shown;
use super::super::visit::Visit;

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
type Values = Vec<(&'static str, String)>;

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

/// The same with what a record knows.
pub(super) fn of_record(record: &StoredRecord, mut values: Values) -> Values {
    let mut set = |name: &str, value: String| {
        if let Some((_, slot)) = values.iter_mut().find(|(key, _)| *key == name) {
            *slot = value;
        }
    };
    let column = |column| render::plain(record, column);
    let who = match record.subject_id() {
        Some(id) => id.to_string(),
        None => record.text(Column::Subject).unwrap_or("anonymous").to_owned(),
    };
    set("who", who);
    set("app", column(Column::App));
    set("route", column(Column::Route));
    set("action", column(Column::Action));
    set("path", record.text(Column::UrlPath).unwrap_or("/").to_owned());
    set("ip", record.text(Column::SrcIp).unwrap_or_default().to_owned());
    let acr = record.text(Column::Acr).unwrap_or_default();
    let auth = match acr {
        "" if record.get(Column::SessionId).is_none() => "none",
        "phr" | "phrh" => "passkey",
        acr if acr.ends_with("mfa") => "mfa",
        _ => "password",
    };
    set("auth", auth.to_owned());
    if let Some(Value::Time(proven)) = record.get(Column::AuthTime) {
        set("auth_age", record.time().age_secs(*proven).to_string());
    }
    set("time", record.time().to_string());
    values
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
    user: Option<std::sync::Arc<UserEntry>>,
    app: std::sync::Arc<App>,
}

/// Collects problems instead of stopping at the first, so that all are shown at once.
struct Reader<'a> {
    values: &'a [(&'static str, String)],
    errors: Vec<FieldError>,
}

impl Reader<'_> {
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

    fn posture(&mut self, field: &str, (age_secs, level): (i64, i64)) -> PostureFact {
        match self.yes(field) {
            Some(ok) => PostureFact { ok, age_secs, level },
            None => PostureFact::UNKNOWN,
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
    pub(super) fn read(visit: &Visit<'_>, values: &[(&'static str, String)]) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader { values, errors: Vec::new() };
        let value = |name| value_of(values, name);
        let published = visit.published();
        let at = match value("time") {
            "" => visit.now(),
            time => Timestamp::parse_rfc3339(time).unwrap_or_else(|| {
                reader.wrong("time", format!("`{time}` is not a time; give one like 2026-01-31T08:00:00Z"));
                visit.now()
            }),
        };
        let user = published.directory.find(value("who")).cloned();
        let principal = match (value("who"), &user) {
            ("anonymous", _) => Principal::Anonymous,
            (LOCAL_OPERATOR, _) => Principal::Workload(std::sync::Arc::from(LOCAL_OPERATOR)),
            (_, Some(user)) => Principal::User(user.id),
            (who, None) => {
                reader.wrong(
                    "who",
                    format!("`{who}` is nobody known; give an address, an id, anonymous or local-operator"),
                );
                Principal::Anonymous
            }
        };
        let app = published.apps.iter().find(|app| app.name.as_str() == value("app")).cloned();
        if app.is_none() {
            reader.wrong("app", format!("there is no app `{}`", value("app")));
        }
        let action = value("action").parse::<Action>().map_err(|error| reader.wrong("action", error)).ok();
        let route = app.as_ref().and_then(|app| route(app, value("route"), value("path")));
        if route.is_none() && !value("route").is_empty() {
            reader.wrong("route", format!("the app has no route `{}`", value("route")));
        }
        let facts = facts(&mut reader, visit, app.as_deref(), at, action);
        match (app, action, reader.errors.is_empty()) {
            (Some(app), Some(action), true) => {
                let resource = ResourceRef { app: app.name.clone(), route: route.clone() };
                let mut facts = facts;
                facts.request.route = route.map(|route| route.to_string()).unwrap_or_default();
                let request = AccessRequest {
                    is_public_path: action == Action::HttpGet && app.public_paths.contains(value("path")),
                    principal,
                    action,
                    resource,
                    facts,
                    session_ends: None,
                    step_up: StepUpContext::browser(),
                };
                Ok(Self { request, at, user, app })
            }
            _ => Err(reader.errors),
        }
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
    let mut facts = fresh_facts(at);
    let auth_age = reader.number("auth_age", NEVER_SECS, 0);
    let step_up_age = reader.number("step_up_age", NEVER_SECS, NEVER_SECS);
    facts.auth.auth_age_secs = auth_age.min(step_up_age);
    facts.auth.step_up_age_secs = step_up_age;
    let (acr, mfa, phishing_resistant) = match value_of(values, "auth") {
        "passkey" | "synced" => ("phr", true, true),
        "mfa" => ("urn:countersign:acr:mfa", true, false),
        "password" => ("", false, false),
        "none" => {
            facts.auth = Facts::unknown().auth;
            facts.session = Facts::unknown().session;
            ("", false, false)
        }
        other => {
            reader.wrong("auth", format!("`{other}` is not a way to sign in"));
            ("", false, false)
        }
    };
    facts.auth.acr = acr.to_owned();
    facts.auth.mfa = mfa;
    facts.auth.phishing_resistant = phishing_resistant;
    facts.auth.passkey_synced = value_of(values, "auth") == "synced";
    device(reader, &mut facts);
    surroundings(reader, visit, &mut facts);
    let path = value_of(values, "path");
    path.clone_into(&mut facts.request.path);
    path.clone_into(&mut facts.request.original_path);
    facts.request.segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    facts.request.method = method(action).to_owned();
    facts.request.host = app.and_then(|app| app.hosts.first()).map(ToString::to_string).unwrap_or_default();
    facts
}

fn device(reader: &mut Reader<'_>, facts: &mut Facts) {
    let seen = (reader.number("device_age", NEVER_SECS, NEVER_SECS), reader.number("device_level", 3, 0));
    let device = &mut facts.device;
    device.known = reader.yes("device").unwrap_or(false);
    device.owner_is_principal = device.known;
    device.managed = reader.posture("managed", seen);
    device.encrypted = reader.posture("encrypted", seen);
    device.compliant = reader.posture("compliant", seen);
    device.os_patched = reader.posture("os_patched", seen);
    device.firewall = reader.posture("firewall", seen);
    device.screen_lock = reader.posture("screen_lock", seen);
    device.edr = reader.posture("edr", seen);
}

/// Network, country and risk.
fn surroundings(reader: &mut Reader<'_>, visit: &Visit<'_>, facts: &mut Facts) {
    match value_of(reader.values, "ip") {
        "" => {}
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
    if !country.is_empty() {
        if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
            reader.wrong("country", format!("`{country}` is not a code of two letters"));
        }
        facts.net.country_known = true;
        facts.net.country = country;
    }
    if !value_of(reader.values, "risk").is_empty() {
        facts.risk.points = reader.number("risk", 100, 100);
        facts.risk.known = true;
        facts.risk.age_secs = 0;
    }
}

fn method(action: Option<Action>) -> &'static str {
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

/// The answer as a policy test, ready to be put into a file.
pub(super) fn policy_test(visit: &Visit<'_>, asked: &Asked, explanation: &Explanation) -> String {
    let decision = &explanation.decision;
    let quoted = render::quoted;
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let groups = asked
        .user
        .as_ref()
        .map(|user| user.groups.iter().map(|group| quoted(group.as_str())).collect())
        .unwrap_or_default();
    let user = asked.user.as_ref().map_or_else(|| asked.request.principal.to_string(), |user| user.email.clone());
    let app = asked.app.name.as_str();
    let route = asked.request.resource.route.as_ref().map_or_else(|| app.to_owned(), |route| format!("{app}/{route}"));
    let mut facts: Vec<(String, String)> = Vec::new();
    for fact in explanation.policies.iter().flat_map(|part| &part.facts) {
        if let Some(path) = fact.path.strip_prefix("context.") {
            facts.push((path.to_owned(), fact.value.clone()));
        }
    }
    facts.sort();
    facts.dedup();
    let facts: Vec<String> = facts.iter().map(|(path, value)| format!("{path}: {value}")).collect();
    let by = decision.policies.iter().map(|policy| quoted(&policy.id)).collect();
    let fix = decision.fix.iter().map(|fix| fix.remedy.as_str().to_owned()).collect();
    let name = format!("{user} {} {route} at {}", asked.request.action, visit.now());
    format!(
        "apiVersion: countersign/v1\nkind: PolicyTest\nmetadata: {{ name: {app} }}\nspec:\n  given: {{ principal: {{ user: {}, groups: {} }}, action: {}, resource: {{ route: {}, in: [{app}], sensitivity: {} }}, facts: clean }}\n  table:\n    - {{ name: {}, facts: {{ {} }}, want: {}, by: {}, fix: {} }}\n",
        quoted(&user),
        list(groups),
        asked.request.action,
        quoted(&route),
        asked.app.effective_sensitivity().as_str(),
        quoted(&name),
        facts.join(", "),
        decision.effect,
        list(by),
        list(fix),
    )
}
