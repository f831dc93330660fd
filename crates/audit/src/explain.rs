//! One access told as a story (AUD-2): what was decided and why, from which facts, what would have changed it, and
//! how it ended.

use std::time::Duration;

use model::record::RecordType;
use model::{AccessId, DecisionId, Effect, Reason, Remedy};

use crate::entry::{Column, SealedAccess, StoredRecord, Value};
use crate::floods::COALESCE_FOR;
use crate::log::AuditLog;
use crate::query::{Answer, Coverage, MAX_LIMIT, Query, QueryError, time_of};
use crate::render::{escape, json, plain, quoted, who};

/// A decision is recorded this soon after it got its id, clocks that disagree included.
const MAX_DECIDING: Duration = Duration::from_secs(300);
/// A refusal is counted this soon after its access got its id.
const MAX_COUNTING: Duration = Duration::from_secs(10);
/// Ids know milliseconds.
const ID_RESOLUTION: Duration = Duration::from_millis(1);

/// Why there is no story.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The log cannot be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Nothing was decided under this id.
    #[error("no decision has id `{id}`, neither of the access nor its own; searched {scanned} records, {first_seq} to {last_seq}, coverage {coverage}; {}", meaning(.first_seq, .coverage))]
    NoDecision {
        /// What was asked for.
        id: DecisionId,
        /// The oldest record there is.
        first_seq: u64,
        /// The newest record there is.
        last_seq: u64,
        /// How many were looked at.
        scanned: u64,
        /// What could not be looked at.
        coverage: Coverage,
    },
    /// Nothing has this id.
    #[error("no record has id `{id}`, neither of an access nor of a decision; searched {} records, {first_seq} to {last_seq}, coverage {coverage}; {}{}", .scanned, meaning(.first_seq, .coverage), counted_now(*.is_fresh))]
    Unknown {
        /// What was asked for.
        id: AccessId,
        /// The id is so new that a refusal may still be being counted (AUD-12).
        is_fresh: bool,
        /// The oldest record there is.
        first_seq: u64,
        /// The newest record there is.
        last_seq: u64,
        /// How many were looked at.
        scanned: u64,
        /// What could not be looked at.
        coverage: Coverage,
    },
}

/// Everything recorded of one access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Story {
    /// Which.
    pub access_id: AccessId,
    /// Oldest first; at least one.
    pub records: Vec<StoredRecord>,
    /// The id has no record of its own: the records are those of the floods it may have been counted in (AUD-12).
    pub is_counted: bool,
    /// What could not be looked at.
    pub coverage: Coverage,
}

impl AuditLog {
    /// Collects what is recorded of an access, by its id or by that of its decision; of a refusal that was only counted, what
    /// it may have been counted in. Reads files: call it off the runtime.
    ///
    /// # Errors
    /// When nothing is, saying what was searched, or the disk fails.
    pub fn explain(&self, id: AccessId, access: SealedAccess) -> Result<Story, ExplainError> {
        let of_access = |id| Query { access_id: Some(id), limit: MAX_LIMIT, ..Query::default() };
        let answer = self.query(&of_access(id), access)?;
        let mut scanned = answer.scanned;
        let mut found = (id, answer);
        if found.1.rows.is_empty() {
            let (of_decision, searched) = self.access_of(DecisionId(id.0))?;
            scanned += searched;
            if let Some(access_id) = of_decision {
                found = (access_id, self.query(&of_access(access_id), access)?);
            }
        }
        let mut is_counted = false;
        if found.1.rows.is_empty() {
            let floods = self.floods_around(id, access)?;
            scanned += floods.scanned;
            is_counted = !floods.rows.is_empty();
            found.1 = floods;
        }
        let (access_id, mut answer) = found;
        if answer.rows.is_empty() {
            let (first_seq, last_seq) = (self.first_seq(), self.next_seq().saturating_sub(1));
            let is_fresh = time_of(id.0).is_some_and(|time| self.now().since(time) <= COALESCE_FOR + MAX_COUNTING);
            return Err(ExplainError::Unknown {
                id,
                is_fresh,
                first_seq,
                last_seq,
                scanned,
                coverage: answer.coverage,
            });
        }
        answer.rows.reverse();
        Ok(Story { access_id, records: answer.rows, is_counted, coverage: answer.coverage })
    }

