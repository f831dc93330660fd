//! What somebody who administers should look at, on every page (UI-9): each with one thing to do about it, and put aside
//! by each person until its state changes.
//!
//! Worked out from what is in memory, but for recoveries, which take one read of the store.

use std::sync::Arc;

use audit::AlertKind;
use model::directory::ADMINS_GROUP;
use model::{Action, Timestamp, UserEntry, UserState};
use pages::Link;
use pages::console::ConsoleNotice;

use super::proposals::Verdict;
use super::text::{count, shown};
use super::visit::Visit;
use crate::control::{Ending, ShownCertificate};
use crate::preferences::state_of;

/// The most notices of one kind that have a line of their own.
const MAX_OF_A_KIND: usize = 5;

/// A notice before anybody put it aside.
pub(super) struct Found {
    key: String,
    notice: ConsoleNotice,
}

impl Found {
    /// `state` is what has to change for it to come back.
    fn new(key: &str, state: &str, text: String, (action, url): (&str, &str)) -> Self {
        let key: String = key.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.:".contains(*c)).take(64).collect();
        let action = Link { text: action.to_owned(), url: url.to_owned() };
        Self { notice: ConsoleNotice { text, action, aside: (key.clone(), state_of(state)) }, key }
    }
}

/// The notices of this page, without those this person put aside.
pub(super) async fn of(visit: &Visit<'_>) -> Vec<ConsoleNotice> {
    if !visit.rights().may(Action::AdminRead) {
        return Vec::new();
    }
    // What somebody did to the record comes first.
    let mut found = record(visit);
    found.extend(certificates(&visit.control().certificates(), visit.now()));
    found.extend(recoveries(visit).await);
    found.extend(proposals(visit).await);
    found.extend(single_administrator(visit));
    found.extend(deletion_wishes(visit));
    found.extend(findings(visit));
    let preferences = visit.preferences();
    let is_told = |found: &Found| !preferences.is_aside(&found.key, &found.notice.aside.1);
    found.into_iter().filter(is_told).map(|found| found.notice).collect()
}

