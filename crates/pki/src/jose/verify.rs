//! Checks tokens we signed ourselves. Every refusal is a variant; none of them says more than the token's holder knows.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use model::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ALGORITHM;
use super::jwks::VerifyingKeys;

/// How much of a stranger's text an error repeats.
const SHOWN_CHARS: usize = 64;

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum JoseError {
    /// Not ES256.
    #[error("the token's algorithm is `{alg}`; only ES256 is taken")]
    Algorithm {
        /// What it says.
        alg: String,
    },
    /// For somebody else.
    #[error("the token is meant for `{aud}`")]
    Audience {
        /// For whom.
        aud: String,
    },
    /// The claims do not have the shape of their type.
    #[error("the token's claims are not those of its type")]
    Claims(#[source] serde_json::Error),
    /// A critical extension; we know none.
    #[error("the token demands extensions (`crit`); none is known")]
    Critical,
    /// Its time is over.
    #[error("the token ended {secs} s ago")]
    Expired {
        /// How long ago.
        secs: i64,
    },
    /// By somebody else.
    #[error("the token was issued by `{iss}`")]
    Issuer {
        /// By whom.
        iss: String,
    },
    /// It lives longer than its type may.
    #[error("the token lives {secs} s, longer than its type may")]
    Lifetime {
        /// From `iat` to `exp`.
        secs: i64,
    },
    /// Not three parts of base64url with a JSON header.
    #[error("not a compact signed token")]
    Malformed,
    /// From the future.
    #[error("the token begins in {secs} s; compare the clocks")]
    NotYet {
        /// In how long.
        secs: i64,
    },
    /// The signature does not fit.
    #[error("the token's signature does not fit")]
    Signature,
    /// Too long.
    #[error("the token has {bytes} bytes; its type has at most {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is read.
        max: usize,
    },
    /// Another kind of token.
    #[error("the token is of type `{typ}`")]
    Type {
        /// What it says.
        typ: String,
    },
    /// Nobody we know signed it. Fetch the key set again, at most once per 30 s.
    #[error("no key `{kid}` is known")]
    UnknownKey {
        /// The id.
        kid: String,
    },
}

/// How time bounds a type of token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// `exp` is required and at most this long after `iat`.
    AtMost(Duration),
    /// Evidence: never ends; only `iat` is looked at.
    Unbounded,
}

/// What a token must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected<'a> {
    /// Header `typ`.
    pub typ: &'a str,
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`, one string; `None` for types that have none.
    pub audience: Option<&'a str>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// The longest token that is looked at.
    pub max_bytes: usize,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// The claims every type shares. Times are whole seconds: a fraction or a string is refused, not rounded.
#[derive(Deserialize)]
struct Registered {
    iss: String,
    aud: Option<String>,
    iat: i64,
    exp: Option<i64>,
    nbf: Option<i64>,
}

/// Checks signature, type, issuer, audience and time of `token`, and reads its claims.
///
/// # Errors
/// [`JoseError`]: refuse the request. On [`JoseError::UnknownKey`] a verifier may fetch the key set again first.
pub fn verify<C: DeserializeOwned>(
    token: &str,
    keys: &VerifyingKeys,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<C, JoseError> {
    if token.len() > expected.max_bytes {
        return Err(JoseError::TooLarge { bytes: token.len(), max: expected.max_bytes });
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(JoseError::Malformed)?;
    let kid = check_header(&decode(header)?, expected)?;

    let key = keys.by_kid(&kid).ok_or_else(|| JoseError::UnknownKey { kid: shown(&kid) })?;
    key.verify_sig(signed.as_bytes(), &decode(signature)?).map_err(|_| JoseError::Signature)?;

    let payload = decode(payload)?;
    check_claims(&serde_json::from_slice(&payload).map_err(JoseError::Claims)?, expected, now)?;
    serde_json::from_slice(&payload).map_err(JoseError::Claims)
}

fn decode(part: &str) -> Result<Vec<u8>, JoseError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JoseError::Malformed)
}

/// Gives the key id of an acceptable header.
fn check_header(json: &[u8], expected: &Expected<'_>) -> Result<String, JoseError> {
    let header: Header = serde_json::from_slice(json).map_err(|_| JoseError::Malformed)?;
    if header.alg != ALGORITHM {
        return Err(JoseError::Algorithm { alg: shown(&header.alg) });
    }
    if header.crit {
        return Err(JoseError::Critical);
    }
    let typ = header.typ.unwrap_or_default();
    if typ != expected.typ {
        return Err(JoseError::Type { typ: shown(&typ) });
    }
    header.kid.ok_or(JoseError::Malformed)
}

fn check_claims(claims: &Registered, expected: &Expected<'_>, now: Timestamp) -> Result<(), JoseError> {
    if claims.iss != expected.issuer {
        return Err(JoseError::Issuer { iss: claims.iss.clone() });
    }
    if claims.aud.as_deref() != expected.audience {
        return Err(JoseError::Audience { aud: claims.aud.clone().unwrap_or_default() });
    }
    let leeway = i64::try_from(expected.leeway.as_secs()).unwrap_or(i64::MAX);
    let now = now.unix_secs();
    let starts = claims.iat.max(claims.nbf.unwrap_or(i64::MIN));
    if starts > now.saturating_add(leeway) {
        return Err(JoseError::NotYet { secs: starts.saturating_sub(now) });
    }
    let Lifetime::AtMost(longest) = expected.lifetime else {
        return Ok(());
    };
    let exp = claims.exp.unwrap_or(i64::MIN);
    if exp <= now.saturating_sub(leeway) {
        return Err(JoseError::Expired { secs: now.saturating_sub(exp) });
    }
    let lives = exp.saturating_sub(claims.iat);
    if u64::try_from(lives).is_ok_and(|lives| lives > longest.as_secs()) {
        return Err(JoseError::Lifetime { secs: lives });
    }
    Ok(())
}

/// A stranger's text, cut to what a message or a log line should carry.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// True for any value, `null` included: that a member is there at all is what counts.
fn is_present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}
