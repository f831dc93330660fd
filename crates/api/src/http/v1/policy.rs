//! Policies as they run, and what-if questions to them. Reading only.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};

use super::configs::view_explanation;
use crate::control::{ControlPlane, WhatIf};
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

/// `?principal=&action=&resource=&fact=auth.mfa%3Dfalse…`
pub(crate) async fn explain(
    State(control): State<Arc<ControlPlane>>,
    RawQuery(raw): RawQuery,
) -> Result<Answer<Value>, Failure> {
    let mut asked = WhatIf::default();
    for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned() {
        match name.as_str() {
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
    let (explanation, ways_in) = control.what_if(&asked)?;
    let mut view = view_explanation(&explanation);
    let ways: Vec<Vec<Value>> = ways_in
        .iter()
        .map(|way| way.iter().map(|fix| json!({ "remedy": fix.remedy.as_str(), "text": fix.remedy.text() })).collect())
        .collect();
    if let Some(members) = view.as_object_mut() {
        members.insert("ways_in".to_owned(), json!(ways));
    }
    Ok(Answer(view))
}
