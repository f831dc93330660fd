//! Who asks, in plain headers, for apps that cannot read the assertion (GW-32). They prove nothing to whoever can be
//! reached by another way than this door; that is what the assertion is for.
//!
//! Invariants: each name is the operator's and was taken from the client before (GW-65); a value reads one way only, or
//! the request is refused (ATK-24).

use std::fmt::Write;

use http::{HeaderName, HeaderValue};
use model::app::{App, UserClaim};
use model::directory::{GroupId, ServiceEntry, UserEntry};

use crate::assertion::named_groups;

/// The longest value.
pub(crate) const MAX_VALUE_BYTES: usize = 4 * 1024;

/// A value that no header can say in one way.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` of the account cannot be said in a header")]
pub(crate) struct Unsayable(&'static str);

/// Whom an app is told about.
pub(crate) struct Told<'a> {
    id: String,
    name: &'a str,
    email: &'a str,
    groups: &'a [GroupId],
}

impl<'a> Told<'a> {
    /// A person.
    pub(crate) fn person(user: &'a UserEntry) -> Self {
        Self { id: user.id.to_string(), name: &user.name, email: &user.email, groups: &user.groups }
    }

    /// A service account, which has no address.
    pub(crate) fn service(service: &'a ServiceEntry) -> Self {
        Self { id: service.principal().to_string(), name: &service.name, email: "", groups: &service.groups }
    }
}

/// The headers `app` asked for, about whoever asks.
pub(crate) fn fields(app: &App, told: &Told<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Unsayable> {
    let field = |(name, claim): (&String, &UserClaim)| {
        let unsayable = || Unsayable(claim.as_str());
        let value = match claim {
            UserClaim::Email => said(told.email, false),
            UserClaim::Groups => {
                let groups = named_groups(told.groups, &app.assertion.groups);
                let said: Option<Vec<String>> = groups.iter().map(|group| said(group, true)).collect();
                said.map(|groups| groups.join(","))
            }
            UserClaim::Id => said(&told.id, false),
            UserClaim::Name => said(told.name, false),
        };
        let value = value.filter(|value| value.len() <= MAX_VALUE_BYTES).ok_or_else(unsayable)?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unsayable())?;
        Ok((name, HeaderValue::try_from(value).map_err(|_| unsayable())?))
    };
    app.unsigned_headers.iter().map(field).collect()
}

/// `text` in visible ASCII: what is not, and `%` itself, percent-encoded (RFC 3986 §2.1); in a list the comma too. Control
/// characters have no place in a name.
fn said(text: &str, in_list: bool) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut said = String::with_capacity(text.len());
    for byte in text.trim().bytes() {
        match byte {
            b'%' => said.push_str("%25"),
            b',' if in_list => said.push_str("%2C"),
            b' '..=b'~' => said.push(char::from(byte)),
            // Writing to a string always works.
            _ => _ = write!(said, "%{byte:02X}"),
        }
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_24_a_value_reads_one_way_or_is_not_said() {
        for (text, in_list, expected) in [
            ("alice@corp.test", false, Some("alice@corp.test")),
            ("Ålice O'Neil", false, Some("%C3%85lice O'Neil")),
            ("50 % Bob", false, Some("50 %25 Bob")),
            ("a,b", false, Some("a,b")),
            ("a,b", true, Some("a%2Cb")),
            ("", false, Some("")),
            ("a\r\nX-Admin: yes", false, None),
            ("a\nb", true, None),
            ("a\0b", false, None),
            ("a\u{85}b", false, None),
        ] {
            assert_eq!(said(text, in_list).as_deref(), expected, "{text:?}");
        }
    }
}
