//! Validation without repetition (PO-25): Cedar checks a policy with every kind of principal, action and
//! resource there is, 76 of them, although most policies cannot tell them apart.
//!
//! A policy whose clauses name neither principal, action nor resource has the same types in all of them, and one that
//! its scope covers stands for all; what is named is checked in full. Invariants: a policy that passes here without a
//! word passes the full check without a word; every other one is left to the full check, whose words people read.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Policy, PolicySet, Schema, SchemaFragment, ValidationMode, Validator};
use model::Action;
use serde_json::{Value, json};

use crate::compile::CompiledPolicy;
use crate::entities::Kind;
use crate::index::Part;
use crate::schema::{BuiltinSchema, bit};

/// How far policies may reach through entities (`principal.x` is 1).
pub(crate) const MAX_LEVEL: u32 = 1;

/// The questions that stand for all a policy covers; `None`: every one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Stand {
    principal: Option<Kind>,
    action: Option<Action>,
    resource: Option<Kind>,
}

/// Ids of the policies that need the full check.
pub(crate) fn doubtful<'a>(
    schema: &BuiltinSchema,
    policies: impl Iterator<Item = (&'a CompiledPolicy, &'a Policy)>,
) -> HashSet<&'a str> {
    let mut groups: HashMap<Stand, Vec<(&str, &Policy)>> = HashMap::new();
    for (policy, cedar) in policies {
        groups.entry(stand(policy)).or_default().push((&policy.id, cedar));
    }
    let mut doubtful = HashSet::new();
    for (stand, group) in groups {
        let all = group.iter().map(|(id, _)| *id);
        let set = PolicySet::from_policies(group.iter().map(|(_, policy)| (*policy).clone()));
        let (Some(narrow), Ok(set)) = (narrowed(&schema.json, stand), set) else {
            doubtful.extend(all);
            continue;
        };
        let result = Validator::new(narrow).validate_with_level(&set, ValidationMode::Strict, MAX_LEVEL);
        let errors = result.validation_errors().map(|error| error.policy_id());
        let said: HashSet<&str> = errors
            .chain(result.validation_warnings().map(|warning| warning.policy_id()))
            .map(AsRef::<str>::as_ref)
            .collect();
        doubtful.extend(all.filter(|id| said.contains(id)));
    }
    doubtful
}

fn stand(policy: &CompiledPolicy) -> Stand {
    let mentions = policy.condition.mentions();
    let unless = |is_mentioned: bool, part: &Part, usual| if is_mentioned { None } else { covered(part, usual) };
    let action = Action::ALL.iter().copied().find(|action| policy.scope.actions & bit(*action) != 0);
    Stand {
        principal: unless(mentions.principal, &policy.scope.principal, Kind::User),
        action: action.filter(|_| !mentions.action),
        resource: unless(mentions.resource, &policy.scope.resource, Kind::App),
    }
}

/// A kind the part of a scope covers. Where it covers none Cedar warns that the policy never applies, and the full check
/// says so.
fn covered(part: &Part, usual: Kind) -> Option<Kind> {
    match part {
        Part::Any => Some(usual),
        Part::Is(kind) | Part::IsIn(kind, _) => Some(*kind),
        Part::Eq(uid) => Some(uid.kind),
        // Persons and workloads are in groups.
        Part::In(uid) if uid.kind == Kind::Group => Some(usual),
        Part::In(uid) => Some(uid.kind),
    }
}

