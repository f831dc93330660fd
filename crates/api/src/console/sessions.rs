//! Screen 8, who is in now, and ending it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use audit::Column;
use bytes::Bytes;
use http::{Response, StatusCode};
use model::seams::Cause;
use model::{Session, SessionId, UserId};
use pages::console::{Confirm, FieldError, Outcome, SessionLine, Sessions};

use super::act;
use super::take::{self, Table};
use super::text::{count, moment, shell_word, shown, url};
use super::visit::Visit;
use crate::failure::Failure;
use crate::http::portal::{browser_name, page, with_cookie};
use crate::preferences::List;

/// Sessions on a page.
const ROWS: usize = 50;
/// The most sessions one act ends; more is done app by app, or by disabling.
const MAX_ENDED: usize = 1_000;
/// What a session list can be narrowed by.
const FILTERS: [&str; 5] = ["user", "app", "network", "older", "session"];

/// Which sessions are meant.
#[derive(Clone, Debug, Default)]
struct Wanted {
    user: Option<UserId>,
    network: String,
    older: Option<Duration>,
    session: Option<SessionId>,
    /// Those that reached the app that was asked for.
    of_app: Option<BTreeSet<SessionId>>,
    /// As typed, to be carried along.
    typed: Vec<(&'static str, String)>,
}

impl Wanted {
    /// Reads the filters from query or form.
    async fn read(visit: &Visit<'_>, value: impl Fn(&str) -> String) -> Result<Self, Result<FieldError, Failure>> {
        let typed = FILTERS.map(|name| (name, value(name).trim().to_owned()));
        let wrong = |field: &str, message: String| Ok(FieldError { field: field.to_owned(), message: shown(&message) });
        let mut wanted = Wanted {
            typed: typed.iter().filter(|(_, value)| !value.is_empty()).cloned().collect(),
            ..Wanted::default()
        };
        for (name, value) in wanted.typed.clone() {
            match name {
                "user" => {
                    let user = visit.control().user(&value).map_err(|failure| wrong(name, failure.to_string()))?;
                    wanted.user = Some(user.id);
                }
                "network" => wanted.network = value,
                "older" => {
                    let read = span(&value);
                    wanted.older = Some(
                        read.ok_or_else(|| wrong(name, format!("`{value}` is not a time; give e.g. 30m, 8h or 2d")))?,
                    );
                }
                "app" => wanted.of_app = Some(reached(visit, &value).await.map_err(Err)?),
                _ => wanted.session = Some(value.parse().map_err(|error| wrong(name, format!("{error}")))?),
            }
        }
        Ok(wanted)
    }

    fn is_met(&self, session: &Session, now: model::Timestamp) -> bool {
        self.user.is_none_or(|user| session.user == user)
            && self.session.is_none_or(|id| session.id == id)
            && self.older.is_none_or(|older| now.since(session.created) >= older)
            && self.of_app.as_ref().is_none_or(|sessions| sessions.contains(&session.id))
            && session.src_net.starts_with(&self.network)
    }

