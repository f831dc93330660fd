//! Screen 2, what accessed what: the record through the filters of the command line, page by page, and taken along.

use audit::{Answer, Column, StoredRecord, render};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::Action;
use model::Reason;
use model::record::RecordType;
use pages::console::{AccessList, AccessRow, Export, FieldError};

use super::text::{badge, effect, moment, segment, shell_word, shown, url};
use super::visit::Visit;
use super::{file, filters};
use crate::failure::Failure;
use crate::http::portal::page;
use crate::preferences::List;

/// This screen.
const PATH: &str = "/console/access";
/// Counting ends here (UI-5).
const MOST_COUNTED: &str = "10000";
/// Filters that an event stream has no use for.
const NOT_LIVE: &[&str] = &["before", "limit", "since", "until"];

pub(super) async fn list(visit: &Visit<'_>) -> Response<Bytes> {
    let filters = filters::of(visit);
    let control = visit.control();
    let query = match control.parse_query(&filters).and_then(within_a_page) {
        Ok(query) => query,
        Err(failure) => return refused(visit, &filters, &failure),
    };
    let next_seq = control.log.next_seq();
    let answer = match control.query(&visit.actor(), query, &control.query_words(&filters)).await {
        Ok(answer) => answer,
        Err(failure @ Failure::Invalid { .. }) => return refused(visit, &filters, &failure),
        Err(failure) => return visit.failed(&failure),
    };
    let total = match filters::counts(visit) {
        true => match count(visit, &filters).await {
            Ok(total) => Some(total),
            Err(failure) => return visit.failed(&failure),
        },
        false => None,
    };
    page(StatusCode::OK, screen(visit, &filters, &answer, total, next_seq).render())
}

/// The rows of a page are fewer than an answer may have.
fn within_a_page(query: audit::Query) -> Result<audit::Query, Failure> {
    match query.limit <= filters::MAX_ROWS {
        true => Ok(query),
        false => {
            Err(Failure::invalid("filter", format!("filter `limit`: a page has at most {} rows", filters::MAX_ROWS)))
        }
    }
}

/// How many match, as far as is counted.
async fn count(visit: &Visit<'_>, filters: &[(String, String)]) -> Result<String, Failure> {
    let mut all = filters.to_vec();
    all.retain(|(name, _)| name != "limit" && name != "before");
    all.push(("limit".to_owned(), MOST_COUNTED.to_owned()));
    let query = visit.control().parse_query(&all)?;
    let answer = visit.control().query(&visit.actor(), query, &visit.control().query_words(&all)).await?;
    Ok(match answer.has_more {
        true => "more than 10,000 match".to_owned(),
        false => format!("{} match", answer.rows.len()),
    })
}

fn screen(
    visit: &Visit<'_>,
    filters: &[(String, String)],
    answer: &Answer,
    total: Option<String>,
    next_seq: u64,
) -> AccessList {
    let (first, more) = filters::fields(visit, &[]);
    let is_paged = filters.iter().any(|(name, _)| name == "before");
    let last = answer.rows.last().filter(|_| answer.has_more).map(|row| row.seq.to_string());
    let is_common = |name: &str| ["limit", "before", "since", filters::ALL].contains(&name);
    let is_filtered = filters.iter().any(|(name, _)| !is_common(name));
    let more_below = if answer.has_more { ", older ones below" } else { "" };
    let total = total.map(|total| format!("; {total}")).unwrap_or_default();
    let left_out = match answer.left_out {
        0 => String::new(),
        left_out => format!(", {left_out} reads of our own files left out"),
    };
    AccessList {
        shell: shell(visit, filters),
        columns: visit.columns(List::Access),
        filters: first,
        more_filters: more,
        has_more_set: filters::has_more_set(visit),
        errors: Vec::new(),
        rows: answer.rows.iter().map(|record| row(visit, record)).collect(),
        summary: format!("{} shown{more_below}{total}; {} looked at{left_out}.", answer.rows.len(), answer.scanned),
        coverage: (!answer.coverage.is_complete()).then(|| shown(&answer.coverage.to_string())),
        empty: match is_filtered {
            true => "No record matches. Without “since” the last 24 hours are searched: try 7d, or clear the filter.",
            false => "Nothing was recorded in this time. Open an app through Countersign, and its decision is here.",
        }
        .to_owned(),
        first_url: is_paged.then(|| filters::with(PATH, filters, "before", "")),
        next_url: last.map(|seq| filters::with(PATH, filters, "before", &seq)),
        count_url: (answer.has_more && total.is_empty()).then(|| filters::count_url(filters)),
        exports: exports(visit, filters),
        live_url: (!is_paged && !filters.iter().any(|(name, _)| name == "until")).then(|| live_url(filters, next_seq)),
    }
}

