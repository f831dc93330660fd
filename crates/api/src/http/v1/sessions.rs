//! Sessions and withdrawals.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json as Answer};
use model::seams::Cause;
use model::{RevocationId, Session, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::users::{carried, revocation as view_revocation};
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::http::body::Json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBody {
    user: Option<String>,
    session: Option<String>,
}

pub(crate) async fn list(
    State(control): State<Arc<ControlPlane>>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Value>, Failure> {
    let sessions = control.list_sessions(query.user.as_deref())?;
    Ok(Answer(json!({ "sessions": sessions.iter().map(|session| view(&control, session)).collect::<Vec<_>>() })))
}

/// Ends one session or all of a person; answers when every stream is dead.
pub(crate) async fn revoke(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<RevokeBody>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let answer = match (body.user, body.session) {
        (Some(user), None) => {
            let user = control.user(&user)?.id;
            carried(&control.end_sessions(&actor, user, Cause::SessionRevoked).await?)
        }
        (None, Some(session)) => {
            let id: SessionId = session.parse().map_err(|error| Failure::invalid("session", error))?;
            let revocation = control.end_session(&actor, id, Cause::SessionRevoked).await?;
            json!({ "revocations": [view_revocation(&revocation)] })
        }
        _ => return Err(Failure::invalid("", "give exactly one of `user` and `session`")),
    };
    Ok((http::StatusCode::ACCEPTED, Answer(answer)))
}

pub(crate) async fn revocation(
    State(control): State<Arc<ControlPlane>>,
    Path(id): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let id: RevocationId = id.parse().map_err(|error| Failure::invalid("id", error))?;
    Ok(Answer(view_revocation(&control.revocation(id)?)))
}

fn view(control: &ControlPlane, session: &Session) -> Value {
    let directory = &control.published().directory;
    json!({
        "id": session.id,
        "user": session.user,
        "email": directory.users.get(&session.user).map(|user| user.email.clone()),
        "idp": session.idp,
        "acr": session.acr,
        "created": session.created,
        "last_active": session.last_active,
        "ends": session.ends_at(),
        "src_net": session.src_net,
        "user_agent": session.user_agent,
        "step_ups": session.step_ups.iter().map(|step_up| json!({
            "app": step_up.app, "action": step_up.action.as_str(), "at": step_up.at,
        })).collect::<Vec<_>>(),
    })
}
