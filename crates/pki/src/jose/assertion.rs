//! The assertion: who is asking and what was decided, signed for one app and one request (GW-28 to GW-31).
//! Apps check it with the samples in `examples/verifiers`.
//!
//! Invariant: an assertion lives at most [`MAX_LIFE`] and is bound to method and authority, and to the target unless
//! the app's framework hides it.

use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Expected, JoseError, Lifetime, VerifyingKeys, verify};

/// The header `typ`.
pub const TYP: &str = "countersign-assertion+jwt";
/// How long an assertion lives.
pub const MAX_LIFE: Duration = Duration::from_secs(60);
/// How far the clocks of gateway and app may differ (GW-30).
pub const LEEWAY: Duration = Duration::from_secs(5);
/// The longest assertion that is looked at.
pub const MAX_BYTES: usize = 16 * 1024;
/// The most groups an assertion names (GW-31).
pub const MAX_GROUPS: usize = 100;
/// The most bytes the names of groups may take (GW-31).
pub const MAX_GROUPS_BYTES: usize = 6 * 1024;

/// What kind of principal an assertion is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// A service token.
    Service,
    /// A person.
    User,
    /// A workload.
    Workload,
}

/// The device, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceClaim {
    /// Its id.
    pub id: String,
    /// Under management.
    pub managed: bool,
}

/// Who acts for the subject (RFC 8693 §4.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActorClaim {
    /// Its SPIFFE ID.
    pub sub: String,
}

/// The request an assertion is bound to, as sent to the app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestClaim {
    /// The method.
    pub m: String,
    /// The authority: the `Host` (or `:authority`) sent to the app.
    pub a: String,
    /// base64url SHA-256 of the target, `path?query`, byte for byte as sent; absent where the app's framework hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<String>,
}

impl RequestClaim {
    /// Binds to method, authority and, when given, target.
    pub fn new(method: &str, authority: &str, target: Option<&str>) -> Self {
        Self { m: method.to_owned(), a: authority.to_owned(), p: target.map(hash_of_target) }
    }

    /// Whether a request as received is the one that was bound. A missing `p` fits every target: apps that see the raw
    /// target must refuse it instead, see [`Self::is_bound_to_target`].
    pub fn fits(&self, method: &str, authority: &str, target: &str) -> bool {
        self.m == method && self.a == authority && self.p.as_ref().is_none_or(|p| *p == hash_of_target(target))
    }

    /// Whether the target is bound.
    pub fn is_bound_to_target(&self) -> bool {
        self.p.is_some()
    }
}

fn hash_of_target(target: &str) -> String {
    BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, target.as_bytes()).as_ref())
}

/// The claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// `https://<auth host>`.
    pub iss: String,
    /// The app's name.
    pub aud: String,
    /// `usr_…`, or a SPIFFE ID.
    pub sub: String,
    /// What kind.
    pub kind: SubjectKind,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Verified e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Groups the app asked for; absent when [`Self::groups_overage`]. Set through [`Self::with_groups`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// There are too many groups to name: ask `GET /.countersign/session`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub groups_overage: bool,
    /// `phr` …
    pub acr: String,
    /// RFC 8176 methods.
    pub amr: Vec<String>,
    /// When the person proved it; seconds since 1970.
    pub auth_time: i64,
    /// `ses_…`
    pub sid: String,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceClaim>,
    /// Who acts for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActorClaim>,
    /// The request it is bound to.
    pub req: RequestClaim,
    /// The decision's id.
    pub dec: String,
    /// The policy hash.
    pub pol: String,
    /// W3C trace id.
    pub trace: String,
    /// Issued, seconds since 1970.
    pub iat: i64,
    /// Ends, seconds since 1970; at most [`MAX_LIFE`] after `iat`.
    pub exp: i64,
    /// Unique for unsafe methods.
    pub jti: String,
}

impl AssertionClaims {
    /// Names these groups, or says that they are too many (GW-31); never some of them.
    #[must_use]
    pub fn with_groups(mut self, groups: Vec<String>) -> Self {
        let bytes: usize = groups.iter().map(String::len).sum();
        self.groups_overage = groups.len() > MAX_GROUPS || bytes > MAX_GROUPS_BYTES;
        self.groups = (!self.groups_overage).then_some(groups);
        self
    }

    /// Checks an assertion as an app does: signature, type, issuer, audience, time. Compare [`Self::req`] with the
    /// request afterwards ([`RequestClaim::fits`]).
    ///
    /// # Errors
    /// [`JoseError`]: answer 401 and serve nothing.
    pub fn verify(
        token: &str,
        keys: &VerifyingKeys,
        issuer: &str,
        app: &str,
        now: Timestamp,
    ) -> Result<Self, JoseError> {
        let expected = Expected {
            typ: TYP,
            issuer,
            audience: Some(app),
            leeway: LEEWAY,
            lifetime: Lifetime::AtMost(MAX_LIFE),
            max_bytes: MAX_BYTES,
        };
        verify(token, keys, &expected, now)
    }
}
