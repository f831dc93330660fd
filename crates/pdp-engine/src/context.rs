//! Facts as a Cedar context (policy.md PO-26): built from the typed facts by construction.
//!
//! Invariant: every attribute of the schema is filled; [`crate::fact_table`] is the only source of names.

use cedar_policy::{Context, RestrictedExpression};
use model::Facts;

use crate::fact_table::{Fact, FactValue, RECORDS, posture, walk};

/// The context of a question; `None` if Cedar refuses it, which the caller answers with DENY.
pub(crate) fn build(facts: &Facts) -> Option<Context> {
    let mut records = Vec::with_capacity(RECORDS);
    walk(facts, |name, attributes| records.push((name, record(attributes))));
    let pairs: Option<Vec<_>> =
        records.into_iter().map(|(name, record)| record.map(|record| (name.to_owned(), record))).collect();
    Context::from_pairs(pairs?).ok()
}

fn record(attributes: &[Fact<'_>]) -> Option<RestrictedExpression> {
    let pairs: Option<Vec<_>> =
        attributes.iter().map(|(name, fact)| value(*fact).map(|value| ((*name).to_owned(), value))).collect();
    RestrictedExpression::new_record(pairs?).ok()
}

fn value(fact: FactValue<'_>) -> Option<RestrictedExpression> {
    Some(match fact {
        FactValue::Bool(value) => RestrictedExpression::new_bool(value),
        FactValue::Long(value) => RestrictedExpression::new_long(value),
        FactValue::Posture(fact) => record(&posture(fact))?,
        FactValue::Text(text) => RestrictedExpression::new_string(text.to_owned()),
        FactValue::Texts(texts) => {
            RestrictedExpression::new_set(texts.iter().map(|text| RestrictedExpression::new_string(text.clone())))
        }
    })
}
