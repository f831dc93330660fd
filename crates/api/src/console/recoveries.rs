//! Helping somebody back in who lost what they sign in with (ID-6): vouch for the recovery they began, begin one for
//! somebody without a code, or stop it. Each is asked first, confirmed and recorded.
//!
//! Invariants: whether two proofs are there is decided by `pip_identity::recovery` alone; nobody vouches for themselves;
//! the link of a recovery that began with a code is never shown here.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::{Action, UserEntry};
use pages::Link;
use pages::console::{Confirm, Outcome, Pair, RecoveryState};
use pip_identity::recovery::{RecoveryRefusal, RecoveryView, Running};

use super::act;
use super::people::person;
use super::text::{count, shell_word, shown};
use super::visit::Visit;
use crate::control::RecoveryFailure;
use crate::failure::Failure;
use crate::http::portal::{page, with_cookie};

/// What an administrator does about a recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Begin,
    Stop,
    Vouch,
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Step::Begin => "recover",
            Step::Stop => "stop-recovery",
            Step::Vouch => "vouch",
        }
    }

    /// The body of the same call of the API, and the option of the command.
    fn twin(self, case: Option<&RecoveryView>) -> (String, String) {
        match (self, case) {
            (Step::Stop, _) => ("{\"step\": \"stop\"}".to_owned(), " --stop".to_owned()),
            (Step::Vouch, Some(case)) => {
                let id = case.row.id;
                (format!("{{\"step\": \"approve\", \"case\": \"{id}\"}}"), format!(" --approve {id}"))
            }
            (Step::Begin, Some(_)) => ("{\"step\": \"open\", \"restart\": true}".to_owned(), " --restart".to_owned()),
            (Step::Begin | Step::Vouch, _) => ("{\"step\": \"open\"}".to_owned(), String::new()),
        }
    }
}

/// The recovery of a person that is open now.
async fn open_case(visit: &Visit<'_>, user: &UserEntry) -> Result<Option<RecoveryView>, Failure> {
    match visit.control().accounts.recovery.open_case_of(user.id).await {
        Ok(view) => Ok(Some(view).filter(|view| view.is_open)),
        Err(RecoveryRefusal::Unknown) => Ok(None),
        Err(refusal) => Err(RecoveryFailure::from(refusal).into()),
    }
}

/// What the screen of a person says about their recovery; `None` while the store does not answer.
pub(super) async fn state_of(visit: &Visit<'_>, user: &UserEntry) -> Option<RecoveryState> {
    let case = open_case(visit, user).await.ok()?;
    let may_act = visit.may_write() && user.id != visit.session().user;
    let link = |step: Step, text: &str| Link {
        text: text.to_owned(),
        url: format!("/console/people/{}/{}", user.id, step.verb()),
    };
    let steps = match &case {
        _ if !may_act || user.state != model::UserState::Active => Vec::new(),
        Some(_) => vec![link(Step::Vouch, "Vouch for them"), link(Step::Stop, "Stop it")],
        None => vec![link(Step::Begin, "Help them back in")],
    };
    Some(RecoveryState { facts: case.as_ref().map(facts).unwrap_or_default(), steps })
}

fn facts(case: &RecoveryView) -> Vec<Pair> {
    let vouched = case.row.approvals.iter().map(|approver| shown(&approver.name)).collect::<Vec<_>>().join(", ");
    let proofs = match (case.row.has_code, case.row.has_authenticator) {
        (true, true) => "a recovery code, and the authenticator app",
        (true, false) => "a recovery code",
        _ => "no code",
    };
    let mut facts = vec![
        Pair::plain("Case", case.row.id.to_string()),
        Pair::plain("Begun", case.row.opened_at.readable()),
        Pair::plain("Open until", case.row.expires_at.readable()),
        Pair::plain("Proven by them", proofs),
        Pair::plain("Vouched", if vouched.is_empty() { "nobody yet".to_owned() } else { vouched }),
        Pair::plain(
            "State",
            match (case.is_proven, case.waits_until) {
                (true, Some(_)) => "proven, and waits: an administrator's account opens a day later",
                (true, None) => "proven: they go on in their browser",
                (false, _) => "one more proof is needed",
            },
        ),
    ];
    facts.extend(case.waits_until.map(|at| Pair::plain("Opens", at.readable())));
    facts
}

/// What the act would be counted by (UI-6).
fn fingerprint(case: Option<&RecoveryView>) -> String {
    case.map_or_else(|| "none".to_owned(), |case| format!("{}-{}", case.row.id, case.row.revision))
}

