//! Screen 6, what a person can do, and what can be done about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::directory::GroupId;
use model::{Action, UserEntry, UserState};
use pages::console::{Choice, Confirm, Credential, FieldError, Outcome, Pair, People, Person, PersonAccess, PersonRow};
use pip_identity::passkeys::handle_of;
use pip_identity::people::{LastAdmin, NewUser};

use super::reach::{Reaching, by_address, membership};
use super::take::{self, Table};
use super::text::{badge, count, moment, segment, shell_word, shown, url};
use super::visit::Visit;
use super::{Screen, act, recoveries, sessions};
use crate::control::standing::NOW;
use crate::failure::Failure;
use crate::http::portal::{page, with_cookie};
use crate::preferences::List;

/// People on a page.
const ROWS: usize = 50;
const STATES: [UserState; 3] = [UserState::Active, UserState::Disabled, UserState::Invited];

/// What was typed to add somebody.
#[derive(Debug, Default)]
struct Typed {
    name: String,
    email: String,
    groups: BTreeSet<String>,
}

/// Everybody, or those asked for; after a failed invitation with what was typed.
pub(super) fn list(visit: &Visit<'_>, problem: Option<&Failure>) -> Response<Bytes> {
    let typed = match problem {
        Some(_) => posted(visit),
        None => Typed {
            name: visit.asked("name").to_owned(),
            email: visit.asked("email").to_owned(),
            groups: visit.query().into_iter().filter(|(name, _)| name == "group").map(|(_, group)| group).collect(),
        },
    };
    let published = visit.published();
    let state = visit.asked("state");
    let mut people = found(visit);
    let total = people.len();
    let after = visit.asked("after");
    people.retain(|user| user.email.as_str() > after);
    let next = (people.len() > ROWS).then(|| people.get(ROWS - 1).map(|user| user.email.clone())).flatten();
    people.truncate(ROWS);
    let live = live(visit);
    let row = |user: &&Arc<UserEntry>| PersonRow {
        url: format!("/console/people/{}", user.id),
        name: shown(&user.name),
        email: shown(&user.email),
        state: user.state.as_str().to_owned(),
        groups: shown(&user.groups.iter().map(GroupId::as_str).collect::<Vec<_>>().join(", ")),
        sessions: live.get(&user.id).copied().unwrap_or_default(),
    };
    let group = |group: &Arc<model::GroupEntry>| Choice {
        value: group.id.to_string(),
        text: if group.title.is_empty() { group.id.to_string() } else { shown(&group.title) },
        is_chosen: typed.groups.contains(group.id.as_str()),
    };
    let any = Choice { value: String::new(), text: "any".to_owned(), is_chosen: state.is_empty() };
    let one = |known: UserState| {
        let word = known.as_str();
        Choice { value: word.to_owned(), text: word.to_owned(), is_chosen: word == state }
    };
    let screen = People {
        shell: visit.shell("People", "GET /api/v1/users".to_owned(), "countersign user list".to_owned()),
        columns: visit.columns(List::People),
        search: visit.asked("q").to_owned(),
        states: [any].into_iter().chain(STATES.map(one)).collect(),
        rows: people.iter().map(row).collect(),
        summary: format!("{}, {} shown.", count(total, "person", "people"), people.len()),
        next_url: next.map(|email| {
            url("/console/people", [("q", visit.asked("q")), ("state", state), ("after", email.as_str())])
        }),
        exports: take::ways(List::People, [("q", visit.asked("q")), ("state", state)]),
        may_write: visit.may_write(),
        token: visit.token(),
        groups: published.directory.groups.values().map(group).collect(),
        new_name: typed.name,
        new_email: typed.email,
        errors: problem.map(at_field).into_iter().collect(),
    };
    let code = match problem {
        None => StatusCode::OK,
        Some(Failure::Conflict { .. }) => StatusCode::CONFLICT,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    page(code, screen.render())
}

/// The people that are asked for, as a file has them.
pub(super) fn table(visit: &Visit<'_>) -> Table {
    let live = live(visit);
    let row = |user: &Arc<UserEntry>| {
        let groups = user.groups.iter().map(GroupId::as_str).collect::<Vec<_>>().join(" ");
        let sessions = live.get(&user.id).copied().unwrap_or_default().to_string();
        vec![
            user.id.to_string(),
            user.email.clone(),
            user.name.clone(),
            user.state.as_str().to_owned(),
            groups,
            sessions,
        ]
    };
    Table {
        head: &["id", "email", "name", "state", "groups", "sessions"],
        rows: found(visit).into_iter().map(row).collect(),
    }
}

/// Those that match what was typed, by address.
fn found<'v>(visit: &'v Visit<'_>) -> Vec<&'v Arc<UserEntry>> {
    let search = visit.asked("q").trim().to_lowercase();
    let state = visit.asked("state");
    let mut people = by_address(&visit.published().directory);
    people.retain(|user| {
        let is_found = user.email.to_lowercase().contains(&search) || user.name.to_lowercase().contains(&search);
        is_found && (state.is_empty() || user.state.as_str() == state)
    });
    people
}

/// How many live sessions each person has.
fn live(visit: &Visit<'_>) -> BTreeMap<model::UserId, usize> {
    let mut live = BTreeMap::new();
    for session in visit.control().list_sessions(None).unwrap_or_default() {
        *live.entry(session.user).or_default() += 1;
    }
    live
}

/// The field a refusal of the directory is about.
fn at_field(failure: &Failure) -> FieldError {
    let message = failure.to_string();
    let field = if message.contains("name") && !message.contains("address") { "name" } else { "email" };
    FieldError { field: field.to_owned(), message: shown(&message) }
}

fn posted(visit: &Visit<'_>) -> Typed {
    Typed {
        name: visit.posted("name").to_owned(),
        email: visit.posted("email").trim().to_owned(),
        groups: visit.all_posted("group").into_iter().map(str::to_owned).collect(),
    }
}

pub(super) fn person(visit: &Visit<'_>) -> Result<Arc<UserEntry>, Failure> {
    let published = visit.published();
    let found = published.directory.find(visit.captured()).cloned();
    found.ok_or_else(|| Failure::NotFound { message: format!("there is nobody `{}`", visit.captured()) })
}

pub(super) async fn detail(visit: &Visit<'_>) -> Response<Bytes> {
    let user = match person(visit) {
        Ok(user) => user,
        Err(failure) => return visit.failed(&failure),
    };
    let published = visit.published();
    let reaching = Reaching::new(published, visit.now());
    let id = user.id.to_string();
    let access = published.apps.iter().filter(|app| !app.is_control_plane()).map(|app| {
        let (effect, path) = reaching.path(&user, app);
        let name = app.name.as_str();
        PersonAccess {
            url: format!("/console/apps/{}", segment(name)),
            app: shown(&app.title),
            effect: badge(Some(effect)),
            path,
            why_url: url("/console/why", [("ask", "yes"), ("who", id.as_str()), ("app", name)]),
        }
    });
    let passkeys = visit.control().people().passkeys(user.id).await.ok();
    let passkey = |row: pip_identity::store::PasskeyRow| Credential {
        name: shown(&row.name),
        handle: handle_of(&row.credential_id),
        kind: if row.is_backup_eligible { "synced" } else { "on one device" },
        created: moment(row.created_at),
        last_used: row.last_used_at.map(moment),
    };
    let live = visit.control().list_sessions(Some(&id)).unwrap_or_default();
    let group = |group: &GroupId| Pair::plain(group.as_str(), membership(&published.directory, &user, group));
    let screen = Person {
        shell: visit.shell(
            &shown(&user.name),
            format!("GET /api/v1/users/{id}"),
            format!("countersign user show {}", shell_word(&user.email)),
        ),
        columns: visit.columns(List::Sessions),
        facts: facts(&user, visit.control().people().deletion_wishes().get(&user.id).copied()),
        groups: user.groups.iter().map(group).collect(),
        asked: NOW,
        access: access.collect(),
        credentials: passkeys.map(|rows| rows.into_iter().map(passkey).collect()),
        sessions: live.iter().map(|session| sessions::line(visit, session)).collect(),
        may_write: visit.may_write(),
        is_disabled: user.state == UserState::Disabled,
        is_invited: user.state == UserState::Invited,
        recovery: recoveries::state_of(visit, &user).await,
        token: visit.token(),
        records_url: url("/console/access", [("who", id.as_str()), ("since", "7d")]),
        id,
    };
    page(StatusCode::OK, screen.render())
}

fn facts(user: &UserEntry, wish: Option<model::Timestamp>) -> Vec<Pair> {
    let mut facts = vec![
        Pair::plain("Address", shown(&user.email)),
        Pair::plain("Id", user.id.to_string()),
        Pair::plain("State", user.state.as_str()),
        Pair::plain("From", if user.is_external { "outside the organisation" } else { "the organisation" }),
        Pair::plain("Account made", user.created_at.readable()),
    ];
    if let Some(at) = wish {
        let text = format!("asked for on {}; `countersign user delete` shows what it does", at.readable());
        facts.push(Pair::plain("Deletion", text));
    }
    for (name, values) in &user.tags {
        facts.push(Pair::plain(&shown(name), shown(&values.iter().cloned().collect::<Vec<_>>().join(", "))));
    }
    facts
}

/// What the act would be counted by (UI-6).
fn fingerprint(user: &UserEntry, sessions: usize) -> String {
    format!("{}-{sessions}", user.state.as_str())
}

/// The question before somebody is disabled or enabled.
pub(super) fn ask(visit: &Visit<'_>, notice: Option<&str>) -> Response<Bytes> {
    let user = match person(visit) {
        Ok(user) => user,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.may_write() {
        return visit.missing_right(Action::AdminWrite);
    }
    let is_disabling = matches!(visit.screen(), Screen::AskDisable | Screen::Disable);
    let verb = if is_disabling { "disable" } else { "enable" };
    let id = user.id.to_string();
    let here = format!("/console/people/{id}/{verb}");
    let (confirm_url, cookie) = match visit.is_fresh() {
        true => (None, None),
        false => {
            let (url, cookie) = visit.portal().way_to_confirm(visit.context(), Action::AdminWrite, &here);
            (Some(url), cookie)
        }
    };
    let sessions = visit.control().list_sessions(Some(&id)).map_or(0, |sessions| sessions.len());
    let name = shown(&user.name);
    let title = if is_disabling { format!("Disable {name}?") } else { format!("Let {name} sign in again?") };
    let confirm = Confirm {
        shell: visit.shell(
            &title,
            format!("POST /api/v1/users/{id}/{verb}"),
            format!("countersign user {verb} {}", shell_word(&user.email)),
        ),
        consequences: consequences(visit, &user, sessions, is_disabling),
        way_back: match is_disabling {
            true => "To undo it, let them sign in again; sessions that ended stay ended.",
            false => "To undo it, disable them.",
        }
        .to_owned(),
        notice: notice.map(str::to_owned),
        action_url: here,
        fields: vec![("token".to_owned(), visit.token()), ("expected".to_owned(), fingerprint(&user, sessions))],
        button: if is_disabling { format!("Disable {name}") } else { format!("Enable {name}") },
        confirm_url,
        cancel_url: format!("/console/people/{id}"),
    };
    let response = page(StatusCode::OK, confirm.render());
    match cookie {
        Some(cookie) => with_cookie(response, &cookie),
        None => response,
    }
}

fn consequences(visit: &Visit<'_>, user: &UserEntry, sessions: usize, is_disabling: bool) -> Vec<String> {
    if !is_disabling {
        return vec![format!(
            "{} may sign in again with the passkeys they have, and is in {}.",
            shown(&user.email),
            count(user.groups.len(), "group", "groups")
        )];
    }
    let mut all = vec![
        format!("{} cannot sign in any more, anywhere.", shown(&user.email)),
        format!(
            "Ends {} now; every connection they have open is cut before the answer comes.",
            count(sessions, "session", "sessions")
        ),
    ];
    if user.id == visit.session().user {
        all.push("This is you: you will be signed out and cannot come back by yourself.".to_owned());
    }
    all
}

/// Disables or enables after one more look.
pub(super) async fn change(visit: &Visit<'_>) -> Response<Bytes> {
    let user = match person(visit) {
        Ok(user) => user,
        Err(failure) => return visit.failed(&failure),
    };
    let sessions = visit.control().list_sessions(Some(&user.id.to_string())).map_or(0, |sessions| sessions.len());
    if !visit.is_fresh() {
        return ask(visit, Some("Too much time went by: confirm once more that it is you. Nothing was done yet."));
    }
    if fingerprint(&user, sessions) != visit.posted("expected") {
        return ask(visit, Some("It has changed meanwhile. Nothing was done yet; look again."));
    }
    let (control, actor) = (visit.control(), visit.actor());
    let is_disabling = visit.screen() == Screen::Disable;
    let carried = match is_disabling {
        true => control.disable_user(&actor, user.id, LastAdmin::Keep).await,
        false => control.enable_user(&actor, user.id).await,
    };
    match carried {
        Ok(carried) => {
            let word = if is_disabling { "is disabled" } else { "may sign in again" };
            let outcome = Outcome {
                paragraphs: vec![format!("{} {word}.", shown(&user.email))],
                withdrawn: carried.revocations.iter().map(act::withdrawn).collect(),
                ..Outcome::default()
            };
            act::finish(visit, outcome)
        }
        Err(failure) => visit.failed(&failure),
    }
}

/// A new person with an invitation, or a new invitation for somebody who has not enrolled.
pub(super) async fn invite(visit: &Visit<'_>) -> Response<Bytes> {
    let known = visit.posted("user");
    if !visit.is_fresh() {
        return confirm_first(visit, known);
    }
    let (control, actor) = (visit.control(), visit.actor());
    let id = if known.is_empty() {
        let typed = posted(visit);
        if typed.name.trim().is_empty() {
            return list(visit, Some(&Failure::invalid("name", "a name is needed; it is how others recognise them")));
        }
        let new = NewUser {
            email: typed.email,
            name: typed.name,
            is_external: false,
            tags: BTreeMap::new(),
            groups: typed.groups.iter().map(|group| GroupId::new(group)).collect(),
        };
        match control.create_user(&actor, new).await {
            Ok(id) => id,
            Err(failure @ (Failure::Conflict { .. } | Failure::Invalid { .. } | Failure::NotFound { .. })) => {
                return list(visit, Some(&failure));
            }
            Err(failure) => return visit.failed(&failure),
        }
    } else {
        match control.user(known) {
            Ok(user) => user.id,
            Err(failure) => return visit.failed(&failure),
        }
    };
    match visit.portal().invite(&actor, id).await {
        Ok(link) => {
            let outcome = Outcome {
                paragraphs: vec![format!("{} is invited. The link ends {}.", name(visit, id), link.expires)],
                secret_link: Some(link.url().to_owned()),
                ..Outcome::default()
            };
            act::finish(visit, outcome)
        }
        Err(failure) => visit.failed(&failure),
    }
}

/// The directory of now: somebody added a moment ago is not in the version this page began with.
fn name(visit: &Visit<'_>, id: model::UserId) -> String {
    let directory = visit.control().published().directory.clone();
    directory.users.get(&id).map_or_else(|| id.to_string(), |user| shown(&user.email))
}

/// Rights are given, so the person confirms first, and comes back to what was typed (UI-7).
fn confirm_first(visit: &Visit<'_>, known: &str) -> Response<Bytes> {
    let typed = posted(visit);
    let back = match known {
        "" => {
            let fields = [("name", typed.name.as_str()), ("email", typed.email.as_str())];
            url("/console/people", fields.into_iter().chain(typed.groups.iter().map(|group| ("group", group.as_str()))))
        }
        id => format!("/console/people/{}", segment(id)),
    };
    let (confirm_url, cookie) = visit.portal().way_to_confirm(visit.context(), Action::AdminWrite, &back);
    let confirm = Confirm {
        shell: visit.shell("Confirm first", "POST /api/v1/invites".to_owned(), "countersign invite …".to_owned()),
        consequences: vec![
            "An invitation lets somebody in, with the rights of the groups they are put into.".to_owned(),
        ],
        way_back: "What you entered is kept.".to_owned(),
        notice: None,
        action_url: String::new(),
        fields: Vec::new(),
        button: String::new(),
        confirm_url: Some(confirm_url),
        cancel_url: back,
    };
    let response = page(StatusCode::OK, confirm.render());
    match cookie {
        Some(cookie) => with_cookie(response, &cookie),
        None => response,
    }
}
