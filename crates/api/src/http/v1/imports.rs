//! People from other systems (ID-9): the text of an export comes in, is read and held against the directory, and is taken
//! over whole or not at all, unless asked otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use config::{Problem, Problems};
use model::directory::GroupId;
use pip_identity::people::{Admission, Incoming, NewUser, PeopleError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::users::carried;
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::problem::problem_lines;
use crate::import::{self, Person, Place};

/// The longest name of a file.
const MAX_NAME_CHARS: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportBody {
    /// The file, for messages.
    name: String,
    format: String,
    text: String,
    /// Rows that do not fit keep nobody else out.
    #[serde(default)]
    partial: bool,
    /// Nothing is written.
    #[serde(default)]
    dry_run: bool,
    /// Hashes of passwords stay behind.
    #[serde(default)]
    no_passwords: bool,
}

pub(crate) async fn import(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<ImportBody>,
) -> Result<Answer<Value>, Failure> {
    let format = body.format.parse().map_err(|why: String| Failure::invalid("format", why))?;
    let file: String = body.name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    let read = import::read(format, &body.text).map_err(|why| Failure::invalid("text", format!("{file}: {why}")))?;
    let (mut places, mut rows, mut problems, mut passkeys, mut hashes) = (Vec::new(), Vec::new(), Vec::new(), 0, 0);
    for (place, person) in read {
        match person {
            Ok(Person { unread_hash: Some(why), .. }) if !body.no_passwords => {
                let hint = "take people over without passwords: --no-passwords".to_owned();
                problems.push(problem(&file, place, why, Some(hint)));
            }
            Ok(person) => {
                passkeys += person.passkeys;
                let row = incoming(person, body.no_passwords);
                hashes += usize::from(row.hash.is_some());
                places.push(place);
                rows.push(row);
            }
            Err(why) => problems.push(problem(&file, place, why, None)),
        }
    }
    // What was not even read counts as a row that does not fit.
    let admission = match (body.dry_run, body.partial, problems.is_empty()) {
        (true, ..) | (_, false, false) => Admission::Try,
        (_, true, _) => Admission::Partial,
        (_, false, true) => Admission::Whole,
    };
    let (imported, revoked) = control.import_people(&actor, &rows, admission).await?;
    for (row, error) in &imported.refused {
        let place = places.get(*row).copied().unwrap_or(Place::Entry(*row));
        problems.push(problem(&file, place, error.to_string(), hint(&control, error)));
    }
    problems.sort_by_key(|problem| (problem.line, problem.file.len(), problem.file.clone()));
    if !problems.is_empty() && !body.partial && !body.dry_run {
        return Err(Failure::Problems(Problems(problems)));
    }
    let mut answer = carried(&revoked);
    if let Some(members) = answer.as_object_mut() {
        members.insert("added".to_owned(), json!(imported.added));
        members.insert("refused".to_owned(), problem_lines(&problems));
        members.insert("is_written".to_owned(), json!(imported.change.is_some()));
        members.insert("password_hashes".to_owned(), json!(hashes));
        members.insert("passkeys_left_behind".to_owned(), json!(passkeys));
    }
    Ok(Answer(answer))
}

fn incoming(person: Person, no_passwords: bool) -> Incoming {
    Incoming {
        user: NewUser {
            email: person.email,
            name: person.name,
            is_external: person.is_external,
            tags: BTreeMap::new(),
            groups: person.groups.iter().map(|group| GroupId::new(group)).collect(),
        },
        is_disabled: person.is_disabled,
        hash: person.hash.filter(|_| !no_passwords),
    }
}

fn problem(file: &str, place: Place, why: String, hint: Option<String>) -> Problem {
    let (file, line) = match place {
        Place::Line(line) => (file.to_owned(), u64::try_from(line).unwrap_or(0)),
        Place::Entry(entry) => (format!("{file} entry {entry}"), 0),
    };
    Problem { hint, ..Problem::error(&file, (line, 0), why) }
}

/// The group that was perhaps meant, or how to make this one.
fn hint(control: &ControlPlane, error: &PeopleError) -> Option<String> {
    let PeopleError::NoGroup(name) = error else { return None };
    let directory = control.people().directory();
    let near = config::problem::nearest(name, directory.groups.keys().map(GroupId::as_str));
    Some(match near {
        Some(near) => format!("did you mean `{near}`"),
        None => format!("make it with `countersign group create {name}`, or declare it in a file"),
    })
}