    /// The access a decision belongs to, and how many records were looked at.
    fn access_of(&self, id: DecisionId) -> Result<(Option<AccessId>, u64), ExplainError> {
        let Some(query) = query_of_decision(id) else { return Ok((None, 0)) };
        let answer = self.query(&query, SealedAccess::Closed)?;
        Ok((answer.rows.first().and_then(StoredRecord::access_id), answer.scanned))
    }

    /// The floods in which the refusal with this id may have been counted: those that were going on when it was made.
    fn floods_around(&self, id: AccessId, access: SealedAccess) -> Result<Answer, ExplainError> {
        let nothing =
            Answer { rows: Vec::new(), scanned: 0, left_out: 0, has_more: false, coverage: Coverage::default() };
        let Some(made) = time_of(id.0) else { return Ok(nothing) };
        // A record of a flood bears the time of its writing: soon after it, or after the disk is well, or at the next start.
        let (kind, since) = (Some(RecordType::AccessFlood), Some(made));
        let mut answer = self.query(&Query { kind, since, limit: MAX_LIMIT, ..Query::default() }, access)?;
        answer.rows.retain(|row| match (row.get(Column::FirstTime), row.get(Column::LastTime)) {
            (Some(Value::Time(first)), Some(Value::Time(last))) => {
                *first - MAX_COUNTING <= made && made <= *last + ID_RESOLUTION
            }
            // Of a version that wrote no times.
            _ => row.time().since(made) <= COALESCE_FOR + MAX_COUNTING,
        });
        Ok(answer)
    }

    /// The record of a decision, by its own id or by the id of its access. Reads files: call it off the runtime.
    ///
    /// # Errors
    /// When nothing was decided under it, saying what was searched, or the disk fails.
    pub fn decision(&self, id: DecisionId, access: SealedAccess) -> Result<StoredRecord, ExplainError> {
        let of_access = Query { access_id: Some(AccessId(id.0)), limit: MAX_LIMIT, ..Query::default() };
        let (mut scanned, mut coverage) = (0, Coverage::default());
        for query in [Some(of_access), query_of_decision(id)].into_iter().flatten() {
            let answer = self.query(&query, access)?;
            let is_decision = |record: &StoredRecord| record.text(Column::Effect).is_some();
            // Newest first: the decision itself is older than what became of it.
            if let Some(record) = answer.rows.into_iter().rev().find(is_decision) {
                return Ok(record);
            }
            scanned += answer.scanned;
            coverage = answer.coverage;
        }
        let (first_seq, last_seq) = (self.first_seq(), self.next_seq().saturating_sub(1));
        Err(ExplainError::NoDecision { id, first_seq, last_seq, scanned, coverage })
    }
}

impl Story {
    /// The record that holds the decision: of the access, or of the refusal before one could be made.
    pub fn decision(&self) -> Option<&StoredRecord> {
        if self.is_counted {
            return None;
        }
        let of = |kind| self.records.iter().find(move |record| record.kind() == Some(kind));
        of(RecordType::AccessDecision).or_else(|| of(RecordType::GateRefused)).or_else(|| self.records.first())
    }

    /// The record that ended it.
    pub fn completion(&self) -> Option<&StoredRecord> {
        self.records.iter().rev().find(|record| record.kind() == Some(RecordType::AccessCompletion))
    }

