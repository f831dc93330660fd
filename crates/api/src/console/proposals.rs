//! A configuration that waits for approval (PO-35): what it would change, and one step, to approve it or to take it
//! back. Whose approval counts is decided by the control plane alone.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::Action;
use model::ids::Digest32;
use pages::console::{Confirm, Outcome as Told};

use super::act;
use super::text::{count, shown};
use super::visit::Visit;
use crate::control::{Delta, Outcome, Plan, Waiting, cut_streams};
use crate::failure::Failure;
use crate::http::portal::{page, with_cookie};

/// The most names in one line of what would change.
const MAX_NAMES: usize = 20;

/// What a person does about a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Approve,
    Withdraw,
}

impl Verdict {
    fn verb(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Withdraw => "withdraw",
        }
    }

    /// The address of its question.
    pub(super) fn url(self, digest: Digest32) -> String {
        format!("/console/proposals/{digest}/{}", self.verb())
    }

    /// The call of the API and the command that do the same.
    fn twin(self, digest: Digest32) -> (String, String) {
        match self {
            Verdict::Approve => (
                format!("POST /api/v1/config/proposals/{digest}/approve {{}}"),
                format!("countersign policy proposals {digest}"),
            ),
            Verdict::Withdraw => {
                (format!("DELETE /api/v1/config/proposals/{digest}"), format!("countersign policy withdraw {digest}"))
            }
        }
    }
}

