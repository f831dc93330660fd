//! What a policy reads (PO-13, PO-14) and whether it is within limits (T-13).
//!
//! Not an evaluator: it walks the public syntax tree once, at load. Invariant: a time-derived fact read in any other way
//! than against number literals counts as moving all the time.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, Template, UnaryOp, Var};

/// The longest `like` pattern: matching costs pattern times text.
pub(crate) const MAX_PATTERN: usize = 256;

/// The facts that move with the clock.
const TIME_FACTS: [&str; 15] = [
    "context.auth.auth_age_secs",
    "context.auth.step_up_age_secs",
    "context.device.compliant.age_secs",
    "context.device.edr.age_secs",
    "context.device.encrypted.age_secs",
    "context.device.firewall.age_secs",
    "context.device.managed.age_secs",
    "context.device.os_patched.age_secs",
    "context.device.screen_lock.age_secs",
    "context.request.epoch_secs",
    "context.request.minute_of_day",
    "context.request.weekday",
    "context.risk.age_secs",
    "context.session.age_secs",
    "context.session.idle_secs",
];

/// How a policy looks at a time-derived fact.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TimeUse {
    /// The answer may change when the fact first differs from or first reaches past `literal`.
    Literal { fact: &'static str, literal: i64, flip: Flip },
    /// In a way that is not understood.
    Opaque,
}

/// At which values of a rising fact a comparison with a literal changes its truth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Flip {
    /// On reaching the literal, and on leaving it (`==`, `!=`).
    AtAndAfter,
    /// On reaching the literal (`<`, `>=`).
    At,
    /// On leaving the literal (`<=`, `>`).
    After,
}

/// What a policy reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reads {
    /// `context.auth.mfa`, `resource.sensitivity`; a record read as a whole appears as its own path.
    pub(crate) paths: BTreeSet<String>,
    pub(crate) time: BTreeSet<TimeUse>,
    /// The longest `like` pattern.
    pub(crate) longest_pattern: usize,
    /// An extension function it calls, with what to use instead.
    pub(crate) extension: Option<(&'static str, &'static str)>,
}

/// Walks the conditions of `policy`.
pub(crate) fn reads(policy: &Template) -> Reads {
    let mut reads = Reads::default();
    for clause in policy.clauses() {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        reads.visit(expr);
    }
    reads
}

impl Reads {
    fn visit(&mut self, expr: &Expr) {
        if let Some(path) = path_of(expr) {
            self.read(path);
            return;
        }
        match expr {
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::UnaryOp { op, expr } => {
                self.extension = self.extension.or(extension(*op));
                self.visit(expr);
            }
            Expr::GetAttr { expr, .. } | Expr::Is { expr, in_expr: None, .. } => self.visit(expr),
            Expr::Like { expr, pattern } => {
                self.longest_pattern = self.longest_pattern.max(pattern.len());
                self.visit(expr);
            }
            Expr::HasAttr { expr, attrs } => match path_of(expr) {
                Some(path) => {
                    let tested: Vec<&str> = attrs.iter().map(|attr| attr.as_str()).collect();
                    self.paths.insert(format!("{path}.{}", tested.join(".")));
                }
                None => self.visit(expr),
            },
            Expr::Is { expr, in_expr: Some(group), .. } => {
                self.visit(expr);
                self.visit(group);
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                [cond, then_expr, else_expr].into_iter().for_each(|expr| self.visit(expr));
            }
            Expr::Set(members) => members.iter().for_each(|member| self.visit(member)),
            Expr::Record(fields) => fields.values().for_each(|field| self.visit(field)),
            // Literals read nothing. Slots, unknowns and whatever Cedar adds later never pass validation here.
            _ => {}
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        let literal_uses = match op {
            BinaryOp::Contains => members(left).and_then(|members| uses(right, &members, Flip::AtAndAfter)),
            _ => flips(op).and_then(|(straight, turned)| {
                let straight = long(right).and_then(|literal| uses(left, &[literal], straight));
                straight.or_else(|| long(left).and_then(|literal| uses(right, &[literal], turned)))
            }),
        };
        match literal_uses {
            Some((path, uses)) => {
                self.paths.insert(path);
                self.time.extend(uses);
            }
            None => {
                self.visit(left);
                self.visit(right);
            }
        }
    }

    fn read(&mut self, path: String) {
        let is_prefix =
            |fact: &str| fact.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if TIME_FACTS.iter().any(|fact| is_prefix(fact)) {
            self.time.insert(TimeUse::Opaque);
        }
        if path.contains('.') || path == "context" {
            self.paths.insert(path);
        }
    }
}

/// The constructors of extension values: there is no other source of them, since no fact or attribute has such a type.
fn extension(op: UnaryOp) -> Option<(&'static str, &'static str)> {
    match op {
        UnaryOp::Datetime => Some((
            "datetime",
            "`context.request.epoch_secs`, `context.request.minute_of_day` or `context.request.weekday`",
        )),
        UnaryOp::Decimal => Some(("decimal", "a whole number such as `context.risk.points`")),
        UnaryOp::Duration => Some(("duration", "a number of seconds such as `context.auth.auth_age_secs`")),
        UnaryOp::Ip => Some(("ip", "`context.net.zones`, `context.net.country` or `context.net.asn`")),
        _ => None,
    }
}

/// When `fact op literal` and `literal op fact` change their truth.
fn flips(op: BinaryOp) -> Option<(Flip, Flip)> {
    match op {
        BinaryOp::Eq | BinaryOp::NotEq => Some((Flip::AtAndAfter, Flip::AtAndAfter)),
        BinaryOp::Less | BinaryOp::GreaterEq => Some((Flip::At, Flip::After)),
        BinaryOp::LessEq | BinaryOp::Greater => Some((Flip::After, Flip::At)),
        _ => None,
    }
}

fn uses(expr: &Expr, literals: &[i64], flip: Flip) -> Option<(String, Vec<TimeUse>)> {
    let path = path_of(expr)?;
    let fact = TIME_FACTS.iter().copied().find(|fact| *fact == path)?;
    Some((path, literals.iter().map(|literal| TimeUse::Literal { fact, literal: *literal, flip }).collect()))
}

fn long(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(Literal::Long(value)) => Some(*value),
        _ => None,
    }
}