/// The schema with only these questions. `None` if actions differ in what they apply to: then none stands for another.
fn narrowed(schema: &Value, stand: Stand) -> Option<Schema> {
    let mut schema = schema.clone();
    let actions = schema.pointer_mut("//actions")?.as_object_mut()?;
    // Groups of actions apply to nothing themselves.
    let is_group = |action: &Value| action.pointer("/appliesTo/principalTypes").is_none_or(|kinds| *kinds == json!([]));
    let single = actions.values().filter(|action| !is_group(action));
    if single.map(|action| action.get("appliesTo")).collect::<HashSet<_>>().len() > 1 {
        return None;
    }
    for (name, action) in actions.iter_mut().filter(|(_, action)| !is_group(action)) {
        let action = action.as_object_mut()?;
        if stand.action.is_some_and(|kept| kept.as_str() != name) {
            action.remove("appliesTo");
        }
        let Some(applies) = action.get_mut("appliesTo") else { continue };
        for (key, kept) in [("principalTypes", stand.principal), ("resourceTypes", stand.resource)] {
            let kinds = applies.get_mut(key)?;
            if let Some(kept) = kept {
                let is_known = kinds.as_array()?.contains(&json!(kept.as_str()));
                *kinds = if is_known { json!([kept.as_str()]) } else { return None };
            }
        }
    }
    let fragment = SchemaFragment::from_json_value(schema).ok()?;
    Schema::from_schema_fragments([fragment]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compilation;
    use crate::source::PolicySource;

    /// The parts of `stand` that are narrowed down, and whether the policy needs the full check.
    fn check(policy: &str, expected: &str) {
        let source = PolicySource { file: "t.cedar".into(), text: format!("@id(\"a\") {policy}") };
        let (schema, read) = compilation::read_only(&source);
        let pairs = || read.iter().map(|(policy, cedar)| (policy, cedar));
        let (policy, _) = read.iter().find(|(policy, _)| &*policy.id == "t/a").unwrap();
        let Stand { principal, action, resource } = stand(policy);
        let full = Validator::new(schema.cedar.clone());
        let set = PolicySet::from_policies(read.iter().map(|(_, cedar)| cedar.clone())).unwrap();
        let result = full.validate_with_level(&set, ValidationMode::Strict, MAX_LEVEL);
        let is_doubtful = doubtful(&schema, pairs()).contains("t/a");
        assert_eq!(
            is_doubtful,
            !result.validation_passed_without_warnings(),
            "the narrow check agrees with the full one"
        );
        let part = |kind: Option<Kind>| kind.map_or("every", Kind::as_str);
        let got = format!(
            "{} {} {}: {}",
            part(principal),
            action.map_or("every", Action::as_str),
            part(resource),
            if is_doubtful { "doubtful" } else { "valid" }
        );
        assert_eq!(got, expected, "{}", policy.text);
    }

    #[test]
    fn one_question_stands_for_all_that_a_policy_cannot_tell_apart() {
        let group = "permit (principal in Group::\"g\", action in Action::\"write\", resource in App::\"a\")";
        check(&format!("{group};"), "User admin.write App: valid");
        check(&format!("{group} when {{ context.auth.mfa }};"), "User admin.write App: valid");
        check(&format!("{group} when {{ principal is User && principal.external }};"), "every admin.write App: valid");
        check(&format!("{group} when {{ resource.label == \"x\" }};"), "User admin.write every: valid");
        check(&format!("{group} when {{ action == Action::\"http.put\" }};"), "User every App: valid");
        check("forbid (principal is Workload, action, resource is Route);", "Workload admin.read Route: valid");
    }

    #[test]
    fn what_the_full_check_would_say_is_never_missed() {
        let any = "permit (principal, action, resource)";
        check(&format!("{any} when {{ context.auth.nothing }};"), "User admin.read App: doubtful");
        check(&format!("{any} when {{ principal.external }};"), "every admin.read App: doubtful");
        check(
            &format!("{any} when {{ principal is Workload && principal.external }};"),
            "every admin.read App: doubtful",
        );
        check("permit (principal in App::\"a\", action, resource);", "App admin.read App: doubtful");
        check("permit (principal, action, resource) when { false };", "User admin.read App: doubtful");
        check("permit (principal in User::\"a\", action == Action::\"read\", resource);", "User every App: doubtful");
    }
}
