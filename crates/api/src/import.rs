//! Lists of people from other systems, read into one form (ID-9): CSV, SCIM, LDIF, and what Keycloak, authentik,
//! Kanidm and Rauthy give out. Pure: text in, rows out. Whether a row fits the directory is said in [`pip_identity::people`].
//!
//! Invariants: a row that is not understood is told by its place and never guessed; other members of an export are
//! passed over, because exports hold much that is not about people; passkeys are counted and left where they are, since
//! they belong to the name of the site they were made for.

mod authentik;
mod csv;
mod kanidm;
mod keycloak;
mod ldif;
mod rauthy;
mod scim;

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::Value;

/// The most rows of one import; more come in several.
pub const MAX_ROWS: usize = 2_000;
/// The most bytes of one import.
pub const MAX_BYTES: usize = 3 << 20;
/// The most groups of one row.
pub const MAX_GROUPS: usize = 100;

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The users of an authentik API.
    Authentik,
    /// Comma-separated, with a header line.
    Csv,
    /// `kanidm person list -o json`.
    Kanidm,
    /// A realm export of Keycloak.
    Keycloak,
    /// Entries of an LDAP directory.
    Ldif,
    /// The users of a Rauthy API.
    Rauthy,
    /// Users and groups of a SCIM service.
    Scim,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] =
        &[Format::Authentik, Format::Csv, Format::Kanidm, Format::Keycloak, Format::Ldif, Format::Rauthy, Format::Scim];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Authentik => "authentik",
            Format::Csv => "csv",
            Format::Kanidm => "kanidm",
            Format::Keycloak => "keycloak",
            Format::Ldif => "ldif",
            Format::Rauthy => "rauthy",
            Format::Scim => "scim",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Format::ALL.iter().copied().find(|format| format.as_str() == word);
        let words: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        found.ok_or_else(|| format!("the format is one of {}", words.join(", ")))
    }
}

/// Where a row is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// Counted from 1, of a list.
    Entry(usize),
    /// Counted from 1, of a text.
    Line(usize),
}

/// A person as the other system has them. No `Debug`: it may hold the hash of a password.
#[derive(Default)]
pub struct Person {
    /// Address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Groups, as ids here.
    pub groups: BTreeSet<String>,
    /// From outside the organisation.
    pub is_external: bool,
    /// May not sign in.
    pub is_disabled: bool,
    /// The slow hash of the password, in a form that [`pip_identity::password_hash`] reads.
    pub hash: Option<String>,
    /// Why the hash they have there is not read; keeps the row out unless hashes stay behind anyway.
    pub unread_hash: Option<String>,
    /// Passkeys and security keys they have there.
    pub passkeys: usize,
}

/// What was read: everybody, in order, or what is wrong with a row.
pub type Rows = Vec<(Place, Result<Person, String>)>;

/// Reads a whole text.
///
/// # Errors
/// It is too large, or not of this format at all.
pub fn read(format: Format, text: &str) -> Result<Rows, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the file has more than {} MiB; split it", MAX_BYTES >> 20));
    }
    let rows = match format {
        Format::Csv => csv::read(text)?,
        Format::Authentik => entries(text, "results", authentik::person)?,
        Format::Kanidm => entries(text, "entries", kanidm::person)?,
        Format::Keycloak => entries(text, "users", keycloak::person)?,
        Format::Ldif => ldif::read(text)?,
        Format::Rauthy => entries(text, "users", rauthy::person)?,
        Format::Scim => scim::read(text)?,
    };
    match rows.len() {
        0 => Err("nobody is in this file".to_owned()),
        n if n > MAX_ROWS => Err(format!("the file has more than {MAX_ROWS} people; split it")),
        _ => Ok(rows),
    }
}

/// A list, or an object with the list under `member`. `person` gives `None` for what is no person.
fn entries(
    text: &str,
    member: &str,
    person: impl Fn(&Value) -> Option<Result<Person, String>>,
) -> Result<Rows, String> {
    let whole: Value = serde_json::from_str(text).map_err(|error| format!("the file is no JSON: {error}"))?;
    let list = whole.as_array().or_else(|| whole.get(member).and_then(Value::as_array));
    let list = list.ok_or_else(|| format!("the file is neither a list nor an object with the list `{member}`"))?;
    let read = |(at, entry): (usize, &Value)| Some((Place::Entry(at + 1), checked(person(entry)?)));
    Ok(list.iter().enumerate().filter_map(read).collect())
}

/// What holds for every format.
fn checked(person: Result<Person, String>) -> Result<Person, String> {
    let person = person?;
    if person.email.trim().is_empty() {
        return Err("there is no e-mail address, by which people are known here".to_owned());
    }
    if person.groups.len() > MAX_GROUPS {
        return Err(format!("more than {MAX_GROUPS} groups"));
    }
    let name = if person.name.trim().is_empty() { person.email.clone() } else { person.name };
    Ok(Person { name, ..person })
}

/// A member that is text; empty if it is not there.
fn text(of: &Value, member: &str) -> String {
    of.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A list of texts; empty if it is not there.
fn texts(of: &Value, member: &str) -> Vec<String> {
    let list = of.get(member).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The name of a group elsewhere as an id here: `/Staff/Human Resources` is `human-resources`.
fn group_id(name: &str) -> String {
    let last = name.rsplit('/').find(|part| !part.is_empty()).unwrap_or(name);
    let dashed: String =
        last.trim().chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
