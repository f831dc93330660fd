//! The screens of the console as structs: what a person who administers sees. Strings come in as they are to be read;
//! every one of them is escaped by the templates, and none decides anything.
//!
//! Invariant: each screen works without a script; `live.js` only adds the tail and local times.

mod access;
mod chart;
mod lists;
mod why;

pub use access::{AccessList, AccessRow, Export, FilterField, Record, RecordTable};
pub use chart::{Bars, MAX_BARS, NamedCount, Span, Stacks};
pub use lists::{
    AppDetail, AppRow, Apps, CertificateRow, Confirm, Credential, Done, FirstRunStep, Home, Outcome, People, Person,
    PersonAccess, PersonRow, Reach, RecoveryState, RouteRow, SessionLine, Sessions, Tile, Withdrawn,
};
pub use why::{Change, Part, PartFact, Why, WhyAnswer};

use crate::views::{FALLBACK, Link, Moment};

macro_rules! screen {
    ($($name:ident)*) => {
        $(impl $name {
            /// The whole page.
            pub fn render(&self) -> String {
                askama::Template::render(self).unwrap_or_else(|_| FALLBACK.to_owned())
            }
        })*
    };
}

screen!(AccessList AppDetail Apps Confirm Done Home Message People Person Record Sessions Why);

/// What every screen has around it.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// The `h1` and the title of the window.
    pub title: String,
    /// Who is signed in.
    pub identity: String,
    /// Screens this person may open.
    pub nav: Vec<NavItem>,
    /// What they should look at.
    pub notices: Vec<ConsoleNotice>,
    /// The same as a call of the API.
    pub api: String,
    /// The same as a command.
    pub command: String,
    /// The access id of this very page.
    pub request_id: String,
    /// Session-bound form token (ID-60).
    pub token: String,
    /// The address of this page, to come back to.
    pub here: String,
    /// Single letters are keys (UI-50).
    pub has_letters: bool,
}

/// A screen in the navigation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NavItem {
    /// Its name.
    pub text: &'static str,
    /// Its address.
    pub url: &'static str,
    /// The letter that leads to it after `g` (UI-50).
    pub letter: char,
    /// This one.
    pub is_current: bool,
}

/// Something to look at, with the one thing to do about it (UI-9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleNotice {
    /// What.
    pub text: String,
    /// What to do.
    pub action: Link,
    /// What puts it aside until its state changes: its name, and the state it has now.
    pub aside: (String, String),
}

/// One of several to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is read.
    pub text: String,
    /// Chosen now.
    pub is_chosen: bool,
}

/// The columns of a list as a person wants them (UI-5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The list, as the form names it.
    pub list: &'static str,
    /// The columns beside the first, in order.
    pub all: Vec<Choice>,
}

impl Columns {
    fn has(&self, name: &str) -> bool {
        self.all.iter().any(|column| column.value == name && column.is_chosen)
    }
}

/// A value that was not understood: shown at its field and in the summary above the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The name of the field; its input has the id `f-<name>`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// ALLOW, DENY or STEP_UP with its mark, so that colour never speaks alone (UI-8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    /// `allow`, `deny`, `step` or `none`.
    pub class: &'static str,
    /// `✓ ALLOW`.
    pub text: String,
}

/// A page that says one thing inside the console: a missing right, an unknown id, a form that was not ours.
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_message.html")]
pub struct Message {
    /// Around it.
    pub shell: Shell,
    /// In sentences.
    pub paragraphs: Vec<String>,
    /// What was typed, to be kept: name and value.
    pub kept: Vec<(String, String)>,
    /// Where to go.
    pub links: Vec<Link>,
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where the value leads, on this console.
    pub url: Option<String>,
}

impl Pair {
    /// A pair that leads nowhere.
    pub fn plain(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into(), url: None }
    }
}

/// A moment that may be missing.
pub type MaybeMoment = Option<Moment>;
