//! Facts set by name, as tests and what-if questions do: `auth.mfa=false`, `device.managed.ok=true`.
//!
//! Invariant: every fact that policies can read can be set, by the name policies use without `context.` (held by a test
//! over the one table of facts).

use model::Facts;
use model::facts::{DeviceFacts, PostureFact};
use model::policy_test::FactInput;

use crate::fact_table::{FactValue, posture, walk};
use crate::problem::nearest;

/// Why a fact cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FactError {
    /// No such fact.
    #[error("`{name}` is not a fact{}", hint(.nearest))]
    Unknown {
        /// As given.
        name: String,
        /// Names that may have been meant, nearest first.
        nearest: Vec<String>,
    },
    /// A value of another type.
    #[error("`{name}` is {wanted}, and `{value}` is not")]
    WrongType {
        /// The fact.
        name: String,
        /// What it takes.
        wanted: &'static str,
        /// As given.
        value: String,
    },
}

fn hint(nearest: &[String]) -> String {
    let words: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    if words.is_empty() { String::new() } else { format!("; did you mean {}?", words.join(", ")) }
}

/// The most names offered instead of one that does not exist.
const MAX_OFFERED: usize = 5;

/// Sets one fact.
///
/// # Errors
/// The name is not known, or the value does not fit it.
pub fn set_fact(facts: &mut Facts, name: &str, value: &FactInput) -> Result<(), FactError> {
    let name = name.strip_prefix("context.").unwrap_or(name);
    let Some(slot) = slot(facts, name) else {
        return Err(FactError::Unknown { name: name.to_owned(), nearest: near(name) });
    };
    let wrong = |wanted| FactError::WrongType { name: name.to_owned(), wanted, value: value.to_string() };
    match (slot, value) {
        (Slot::Bool(slot), FactInput::Bool(value)) => *slot = *value,
        (Slot::Long(slot), FactInput::Long(value)) => *slot = *value,
        (Slot::Text(slot), FactInput::Text(value)) => slot.clone_from(value),
        (Slot::Texts(slot), FactInput::Texts(values)) => slot.clone_from(values),
        // A set of one is written as the one.
        (Slot::Texts(slot), FactInput::Text(value)) => *slot = [value.clone()].into(),
        (Slot::Bool(_), _) => return Err(wrong("`true` or `false`")),
        (Slot::Long(_), _) => return Err(wrong("a whole number")),
        (Slot::Text(_), _) => return Err(wrong("a text")),
        (Slot::Texts(_), _) => return Err(wrong("a list of texts")),
    }
    Ok(())
}

/// The names of all facts, without `context.`, sorted.
pub fn fact_names() -> Vec<String> {
    let mut names = Vec::new();
    let unknown = Facts::unknown();
    walk(&unknown, |record, attributes| {
        for (name, value) in attributes {
            match value {
                FactValue::Posture(fact) => {
                    names.extend(posture(fact).iter().map(|(member, _)| format!("{record}.{name}.{member}")));
                }
                _ => names.push(format!("{record}.{name}")),
            }
        }
    });
    names.sort();
    names
}

/// Every fact as it would be set by name, sorted by it: setting them all over unknown facts gives the same facts.
pub fn fact_values(facts: &Facts) -> Vec<(String, FactInput)> {
    let mut values = Vec::new();
    walk(facts, |record, attributes| {
        for (name, value) in attributes {
            let mut add = |name: String, value: &FactValue<'_>| values.extend(input(value).map(|value| (name, value)));
            match value {
                FactValue::Posture(fact) => {
                    posture(fact).iter().for_each(|(member, value)| add(format!("{record}.{name}.{member}"), value));
                }
                value => add(format!("{record}.{name}"), value),
            }
        }
    });
    values.sort_by(|(one, _), (other, _)| one.cmp(other));
    values
}

