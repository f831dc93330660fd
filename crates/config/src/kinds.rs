//! The kinds operators declare in YAML, and the `.cedar` and `.pem` files beside them: App, Group, PolicyTest, Remedy, User.
//!
//! Files are read as one unit: every document of every file is checked, then all of them against each other.

mod access;
mod app;
mod cross;
mod people;
mod policy_test;
mod remedy;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};

use model::app::{App, HostPattern};
use model::policy_test::PolicyTest;
use model::remedy::{RemedyEntry, RemedyList};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

pub use people::{DeclaredGroup, DeclaredUser, Membership};

use crate::problem::{Problem, Problems, Severity, choices};

/// The only version of our kinds.
pub const API_VERSION: &str = "countersign/v1";
/// The kinds.
pub const KINDS: &[&str] = &["App", "Group", "PolicyTest", "Remedy", "User"];
/// The most files of one unit.
pub const MAX_FILES: usize = 1_000;
/// The most bytes of one unit.
pub const MAX_TOTAL_BYTES: usize = 16 << 20;

/// A file as the binary read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// Its path relative to the applied folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What the checks need to know of the process.
pub struct Known<'a> {
    /// The auth host; no app may claim it.
    pub auth_host: &'a str,
    /// Whether a certificate of a listener covers this host or `*.suffix`.
    pub is_covered: &'a dyn Fn(&str) -> bool,
    /// Whether a certificate of the process has this name.
    pub is_certificate: &'a dyn Fn(&str) -> bool,
    /// Groups that exist without being declared.
    pub groups: &'a BTreeSet<String>,
}

/// Policy text for the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyFile {
    /// File name; its stem begins the policy ids.
    pub name: String,
    /// Cedar text.
    pub text: String,
}

/// A unit that passed every check but those of the policy engine.
#[derive(Clone, PartialEq, Debug)]
pub struct Declared {
    /// Sorted by name.
    pub apps: Vec<App>,
    /// Sorted by id.
    pub groups: Vec<DeclaredGroup>,
    /// Sorted by e-mail address.
    pub users: Vec<DeclaredUser>,
    /// Sorted by file name.
    pub policies: Vec<PolicyFile>,
    /// Remedies for facts of the built-in schema; sorted by file name.
    pub schemas: Vec<PolicyFile>,
    /// What is declared about remedies, sorted.
    pub remedies: RemedyList,
    /// Sorted by name.
    pub tests: Vec<PolicyTest>,
    /// Findings that do not stop an apply.
    pub warnings: Vec<Problem>,
}

/// One document before its kind is known.
#[derive(Deserialize)]
struct Envelope<S> {
    /// `countersign/v1`.
    ///
    /// Type: text; default: required.
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    /// `App`, `Group`, `PolicyTest`, `Remedy` or `User`.
    ///
    /// Type: text; default: required.
    kind: Spanned<String>,
    /// What it is called.
    ///
    /// Type: table; default: required.
    metadata: Metadata,
    /// What the kind says.
    ///
    /// Type: table; default: required.
    spec: S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// App and Group: a name, which is the Cedar id `App::"payroll"`, `Group::"engineering"`. Remedy: the
    /// id in `@remedy_<id>`. User: the e-mail address.
    ///
    /// Type: text; default: required.
    pub(crate) name: Spanned<String>,
}

#[derive(Deserialize)]
struct Peek {
    /// `App`, `Group`, `PolicyTest`, `Remedy` or `User`.
    ///
    /// Type: text; default: required.
    kind: Option<Spanned<String>>,
}

/// Reads a unit.
///
/// # Errors
/// Every problem at once, sorted by file and line.
pub fn read(files: &[SourceFile], known: &Known<'_>) -> Result<Declared, Problems> {
    let mut reading = Reading::default();
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    if files.len() > MAX_FILES || bytes > MAX_TOTAL_BYTES {
        let message = format!("{} files with {bytes} bytes are more than {MAX_FILES} files or 16 MiB", files.len());
        return Err(Problems(vec![Problem::error("(all files)", (0, 0), message)]));
    }
    let pems: Vec<&SourceFile> = files.iter().filter(|file| file.name.ends_with(".pem")).collect();
    // Tests name remedies, so these come first.
    for file in files.iter().filter(|file| is_yaml(file)) {
        reading.remedies_of(file);
    }
    let declared = reading.remedies.iter().map(|(_, entry)| entry.clone());
    reading.list = RemedyList::new(declared.collect());
    for file in files {
        match file.name.rsplit('.').next() {
            Some("yaml" | "yml") => reading.yaml(file, &pems),
            Some("cedarschema") => {
                reading.schemas.push(PolicyFile { name: file.name.clone(), text: file.text.clone() });
            }
            Some("cedar") => {
                reading.policies.push(PolicyFile { name: file.name.clone(), text: file.text.clone() });
            }
            _ => {}
        }
    }
    cross::check(&mut reading, known);
    reading.finish()
}

