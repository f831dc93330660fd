//! The live decisions and one access in full.

use super::{Badge, Choice, Columns, FieldError, Pair, Shell};
use crate::views::{Link, Moment};

/// A filter of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterField {
    /// The name in the query string, the API and the command line.
    pub name: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// What it takes.
    pub hint: &'static str,
    /// As typed.
    pub value: String,
    /// To choose from; empty: free text.
    pub choices: Vec<Choice>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// One record in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// Its full story.
    pub url: String,
    /// When.
    pub time: Moment,
    /// ALLOW, DENY, STEP_UP.
    pub effect: Badge,
    /// Who.
    pub who: String,
    /// Action, or what changed.
    pub action: String,
    /// What it was about.
    pub target: String,
    /// Reason code.
    pub reason: String,
    /// Its sentence.
    pub sentence: String,
    /// Which door.
    pub door: String,
}

/// A way to take exactly this answer along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// `CSV` or `JSON Lines`.
    pub text: &'static str,
    /// Where.
    pub url: String,
}

/// What accessed what (screen 2).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_access.html")]
pub struct AccessList {
    /// Around it.
    pub shell: Shell,
    /// Which columns are shown.
    pub columns: Columns,
    /// The filters asked for most.
    pub filters: Vec<FilterField>,
    /// The others.
    pub more_filters: Vec<FilterField>,
    /// One of the others is set.
    pub has_more_set: bool,
    /// What was not understood; then nothing was asked.
    pub errors: Vec<FieldError>,
    /// The records.
    pub rows: Vec<AccessRow>,
    /// "50 shown, more below".
    pub summary: String,
    /// What could not be read, if anything.
    pub coverage: Option<String>,
    /// Why the list is empty, when it is.
    pub empty: String,
    /// Where the newest are.
    pub first_url: Option<String>,
    /// The next page.
    pub next_url: Option<String>,
    /// Counts all matches.
    pub count_url: Option<String>,
    /// Absent without the right to export.
    pub exports: Vec<Export>,
    /// The event stream of this filter.
    pub live_url: Option<String>,
}

/// One record, column by column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTable {
    /// Its type.
    pub kind: String,
    /// When.
    pub time: Moment,
    /// Its place in the log.
    pub uid: String,
    /// Column and value.
    pub columns: Vec<Pair>,
    /// The signed receipt, when it has one.
    pub receipt: Option<String>,
}

/// One access in full (AUD-2).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_record.html")]
pub struct Record {
    /// Around it.
    pub shell: Shell,
    /// ALLOW, DENY, STEP_UP.
    pub effect: Badge,
    /// "carol was denied http.get on payroll".
    pub sentence: String,
    /// Why.
    pub reason: String,
    /// What happened, in order of interest.
    pub facts: Vec<Pair>,
    /// How it ended.
    pub ending: String,
    /// Everything recorded, oldest first.
    pub records: Vec<RecordTable>,
    /// "What would happen now", "find similar".
    pub links: Vec<Link>,
    /// What could not be read, if anything.
    pub coverage: Option<String>,
}
