//! One access in full: the decision in a sentence, its facts, how it ended, everything recorded, receipts (AUD-2).

use audit::{Column, StoredRecord, Story, render};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::AccessId;
use model::record::RecordType;
use pages::Link;
use pages::console::{Pair, Record, RecordTable};

use super::text::{badge, effect, moment, segment, shown, url};
use super::visit::Visit;
use crate::failure::Failure;
use crate::http::portal::page;

pub(super) async fn show(visit: &Visit<'_>) -> Response<Bytes> {
    let id: AccessId = match visit.captured().parse() {
        Ok(id) => id,
        Err(error) => return visit.failed(&Failure::NotFound { message: format!("{error}") }),
    };
    match visit.control().explain_access(&visit.actor(), id).await {
        Ok(story) => page(StatusCode::OK, screen(visit, &story).render()),
        Err(failure) => visit.failed(&failure),
    }
}

fn screen(visit: &Visit<'_>, story: &Story) -> Record {
    let decision = story.decision();
    let mut facts = story.facts();
    let reason = facts.iter().position(|(name, _)| *name == "reason").map(|at| facts.remove(at).1);
    let id = story.access_id;
    Record {
        shell: visit.shell(
            "One access",
            format!("GET /api/v1/audit/records/{id}"),
            format!("countersign audit explain {id}"),
        ),
        effect: badge(decision.and_then(|record| effect(record.text(Column::Effect)))),
        sentence: story.sentence().unwrap_or_default(),
        reason: shown(&reason.unwrap_or_default()),
        facts: facts.iter().map(|(name, value)| fact(name, value)).collect(),
        ending: shown(&story.ending()),
        records: story.records.iter().map(table).collect(),
        links: decision.map(|record| links(visit, record, id)).unwrap_or_default(),
        coverage: (!story.coverage.is_complete()).then(|| shown(&story.coverage.to_string())),
    }
}

fn fact(name: &str, value: &str) -> Pair {
    let url = match name {
        "session" => Some(url("/console/access", [("session", value), ("since", "7d")])),
        "trace" => Some(url("/console/access", [("trace", value), ("since", "7d")])),
        _ => None,
    };
    Pair { name: name.to_owned(), value: shown(value), url }
}

fn table(record: &StoredRecord) -> RecordTable {
    let columns = record.columns.iter().filter(|(column, _)| *column != Column::Receipt);
    RecordTable {
        kind: record.kind().map_or("unknown", RecordType::as_str).to_owned(),
        time: moment(record.time()),
        uid: shown(&record.uid()),
        columns: columns
            .map(|(column, _)| Pair::plain(column.name(), shown(&render::plain(record, *column))))
            .collect(),
        receipt: record.text(Column::Receipt).map(str::to_owned),
    }
}

fn links(visit: &Visit<'_>, record: &StoredRecord, id: AccessId) -> Vec<Link> {
    let mut links = Vec::new();
    let text = |column| record.text(column).unwrap_or_default();
    if record.text(Column::Action).is_some() && visit.rights().may(model::Action::AdminRead) {
        let request = id.to_string();
        links.push(Link {
            text: "Ask the same now, or with other facts".to_owned(),
            url: url("/console/why", [("request", request.as_str())]),
        });
    }
    let who = record.subject_id().map(|id| id.to_string()).unwrap_or_default();
    links.push(Link {
        text: "Find similar".to_owned(),
        url: url(
            "/console/access",
            [("who", who.as_str()), ("app", text(Column::App)), ("reason", text(Column::Reason)), ("since", "7d")],
        ),
    });
    if !who.is_empty() && visit.rights().may(model::Action::AdminRead) {
        links.push(Link { text: "The person".to_owned(), url: format!("/console/people/{}", segment(&who)) });
    }
    links
}
