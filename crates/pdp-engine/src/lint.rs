//! Findings in what policies say (PO-42; GW-4, GW-7): nothing here refuses or changes an answer.
//!
//! Not a proof: what is plain from scopes, reads and the syntax tree is told, and what [`counterfactual`] finds by asking. What would be refused anyway (a forbid
//! without id, an extension literal) is not repeated here.

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, PatternElem};
use model::App;
use model::app::PathOpening;
use model::decision::PolicySet;

use crate::analysis::path_of;
use crate::compile::{CompiledPolicies, CompiledPolicy};
use crate::counterfactual;
use crate::entities::{Apps, Kind, Uid};
use crate::index::Part;
use crate::kernel::Parsed;
use crate::problem::{Finding, FindingKind, nearest};

/// Texts with a list of their own; anything else never matches.
const WORDS: [(&str, &[&str]); 4] = [
    ("resource.sensitivity", &["low", "medium", "high", "critical"]),
    ("resource.label", &["public", "internal", "confidential", "restricted"]),
    ("context.request.door", &["http", "control"]),
    ("context.auth.acr", &["", "phr", "phrh", "urn:countersign:acr:mfa"]),
];
/// Facts and records of facts that no part of this version brings.
const UNFED: [&str; 10] = [
    "context.device",
    "context.net.asn",
    "context.net.country",
    "context.net.country_known",
    "context.net.high_risk_country",
    "context.net.tor",
    "context.risk",
    "context.session.bound",
    "context.session.granted",
    "context.session.grants",
];
/// The facts that hold a path.
const PATHS: [&str; 2] = ["context.request.path", "context.request.original_path"];

/// Findings in the operator's own policies; those made from simple rules are right by construction.
pub(crate) fn policies(policies: &CompiledPolicies, apps: &Apps) -> Vec<Finding> {
    let mut findings = counterfactual::findings(policies, apps);
    for policy in policies.policies.iter().filter(|policy| is_own(policy)) {
        let mut lint = Lint { policy, findings: Vec::new() };
        lint.reads();
        lint.scope(policies, apps);
        if let Ok(tree) = Parsed::one(&policy.text).and_then(|parsed| parsed.tree()) {
            for clause in tree.clauses() {
                let (Clause::When(expr) | Clause::Unless(expr)) = clause;
                lint.expr(expr);
            }
        }
        findings.append(&mut lint.findings);
    }
    findings.extend(apps.iter().flat_map(|app| openings(policies, app)));
    findings
}

/// Whether operators wrote it.
pub(crate) fn is_own(policy: &CompiledPolicy) -> bool {
    !policy.is_builtin() && !policy.id.starts_with("app/")
}

/// The findings of one policy.
struct Lint<'a> {
    policy: &'a CompiledPolicy,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn tell(&mut self, kind: FindingKind, message: String) {
        let declared_at = self.policy.declared_at.clone();
        self.findings.push(Finding { declared_at, kind, message: format!("`{}` {message}", self.policy.id) });
    }

    /// What it reads, and what it should read beside that.
    fn reads(&mut self) {
        let reads = &self.policy.reads.paths;
        let stale: Vec<String> = reads
            .iter()
            .filter_map(|path| path.strip_suffix(".ok"))
            .filter(|fact| fact.starts_with("context.device.") && !reads.contains(&format!("{fact}.age_secs")))
            .map(str::to_owned)
            .collect();
        for fact in stale {
            let message = format!("reads `{fact}.ok` whatever its age; compare `{fact}.age_secs` with a number too");
            self.tell(FindingKind::PostureWithoutAge, message);
        }
        let is_in = |path: &str, record: &str| {
            path.strip_prefix(record).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let unfed: Vec<&str> = UNFED.into_iter().filter(|fact| reads.iter().any(|path| is_in(path, fact))).collect();
        if !unfed.is_empty() {
            let message = format!(
                "reads {}, which nothing brings yet: what is unknown has the value that helps least",
                unfed.iter().map(|fact| format!("`{fact}`")).collect::<Vec<_>>().join(", ")
            );
            self.tell(FindingKind::NoSource, message);
        }
        let reads_any = |record: &str| reads.iter().any(|path| path.starts_with(record));
        let is_granted = reads_any("context.session.granted") && self.policy.set == PolicySet::Permit;
        if is_granted && !reads_any("context.risk") && !reads_any("context.device") {
            let message = "opens with an approval whatever the risk and the device are; ask for them too".to_owned();
            self.tell(FindingKind::GrantIgnoresRisk, message);
        }
    }

    /// What its scope means beside those of others.
    fn scope(&mut self, policies: &CompiledPolicies, apps: &Apps) {
        if self.policy.set != PolicySet::Permit || self.policy.is_shadow {
            return;
        }
        let shadows = |other: &&std::sync::Arc<CompiledPolicy>| {
            other.set == PolicySet::HardForbid
                && !other.is_shadow
                && other.condition.is_empty()
                && is_wider(other, self.policy)
        };
        if let Some(forbid) = policies.policies.iter().find(shadows) {
            self.tell(
                FindingKind::ShadowedPermit,
                format!("never decides: the forbid `{}` has no condition", forbid.id),
            );
        }
        let Some(Uid { kind: Kind::Route, id }) = self.policy.scope.resource.named() else { return };
        let app = id.split('/').next().unwrap_or(id);
        if apps.iter().any(|known| known.name.as_str() == app && !known.is_control_plane()) {
            let message = format!(
                "permits one route of the app `{app}` on its own and so lets in people whom nothing lets into the app; \
                 routes narrow: permit the app, and forbid on the route"
            );
            self.tell(FindingKind::RouteWidened, message);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::BinaryOp { op, left, right } => {
                self.binary(*op, left, right);
                self.expr(left);
                self.expr(right);
            }
            Expr::UnaryOp { expr, .. } | Expr::GetAttr { expr, .. } => self.expr(expr),
            Expr::Like { expr, pattern } if path_of(expr).is_some_and(|path| PATHS.contains(&path.as_str())) => {
                self.pattern(pattern);
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                [cond, then_expr, else_expr].into_iter().for_each(|expr| self.expr(expr));
            }
            Expr::Set(members) => members.iter().for_each(|member| self.expr(member)),
            _ => {}
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let is_number = |expr: &Expr| matches!(expr, Expr::Literal(Literal::Long(_)));
        if matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) && !(is_number(left) && is_number(right)) {
            let message = "calculates with facts; a number too large is an error, and an error is DENY".to_owned();
            self.tell(FindingKind::Arithmetic, message);
        }
        let pairs: Vec<(&Expr, &Expr)> = match (op, left) {
            (BinaryOp::Eq | BinaryOp::NotEq, _) => vec![(left, right), (right, left)],
            (BinaryOp::Contains, Expr::Set(members)) => members.iter().map(|member| (right, member.as_ref())).collect(),
            _ => Vec::new(),
        };
        for (fact, text) in pairs {
            let (Some(path), Expr::Literal(Literal::String(text))) = (path_of(fact), text) else { continue };
            let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == path) else { continue };
            if !words.contains(&text.as_str()) {
                let hint = nearest(text, words.iter().copied()).map(|word| format!("; did you mean `{word}`?"));
                let message = format!("compares `{path}` with `{text}`, which it never is{}", hint.unwrap_or_default());
                self.tell(FindingKind::UnknownWord, message);
            }
        }
    }

    /// `like` knows no segments: `/admin*` is `/administrator` too, and `*/admin` is anywhere.
    fn pattern(&mut self, pattern: &[PatternElem]) {
        let is_loose =
            |pair: &[PatternElem]| matches!(pair, [PatternElem::Char(c), PatternElem::Wildcard] if *c != '/');
        let is_unanchored = matches!(pattern.first(), Some(PatternElem::Wildcard));
        if is_unanchored || pattern.windows(2).any(is_loose) {
            let message = "matches a path by a pattern without whole segments: `/admin*` is `/administrator` too; \
                           write `== \"/admin\" || like \"/admin/*\"`";
            self.tell(FindingKind::UnanchoredPath, message.to_owned());
        }
    }
}