fn is_yaml(file: &SourceFile) -> bool {
    matches!(file.name.rsplit('.').next(), Some("yaml" | "yml"))
}

/// What has been read so far.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) apps: Vec<(Place, App)>,
    pub(crate) groups: Vec<(Place, DeclaredGroup)>,
    pub(crate) users: Vec<(Place, DeclaredUser)>,
    pub(crate) policies: Vec<PolicyFile>,
    pub(crate) schemas: Vec<PolicyFile>,
    pub(crate) remedies: Vec<(Place, RemedyEntry)>,
    /// The same, for tests to look up.
    list: RemedyList,
    pub(crate) tests: Vec<(Place, PolicyTest)>,
    pub(crate) problems: Vec<Problem>,
}

/// Where a document names itself.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) at: (u64, u64),
    /// Where an app names its hosts.
    pub(crate) hosts: BTreeMap<HostPattern, (u64, u64)>,
}

impl Place {
    /// Where this host is named.
    pub(crate) fn of_host(&self, host: &HostPattern) -> (u64, u64) {
        self.hosts.get(host).copied().unwrap_or(self.at)
    }
}

impl Reading {
    fn yaml(&mut self, file: &SourceFile, pems: &[&SourceFile]) {
        for text in documents(&file.text) {
            let mut document = Document { file: &file.name, problems: Vec::new() };
            self.document(&mut document, &text, pems);
            self.problems.append(&mut document.problems);
        }
    }

    fn remedies_of(&mut self, file: &SourceFile) {
        for text in documents(&file.text) {
            // What is no document at all is told when all of them are read.
            let is_remedy = serde_saphyr::from_str::<Peek>(&text)
                .is_ok_and(|peek| peek.kind.is_some_and(|kind| kind.value == "Remedy"));
            let mut document = Document { file: &file.name, problems: Vec::new() };
            if is_remedy
                && let Some((place, name, spec)) = document.envelope::<remedy::RemedySpec>(&text)
                && let Some(entry) = remedy::build(&mut document, &name, spec)
            {
                self.remedies.push((place, entry));
            }
            self.problems.append(&mut document.problems);
        }
    }

    fn document(&mut self, document: &mut Document<'_>, text: &str, pems: &[&SourceFile]) {
        let Some(peek) = document.parse::<Peek>(text) else { return };
        let Some(kind) = peek.kind else {
            let line = text.lines().take_while(|line| line.trim().is_empty()).count() as u64 + 1;
            let problem = Problem::error(document.file, (line, 1), "the document has no `kind`");
            document.problems.push(problem.hint(format!("valid here: {}", KINDS.join(", "))));
            return;
        };
        match kind.value.as_str() {
            "App" => {
                if let Some((mut place, name, spec)) = document.envelope::<app::AppSpec>(text) {
                    place.hosts = app::host_places(&spec);
                    let app = app::build(document, &name, spec, pems);
                    self.apps.extend(app.map(|app| (place, app)));
                }
            }
            "Group" => {
                if let Some((place, name, spec)) = document.envelope::<people::GroupSpec>(text)
                    && let Some(group) = people::group(document, &name, spec)
                {
                    self.groups.push((place, group));
                }
            }
            "PolicyTest" => {
                if let Some((place, name, spec)) = document.envelope::<policy_test::PolicyTestSpec>(text)
                    && let Some(test) = policy_test::build(document, &self.list, &name, spec)
                {
                    self.tests.push((place, test));
                }
            }
            // Read before all others.
            "Remedy" => {}
            "User" => {
                if let Some((place, name, spec)) = document.envelope::<people::UserSpec>(text)
                    && let Some(user) = people::user(document, &name, spec)
                {
                    self.users.push((place, user));
                }
            }
            other => {
                let problem =
                    Problem::error(document.file, at(&kind.referenced), format!("`{other}` is not a kind we know"));
                document.problems.push(problem.hint(choices(other, KINDS)));
            }
        }
    }

