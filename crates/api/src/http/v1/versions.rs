//! Versions of the configuration: plan, list, go back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json as Answer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::configs::FilesBody;
use super::proposals::answer_to;
use crate::actor::Actor;
use crate::control::{Applied, ControlPlane, Delta, GoLive, Lockout, Plan, Reach, cut_streams};
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::problem::problem_lines;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackBody {
    version: Option<u64>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    allow_lockout: bool,
}

/// The word of the body as a guard.
pub(crate) fn guard(allows_lockout: bool) -> Lockout {
    if allows_lockout { Lockout::Allow } else { Lockout::Refuse }
}

pub(crate) async fn plan(
    State(control): State<Arc<ControlPlane>>,
    Json(body): Json<FilesBody>,
) -> Result<Answer<Value>, Failure> {
    let (files, _) = body.sources();
    let (plan, warnings) = control.plan(&files).await?;
    let mut answer = view_plan(&plan);
    if let Some(members) = answer.as_object_mut() {
        members.insert("warnings".to_owned(), problem_lines(&warnings));
    }
    Ok(Answer(answer))
}

pub(crate) async fn rollback(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<RollbackBody>,
) -> Result<Response, Failure> {
    let how = GoLive { reason: &body.reason, lockout: guard(body.allow_lockout) };
    Ok(answer_to(&control.roll_back(&actor, body.version, how).await?))
}

/// Kept versions, newest first; `runs_on` names the doors that decide by it.
pub(crate) async fn history(State(control): State<Arc<ControlPlane>>) -> Result<Answer<Value>, Failure> {
    let (kept, live) = control.config_history().await?;
    let running = control.published().config_version;
    let versions: Vec<Value> = kept
        .iter()
        .map(|version| {
            let doors: &[&str] = if version.number == running { &["local"] } else { &[] };
            json!({
                "version": version.number,
                "digest": version.digest,
                "author": version.author,
                "reason": version.reason,
                "applied_at": version.applied_at,
                "live": version.number == live,
                "runs_on": doors,
            })
        })
        .collect();
    Ok(Answer(json!({ "versions": versions, "live": live })))
}

/// What an apply or a rollback did.
pub(crate) fn view(applied: &Applied) -> Value {
    json!({
        "version": applied.version,
        "before": applied.before,
        "new": applied.is_new,
        "warnings": problem_lines(&applied.warnings),
        "plan": view_plan(&applied.plan),
        "streams_cut": cut_streams(&applied.revocations),
        "ms": u64::try_from(applied.took.as_millis()).unwrap_or(u64::MAX),
    })
}

pub(super) fn view_plan(plan: &Plan) -> Value {
    let delta = |delta: &Delta| json!({ "added": delta.added, "changed": delta.changed, "removed": delta.removed });
    let memberships = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(user, group)| json!({ "user": user, "group": group })).collect()
    };
    let reach = |rows: &[Reach]| -> Vec<Value> {
        rows.iter().map(|row| json!({ "user": row.user, "app": row.app, "action": row.action })).collect()
    };
    json!({
        "digest": plan.digest,
        "live": plan.live,
        "live_already": plan.is_live_already(),
        "known_as": plan.known_as,
        "apps": delta(&plan.apps),
        "groups": delta(&plan.groups),
        "users": delta(&plan.people.users),
        "enabled": plan.people.enabled,
        "joined": memberships(&plan.people.joined),
        "left": memberships(&plan.people.left),
        "policies": delta(&plan.policies),
        "tests": delta(&plan.tests),
        "remedies": delta(&plan.remedies),
        "gained": reach(&plan.gained),
        "lost": reach(&plan.lost),
        "unexamined": plan.unexamined,
        "lockout": plan.lockout,
    })
}