/// The question before the step.
pub(super) async fn ask(visit: &Visit<'_>, step: Step, notice: Option<&str>) -> Response<Bytes> {
    let (user, case) = match subject(visit, step).await {
        Ok(found) => found,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.may_write() {
        return visit.missing_right(Action::AdminWrite);
    }
    let here = format!("/console/people/{}/{}", user.id, step.verb());
    let (confirm_url, cookie) = match visit.is_fresh() {
        true => (None, None),
        false => {
            let (url, cookie) = visit.portal().way_to_confirm(visit.context(), Action::AdminWrite, &here);
            (Some(url), cookie)
        }
    };
    let name = shown(&user.name);
    let (title, button) = match step {
        Step::Begin => (format!("Help {name} back in?"), "Begin a recovery".to_owned()),
        Step::Stop => (format!("Stop the recovery of {name}?"), "Stop it".to_owned()),
        Step::Vouch => (format!("Vouch for {name}?"), format!("It is {name}: vouch")),
    };
    let (body, option) = step.twin(case.as_ref());
    let confirm = Confirm {
        shell: visit.shell(
            &title,
            format!("POST /api/v1/users/{}/recover {body}", user.id),
            format!("countersign user recover {}{option}", shell_word(&user.email)),
        ),
        consequences: consequences(visit, step, &user, case.as_ref()),
        way_back: match step {
            Step::Stop => "To undo it, they begin again, with another code.",
            Step::Begin | Step::Vouch => "To undo it before they have a new passkey, stop the recovery.",
        }
        .to_owned(),
        notice: notice.map(str::to_owned),
        action_url: here,
        fields: vec![("token".to_owned(), visit.token()), ("expected".to_owned(), fingerprint(case.as_ref()))],
        button,
        confirm_url,
        cancel_url: format!("/console/people/{}", user.id),
    };
    let response = page(StatusCode::OK, confirm.render());
    match cookie {
        Some(cookie) => with_cookie(response, &cookie),
        None => response,
    }
}

/// Whose recovery, and the one that is open; all but beginning need one.
async fn subject(visit: &Visit<'_>, step: Step) -> Result<(Arc<UserEntry>, Option<RecoveryView>), Failure> {
    let user = person(visit)?;
    let case = open_case(visit, &user).await?;
    match (step, &case) {
        (Step::Stop | Step::Vouch, None) => {
            Err(Failure::Conflict { message: format!("no recovery of `{}` is open", user.email) })
        }
        _ => Ok((user, case)),
    }
}

fn consequences(visit: &Visit<'_>, step: Step, user: &UserEntry, case: Option<&RecoveryView>) -> Vec<String> {
    let sessions = visit.control().list_sessions(Some(&user.id.to_string())).map_or(0, |sessions| sessions.len());
    let ends = format!(
        "With the new passkey every sign-in of theirs ends, {} now, and older passkeys count only if they keep them.",
        count(sessions, "session", "sessions")
    );
    let be_sure = "You say that it is them: see or hear them; a mail proves nothing.".to_owned();
    let id = case.map_or_else(String::new, |case| case.row.id.to_string());
    match (step, case) {
        (Step::Stop, _) => vec![
            "Nobody gets in by this recovery any more, nor by a link it led to.".to_owned(),
            "The recovery code that began it stays used up.".to_owned(),
        ],
        (Step::Begin, open) => {
            let mut all = vec![
                be_sure,
                "It counts as your word. Another administrator must vouch too, and gets the link to hand over."
                    .to_owned(),
                ends,
            ];
            all.extend(open.map(|_| "The recovery that is open now is over.".to_owned()));
            all
        }
        (Step::Vouch, Some(case)) if case.row.ticket.is_some() => vec![
            be_sure,
            format!("Ask them for the case id; it must be {id}."),
            "Their browser, the one they began in, may then make a new passkey.".to_owned(),
            ends,
        ],
        (Step::Vouch, _) => vec![
            be_sure,
            "Yours is the second word: you get a link, shown once, to hand over to them.".to_owned(),
            ends,
        ],
    }
}

/// Does it, after one more look.
pub(super) async fn act(visit: &Visit<'_>, step: Step) -> Response<Bytes> {
    let (user, case) = match subject(visit, step).await {
        Ok(found) => found,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.is_fresh() {
        let text = "Too much time went by: confirm once more that it is you. Nothing was done yet.";
        return ask(visit, step, Some(text)).await;
    }
    if fingerprint(case.as_ref()) != visit.posted("expected") {
        return ask(visit, step, Some("It has changed meanwhile. Nothing was done yet; look again.")).await;
    }
    let (control, actor) = (visit.control(), visit.actor());
    let done = match (step, case) {
        (Step::Stop, Some(case)) => control.stop_recovery(&actor, case.row.id).await.map(|view| (view, None)),
        // For the case that was on the page, and no other that began meanwhile.
        (Step::Vouch, Some(case)) => control.approve_recovery(&actor, user.id, case.row.id).await,
        (Step::Begin | Step::Stop | Step::Vouch, _) => {
            // The page said that it ends the one that was open.
            control.open_recovery_for(&actor, user.id, Running::End).await.map(|view| (view, None))
        }
    };
    let (view, link) = match done {
        Ok(done) => done,
        Err(failure) => return visit.failed(&failure.into()),
    };
    let email = shown(&user.email);
    let text = match (step, &link) {
        (Step::Stop, _) => format!("The recovery of {email} is stopped."),
        (_, Some(_)) => format!("Two administrators vouched for {email}. It was not mailed."),
        (_, None) if view.waits_until.is_some() => {
            let opens = view.waits_until.map_or_else(String::new, |at| at.readable());
            format!(
                "The recovery of {email} is proven. It opens at {opens} and not before; until then it can be stopped."
            )
        }
        (_, None) if view.is_proven => format!("The recovery of {email} is proven: they go on in their browser."),
        (_, None) => format!("A recovery of {email} is begun. Another administrator must vouch too."),
    };
    let outcome = Outcome {
        paragraphs: vec![text],
        secret_link: link.map(|link| visit.portal().recovery_link(&link).url().to_owned()),
        ..Outcome::default()
    };
    act::finish(visit, outcome)
}
