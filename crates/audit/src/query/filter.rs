//! The filter and its parser: `key=value` pairs as they come from the command line, the API and the console.

use std::sync::Arc;
use std::time::Duration;

use model::record::RecordType;
use model::{AccessId, Action, DecisionId, Effect, Reason, SessionId, Timestamp, UserId};

use super::range::IpRange;
use super::{DEFAULT_LIMIT, MAX_LIMIT, PAGE_LIMIT, QueryError};
use crate::entry::{Column, SealedAccess, StoredRecord};
use crate::index::{RowKeys, effect_of};

/// Every filter, alphabetically.
pub const FILTERS: &[&str] = &[
    "access",
    "action",
    "all",
    "app",
    "before",
    "country",
    "credential",
    "door",
    "effect",
    "grant",
    "ip",
    "label",
    "limit",
    "policy",
    "reason",
    "session",
    "since",
    "trace",
    "type",
    "until",
    "what",
    "who",
];

/// Paths of the product's own files on every host: what each page of it loads, and what apps poll. Reads of them are in
/// the record like any other, and a list may leave them out.
pub const OWN_FILES: &[&str] = &["/.countersign/assets/", "/.countersign/client.js", "/.countersign/jwks.json"];

/// How far back a query without `since` looks (AUD-1).
const DEFAULT_SINCE: Duration = Duration::from_secs(24 * 3600);

/// A person, or a service by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// Nobody had proven anything.
    Anonymous,
    /// A workload, or `local-operator`.
    Named(Arc<str>),
    /// A person.
    Person(UserId),
}

/// What to look for. Every part that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Who.
    pub who: Option<Who>,
    /// App, or resource.
    pub what: Option<String>,
    /// Action.
    pub action: Option<Action>,
    /// Effect.
    pub effect: Option<Effect>,
    /// Reason.
    pub reason: Option<Reason>,
    /// App.
    pub app: Option<String>,
    /// Door.
    pub door: Option<String>,
    /// Address of the client.
    pub ip: Option<IpRange>,
    /// Country of the client. No record has one yet, so none matches.
    pub country: Option<String>,
    /// Grant that allowed it. No record has one yet, so none matches.
    pub grant: Option<String>,
    /// Session.
    pub session: Option<SessionId>,
    /// Public handle of the credential.
    pub credential: Option<String>,
    /// A policy that decided, or would have in shadow.
    pub policy: Option<String>,
    /// Data label.
    pub label: Option<String>,
    /// Access id.
    pub access_id: Option<AccessId>,
    /// Decision id. [`AuditLog::decision`](crate::AuditLog::decision) asks by it.
    pub decision_id: Option<DecisionId>,
    /// Trace id, ours or the client's.
    pub trace_id: Option<String>,
    /// Type.
    pub kind: Option<RecordType>,
    /// From here on.
    pub since: Option<Timestamp>,
    /// Up to here.
    pub until: Option<Timestamp>,
    /// Only records with a lower sequence number: where the page before this one ended.
    pub before: Option<u64>,
    /// Leave out answered reads of [`OWN_FILES`]; the answer says how many. Whoever asks for one access gets it.
    pub leaves_out_own_files: bool,
    /// At most so many rows; 0 means [`DEFAULT_LIMIT`].
    pub limit: usize,
}