fn members(expr: &Expr) -> Option<Vec<i64>> {
    match expr {
        Expr::Set(members) => members.iter().map(|member| long(member)).collect(),
        _ => None,
    }
}

/// `context.auth.mfa` for an access chain that starts at a variable.
pub(crate) fn path_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Var(Var::Context) => Some("context".to_owned()),
        Expr::Var(Var::Principal) => Some("principal".to_owned()),
        Expr::Var(Var::Resource) => Some("resource".to_owned()),
        Expr::GetAttr { expr, attr } => path_of(expr).map(|path| format!("{path}.{attr}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::Policy;

    fn of(condition: &str) -> Reads {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        reads(Policy::parse(None, text).unwrap().to_pst().unwrap().body())
    }

    fn check_time(condition: &str, expected: &[(i64, Flip)]) {
        let got: Vec<(i64, Flip)> = of(condition)
            .time
            .into_iter()
            .map(|time| match time {
                TimeUse::Literal { literal, flip, .. } => (literal, flip),
                TimeUse::Opaque => (-1, Flip::At),
            })
            .collect();
        assert_eq!(got, expected, "{condition}");
    }

    #[test]
    fn comparisons_of_time_with_literals_are_understood() {
        check_time("context.auth.mfa", &[]);
        check_time("context.auth.step_up_age_secs > 900", &[(900, Flip::After)]);
        check_time("900 < context.auth.step_up_age_secs", &[(900, Flip::After)]);
        check_time("context.auth.step_up_age_secs < 900", &[(900, Flip::At)]);
        check_time("900 > context.auth.step_up_age_secs", &[(900, Flip::At)]);
        check_time("context.request.weekday == 6", &[(6, Flip::AtAndAfter)]);
        check_time("[6, 7].contains(context.request.weekday)", &[(6, Flip::AtAndAfter), (7, Flip::AtAndAfter)]);
    }

    #[test]
    fn any_other_use_of_time_is_opaque() {
        let opaque = [(-1, Flip::At)];
        check_time("context.auth.step_up_age_secs > context.session.age_secs", &opaque);
        check_time("context.auth.step_up_age_secs + 1 > 900", &opaque);
        check_time("context.auth == context.auth", &opaque);
        check_time("context.session has age_secs && context.session.age_secs == context.session.idle_secs", &opaque);
        check_time("(if context.auth.mfa then context.session else context.session).age_secs < 5", &opaque);
    }

    #[test]
    fn the_read_set_names_facts_and_attributes() {
        let reads =
            of("resource.sensitivity == \"low\" && context.auth.mfa && principal has external && principal.external");
        let paths: Vec<&str> = reads.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["context.auth.mfa", "principal.external", "resource.sensitivity"]);
    }
}
