//! Apps, people, sessions, the start of the console, and the two steps of an act that takes something away.

use super::{Badge, Bars, Choice, Columns, Export, FieldError, MaybeMoment, Pair, Shell, Stacks};
use crate::views::{Link, Moment};

/// A step of the first run; done or not is computed from what is there (UI-2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRunStep {
    /// What.
    pub title: String,
    /// How it stands, in a sentence.
    pub state: String,
    /// It is done.
    pub is_done: bool,
    /// The command that does it.
    pub command: String,
    /// The screen that does it.
    pub link: Option<Link>,
}

/// Something at a glance, with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// How many, or which share.
    pub value: String,
    /// What.
    pub name: String,
    /// In a sentence.
    pub sentence: String,
    /// The same, in full.
    pub url: String,
}

/// A certificate that doors show to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// What it is good for.
    pub names: String,
    /// When it ends.
    pub ends: Moment,
    /// Good, ends soon, has ended.
    pub state: &'static str,
}

/// Is it healthy, what is refused (screen 1).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_home.html")]
pub struct Home {
    /// Around it.
    pub shell: Shell,
    /// Shown until all five are done.
    pub steps: Vec<FirstRunStep>,
    /// What is seen at a glance.
    pub tiles: Vec<Tile>,
    /// What the counts cover.
    pub span: String,
    /// Decisions over the last hours; absent without the right to see them.
    pub answers: Option<Stacks>,
    /// Refusals by reason, most first.
    pub reasons: Option<Bars>,
    /// By their end.
    pub certificates: Vec<CertificateRow>,
    /// What each door decides by.
    pub doors: Vec<Pair>,
    /// Versions and counts.
    pub state: Vec<Pair>,
    /// What the policies' checks found worth a look.
    pub findings: Vec<String>,
}

/// An app in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRow {
    /// Its screen.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Its name.
    pub name: String,
    /// Its hosts.
    pub hosts: String,
    /// Sensitivity, or that it has none.
    pub sensitivity: String,
    /// Data label.
    pub label: String,
    /// Who answers for it, by its label `owner`.
    pub owner: String,
    /// How many people get in now.
    pub reach: String,
    /// `apps.yaml:3`.
    pub declared_at: String,
}

/// What do we protect (screen 4).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_apps.html")]
pub struct Apps {
    /// Around it.
    pub shell: Shell,
    /// Which columns are shown.
    pub columns: Columns,
    /// By title.
    pub rows: Vec<AppRow>,
    /// Under which facts somebody gets in.
    pub asked: &'static str,
    /// Ways to take exactly this along.
    pub exports: Vec<Export>,
    /// Apps without sensitivity.
    pub unlabelled: usize,
}

/// A route of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// Its name.
    pub name: String,
    /// Its prefix.
    pub path: String,
    /// Its methods.
    pub methods: String,
    /// Where it leads.
    pub upstream: String,
}

/// Somebody who can reach an app, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Their screen.
    pub url: String,
    /// Who.
    pub who: String,
    /// The engine's answer.
    pub effect: Badge,
    /// "contractors › engineering › wiki/engineers".
    pub path: String,
    /// The question behind it.
    pub why_url: String,
}

/// One app.
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_app.html")]
pub struct AppDetail {
    /// Around it.
    pub shell: Shell,
    /// Hosts, label, owner file.
    pub facts: Vec<Pair>,
    /// Longest prefix first.
    pub routes: Vec<RouteRow>,
    /// Name and targets.
    pub upstreams: Vec<Pair>,
    /// Who can reach it.
    pub reach: Vec<Reach>,
    /// How many were asked about.
    pub asked: String,
    /// The next people.
    pub next_url: Option<String>,
    /// Its records.
    pub records_url: String,
}

/// Somebody in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Their screen.
    pub url: String,
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
    /// `active`, `invited`, `disabled`.
    pub state: String,
    /// Groups, by id.
    pub groups: String,
    /// Live sessions.
    pub sessions: usize,
}

/// People (screen 6).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_people.html")]
pub struct People {
    /// Around it.
    pub shell: Shell,
    /// Which columns are shown.
    pub columns: Columns,
    /// As typed.
    pub search: String,
    /// State to choose.
    pub states: Vec<Choice>,
    /// By address.
    pub rows: Vec<PersonRow>,
    /// "3 people".
    pub summary: String,
    /// Ways to take exactly this along.
    pub exports: Vec<Export>,
    /// The next page.
    pub next_url: Option<String>,
    /// May add people.
    pub may_write: bool,
    /// Form token.
    pub token: String,
    /// As typed, when adding failed.
    pub new_name: String,
    /// As typed, when adding failed.
    pub new_email: String,
    /// Groups to choose for somebody new.
    pub groups: Vec<Choice>,
    /// What was wrong.
    pub errors: Vec<FieldError>,
}

/// What a person can reach, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonAccess {
    /// The app's screen.
    pub url: String,
    /// The app.
    pub app: String,
    /// The engine's answer.
    pub effect: Badge,
    /// The path that gives it, or the reason that does not.
    pub path: String,
    /// The question behind it.
    pub why_url: String,
}

