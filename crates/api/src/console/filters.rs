//! The filters of the record as fields of a form. Names and meaning are those of the command line and the API; what is
//! typed goes through the same parser (AUD-1).

use model::record::RecordType;
use model::{Action, Effect, Reason};
use pages::console::{Choice, FieldError, FilterField};

use super::text::url;
use super::visit::Visit;

/// How many rows a page has unless asked otherwise (UI-5).
pub(super) const ROWS: &str = "50";
/// How many it can have.
pub(super) const MAX_ROWS: usize = 200;
/// Asked for beside the filters.
const COUNT: &str = "count";
/// Whether reads of the product's own files are shown too.
pub(super) const ALL: &str = "all";

/// Filters shown first, then the others: name, label, hint.
const FIRST: &[(&str, &str, &str)] = &[
    ("who", "Who", "address, id, local-operator or anonymous"),
    ("what", "What", "app or resource, e.g. payroll"),
    ("effect", "Answer", ""),
    ("since", "Since", "7d, 12h, or 2026-01-31T08:00:00Z; default 24h"),
];
const MORE: &[(&str, &str, &str)] = &[
    ("until", "Until", "a time or an age"),
    ("app", "App", ""),
    ("action", "Action", ""),
    ("reason", "Reason", ""),
    ("type", "Type of record", ""),
    ("door", "Door", ""),
    ("ip", "Network or address", "192.0.2.0/24; narrower needs audit.read_sealed"),
    ("session", "Session", "ses_…"),
    ("credential", "Credential", "its public handle"),
    ("policy", "Policy", "file or file/id"),
    ("label", "Label", "data label of the app"),
    ("country", "Country", "nothing brings it yet, so it matches nothing"),
    ("grant", "Grant", "nothing brings it yet, so it matches nothing"),
    ("access", "Request id", "from a page or a response"),
    ("trace", "Trace id", "32 hex digits"),
    ("limit", "Rows", "25 to 200"),
    (ALL, "Our own files", "styles, scripts and published keys; exports always have them"),
];

/// The filters of this request, as the parser takes them.
pub(super) fn of(visit: &Visit<'_>) -> Vec<(String, String)> {
    let mut filters = visit.query();
    filters.retain(|(name, _)| name != COUNT);
    if !filters.iter().any(|(name, _)| name == "limit") {
        filters.push(("limit".to_owned(), ROWS.to_owned()));
    }
    if !filters.iter().any(|(name, _)| name == ALL) {
        filters.push((ALL.to_owned(), "no".to_owned()));
    }
    filters
}

/// Whether the number of all matches was asked for.
pub(super) fn counts(visit: &Visit<'_>) -> bool {
    !visit.asked(COUNT).is_empty()
}

/// The address of the same list with `name` set to `value`, or without it.
pub(super) fn with(path: &str, filters: &[(String, String)], name: &str, value: &str) -> String {
    let is_default = |key: &str, found: &str| (key == "limit" && found == ROWS) || (key == ALL && found == "no");
    let kept = filters.iter().filter(|(key, found)| key != name && !is_default(key, found));
    url(path, kept.map(|(key, found)| (key.as_str(), found.as_str())).chain([(name, value)]))
}

/// The address of the count.
pub(super) fn count_url(filters: &[(String, String)]) -> String {
    with("/console/access", filters, COUNT, "yes")
}

/// The form's fields, with what was typed; the second set is shown on demand.
pub(super) fn fields(visit: &Visit<'_>, errors: &[FieldError]) -> (Vec<FilterField>, Vec<FilterField>) {
    let make = |(name, label, hint): &(&'static str, &'static str, &'static str)| {
        let value = visit.asked(name).to_owned();
        let problem = errors.iter().find(|error| error.field == *name).map(|error| error.message.clone());
        FilterField { name, label, hint, choices: choices(visit, name, &value), value, problem }
    };
    (FIRST.iter().map(make).collect(), MORE.iter().map(make).collect())
}

/// Whether one of the second set is in use.
pub(super) fn has_more_set(visit: &Visit<'_>) -> bool {
    MORE.iter().any(|(name, ..)| !visit.asked(name).is_empty())
}

/// A refusal of the parser, at its field. The words are the parser's: the command line prints the same.
pub(super) fn error(message: &str) -> FieldError {
    let known = FIRST.iter().chain(MORE).map(|(name, ..)| *name);
    let field = known.into_iter().find(|name| message.contains(&format!("`{name}`"))).unwrap_or("who");
    FieldError { field: field.to_owned(), message: super::text::shown(message) }
}

fn choices(visit: &Visit<'_>, name: &str, value: &str) -> Vec<Choice> {
    if name == ALL {
        let choice = |taken: &str, text: &str| Choice {
            value: taken.to_owned(),
            text: text.to_owned(),
            is_chosen: taken == value || (taken.is_empty() && value != "yes"),
        };
        return vec![choice("", "left out"), choice("yes", "shown")];
    }
    let words: Vec<String> = match name {
        "action" => Action::ALL.iter().map(|action| action.as_str().to_owned()).collect(),
        "app" => visit.published().apps.iter().map(|app| app.name.to_string()).collect(),
        "door" => ["http", "control", "system", "audit"].map(str::to_owned).to_vec(),
        "effect" => [Effect::Allow, Effect::Deny, Effect::StepUp].map(|effect| effect.as_str().to_owned()).to_vec(),
        "reason" => Reason::ALL.iter().map(|reason| reason.audit_code().to_owned()).collect(),
        "type" => RecordType::ALL.iter().map(|kind| kind.as_str().to_owned()).collect(),
        _ => return Vec::new(),
    };
    let mut choices = vec![Choice { value: String::new(), text: "any".to_owned(), is_chosen: value.is_empty() }];
    let is_known = words.iter().any(|word| word.eq_ignore_ascii_case(value));
    let word = |word: String| Choice { is_chosen: word.eq_ignore_ascii_case(value), text: word.clone(), value: word };
    choices.extend(words.into_iter().map(word));
    if !value.is_empty() && !is_known {
        // What was typed stays, also when it is nothing that exists.
        choices.push(Choice { value: value.to_owned(), text: super::text::shown(value), is_chosen: true });
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_form_has_every_filter_that_the_command_line_has() {
        let shown: BTreeSet<&str> = FIRST.iter().chain(MORE).map(|(name, ..)| *name).chain(["before"]).collect();
        let known: BTreeSet<&str> = audit::query::FILTERS.iter().copied().collect();
        assert_eq!(shown, known, "`before` is the pager's");
    }

    #[test]
    fn what_a_list_leaves_out_is_where_our_files_are() {
        assert!(audit::query::OWN_FILES.contains(&pages::assets::PREFIX));
    }
}
