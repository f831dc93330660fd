//! Screen 3, why was it denied, and what if: the question of a door with facts one may change, and each policy's part in
//! the answer. Asking opens nothing and changes nothing.

mod question;
mod save;

use audit::{Column, render};
use bytes::Bytes;
use http::{Response, StatusCode};
use model::decision::{FactRead, PolicyPart, PolicySet};
use model::remedy::Languages;
use model::{Effect, Explanation, Fix};
use pages::console::{Change, Choice, FieldError, Pair, Part, PartFact, Why, WhyAnswer};

use self::question::{Asked, Base, Field};
use super::text::{age, badge, effect, moment, shell_word, shown, url};
use super::visit::Visit;
use crate::control::{Past, mask};
use crate::http::portal::page;

/// People offered to choose from; anybody else is typed.
const MAX_OFFERED: usize = 200;

pub(super) async fn show(visit: &Visit<'_>) -> Response<Bytes> {
    // A request to start from brings its own values; a changed question keeps what nobody touched.
    let started = visit.asked("request").trim();
    let request = if started.is_empty() { visit.asked("base").trim() } else { started }.to_owned();
    let mut errors = Vec::new();
    let mut base = None;
    let mut values = question::typed(visit);
    if !request.is_empty() {
        match past_of(visit, &request).await {
            Ok(past) => {
                let found = Base::new(past, question::starts());
                if !started.is_empty() {
                    values.clone_from(&found.values);
                }
                base = Some(found);
            }
            Err(error) => errors.push(error),
        }
    }
    let is_asked = errors.is_empty() && (!visit.asked("ask").is_empty() || !request.is_empty());
    let mut answer = None;
    if is_asked {
        match Asked::read(visit, &values, base.as_ref()) {
            Ok(asked) => answer = Some(answered(visit, &asked)),
            Err(found) => errors.extend(found),
        }
    }
    let recorded = base.map(|base| recorded(visit, &base.past)).unwrap_or_default();
    let code = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    page(code, screen(visit, request, recorded, &values, errors, answer).render())
}

