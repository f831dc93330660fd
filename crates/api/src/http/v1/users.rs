//! People, invitations and the set-up link.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json as Answer};
use model::UserEntry;
use model::directory::GroupId;
use model::seams::Revocation;
use pip_identity::people::{LastAdmin, NewUser};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::control::{Carried, ControlPlane};
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::portal::Portal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUserBody {
    email: String,
    name: String,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    external: bool,
}

/// `?force=true`: may take the last administrator's access.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Force {
    #[serde(default)]
    force: bool,
}

impl Force {
    pub(crate) fn guard(&self) -> LastAdmin {
        if self.force { LastAdmin::MayGo } else { LastAdmin::Keep }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteBody {
    user: String,
}

pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let directory = control.published().directory.clone();
    let mut users: Vec<&Arc<UserEntry>> = directory.users.values().collect();
    users.sort_by(|a, b| a.email.cmp(&b.email));
    Answer(json!({ "users": users.into_iter().map(|user| view(&control, user)).collect::<Vec<_>>() }))
}

pub(crate) async fn show(
    State(control): State<Arc<ControlPlane>>,
    Path(who): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(view(&control, &*control.user(&who)?)))
}

pub(crate) async fn create(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<NewUserBody>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let id = control
        .create_user(
            &actor,
            NewUser {
                email: body.email,
                name: body.name,
                is_external: body.external,
                tags: BTreeMap::new(),
                groups: body.groups.iter().map(|group| GroupId::new(group)).collect(),
            },
        )
        .await?;
    let user = control.user(&id.to_string())?;
    Ok((http::StatusCode::CREATED, Answer(view(&control, &user))))
}

pub(crate) async fn disable(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(who): Path<String>,
    Query(force): Query<Force>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?.id;
    Ok(Answer(carried(&control.disable_user(&actor, user, force.guard()).await?)))
}

pub(crate) async fn enable(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(who): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?.id;
    Ok(Answer(carried(&control.enable_user(&actor, user).await?)))
}

pub(crate) async fn delete(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(who): Path<String>,
    Query(force): Query<Force>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?.id;
    Ok(Answer(carried(&control.delete_user(&actor, user, force.guard()).await?)))
}

/// A new invitation; it voids the one before (ID-4). The link is shown once and not mailed (ID-3).
pub(crate) async fn invite(
    State(control): State<Arc<ControlPlane>>,
    State(portal): State<Arc<Portal>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<InviteBody>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let user = control.user(&body.user)?;
    let link = portal.invite(&actor, user.id).await?;
    let answer =
        json!({ "id": link.id, "user": user.email, "url": link.url, "expires": link.expires, "mailed": false });
    Ok((http::StatusCode::CREATED, Answer(answer)))
}

/// A new set-up link for the first administrator (ID-1).
pub(crate) async fn set_up_link(
    State(portal): State<Arc<Portal>>,
    Extension(actor): Extension<Actor>,
) -> Result<(http::StatusCode, Answer<Value>), Failure> {
    let link = portal.set_up_link_for(&actor).await?;
    let answer = json!({ "id": link.id, "url": link.url, "expires": link.expires, "mailed": false });
    Ok((http::StatusCode::CREATED, Answer(answer)))
}

pub(crate) async fn links(State(portal): State<Arc<Portal>>) -> Result<Answer<Value>, Failure> {
    Ok(Answer(json!({ "links": portal.links().await? })))
}

fn view(control: &ControlPlane, user: &UserEntry) -> Value {
    let now = control.now();
    let sessions = control.sessions.sessions().iter().filter(|s| s.user == user.id && !s.is_expired(now)).count();
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "state": user.state.as_str(),
        "groups": user.groups.iter().map(|group| group.as_str().to_owned()).collect::<Vec<_>>(),
        "external": user.is_external,
        "created_at": user.created_at,
        "sessions": sessions,
    })
}

/// What an edit did to live sessions, for the caller to see.
pub(crate) fn carried(carried: &Carried) -> Value {
    json!({ "revocations": carried.revocations.iter().map(revocation).collect::<Vec<_>>() })
}

/// One withdrawal.
pub(crate) fn revocation(revocation: &Revocation) -> Value {
    let mut gateways: Vec<Value> = revocation
        .reports
        .iter()
        .map(|(gateway, report)| {
            json!({
                "id": gateway,
                "state": match (report.unproven.is_empty(), report.streams.is_empty()) {
                    (false, _) => "unproven",
                    (true, true) => "nothing_open",
                    (true, false) => "cut",
                },
                "examined": report.examined,
                "streams": report.streams.len(),
                "unproven": report.unproven,
                "ms": report.last_cut.since(revocation.accepted).as_millis(),
            })
        })
        .collect();
    // What nobody heard of may still flow, until the door stops by itself.
    gateways.extend(revocation.unreachable.iter().map(|(gateway, fails_closed_at)| {
        json!({ "id": gateway, "state": "unreachable", "fails_closed_at": fails_closed_at })
    }));
    json!({
        "id": revocation.id,
        "cause": revocation.cause.as_str(),
        "accepted": revocation.accepted,
        "sessions": revocation.sessions,
        "gateways": gateways,
        "receipts": revocation.receipts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::seams::{Cause, CutReport};
    use model::{AccessId, RevocationId, Timestamp};

    #[test]
    fn a_withdrawal_says_what_each_gateway_proved_and_when_a_silent_one_fails_closed() {
        let report = |unproven: Vec<AccessId>| CutReport {
            examined: 2,
            streams: Vec::new(),
            unproven,
            received: Timestamp(0),
            last_cut: Timestamp(3_000_000),
        };
        let told = revocation(&Revocation {
            id: RevocationId(uuid::Uuid::nil()),
            cause: Cause::SessionRevoked,
            accepted: Timestamp(0),
            sessions: Vec::new(),
            reports: vec![
                ("quiet".to_owned(), report(Vec::new())),
                ("stuck".to_owned(), report(vec![AccessId(uuid::Uuid::nil())])),
            ],
            unreachable: vec![("gone".to_owned(), Timestamp::from_unix_secs(300))],
            receipts: Vec::new(),
        });
        let gateways = told["gateways"].as_array().unwrap();
        let states: Vec<_> = gateways.iter().map(|gateway| gateway["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["nothing_open", "unproven", "unreachable"]);
        assert_eq!(gateways[0]["ms"], 3);
        assert!(gateways[2]["fails_closed_at"].as_str().unwrap().starts_with("1970-01-01T00:05:00"), "{told}");
    }
}
