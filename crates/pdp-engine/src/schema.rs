//! The built-in schema and the remedies its annotations, and those of operators, offer (PO-6).
//!
//! Invariant: every `@remedy_…` annotation names a known remedy and a value that its fact can take, or the schema is
//! refused; a fact without annotation is never flipped.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{EntityUid, Schema, SchemaFragment};
use model::RemedyList;
use model::action::Action;
use model::decision::Remedy;
use model::ids::Digest32;
use serde_json::Value;

use crate::additions::{self, Addition};
use crate::context::Needs;
use crate::kernel::Name;
use crate::problem::PolicyProblem;
use crate::remedy::Change;
use crate::source::PolicySource;

/// The schema as text.
pub(crate) const SCHEMA_TEXT: &str = include_str!("../assets/schema.cedarschema");

/// Why the schema was refused. Seen by developers only: the schema is part of the binary and tested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("the built-in schema does not parse: {0}")]
    Parse(String),
    #[error("`@remedy_{0}` in the built-in schema is not a remedy")]
    UnknownRemedy(String),
    #[error("`{0}` in the built-in schema cannot be what a remedy makes of it")]
    UnfitValue(String),
    #[error("the built-in schema lacks the action `{0}`")]
    NoAction(String),
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Additions(Vec<PolicyProblem>),
}

/// A remedy and what it changes.
pub(crate) struct Offer {
    pub(crate) remedy: Remedy,
    /// Sorted by fact.
    pub(crate) changes: Vec<Change>,
    /// The attributes `changes` touch: policies that read none of them answer the same with and without it.
    pub(crate) touches: Needs,
}

impl Offer {
    /// Whether it makes the time-derived fact at this path new.
    pub(crate) fn renews(&self, path: &str) -> bool {
        let fact = path.strip_prefix("context.").unwrap_or_default();
        let is_at_or_below = |change: &Change| {
            fact.strip_prefix(&change.fact).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.changes.iter().any(is_at_or_below)
    }
}

/// An action as Cedar names it.
pub(crate) struct ActionEntity {
    pub(crate) uid: EntityUid,
    /// The same, as questions take it.
    pub(crate) name: Name,
}

/// The schema, parsed.
pub(crate) struct BuiltinSchema {
    pub(crate) cedar: Schema,
    /// Its JSON form.
    pub(crate) json: Value,
    pub(crate) hash: Digest32,
    /// In order of cost.
    pub(crate) remedies: Vec<Offer>,
    /// Entity ids of [`Action::ALL`], in its order.
    actions: Vec<(Action, ActionEntity)>,
    covered: HashMap<String, u32>,
}

impl BuiltinSchema {
    /// Parses the schema; as it is in the binary.
    #[cfg(test)]
    pub(crate) fn load() -> Result<Arc<Self>, SchemaError> {
        Self::load_with(&[], &RemedyList::default())
    }

    /// Parses the schema and what operators' files add to it.
    pub(crate) fn load_with(files: &[PolicySource], declared: &RemedyList) -> Result<Arc<Self>, SchemaError> {
        Self::from_text(SCHEMA_TEXT, files, declared).map(Arc::new)
    }

    fn from_text(text: &str, files: &[PolicySource], declared: &RemedyList) -> Result<Self, SchemaError> {
        let parse = |error: String| SchemaError::Parse(error);
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).map_err(|e| parse(e.to_string()))?;
        let json = fragment.clone().to_json_value().map_err(|e| parse(e.to_string()))?;
        let cedar = Schema::from_schema_fragments([fragment]).map_err(|e| parse(e.to_string()))?;
        let actions = actions(&cedar)?;
        let (remedies, added) = remedies(&json, files, declared)?;
        Ok(Self {
            // Without additions it is that of the built-in schema alone.
            hash: Digest32::of(format!("{json}{}", added.join(";")).as_bytes()),
            remedies,
            covered: covered(&cedar, &actions)?,
            cedar,
            json,
            actions,
        })
    }

    /// The entity of an action.
    pub(crate) fn action(&self, action: Action) -> Option<&ActionEntity> {
        self.actions.iter().find(|(known, _)| *known == action).map(|(_, entity)| entity)
    }

    /// Which of [`Action::ALL`] an action scope covers that names `id`: the action itself or members of the group.
    pub(crate) fn covers(&self, id: &str) -> u32 {
        self.covered.get(id).copied().unwrap_or(0)
    }
}

