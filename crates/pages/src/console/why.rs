//! Why, and what if.

use super::{Badge, Choice, FieldError, FilterField, Pair, Shell};

/// A fact a policy read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFact {
    /// `context.auth.mfa`.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Who brought it.
    pub source: String,
    /// How old it is.
    pub age: String,
}

/// A policy's part in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `file/id`.
    pub id: String,
    /// What it says of itself.
    pub title: String,
    /// `permit`, `hard` or `soft`, in words.
    pub set: &'static str,
    /// `payroll.cedar:12`.
    pub declared_at: String,
    /// It decided; otherwise it came near.
    pub is_determining: bool,
    /// Conditions that did not hold.
    pub failing: Vec<String>,
    /// What it read.
    pub facts: Vec<PartFact>,
    /// The error it raised.
    pub error: Option<String>,
    /// Its records.
    pub records_url: String,
}

/// A way in: what to change, and the answer with it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What to do.
    pub text: String,
}

/// The answer of the engine.
#[derive(Debug, Clone)]
pub struct WhyAnswer {
    /// ALLOW, DENY, STEP_UP.
    pub effect: Badge,
    /// What the person would read.
    pub sentence: String,
    /// Reason code.
    pub reason: String,
    /// Stages that failed.
    pub stages: String,
    /// Each policy's part.
    pub parts: Vec<Part>,
    /// Sets of changes that would open it, cheapest first.
    pub ways_in: Vec<Change>,
    /// Versions and times.
    pub pins: Vec<Pair>,
    /// The same as a row of a policy test.
    pub test: String,
}

/// Why was it denied, and what if (screen 3).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_why.html")]
pub struct Why {
    /// Around it.
    pub shell: Shell,
    /// A request to start from.
    pub request: String,
    /// What is known of that request.
    pub recorded: Vec<Pair>,
    /// People to choose from.
    pub people: Vec<Choice>,
    /// Who, what, which action.
    pub question: Vec<FilterField>,
    /// How they signed in, from where, when.
    pub context: Vec<FilterField>,
    /// The device.
    pub device: Vec<FilterField>,
    /// What was not understood.
    pub errors: Vec<FieldError>,
    /// The answer, once asked.
    pub answer: Option<WhyAnswer>,
}
