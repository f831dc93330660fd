//! Facts as a Cedar context (PO-26, PO-28): built from the typed facts by construction.
//!
//! Invariants: [`crate::fact_table`] is the only source of names; a context holds every attribute that some policy of the
//! slice reads (`has` counts as a read). An attribute left out by mistake raises an evaluation error, hence DENY.

use std::collections::BTreeSet;

use cedar_policy::Context;
use model::Facts;

use crate::fact_table::{Fact, FactValue, RECORDS, posture, walk};
use crate::kernel::{self, Value};

/// Which attributes to fill: one mask per record, one bit per attribute, in the order of the fact table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Needs([u32; RECORDS]);

impl Needs {
    /// Every attribute.
    pub(crate) const ALL: Needs = Needs([u32::MAX; RECORDS]);

    /// What policies with this read set need.
    pub(crate) fn of<'a>(paths: impl Iterator<Item = &'a String>) -> Self {
        let read: BTreeSet<&str> = paths.map(String::as_str).collect();
        let mut masks = Vec::with_capacity(RECORDS);
        walk(&Facts::unknown(), |record, attributes| {
            let record = format!("context.{record}");
            let is_whole = read.contains("context") || read.contains(record.as_str());
            let mut mask = 0;
            for (at, (name, _)) in attributes.iter().enumerate() {
                let path = format!("{record}.{name}");
                if is_whole || read.iter().any(|read| is_at_or_below(read, &path)) {
                    mask |= 1_u32 << at;
                }
            }
            masks.push(mask);
        });
        masks.try_into().map_or(Self::ALL, Self)
    }

    /// Whether some attribute is in both.
    pub(crate) fn meets(&self, other: &Needs) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }
}

fn is_at_or_below(read: &str, path: &str) -> bool {
    read.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The context of a question.
pub(crate) fn build(facts: &Facts, needs: &Needs) -> Context {
    let mut records = Vec::with_capacity(RECORDS);
    let mut masks = needs.0.iter();
    walk(facts, |name, attributes| match masks.next() {
        Some(0) | None => {}
        Some(mask) => {
            let needed = attributes.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0);
            records.push((name, record(needed.map(|(_, fact)| fact))));
        }
    });
    kernel::context(records.into_iter())
}

fn record<'a>(attributes: impl Iterator<Item = &'a Fact<'a>>) -> Value {
    kernel::record(attributes.map(|(name, fact)| (*name, value(*fact))))
}

fn value(fact: FactValue<'_>) -> Value {
    match fact {
        FactValue::Bool(value) => value.into(),
        FactValue::Long(value) => value.into(),
        FactValue::Posture(fact) => record(posture(fact).iter()),
        FactValue::Text(text) => text.into(),
        FactValue::Texts(texts) => kernel::texts(texts.iter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(paths: &[&str]) -> String {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        build(&Facts::unknown(), &Needs::of(paths.iter())).to_json_value().unwrap().to_string()
    }

    #[test]
    fn only_what_is_read_is_filled() {
        assert_eq!(filled(&[]), "{}");
        assert_eq!(filled(&["context.auth.mfa", "resource.label"]), r#"{"auth":{"mfa":false}}"#);
        assert_eq!(filled(&["context.net.tor", "context.net.country"]), r#"{"net":{"country":"","tor":false}}"#);
        let posture = r#"{"device":{"edr":{"age_secs":1000000000,"level":0,"ok":false}}}"#;
        assert_eq!(filled(&["context.device.edr.ok"]), posture);
    }

    #[test]
    fn a_record_read_as_a_whole_is_filled_whole() {
        let whole = build(&Facts::unknown(), &Needs::ALL);
        let paths = ["context".to_owned()];
        assert_eq!(Needs::of(paths.iter()).0.map(u32::count_ones).iter().sum::<u32>(), 56);
        assert_eq!(whole.into_iter().count(), RECORDS);
        assert!(filled(&["context.session"]).contains("\"grants\":[]"));
    }
}
