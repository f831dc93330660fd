//! A realm export of Keycloak (`kc.sh export --users realm_file`), or one of its user files. Only an export made on the
//! server holds hashes of passwords.

use serde_json::Value;

use super::{Person, group_id, text, texts};

pub(super) fn person(user: &Value) -> Option<Result<Person, String>> {
    // The account of an app.
    if user.get("serviceAccountClientId").is_some_and(|client| !client.is_null()) {
        return None;
    }
    let credentials = user.get("credentials").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is = |credential: &&Value, kind: &str| text(credential, "type").starts_with(kind);
    let (hash, unread_hash) = match credentials.iter().find(|credential| is(credential, "password")).map(hash) {
        Some(Err(why)) => (None, Some(why)),
        found => (found.and_then(Result::ok), None),
    };
    let name = format!("{} {}", text(user, "firstName"), text(user, "lastName"));
    Some(Ok(Person {
        email: text(user, "email"),
        name: if name.trim().is_empty() { text(user, "username") } else { name.trim().to_owned() },
        groups: texts(user, "groups").iter().map(|path| group_id(path)).collect(),
        is_external: false,
        is_disabled: user.get("enabled").and_then(Value::as_bool) == Some(false),
        hash,
        unread_hash,
        passkeys: credentials.iter().filter(|credential| is(credential, "webauthn")).count(),
    }))
}

/// The two parts are JSON in texts.
fn hash(credential: &Value) -> Result<String, String> {
    let part = |member: &str| serde_json::from_str::<Value>(&text(credential, member)).unwrap_or_default();
    let (secret, how) = (part("secretData"), part("credentialData"));
    let (salt, value) = (unpadded(&text(&secret, "salt")), unpadded(&text(&secret, "value")));
    let rounds = how.get("hashIterations").and_then(Value::as_u64).unwrap_or_default();
    match text(&how, "algorithm").as_str() {
        "pbkdf2" => Ok(format!("$pbkdf2-sha1$i={rounds}${salt}${value}")),
        digest @ ("pbkdf2-sha256" | "pbkdf2-sha512") => Ok(format!("${digest}$i={rounds}${salt}${value}")),
        "argon2" => {
            let more = how.get("additionalParameters").cloned().unwrap_or_default();
            let first = |member: &str| texts(&more, member).into_iter().next().unwrap_or_default();
            let version = if first("version") == "1.0" { 16 } else { 19 };
            let (kind, memory, lanes) = (first("type"), first("memory"), first("parallelism"));
            Ok(format!("$argon2{kind}$v={version}$m={memory},t={rounds},p={lanes}${salt}${value}"))
        }
        other => Err(format!("the password is hashed with `{}`; pbkdf2 and argon2 are read", other.escape_debug())),
    }
}

fn unpadded(base64: &str) -> String {
    base64.trim_end_matches('=').to_owned()
}
