//! Which header fields reach an app (GW-65, GW-67) and what they bring for us.
//!
//! It judges one list of fields that [`crate::request`] has found well formed; it does not parse. ATK-20 to ATK-22.
//!
//! Invariants: no field that only we may set survives under any spelling; no field that belongs to one connection
//! survives; the rest keeps order and bytes.

use bytes::Bytes;

use crate::cookies::{self, Credentials, Presented};
use crate::fields::{Field, Fields, is_token_byte};
use crate::refusal::{GateCode, GateRefusal};
use crate::request::GateSettings;
use crate::structure;

/// What only we may set: whole names, and beginnings of names (GW-65).
const OWNED_NAMES: &[&str] =
    &["forwarded", "proxy", "x-countersign", "x-forwarded", "x-original-url", "x-real-ip", "x-rewrite-url"];
const OWNED_BEGINNINGS: &[&str] = &["x-countersign-", "x-envoy-", "x-forwarded-"];

/// The longest name compared in folded form; longer ones cannot be ours.
const MAX_FOLDED_NAME_BYTES: usize = 64;

/// What [`clean`] makes of the fields.
pub(crate) struct Cleaned {
    pub(crate) fields: Fields,
    pub(crate) credentials: Credentials,
    pub(crate) method_override: Option<Bytes>,
}

/// Keeps what goes upstream and takes out what was meant for us.
pub(crate) fn clean(fields: Fields, method: &[u8], settings: &GateSettings<'_>) -> Result<Cleaned, GateRefusal> {
    let mut cleaned = Cleaned { fields: Fields::default(), credentials: Credentials::default(), method_override: None };
    let mut cookies: Vec<Bytes> = Vec::new();
    let mut cookie_slot = None;
    cleaned.fields.0.reserve(fields.len());
    for field in fields.0 {
        match fate(&field, settings) {
            Fate::Kept => cleaned.fields.0.push(field),
            Fate::Dropped => {}
            Fate::Cookie => {
                cookie_slot.get_or_insert((cleaned.fields.len(), field.name, field.offset.0));
                cookies.push(field.value);
            }
            Fate::OurCredential => take_credential(&field, &mut cleaned.credentials),
            Fate::MethodOverride => {
                if settings.judges_method_override {
                    take_override(&field, method, &mut cleaned.method_override)?;
                }
            }
        }
    }
    if let Some((slot, name, offset)) = cookie_slot
        && let Some(value) = cookies::cut(&cookies, &mut cleaned.credentials)
    {
        cleaned.fields.0.insert(slot, Field::new(name, value, offset));
    }
    Ok(cleaned)
}

/// True if only we may set `name`, a lower-case token, in any spelling (GW-65). Also what `Connection`, `Trailer` and
/// upstream responses are judged with.
pub(crate) fn is_owned(name: &[u8]) -> bool {
    with_folded(name, |name| is_owned_plainly(name, &[]))
}

/// The same for the names an app is told something under, in any spelling (GW-32).
pub(crate) fn is_owned_here(name: &[u8], settings: &GateSettings<'_>) -> bool {
    with_folded(name, |name| settings.owned_names.iter().any(|owned| owned.as_bytes() == name))
}

enum Fate {
    Cookie,
    Dropped,
    Kept,
    MethodOverride,
    OurCredential,
}

fn fate(field: &Field, settings: &GateSettings<'_>) -> Fate {
    let name: &[u8] = &field.name;
    if is_odd(name) {
        let is_alias = with_folded(name, |name| {
            is_owned_plainly(name, settings.owned_names)
                || is_per_hop(name)
                || is_method_override(name)
                || name == b"cookie"
                || name == b"authorization"
        });
        return if is_alias || !settings.passes_odd_header_names { Fate::Dropped } else { Fate::Kept };
    }
    match name {
        b"cookie" => Fate::Cookie,
        b"authorization" if our_token(&field.value, b"countersign").is_some() => Fate::OurCredential,
        b"x-countersign-authorization" | b"x-countersign-client-id" | b"x-countersign-client-secret" => {
            Fate::OurCredential
        }
        _ if is_method_override(name) => Fate::MethodOverride,
        _ if is_per_hop(name) || is_owned_plainly(name, settings.owned_names) => Fate::Dropped,
        _ => Fate::Kept,
    }
}

fn take_credential(field: &Field, credentials: &mut Credentials) {
    let whole = |presented: &mut Presented| presented.add((!field.value.is_empty()).then(|| field.value.clone()));
    match &*field.name {
        b"x-countersign-client-id" => whole(&mut credentials.client_id),
        b"x-countersign-client-secret" => whole(&mut credentials.client_secret),
        b"authorization" => credentials.bearer.add(our_token(&field.value, b"countersign")),
        _ => credentials.bearer.add(our_token(&field.value, b"bearer")),
    }
}

/// The token of an `Authorization` value of `scheme` (lower case): `None` for another scheme. A bare scheme counts as
/// ours, with an empty token.
fn our_token(value: &Bytes, scheme: &[u8]) -> Option<Bytes> {
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let is_scheme =
        start.eq_ignore_ascii_case(scheme) && rest.first().is_none_or(|&byte| byte == b' ' || byte == b'\t');
    is_scheme.then(|| value.slice_ref(rest.trim_ascii()))
}

/// Only a POST may stand for another method, and not for HEAD, whose response ends differently.
fn take_override(field: &Field, sent: &[u8], judged: &mut Option<Bytes>) -> Result<(), GateRefusal> {
    let is_method = structure::check_method(&field.value).is_ok() && &*field.value != b"HEAD";
    if judged.is_some() || sent != b"POST" || !is_method {
        return Err(GateRefusal::new(GateCode::MethodOverride, field.offset.0));
    }
    *judged = Some(field.value.clone());
    Ok(())
}

fn is_owned_plainly(name: &[u8], owned_names: &[String]) -> bool {
    // Nearly every name fails here.
    let could_be = matches!(name.first(), Some(b'x' | b'f' | b'p'));
    (could_be
        && (is_one_of(name, OWNED_NAMES) || OWNED_BEGINNINGS.iter().any(|owned| name.starts_with(owned.as_bytes()))))
        || owned_names.iter().any(|owned| owned.as_bytes() == name)
}

/// Fields about one connection or about framing: read by [`crate::structure`], written anew for the next hop.
fn is_per_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"content-length"
            | b"expect"
            | b"host"
            | b"http2-settings"
            | b"keep-alive"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
    )
}

/// Fields that replace the method at frameworks that heed them (GW-67).
fn is_method_override(name: &[u8]) -> bool {
    matches!(name, b"x-http-method" | b"x-http-method-override" | b"x-method-override")
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|candidate| candidate.as_bytes() == name)
}

/// True if some server might read `name` as another: CGI and its descendants turn whatever is no letter or digit
/// into `_`.
fn is_odd(name: &[u8]) -> bool {
    name.iter().any(|&byte| byte != b'-' && !byte.is_ascii_alphanumeric())
}

/// Calls `judge` with `name` where every such character is `-`.
fn with_folded(name: &[u8], judge: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut folded = [0u8; MAX_FOLDED_NAME_BYTES];
    // A longer name can still begin with an owned beginning.
    let length = name.len().min(MAX_FOLDED_NAME_BYTES);
    for (to, &byte) in folded.iter_mut().zip(name) {
        *to = if is_token_byte(byte) && !byte.is_ascii_alphanumeric() { b'-' } else { byte.to_ascii_lowercase() };
    }
    judge(folded.get(..length).unwrap_or_default())
}
