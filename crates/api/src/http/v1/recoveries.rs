//! Recoveries: who tries to get back in, and the administrators who vouch (ID-2, ID-6).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json as Answer};
use pip_identity::recovery::{RecoveryView, Running};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::control::RecoveryFailure;
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::portal::Portal;

/// What an administrator does about a recovery.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Approve,
    Open,
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepBody {
    step: Step,
    /// Which recovery is vouched for; needed for that and for nothing else.
    case: Option<String>,
    /// Beginning ends a recovery that is under way.
    #[serde(default)]
    restart: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminBody {
    user: String,
}

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Result<Answer<Value>, Failure> {
    let views = control.accounts.recovery.list().await.map_err(RecoveryFailure::from)?;
    Ok(Answer(json!({ "recoveries": views.iter().map(view).collect::<Vec<_>>() })))
}

pub(crate) async fn step(
    State(control): State<Arc<ControlPlane>>,
    State(portal): State<Arc<Portal>>,
    Extension(actor): Extension<Actor>,
    Path(who): Path<String>,
    Json(body): Json<StepBody>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?.id;
    let (found, link) = match body.step {
        Step::Open => {
            let running = if body.restart { Running::End } else { Running::Keep };
            (control.open_recovery_for(&actor, user, running).await?, None)
        }
        Step::Approve => {
            let case = body.case.as_deref().ok_or_else(|| {
                Failure::invalid("case", "name the recovery you vouch for; the person reads its id to you")
            })?;
            let case = case.parse().map_err(|error| Failure::invalid("case", error))?;
            control.approve_recovery(&actor, user, case).await?
        }
        Step::Stop => {
            let open = control.accounts.recovery.open_case_of(user).await.map_err(RecoveryFailure::from)?;
            (control.stop_recovery(&actor, open.row.id).await?, None)
        }
    };
    let mut answer = view(&found);
    if let (Some(link), Some(members)) = (link, answer.as_object_mut()) {
        let shown = portal.recovery_link(&link);
        members.insert("url".to_owned(), Value::from(shown.url()));
        members.insert("url_expires".to_owned(), Value::from(shown.expires));
    }
    Ok(Answer(answer))
}

/// A link for an administrator's account; for the local socket alone (ID-2).
pub(crate) async fn admin(
    State(control): State<Arc<ControlPlane>>,
    State(portal): State<Arc<Portal>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<AdminBody>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let user = control.user(&body.user)?;
    let link = control.recover_admin(&actor, user.id).await?;
    let shown = portal.recovery_link(&link);
    let answer = json!({ "user": user.email, "url": shown.url(), "expires": shown.expires, "mailed": false });
    Ok((http::StatusCode::CREATED, Answer(answer)))
}

fn view(view: &RecoveryView) -> Value {
    json!({
        "id": view.row.id,
        "user": view.user.as_ref().map(|user| user.email.clone()),
        "state": if view.is_open || view.row.state != pip_identity::store::RecoveryState::Open {
            view.row.state.as_str()
        } else {
            "expired"
        },
        "has_code": view.row.has_code,
        "has_authenticator": view.row.has_authenticator,
        "approvals": view.row.approvals.iter().map(|approver| approver.name.as_str()).collect::<Vec<_>>(),
        "is_proven": view.is_proven,
        "waits_until": view.waits_until,
        "opened": view.row.opened_at,
        "expires": view.row.expires_at,
    })
}
