//! The steps from policy text to checked policies: cut, parse, read annotations, limits, ids, validate.
//!
//! Not an index and not a hash: that is [`crate::compile`]. Invariant: every step looks at every policy and reports
//! everything it finds; what cannot be read is not validated, all the rest is, so that one slip hides no other.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet as CedarPolicySet, ValidationMode, Validator};
use miette::Diagnostic;
use model::App;

use crate::analysis::{self, MAX_PATTERN};
use crate::annotations;
use crate::compile::{CompiledPolicy, PolicyInput};
use crate::index::PolicyScope;
use crate::kernel::{Condition, Parsed};
use crate::problem::{Finding, FindingKind, PolicyProblem};
use crate::rules::{self, RulePolicy};
use crate::schema::{BuiltinSchema, SchemaError};
use crate::source::{
    MAX_BRANCHES, MAX_NESTING, MAX_OPERATORS, MAX_POLICIES, MAX_POLICY_BYTES, MAX_SOURCE_BYTES, PolicySource, Position,
    Positions, Statement, statements,
};
use crate::validation::{self, MAX_LEVEL};

/// The most problems reported.
pub(crate) const MAX_PROBLEMS: usize = 200;
/// The most errors of the validator looked at: it repeats each for every action.
const MAX_VALIDATION_ERRORS: usize = 4_000;
/// The stem of the built-in policies; no file may take it.
const BUILTIN: &str = "builtin";
const BUILTIN_TEXT: &str = include_str!("../assets/builtin.cedar");

/// What compilation gives.
pub(crate) struct Compiled {
    pub(crate) schema: Arc<BuiltinSchema>,
    /// Sorted by id.
    pub(crate) policies: Vec<Arc<CompiledPolicy>>,
    /// Their canonical forms, in the same order.
    pub(crate) canonical: Vec<String>,
    /// Cedar's warnings.
    pub(crate) findings: Vec<Finding>,
}

/// Runs all steps over what was given and the built-in policies.
pub(crate) fn run<A: Borrow<App>>(input: &PolicyInput<'_, A>) -> Result<Compiled, Vec<PolicyProblem>> {
    let sources = input.policies;
    let (schema, schema_problems) = match BuiltinSchema::load_with(input.schemas, input.remedies) {
        Ok(schema) => (schema, Vec::new()),
        // What is wrong with the policies is still told, as under the schema without the additions.
        Err(SchemaError::Additions(problems)) => {
            (BuiltinSchema::load_with(&[], input.remedies).map_err(broken)?, problems)
        }
        Err(error) => return Err(broken(error)),
    };
    let rules = rules::translate(input.apps, &schema);
    let texts = sources.iter().chain(rules.iter().map(|rule| &rule.source));
    let bytes: usize = texts.map(|source| source.text.len()).sum();
    if bytes > MAX_SOURCE_BYTES {
        let file = sources.first().map_or(BUILTIN, |source| &source.file);
        let message =
            format!("the policies have {bytes} bytes together; {MAX_SOURCE_BYTES} are allowed, so split them");
        return Err(vec![whole_file(file, message)]);
    }
    let count = sources.iter().map(|source| statements(&source.text).len()).sum::<usize>() + rules.len();
    if count > MAX_POLICIES {
        let file = sources.first().map_or(BUILTIN, |source| &source.file);
        let message = format!("there are {count} policies; {MAX_POLICIES} are allowed, so remove or merge some");
        return Err(vec![whole_file(file, message)]);
    }
    let builtin = PolicySource { file: format!("{BUILTIN}.cedar"), text: BUILTIN_TEXT.to_owned() };
    let mut compilation = Compilation { schema: &schema, problems: schema_problems, read: Vec::new() };
    compilation.source(&builtin);
    for source in sources {
        if source.stem() == BUILTIN {
            let message = format!("`{BUILTIN}` is the name of the built-in policies; rename the file");
            compilation.problems.push(whole_file(&source.file, message));
        }
        compilation.source(source);
    }
    compilation.rules(&rules);
    let (read, findings) = compilation.finish()?;
    let (policies, canonical) = read.into_iter().map(|read| (Arc::new(read.policy), read.canonical)).unzip();
    Ok(Compiled { schema, policies, canonical, findings })
}

