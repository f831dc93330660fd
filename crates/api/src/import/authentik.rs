//! The users of authentik: what `GET /api/v3/core/users/?include_groups=true` answers. Its API gives out no hashes; where
//! a `password` of its database (Django's form) was put beside a user, it is taken over.

use serde_json::Value;

use super::{Person, group_id, text};

pub(super) fn person(user: &Value) -> Option<Result<Person, String>> {
    // `internal` and `external` are people; the others are accounts of apps.
    let kind = text(user, "type");
    if kind.contains("service_account") {
        return None;
    }
    let groups = user.get("groups_obj").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has_ids = user.get("groups").and_then(Value::as_array).is_some_and(|ids| !ids.is_empty());
    if has_ids && groups.is_empty() {
        return Some(Err("its groups have no names; ask for the users with `include_groups=true`".to_owned()));
    }
    let hash = text(user, "password");
    Some(Ok(Person {
        email: text(user, "email"),
        name: text(user, "name"),
        groups: groups.iter().map(|group| group_id(&text(group, "name"))).collect(),
        is_external: kind == "external",
        is_disabled: user.get("is_active").and_then(Value::as_bool) == Some(false),
        // Django begins the hash of "no password" with an exclamation mark.
        hash: (!hash.is_empty() && !hash.starts_with('!')).then_some(hash),
        passkeys: 0,
        unread_hash: None,
    }))
}
