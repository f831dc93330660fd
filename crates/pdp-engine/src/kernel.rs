//! Cedar below its public face: a file parsed once, conditions without scope and source positions, facts as values.
//!
//! The only module that names `cedar-policy-core`, the crate that `cedar-policy` wraps and pins at the same version. The
//! public face parses a policy's text again for its tree and once more for its JSON, rebuilds the whole condition on
//! every evaluation and evaluates a context before anything is evaluated with it: three quarters of what a decision and
//! a load would cost. Not a second evaluator: Cedar's own judges every condition.
//!
//! Invariants: a slice holds only policies whose scope covers the question, so that the body alone decides (debug builds
//! let Cedar check the scope as well); answers are those of Cedar's `Authorizer` over the policies' text, which
//! `tests/it/oracle.rs` checks through the public face alone.

use std::sync::Arc;

use cedar_policy::pst::Template;
use cedar_policy::{Context, Entities, EntityUid, Policy, Request};
use cedar_policy_core::ast::{self, EntityUIDEntry, Expr, ExprKind, Literal, PolicyID, SlotEnv, ValueKind, Var};
use cedar_policy_core::est;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::parser::{parse_policy_or_template_to_est_and_ast, parse_policyset_to_ests_and_pset};

pub(crate) use cedar_policy_core::ast::Value;

/// A policy as parsed: its exact syntax, without positions.
pub(crate) struct Parsed(est::Policy);

impl Parsed {
    /// Parses one statement.
    pub(crate) fn one(text: &str) -> Result<Self, String> {
        let (tree, _) = parse_policy_or_template_to_est_and_ast(None, text).map_err(|errors| errors.to_string())?;
        Ok(Self(tree))
    }

    /// Parses a whole file of `count` statements in their order; `None` if anything in it is wrong, which parsing them
    /// one by one then says. Setting up the parser costs twice what a policy does: once here instead of for each.
    pub(crate) fn all(text: &str, count: usize) -> Option<Vec<Self>> {
        let (mut trees, policies) = parse_policyset_to_ests_and_pset(text).ok()?;
        // Templates are not among the static policies.
        if trees.len() != count || policies.static_policies().count() != count {
            return None;
        }
        (0..count).map(|at| trees.remove(&PolicyID::from_string(format!("policy{at}"))).map(Self)).collect()
    }

    /// The policy for Cedar's public face, without positions.
    pub(crate) fn policy(&self) -> Result<Policy, String> {
        self.0.clone().try_into_ast_policy(None).map(Policy::from).map_err(|error| error.to_string())
    }

    /// The public syntax tree.
    pub(crate) fn tree(&self) -> Result<Template, String> {
        Template::try_from(self.0.clone()).map_err(|error| error.to_string())
    }

    /// Cedar's JSON form; the same for every formatting of a policy.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_value(&self.0).map(|json| json.to_string())
    }
}

/// The `when` and `unless` clauses of a policy as one expression.
pub(crate) struct Condition {
    /// `None`: no clauses, so it always holds.
    body: Option<Arc<Expr>>,
    #[cfg(debug_assertions)]
    with_scope: Expr,
}

/// Which variables of a question a condition names, the context left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mentions {
    pub(crate) principal: bool,
    pub(crate) action: bool,
    pub(crate) resource: bool,
}

impl Condition {
    /// That of `policy`.
    pub(crate) fn of(policy: &Policy) -> Self {
        let policy: &ast::Policy = policy.as_ref();
        Self {
            body: policy.non_scope_constraints_arc().cloned(),
            #[cfg(debug_assertions)]
            with_scope: policy.condition(),
        }
    }

    /// Whether there is anything to evaluate.
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    /// What it names.
    pub(crate) fn mentions(&self) -> Mentions {
        let mut mentions = Mentions::default();
        for part in self.body.iter().flat_map(|body| body.subexpressions()) {
            match part.expr_kind() {
                ExprKind::Var(Var::Principal) => mentions.principal = true,
                ExprKind::Var(Var::Action) => mentions.action = true,
                ExprKind::Var(Var::Resource) => mentions.resource = true,
                _ => {}
            }
        }
        mentions
    }
}

/// A record.
pub(crate) fn record(pairs: impl Iterator<Item = (&'static str, Value)>) -> Value {
    Value::record(pairs, None)
}

/// A set of texts.
pub(crate) fn texts<'a>(texts: impl Iterator<Item = &'a String>) -> Value {
    Value::set_of_lits(texts.map(|text| text.as_str().into()), None)
}

/// A context of these records.
pub(crate) fn context(records: impl Iterator<Item = (&'static str, Value)>) -> Context {
    let records = records.map(|(name, record)| (name.into(), record)).collect();
    ast::Context::Value(Arc::new(records)).into()
}

/// An entity's name, shared by all questions about it.
#[derive(Clone)]
pub(crate) struct Name(EntityUIDEntry);

impl Name {
    pub(crate) fn new(uid: &EntityUid) -> Self {
        let uid: &ast::EntityUID = uid.as_ref();
        Self(EntityUIDEntry::known(uid.clone(), None))
    }
}

/// A question as Cedar takes it.
pub(crate) struct Asked(ast::Request);

impl Asked {
    pub(crate) fn new(principal: &Name, action: &Name, resource: &Name, context: &Context) -> Self {
        let context: &ast::Context = context.as_ref();
        let (principal, action, resource) = (principal.0.clone(), action.0.clone(), resource.0.clone());
        Self(ast::Request::new_unchecked(principal, action, resource, Some(context.clone())))
    }

    /// For Cedar's public face.
    pub(crate) fn request(&self) -> Request {
        self.0.clone().into()
    }

    /// Ready to judge conditions.
    pub(crate) fn judge<'a>(&self, entities: &'a Entities) -> Judge<'a> {
        Judge(Evaluator::new(self.0.clone(), entities.as_ref(), Extensions::all_available()))
    }
}

/// Cedar's evaluator for one question.
pub(crate) struct Judge<'a>(Evaluator<'a>);

impl Judge<'_> {
    /// Whether a condition holds.
    ///
    /// # Errors
    /// Cedar's words, when it cannot be evaluated.
    pub(crate) fn holds(&self, condition: &Condition) -> Result<bool, String> {
        let holds = condition.body.as_deref().map_or(Ok(true), |body| self.evaluate(body));
        #[cfg(debug_assertions)]
        debug_assert_eq!(holds, self.evaluate(&condition.with_scope), "a slice holds a policy out of scope");
        holds
    }

    fn evaluate(&self, expr: &Expr) -> Result<bool, String> {
        let value = self.0.interpret(expr, &SlotEnv::new()).map_err(|error| error.to_string())?;
        match value.value_kind() {
            ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
            // Validation rules it out.
            _ => Err("the conditions are neither true nor false".to_owned()),
        }
    }
}
