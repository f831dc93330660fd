//! Questions to the record over HTTP; the same filter names as the command line (AUD-1 to AUD-5).

use std::sync::Arc;
use std::time::Duration;

use audit::drill::DrillRung;
use audit::{Column, Query, SinkStatus, Tail, TailItem, render};
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header;
use model::AccessId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::http::body::Json;

/// This endpoint.
const TAIL_PATH: &str = "/api/v1/audit/tail";
/// How long a tail request waits for something new.
const TAIL_WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn query(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let filters = pairs(raw.as_deref());
    let query = control.parse_query(&filters)?;
    if query.is_export() {
        let page = audit::query::PAGE_LIMIT;
        return Err(Failure::invalid(
            "limit",
            format!(
                "more than {page} rows are an export; ask `/api/v1/audit/export`, which takes the right `audit.export`"
            ),
        ));
    }
    answer(&control, &actor, query, &control.query_words(&filters)).await
}

/// As [`query`], up to the longest answer; a right of its own (AUD-5).
pub(crate) async fn export(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let filters = pairs(raw.as_deref());
    // An export is the record as it is.
    let query = Query { leaves_out_own_files: false, ..control.parse_query(&filters)? };
    answer(&control, &actor, query, &format!("export {}", control.query_words(&filters))).await
}

async fn answer(control: &Arc<ControlPlane>, actor: &Actor, query: Query, words: &str) -> Result<Response, Failure> {
    let answer = control.query(actor, query, words).await?;
    let rows: Vec<String> = answer.rows.iter().map(render::json).collect();
    Ok(json_text(format!(
        "{{\"records\":[{}],\"shown\":{},\"scanned\":{},\"left_out\":{},\"has_more\":{},\"complete\":{},\"coverage\":{}}}",
        rows.join(","),
        rows.len(),
        answer.scanned,
        answer.left_out,
        answer.has_more,
        answer.coverage.is_complete(),
        render::quoted(&answer.coverage.to_string()),
    )))
}

pub(crate) async fn explain(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id: AccessId = id.parse().map_err(|error| Failure::invalid("id", error))?;
    let story = control.explain_access(&actor, id).await?;
    let members = story.to_json();
    // The text of the same story, so that every surface prints the same words.
    let text = render::quoted(&story.to_text());
    let body = members.strip_suffix('}').map_or_else(|| members.clone(), |open| format!("{open},\"text\":{text}}}"));
    Ok(json_text(body))
}

/// Records from `after` on; answers at once when there are some, else when one comes, at the latest after 20 s.
pub(crate) async fn tail(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let mut filters = pairs(raw.as_deref());
    let from = match filters.iter().position(|(name, _)| name == "from") {
        Some(at) => {
            let (_, value) = filters.swap_remove(at);
            Some(
                value
                    .parse::<u64>()
                    .map_err(|_| Failure::invalid("from", format!("`{value}` is not a sequence number")))?,
            )
        }
        None => None,
    };
    let mut tail = control.follow(&actor, &filters, from).await?;
    let items = tokio::time::timeout(TAIL_WAIT, news(&mut tail)).await.unwrap_or_default();
    let items: Vec<String> = items.iter().map(item).collect();
    control.will_go_on(&actor, &filters, tail.next_seq());
    Ok(json_text(format!("{{\"next\":{},\"items\":[{}]}}", tail.next_seq(), items.join(","))))
}

/// How the record is and what was wrong with it since the process started (AUD-18, AUD-19).
pub(crate) async fn alerts(State(control): State<Arc<ControlPlane>>) -> Response {
    json_text(health(&control).to_string())
}

/// As [`alerts`]; also a part of the status.
pub(crate) fn health(control: &ControlPlane) -> Value {
    let health = control.log.health();
    let alerts: Vec<Value> = health.alerts.iter().map(alert).collect();
    json!({
        "state": health.rung.as_str(),
        "free_percent": health.free_percent,
        "reserves_ready": health.reserves.0,
        "reserves_wanted": health.reserves.1,
        "unkept": { "refused": health.unkept.refused, "allowed": health.unkept.allowed, "ends": health.unkept.ends },
        "alerts": alerts,
        "sinks": control.sinks().iter().map(sink).collect::<Vec<_>>(),
    })
}