fn screen(
    visit: &Visit<'_>,
    request: String,
    recorded: Vec<Pair>,
    values: &[(&'static str, String)],
    errors: Vec<FieldError>,
    answer: Option<WhyAnswer>,
) -> Why {
    let value = |name: &str| values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_str());
    let (app, who, action) = (value("app"), value("who"), value("action"));
    let command = format!(
        "countersign app explain {} --user {} --action {}",
        shell_word(if app.is_empty() { "APP" } else { app }),
        shell_word(if who.is_empty() { "WHO" } else { who }),
        shell_word(if action.is_empty() { "http.get" } else { action })
    );
    let api_path =
        format!("GET /api/v1/apps/{}/explain", super::text::segment(if app.is_empty() { "APP" } else { app }));
    let fields = |group| question::fields(visit, group, values, &errors);
    Why {
        shell: visit.shell("Why, and what if", url(&api_path, [("user", who), ("action", action)]), command),
        request,
        recorded,
        people: people(visit),
        question: fields(Field::QUESTION),
        context: fields(Field::CONTEXT),
        device: fields(Field::DEVICE),
        errors,
        answer,
    }
}

fn people(visit: &Visit<'_>) -> Vec<Choice> {
    let all = super::reach::by_address(&visit.published().directory);
    let person = |user: &&std::sync::Arc<model::UserEntry>| Choice {
        value: user.email.clone(),
        text: shown(&user.name),
        is_chosen: false,
    };
    all.iter().take(MAX_OFFERED).map(person).collect()
}

/// The decision recorded under an id.
async fn past_of(visit: &Visit<'_>, id: &str) -> Result<Past, FieldError> {
    let wrong = |message: String| FieldError { field: "request".to_owned(), message: shown(&message) };
    if !visit.may_read_record() {
        return Err(wrong(
            "to start from a request you need the right audit.read; fill in the question instead".to_owned(),
        ));
    }
    visit.control().past_decision(&visit.actor(), id).await.map_err(|failure| wrong(failure.to_string()))
}

fn recorded(visit: &Visit<'_>, past: &Past) -> Vec<Pair> {
    let record = &past.record;
    let id = render::plain(record, Column::AccessId);
    let answer = badge(effect(record.text(Column::Effect))).text;
    let mut facts = vec![
        Pair { name: "Request".to_owned(), value: id.clone(), url: Some(format!("/console/access/{id}")) },
        Pair::plain("When", moment(record.time()).1),
        Pair::plain("Answer", format!("{answer}, {}", render::plain(record, Column::Reason))),
    ];
    for (name, column) in [("Policies", Column::Policies), ("Policy version", Column::PolicySetHash)] {
        let value = render::plain(record, column);
        if !value.is_empty() {
            facts.push(Pair::plain(name, shown(&value)));
        }
    }
    let judged = past.judge(visit.control());
    let since = |is_other: Option<bool>| match is_other {
        Some(true) => "changed",
        Some(false) => "the same",
        None => "not known",
    };
    facts.push(Pair::plain("Policies since", since(Some(judged.has_other_policies))));
    facts.push(Pair::plain("Person, groups and app since", since(judged.has_other_entities)));
    facts.push(Pair::plain("The answer now", if judged.is_other_answer { "another" } else { "the same" }));
    facts
}

fn answered(visit: &Visit<'_>, asked: &Asked) -> WhyAnswer {
    let pdp = &visit.published().pdp;
    let mut explanation = pdp.explain(&asked.request, asked.at);
    if asked.is_masked {
        mask(&mut explanation);
    }
    let decision = &explanation.decision;
    let ways = if decision.effect == Effect::Allow { Vec::new() } else { pdp.ways_in(&asked.request, asked.at) };
    WhyAnswer {
        effect: badge(Some(decision.effect)),
        sentence: shown(&explanation.user_text),
        reason: decision.reason.audit_code().to_owned(),
        stages: explanation.failed_stages.join(", "),
        parts: explanation.policies.iter().map(part).collect(),
        ways_in: ways.iter().map(|fixes| Change { text: way(visit, fixes) }).collect(),
        pins: pins(&explanation),
        test: save::policy_test(visit, asked, decision),
    }
}

fn way(visit: &Visit<'_>, fixes: &[Fix]) -> String {
    let remedies = visit.published().policies.remedies();
    let one = |fix: &Fix| {
        let facts: Vec<&str> = fix.facts.iter().map(|fact| &**fact).collect();
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        format!("{}{facts}", remedies.text(fix.remedy, &Languages::default()))
    };
    shown(&fixes.iter().map(one).collect::<Vec<_>>().join(", and "))
}

fn part(part: &PolicyPart) -> Part {
    Part {
        id: shown(&part.id),
        title: shown(part.title.as_deref().unwrap_or(&part.id)),
        set: match part.set {
            PolicySet::HardForbid => "forbids for good",
            PolicySet::Permit => "permits",
            PolicySet::SoftForbid => "forbids until something is mended",
        },
        declared_at: shown(&part.declared_at),
        is_determining: part.is_determining,
        failing: part.failing_conditions.iter().map(|text| shown(text)).collect(),
        facts: part.facts.iter().map(fact).collect(),
        error: part.error.as_deref().map(shown),
        records_url: url("/console/access", [("policy", &*part.id), ("since", "7d")]),
    }
}

fn fact(fact: &FactRead) -> PartFact {
    let level = fact.level.map(|level| format!(", evidence level {level}")).unwrap_or_default();
    PartFact {
        path: shown(&fact.path),
        value: shown(&fact.value),
        source: fact.source.to_owned(),
        age: format!("{}{level}", fact.age_secs.map(age).unwrap_or_else(|| "now".to_owned())),
    }
}

fn pins(explanation: &Explanation) -> Vec<Pair> {
    let decision = &explanation.decision;
    let read: Vec<&str> = decision.read_set.iter().map(|path| &**path).collect();
    let mut pins = vec![
        Pair::plain("Policies", decision.pins.policy_hash.to_string()),
        Pair::plain("Directory and apps", format!("version {}", decision.pins.entities_version)),
        Pair::plain("Engine", decision.pins.engine_version),
        Pair::plain("Holds until", decision.hold_until.readable()),
        Pair::plain("Can depend on", shown(&read.join(", "))),
    ];
    if !decision.would.is_empty() {
        let would: Vec<&str> = decision.would.iter().map(|id| &**id).collect();
        pins.push(Pair::plain("In shadow it would be refused by", shown(&would.join(", "))));
    }
    pins
}
