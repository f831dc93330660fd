//! Gateways in processes of their own: list, invite, remove.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json as Answer};
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::control::{ControlPlane, GatewayLine};
use crate::failure::Failure;

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    Answer(json!({ "gateways": control.list_gateways().iter().map(view).collect::<Vec<_>>() }))
}

pub(crate) async fn invite(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let token = control.invite_gateway(&actor, &name).await?;
    Ok(Answer(json!({
        "name": name, "token": token.token.expose(), "control": token.control, "expires": token.expires,
    })))
}

pub(crate) async fn remove(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    control.remove_gateway(&actor, &name).await?;
    Ok(Answer(json!({ "name": name, "removed": true })))
}

pub(crate) fn view(line: &GatewayLine) -> Value {
    let of = |pair: Option<(u64, u64)>| pair.map(|(has, newest)| json!({ "has": has, "newest": newest }));
    json!({
        "name": line.name,
        "state": line.state.as_str(),
        "facts": of(line.facts),
        "events": of(line.events),
        "heard": line.heard,
        "why": line.why,
        "software": line.software,
    })
}