/// The policies of one source, before validation.
#[cfg(test)]
pub(crate) fn read_only(source: &PolicySource) -> (Arc<BuiltinSchema>, Vec<(CompiledPolicy, Policy)>) {
    let schema = BuiltinSchema::load().unwrap();
    let mut compilation = Compilation { schema: &schema, problems: Vec::new(), read: Vec::new() };
    compilation.source(source);
    assert_eq!(compilation.problems, []);
    let read = compilation.read.into_iter().map(|read| (read.policy, read.cedar)).collect();
    (schema, read)
}

fn broken(error: SchemaError) -> Vec<PolicyProblem> {
    vec![whole_file(BUILTIN, error.to_string())]
}

fn whole_file(file: &str, message: String) -> PolicyProblem {
    PolicyProblem { file: file.to_owned(), line: 1, column: 1, policy: None, message, nearest: None }
}

/// A statement with where it stands.
#[derive(Clone, Copy)]
struct Placed<'a> {
    source: &'a PolicySource,
    /// What comes before its `@id`.
    prefix: &'a str,
    statement: Statement<'a>,
    position: Position,
}

impl Placed<'_> {
    fn problem(&self, message: String, nearest: Option<String>) -> PolicyProblem {
        let Position { line, column } = self.position;
        PolicyProblem { file: self.source.file.clone(), line, column, policy: None, message, nearest }
    }

    /// Cedar's diagnostic, at the place it points to.
    fn diagnostic(&self, policy: Option<String>, diagnostic: &dyn Diagnostic) -> PolicyProblem {
        let within = diagnostic.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        let before = self.statement.text.get(..within).unwrap_or_default();
        let Position { line, column } = self.position.after(before);
        let help = diagnostic.help().map(|help| help.to_string());
        let nearest = help.as_deref().and_then(suggestion);
        let message = match (help, &nearest) {
            (Some(help), None) => format!("{diagnostic}; {help}"),
            _ => diagnostic.to_string(),
        };
        PolicyProblem { file: self.source.file.clone(), line, column, policy, message, nearest }
    }

    fn declared_at(&self) -> String {
        format!("{}:{}", self.source.file, self.position.line)
    }
}

/// The word in Cedar's "did you mean `x`?".
fn suggestion(help: &str) -> Option<String> {
    let (_, rest) = help.split_once("did you mean `")?;
    let (word, _) = rest.split_once('`')?;
    Some(word.to_owned())
}

struct Compilation<'a> {
    schema: &'a BuiltinSchema,
    problems: Vec<PolicyProblem>,
    read: Vec<Read<'a>>,
}

/// A policy that passed every check but validation and those of its annotations.
struct Read<'a> {
    placed: Placed<'a>,
    policy: CompiledPolicy,
    cedar: Policy,
    canonical: String,
    /// What is wrong with its annotations.
    wrong: Vec<PolicyProblem>,
}