impl Query {
    /// Reads `key`, `value` pairs; `who` is resolved by `people` (name, e-mail address or id). Without `since`, and
    /// without `access`, the last 24 hours are meant.
    ///
    /// # Errors
    /// On the first pair that is not understood; nothing is run then.
    pub fn parse<'a>(
        filters: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
        people: &dyn Fn(&str) -> Option<UserId>,
    ) -> Result<Query, QueryError> {
        let mut query = Query { limit: DEFAULT_LIMIT, ..Query::default() };
        let mut seen: Vec<&'static str> = Vec::new();
        for (key, value) in filters {
            let filter = known_filter(key)?;
            if seen.contains(&filter) {
                return Err(QueryError::Twice(filter));
            }
            seen.push(filter);
            query.set(filter, value, now, people)?;
        }
        if query.since.is_none() && query.access_id.is_none() {
            query.since = Some(query.until.unwrap_or(now).min(now) - DEFAULT_SINCE);
        }
        match (query.since, query.until) {
            (Some(since), Some(until)) if since > until => Err(QueryError::Reversed { since, until }),
            _ => Ok(query),
        }
    }

    fn set(
        &mut self,
        filter: &'static str,
        value: &str,
        now: Timestamp,
        people: &dyn Fn(&str) -> Option<UserId>,
    ) -> Result<(), QueryError> {
        let refuse = |expected: &str| wrong(filter, value, expected);
        if value.is_empty() {
            return Err(refuse("a value; leave the filter out to match everything"));
        }
        let id = |source| QueryError::Id { filter, source };
        let text = || Some(value.to_owned());
        match filter {
            "access" => self.access_id = Some(value.parse().map_err(id)?),
            "action" => self.action = Some(value.parse().map_err(|_| refuse(&one_of(Action::ALL, Action::as_str)))?),
            "all" => {
                self.leaves_out_own_files = match value {
                    "yes" => false,
                    "no" => true,
                    _ => return Err(refuse("`yes` or `no`")),
                }
            }
            "app" => self.app = text(),
            "before" => self.before = Some(value.parse().map_err(|_| refuse("a sequence number"))?),
            "country" => self.country = text(),
            "grant" => self.grant = text(),
            "credential" => self.credential = text(),
            "door" => self.door = text(),
            "effect" => {
                let name = value.to_ascii_uppercase().replace('-', "_");
                self.effect = Some(effect_of(&name).ok_or_else(|| refuse("`allow`, `deny` or `step_up`"))?);
            }
            "ip" => {
                self.ip = Some(IpRange::parse(value).ok_or_else(|| refuse("an address or range, like 192.0.2.0/24"))?)
            }
            "label" => self.label = text(),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| refuse(&format!("a number from 1 to {MAX_LIMIT}")))?;
            }
            "policy" => self.policy = text(),
            "reason" => {
                self.reason = Some(value.parse().map_err(|_| refuse(&one_of(Reason::ALL, Reason::audit_code)))?);
            }
            "session" => self.session = Some(value.parse().map_err(id)?),
            "since" => self.since = Some(parse_time(value, now).ok_or_else(|| refuse(TIME))?),
            "trace" => self.trace_id = Some(value.to_ascii_lowercase()),
            "type" => {
                self.kind = Some(value.parse().map_err(|_| refuse(&one_of(RecordType::ALL, RecordType::as_str)))?);
            }
            "until" => self.until = Some(parse_time(value, now).ok_or_else(|| refuse(TIME))?),
            "what" => self.what = text(),
            _ => self.who = Some(parse_who(value, people).ok_or_else(|| refuse(WHO))?),
        }
        Ok(())
    }

    /// Whether the answer may be longer than a page.
    pub fn is_export(&self) -> bool {
        self.row_limit() > PAGE_LIMIT
    }

    /// Refuses what `access` does not allow.
    pub(crate) fn check(&self, access: SealedAccess) -> Result<(), QueryError> {
        match self.ip {
            Some(range) if access == SealedAccess::Closed && !range.is_coarse() => {
                Err(QueryError::NeedsSealed(range.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The rows asked for.
    pub(crate) fn row_limit(&self) -> usize {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.min(MAX_LIMIT) }
    }

    /// False only when no record with these keys can match.
    pub(crate) fn may_match(&self, keys: &RowKeys) -> bool {
        fn agrees<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        let is_person = match &self.who {
            Some(Who::Person(id)) => keys.subject == Some(*id),
            Some(_) => keys.subject.is_none(),
            None => true,
        };
        is_person
            && agrees(&self.kind, &keys.kind)
            && agrees(&self.effect, &keys.effect)
            && agrees(&self.reason, &keys.reason)
            && agrees(&self.session, &keys.session)
            && self.access_id.is_none_or(|id| id == keys.access_id)
            && self.app.as_deref().is_none_or(|app| keys.app.as_deref() == Some(app))
            && self.since.is_none_or(|since| keys.time >= since)
            && self.until.is_none_or(|until| keys.time <= until)
    }

    /// Whether a record matches as far as it can be told without opening anything.
    pub(crate) fn matches(&self, record: &StoredRecord) -> bool {
        let is =
            |column, wanted: &Option<String>| wanted.as_deref().is_none_or(|text| record.text(column) == Some(text));
        let is_who = match &self.who {
            None => true,
            Some(Who::Anonymous) => record.text(Column::SubjectKind) == Some("anonymous"),
            Some(Who::Named(name)) => record.text(Column::Subject) == Some(name),
            Some(Who::Person(id)) => record.subject_id() == Some(*id),
        };
        let is_what = self.what.as_deref().is_none_or(|what| {
            let is_resource = record.text(Column::Resource).is_some_and(|resource| is_within(resource, what));
            is_resource || record.text(Column::App) == Some(what) || record.text(Column::ObjectId) == Some(what)
        });
        let is_policy = self.policy.as_deref().is_none_or(|policy| {
            let mut all = record.list(Column::Policies).iter().chain(record.list(Column::Would));
            all.any(|candidate| is_within(candidate, policy))
        });
        let is_trace = self.trace_id.as_deref().is_none_or(|trace| {
            [Column::TraceId, Column::ClientTraceId].into_iter().any(|column| record.text(column) == Some(trace))
        });
        self.may_match(&RowKeys::of_record(record))
            && self.before.is_none_or(|before| record.seq < before)
            && is_who
            && is_what
            && is_policy
            && is_trace
            && self.action.is_none_or(|action| record.text(Column::Action) == Some(action.as_str()))
            && self.decision_id.is_none_or(|id| record.id(Column::DecisionId) == Some(id.0))
            && is(Column::Door, &self.door)
            && is(Column::CredentialId, &self.credential)
            && is(Column::Label, &self.label)
            && self.country.is_none()
            && self.grant.is_none()
            && self.ip.is_none_or(|range| range.is_near(record))
    }

    /// Whether a record that [`Self::matches`] is one that the answer leaves out.
    pub(crate) fn leaves_out(&self, record: &StoredRecord) -> bool {
        self.leaves_out_own_files
            && self.access_id.is_none()
            && self.trace_id.is_none()
            && matches!(record.kind(), Some(RecordType::AccessDecision | RecordType::AccessCompletion))
            && record.text(Column::Effect) == Some(Effect::Allow.as_str())
            && matches!(record.text(Column::Method), Some("GET" | "HEAD"))
            && record.text(Column::UrlPath).is_some_and(is_own_file)
    }

    /// Whether a record that [`Self::matches`] still does now that its sealed columns are open.
    pub(crate) fn matches_opened(&self, record: &StoredRecord) -> bool {
        self.ip.is_none_or(|range| range.is_coarse() || range.holds(record))
    }
}

const TIME: &str = "a time; give an age like `7d`, `12h`, `90m`, `30s`, or RFC 3339 like 2026-01-31T08:00:00Z";
const WHO: &str =
    "anybody known; give an e-mail address or id of a person, a SPIFFE ID, `local-operator` or `anonymous`";

/// Whether `path`, in its canonical form, is one of [`OWN_FILES`]; those that end in `/` have one more segment.
fn is_own_file(path: &str) -> bool {
    OWN_FILES.iter().any(|own| match path.strip_prefix(own) {
        Some("") => !own.ends_with('/'),
        Some(name) => own.ends_with('/') && !name.contains('/'),
        None => false,
    })
}

/// `payroll/records` is within `payroll` and within itself.
fn is_within(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn wrong(filter: &'static str, given: &str, expected: &str) -> QueryError {
    QueryError::Value { filter, given: given.chars().take(64).collect(), expected: expected.into() }
}

fn one_of<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    let names: Vec<_> = all.iter().map(|item| name(*item)).collect();
    format!("one of {}", names.join(", "))
}

fn parse_who(value: &str, people: &dyn Fn(&str) -> Option<UserId>) -> Option<Who> {
    if value == "anonymous" {
        return Some(Who::Anonymous);
    }
    if value == model::decision::LOCAL_OPERATOR || value.starts_with("spiffe://") {
        return Some(Who::Named(Arc::from(value)));
    }
    // Someone deleted is in no directory any more, but their id still finds their records.
    let person = people(value).or_else(|| value.starts_with(UserId::PREFIX).then(|| value.parse().ok()).flatten());
    person.map(Who::Person)
}

fn parse_time(value: &str, now: Timestamp) -> Option<Timestamp> {
    let (last, unit) = value.char_indices().next_back()?;
    let secs = match unit {
        's' => 1u64,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return Timestamp::parse_rfc3339(value),
    };
    let count: u64 = value.get(..last)?.parse().ok()?;
    Some(now - Duration::from_secs(count.checked_mul(secs)?))
}

fn known_filter(given: &str) -> Result<&'static str, QueryError> {
    if let Some(filter) = FILTERS.iter().find(|filter| **filter == given) {
        return Ok(filter);
    }
    let nearest = FILTERS.iter().min_by_key(|filter| distance(given, filter)).copied().unwrap_or("who");
    Err(QueryError::UnknownFilter { given: given.chars().take(64).collect(), nearest })
}

/// Levenshtein's, over at most 64 characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        let mut next = vec![before];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            before = (diagonal + usize::from(a != *b)).min(above + 1).min(before + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

    fn alice() -> UserId {
        UserId(Uuid::from_u128(1))
    }

    fn parse(filters: &[(&str, &str)]) -> Result<Query, QueryError> {
        let people = |who: &str| (who == "alice" || who == "alice@example.com").then(alice);
        Query::parse(filters.iter().copied(), NOW, &people)
    }

    fn refusal(filters: &[(&str, &str)]) -> String {
        parse(filters).unwrap_err().to_string()
    }

    #[test]
    fn the_question_of_the_specification_is_understood() {
        let query = parse(&[("who", "alice"), ("what", "payroll"), ("since", "7d"), ("effect", "deny")]).unwrap();
        assert_eq!(query.who, Some(Who::Person(alice())));
        assert_eq!(query.what.as_deref(), Some("payroll"));
        assert_eq!(query.effect, Some(Effect::Deny));
        assert_eq!(query.since, Some(NOW - Duration::from_secs(7 * 86_400)));
        assert_eq!(query.limit, DEFAULT_LIMIT);
    }

    #[test]
    fn every_filter_of_the_list_is_taken() {
        for filter in FILTERS {
            let value = match *filter {
                "access" | "session" => "0198c5f0-0000-7000-8000-000000000001",
                "action" => "http.get",
                "all" => "no",
                "before" => "7",
                "effect" => "step-up",
                "ip" => "2001:db8::/48",
                "limit" => "10000",
                "reason" => "deny.default",
                "since" | "until" => "2026-01-31T08:00:00Z",
                "type" => "access.decision",
                "who" => "local-operator",
                _ => "x",
            };
            assert!(parse(&[(filter, value)]).is_ok(), "{filter}");
        }
    }

    #[test]
    fn without_since_the_last_day_is_meant_and_an_access_id_looks_everywhere() {
        assert_eq!(parse(&[]).unwrap().since, Some(NOW - Duration::from_secs(86_400)));
        assert_eq!(parse(&[("access", "0198c5f0-0000-7000-8000-000000000001")]).unwrap().since, None);
    }

    #[test]
    fn an_unknown_filter_names_the_nearest() {
        assert!(refusal(&[("polcy", "x")]).starts_with("there is no filter `polcy`; did you mean `policy`?"));
    }

    #[test]
    fn bad_values_say_what_would_be_right() {
        assert!(refusal(&[("since", "7 days")]).contains("`7 days` is not a time"));
        assert!(refusal(&[("since", "99999999999999999999d")]).contains("is not a time"));
        assert!(refusal(&[("since", "1d"), ("until", "2d")]).contains("is after `until`"));
        assert!(refusal(&[("limit", "10001")]).contains("from 1 to 10000"));
        assert!(refusal(&[("limit", "0")]).contains("from 1 to 10000"));
        assert!(refusal(&[("ip", "192.0.2.0/33")]).contains("192.0.2.0/24"));
        assert!(refusal(&[("who", "alise")]).contains("`alise` is not anybody known"));
        assert!(refusal(&[("effect", "maybe")]).contains("`allow`"));
        assert!(refusal(&[("who", "alice"), ("who", "alice")]).contains("given twice"));
        assert!(refusal(&[("app", "")]).contains("leave the filter out"));
    }
}