/// For every action and group of actions, the bits of the actions it covers.
fn covered(schema: &Schema, actions: &[(Action, ActionEntity)]) -> Result<HashMap<String, u32>, SchemaError> {
    let entities = schema.action_entities().map_err(|error| SchemaError::Parse(error.to_string()))?;
    let mask = |named: &EntityUid| {
        let members =
            actions.iter().filter(|(_, entity)| entity.uid == *named || entities.is_ancestor_of(named, &entity.uid));
        members.fold(0, |mask, (action, _)| mask | bit(*action))
    };
    Ok(entities.iter().map(|entity| entity.uid()).map(|uid| (uid.id().unescaped().to_owned(), mask(&uid))).collect())
}

/// The bit of an action in a mask of actions.
pub(crate) fn bit(action: Action) -> u32 {
    let at = Action::ALL.iter().position(|known| *known == action).unwrap_or(0);
    1_u32 << at
}

const _: () = assert!(Action::ALL.len() <= 32, "action masks have 32 bits");

fn actions(schema: &Schema) -> Result<Vec<(Action, ActionEntity)>, SchemaError> {
    let mut found = Vec::new();
    for action in Action::ALL {
        let missing = || SchemaError::NoAction(action.to_string());
        let uid = EntityUid::from_str(&format!("Action::{:?}", action.as_str())).map_err(|_| missing())?;
        if !schema.actions().any(|known| *known == uid) {
            return Err(missing());
        }
        found.push((*action, ActionEntity { name: Name::new(&uid), uid }));
    }
    Ok(found)
}

