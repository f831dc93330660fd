//! Our cookies (ID-55): always `__Host-`, Secure, HttpOnly, without Domain; Lax, but for the companion of the console's
//! forms, which is Strict. Only hashes are kept.

use model::{Ids, TokenHash};
use pki::SecretText;

/// The session cookie of a host.
pub(crate) const SESSION: &str = "__Host-countersign";
/// The cookie that binds a sign-in to the browser it began in.
pub(crate) const LOGIN: &str = "__Host-countersign-login";
/// The companion of the console's forms (UI-24).
pub(crate) const CONSOLE: &str = "__Host-countersign-console";
/// The binding cookie outlives a login transaction by far; it is no credential.
const LOGIN_SECS: u64 = 30 * 86_400;

/// A new random cookie value.
pub(crate) fn new_token(ids: &dyn Ids) -> (SecretText, TokenHash) {
    let token = pki::random_token(ids);
    let hash = TokenHash::of(token.expose().as_bytes());
    (token, hash)
}

/// `Set-Cookie` of a session; ends with the browser session, the server's limits come first anyway.
pub(crate) fn set_session(token: &SecretText) -> String {
    format!("{SESSION}={}; Path=/; Secure; HttpOnly; SameSite=Lax", token.expose())
}

/// `Set-Cookie` that removes the session cookie.
pub(crate) fn clear_session() -> String {
    format!("{SESSION}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// `Set-Cookie` of the binding cookie.
pub(crate) fn set_login(token: &SecretText) -> String {
    format!("{LOGIN}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={LOGIN_SECS}", token.expose())
}

/// `Set-Cookie` of the console's companion cookie: never sent by a page of another site.
pub(crate) fn set_console(value: &str) -> String {
    format!("{CONSOLE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict")
}