/// A passkey as people who administer may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What its owner calls it.
    pub name: String,
    /// Public handle.
    pub handle: String,
    /// "synced" or "on one device".
    pub kind: &'static str,
    /// When it was enrolled.
    pub created: Moment,
    /// When it was last used.
    pub last_used: MaybeMoment,
}

/// Somebody on the way back in, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryState {
    /// The recovery that is open; empty when there is none.
    pub facts: Vec<Pair>,
    /// The questions before each step.
    pub steps: Vec<Link>,
}

/// What a person can do, and what can be done about it.
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_person.html")]
pub struct Person {
    /// Around it.
    pub shell: Shell,
    /// Which columns the table of sessions has.
    pub columns: Columns,
    /// Address, id, state.
    pub facts: Vec<Pair>,
    /// Group and how they are in it.
    pub groups: Vec<Pair>,
    /// Under which facts the answers of `access` are.
    pub asked: &'static str,
    /// By app.
    pub access: Vec<PersonAccess>,
    /// Passkeys; `None` when the store did not answer.
    pub credentials: Option<Vec<Credential>>,
    /// Getting back in; `None` when the store did not answer.
    pub recovery: Option<RecoveryState>,
    /// Live sessions.
    pub sessions: Vec<SessionLine>,
    /// May change them.
    pub may_write: bool,
    /// Printed id.
    pub id: String,
    /// Disabled now.
    pub is_disabled: bool,
    /// Not enrolled yet.
    pub is_invited: bool,
    /// Form token.
    pub token: String,
    /// Their records.
    pub records_url: String,
}

/// A session in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLine {
    /// Its id.
    pub id: String,
    /// Whose.
    pub who: String,
    /// Their screen.
    pub who_url: String,
    /// What the browser called itself.
    pub browser: String,
    /// Where it began.
    pub network: String,
    /// When it began.
    pub since: Moment,
    /// When it was last used.
    pub last_used: Moment,
    /// When it ends by itself.
    pub ends: Moment,
    /// How it was proven.
    pub proof: String,
    /// The one this page was asked with.
    pub is_current: bool,
    /// The question before ending it; absent without the right.
    pub end_url: Option<String>,
    /// Its records.
    pub records_url: String,
}

/// Who is in now (screen 8).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_sessions.html")]
pub struct Sessions {
    /// Around it.
    pub shell: Shell,
    /// Which columns are shown.
    pub columns: Columns,
    /// Filters as typed: person, network, older than.
    pub who: String,
    /// Network prefix.
    pub network: String,
    /// App somebody confirmed something for or reached.
    pub app: String,
    /// `8h`.
    pub older: String,
    /// What was wrong.
    pub errors: Vec<FieldError>,
    /// Newest first.
    pub rows: Vec<SessionLine>,
    /// "14 sessions of 3 people".
    pub summary: String,
    /// Ways to take exactly this along.
    pub exports: Vec<Export>,
    /// Why there is none, and the next step.
    pub empty: &'static str,
    /// The next page.
    pub next_url: Option<String>,
    /// The question before ending all that match.
    pub end_all_url: Option<String>,
    /// What that is called.
    pub end_all_text: String,
}

/// What an act would do, before its button (UI-6).
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_confirm.html")]
pub struct Confirm {
    /// Around it.
    pub shell: Shell,
    /// What will happen, counted.
    pub consequences: Vec<String>,
    /// How to undo it.
    pub way_back: String,
    /// Why it is asked again.
    pub notice: Option<String>,
    /// Where the form goes.
    pub action_url: String,
    /// Hidden fields.
    pub fields: Vec<(String, String)>,
    /// What the button says.
    pub button: String,
    /// Instead of the button: confirm with the passkey first (UI-7).
    pub confirm_url: Option<String>,
    /// Back without doing it.
    pub cancel_url: String,
}

/// One withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its id.
    pub id: String,
    /// Sessions that ended.
    pub sessions: usize,
    /// Streams that were cut.
    pub streams: usize,
    /// Streams of which the end is not proven.
    pub unproven: usize,
    /// How long after it was accepted the last one was cut.
    pub time_to_cut: String,
    /// Signed receipts.
    pub receipts: Vec<String>,
}

/// What an act left to show.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// In sentences.
    pub paragraphs: Vec<String>,
    /// What was withdrawn.
    pub withdrawn: Vec<Withdrawn>,
    /// A link to hand over, shown once.
    pub secret_link: Option<String>,
    /// What failed.
    pub problems: Vec<String>,
}

/// What an act did.
#[derive(Debug, Clone, askama::Template)]
#[template(path = "console_done.html")]
pub struct Done {
    /// Around it.
    pub shell: Shell,
    /// What it did.
    pub outcome: Outcome,
    /// The id of its record.
    pub record_id: String,
    /// Its record, for those who may read it.
    pub record_url: Option<String>,
    /// Where to go on.
    pub links: Vec<Link>,
}