/// How every sink is (AUD-38).
pub(crate) async fn sinks(State(control): State<Arc<ControlPlane>>) -> axum::Json<Value> {
    axum::Json(json!({ "sinks": control.sinks().iter().map(sink).collect::<Vec<_>>() }))
}

/// Hands one marked line to a sink.
pub(crate) async fn test_sink(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<axum::Json<Value>, Failure> {
    let mark = control.test_sink(&actor, &name).await?;
    let target = control.sinks().into_iter().find(|sink| sink.name == name).map(|sink| sink.target);
    Ok(axum::Json(json!({ "sink": name, "uid": mark, "target": target })))
}

fn sink(sink: &SinkStatus) -> Value {
    json!({
        "name": sink.name,
        "type": sink.kind,
        "target": sink.target,
        "state": if sink.is_failing { "failing" } else { "well" },
        "next": sink.next_seq,
        "behind": sink.lag,
        "delivered": sink.delivered,
        "last_delivered": sink.last_delivered.map(|time| time.to_string()),
        "waiting_secs": sink.waiting.map(|waiting| waiting.as_secs()),
        "last_error": sink.last_error,
        "dead_letters": sink.dead_letters,
        "unreadable": sink.unreadable,
    })
}

fn alert(alert: &audit::Alert) -> Value {
    json!({
        "kind": alert.kind.as_str(),
        "active": alert.is_active,
        "since": alert.since.to_string(),
        "last": alert.last.to_string(),
        "count": alert.count,
        "detail": &*alert.detail,
        "what_to_do": alert.kind.what_to_do(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrillBody {
    /// Names of rungs; none means every one.
    #[serde(default)]
    rungs: Vec<String>,
    #[serde(default)]
    live: bool,
}

/// Drills the record (AUD-21): on a shadow log, or on the real one.
pub(crate) async fn drill(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<DrillBody>,
) -> Result<axum::Json<Value>, Failure> {
    let rungs: Result<Vec<DrillRung>, String> = body.rungs.iter().map(|name| name.parse()).collect();
    let mut rungs = rungs.map_err(|error| Failure::invalid("rungs", error))?;
    if rungs.is_empty() {
        rungs = DrillRung::ALL.to_vec();
    }
    let report = control.drill(&actor, rungs, body.live).await?;
    let rung = |found: &audit::drill::RungResult| {
        json!({
            "rung": found.rung.as_str(),
            "outcome": found.outcome.as_str(),
            "detected_in_ms": found.detected_in.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            "detail": found.detail,
        })
    };
    Ok(axum::Json(json!({
        "live": report.is_live,
        "passed": report.has_passed(),
        "rungs": report.rungs.iter().map(rung).collect::<Vec<_>>(),
    })))
}

/// The next batch with anything in it but the polls of followers: each poll is recorded too, so a follower who was shown
/// them would be woken by itself for ever. `audit query` finds them.
async fn news(tail: &mut Tail) -> Vec<TailItem> {
    while let Some(mut items) = tail.next().await {
        items.retain(|item| !is_poll(item));
        if !items.is_empty() {
            return items;
        }
    }
    Vec::new()
}

fn is_poll(item: &TailItem) -> bool {
    matches!(item, TailItem::Record(record) if record.text(Column::UrlPath) == Some(TAIL_PATH))
}

fn item(item: &TailItem) -> String {
    match item {
        TailItem::Record(record) => format!("{{\"record\":{}}}", render::json(record)),
        TailItem::Skipped { from_seq, records } => {
            format!("{{\"skipped\":{records},\"from\":{from_seq},\"hint\":\"use audit query\"}}")
        }
        TailItem::Unreadable { seq } => format!("{{\"unreadable\":{seq}}}"),
    }
}

fn pairs(raw: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect()
}

fn json_text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
