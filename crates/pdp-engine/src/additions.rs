//! What operators' `.cedarschema` files add to the built-in schema: remedies for facts it already has (PO-6, PO-32).
//!
//! Nothing else can be added: a new attribute would be a fact nothing brings (its value would be the one that helps
//! least, for ever), and a new entity or action one that no door asks about. So a file repeats attributes of the built-in
//! records, with their types, and annotates them. Invariants: every addition fits its fact and its remedy's kind; all
//! remedies make the same of a fact, whatever the order they are done in; a built-in remedy that a ceremony of ours
//! proves, or that stands for an approval, gets no new powers.

use cedar_policy::SchemaFragment;
use miette::Diagnostic;
use model::decision::FixKind;
use model::{Remedy, RemedyList};
use serde_json::{Map, Value};

use crate::problem::{PolicyProblem, nearest};
use crate::remedy::Change;
use crate::source::{PolicySource, Position};

/// The most bytes of one file; it can only name the attributes there are.
pub(crate) const MAX_SCHEMA_BYTES: usize = 64 * 1024;
const REMEDY_PREFIX: &str = "remedy_";

/// A remedy for a fact.
pub(crate) struct Addition {
    pub(crate) remedy: Remedy,
    pub(crate) change: Change,
}

/// What is known when files are read.
pub(crate) struct Ground<'a> {
    /// The record types of the context: `Auth` and its attributes, from the built-in schema.
    pub(crate) types: &'a Map<String, Value>,
    pub(crate) remedies: &'a RemedyList,
    /// What the built-in schema's remedies make of facts.
    pub(crate) builtin: &'a [(Remedy, Vec<Change>)],
}

/// Reads one file; the values are in the order of the file's types and attributes.
pub(crate) fn read(source: &PolicySource, ground: &Ground<'_>) -> Result<Vec<Addition>, Vec<PolicyProblem>> {
    let mut reading = Reading { source, ground, problems: Vec::new(), additions: Vec::new() };
    if let Some(fragment) = reading.parse() {
        reading.fragment(&fragment);
    }
    if reading.problems.is_empty() { Ok(reading.additions) } else { Err(reading.problems) }
}

struct Reading<'a> {
    source: &'a PolicySource,
    ground: &'a Ground<'a>,
    problems: Vec<PolicyProblem>,
    additions: Vec<Addition>,
}