/// What each remedy changes, and what of that operators added, in one form.
fn remedies(
    schema: &Value,
    files: &[PolicySource],
    declared: &RemedyList,
) -> Result<(Vec<Offer>, Vec<String>), SchemaError> {
    let types = schema.pointer("//commonTypes").or_else(|| schema.pointer("/commonTypes"));
    let types = types.and_then(Value::as_object).ok_or_else(|| SchemaError::Parse("no common types".into()))?;
    let mut all = builtin(types)?;
    let ground = additions::Ground { types, remedies: declared, builtin: &all };
    let (mut added, mut problems): (Vec<Addition>, Vec<PolicyProblem>) = (Vec::new(), Vec::new());
    for file in files {
        match additions::read(file, &ground) {
            Ok(read) => added.extend(read),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(added.iter().enumerate().filter_map(|(at, addition)| {
        let clash = |other: &Addition| other.change.contradicts(&addition.change);
        added.get(..at)?.iter().any(clash).then(|| clash_of(files, addition))
    }));
    if !problems.is_empty() {
        return Err(SchemaError::Additions(problems));
    }
    let mut forms: Vec<String> =
        added.iter().map(|addition| format!("{}:{}", addition.remedy.token(), addition.change.canonical())).collect();
    forms.sort();
    for Addition { remedy, change } in added {
        match all.iter_mut().find(|(known, _)| *known == remedy) {
            Some((_, changes)) => changes.push(change),
            None => all.push((remedy, vec![change])),
        }
    }
    all.sort_by(|(a, _), (b, _)| (a.cost(), a).cmp(&(b.cost(), b)));
    let offers = all.into_iter().filter(|(_, changes)| !changes.is_empty());
    Ok((offers.map(|(remedy, changes)| offer(remedy, changes)).collect(), forms))
}

/// Two files that make different things of one fact.
fn clash_of(files: &[PolicySource], addition: &Addition) -> PolicyProblem {
    let message = format!(
        "two files make different things of `{}`; all remedies must agree, or their order would count",
        addition.change.fact
    );
    let file = files.last().map_or_else(String::new, |file| file.file.clone());
    PolicyProblem { file, line: 1, column: 1, policy: None, message, nearest: None }
}

/// The remedies that the annotations of the built-in schema offer.
fn builtin(types: &serde_json::Map<String, Value>) -> Result<Vec<(Remedy, Vec<Change>)>, SchemaError> {
    let mut all: Vec<(Remedy, Vec<Change>)> = Remedy::ALL.iter().map(|remedy| (*remedy, Vec::new())).collect();
    for (type_name, definition) in types {
        let Some(attributes) = definition.get("attributes").and_then(Value::as_object) else { continue };
        for (attribute, declaration) in attributes {
            let Some(annotations) = declaration.get("annotations").and_then(Value::as_object) else { continue };
            for (name, value) in annotations {
                let Some(id) = name.strip_prefix("remedy_") else { continue };
                let fact = format!("{}.{attribute}", type_name.to_ascii_lowercase());
                let change = Change::parse(&fact, value.as_str().unwrap_or_default());
                let change = change.ok_or(SchemaError::UnfitValue(fact))?;
                let remedy = all.iter_mut().find(|(remedy, _)| remedy.as_str() == id);
                remedy.ok_or_else(|| SchemaError::UnknownRemedy(id.to_owned()))?.1.push(change);
            }
        }
    }
    Ok(all)
}

fn offer(remedy: Remedy, mut changes: Vec<Change>) -> Offer {
    changes.sort_by(|a, b| a.fact.cmp(&b.fact));
    changes.dedup_by(|a, b| a.canonical() == b.canonical());
    let paths: Vec<String> = changes.iter().map(|change| format!("context.{}", change.fact)).collect();
    Offer { remedy, touches: Needs::of(paths.iter()), changes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_come_from_the_annotations_cheapest_first() {
        let schema = BuiltinSchema::load().unwrap();
        let offered: Vec<(Remedy, Vec<&str>)> = schema
            .remedies
            .iter()
            .map(|offer| (offer.remedy, offer.changes.iter().map(|change| change.fact.as_str()).collect()))
            .collect();
        let times = ["auth.auth_age_secs", "auth.step_up_age_secs"];
        let mfa = ["auth.auth_age_secs", "auth.mfa", "auth.step_up_age_secs"];
        let passkey = ["auth.auth_age_secs", "auth.mfa", "auth.phishing_resistant", "auth.step_up_age_secs"];
        let postures = ["compliant", "edr", "encrypted", "firewall", "managed", "os_patched", "screen_lock"];
        let postures = postures.map(|posture| format!("device.{posture}"));
        let expected = [
            (Remedy::Reauth, times.to_vec()),
            (Remedy::Mfa, mfa.to_vec()),
            (Remedy::Recheck, postures.iter().map(String::as_str).collect()),
            (Remedy::Passkey, passkey.to_vec()),
            (Remedy::Patch, vec!["device.os_patched"]),
            (Remedy::Comply, vec!["device.compliant"]),
            (Remedy::Encrypt, vec!["device.encrypted"]),
            (Remedy::Enrol, vec!["device.known", "device.managed"]),
            (Remedy::Grant, vec!["session.granted"]),
        ];
        assert_eq!(offered, expected);
    }

    #[test]
    fn remedies_agree_on_what_they_make_of_a_fact() {
        // Otherwise the order in which a person does two things would change the answer.
        let schema = BuiltinSchema::load().unwrap();
        let together = |order: &mut dyn Iterator<Item = &Offer>| {
            let mut facts = model::Facts::unknown();
            order.flat_map(|offer| &offer.changes).for_each(|change| change.apply(&mut facts));
            facts
        };
        let straight = together(&mut schema.remedies.iter());
        assert_eq!(straight, together(&mut schema.remedies.iter().rev()));
    }

    #[test]
    fn an_unknown_remedy_or_an_unfit_value_refuses_the_schema() {
        let load = |from: &str, to: &str| {
            assert!(SCHEMA_TEXT.contains(from), "{from}");
            BuiltinSchema::from_text(&SCHEMA_TEXT.replacen(from, to, 1), &[], &RemedyList::default()).map(|_| ())
        };
        let prayer = load("@remedy_reauth(\"0\") step_up", "@remedy_prayer(\"0\") step_up");
        assert!(matches!(prayer, Err(SchemaError::UnknownRemedy(id)) if id == "prayer"));
        let unfit = |from: &str, to: &str, expected: &str| {
            let refused = load(from, to);
            assert!(matches!(refused, Err(SchemaError::UnfitValue(fact)) if fact == expected), "{to}");
        };
        unfit("@remedy_passkey(\"true\") mfa", "@remedy_passkey(\"yes\") mfa", "auth.mfa");
        unfit("@remedy_patch(\"ok=true,", "@remedy_patch(\"ok=maybe,", "device.os_patched");
        unfit("  tor: Bool", "  @remedy_reauth(\"false\") tor: Bool", "net.tor");
        unfit("points: Long", "@remedy_reauth(\"0\") points: Long", "risk.points");
    }

    #[test]
    fn groups_of_actions_cover_their_members() {
        let schema = BuiltinSchema::load().unwrap();
        assert_eq!(schema.covers("http.get"), bit(Action::HttpGet));
        assert_ne!(schema.covers("door") & bit(Action::AdminWrite), 0);
        assert_eq!(schema.covers("door") & bit(Action::PortalSignin), 0);
        assert_eq!(schema.covers("write") & bit(Action::HttpGet), 0);
    }
}