impl<'a> Compilation<'a> {
    fn source(&mut self, source: &'a PolicySource) {
        let mut positions = Positions::new(&source.text);
        let statements = statements(&source.text);
        let is_within_limits = statements.iter().all(|statement| within_limits(statement).is_ok());
        let whole = is_within_limits.then(|| Parsed::all(&source.text, statements.len())).flatten();
        let mut whole = whole.into_iter().flatten();
        for statement in statements {
            let placed =
                Placed { source, prefix: source.stem(), statement, position: positions.advance(statement.offset) };
            match self.policy(placed, whole.next()) {
                Ok(read) => self.read.push(read),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    /// Policies made from simple rules, each at the line of its rule.
    fn rules(&mut self, rules: &'a [RulePolicy]) {
        let cut: Vec<(&RulePolicy, Statement<'a>)> = rules
            .iter()
            .flat_map(|rule| statements(&rule.source.text).into_iter().map(move |cut| (rule, cut)))
            .collect();
        let text: Vec<&str> = rules.iter().map(|rule| rule.source.text.as_str()).collect();
        let is_within_limits = cut.iter().all(|(_, statement)| within_limits(statement).is_ok());
        let whole = is_within_limits.then(|| Parsed::all(&text.join("\n"), cut.len())).flatten();
        let mut whole = whole.into_iter().flatten();
        for (rule, statement) in cut {
            let position = Position { line: rule.line, column: 1 };
            match self.policy(Placed { source: &rule.source, prefix: &rule.prefix, statement, position }, whole.next())
            {
                Ok(read) => self.read.push(read),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    /// Reads a statement; `parsed` if the whole file was parsed at once.
    fn policy(&self, placed: Placed<'a>, parsed: Option<Parsed>) -> Result<Read<'a>, Vec<PolicyProblem>> {
        within_limits(&placed.statement).map_err(|message| vec![placed.problem(message, None)])?;
        let refuse = |message: String| vec![placed.problem(message, None)];
        let parsed = match parsed {
            Some(parsed) => parsed,
            None => parse(&placed)?,
        };
        let cedar = parsed.policy().map_err(refuse)?;
        let (annotations, errors) = annotations::read(&cedar);
        let wrong = errors.iter().map(|error| placed.problem(error.to_string(), error.nearest())).collect();
        let tree = parsed.tree().map_err(refuse)?;
        let scope = PolicyScope::of(&tree, self.schema)
            .map_err(|error| vec![placed.problem(error.to_string(), error.nearest())])?;
        let reads = analysis::reads(&tree);
        if reads.longest_pattern > MAX_PATTERN {
            let length = reads.longest_pattern;
            return Err(refuse(format!("a `like` pattern has {length} characters; {MAX_PATTERN} are allowed")));
        }
        if let Some((name, instead)) = reads.extension {
            return Err(refuse(format!(
                "`{name}(…)` is parsed anew on every evaluation and not allowed; use {instead}"
            )));
        }
        let id = match annotations.id.as_str() {
            // It is refused; until then it needs a name of its own.
            "" => format!("{}/ {}", placed.prefix, placed.statement.offset),
            id => format!("{}/{id}", placed.prefix),
        };
        let cedar = cedar.new_id(PolicyId::new(&id));
        let canonical = parsed.json().map_err(|error| refuse(error.to_string()))?;
        let policy = CompiledPolicy {
            condition: Condition::of(&cedar),
            text: placed.statement.text.into(),
            id: id.into(),
            set: annotations.set,
            is_shadow: annotations.is_shadow,
            is_audit_strict: annotations.is_audit_strict,
            stage: annotations.stage,
            reason: annotations.reason,
            title: annotations.title,
            declared_at: placed.declared_at(),
            scope,
            reads,
            unknown_annotations: annotations.unknown,
        };
        Ok(Read { placed, policy, cedar, canonical, wrong })
    }

    fn finish(mut self) -> Result<(Vec<Read<'a>>, Vec<Finding>), Vec<PolicyProblem>> {
        let wrong = self.read.iter_mut().flat_map(|read| std::mem::take(&mut read.wrong));
        self.problems.extend(wrong);
        self.duplicates();
        let warnings = self.validate();
        if self.problems.is_empty() {
            self.read.sort_by(|a, b| a.policy.id.cmp(&b.policy.id));
            return Ok((self.read, warnings));
        }
        self.problems.sort();
        self.problems.dedup();
        self.problems.truncate(MAX_PROBLEMS);
        Err(self.problems)
    }

    fn duplicates(&mut self) {
        let mut first: HashMap<&str, String> = HashMap::new();
        for Read { placed, policy, .. } in &self.read {
            if let Some(earlier) = first.get(&*policy.id) {
                let message = format!("the id `{}` is taken by {earlier}; choose another `@id`", policy.id);
                let mut problem = placed.problem(message, None);
                problem.policy = Some(policy.id.to_string());
                self.problems.push(problem);
            } else {
                first.insert(&policy.id, placed.declared_at());
            }
        }
        // Cedar takes each id once; the others were told of.
        let mut taken = HashSet::new();
        self.read.retain(|read| taken.insert(read.policy.id.clone()));
    }

    /// Strict validation, then level validation (PO-25).
    fn validate(&mut self) -> Vec<Finding> {
        let doubtful = validation::doubtful(self.schema, self.read.iter().map(|read| (&read.policy, &read.cedar)));
        let doubtful = self.read.iter().filter(|read| doubtful.contains(&*read.policy.id));
        // Parsed once more: these have positions, and Cedar's messages point to them.
        let parsed = doubtful
            .filter_map(|read| Policy::parse(Some(PolicyId::new(&*read.policy.id)), read.placed.statement.text).ok());
        let set = match CedarPolicySet::from_policies(parsed) {
            Ok(set) => set,
            Err(error) => {
                self.problems.push(whole_file(BUILTIN, error.to_string()));
                return Vec::new();
            }
        };
        let validator = Validator::new(self.schema.cedar.clone());
        let result = validator.validate_with_level(&set, ValidationMode::Strict, MAX_LEVEL);
        if result.validation_passed_without_warnings() {
            return Vec::new();
        }
        let by_id: HashMap<&str, &Placed<'_>> = self.read.iter().map(|read| (&*read.policy.id, &read.placed)).collect();
        let problems = result.validation_errors().take(MAX_VALIDATION_ERRORS).map(|error| {
            let id: &str = error.policy_id().as_ref();
            match by_id.get(id) {
                Some(placed) => placed.diagnostic(Some(id.to_owned()), error),
                None => whole_file(BUILTIN, error.to_string()),
            }
        });
        let mut problems: Vec<PolicyProblem> = problems.collect();
        problems.sort();
        // Cedar repeats an error for every action it was checked with.
        problems.dedup_by(|a, b| (&a.file, a.line, a.column) == (&b.file, b.line, b.column));
        self.problems.extend(problems);
        let findings = result.validation_warnings().map(|warning| {
            let id: &str = warning.policy_id().as_ref();
            let declared_at = by_id.get(id).map_or_else(String::new, |placed| placed.declared_at());
            Finding { declared_at, kind: FindingKind::Cedar, message: warning.to_string() }
        });
        findings.collect()
    }
}

fn within_limits(statement: &Statement<'_>) -> Result<(), String> {
    let limits = [
        (statement.text.len(), MAX_POLICY_BYTES, "bytes"),
        (statement.nesting, MAX_NESTING, "levels of brackets"),
        (statement.operators, MAX_OPERATORS, "operators"),
        (statement.branches, MAX_BRANCHES, "`if`s"),
    ];
    match limits.iter().find(|(got, allowed, _)| got > allowed) {
        Some((got, allowed, what)) => Err(format!("the policy has {got} {what}; {allowed} are allowed, so split it")),
        None => Ok(()),
    }
}

/// Parses one statement, with Cedar's words about what is wrong.
fn parse(placed: &Placed<'_>) -> Result<Parsed, Vec<PolicyProblem>> {
    Policy::parse(None, placed.statement.text)
        .map_err(|errors| errors.iter().map(|error| parse_problem(placed, error)).collect::<Vec<_>>())?;
    Parsed::one(placed.statement.text).map_err(|message| vec![placed.problem(message, None)])
}

fn parse_problem(placed: &Placed<'_>, error: &dyn Diagnostic) -> PolicyProblem {
    let mut problem = placed.diagnostic(None, error);
    if problem.message.contains("template") || problem.message.contains("slot") {
        problem.message =
            format!("{}; templates are not supported: write the principal or resource out", problem.message);
    }
    problem
}