impl Reading<'_> {
    fn parse(&mut self) -> Option<Value> {
        let bytes = self.source.text.len();
        if bytes > MAX_SCHEMA_BYTES {
            self.refuse("", format!("the file has {bytes} bytes; {MAX_SCHEMA_BYTES} are allowed"), None);
            return None;
        }
        match SchemaFragment::from_cedarschema_str(&self.source.text) {
            Ok((fragment, _)) => fragment.to_json_value().ok(),
            Err(error) => {
                let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
                self.refuse_at(offset, format!("not a schema: {error}"), None);
                None
            }
        }
    }

    fn fragment(&mut self, fragment: &Value) {
        for (namespace, content) in fragment.as_object().into_iter().flatten() {
            if !namespace.is_empty() {
                let message = format!("the built-in schema has no namespaces; take the types out of `{namespace}`");
                self.refuse(namespace, message, None);
                continue;
            }
            for (what, section) in [("entity", "entityTypes"), ("action", "actions")] {
                for name in content.get(section).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                    let message = format!(
                        "the {what} `{name}` would be one that no door asks about; a `.cedarschema` file only annotates \
                         facts of the built-in schema with remedies"
                    );
                    self.refuse(name, message, None);
                }
            }
            for (name, declaration) in content.get("commonTypes").and_then(Value::as_object).into_iter().flatten() {
                self.record(name, declaration);
            }
        }
    }

    fn record(&mut self, name: &str, declaration: &Value) {
        let is_record = |name: &str| !matches!(name, "Facts" | "Posture");
        let records = self.ground.types.keys().map(String::as_str).filter(|name| is_record(name));
        let Some(known) = self.ground.types.get(name).filter(|_| is_record(name)).and_then(attributes) else {
            let valid: Vec<&str> = records.collect();
            let message = format!("`{name}` is no record of the context; there are {}", valid.join(", "));
            return self.refuse(name, message, nearest(name, valid.iter().copied()));
        };
        for (attribute, declared) in attributes(declaration).into_iter().flatten() {
            let Some(builtin) = known.get(attribute) else {
                let message = format!(
                    "nothing brings a fact `{}.{attribute}`, so it would have the value that helps least for ever; \
                     annotate facts of the built-in schema",
                    name.to_ascii_lowercase()
                );
                self.refuse(attribute, message, nearest(attribute, known.keys().map(String::as_str)));
                continue;
            };
            if of_type(declared) != of_type(builtin) {
                let message = format!("`{name}.{attribute}` has another type in the built-in schema; repeat that one");
                self.refuse(attribute, message, None);
                continue;
            }
            self.attribute(name, attribute, declared);
        }
    }

    fn attribute(&mut self, record: &str, attribute: &str, declared: &Value) {
        let fact = format!("{}.{attribute}", record.to_ascii_lowercase());
        let annotations = declared.get("annotations").and_then(Value::as_object);
        let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) else {
            let message =
                format!("`{fact}` says nothing new; annotate it with `@remedy_<id>(\"<value>\")` or leave it out");
            return self.refuse(attribute, message, None);
        };
        for (name, value) in annotations {
            let Some(id) = name.strip_prefix(REMEDY_PREFIX) else {
                self.refuse(name, format!("nothing reads `@{name}`; write `@remedy_<id>(\"<value>\")`"), None);
                continue;
            };
            let Some(remedy) = self.ground.remedies.find(id) else {
                let message = format!("`{id}` is not a remedy; declare it as a document of kind `Remedy`");
                let ids = self.ground.remedies.ids();
                self.refuse(name, message, nearest(id, ids));
                continue;
            };
            let value = value.as_str().unwrap_or_default();
            match self.fits(remedy, &fact, value) {
                Ok(change) => self.additions.push(Addition { remedy, change }),
                Err(message) => self.refuse(name, message, None),
            }
        }
    }

    /// What `remedy` makes of `fact`, if it may.
    fn fits(&self, remedy: Remedy, fact: &str, value: &str) -> Result<Change, String> {
        let Some(change) = Change::parse(fact, value) else {
            return Err(format!("`{value}` is nothing a remedy can make of `{fact}`"));
        };
        let is_own = matches!(remedy, Remedy::Own(_));
        if !is_own && remedy.kind() != FixKind::Device {
            return Err(format!(
                "what `{remedy}` changes is fixed; declare a remedy of your own",
                remedy = remedy.as_str()
            ));
        }
        let record = match remedy.kind() {
            FixKind::Auth => "auth.",
            FixKind::Device => "device.",
            FixKind::Grant => "session.",
        };
        if !fact.starts_with(record) {
            let (id, kind) = (remedy.as_str(), remedy.kind().as_str());
            return Err(format!("`{id}` is of kind `{kind}`, which changes facts of `{record}` only, not `{fact}`"));
        }
        let builtin = self.ground.builtin.iter().flat_map(|(_, changes)| changes);
        let added = self.additions.iter().map(|addition| &addition.change);
        if builtin.chain(added).any(|other| other.contradicts(&change)) {
            return Err(format!(
                "another remedy makes something else of `{fact}`; all must agree, or their order would count"
            ));
        }
        Ok(change)
    }

    /// At the first place where `word` stands: the schema's JSON form knows no places.
    fn refuse(&mut self, word: &str, message: String, nearest: Option<&str>) {
        let offset = self.source.text.find(word).unwrap_or(0);
        self.refuse_at(offset, message, nearest);
    }

    fn refuse_at(&mut self, offset: usize, message: String, nearest: Option<&str>) {
        let before = self.source.text.get(..offset).unwrap_or_default();
        let Position { line, column } = Position::START.after(before);
        let (file, nearest) = (self.source.file.clone(), nearest.map(str::to_owned));
        self.problems.push(PolicyProblem { file, line, column, policy: None, message, nearest });
    }
}

fn attributes(declaration: &Value) -> Option<&Map<String, Value>> {
    declaration.get("attributes").and_then(Value::as_object)
}

/// A declaration without its annotations.
fn of_type(declaration: &Value) -> Value {
    let mut plain = declaration.clone();
    if let Some(object) = plain.as_object_mut() {
        object.remove("annotations");
    }
    plain
}