/// Whether every question `narrow` covers is covered by `wide`, as far as scopes alone say.
fn is_wider(wide: &CompiledPolicy, narrow: &CompiledPolicy) -> bool {
    let part = |wide: &Part, narrow: &Part| match (wide, narrow) {
        (Part::Any, _) => true,
        (Part::In(a), Part::Eq(b) | Part::In(b) | Part::IsIn(_, b)) => {
            a == b || (a.kind == Kind::App && b.kind == Kind::Route && b.id.starts_with(&format!("{}/", a.id)))
        }
        (wide, narrow) => wide == narrow,
    };
    part(&wide.scope.principal, &narrow.scope.principal)
        && part(&wide.scope.resource, &narrow.scope.resource)
        && narrow.scope.actions & !wide.scope.actions == 0
}

/// The path rules that each opening of an app's path form weakens (GW-4).
fn openings(policies: &CompiledPolicies, app: &App) -> Option<Finding> {
    if app.path.allow.is_empty() {
        return None;
    }
    let words: Vec<&str> = app.path.allow.iter().map(|opening| word(*opening)).collect();
    let routes = app.routes.iter().filter(|route| route.path_prefix != "/");
    let mut weakened: Vec<String> =
        routes.map(|route| format!("route `{}` ({})", route.name, route.path_prefix)).collect();
    weakened.extend(app.public_paths.iter().map(|path| format!("public path `{path}`")));
    let reads_path = |policy: &CompiledPolicy| {
        policy.reads.paths.iter().any(|path| PATHS.contains(&path.as_str()) || path == "context.request.segments")
    };
    let concerns = |policy: &CompiledPolicy| match policy.scope.resource.named() {
        None => true,
        Some(uid) => uid.id == app.name.as_str() || uid.id.starts_with(&format!("{}/", app.name)),
    };
    let reading = policies.policies.iter().filter(|policy| reads_path(policy) && concerns(policy));
    weakened.extend(reading.map(|policy| format!("policy `{}`", policy.id)));
    if weakened.is_empty() {
        return None;
    }
    Some(Finding {
        declared_at: app.declared_at.clone(),
        kind: FindingKind::WeakenedPath,
        message: format!(
            "`path.allow: [{}]` of the app `{}` weakens what is decided by path: {}",
            words.join(", "),
            app.name,
            weakened.join(", ")
        ),
    })
}

fn word(opening: PathOpening) -> &'static str {
    match opening {
        PathOpening::EmptySegment => "empty_segment",
        PathOpening::EncodedPercent => "encoded_percent",
        PathOpening::EncodedSlash => "encoded_slash",
        PathOpening::Semicolon => "semicolon",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Sensitivity;

    #[test]
    fn the_words_of_a_sensitivity_are_those_of_the_model() {
        let words = [Sensitivity::Low, Sensitivity::Medium, Sensitivity::High, Sensitivity::Critical];
        assert_eq!(WORDS[0].1, words.map(Sensitivity::as_str));
    }
}
