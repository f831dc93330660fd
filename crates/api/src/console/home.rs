//! Screen 1, is it healthy and what is refused; on a new install the first steps, each done or not by what is really
//! there (UI-2).
//!
//! The pictures are counted from the index of the record in memory, so the page costs the same however much is recorded.

mod first_run;

use std::time::Duration;

use audit::Tally;
use bytes::Bytes;
use http::{Response, StatusCode};
use model::{Reason, Timestamp};
use pages::console::{Bars, CertificateRow, Home, NamedCount, Pair, Span, Stacks, Tile};

use super::text::{count, moment, shown, url};
use super::visit::Visit;
use crate::control::Ending;
use crate::http::portal::page;

/// How long a bar of the picture is.
const SPAN: Duration = Duration::from_secs(3_600);
/// How many there are.
const SPANS: usize = 24;
/// How many reasons are named.
const MAX_REASONS: usize = 8;

pub(super) async fn show(visit: &Visit<'_>) -> Response<Bytes> {
    let tally = visit.may_read_record().then(|| tally(visit));
    let range = tally.as_ref().map(range).unwrap_or_default();
    let home = Home {
        shell: visit.shell("Overview", "GET /api/v1/status".to_owned(), "countersign status".to_owned()),
        steps: first_run::steps(visit),
        tiles: tiles(visit, tally.as_ref()),
        span: tally.as_ref().map(told).unwrap_or_default(),
        answers: tally.as_ref().map(|tally| Stacks::new("answers", "Answers by the hour", range.clone(), spans(tally))),
        reasons: tally.filter(|tally| !tally.reasons.is_empty()).map(|tally| reasons(tally, range)),
        certificates: certificates(visit),
        doors: doors(visit),
        state: state(visit),
        findings: visit.published().policies.findings().iter().map(|finding| shown(&finding.to_string())).collect(),
    };
    page(StatusCode::OK, home.render())
}

/// Whole hours, the running one included.
fn tally(visit: &Visit<'_>) -> Tally {
    let hour = i64::try_from(SPAN.as_nanos()).unwrap_or(i64::MAX);
    let next = visit.now().0.div_euclid(hour).saturating_add(1).saturating_mul(hour);
    visit.control().log.tally(Timestamp(next), SPAN, SPANS)
}

fn range(tally: &Tally) -> String {
    let until = tally.since + tally.span * u32::try_from(tally.spans.len()).unwrap_or(u32::MAX);
    format!("{} to {}", tally.since.readable(), until.readable())
}

/// What the pictures cover, in words.
fn told(tally: &Tally) -> String {
    let known = tally.spans.iter().filter(|span| span.is_some()).count();
    let mut told = format!(
        "{} in the last {}",
        count(usize::try_from(tally.all.total()).unwrap_or(usize::MAX), "decision", "decisions"),
        if known == 1 { "hour".to_owned() } else { format!("{known} hours") }
    );
    if known < tally.spans.len() {
        told.push_str(", as far back as the index of the record reaches");
    }
    if tally.floods > 0 {
        told.push_str("; refusals of floods are counted in records of their own");
    }
    told.push('.');
    told
}

fn tiles(visit: &Visit<'_>, tally: Option<&Tally>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(tally) = tally {
        let since = tally.since.to_string();
        let to = |pairs: &[(&'static str, &'static str)]| {
            let pairs = [("type", "access.decision")].into_iter().chain(pairs.iter().copied());
            url("/console/access", pairs.chain([("since", since.as_str())]))
        };
        let effect = |value: u64, name: &str, sentence: &str, word: &'static str| Tile {
            value: value.to_string(),
            name: name.to_owned(),
            sentence: sentence.to_owned(),
            url: to(&[("effect", word)]),
        };
        tiles.extend([
            effect(tally.all.allowed, "✓ ALLOW", "let through", "ALLOW"),
            effect(tally.all.step_up, "↑ STEP_UP", "asked for more proof", "STEP_UP"),
            effect(tally.all.denied, "✕ DENY", "refused", "DENY"),
            Tile {
                value: judged(tally),
                name: "Judged by rules".to_owned(),
                sentence: on_trial(visit, tally),
                url: to(&[("reason", "allow.public")]),
            },
        ]);
        let active = visit.control().log.alerts().list().iter().filter(|alert| alert.is_active).count();
        tiles.push(Tile {
            value: active.to_string(),
            name: "Alerts".to_owned(),
            sentence: "about the record itself".to_owned(),
            url: url("/console/access", [("type", "audit.alert"), ("since", "7d")]),
        });
    }
    let doors = visit.control().doors_now();
    let behind = doors.iter().filter(|door| door.config_version != visit.published().config_version).count();
    tiles.push(Tile {
        value: behind.to_string(),
        name: "Doors out of date".to_owned(),
        sentence: format!("of {}", count(doors.len(), "door", "doors")),
        url: "/console#doors".to_owned(),
    });
    let certificates = visit.control().certificates();
    let ending = certificates.iter().filter(|one| one.ending(visit.now()) != Ending::Later).count();
    tiles.push(Tile {
        value: ending.to_string(),
        name: "Certificates that end".to_owned(),
        sentence: format!("within 30 days, of {}", certificates.len()),
        url: "/console#certificates".to_owned(),
    });
    tiles
}

