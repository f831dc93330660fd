//! After an act: what it did, with the id of its record, under an address of its own, so that loading it again does
//! nothing again.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::seams::Revocation;
use pages::Link;
use pages::console::{Done, Outcome, Withdrawn};

use super::visit::Visit;
use crate::http::portal::{page, see_other};

/// Keeps what an act did and leads to it.
pub(super) fn finish(visit: &Visit<'_>, outcome: Outcome) -> Response<Bytes> {
    let id = visit.context().access_id.to_string();
    visit.console().outcomes.put(id.clone(), (visit.session().user, outcome), visit.now());
    see_other(&format!("/console/done/{id}"))
}

/// What became of it. A link to hand over is shown to whoever made it, once.
pub(super) fn done(visit: &Visit<'_>) -> Response<Bytes> {
    let key = visit.captured().to_owned();
    let outcomes = &visit.console().outcomes;
    let found = outcomes.peek(&key, visit.now()).filter(|(user, _)| *user == visit.session().user);
    let Some((user, mut outcome)) = found else {
        let text = "What this act did is shown for ten minutes, to whoever did it. The record has it for good.";
        return visit.message(StatusCode::NOT_FOUND, "No longer shown", vec![text.to_owned()]);
    };
    if outcome.secret_link.is_some() {
        outcomes.take(&key, visit.now());
        outcomes.put(key.clone(), (user, Outcome { secret_link: None, ..outcome.clone() }), visit.now());
    }
    if outcome.paragraphs.is_empty() {
        outcome.paragraphs.push("Done.".to_owned());
    }
    let screen = Done {
        shell: visit.shell(
            "Done",
            format!("GET /api/v1/audit/records/{key}"),
            format!("countersign audit explain {key}"),
        ),
        outcome,
        record_url: visit.may_read_record().then(|| format!("/console/access/{key}")),
        record_id: key,
        links: vec![
            Link { text: "Sessions".to_owned(), url: "/console/sessions".to_owned() },
            Link { text: "People".to_owned(), url: "/console/people".to_owned() },
        ],
    };
    page(StatusCode::OK, screen.render())
}

/// One withdrawal, with how long it took.
pub(super) fn withdrawn(revocation: &Revocation) -> Withdrawn {
    let streams = revocation.reports.iter().map(|(_, report)| report.streams.len()).sum();
    let slowest =
        revocation.reports.iter().map(|(_, report)| report.last_cut.since(revocation.accepted).as_millis()).max();
    Withdrawn {
        id: revocation.id.to_string(),
        sessions: revocation.sessions.len(),
        streams,
        unproven: revocation.reports.iter().map(|(_, report)| report.unproven.len()).sum(),
        time_to_cut: match slowest {
            Some(ms) if streams > 0 => format!("{ms} ms"),
            _ => "nothing was open".to_owned(),
        },
        receipts: revocation.receipts.clone(),
    }
}