    fn finish(mut self) -> Result<Declared, Problems> {
        self.problems.sort();
        self.problems.dedup();
        if self.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Problems(self.problems));
        }
        let mut declared = Declared {
            apps: self.apps.into_iter().map(|(_, app)| app).collect(),
            groups: self.groups.into_iter().map(|(_, group)| group).collect(),
            users: self.users.into_iter().map(|(_, user)| user).collect(),
            policies: self.policies,
            schemas: self.schemas,
            remedies: self.list,
            tests: self.tests.into_iter().map(|(_, test)| test).collect(),
            warnings: self.problems,
        };
        declared.apps.sort_by(|a, b| a.name.cmp(&b.name));
        declared.groups.sort_by(|a, b| a.id.cmp(&b.id));
        declared.users.sort_by(|a, b| a.email.cmp(&b.email));
        declared.policies.sort_by(|a, b| a.name.cmp(&b.name));
        declared.schemas.sort_by(|a, b| a.name.cmp(&b.name));
        declared.tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(declared)
    }
}

/// One document being read; collects its problems.
pub(crate) struct Document<'a> {
    pub(crate) file: &'a str,
    pub(crate) problems: Vec<Problem>,
}

impl Document<'_> {
    pub(crate) fn refuse<T>(&mut self, value: &Spanned<T>, message: impl Into<String>) {
        self.problems.push(Problem::error(self.file, at(&value.referenced), message));
    }

    pub(crate) fn refuse_with_hint<T>(&mut self, value: &Spanned<T>, message: impl Into<String>, hint: String) {
        self.problems.push(Problem::error(self.file, at(&value.referenced), message).hint(hint));
    }

    pub(crate) fn refuse_at(&mut self, at: (u64, u64), message: impl Into<String>) {
        self.problems.push(Problem::error(self.file, at, message));
    }

    pub(crate) fn warn_at(&mut self, at: (u64, u64), message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::warning(self.file, at, message).hint(hint));
    }

    pub(crate) fn warn<T>(&mut self, value: &Spanned<T>, message: impl Into<String>, hint: &str) {
        self.problems.push(Problem::warning(self.file, at(&value.referenced), message).hint(hint));
    }

    /// Parses a spanned text; a failure is noted and gives `None`.
    pub(crate) fn parsed<T>(
        &mut self,
        value: &Spanned<String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&value.value) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.refuse(value, message);
                None
            }
        }
    }

    /// One of a fixed set of words.
    pub(crate) fn word<T: Copy>(&mut self, value: &Spanned<String>, words: &[(&str, T)]) -> Option<T> {
        if let Some((_, chosen)) = words.iter().find(|(word, _)| *word == value.value) {
            return Some(*chosen);
        }
        let valid: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.refuse_with_hint(value, format!("`{}` is not valid here", value.value), choices(&value.value, &valid));
        None
    }

    fn envelope<S: DeserializeOwned>(&mut self, text: &str) -> Option<(Place, Spanned<String>, S)> {
        let envelope: Envelope<S> = self.parse(text)?;
        if envelope.api_version.value != API_VERSION {
            let message = format!("apiVersion `{}` is not known", envelope.api_version.value);
            self.refuse_with_hint(&envelope.api_version, message, format!("write `apiVersion: {API_VERSION}`"));
        }
        let (file, at) = (self.file.to_owned(), at(&envelope.kind.referenced));
        let place = Place { file, at, hosts: BTreeMap::new() };
        Some((place, envelope.metadata.name, envelope.spec))
    }

    fn parse<T: DeserializeOwned>(&mut self, text: &str) -> Option<T> {
        match serde_saphyr::from_str(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(syntax::problem(self.file, &error));
                None
            }
        }
    }
}

/// Splits a stream at `---` lines; every document keeps its line numbers through leading blank lines.
pub(crate) fn documents(text: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let mut current = String::new();
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        if line == "---" || line.starts_with("--- ") {
            documents.push(std::mem::take(&mut current));
            current.extend(std::iter::repeat_n('\n', lines));
        } else {
            current.push_str(line);
            current.push('\n');
        }
    }
    documents.push(current);
    documents
        .retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    documents
}

pub(crate) fn at(location: &Location) -> (u64, u64) {
    (location.line(), location.column())
}
