//! Wishes of people to be deleted (ID-8), and what a deletion would do. Deleting itself is `DELETE /api/v1/users/{who}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json as Answer};
use pip_identity::store::Origin;
use serde_json::{Value, json};

use super::users::carried;
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;

/// Everybody who asked, who waits longest first.
pub(crate) async fn list(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let mut wishes: Vec<_> = control.people().deletion_wishes().into_iter().collect();
    wishes.sort_by_key(|(user, at)| (*at, *user));
    let directory = control.people().directory();
    let view = |(user, at)| {
        let entry = directory.users.get(&user);
        json!({ "id": user, "email": entry.map(|entry| entry.email.clone()), "asked_at": at })
    };
    Answer(json!({ "deletions": wishes.into_iter().map(view).collect::<Vec<_>>() }))
}

/// What deleting somebody would do, before it is done.
pub(crate) async fn consequences(
    State(control): State<Arc<ControlPlane>>,
    Path(who): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?;
    let people = control.people();
    let admins = people.administrators();
    let declared_at = match people.user_origin(user.id) {
        Some(Origin::Applied { declared_at, .. }) => Some(declared_at),
        Some(Origin::Local) | None => None,
    };
    Ok(Answer(json!({
        "id": user.id,
        "email": user.email,
        "asked_at": people.deletion_wishes().get(&user.id),
        "sessions": control.list_sessions(Some(&user.id.to_string())).map_or(0, |sessions| sessions.len()),
        "groups": user.groups.iter().map(|group| group.as_str().to_owned()).collect::<Vec<_>>(),
        "passkeys": people.passkeys(user.id).await?.len(),
        "is_last_admin": admins.len() == 1 && admins.contains(&user.id),
        "declared_at": declared_at,
    })))
}

/// The wish is answered without a deletion.
pub(crate) async fn dismiss(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Path(who): Path<String>,
) -> Result<Answer<Value>, Failure> {
    let user = control.user(&who)?;
    if !control.people().deletion_wishes().contains_key(&user.id) {
        return Err(Failure::NotFound { message: format!("`{}` did not ask to be deleted", user.email) });
    }
    Ok(Answer(carried(&control.drop_deletion(&actor, user.id).await?)))
}
