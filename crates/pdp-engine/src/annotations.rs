//! What annotations on a policy mean (PO-2, PO-15, PO-24; R-13).
//!
//! Invariants: `@id` is mandatory; a misspelt known annotation or a value outside its list is refused, because a
//! silently ignored `@clas("step_up")` would turn a soft forbid into a hard one; anything else unknown only warns.

use std::collections::BTreeMap;

use cedar_policy::{Effect, Policy};
use model::Reason;
use model::decision::PolicySet;

use crate::problem::nearest;

/// The longest `@id`.
pub(crate) const MAX_ID_BYTES: usize = 63;

const KNOWN: [&str; 7] = ["audit", "class", "id", "mode", "reason", "stage", "title"];
/// Reasons a forbid may give by `@reason`.
const REASONS: [(&str, Reason); 8] = [
    ("device_not_compliant", Reason::DeviceNotCompliant),
    ("device_unknown", Reason::DeviceUnknown),
    ("facts_stale", Reason::FactsStale),
    ("forbidden", Reason::Forbidden),
    ("login_required", Reason::LoginRequired),
    ("network", Reason::Network),
    ("not_permitted", Reason::NotPermitted),
    ("risk", Reason::Risk),
];

/// The stages that order explanations (PO-15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    Identity,
    Device,
    Network,
    Anomaly,
    Permission,
}

impl Stage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stage::Identity => "identity",
            Stage::Device => "device",
            Stage::Network => "network",
            Stage::Anomaly => "anomaly",
            Stage::Permission => "permission",
        }
    }
}

/// The annotations of one policy.
#[derive(Clone, Debug)]
pub(crate) struct Annotations {
    pub(crate) id: String,
    pub(crate) set: PolicySet,
    pub(crate) stage: Stage,
    pub(crate) reason: Option<Reason>,
    pub(crate) title: Option<String>,
    pub(crate) is_shadow: bool,
    pub(crate) is_audit_strict: bool,
    /// Annotations nothing reads.
    pub(crate) unknown: Vec<String>,
}

/// What is wrong with an annotation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AnnotationError {
    #[error("the policy has no `@id`; every policy needs one, for example `@id(\"staff\")`")]
    NoId,
    #[error("`@id(\"{0}\")` is not a policy id; use 1 to {MAX_ID_BYTES} of letters, digits, `-`, `_` and `.`")]
    BadId(String),
    #[error("`@{word}` is not an annotation; there are {}", list(&KNOWN))]
    Misspelt { word: String, nearest: String },
    #[error("`@{name}(\"{value}\")` is not known; choose {}", list(.choices))]
    BadValue { name: &'static str, value: String, choices: Vec<&'static str>, nearest: Option<String> },
    #[error("`@{0}` has a meaning on forbids only; remove it or write a forbid")]
    OnlyOnForbids(&'static str),
}

impl AnnotationError {
    pub(crate) fn nearest(&self) -> Option<String> {
        match self {
            AnnotationError::Misspelt { nearest, .. } => Some(nearest.clone()),
            AnnotationError::BadValue { nearest, .. } => nearest.clone(),
            AnnotationError::NoId | AnnotationError::BadId(_) | AnnotationError::OnlyOnForbids(_) => None,
        }
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Reads the annotations of `policy`; all errors at once, beside what was understood, so that the rest of the policy is
/// looked at all the same.
pub(crate) fn read(policy: &Policy) -> (Annotations, Vec<AnnotationError>) {
    // Cedar parses the name of each annotation it is asked for, at the price of a policy; the list is free.
    let mut reader = Reader { policy, values: policy.annotations().collect(), errors: Vec::new() };
    let annotations = reader.annotations();
    (annotations, reader.errors)
}

struct Reader<'a> {
    policy: &'a Policy,
    values: BTreeMap<&'a str, &'a str>,
    errors: Vec<AnnotationError>,
}

impl Reader<'_> {
    fn annotations(&mut self) -> Annotations {
        let set = self.set();
        Annotations {
            id: self.id(),
            set,
            stage: self.stage(),
            reason: self.reason(set),
            title: self.values.get("title").map(|title| (*title).to_owned()),
            is_shadow: self.choose("mode", &[("shadow", true)]).unwrap_or(false),
            is_audit_strict: self.choose("audit", &[("standard", false), ("strict", true)]).unwrap_or(false),
            unknown: self.unknown(),
        }
    }

    fn id(&mut self) -> String {
        let Some(id) = self.values.get("id").copied() else {
            self.errors.push(AnnotationError::NoId);
            return String::new();
        };
        let is_clean = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !is_clean || id.is_empty() || id.len() > MAX_ID_BYTES {
            self.errors.push(AnnotationError::BadId(id.chars().take(MAX_ID_BYTES).collect()));
        }
        id.to_owned()
    }