/// A single value; a posture fact has three.
fn input(value: &FactValue<'_>) -> Option<FactInput> {
    match value {
        FactValue::Bool(value) => Some(FactInput::Bool(*value)),
        FactValue::Long(value) => Some(FactInput::Long(*value)),
        FactValue::Posture(_) => None,
        FactValue::Text(text) => Some(FactInput::Text((*text).to_owned())),
        FactValue::Texts(texts) => Some(FactInput::Texts((*texts).clone())),
    }
}

/// Names a slip of the pen away, or with the same last word.
fn near(name: &str) -> Vec<String> {
    let names = fact_names();
    let mut found: Vec<String> =
        nearest(name, names.iter().map(String::as_str)).map(str::to_owned).into_iter().collect();
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_alike = |known: &&String| {
        let words: Vec<&str> = known.split('.').collect();
        words.contains(&last) || words.iter().skip(1).any(|word| nearest(last, [*word]).is_some())
    };
    found.extend(
        names
            .iter()
            .filter(is_alike)
            .filter(|known| !name.is_empty() && Some(*known) != found.first().as_ref().copied())
            .cloned()
            .collect::<Vec<_>>(),
    );
    found.dedup();
    found.truncate(MAX_OFFERED);
    found
}

enum Slot<'a> {
    Bool(&'a mut bool),
    Long(&'a mut i64),
    Text(&'a mut String),
    Texts(&'a mut std::collections::BTreeSet<String>),
}

fn slot<'a>(facts: &'a mut Facts, name: &str) -> Option<Slot<'a>> {
    if let Some((fact, member)) = name.strip_prefix("device.").and_then(|rest| rest.split_once('.')) {
        let PostureFact { ok, age_secs, level } = posture_of(&mut facts.device, fact)?;
        return match member {
            "age_secs" => Some(Slot::Long(age_secs)),
            "level" => Some(Slot::Long(level)),
            "ok" => Some(Slot::Bool(ok)),
            _ => None,
        };
    }
    Some(match name {
        "auth.acr" => Slot::Text(&mut facts.auth.acr),
        "auth.amr" => Slot::Texts(&mut facts.auth.amr),
        "auth.auth_age_secs" => Slot::Long(&mut facts.auth.auth_age_secs),
        "auth.authenticated" => Slot::Bool(&mut facts.auth.authenticated),
        "auth.idp" => Slot::Text(&mut facts.auth.idp),
        "auth.mfa" => Slot::Bool(&mut facts.auth.mfa),
        "auth.passkey_synced" => Slot::Bool(&mut facts.auth.passkey_synced),
        "auth.phishing_resistant" => Slot::Bool(&mut facts.auth.phishing_resistant),
        "auth.step_up_age_secs" => Slot::Long(&mut facts.auth.step_up_age_secs),
        "device.id" => Slot::Text(&mut facts.device.id),
        "device.key_level" => Slot::Long(&mut facts.device.key_level),
        "device.known" => Slot::Bool(&mut facts.device.known),
        "device.owner_is_principal" => Slot::Bool(&mut facts.device.owner_is_principal),
        "device.ownership" => Slot::Text(&mut facts.device.ownership),
        "device.state" => Slot::Text(&mut facts.device.state),
        "net.asn" => Slot::Long(&mut facts.net.asn),
        "net.country" => Slot::Text(&mut facts.net.country),
        "net.country_known" => Slot::Bool(&mut facts.net.country_known),
        "net.high_risk_country" => Slot::Bool(&mut facts.net.high_risk_country),
        "net.tor" => Slot::Bool(&mut facts.net.tor),
        "net.zones" => Slot::Texts(&mut facts.net.zones),
        "request.door" => Slot::Text(&mut facts.request.door),
        "request.epoch_secs" => Slot::Long(&mut facts.request.epoch_secs),
        "request.grpc_method" => Slot::Text(&mut facts.request.grpc_method),
        "request.grpc_service" => Slot::Text(&mut facts.request.grpc_service),
        "request.headers" => Slot::Texts(&mut facts.request.headers),
        "request.hours" => Slot::Texts(&mut facts.request.hours),
        "request.host" => Slot::Text(&mut facts.request.host),
        "request.method" => Slot::Text(&mut facts.request.method),
        "request.minute_of_day" => Slot::Long(&mut facts.request.minute_of_day),
        "request.original_path" => Slot::Text(&mut facts.request.original_path),
        "request.path" => Slot::Text(&mut facts.request.path),
        "request.port" => Slot::Long(&mut facts.request.port),
        "request.route" => Slot::Text(&mut facts.request.route),
        "request.segments" => Slot::Texts(&mut facts.request.segments),
        "request.tls_pq" => Slot::Bool(&mut facts.request.tls_pq),
        "request.tls_version" => Slot::Text(&mut facts.request.tls_version),
        "request.websocket" => Slot::Bool(&mut facts.request.websocket),
        "request.weekday" => Slot::Long(&mut facts.request.weekday),
        "risk.age_secs" => Slot::Long(&mut facts.risk.age_secs),
        "risk.anomaly" => Slot::Long(&mut facts.risk.anomaly),
        "risk.known" => Slot::Bool(&mut facts.risk.known),
        "risk.points" => Slot::Long(&mut facts.risk.points),
        "risk.signals" => Slot::Texts(&mut facts.risk.signals),
        "session.age_secs" => Slot::Long(&mut facts.session.age_secs),
        "session.bound" => Slot::Bool(&mut facts.session.bound),
        "session.granted" => Slot::Bool(&mut facts.session.granted),
        "session.grants" => Slot::Texts(&mut facts.session.grants),
        "session.idle_secs" => Slot::Long(&mut facts.session.idle_secs),
        _ => return None,
    })
}

fn posture_of<'a>(device: &'a mut DeviceFacts, fact: &str) -> Option<&'a mut PostureFact> {
    Some(match fact {
        "compliant" => &mut device.compliant,
        "edr" => &mut device.edr,
        "encrypted" => &mut device.encrypted,
        "firewall" => &mut device.firewall,
        "managed" => &mut device.managed,
        "os_patched" => &mut device.os_patched,
        "screen_lock" => &mut device.screen_lock,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_facts_make_the_same_facts() {
        let facts =
            crate::policy_test::clean_facts(model::Action::HttpGet, model::Timestamp::from_unix_secs(1_700_000_000));
        let values = fact_values(&facts);
        assert_eq!(values.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), fact_names());
        let mut made = Facts::unknown();
        for (name, value) in &values {
            set_fact(&mut made, name, value).unwrap();
        }
        assert_eq!(made, facts);
    }

    #[test]
    fn every_fact_can_be_set_by_the_name_policies_use() {
        for name in fact_names() {
            let mut facts = Facts::unknown();
            let values = [
                FactInput::Bool(true),
                FactInput::Long(7),
                FactInput::Text("x".into()),
                FactInput::Texts(["x".to_owned()].into()),
            ];
            let fits = values.iter().filter(|value| set_fact(&mut facts, &name, value).is_ok()).count();
            assert!((1..=2).contains(&fits), "{name}");
            assert_ne!(facts, Facts::unknown(), "{name}");
        }
    }

    #[test]
    fn a_name_that_does_not_exist_offers_the_nearest() {
        let error = |name: &str| set_fact(&mut Facts::unknown(), name, &FactInput::Bool(true)).unwrap_err().to_string();
        assert!(error("auth.mfaa").contains("did you mean `auth.mfa`"), "{}", error("auth.mfaa"));
        assert!(error("encrypted").contains("`device.encrypted.ok`"), "{}", error("encrypted"));
        assert_eq!(error("zzzzzzzz"), "`zzzzzzzz` is not a fact");
        let wrong = set_fact(&mut Facts::unknown(), "risk.points", &FactInput::Text("many".into())).unwrap_err();
        assert_eq!(wrong.to_string(), "`risk.points` is a whole number, and `many` is not");
    }
}
