//! Policies as they run, and what-if questions to them. Reading only.

use std::sync::Arc;

use audit::{Column, render};
use axum::extract::{RawQuery, State};
use axum::{Extension, Json as Answer};
use model::remedy::Languages;
use model::{DecisionId, Explanation, Fix, RemedyList};
use serde_json::{Value, json};

use super::configs::view_explanation;
use crate::actor::Actor;
use crate::control::{ControlPlane, Judged, Past, WhatIf};
use crate::failure::Failure;

/// The most facts one question may set.
const MAX_FACTS: usize = 128;

/// All policies, those of simple rules and the built-in ones included, sorted by id.
pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let published = control.published();
    let policies: Vec<Value> = published.policies.policies().iter().map(view).collect();
    Answer(json!({ "policies": policies, "policy_hash": published.policies.policy_hash() }))
}

fn view(policy: &pdp_engine::PolicyListing) -> Value {
    json!({
        "id": &*policy.id,
        "set": policy.set.as_str(),
        "mode": if policy.is_shadow { "shadow" } else { "enforce" },
        "title": policy.title,
        "declared_at": policy.declared_at,
        "cedar": policy.cedar,
    })
}

/// `?principal=&action=&resource=&fact=auth.mfa%3Dfalse…`, or `?decision=ID`, which also takes the right `audit.read`.
pub(crate) async fn explain(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    RawQuery(raw): RawQuery,
) -> Result<Answer<Value>, Failure> {
    let mut asked = WhatIf::default();
    let mut recorded = None;
    for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned() {
        match name.as_str() {
            "decision" => recorded = Some(value),
            "principal" => asked.principal = value,
            "action" => asked.action = Some(value),
            "resource" => asked.resource = value,
            "fact" if asked.facts.len() < MAX_FACTS => {
                let (fact, value) = value
                    .split_once('=')
                    .ok_or_else(|| Failure::invalid("fact", format!("`{value}` is not `name=value`")))?;
                asked.facts.push((fact.to_owned(), value.to_owned()));
            }
            "fact" => return Err(Failure::invalid("fact", format!("at most {MAX_FACTS} facts can be set"))),
            other => return Err(Failure::invalid("query", format!("`{other}` is not known here"))),
        }
    }
    match recorded {
        Some(_) if asked != WhatIf::default() => {
            Err(Failure::invalid("decision", "a recorded decision brings its own question; name nothing beside it"))
        }
        Some(id) => {
            let past = control.past_decision(&actor, &id).await?;
            Ok(Answer(view_past(&past, &past.judge(&control), control.published().policies.remedies())))
        }
        None => {
            let (explanation, ways_in) = control.what_if(&asked)?;
            Ok(Answer(with_ways_in(&explanation, &ways_in, control.published().policies.remedies())))
        }
    }
}

fn with_ways_in(explanation: &Explanation, ways_in: &[Vec<Fix>], remedies: &RemedyList) -> Value {
    let mut view = view_explanation(explanation, remedies);
    let text = |fix: &Fix| remedies.text(fix.remedy, &Languages::default()).to_owned();
    let ways: Vec<Vec<Value>> = ways_in
        .iter()
        .map(|way| way.iter().map(|fix| json!({ "remedy": fix.remedy.as_str(), "text": text(fix) })).collect())
        .collect();
    add(&mut view, "ways_in", json!(ways));
    view
}

fn view_past(past: &Past, judged: &Judged, remedies: &RemedyList) -> Value {
    let mut view = with_ways_in(&judged.explanation, &judged.ways_in, remedies);
    let record = &past.record;
    let list = |column| record.list(column).iter().map(|item| item.to_string()).collect::<Vec<_>>();
    let recorded = json!({
        "access_id": record.access_id(),
        "decision_id": record.id(Column::DecisionId).map(DecisionId),
        "time": past.time(),
        "principal": past.request.principal.to_string(),
        "action": past.request.action.as_str(),
        "resource": past.request.resource.to_string(),
        "verdict": record.text(Column::Effect),
        "reason": record.text(Column::Reason),
        "policies": list(Column::Policies),
        "fix": list(Column::StepUp),
        "policy_hash": render::plain(record, Column::PolicySetHash),
        "facts_version": record.uint(Column::EntitiesVersion),
    });
    add(&mut view, "recorded", recorded);
    let since = json!({
        "policies_changed": judged.has_other_policies,
        "entities_changed": judged.has_other_entities,
        "answer_changed": judged.is_other_answer,
    });
    add(&mut view, "since", since);
    view
}

fn add(view: &mut Value, name: &str, value: Value) {
    if let Some(members) = view.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
