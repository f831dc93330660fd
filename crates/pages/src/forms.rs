//! One form page for every question that a person answers without a script: one heading, what happens, fields with their
//! errors tied to them, a summary of errors that takes the focus.

use askama::Template;

use crate::filters;
use crate::scan::ScanCode;
use crate::views::Fact;

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, and its id in the page.
    pub name: &'static str,
    /// What it asks.
    pub label: String,
    /// `text`, `email`, `password`, `checkbox`.
    pub kind: &'static str,
    /// What was typed before, or the value of a checkbox. Never a secret.
    pub value: String,
    /// What browsers may fill in.
    pub autocomplete: &'static str,
    /// Which keyboard a phone shows.
    pub input_mode: &'static str,
    /// Help beside the label.
    pub hint: Option<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Must not be empty.
    pub is_required: bool,
}

impl Field {
    /// A required line of text.
    pub fn text(name: &'static str, label: &str, value: &str) -> Self {
        Self {
            name,
            label: label.to_owned(),
            kind: "text",
            value: value.to_owned(),
            autocomplete: "off",
            input_mode: "text",
            hint: None,
            problem: None,
            is_required: true,
        }
    }

    /// The address of an account.
    pub fn email(value: &str) -> Self {
        let field = Self::text("email", "E-mail address", value);
        Self { kind: "email", autocomplete: "username", input_mode: "email", ..field }
    }

    /// A password; what was typed is never sent back.
    pub fn password(name: &'static str, label: &str, autocomplete: &'static str) -> Self {
        Self { kind: "password", autocomplete, ..Self::text(name, label, "") }
    }

    /// A code from an authenticator app.
    pub fn one_time_code() -> Self {
        let field = Self::text("code", "Code from your authenticator app", "");
        Self { autocomplete: "one-time-code", input_mode: "numeric", ..field }
    }

    /// A recovery code.
    pub fn recovery_code() -> Self {
        let field = Self::text("recovery_code", "Recovery code", "");
        Self { hint: Some("Sixteen letters and digits. Case, spaces and dashes do not count.".to_owned()), ..field }
    }

    /// A box to tick.
    pub fn checkbox(name: &'static str, label: &str, value: &str) -> Self {
        Self { kind: "checkbox", is_required: false, ..Self::text(name, label, value) }
    }

    /// With help beside the label.
    #[must_use]
    pub fn hinted(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// With what is wrong with it.
    #[must_use]
    pub fn with_problem(self, problem: Option<String>) -> Self {
        Self { problem, ..self }
    }
}

/// A page with one form.
#[derive(Debug, Default, Template)]
#[template(path = "form.html")]
pub struct FormPage {
    /// The question.
    pub heading: String,
    /// What this is, in sentences.
    pub paragraphs: Vec<String>,
    /// What is affected.
    pub facts: Vec<Fact>,
    /// What the button does, before the button (UI-6).
    pub consequences: Vec<String>,
    /// A drawing to scan, such as the key of an authenticator app; `copy` says the same for those who cannot.
    pub scan: Option<ScanCode>,
    /// Text to copy, such as the key of an authenticator app.
    pub copy: Option<String>,
    /// What is wrong with the form as a whole.
    pub problem: Option<String>,
    /// The questions.
    pub fields: Vec<Field>,
    /// Values the form carries; the first is the form token where there is a session.
    pub hidden: Vec<(String, String)>,
    /// Where it goes.
    pub action_url: String,
    /// What the button says.
    pub submit: String,
    /// The button takes something away.
    pub is_dangerous: bool,
    /// Where to go instead.
    pub cancel: (String, String),
    /// Another way to the same.
    pub also: Option<(String, String)>,
}

impl FormPage {
    /// The whole page.
    pub fn render(&self) -> String {
        Template::render(self).unwrap_or_else(|_| crate::views::FALLBACK.to_owned())
    }

    /// Whether anything is wrong with what was sent.
    pub fn has_problems(&self) -> bool {
        self.problem.is_some() || self.fields.iter().any(|field| field.problem.is_some())
    }
}
