//! An answer as a policy test, ready to be put into a file beside the policies (PO-38).
//!
//! Invariant: the test names every fact the answer can depend on and starts from unknown ones, so that it asks what was
//! asked; what a test cannot ask is said instead of written down wrong.

use audit::render;
use model::policy_test::FactInput;
use model::{Decision, Facts, Principal, Reason};

use super::super::visit::Visit;
use super::question::Asked;

/// The test, or a comment that says why there is none.
pub(super) fn policy_test(visit: &Visit<'_>, asked: &Asked, decision: &Decision) -> String {
    if let Some(why) = no_test(asked, decision) {
        return format!("# A policy test cannot ask this: {why}.\n");
    }
    let app = asked.app.name.as_str();
    let resource = match &asked.request.resource.route {
        Some(route) => format!("route: {}", render::quoted(&format!("{app}/{route}"))),
        None => format!("app: {}", render::quoted(app)),
    };
    let (who, principal) = principal(asked);
    let name = format!("{who} {} {} at {}", asked.request.action, asked.request.resource, visit.now());
    format!(
        "apiVersion: countersign/v1\nkind: PolicyTest\nmetadata: {{ name: {app} }}\nspec:\n  given:\n    principal: {principal}\n    action: {}\n    resource: {{ {resource}, sensitivity: {}, requestable: {} }}\n    facts: unknown\n  table:\n    - name: {}\n      facts: {{ {} }}\n      want: {}\n      by: {}\n      fix: {}\n",
        asked.request.action,
        asked.app.effective_sensitivity().as_str(),
        asked.app.is_requestable,
        render::quoted(&name),
        facts(&asked.request.facts, decision).join(", "),
        decision.effect,
        list(decision.policies.iter().map(|policy| render::quoted(&policy.id))),
        list(decision.fix.iter().map(|fix| fix.remedy.as_str().to_owned())),
    )
}

fn no_test(asked: &Asked, decision: &Decision) -> Option<&'static str> {
    let is_person = matches!(asked.request.principal, Principal::User(_));
    match decision.reason {
        _ if asked.is_masked => Some("part of the path is masked in the record; type another path"),
        _ if asked.request.is_public_path => Some("the path is public, which the app says and no policy"),
        _ if is_person && asked.user.is_none() => Some("the person is not there any more"),
        Reason::UserDisabled => Some("it is about one person's account"),
        Reason::StepUpLoop => Some("it is about what one person has tried"),
        _ => None,
    }
}

/// In words and as YAML.
fn principal(asked: &Asked) -> (String, String) {
    match (&asked.request.principal, &asked.user) {
        (Principal::Anonymous, _) => ("anonymous".to_owned(), "{ anonymous: true }".to_owned()),
        (Principal::User(_), Some(user)) => {
            let groups = list(user.direct_groups.iter().map(|group| render::quoted(group.as_str())));
            let yaml = format!(
                "{{ user: {}, groups: {groups}, external: {} }}",
                render::quoted(&user.email),
                user.is_external
            );
            (user.email.clone(), yaml)
        }
        (other, _) => (other.to_string(), format!("{{ workload: {} }}", render::quoted(&other.to_string()))),
    }
}

/// What the answer can depend on, where it is not what an unknown fact is anyway.
fn facts(facts: &Facts, decision: &Decision) -> Vec<String> {
    let unknown = pdp_engine::fact_values(&Facts::unknown());
    let is_read = |name: &str| decision.read_set.iter().any(|path| covers(path, &format!("context.{name}")));
    let asked = pdp_engine::fact_values(facts).into_iter().zip(unknown);
    // The route is part of the resource already.
    let told =
        asked.filter(|((name, value), (_, unknown))| value != unknown && name != "request.route" && is_read(name));
    told.map(|((name, value), _)| format!("{name}: {}", yaml(&value))).collect()
}

/// A policy that reads a record reads what is in it.
fn covers(path: &str, fact: &str) -> bool {
    fact.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn yaml(value: &FactInput) -> String {
    match value {
        FactInput::Text(text) => render::quoted(text),
        FactInput::Texts(texts) => list(texts.iter().map(|text| render::quoted(text))),
        plain => plain.to_string(),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