/// The form again, with what was typed; nothing was asked.
fn refused(visit: &Visit<'_>, filters: &[(String, String)], failure: &Failure) -> Response<Bytes> {
    let errors: Vec<FieldError> = vec![filters::error(&failure.to_string())];
    let (first, more) = filters::fields(visit, &errors);
    let list = AccessList {
        shell: shell(visit, filters),
        columns: visit.columns(List::Access),
        filters: first,
        more_filters: more,
        has_more_set: filters::has_more_set(visit),
        errors,
        rows: Vec::new(),
        summary: "Nothing was asked.".to_owned(),
        coverage: None,
        empty: String::new(),
        first_url: None,
        next_url: None,
        count_url: None,
        exports: Vec::new(),
        live_url: None,
    };
    page(StatusCode::UNPROCESSABLE_ENTITY, list.render())
}

fn shell(visit: &Visit<'_>, filters: &[(String, String)]) -> pages::console::Shell {
    let asked = filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let api = url("/api/v1/audit/records", asked);
    let words = filters.iter().map(|(name, value)| match (name.as_str(), value.as_str()) {
        (filters::ALL, "yes") => " --all".to_owned(),
        (filters::ALL, _) => String::new(),
        (name, value) => format!(" --{} {}", shown(name), shell_word(value)),
    });
    let command = format!("countersign audit query{}", words.collect::<String>());
    visit.shell("What accessed what", format!("GET {}", shown(&api)), command)
}

fn exports(visit: &Visit<'_>, filters: &[(String, String)]) -> Vec<Export> {
    if !visit.rights().may(Action::AuditExport) {
        return Vec::new();
    }
    let mut all = filters.to_vec();
    all.retain(|(name, _)| !["limit", "before", filters::ALL].contains(&name.as_str()));
    let to = |format| filters::with("/console/access/export", &all, "format", format);
    vec![Export { text: "CSV", url: to("csv") }, Export { text: "JSON Lines", url: to("jsonl") }]
}

fn live_url(filters: &[(String, String)], next_seq: u64) -> String {
    let mut live = filters.to_vec();
    live.retain(|(name, _)| !NOT_LIVE.contains(&name.as_str()));
    let from = next_seq.to_string();
    url(
        "/console/access/live",
        live.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("from", from.as_str())]),
    )
}

/// A record as a row.
pub(super) fn row(visit: &Visit<'_>, record: &StoredRecord) -> AccessRow {
    let code = record.text(Column::Reason).unwrap_or_default();
    let kind = record.kind().map_or("unknown", RecordType::as_str);
    let mut answer = badge(effect(record.text(Column::Effect)));
    if record.text(Column::Effect).is_none() {
        answer.text = kind.to_owned();
    }
    let object = [Column::Resource, Column::App, Column::ObjectId].into_iter().find_map(|column| record.text(column));
    let path =
        record.text(Column::UrlPath).map(|path| format!("{} {path}", record.text(Column::Method).unwrap_or("?")));
    let target: Vec<String> = object.map(str::to_owned).into_iter().chain(path).collect();
    let action = [Column::Action, Column::Change].into_iter().find_map(|column| record.text(column));
    AccessRow {
        url: format!("/console/access/{}", segment(&render::plain(record, Column::AccessId))),
        time: moment(record.time()),
        effect: answer,
        who: who(visit, record),
        action: shown(action.unwrap_or(kind)),
        target: shown(&target.join(" · ")),
        reason: shown(code),
        sentence: code.parse::<Reason>().map(|reason| reason.sentence().to_owned()).unwrap_or_default(),
        door: shown(record.text(Column::Door).unwrap_or_default()),
    }
}

/// Who, by name where the record tells it, or where the reader may see people anyway.
fn who(visit: &Visit<'_>, record: &StoredRecord) -> String {
    let is_named = [Column::SubjectEmail, Column::SubjectName].into_iter().any(|column| record.text(column).is_some());
    match record.subject_id().filter(|_| !is_named && visit.rights().may(Action::AdminRead)) {
        Some(id) => visit.name_of(id),
        None => shown(&render::who(record)),
    }
}

/// Exactly the records of the filter, up to [`audit::query::MAX_LIMIT`].
pub(super) async fn export(visit: &Visit<'_>) -> Response<Bytes> {
    let mut filters = visit.query();
    let format = filters.iter().position(|(name, _)| name == "format").map(|at| filters.swap_remove(at).1);
    filters.retain(|(name, _)| name != "limit" && name != filters::ALL);
    filters.push(("limit".to_owned(), audit::query::MAX_LIMIT.to_string()));
    let control = visit.control();
    let words = format!("export {}", control.query_words(&filters));
    let answer = match control.parse_query(&filters) {
        Ok(query) => control.query(&visit.actor(), query, &words).await,
        Err(failure) => Err(failure),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return visit.failed(&failure),
    };
    if format.as_deref() == Some("csv") {
        let body: String = std::iter::once(render::csv_header()).chain(answer.rows.iter().map(render::csv)).collect();
        return file("text/csv; charset=utf-8", "countersign-records.csv", body);
    }
    let body: String = answer.rows.iter().map(|row| format!("{}\n", render::json(row))).collect();
    file("application/x-ndjson", "countersign-records.jsonl", body)
}
