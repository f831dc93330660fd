//! What an operator should look at in policies, apps and directory together (PO-1, PO-4, L-2, L-16).
//!
//! Not a gate: nothing here refuses or changes an answer.

use std::collections::{BTreeSet, HashSet};

use model::decision::PolicySet;
use model::{App, AppName, Directory};

use crate::compile::{CompiledPolicies, CompiledPolicy};
use crate::entities::{Apps, Kind, Uid};
use crate::index::Part;
use crate::lint;
use crate::problem::{Finding, FindingKind, nearest};

/// Apps that no enforced permit covers, neither itself nor one of its routes.
pub(crate) fn unreachable_apps(policies: &CompiledPolicies, apps: &Apps) -> BTreeSet<AppName> {
    let permits = policies.policies.iter().filter(|policy| policy.set == PolicySet::Permit && !policy.is_shadow);
    let parts: HashSet<&Part> = permits.map(|policy| &policy.scope.resource).collect();
    let covers_all = parts.contains(&Part::Any) || parts.contains(&Part::Is(Kind::App));
    let covers_routes = parts.contains(&Part::Is(Kind::Route));
    let named: HashSet<&Uid> = parts.iter().filter_map(|part| part.named()).collect();
    let is_reachable = |app: &App| {
        covers_all
            || (covers_routes && !app.routes.is_empty())
            || named.contains(&Uid::new(Kind::App, app.name.as_str()))
            || route_uids(app).any(|uid| named.contains(&uid))
    };
    apps.iter().filter(|app| !is_reachable(app)).map(|app| app.name.clone()).collect()
}

fn route_uids(app: &App) -> impl Iterator<Item = Uid> {
    app.routes.iter().map(|route| Uid::new(Kind::Route, format!("{}/{}", app.name, route.name)))
}

/// All findings, sorted.
pub(crate) fn of(
    policies: &CompiledPolicies,
    apps: &Apps,
    directory: &Directory,
    unreachable: &BTreeSet<AppName>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = apps.iter().flat_map(|app| of_app(app, unreachable)).collect();
    let names = Names::new(apps, directory);
    findings.extend(policies.policies.iter().filter(|policy| !policy.is_builtin()).flat_map(|p| names.check(p, apps)));
    findings.extend(lint::policies(policies, apps));
    findings.sort();
    findings.dedup();
    findings
}

fn of_app(app: &App, unreachable: &BTreeSet<AppName>) -> Vec<Finding> {
    let finding = |kind, message| Finding { declared_at: app.declared_at.clone(), kind, message };
    let mut findings = Vec::new();
    if unreachable.contains(&app.name) {
        let message = format!(
            "no rule lets anyone into the app `{0}` yet; write a permit with `resource in App::\"{0}\"`",
            app.name
        );
        findings.push(finding(FindingKind::NoRule, message));
    }
    if app.sensitivity.is_none() && !app.is_control_plane() {
        let message = format!(
            "the app `{}` declares no sensitivity and counts as critical; say `low`, `medium`, `high` or `critical`",
            app.name
        );
        findings.push(finding(FindingKind::NoSensitivity, message));
    }
    findings
}

/// Everything scopes may name.
struct Names {
    known: HashSet<Uid>,
}

impl Names {
    fn new(apps: &Apps, directory: &Directory) -> Self {
        let mut known: HashSet<Uid> = HashSet::new();
        known.insert(Uid::new(Kind::App, model::app::CONTROL_APP));
        known.insert(Uid::new(Kind::User, "anonymous"));
        for app in apps.iter() {
            known.insert(Uid::new(Kind::App, app.name.as_str()));
            known.extend(route_uids(app));
        }
        known.extend(directory.groups.keys().map(|group| Uid::new(Kind::Group, group.as_str())));
        known.extend(directory.users.keys().map(|user| Uid::new(Kind::User, user.to_string())));
        Self { known }
    }

    fn check(&self, policy: &CompiledPolicy, apps: &Apps) -> Vec<Finding> {
        let finding = |kind, message| Finding { declared_at: policy.declared_at.clone(), kind, message };
        let scope = [&policy.scope.principal, &policy.scope.resource];
        let named = scope.into_iter().filter_map(Part::named);
        // Workloads have no list to be checked against.
        let unknown = named.filter(|uid| uid.kind != Kind::Workload && !self.known.contains(uid));
        let mut findings: Vec<Finding> = unknown
            .map(|uid| finding(FindingKind::UnknownName, format!("`{}` names {}", policy.id, self.missing(uid))))
            .collect();
        if let Part::Eq(Uid { kind: Kind::App, id }) = &policy.scope.resource {
            let has_routes = apps.find(&AppName::new(id)).is_some_and(|app| !app.routes.is_empty());
            if has_routes {
                let message = format!(
                    "`{}` covers the app `{id}` but none of its routes; write `resource in App::{id:?}`",
                    policy.id
                );
                findings.push(finding(FindingKind::RoutesNotCovered, message));
            }
        }
        findings
    }

    fn missing(&self, uid: &Uid) -> String {
        let kind = uid.kind.as_str().to_ascii_lowercase();
        let alike = self.known.iter().filter(|known| known.kind == uid.kind).map(|known| known.id.as_str());
        match nearest(&uid.id, alike) {
            Some(word) => format!("the {kind} `{}`, which does not exist; did you mean `{word}`?", uid.id),
            None => format!("the {kind} `{}`, which does not exist", uid.id),
        }
    }
}
