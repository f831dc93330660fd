//! Simple rules become Cedar (PO-16): one policy per entry, its id `app/NAME/include-1`, its place the entry's line.
//!
//! Not an evaluator: what is written here is compiled, validated, hashed and judged like the text of any file. An entry
//! of `include` becomes permits, of `require` a `forbid … unless`, of `exclude` a `forbid … when`; a route's `include`
//! becomes a `forbid … unless` on the route, because a route narrows what its app allows and never widens it (GW-7).
//!
//! Invariant: what is not known makes `include` and `require` false and `exclude` true (GW-22). So each selector has two
//! conditions, and neither is the negation of the other.

use std::borrow::Borrow;
use std::sync::Arc;

use model::App;
use model::access::{AccessRules, Rule};

use crate::schema::BuiltinSchema;
use crate::source::PolicySource;

mod selector;

use selector::{Condition, condition, quoted, scopes};

/// A policy made from an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RulePolicy {
    /// What comes before its `@id`: `app/payroll`.
    pub(crate) prefix: String,
    /// The file of the entry, and the policy on one line.
    pub(crate) source: PolicySource,
    /// The line of the entry.
    pub(crate) line: usize,
}

/// The policies of all simple rules of `apps`, in their order.
pub(crate) fn translate<A: Borrow<App>>(apps: &[A], schema: &BuiltinSchema) -> Vec<RulePolicy> {
    let mut policies = Vec::new();
    for app in apps.iter().map(Borrow::borrow) {
        let name = app.name.as_str();
        if let Some(rules) = &app.access {
            let on_app =
                Owner { prefix: format!("app/{name}"), resource: format!("resource in App::{}", quoted(name)), schema };
            policies.extend(rules.include.iter().zip(1..).flat_map(|(rule, at)| on_app.permits(rule, at)));
            policies.extend(on_app.forbids(rules));
        }
        for route in &app.routes {
            let Some(rules) = &route.access else { continue };
            let id = format!("{name}/{}", route.name);
            let on_route =
                Owner { prefix: format!("app/{id}"), resource: format!("resource == Route::{}", quoted(&id)), schema };
            policies.extend(on_route.narrowed(&rules.include));
            policies.extend(on_route.forbids(rules));
        }
    }
    policies
}

/// An app or a route whose rules are translated.
struct Owner<'a> {
    prefix: String,
    resource: String,
    schema: &'a BuiltinSchema,
}

impl Owner<'_> {
    /// Permits for an entry of `include`: who is named by group or workload stands in the scope, where the index finds it.
    fn permits(&self, rule: &Rule, at: usize) -> Vec<RulePolicy> {
        let permit = |id: String, principal: &str, when: &str| {
            let head = format!("@id(\"{id}\") permit ({principal}, action in Action::\"door\", {})", self.resource);
            self.policy(rule, format!("{head}{when};"))
        };
        match scopes(&rule.selector).as_slice() {
            [] => {
                let Condition { holds, .. } = condition(&rule.selector);
                let when = if holds == "true" { String::new() } else { format!(" when {{ {holds} }}") };
                vec![permit(format!("include-{at}"), "principal", &when)]
            }
            [only] => vec![permit(format!("include-{at}"), only, "")],
            several => {
                several.iter().zip(1..).map(|(scope, part)| permit(format!("include-{at}.{part}"), scope, "")).collect()
            }
        }
    }

    /// Forbids for `require` and `exclude`.
    fn forbids(&self, rules: &AccessRules) -> Vec<RulePolicy> {
        let required = rules.require.iter().zip(1..).map(|(rule, at)| {
            let condition = condition(&rule.selector);
            let annotations = self.annotations(&condition, self.is_soft(&condition));
            self.forbid(rule, &format!("require-{at}"), &annotations, &format!("unless {{ {} }}", condition.holds))
        });
        let excluded = rules.exclude.iter().zip(1..).map(|(rule, at)| {
            let condition = condition(&rule.selector);
            let annotations = self.annotations(&condition, false);
            self.forbid(rule, &format!("exclude-{at}"), &annotations, &format!("when {{ {} }}", condition.excludes))
        });
        required.chain(excluded).collect()
    }

    /// The one forbid that a route's `include` becomes: nobody but those any entry lets in.
    fn narrowed(&self, include: &[Rule]) -> Option<RulePolicy> {
        let first = include.first()?;
        let conditions: Vec<Condition> = include.iter().map(|rule| condition(&rule.selector)).collect();
        let is_soft = conditions.iter().all(|condition| self.is_soft(condition));
        let holds: Vec<String> = conditions.iter().map(|condition| format!("({})", condition.holds)).collect();
        let annotations = if is_soft { " @class(\"step_up\")" } else { " @reason(\"not_permitted\")" };
        Some(self.forbid(first, "include", annotations, &format!("unless {{ {} }}", holds.join(" || "))))
    }

    fn forbid(&self, rule: &Rule, id: &str, annotations: &str, clause: &str) -> RulePolicy {
        let head =
            format!("@id(\"{id}\"){annotations} forbid (principal, action in Action::\"door\", {})", self.resource);
        self.policy(rule, format!("{head} {clause};"))
    }

    /// Whether every fact it reads can be changed by the person: then a refusal is remediable (PO-16).
    fn is_soft(&self, condition: &Condition) -> bool {
        !condition.facts.is_empty() && condition.facts.iter().all(|fact| is_remediable(self.schema, fact))
    }

    fn annotations(&self, condition: &Condition, is_soft: bool) -> String {
        let class = if is_soft { " @class(\"step_up\")" } else { "" };
        // The stage of whoever has not signed in comes first, so a hard forbid never speaks of identity before it.
        let stage = match condition.stage {
            Some(1) if !is_soft => String::new(),
            Some(stage) => format!(" @stage(\"{stage}\")"),
            None => String::new(),
        };
        let reason = condition.reason.filter(|_| !is_soft).map(|reason| format!(" @reason(\"{reason}\")"));
        format!("{class}{stage}{}", reason.unwrap_or_default())
    }

    fn policy(&self, rule: &Rule, text: String) -> RulePolicy {
        let (file, line) = place(&rule.declared_at);
        RulePolicy { prefix: self.prefix.clone(), source: PolicySource { file, text }, line }
    }
}

/// Whether some remedy of the schema changes the fact at `path`.
pub(crate) fn is_remediable(schema: &BuiltinSchema, path: &str) -> bool {
    let Some(path) = path.strip_prefix("context.") else { return false };
    schema.remedies.iter().flat_map(|offer| &offer.changes).any(|change| change.sets(path))
}

/// `apps.yaml:12` as file and line.
fn place(declared_at: &Arc<str>) -> (String, usize) {
    match declared_at.rsplit_once(':') {
        Some((file, line)) => (file.to_owned(), line.parse().unwrap_or(1)),
        None => (declared_at.to_string(), 1),
    }
}
