//! Signing keys: list and rotate.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json as Answer};
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::control::{ControlPlane, KeyLine};
use crate::failure::Failure;

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    Answer(json!({ "keys": control.list_keys().iter().map(view).collect::<Vec<_>>() }))
}

pub(crate) async fn rotate(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(purpose): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(view(&control.rotate_keys(&actor, &purpose).await?)))
}

fn view(line: &KeyLine) -> Value {
    json!({
        "purpose": line.purpose, "kid": line.kid, "signs_from": line.signs_from, "state": line.state.as_str(),
    })
}