    /// For people; every line safe for a terminal.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("access     {}", self.access_id)];
        if self.is_counted {
            return self.counted_text(lines);
        }
        if let Some(decision) = self.decision() {
            lines.push(format!("decision   {}", sentence(decision)));
            facts(decision).into_iter().for_each(|(name, text)| lines.push(format!("{name:<10} {}", escape(&text))));
        }
        lines.push(format!("ended      {}", escape(&self.ending())));
        let others = self
            .records
            .iter()
            .filter(|record| !matches!(record.kind(), Some(RecordType::AccessDecision | RecordType::AccessCompletion)));
        for record in others {
            let what = [Column::Type, Column::Change, Column::ReasonText].map(|column| plain(record, column));
            lines.push(format!("also       {} {}", record.time(), escape(what.join(" ").trim_end())));
        }
        lines.push(format!("coverage   {}", escape(&self.coverage.to_string())));
        lines.push(String::new());
        lines.join("\n")
    }

    fn counted_text(&self, mut lines: Vec<String>) -> String {
        lines.push(format!("counted    {}", self.ending()));
        for record in &self.records {
            let reason = plain(record, Column::Reason);
            let what = [Column::Change, Column::SrcNet].map(|column| plain(record, column)).join(" from ");
            lines.push(escape(&format!("flood      {what}, {reason}, record {}", record.uid())));
        }
        lines.push(format!("coverage   {}", escape(&self.coverage.to_string())));
        lines.push(String::new());
        lines.join("\n")
    }

    /// For programs: the same, and every record whole.
    pub fn to_json(&self) -> String {
        let mut members = vec![format!("\"access_id\":{}", quoted(&self.access_id.to_string()))];
        members.extend(self.sentence().map(|sentence| format!("\"sentence\":{}", quoted(&sentence))));
        members.push(format!("\"is_counted\":{}", self.is_counted));
        if let Some(decision) = self.decision() {
            let hints: Vec<String> = hints(decision).iter().map(|hint| quoted(hint)).collect();
            members.push(format!("\"would_change_it\":[{}]", hints.join(",")));
        }
        members.push(format!("\"ended\":{}", quoted(&self.ending())));
        members.push(format!("\"coverage\":{}", quoted(&self.coverage.to_string())));
        let records: Vec<String> = self.records.iter().map(json).collect();
        members.push(format!("\"records\":[{}]", records.join(",")));
        format!("{{{}}}", members.join(","))
    }

    /// What was decided, in one sentence; not there when nothing was.
    pub fn sentence(&self) -> Option<String> {
        if self.is_counted { Some(self.ending()) } else { self.decision().map(sentence) }
    }

    /// What it was decided from: name and value, in order of interest. Values are as recorded, not escaped.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        self.decision().map(facts).unwrap_or_default()
    }

    /// How it ended, in words.
    pub fn ending(&self) -> String {
        if self.is_counted {
            let count: u64 = self.records.iter().filter_map(|record| record.uint(Column::Count)).sum();
            return format!(
                "no record of its own; when it was made, {count} refusals before sign-in were counted together instead of \
                 being recorded one by one: if this server gave the id out, it is one of them"
            );
        }
        let Some(end) = self.completion() else {
            let refused =
                self.decision().filter(|decision| decision.text(Column::Effect) != Some(Effect::Allow.as_str()));
            return match refused.and_then(|decision| decision.uint(Column::Status)) {
                Some(status) => format!("refused with status {status}; nothing went through"),
                None if refused.is_some() => "refused; nothing went through".into(),
                None => "not recorded: still open".into(),
            };
        };
        let cause = plain(end, Column::EndCause);
        if cause == "unknown" {
            return format!("unknown: its door was gone; closed by the log at {}", end.time());
        }
        let mut parts = vec![cause, format!("at {}", end.time())];
        parts.extend(end.uint(Column::Status).map(|status| format!("status {status}")));
        parts.extend(end.uint(Column::BytesIn).map(|bytes| format!("{bytes} B in")));
        parts.extend(end.uint(Column::BytesOut).map(|bytes| format!("{bytes} B out")));
        parts.extend(end.uint(Column::DurationNs).map(|ns| format!("{} ms", ns / 1_000_000)));
        parts.extend(end.text(Column::Upstream).map(|upstream| format!("served by {upstream}")));
        parts.join(", ")
    }
}