fn record(visit: &Visit<'_>) -> Vec<Found> {
    let alerts = visit.control().log.alerts().list();
    let active = alerts.iter().filter(|alert| alert.is_active);
    let to = if visit.may_read_record() { "/console/access?type=audit.alert" } else { "/console" };
    active
        .map(|alert| {
            let (kind, since) = (alert.kind.as_str(), alert.since);
            let text = format!("The record, {}: {}.", kind.replace('_', " "), shown(&alert.detail));
            // How wrong the clock is moves by itself; that it is wrong does not.
            let detail = if alert.kind == AlertKind::ClockUnsynchronised { "" } else { &*alert.detail };
            let state = format!("{since} {detail}");
            Found::new(&format!("record:{kind}"), &state, text, (&capital(alert.kind.what_to_do()), to))
        })
        .collect()
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Certificates that end soon, or have ended.
pub(super) fn certificates(shown_to_clients: &[ShownCertificate], now: Timestamp) -> Vec<Found> {
    let mut ending: Vec<&ShownCertificate> =
        shown_to_clients.iter().filter(|certificate| certificate.ending(now) != Ending::Later).collect();
    ending.sort_by_key(|certificate| certificate.not_after);
    ending
        .into_iter()
        .take(MAX_OF_A_KIND)
        .map(|certificate| {
            let name = certificate.names.first().map_or("no name", String::as_str);
            let verb = if certificate.not_after <= now { "ended" } else { "ends" };
            let text = format!("The certificate of {} {verb} {}.", shown(name), certificate.not_after.readable());
            // Once it has ended, whoever put the warning aside hears of it again.
            let state = format!("{verb} {}", certificate.not_after);
            Found::new(&format!("certificate:{name}"), &state, text, ("See which", "/console#certificates"))
        })
        .collect()
}

/// People who wait for somebody to vouch for them.
async fn recoveries(visit: &Visit<'_>) -> Vec<Found> {
    let Ok(cases) = visit.control().accounts.recovery.list().await else { return Vec::new() };
    let waiting = cases.into_iter().filter(|case| case.is_open && !case.is_proven);
    let found = waiting.filter_map(|case| {
        let user = case.user?;
        let text = format!("{} waits to be let back in: somebody has to vouch for them.", shown(&user.email));
        let to = format!("/console/people/{}", user.id);
        let id = case.row.id.to_string();
        Some(Found::new(&format!("recovery:{id}"), &id, text, ("Look at it", &to)))
    });
    found.take(MAX_OF_A_KIND).collect()
}

/// Configurations that wait for approval (PO-35).
async fn proposals(visit: &Visit<'_>) -> Vec<Found> {
    if !visit.may_write() {
        return Vec::new();
    }
    let Ok(waiting) = visit.control().proposals().await else { return Vec::new() };
    let found = waiting.iter().map(|waiting| {
        let (proposal, counted) = (&waiting.proposal, waiting.counted());
        let is_own = proposal.author == Some(visit.session().user);
        let (verdict, action) =
            if is_own { (Verdict::Withdraw, "Take it back") } else { (Verdict::Approve, "Look at it") };
        let author = shown(&proposal.author_name);
        let text =
            format!("A configuration that {author} proposed waits for approval: {counted} of {}.", waiting.needed);
        let key = format!("proposal:{}", proposal.digest);
        Found::new(&key, &counted.to_string(), text, (action, &verdict.url(proposal.digest)))
    });
    found.take(MAX_OF_A_KIND).collect()
}

fn single_administrator(visit: &Visit<'_>) -> Option<Found> {
    let is_admin = |user: &&Arc<UserEntry>| {
        user.state == UserState::Active && user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP)
    };
    let mut admins = visit.published().directory.users.values().filter(is_admin);
    let (Some(only), None) = (admins.next(), admins.next()) else { return None };
    let text = "Only one person administers: if their passkey is lost, nobody can.".to_owned();
    let state = only.id.to_string();
    Some(Found::new("single-administrator", &state, text, ("Invite another", "/console/people#invite")))
}

/// People who asked for their account to be deleted (ID-8).
fn deletion_wishes(visit: &Visit<'_>) -> Option<Found> {
    let wishes = visit.control().people().deletion_wishes();
    let (first, _) = wishes.iter().min_by_key(|(_, at)| **at)?;
    let who = count(wishes.len(), "person asks", "people ask");
    let text = format!("{who} to be deleted; `countersign user deletions` shows who.");
    let mut all: Vec<String> = wishes.iter().map(|(user, at)| format!("{user} {at}")).collect();
    all.sort_unstable();
    let to = format!("/console/people/{first}");
    Some(Found::new("deletion-wishes", &all.join("\n"), text, ("Who waits longest", &to)))
}

fn findings(visit: &Visit<'_>) -> Option<Found> {
    let findings = visit.published().policies.findings();
    if findings.is_empty() {
        return None;
    }
    let text = format!("{} in the policies.", count(findings.len(), "finding", "findings"));
    let all: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Some(Found::new("policy-findings", &all.join("\n"), text, ("Look at them", "/console#findings")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_a_month_before_and_again_when_it_has_ended() {
        let end = Timestamp::from_unix_secs(1_800_000_000);
        let shown = [ShownCertificate { names: vec!["auth.test".to_owned()], not_after: end }];
        let at = |days: i64| {
            let now = Timestamp::from_unix_secs(1_800_000_000 - days * 86_400);
            certificates(&shown, now).into_iter().map(|found| (found.notice.text, found.notice.aside.1)).next()
        };
        assert_eq!(at(31), None);
        let (soon, state) = at(30).unwrap();
        assert!(soon.contains("auth.test ends 15 Jan 2027"), "{soon}");
        assert_eq!(at(2).unwrap().1, state, "put aside is put aside");
        let (over, ended) = at(-1).unwrap();
        assert!(over.contains("ended") && ended != state, "{over}");
    }
}