/// The share of decisions that policies were asked about; the rest went to paths that are open to anyone.
fn judged(tally: &Tally) -> String {
    let all = tally.all.total();
    let judged = all.saturating_sub(tally.public);
    match all {
        0 => "–".to_owned(),
        // Never rounded up: a single open request is not "100 %".
        _ => format!("{} %", u128::from(judged) * 100 / u128::from(all)),
    }
}

fn on_trial(visit: &Visit<'_>, tally: &Tally) -> String {
    let trial = visit.published().policies.policies().iter().filter(|policy| policy.is_shadow).count();
    let open = usize::try_from(tally.public).unwrap_or(usize::MAX);
    let mut text = format!("{} to paths open to anyone", count(open, "request", "requests"));
    if trial > 0 {
        text.push_str(&format!("; {} on trial, which decide nothing", count(trial, "rule is", "rules are")));
    }
    text
}

fn spans(tally: &Tally) -> Vec<Span> {
    let begins = (0_u32..).map(|n| tally.since + tally.span * n);
    begins
        .zip(&tally.spans)
        .map(|(begins, counts)| {
            let (since, until) = (begins.to_string(), (begins + tally.span).to_string());
            let readable = begins.readable();
            let label = readable.rsplit_once(", ").map_or(readable.as_str(), |(_, time)| time).to_owned();
            Span {
                begins: moment(begins),
                label,
                counts: counts.map(|counts| [counts.allowed, counts.step_up, counts.denied]),
                url: url(
                    "/console/access",
                    [("type", "access.decision"), ("since", since.as_str()), ("until", until.as_str())],
                ),
            }
        })
        .collect()
}

fn reasons(tally: Tally, range: String) -> Bars {
    let since = tally.since.to_string();
    let bar = |(reason, times): (Reason, u64)| NamedCount {
        name: reason.audit_code().to_owned(),
        sentence: reason.sentence().to_owned(),
        count: times,
        url: url("/console/access", [("reason", reason.audit_code()), ("since", since.as_str())]),
    };
    Bars::new("reasons", "Refused most", range, tally.reasons.into_iter().take(MAX_REASONS).map(bar).collect())
}

fn certificates(visit: &Visit<'_>) -> Vec<CertificateRow> {
    let mut all = visit.control().certificates();
    all.sort_by_key(|certificate| certificate.not_after);
    let row = |certificate: &crate::control::ShownCertificate| CertificateRow {
        names: shown(&certificate.names.join(", ")),
        ends: moment(certificate.not_after),
        state: match certificate.ending(visit.now()) {
            Ending::Over => "✕ has ended",
            Ending::Soon => "! ends soon",
            Ending::Later => "✓ good",
        },
    };
    all.iter().map(row).collect()
}

fn doors(visit: &Visit<'_>) -> Vec<Pair> {
    let published = visit.published().config_version;
    let door = |door: crate::control::DoorState| {
        let state = if door.config_version == published { "up to date" } else { "out of date" };
        Pair::plain(&shown(&door.name), format!("configuration number {}, {state}", door.config_version))
    };
    visit.control().doors_now().into_iter().map(door).collect()
}

fn state(visit: &Visit<'_>) -> Vec<Pair> {
    let published = visit.published();
    let sessions = visit.control().list_sessions(None).map_or(0, |sessions| sessions.len());
    let to = |name: &str, value: String, url: &str| Pair { name: name.to_owned(), value, url: Some(url.to_owned()) };
    vec![
        Pair::plain("Version", env!("CARGO_PKG_VERSION")),
        Pair::plain("Configuration", format!("number {}", published.config_version)),
        Pair::plain("Policies", published.policies.policy_hash().to_string()),
        to("Apps", published.apps.iter().filter(|app| !app.is_control_plane()).count().to_string(), "/console/apps"),
        to("People", published.directory.users.len().to_string(), "/console/people"),
        to("Live sessions", sessions.to_string(), "/console/sessions"),
        Pair::plain("Asked at", visit.now().readable()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use audit::Counts;

    #[test]
    fn a_single_open_request_is_not_a_hundred_percent() {
        let tally = |allowed, public| Tally {
            since: Timestamp(0),
            span: SPAN,
            spans: Vec::new(),
            all: Counts { allowed, ..Counts::default() },
            public,
            reasons: Vec::new(),
            floods: 0,
        };
        assert_eq!(judged(&tally(0, 0)), "–");
        assert_eq!(judged(&tally(1_000_000, 1)), "99 %");
        assert_eq!(judged(&tally(7, 0)), "100 %");
        assert_eq!(judged(&tally(7, 7)), "0 %");
    }
}
