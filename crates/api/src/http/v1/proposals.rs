//! Configurations that wait for approval (PO-35): list, look at, approve, withdraw.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use http::StatusCode;
use model::ids::Digest32;
use serde::Deserialize;
use serde_json::{Value, json};

use super::versions::{view as view_applied, view_plan};
use crate::actor::Actor;
use crate::control::{ControlPlane, Outcome, Waiting};
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::problem::problem_lines;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApproveBody {
    /// Why there is no time for approvals; only the local operator.
    break_glass: Option<String>,
}

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Result<Answer<Value>, Failure> {
    let waiting: Vec<Value> = control.proposals().await?.iter().map(view).collect();
    Ok(Answer(json!({ "proposals": waiting, "needed": control.approvals_needed() })))
}

pub(crate) async fn show(
    State(control): State<Arc<ControlPlane>>,
    Path(digest): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let (waiting, files, plan, warnings) = control.proposal(named(&digest)?).await?;
    let files: Vec<Value> = files.iter().map(|file| json!({ "name": file.name, "text": file.text })).collect();
    Ok(Answer(json!({
        "proposal": view(&waiting), "files": files, "plan": view_plan(&plan), "warnings": problem_lines(&warnings),
    })))
}

pub(crate) async fn approve(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(digest): Path<String>,
    Json(body): Json<ApproveBody>,
) -> Result<Response, Failure> {
    let digest = named(&digest)?;
    let outcome = match body.break_glass {
        Some(reason) => control.break_glass(&actor, digest, &reason).await?,
        None => control.approve(&actor, digest).await?,
    };
    Ok(answer_to(&outcome))
}

pub(crate) async fn withdraw(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(digest): Path<String>,
) -> Result<Answer<Value>, Failure> {
    control.withdraw_proposal(&actor, named(&digest)?).await?;
    Ok(Answer(json!({})))
}

/// 200 with what went live, or 202 with what waits.
pub(super) fn answer_to(outcome: &Outcome) -> Response {
    match outcome {
        Outcome::Live(applied) => Answer(view_applied(applied)).into_response(),
        Outcome::Waits(waiting, proposed) => {
            let mut answer = json!({ "proposal": view(waiting) });
            if let (Some((plan, warnings)), Some(members)) = (proposed.as_deref(), answer.as_object_mut()) {
                members.insert("plan".to_owned(), view_plan(plan));
                members.insert("warnings".to_owned(), problem_lines(warnings));
            }
            (StatusCode::ACCEPTED, Answer(answer)).into_response()
        }
    }
}

fn named(digest: &str) -> Result<Digest32, Failure> {
    digest.parse().map_err(|error| Failure::invalid("digest", error))
}

fn view(waiting: &Waiting) -> Value {
    let proposal = &waiting.proposal;
    let approvals: Vec<Value> = waiting
        .approvers
        .iter()
        .map(|approver| {
            json!({ "id": approver.who, "user": approver.name, "at": approver.at, "counts": approver.counts })
        })
        .collect();
    json!({
        "digest": proposal.digest,
        "base": proposal.base,
        "author": proposal.author_name,
        "reason": proposal.reason,
        "allow_lockout": proposal.allows_lockout,
        "goes_back_to": proposal.goes_back_to,
        "proposed_at": proposal.proposed_at,
        "expires_at": waiting.expires_at(),
        "approvals": approvals,
        "counted": waiting.counted(),
        "needed": waiting.needed,
    })
}
