//! Canonical bytes of what a decision read (AUD-36, R-29): deterministic CBOR (RFC 8949 §4.2.1).
//!
//! Invariant: equal facts give equal bytes on every machine and in every version with the same [`FORMAT`]; a change of
//! form takes a new number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minicbor::Encoder;
use model::Facts;

use crate::fact_table::{Fact, FactValue, RECORDS, posture, walk};

/// The number in front of context bytes.
pub(crate) const FORMAT: u8 = 2;
/// The form before: it has no `request.hours`.
pub(crate) const FORMAT_WITHOUT_HOURS: u8 = 1;
/// The number in front of entity bytes.
const ENTITY_FORMAT: u8 = 1;

/// `[2, {record: {attribute: value}}]`
pub(crate) fn context_bytes(facts: &Facts) -> Arc<[u8]> {
    context_bytes_in(FORMAT, facts)
}

/// The same in an earlier form, without the facts it does not have.
pub(crate) fn context_bytes_in(form: u8, facts: &Facts) -> Arc<[u8]> {
    let mut cbor = Cbor(Encoder::new(Vec::with_capacity(1024)));
    cbor.array(2);
    cbor.long(i64::from(form));
    cbor.map(RECORDS);
    walk(facts, |name, attributes| {
        cbor.text(name);
        if form == FORMAT_WITHOUT_HOURS && name == "request" {
            let told: Vec<Fact<'_>> = attributes.iter().filter(|(name, _)| *name != "hours").copied().collect();
            cbor.record(&told);
        } else {
            cbor.record(attributes);
        }
    });
    cbor.into_bytes()
}

/// An entity in canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct CanonicalEntity {
    /// `User::"usr_…"`
    pub(crate) uid: String,
    pub(crate) parents: BTreeSet<String>,
    pub(crate) attributes: BTreeMap<&'static str, CanonicalValue>,
    pub(crate) tags: BTreeMap<String, BTreeSet<String>>,
}

/// An attribute of an entity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum CanonicalValue {
    Bool(bool),
    Long(i64),
    Text(String),
    Texts(BTreeSet<String>),
}

/// `[1, [[uid, [parent], {attribute: value}, {tag: [value]}]]]`, sorted by uid.
pub(crate) fn entity_bytes(entities: &[CanonicalEntity]) -> Arc<[u8]> {
    let mut sorted: Vec<&CanonicalEntity> = entities.iter().collect();
    sorted.sort();
    let mut cbor = Cbor(Encoder::new(Vec::with_capacity(512)));
    cbor.array(2);
    cbor.long(i64::from(ENTITY_FORMAT));
    cbor.array(sorted.len());
    for entity in sorted {
        cbor.array(4);
        cbor.text(&entity.uid);
        cbor.texts(&entity.parents);
        cbor.map(entity.attributes.len());
        for (name, value) in in_cbor_order(&entity.attributes) {
            cbor.text(name);
            cbor.canonical(value);
        }
        cbor.map(entity.tags.len());
        for (name, values) in in_cbor_order(&entity.tags) {
            cbor.text(name);
            cbor.texts(values);
        }
    }
    cbor.into_bytes()
}

/// Shorter keys first, then bytewise (RFC 8949 §4.2.1 for text keys).
fn in_cbor_order<K: AsRef<str>, V>(map: &BTreeMap<K, V>) -> Vec<(&str, &V)> {
    let mut pairs: Vec<(&str, &V)> = map.iter().map(|(name, value)| (name.as_ref(), value)).collect();
    pairs.sort_by_key(|(name, _)| (name.len(), *name));
    pairs
}

/// Writing to memory cannot fail, so results of the encoder carry nothing.
struct Cbor(Encoder<Vec<u8>>);

impl Cbor {
    fn array(&mut self, len: usize) {
        let _infallible = self.0.array(len as u64);
    }

    fn map(&mut self, len: usize) {
        let _infallible = self.0.map(len as u64);
    }

    fn text(&mut self, text: &str) {
        let _infallible = self.0.str(text);
    }

    fn long(&mut self, value: i64) {
        let _infallible = self.0.i64(value);
    }

    fn bool(&mut self, value: bool) {
        let _infallible = self.0.bool(value);
    }

    fn texts(&mut self, texts: &BTreeSet<String>) {
        self.array(texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn record(&mut self, attributes: &[Fact<'_>]) {
        self.map(attributes.len());
        for (name, fact) in attributes {
            self.text(name);
            match fact {
                FactValue::Bool(value) => self.bool(*value),
                FactValue::Long(value) => self.long(*value),
                FactValue::Posture(fact) => self.record(&posture(fact)),
                FactValue::Text(text) => self.text(text),
                FactValue::Texts(texts) => self.texts(texts),
            }
        }
    }

    fn canonical(&mut self, value: &CanonicalValue) {
        match value {
            CanonicalValue::Bool(value) => self.bool(*value),
            CanonicalValue::Long(value) => self.long(*value),
            CanonicalValue::Text(text) => self.text(text),
            CanonicalValue::Texts(texts) => self.texts(texts),
        }
    }

    fn into_bytes(self) -> Arc<[u8]> {
        self.0.into_writer().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::Digest32;

    #[test]
    fn the_bytes_of_unknown_facts_are_pinned() {
        // A change here makes recorded decisions unreadable: take a new FORMAT instead.
        let bytes = context_bytes(&Facts::unknown());
        assert_eq!(bytes.first(), Some(&0x82));
        assert_eq!(Digest32::of(&bytes).to_string(), PINNED);
    }

    /// What is recorded in form 1 keeps being read.
    #[test]
    fn the_bytes_of_the_form_before_are_pinned() {
        let bytes = context_bytes_in(FORMAT_WITHOUT_HOURS, &Facts::unknown());
        let was = "sha256:f7a9106276c74cbba50008e36787c6ff5d59cfa4f2fe333cd7fc738eef8b82e1";
        assert_eq!(Digest32::of(&bytes).to_string(), was);
    }

    const PINNED: &str = "sha256:46b13da4d03bd788f2df7fe289c9e8a752b85296519033c9163e1e9cbe46f35d";

    #[test]
    fn every_fact_reaches_the_bytes() {
        let unknown = context_bytes(&Facts::unknown());
        let mut facts = Facts::unknown();
        facts.request.headers.insert("x=1".into());
        assert_ne!(context_bytes(&facts), unknown);
        let mut facts = Facts::unknown();
        facts.device.edr.level = 1;
        assert_ne!(context_bytes(&facts), unknown);
    }

    #[test]
    fn the_order_of_entities_does_not_matter() {
        let entity = |uid: &str| CanonicalEntity {
            uid: uid.into(),
            parents: BTreeSet::new(),
            attributes: BTreeMap::from([("external", CanonicalValue::Bool(true)), ("age", CanonicalValue::Long(3))]),
            tags: BTreeMap::new(),
        };
        let (a, b) = (entity("A::\"1\""), entity("B::\"2\""));
        assert_eq!(entity_bytes(&[a.clone(), b.clone()]), entity_bytes(&[b, a]));
    }
}
