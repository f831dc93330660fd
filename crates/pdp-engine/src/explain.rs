//! An answer made readable for two readers (PO-15).
//!
//! The administrator's part names policies, facts and false conditions; the person's part is one sentence and what to do,
//! never points, thresholds, lists or other people's groups.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr};
use cedar_policy::{Entities, EvalResult, Expression, Request, eval_expression};
use model::decision::{FactRead, PolicyPart, PolicySet};
use model::facts::PostureFact;
use model::remedy::Languages;
use model::{AccessRequest, Decision, Effect, Explanation, Facts, Reason, RemedyList};

use crate::annotations::Stage;
use crate::compile::CompiledPolicy;
use crate::engine::{Engine, Judgement, Slot, settled};
use crate::fact_table::{Fact, FactValue, posture, walk};
use crate::kernel::Parsed;

/// The most nearest permits named.
pub(crate) const MAX_NEAREST: usize = 16;

/// How much of the policy hash names a version to people: `sha256:` and twelve digits.
const VERSION_CHARS: usize = 19;

/// Explains `decision`, which came of `judged`.
pub(crate) fn explanation(
    engine: &Engine,
    request: &AccessRequest,
    judged: Judgement,
    decision: Decision,
) -> Explanation {
    let facts = settled(request);
    let mut policies: Vec<PolicyPart> =
        judged.determining.iter().map(|policy| part(engine, policy, &facts, &judged)).collect();
    if let (Some(slot), true) = (&judged.slot, names_nearest(&decision)) {
        policies.extend(nearest_permits(engine, request, slot, &facts, &judged));
    }
    Explanation {
        failed_stages: failed_stages(&judged),
        policies,
        unmet: unmet(&judged, &facts),
        user_text: user_text(&decision, engine.policies().remedies()),
        decision,
    }
}

/// Paths of the facts that two questions differ in, with the values of the second.
pub(crate) fn differing(one: &Facts, other: &Facts) -> Vec<String> {
    let (one, other) = (context_facts(one), context_facts(other));
    let differs = one.iter().zip(&other).filter(|(one, other)| one.value != other.value);
    differs.map(|(_, other)| format!("{} = {}", other.path.trim_start_matches("context."), other.value)).collect()
}

/// The facts that stand in the way, as they are.
fn unmet(judged: &Judgement, facts: &Facts) -> Vec<FactRead> {
    let mut all = context_facts(facts);
    all.retain(|fact| judged.unmet.iter().any(|path| is_at_or_below(&fact.path, path)));
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn is_at_or_below(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn names_nearest(decision: &Decision) -> bool {
    decision.effect != Effect::Allow && decision.reason != Reason::PolicyError
}

/// One sentence, then what the person can do, or what is still missing although they did it.
fn user_text(decision: &Decision, remedies: &RemedyList) -> String {
    let mut text = decision.reason.sentence().to_owned();
    if decision.reason == Reason::StepUpLoop {
        text.push_str(" Still missing:");
    }
    for fix in &decision.fix {
        text.push_str(&format!(" {}.", remedies.text(fix.remedy, &Languages::default())));
    }
    text
}

/// Every stage that stands in the way, the first one first: forbids that hold, decisive or not, and a missing permit.
fn failed_stages(judged: &Judgement) -> Vec<&'static str> {
    if judged.effect == Effect::Allow {
        return Vec::new();
    }
    let forbids = judged.determining.iter().chain(&judged.pending);
    let mut stages: BTreeSet<Stage> = forbids.map(|policy| policy.stage).collect();
    if judged.lacks_permit {
        stages.insert(Stage::Permission);
    }
    if stages.is_empty() {
        stages.insert(match judged.reason {
            Reason::LoginRequired | Reason::UserDisabled => Stage::Identity,
            _ => Stage::Permission,
        });
    }
    stages.into_iter().map(Stage::as_str).collect()
}

fn part(engine: &Engine, policy: &CompiledPolicy, facts: &Facts, judged: &Judgement) -> PolicyPart {
    PolicyPart {
        id: policy.id.clone(),
        set: policy.set,
        declared_at: policy.declared_at.clone(),
        version: engine.policies().policy_hash().to_string().chars().take(VERSION_CHARS).collect(),
        title: policy.title.clone(),
        is_determining: true,
        failing_conditions: Vec::new(),
        facts: facts_read(policy, facts, judged.slot.as_deref()),
        error: judged.errors.iter().find(|(id, _)| *id == policy.id).map(|(_, cause)| cause.clone()),
    }
}

/// The permits whose scope fits, fewest false conditions first.
fn nearest_permits(
    engine: &Engine,
    request: &AccessRequest,
    slot: &Arc<Slot>,
    facts: &Facts,
    judged: &Judgement,
) -> Vec<PolicyPart> {
    let Some(question) = engine.question(request.action, slot, facts).map(|asked| asked.request()) else {
        return Vec::new();
    };
    let permits = slot.slice.members.iter().filter(|policy| policy.set == PolicySet::Permit);
    let mut parts: Vec<PolicyPart> = permits
        .map(|policy| PolicyPart {
            is_determining: false,
            failing_conditions: failing_conditions(policy, &question, &slot.store.entities),
            ..part(engine, policy, facts, judged)
        })
        .filter(|part| !part.failing_conditions.is_empty())
        .collect();
    parts.sort_by(|a, b| (a.failing_conditions.len(), &a.id).cmp(&(b.failing_conditions.len(), &b.id)));
    parts.truncate(MAX_NEAREST);
    parts
}

/// The conditions that keep a permit from holding: each conjunct of a `when` that is false, each `unless` that is true.
fn failing_conditions(policy: &CompiledPolicy, question: &Request, entities: &Entities) -> Vec<String> {
    let Ok(tree) = Parsed::one(&policy.text).and_then(|parsed| parsed.tree()) else { return Vec::new() };
    let is = |expr: &Expr, wanted: bool| {
        let Ok(expr) = Expression::from_str(&expr.to_string()) else { return false };
        matches!(eval_expression(question, entities, &expr), Ok(EvalResult::Bool(value)) if value == wanted)
    };
    let mut failing = Vec::new();
    for clause in tree.clauses() {
        match clause {
            Clause::When(expr) => {
                let mut conjuncts = Vec::new();
                split(expr, &mut conjuncts);
                failing.extend(conjuncts.into_iter().filter(|part| !is(part, true)).map(|part| part.to_string()));
            }
            Clause::Unless(expr) if !is(expr, false) => failing.push(format!("unless {{ {expr} }}")),
            Clause::Unless(_) => {}
        }
    }
    failing
}

fn split<'a>(expr: &'a Expr, conjuncts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            split(left, conjuncts);
            split(right, conjuncts);
        }
        expr => conjuncts.push(expr),
    }
}

