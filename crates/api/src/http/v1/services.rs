//! Service accounts and service tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json as Answer};
use http::StatusCode;
use model::directory::{GroupId, ServiceEntry, ServiceToken};
use model::{AppName, ServiceTokenId, Timestamp};
use pip_identity::services::{Issued, NewService, TOKEN_LIFE, WARNINGS};
use serde::Deserialize;
use serde_json::{Value, json};

use super::users::carried;
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::http::body::Json;

const DAY_SECS: u64 = 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewServiceBody {
    name: String,
    #[serde(default)]
    title: String,
    owner: Option<String>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsBody {
    groups: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenBody {
    service: String,
    apps: BTreeSet<String>,
    days: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    days: Option<u16>,
}

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let services = control.published().directory.services.clone();
    Answer(json!({ "service_accounts": services.values().map(|it| view(&control, it)).collect::<Vec<_>>() }))
}

pub(crate) async fn show(
    State(control): State<Arc<ControlPlane>>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    known(&control, &name).map(Answer)
}

pub(crate) async fn create(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<NewServiceBody>,
) -> Result<(StatusCode, Answer<Value>), Failure> {
    let owner = body.owner.as_deref().map(|who| control.user(who)).transpose()?.map(|user| user.id);
    let new = NewService { name: body.name.clone(), title: body.title, owner, groups: group_ids(&body.groups) };
    control.create_service(&actor, new).await?;
    Ok((StatusCode::CREATED, Answer(known(&control, &body.name)?)))
}

pub(crate) async fn set_groups(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Json(body): Json<GroupsBody>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(carried(&control.set_service_groups(&actor, &name, group_ids(&body.groups)).await?)))
}

pub(crate) async fn disable(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(carried(&control.disable_service(&actor, &name).await?)))
}

pub(crate) async fn enable(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(carried(&control.enable_service(&actor, &name).await?)))
}

pub(crate) async fn delete(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(carried(&control.delete_service(&actor, &name).await?)))
}

pub(crate) async fn tokens(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let (directory, now) = (control.published().directory.clone(), control.now());
    let tokens: Vec<Value> = directory.service_tokens.values().map(|token| view_token(token, now)).collect();
    Answer(json!({ "service_tokens": tokens }))
}

pub(crate) async fn create_token(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<NewTokenBody>,
) -> Result<(StatusCode, Answer<Value>), Failure> {
    let apps = body.apps.iter().map(|app| AppName::new(app)).collect();
    let issued = control.create_service_token(&actor, &body.service, apps, life(body.days)).await?;
    Ok((StatusCode::CREATED, Answer(shown_once(&issued))))
}

pub(crate) async fn rotate_token(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    Json(body): Json<RotateBody>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(shown_once(&control.rotate_service_token(&actor, token_id(&id)?, life(body.days)).await?)))
}

pub(crate) async fn revoke_token(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(carried(&control.revoke_service_token(&actor, token_id(&id)?).await?)))
}

fn life(days: Option<u16>) -> Duration {
    days.map_or(TOKEN_LIFE, |days| Duration::from_secs(u64::from(days) * DAY_SECS))
}

fn group_ids(groups: &BTreeSet<String>) -> BTreeSet<GroupId> {
    groups.iter().map(|group| GroupId::new(group)).collect()
}

fn token_id(text: &str) -> Result<ServiceTokenId, Failure> {
    text.parse().map_err(|error: model::ids::ParseIdError| Failure::NotFound { message: error.to_string() })
}

fn shown_once(issued: &Issued) -> Value {
    json!({ "client_id": issued.id, "client_secret": issued.secret.expose(), "expires_at": issued.expires_at })
}

fn known(control: &ControlPlane, name: &str) -> Result<Value, Failure> {
    let directory = control.published().directory.clone();
    let service = directory.services.get(name).ok_or_else(|| Failure::NotFound {
        message: format!("there is no service account `{name}`; `countersign service-account list` shows all"),
    })?;
    Ok(view(control, service))
}

fn view(control: &ControlPlane, service: &ServiceEntry) -> Value {
    let directory = control.published().directory.clone();
    let owner = service.owner.and_then(|id| directory.users.get(&id)).map(|user| user.email.clone());
    let tokens = directory.service_tokens.values().filter(|token| token.service == service.name);
    json!({
        "name": &*service.name,
        "title": service.title,
        "principal": &*service.principal(),
        "owner": owner,
        "state": if service.is_enabled { "enabled" } else { "disabled" },
        "groups": service.direct_groups.iter().map(|group| group.as_str()).collect::<Vec<_>>(),
        "created_at": service.created_at,
        "tokens": tokens.map(|token| token.id.to_string()).collect::<Vec<_>>(),
    })
}

fn view_token(token: &ServiceToken, now: Timestamp) -> Value {
    json!({
        "client_id": token.id,
        "service": &*token.service,
        "apps": token.apps.iter().map(|app| app.as_str()).collect::<Vec<_>>(),
        "state": state(token, now),
        "created_at": token.created_at,
        "expires_at": token.expires_at(),
        "secrets": token.secrets.iter().filter(|secret| now < secret.expires_at).count(),
    })
}

/// `live`, `ends soon` (30 days), `ends very soon` (7 days) or `expired`.
fn state(token: &ServiceToken, now: Timestamp) -> &'static str {
    let [soon, very_soon] = WARNINGS;
    match token.expires_at() {
        Some(end) if now + soon < end => "live",
        Some(end) if now + very_soon < end => "ends soon",
        Some(end) if now < end => "ends very soon",
        Some(_) | None => "expired",
    }
}
