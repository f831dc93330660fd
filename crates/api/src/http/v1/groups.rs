//! Groups and who is in them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json as Answer};
use model::directory::GroupId;
use pip_identity::people::LastAdmin;
use serde::Deserialize;
use serde_json::{Value, json};

use super::users::{Force, carried};
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::http::body::Json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    id: String,
    title: Option<String>,
}

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let directory = control.published().directory.clone();
    Answer(json!({ "groups": directory.groups.keys().map(|id| view(&control, id)).collect::<Vec<_>>() }))
}

pub(crate) async fn show(
    State(control): State<Arc<ControlPlane>>,
    Path(id): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(view(&control, &known(&control, &id)?)))
}

pub(crate) async fn create(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(new): Json<NewGroup>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let title = new.title.as_deref().unwrap_or(&new.id);
    control.create_group(&actor, &new.id, title).await?;
    Ok((http::StatusCode::CREATED, Answer(view(&control, &known(&control, &new.id)?))))
}

pub(crate) async fn delete(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    Query(force): Query<Force>,
) -> Result<Answer<Value>, Failure> {
    let id = known(&control, &id)?;
    Ok(Answer(carried(&control.delete_group(&actor, &id, force.guard()).await?)))
}

pub(crate) async fn add(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path((id, who)): Path<(String, String)>,
) -> Result<Answer<Value>, Failure> {
    let (group, user) = (known(&control, &id)?, control.user(&who)?);
    Ok(Answer(carried(&control.add_member(&actor, &group, user.id).await?)))
}

pub(crate) async fn remove(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path((id, who)): Path<(String, String)>,
    Query(force): Query<Force>,
) -> Result<Answer<Value>, Failure> {
    let (group, user) = (known(&control, &id)?, control.user(&who)?);
    let guard: LastAdmin = force.guard();
    Ok(Answer(carried(&control.remove_member(&actor, &group, user.id, guard).await?)))
}

fn known(control: &ControlPlane, id: &str) -> Result<GroupId, Failure> {
    let directory = &control.published().directory;
    let found = directory.groups.keys().find(|group| group.as_str() == id).cloned();
    found.ok_or_else(|| Failure::NotFound {
        message: format!("there is no group `{id}`; `countersign group list` shows all"),
    })
}

fn view(control: &ControlPlane, id: &GroupId) -> Value {
    let directory = &control.published().directory;
    let email = |user| directory.users.get(&user).map(|user| user.email.clone());
    let mut members: Vec<String> = control.people.members(id).into_iter().filter_map(|(user, _)| email(user)).collect();
    members.sort();
    let entry = directory.groups.get(id);
    json!({
        "id": id.as_str(),
        "title": entry.map(|entry| entry.title.clone()),
        "parents": entry.map(|entry| entry.parents.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>()),
        "members": members,
    })
}