fn facts_read(policy: &CompiledPolicy, facts: &Facts, slot: Option<&Slot>) -> Vec<FactRead> {
    let all = context_facts(facts);
    let mut read: Vec<FactRead> = Vec::new();
    for path in &policy.reads.paths {
        let is_below =
            |fact: &FactRead| fact.path.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'));
        read.extend(all.iter().filter(|fact| fact.path == *path || is_below(fact)).cloned());
        read.extend(slot.and_then(|slot| entity_fact(path, slot)));
    }
    read.sort_by(|a, b| a.path.cmp(&b.path));
    read.dedup();
    read
}

/// `principal.x` or `resource.x`, read from the entity.
fn entity_fact(path: &str, slot: &Slot) -> Option<FactRead> {
    let (root, attribute) = path.split_once('.')?;
    let (uid, source) = match root {
        "principal" => (&slot.store.principal, "directory"),
        "resource" => (&slot.store.resource, "config"),
        _ => return None,
    };
    let value = slot.store.entities.get(uid)?.attr(attribute)?.ok()?;
    Some(FactRead { path: path.to_owned(), value: value.to_string(), source, age_secs: None, level: None })
}

fn context_facts(facts: &Facts) -> Vec<FactRead> {
    let mut all = Vec::new();
    walk(facts, |record, attributes| {
        let age = if record == "risk" { Some(facts.risk.age_secs) } else { None };
        for (name, value) in attributes {
            push(&mut all, &format!("context.{record}.{name}"), *value, source(record), age);
        }
    });
    all
}

fn push(all: &mut Vec<FactRead>, path: &str, value: FactValue<'_>, source: &'static str, age_secs: Option<i64>) {
    let value = match value {
        FactValue::Bool(value) => value.to_string(),
        FactValue::Long(value) => value.to_string(),
        FactValue::Text(text) => format!("{text:?}"),
        FactValue::Texts(texts) => format!("{:?}", texts.iter().collect::<Vec<_>>()),
        FactValue::Posture(fact) => return push_posture(all, path, fact, source),
    };
    all.push(FactRead { path: path.to_owned(), value, source, age_secs, level: None });
}

fn push_posture(all: &mut Vec<FactRead>, path: &str, fact: &PostureFact, source: &'static str) {
    let attributes: [Fact<'_>; 3] = posture(fact);
    for (name, value) in attributes {
        push(all, &format!("{path}.{name}"), value, source, Some(fact.age_secs));
    }
    let own = all.len().saturating_sub(3);
    all.iter_mut().skip(own).for_each(|read| read.level = Some(fact.level));
}

/// The room that brings a record.
fn source(record: &str) -> &'static str {
    match record {
        "auth" => "pip-identity",
        "device" => "pip-device",
        "risk" => "pip-risk",
        "session" => "pdp-administrator",
        _ => "door",
    }
}
