//! Tables of questions with the answers people expect (PO-38). `config` reads them, `pdp-engine` asks them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::action::Action;
use crate::app::Sensitivity;
use crate::decision::{Effect, Remedy, ResourceRef};
use crate::directory::GroupId;

/// One table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyTest {
    /// Unique.
    pub name: String,
    /// At least one.
    pub rows: Vec<TestRow>,
}

/// One question, what the table has in common already in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestRow {
    /// Unique within its table.
    pub name: String,
    /// The question.
    pub question: TestQuestion,
    /// The expected verdict.
    pub want: Effect,
    /// Exactly these policies decide; `None` does not care.
    pub by: Option<BTreeSet<String>>,
    /// Exactly these remedies are offered; `None` does not care.
    pub fix: Option<BTreeSet<Remedy>>,
    /// `tests.yaml:12`.
    pub declared_at: Arc<str>,
}

/// A question that needs no directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestQuestion {
    /// Who.
    pub principal: TestPrincipal,
    /// Doing what.
    pub action: Action,
    /// To what; a declared app or route.
    pub resource: ResourceRef,
    /// Instead of what the app declares.
    pub sensitivity: Option<Sensitivity>,
    /// Instead of what the app declares.
    pub is_requestable: Option<bool>,
    /// What is known before `facts` are set.
    pub base: BaseFacts,
    /// Facts by name, in order.
    pub facts: Vec<(String, FactInput)>,
}

/// Who asks in a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TestPrincipal {
    /// Nobody.
    Anonymous,
    /// A person made up for the question.
    User {
        /// For messages; an address counts as verified.
        name: String,
        /// Direct groups.
        groups: BTreeSet<GroupId>,
        /// From outside the organisation.
        is_external: bool,
    },
    /// A workload.
    Workload(Arc<str>),
}

/// What is known before a row says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BaseFacts {
    /// Signed in with a second factor just now, on a managed device in order, without risk; never stepped up.
    Clean,
    /// Nothing.
    Unknown,
}

/// A value of a fact as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FactInput {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(BTreeSet<String>),
}

impl FactInput {
    /// What a command line means: `true`, `12`, `[a,b]`, anything else is a text.
    pub fn of_text(text: &str) -> Self {
        if let Ok(value) = text.parse() {
            return FactInput::Bool(value);
        }
        if let Ok(value) = text.parse() {
            return FactInput::Long(value);
        }
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(list) => FactInput::Texts(
                list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            ),
            None => FactInput::Text(text.to_owned()),
        }
    }
}

impl fmt::Display for FactInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FactInput::Bool(value) => write!(f, "{value}"),
            FactInput::Long(value) => write!(f, "{value}"),
            FactInput::Text(text) => f.write_str(text),
            FactInput::Texts(texts) => write!(f, "[{}]", texts.iter().cloned().collect::<Vec<_>>().join(", ")),
        }
    }
}