/// The question before the step.
pub(super) async fn ask(visit: &Visit<'_>, verdict: Verdict, notice: Option<&str>) -> Response<Bytes> {
    let (waiting, plan) = match subject(visit).await {
        Ok(found) => found,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.may_write() {
        return visit.missing_right(Action::AdminWrite);
    }
    let digest = waiting.proposal.digest;
    let here = verdict.url(digest);
    let (confirm_url, cookie) = match visit.is_fresh() {
        true => (None, None),
        false => {
            let (url, cookie) = visit.portal().way_to_confirm(visit.context(), Action::AdminWrite, &here);
            (Some(url), cookie)
        }
    };
    let (title, button, way_back) = match verdict {
        Verdict::Approve => (
            "Approve this configuration?",
            "Approve it",
            "An approval is not taken back; the whole proposal can be, while it waits.",
        ),
        Verdict::Withdraw => (
            "Withdraw this configuration?",
            "Withdraw it",
            "To undo it, propose the same files again; approvals start from nothing.",
        ),
    };
    let (call, command) = verdict.twin(digest);
    let confirm = Confirm {
        shell: visit.shell(title, call, command),
        consequences: consequences(verdict, &waiting, &plan),
        way_back: way_back.to_owned(),
        notice: notice.map(str::to_owned),
        action_url: here,
        fields: vec![("token".to_owned(), visit.token()), ("expected".to_owned(), fingerprint(&waiting))],
        button: button.to_owned(),
        confirm_url,
        cancel_url: "/console".to_owned(),
    };
    let response = page(StatusCode::OK, confirm.render());
    match cookie {
        Some(cookie) => with_cookie(response, &cookie),
        None => response,
    }
}

/// Does it, after one more look.
pub(super) async fn act(visit: &Visit<'_>, verdict: Verdict) -> Response<Bytes> {
    let (waiting, _) = match subject(visit).await {
        Ok(found) => found,
        Err(failure) => return visit.failed(&failure),
    };
    if !visit.is_fresh() {
        let text = "Too much time went by: confirm once more that it is you. Nothing was done yet.";
        return ask(visit, verdict, Some(text)).await;
    }
    if fingerprint(&waiting) != visit.posted("expected") {
        return ask(visit, verdict, Some("It has changed meanwhile. Nothing was done yet; look again.")).await;
    }
    let (control, actor, digest) = (visit.control(), visit.actor(), waiting.proposal.digest);
    let done = match verdict {
        Verdict::Withdraw => control.withdraw_proposal(&actor, digest).await.map(|()| "It is withdrawn.".to_owned()),
        Verdict::Approve => control.approve(&actor, digest).await.map(|outcome| match outcome {
            Outcome::Live(applied) => {
                let streams = count(cut_streams(&applied.revocations), "stream", "streams");
                format!("It was the last approval: version {} is live, {streams} cut.", applied.version)
            }
            Outcome::Waits(waiting, _) => {
                format!("Approved, {} of {}; nothing is live yet.", waiting.counted(), waiting.needed)
            }
        }),
    };
    match done {
        Ok(text) => act::finish(visit, Told { paragraphs: vec![text], ..Told::default() }),
        Err(failure) => visit.failed(&failure),
    }
}

async fn subject(visit: &Visit<'_>) -> Result<(Waiting, Plan), Failure> {
    let digest: Digest32 = visit.captured().parse().map_err(|error| Failure::invalid("digest", error))?;
    let (waiting, _, plan, _) = visit.control().proposal(digest).await?;
    Ok((waiting, plan))
}

/// What the page showed; an approval by somebody else in between may make this one the last.
fn fingerprint(waiting: &Waiting) -> String {
    format!("{}-{}", waiting.proposal.digest, waiting.counted())
}

fn consequences(verdict: Verdict, waiting: &Waiting, plan: &Plan) -> Vec<String> {
    let proposal = &waiting.proposal;
    let mut told = vec![format!(
        "Proposed by {} at {}, open until {}. The reason given: {}.",
        shown(&proposal.author_name),
        proposal.proposed_at.readable(),
        waiting.expires_at().readable(),
        if proposal.reason.is_empty() { "none".to_owned() } else { shown(&proposal.reason) },
    )];
    let names: Vec<String> = waiting.approvers.iter().filter(|by| by.counts).map(|by| shown(&by.name)).collect();
    let by = if names.is_empty() { "nobody yet".to_owned() } else { names.join(", ") };
    told.push(format!("Approved by {by}: {} of {} that count.", waiting.counted(), waiting.needed));
    if verdict == Verdict::Withdraw {
        told.push("Nobody can approve it any more.".to_owned());
        return told;
    }
    told.extend(proposal.goes_back_to.map(|number| format!("It goes back to version {number}.")));
    told.extend(changes(plan));
    told.push(format!("Its files: `countersign policy proposals {} --json`.", proposal.digest));
    if proposal.allows_lockout {
        told.push("It may go live even if nobody could administer afterwards.".to_owned());
    }
    told.extend(plan.lockout.as_ref().map(|why| format!("It would lock everybody out: {}.", shown(why))));
    told
}

/// The plan, in lines.
fn changes(plan: &Plan) -> Vec<String> {
    let parts: [(&str, &Delta); 6] = [
        ("Apps", &plan.apps),
        ("Policies", &plan.policies),
        ("Tests", &plan.tests),
        ("Remedies", &plan.remedies),
        ("Groups", &plan.groups),
        ("People", &plan.people.users),
    ];
    let mut told = Vec::new();
    for (what, delta) in parts {
        for (verb, all) in [("added", &delta.added), ("changed", &delta.changed), ("removed", &delta.removed)] {
            if !all.is_empty() {
                let named: Vec<String> = all.iter().take(MAX_NAMES).map(|name| shown(name)).collect();
                let more = all.len().saturating_sub(MAX_NAMES);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                told.push(format!("{what} {verb}: {}{more}.", named.join(", ")));
            }
        }
    }
    for (verb, reach) in [("get in", &plan.gained), ("are shut out", &plan.lost)] {
        if !reach.is_empty() {
            let rows: Vec<String> = reach
                .iter()
                .take(MAX_NAMES)
                .map(|row| format!("{} ({} {})", shown(&row.user), shown(&row.app), row.action))
                .collect();
            let more = reach.len().saturating_sub(MAX_NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            told.push(format!("Who would {verb}: {}{more}.", rows.join(", ")));
        }
    }
    told
}