    /// Only the sessions of one person, all of them.
    fn is_everything_of(&self) -> Option<UserId> {
        let rest = self.session.is_none() && self.older.is_none() && self.of_app.is_none() && self.network.is_empty();
        self.user.filter(|_| rest)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.typed.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// `8h` as a span of time.
fn span(text: &str) -> Option<Duration> {
    let (last, unit) = text.char_indices().next_back()?;
    let secs = match unit {
        's' => 1u64,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    text.get(..last)?.parse::<u64>().ok()?.checked_mul(secs).map(Duration::from_secs)
}

/// The sessions that were let into an app in the last day, from the record.
async fn reached(visit: &Visit<'_>, app: &str) -> Result<BTreeSet<SessionId>, Failure> {
    if !visit.may_read_record() {
        return Err(Failure::Forbidden {
            message: "to look for sessions by app you need the right audit.read".to_owned(),
        });
    }
    let filters = [("app", app), ("effect", "allow"), ("limit", "10000")];
    let filters: Vec<(String, String)> = filters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let query = visit.control().parse_query(&filters)?;
    let answer = visit.control().query(&visit.actor(), query, &visit.control().query_words(&filters)).await?;
    let ids = answer.rows.iter().filter_map(|row| audit::render::plain(row, Column::SessionId).parse().ok());
    Ok(ids.collect())
}

/// Live sessions that match, newest first.
fn matching(visit: &Visit<'_>, wanted: &Wanted) -> Result<Vec<Arc<Session>>, Failure> {
    let mut sessions = visit.control().list_sessions(None)?;
    sessions.retain(|session| wanted.is_met(session, visit.now()));
    sessions.sort_by(|a, b| b.created.cmp(&a.created).then(b.id.cmp(&a.id)));
    Ok(sessions)
}

pub(super) async fn list(visit: &Visit<'_>) -> Response<Bytes> {
    let (wanted, errors) = match Wanted::read(visit, |name| visit.asked(name).to_owned()).await {
        Ok(wanted) => (wanted, Vec::new()),
        Err(Ok(error)) => (Wanted::default(), vec![error]),
        Err(Err(failure)) => return visit.failed(&failure),
    };
    let sessions = match errors.is_empty() {
        true => matching(visit, &wanted),
        false => Ok(Vec::new()),
    };
    let sessions = match sessions {
        Ok(sessions) => sessions,
        Err(failure) => return visit.failed(&failure),
    };
    let code = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    page(code, screen(visit, &wanted, &sessions, errors).render())
}

fn screen(visit: &Visit<'_>, wanted: &Wanted, sessions: &[Arc<Session>], errors: Vec<FieldError>) -> Sessions {
    let after: Option<SessionId> = visit.asked("after").parse().ok();
    let start = after.and_then(|id| sessions.iter().position(|session| session.id == id)).map_or(0, |at| at + 1);
    let shown_now: Vec<&Arc<Session>> = sessions.iter().skip(start).take(ROWS).collect();
    let is_more = sessions.len() > start + ROWS;
    let next = shown_now.last().filter(|_| is_more).map(|session| session.id.to_string());
    let people: BTreeSet<UserId> = sessions.iter().map(|session| session.user).collect();
    let is_filtered = !wanted.typed.is_empty();
    let others = sessions.iter().filter(|session| session.id != visit.session().id).count();
    let user = wanted.typed.iter().find(|(name, _)| *name == "user").map(|(_, value)| value.as_str());
    Sessions {
        shell: visit.shell(
            "Sessions",
            shown(&url("GET /api/v1/sessions", user.map(|user| ("user", user)))),
            format!(
                "countersign session list{}",
                user.map(|user| format!(" --user {}", shell_word(user))).unwrap_or_default()
            ),
        ),
        columns: visit.columns(List::Sessions),
        who: visit.asked("user").to_owned(),
        network: visit.asked("network").to_owned(),
        app: visit.asked("app").to_owned(),
        older: visit.asked("older").to_owned(),
        errors,
        rows: shown_now.iter().map(|session| line(visit, session)).collect(),
        summary: format!(
            "{} of {}.",
            count(sessions.len(), "session", "sessions"),
            count(people.len(), "person", "people")
        ),
        exports: take::ways(List::Sessions, wanted.pairs().collect::<Vec<_>>()),
        empty: match wanted.of_app {
            Some(_) => "No session matches. By app, those are found that were let into it in the last day.",
            None => "No session matches. Sessions that ended are in the record.",
        },
        next_url: next.map(|id| url("/console/sessions", wanted.pairs().chain([("after", id.as_str())]))),
        end_all_url: (visit.may_write() && others > 0).then(|| url("/console/sessions/end", wanted.pairs())),
        end_all_text: match is_filtered {
            true if others == 1 => "End this one".to_owned(),
            true => format!("End these {others}"),
            false if others == 1 => "End the other one".to_owned(),
            false => format!("End all {others} others"),
        },
    }
}

/// The sessions that are asked for, as a file has them.
pub(super) async fn table(visit: &Visit<'_>) -> Result<Table, Failure> {
    let wanted = match Wanted::read(visit, |name| visit.asked(name).to_owned()).await {
        Ok(wanted) => wanted,
        Err(Ok(error)) => return Err(Failure::invalid("filter", error.message)),
        Err(Err(failure)) => return Err(failure),
    };
    let who = |user: UserId| {
        let known = visit.published().directory.users.get(&user);
        known.map_or_else(|| user.to_string(), |user| user.email.clone())
    };
    let row = |session: Arc<Session>| {
        let times = [session.created, session.last_active, session.ends_at()].map(|time| time.to_string());
        let from = [session.user_agent.clone(), session.src_net.clone()];
        let first = [session.id.to_string(), who(session.user)];
        first.into_iter().chain(from).chain(times).chain([proof(&session).to_owned()]).collect()
    };
    Ok(Table {
        head: &["id", "person", "browser", "network", "since", "last_used", "ends", "proof"],
        rows: matching(visit, &wanted)?.into_iter().map(row).collect(),
    })
}

fn proof(session: &Session) -> &'static str {
    match (session.is_phishing_resistant, session.is_mfa) {
        (true, _) if session.is_passkey_synced => "passkey, synced",
        (true, _) => "passkey",
        (false, true) => "two factors",
        (false, false) => "one factor",
    }
}

/// A session as a row.
pub(super) fn line(visit: &Visit<'_>, session: &Session) -> SessionLine {
    let id = session.id.to_string();
    SessionLine {
        who: visit.name_of(session.user),
        who_url: format!("/console/people/{}", session.user),
        browser: shown(&browser_name(&session.user_agent)),
        network: shown(&session.src_net),
        since: moment(session.created),
        last_used: moment(session.last_active),
        ends: moment(session.ends_at()),
        proof: proof(session).to_owned(),
        is_current: session.id == visit.session().id,
        end_url: visit.may_write().then(|| url("/console/sessions/end", [("session", id.as_str())])),
        records_url: url("/console/access", [("session", id.as_str())]),
        id,
    }
}

/// Those an act would end: whoever asks keeps the session they ask with, unless it is named.
fn targets(visit: &Visit<'_>, wanted: &Wanted) -> Result<Vec<Arc<Session>>, Failure> {
    let mut sessions = matching(visit, wanted)?;
    let own = visit.session().id;
    sessions.retain(|session| session.id != own || wanted.session == Some(own));
    Ok(sessions)
}

/// What was counted, so that a change before the button is noticed (UI-6).
fn fingerprint(sessions: &[Arc<Session>]) -> String {
    let ids: Vec<String> = sessions.iter().map(|session| session.id.to_string()).collect();
    format!("{}-{}", sessions.len(), model::TokenHash::of(ids.join(" ").as_bytes()).prefix())
}

/// The question before ending, with what it would end.
pub(super) async fn ask(visit: &Visit<'_>, notice: Option<&str>) -> Response<Bytes> {
    let value = |name: &str| match visit.asked(name) {
        "" => visit.posted(name).to_owned(),
        asked => asked.to_owned(),
    };
    let wanted = match Wanted::read(visit, value).await {
        Ok(wanted) => wanted,
        Err(Ok(error)) => return visit.failed(&Failure::Invalid { field: "", message: error.message }),
        Err(Err(failure)) => return visit.failed(&failure),
    };
    if !visit.may_write() {
        return visit.missing_right(model::Action::AdminWrite);
    }
    let sessions = match targets(visit, &wanted) {
        Ok(sessions) => sessions,
        Err(failure) => return visit.failed(&failure),
    };
    if sessions.is_empty() {
        let text = "No such session is live any more, so there is nothing to end.".to_owned();
        return visit.message(StatusCode::NOT_FOUND, "Nothing to end", vec![text]);
    }
    let here = url("/console/sessions/end", wanted.pairs());
    let (confirm_url, cookie) = match visit.is_fresh() {
        true => (None, None),
        false => {
            let (url, cookie) = visit.portal().way_to_confirm(visit.context(), model::Action::AdminWrite, &here);
            (Some(url), cookie)
        }
    };
    let response = page(StatusCode::OK, question(visit, &wanted, &sessions, notice, confirm_url).render());
    match cookie {
        Some(cookie) => with_cookie(response, &cookie),
        None => response,
    }
}

fn question(
    visit: &Visit<'_>,
    wanted: &Wanted,
    sessions: &[Arc<Session>],
    notice: Option<&str>,
    confirm_url: Option<String>,
) -> Confirm {
    let people: BTreeSet<UserId> = sessions.iter().map(|session| session.user).collect();
    let what = count(sessions.len(), "session", "sessions");
    let mut consequences = vec![
        format!("Ends {what} of {}.", count(people.len(), "person", "people")),
        "Every connection they have open through Countersign is cut before the answer comes.".to_owned(),
    ];
    match people.first().filter(|_| people.len() == 1) {
        Some(user) => consequences.push(format!("It is {}.", visit.name_of(*user))),
        None => consequences.push(format!(
            "Among them: {}.",
            people.iter().take(5).map(|user| visit.name_of(*user)).collect::<Vec<_>>().join(", ")
        )),
    }
    if sessions.iter().any(|session| session.id == visit.session().id) {
        consequences.push("One of them is the one you are using: you will have to sign in again.".to_owned());
    }
    let mut fields: Vec<(String, String)> =
        wanted.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fields.push(("token".to_owned(), visit.token()));
    fields.push(("expected".to_owned(), fingerprint(sessions)));
    let person = wanted.pairs().find(|(name, _)| *name == "user" || *name == "session");
    let command = match person {
        Some(("user", who)) => format!("countersign session revoke --user {}", shell_word(who)),
        Some((_, id)) => format!("countersign session revoke {}", shell_word(id)),
        None => "countersign session revoke --user …".to_owned(),
    };
    Confirm {
        shell: visit.shell(&format!("End {what}?"), "POST /api/v1/sessions/revoke".to_owned(), command),
        consequences,
        way_back: "It cannot be undone, but everybody can sign in again. To keep somebody out, disable them."
            .to_owned(),
        notice: notice.map(str::to_owned),
        action_url: "/console/sessions/end".to_owned(),
        fields,
        button: format!("End {what}"),
        confirm_url,
        cancel_url: url("/console/sessions", wanted.pairs()),
    }
}

/// Ends what was counted; anything else is asked again.
pub(super) async fn end(visit: &Visit<'_>) -> Response<Bytes> {
    let wanted = match Wanted::read(visit, |name| visit.posted(name).to_owned()).await {
        Ok(wanted) => wanted,
        Err(Ok(error)) => return visit.failed(&Failure::Invalid { field: "", message: error.message }),
        Err(Err(failure)) => return visit.failed(&failure),
    };
    let sessions = match targets(visit, &wanted) {
        Ok(sessions) => sessions,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.is_fresh() {
        return ask(visit, Some("Too much time went by: confirm once more that it is you. Nothing was done yet."))
            .await;
    }
    if fingerprint(&sessions) != visit.posted("expected") {
        return ask(visit, Some("Who is in has changed meanwhile. Nothing was done yet; look again.")).await;
    }
    if sessions.len() > MAX_ENDED {
        let message = format!("one act ends at most {MAX_ENDED} sessions; narrow the filter, or disable people");
        return visit.failed(&Failure::Conflict { message });
    }
    act::finish(visit, carry_out(visit, &wanted, &sessions).await)
}

async fn carry_out(visit: &Visit<'_>, wanted: &Wanted, sessions: &[Arc<Session>]) -> Outcome {
    let mut outcome = Outcome::default();
    let (actor, control) = (visit.actor(), visit.control());
    if let Some(user) = wanted.is_everything_of().filter(|user| *user != visit.session().user) {
        // Also those that began after the count: the person's epoch moves.
        match control.end_sessions(&actor, user, Cause::SessionRevoked).await {
            Ok(carried) => outcome.withdrawn = carried.revocations.iter().map(act::withdrawn).collect(),
            Err(failure) => outcome.problems.push(shown(&failure.to_string())),
        }
    } else {
        for session in sessions {
            match control.end_session(&actor, session.id, Cause::SessionRevoked).await {
                Ok(revocation) => outcome.withdrawn.push(act::withdrawn(&revocation)),
                // It ended between the count and here.
                Err(Failure::NotFound { .. }) => {}
                Err(failure) => outcome.problems.push(shown(&failure.to_string())),
            }
        }
    }
    let ended: usize = outcome.withdrawn.iter().map(|withdrawn| withdrawn.sessions).sum();
    let cut: usize = outcome.withdrawn.iter().map(|withdrawn| withdrawn.streams).sum();
    outcome.paragraphs.push(format!(
        "{} ended, {} cut.",
        count(ended, "session", "sessions"),
        count(cut, "open connection", "open connections")
    ));
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        assert_eq!(span("8h"), Some(Duration::from_secs(8 * 3_600)));
        assert_eq!(span("0s"), Some(Duration::ZERO));
        for text in ["", "h", "8", "8 h", "-1h", "8w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