    fn set(&mut self) -> PolicySet {
        let class = self.choose("class", &[("deny", PolicySet::HardForbid), ("step_up", PolicySet::SoftForbid)]);
        match (self.policy.effect(), class) {
            (Effect::Permit, Some(_)) => {
                self.errors.push(AnnotationError::OnlyOnForbids("class"));
                PolicySet::Permit
            }
            (Effect::Permit, None) => PolicySet::Permit,
            (Effect::Forbid, class) => class.unwrap_or(PolicySet::HardForbid),
        }
    }

    fn stage(&mut self) -> Stage {
        let stages = [
            ("1", Stage::Identity),
            ("2", Stage::Device),
            ("3", Stage::Network),
            ("4", Stage::Anomaly),
            ("5", Stage::Permission),
        ];
        self.choose("stage", &stages).unwrap_or(Stage::Permission)
    }

    fn reason(&mut self, set: PolicySet) -> Option<Reason> {
        let reason = self.choose("reason", &REASONS);
        if reason.is_some() && set == PolicySet::Permit {
            self.errors.push(AnnotationError::OnlyOnForbids("reason"));
        }
        reason
    }

    fn choose<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let value = self.values.get(name).copied()?;
        let chosen = choices.iter().find(|(word, _)| *word == value).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let choices: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
            let nearest = nearest(value, choices.iter().copied()).map(str::to_owned);
            let value = value.chars().take(64).collect();
            self.errors.push(AnnotationError::BadValue { name, value, choices, nearest });
        }
        chosen
    }

    fn unknown(&mut self) -> Vec<String> {
        let mut unknown = Vec::new();
        for word in self.values.keys().filter(|word| !KNOWN.contains(word)) {
            match nearest(word, KNOWN) {
                Some(nearest) => self
                    .errors
                    .push(AnnotationError::Misspelt { word: (*word).to_owned(), nearest: nearest.to_owned() }),
                None => unknown.push((*word).to_owned()),
            }
        }
        unknown.sort();
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(annotations: &str, effect: &str, expected: Result<PolicySet, &str>) {
        let text = format!("{annotations} {effect}(principal, action, resource);");
        let policy = Policy::parse(None, &text).unwrap();
        let got = match read(&policy) {
            (read, errors) if errors.is_empty() => Ok(read.set),
            (_, errors) => Err(errors),
        };
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{text}"),
            (Err(errors), Err(part)) => {
                let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
                assert!(messages.iter().any(|message| message.contains(part)), "{text}: {messages:?}");
            }
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn annotations_are_read_or_refused() {
        check("@id(\"a\")", "permit", Ok(PolicySet::Permit));
        check("@id(\"a\")", "forbid", Ok(PolicySet::HardForbid));
        check("@id(\"a\") @class(\"deny\")", "forbid", Ok(PolicySet::HardForbid));
        check("@id(\"a\") @class(\"step_up\") @stage(\"4\")", "forbid", Ok(PolicySet::SoftForbid));
        check("@id(\"a\") @owner(\"crm team\")", "permit", Ok(PolicySet::Permit));
        check("", "permit", Err("no `@id`"));
        check("@id(\"a b\")", "permit", Err("is not a policy id"));
        check("@id(\"\")", "permit", Err("is not a policy id"));
        check("@id(\"a\") @class(\"stepup\")", "forbid", Err("choose `deny`, `step_up`"));
        check("@id(\"a\") @class(\"step_up\")", "permit", Err("forbids only"));
        check("@id(\"a\") @clas(\"step_up\")", "forbid", Err("`@clas` is not an annotation"));
        check("@id(\"a\") @stage(\"6\")", "forbid", Err("@stage(\"6\")"));
        check("@id(\"a\") @mode(\"shadows\")", "forbid", Err("choose `shadow`"));
        check("@id(\"a\") @reason(\"because\")", "forbid", Err("@reason(\"because\")"));
        check("@id(\"a\") @reason(\"risk\")", "permit", Err("forbids only"));
        check("@id(\"a\") @audit(\"loose\")", "permit", Err("choose `standard`, `strict`"));
    }

    #[test]
    fn a_misspelt_class_never_turns_a_soft_forbid_into_a_hard_one() {
        let policy =
            Policy::parse(None, "@id(\"a\") @klass(\"step_up\") forbid(principal, action, resource);").unwrap();
        let (_, errors) = read(&policy);
        assert_eq!(errors[0].nearest().as_deref(), Some("class"));
    }
}
