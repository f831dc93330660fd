//! Screen 1, is it healthy and what is refused; on a new install the first steps, each done or not by what is really
//! there (UI-2).

use std::collections::BTreeMap;

use audit::Column;
use bytes::Bytes;
use http::{Response, StatusCode};
use model::{Effect, Reason};
use pages::Link;
use pages::console::{FirstRunStep, Home, NamedCount, Pair};

use super::text::{badge, count, effect, shown, url};
use super::visit::Visit;
use crate::failure::Failure;
use crate::http::portal::page;

/// How many decisions the overview counts.
const COUNTED: &str = "2000";
/// How many reasons it names.
const MAX_REASONS: usize = 8;

/// What the newest decisions come to.
#[derive(Default)]
struct Tally {
    effects: BTreeMap<&'static str, (Effect, u64)>,
    reasons: BTreeMap<String, u64>,
    span: String,
}

pub(super) async fn show(visit: &Visit<'_>) -> Response<Bytes> {
    let tally = match visit.may_read_record() {
        true => tally(visit).await,
        false => Ok(Tally::default()),
    };
    let mut shell = visit.shell("Overview", "GET /api/v1/status".to_owned(), "countersign status".to_owned());
    let tally = tally.unwrap_or_else(|failure| {
        // The rest of the page does not depend on the record.
        let text = format!("The record does not answer: {}.", shown(&failure.to_string()));
        shell.notices.push(super::notices::unanswered(text));
        Tally::default()
    });
    let home = Home {
        shell,
        steps: steps(visit),
        effects: effects(&tally),
        span: tally.span,
        refusals: refusals(tally.reasons),
        state: state(visit),
        findings: visit.published().policies.findings().iter().map(|finding| shown(&finding.to_string())).collect(),
    };
    page(StatusCode::OK, home.render())
}

async fn tally(visit: &Visit<'_>) -> Result<Tally, Failure> {
    let filters = [("type", "access.decision"), ("limit", COUNTED)];
    let filters: Vec<(String, String)> = filters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let query = visit.control().parse_query(&filters)?;
    let answer = visit.control().query(&visit.actor(), query, &visit.control().query_words(&filters)).await?;
    let span = match answer.has_more {
        true => format!("The newest {} decisions.", answer.rows.len()),
        false => format!("{} in the last 24 hours.", count(answer.rows.len(), "decision", "decisions")),
    };
    let mut tally = Tally { span, ..Tally::default() };
    for effect in [Effect::Allow, Effect::StepUp, Effect::Deny] {
        tally.effects.insert(effect.as_str(), (effect, 0));
    }
    for row in &answer.rows {
        let Some(effect) = effect(row.text(Column::Effect)) else { continue };
        if let Some((_, times)) = tally.effects.get_mut(effect.as_str()) {
            *times += 1;
        }
        if effect != Effect::Allow {
            *tally.reasons.entry(row.text(Column::Reason).unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(tally)
}

fn effects(tally: &Tally) -> Vec<NamedCount> {
    let one = |(effect, count): &(Effect, u64)| NamedCount {
        name: badge(Some(*effect)).text,
        sentence: match effect {
            Effect::Allow => "let through",
            Effect::Deny => "refused",
            Effect::StepUp => "asked for more proof",
        }
        .to_owned(),
        count: *count,
        url: url("/console/access", [("type", "access.decision"), ("effect", effect.as_str())]),
    };
    tally.effects.values().map(one).collect()
}

fn refusals(reasons: BTreeMap<String, u64>) -> Vec<NamedCount> {
    let mut all: Vec<(String, u64)> = reasons.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(MAX_REASONS);
    all.into_iter()
        .map(|(code, count)| NamedCount {
            sentence: code.parse::<Reason>().map(|reason| reason.sentence().to_owned()).unwrap_or_default(),
            url: url("/console/access", [("reason", code.as_str())]),
            name: shown(&code),
            count,
        })
        .collect()
}

/// The five steps; none once everything that can be done is done.
fn steps(visit: &Visit<'_>) -> Vec<FirstRunStep> {
    let published = visit.published();
    let people = published.directory.users.values().filter(|user| user.state == model::UserState::Active).count();
    let apps: Vec<_> = published.apps.iter().filter(|app| !app.is_control_plane()).collect();
    let policies =
        published.policies.policies().into_iter().filter(|policy| !policy.id.starts_with("builtin/")).count();
    let rules = apps.iter().filter(|app| app.access.is_some()).count();
    let is_done = [people > 0, !apps.is_empty(), policies + rules > 0];
    if is_done.iter().all(|done| *done) {
        return Vec::new();
    }
    let step = |title: &str, state: String, is_done: bool, command: &str, link: Option<(&str, &str)>| FirstRunStep {
        title: title.to_owned(),
        state,
        is_done,
        command: command.to_owned(),
        link: link.map(|(text, url)| Link { text: text.to_owned(), url: url.to_owned() }),
    };
    let [has_people, has_apps, has_rules] = is_done;
    vec![
        step(
            "Sign-in",
            format!("{} can sign in.", count(people, "person", "people")),
            has_people,
            "countersign user add ada@example.org --name Ada && countersign invite ada@example.org",
            Some(("Invite somebody", "/console/people#invite")),
        ),
        step(
            "First app",
            format!("{} protected.", count(apps.len(), "app is", "apps are")),
            has_apps,
            "countersign apply -f config/",
            Some(("Apps", "/console/apps")),
        ),
        step(
            "First policy",
            format!("{} beside the built-in ones.", count(policies + rules, "rule", "rules")),
            has_rules,
            "countersign apply -f config/",
            Some(("Try a question", "/console/why")),
        ),
        step(
            "First device",
            "Devices cannot be enrolled in this version; what policies ask about them is unknown.".to_owned(),
            false,
            "countersign check -f config/",
            None,
        ),
        step(
            "First sink",
            "The record is kept on this machine; this version sends it nowhere, but you can take it along.".to_owned(),
            false,
            "countersign audit query --since 7d --csv > records.csv",
            None,
        ),
    ]
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
