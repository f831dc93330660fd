//! The users of Rauthy: a list of what `GET /auth/v1/users/{id}` answers. Its API gives out no hashes; where a `password`
//! of its database (argon2id) was put beside a user, it is taken over.

use serde_json::Value;

use super::{Person, group_id, text, texts};

pub(super) fn person(user: &Value) -> Option<Result<Person, String>> {
    let hash = text(user, "password");
    let name = format!("{} {}", text(user, "given_name"), text(user, "family_name"));
    let has_passkey = user.get("webauthn_user_id").is_some_and(Value::is_string);
    Some(Ok(Person {
        email: text(user, "email"),
        name: name.trim().to_owned(),
        groups: texts(user, "groups").iter().map(|name| group_id(name)).collect(),
        is_external: false,
        is_disabled: user.get("enabled").and_then(Value::as_bool) == Some(false),
        hash: (!hash.is_empty()).then_some(hash),
        passkeys: usize::from(has_passkey),
        unread_hash: None,
    }))
}