/// Ids begin with their time, so that a decision need not be looked for in the whole log; `None` for what is no id of ours.
fn query_of_decision(id: DecisionId) -> Option<Query> {
    let time = time_of(id.0)?;
    let (since, until) = (Some(time - MAX_DECIDING), Some(time + MAX_DECIDING));
    Some(Query { decision_id: Some(id), since, until, limit: MAX_LIMIT, ..Query::default() })
}

fn counted_now(is_fresh: bool) -> &'static str {
    if is_fresh {
        "; refusals before sign-in may be counted for ten seconds before they are recorded: ask again then"
    } else {
        ""
    }
}

fn meaning(first_seq: &u64, coverage: &Coverage) -> &'static str {
    match first_seq {
        0 if coverage.is_complete() => "it was never recorded here",
        0 => "it was never recorded here, or it is in a part that cannot be read",
        _ => "it was never recorded here, or it is older than the oldest record kept",
    }
}

/// `2026-01-31T08:00:00.000Z: usr_… was denied http.get on payroll/records (GET /records/7)`
fn sentence(record: &StoredRecord) -> String {
    let verb = match record.text(Column::Effect) {
        Some("ALLOW") => "was allowed",
        Some("STEP_UP") => "was asked to step up for",
        Some(_) => "was denied",
        None => "did",
    };
    let object = [Column::Resource, Column::App, Column::ObjectId].into_iter().find_map(|column| record.text(column));
    let action = record.text(Column::Action).map_or_else(|| plain(record, Column::Type), str::to_owned);
    let mut text = format!("{}: {} {verb} {action}", record.time(), who(record));
    if let Some(object) = object {
        text.push_str(&format!(" on {object}"));
    }
    if let Some(path) = record.text(Column::UrlPath) {
        text.push_str(&format!(" ({} {path})", record.text(Column::Method).unwrap_or("?")));
    }
    escape(&text)
}

fn facts(record: &StoredRecord) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |name, text: String| {
        if !text.is_empty() {
            facts.push((name, text));
        }
    };
    add("reason", reason(record));
    add("policies", plain(record, Column::Policies));
    add("shadow", plain(record, Column::Would));
    add("to change", hints(record).join("; "));
    add("holds to", plain(record, Column::ValidUntil));
    add("credential", credential(record));
    let from = [Column::SrcIp, Column::SrcNet, Column::TlsVersion, Column::Alpn].map(|column| plain(record, column));
    add("from", join(&from));
    add("session", plain(record, Column::SessionId));
    add("trace", plain(record, Column::TraceId));
    for column in PINS {
        let pin = plain(record, column);
        add("pin", if pin.is_empty() { pin } else { format!("{} {pin}", column.name()) });
    }
    add("record", record.uid());
    facts
}

const PINS: [Column; 7] = [
    Column::PolicySetHash,
    Column::SchemaHash,
    Column::EntitiesVersion,
    Column::EntitySliceHash,
    Column::ContextHash,
    Column::EngineVersion,
    Column::ConfigVersion,
];

fn reason(record: &StoredRecord) -> String {
    let code = plain(record, Column::Reason);
    let meaning = code.parse::<Reason>().map(Reason::sentence).unwrap_or_default();
    let text = if meaning.is_empty() { code } else { format!("{code}: {meaning}") };
    join(&[text, plain(record, Column::ReasonText)])
}

fn credential(record: &StoredRecord) -> String {
    let mut text =
        join(&[Column::CredentialKind, Column::CredentialId, Column::Acr, Column::Amr].map(|c| plain(record, c)));
    if let Some(Value::Time(auth_time)) = record.get(Column::AuthTime) {
        text.push_str(&format!(", proven {} s before", record.time().age_secs(*auth_time)));
    }
    text
}

/// What would have changed the answer: the remedies the decision offered.
fn hints(record: &StoredRecord) -> Vec<String> {
    let known = |id: &str| id.parse::<Remedy>().ok();
    let offered = record.list(Column::StepUp).iter();
    offered.map(|id| known(id).map_or_else(|| id.to_string(), |remedy| remedy.text().to_owned())).collect()
}

fn join(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}
