//! The policy engine: pure decisions over Cedar (PO-1 to PO-15, PO-23 to PO-30).
//!
//! The only crate that knows `cedar-policy`. It is not a store, a cache of answers or a session keeper: it turns policy
//! text into [`CompiledPolicies`] and, with apps and directory, into an [`Engine`], one immutable version that
//! implements [`model::PolicyDecisionPoint`].
//!
//! Invariants: no clock, randomness, environment, async or IO; equal arguments, equal answer; an evaluation error in any
//! policy of the slice is DENY; unknown facts have the value that helps least; what runs was validated against the
//! built-in schema.

#![forbid(unsafe_code)]

mod additions;
mod analysis;
mod annotations;
mod cache;
mod canonical;
mod compilation;
mod compile;
mod context;
mod counterfactual;
mod decode;
mod engine;
mod entities;
mod evaluate;
mod explain;
mod fact_table;
mod findings;
mod hold;
mod index;
mod kernel;
mod lint;
mod policy_test;
mod problem;
mod refusal;
mod remedy;
mod rules;
mod schema;
mod search;
mod slice;
mod source;
mod validation;

pub use compile::{CompiledPolicies, PolicyInput, PolicyListing};
pub use decode::{ContextError, decode_context};
pub use engine::{ENGINE_VERSION, Engine, EngineError};
pub use policy_test::{
    Coverage, FactError, RowResult, TestReport, clean_facts, fact_names, fact_values, run_tests, set_fact,
};
pub use problem::{Finding, FindingKind, PolicyProblem};
pub use source::{MAX_NESTING, MAX_POLICIES, MAX_POLICY_BYTES, MAX_SOURCE_BYTES, PolicySource};
