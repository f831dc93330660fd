//! Identifiers. All print as lower-case base32 (RFC 4648 §6) without padding, 26 characters for 16 bytes, and are
//! read back in that form in any case, or as a hyphenated UUID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}; give 26 characters of base32 (a-z, 2-7) or a hyphenated UUID")]
pub struct ParseIdError {
    /// The offending text, cut to 64 characters.
    pub text: String,
    /// What was expected, with an article: "a user id (usr_…)".
    pub expected: &'static str,
}

fn to_base32(id: &Uuid) -> String {
    let mut text = data_encoding::BASE32_NOPAD.encode(id.as_bytes());
    text.make_ascii_lowercase();
    text
}

fn from_text(text: &str, expected: &'static str) -> Result<Uuid, ParseIdError> {
    let refuse = || ParseIdError { text: text.chars().take(64).collect(), expected };
    if text.len() == 26 {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| refuse())?;
        return Uuid::from_slice(&bytes).map_err(|_| refuse());
    }
    if text.len() == 36 {
        return Uuid::parse_str(text).map_err(|_| refuse());
    }
    Err(refuse())
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The prefix of the printed form.
            pub const PREFIX: &'static str = $prefix;

            /// The sixteen bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, to_base32(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                from_text(text.strip_prefix($prefix).unwrap_or(text), $expected).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_id!(
    /// One access through a door; UUIDv7, also the `X-Request-Id`.
    AccessId, "", "an access id"
);
uuid_id!(
    /// One answer of the policy engine.
    DecisionId, "", "a decision id"
);
uuid_id!(
    /// A person, stable for life; printed `usr_…`. Never an e-mail address.
    UserId, "usr_", "a user id (usr_…)"
);
uuid_id!(
    /// One sign-in of one browser. Not a secret: the cookie is, and only its hash is stored.
    SessionId, "ses_", "a session id (ses_…)"
);
uuid_id!(
    /// An invitation or set-up link. Not the secret in the link.
    InvitationId, "inv_", "an invitation id (inv_…)"
);
uuid_id!(
    /// A notice to a person about their account (ID-7).
    NoticeId, "ntc_", "a notice id (ntc_…)"
);
uuid_id!(
    /// One attempt to get back in without the usual factor (ID-6). Not the secret of whoever began it.
    RecoveryId, "rcv_", "a recovery id (rcv_…)"
);
uuid_id!(
    /// A service token: the client id a program presents (GW-52). Not a secret; the secret beside it is.
    ServiceTokenId, "cst_", "a client id (cst_…)"
);
uuid_id!(
    /// One withdrawal of access and the cuts it caused.
    RevocationId, "rev_", "a revocation id (rev_…)"
);

/// One live connection or request inside one door process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// SHA-256 of a bearer secret (cookie, code, link). The secret itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of `secret` as sent.
    pub fn of(secret: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(secret).into())
    }

    /// Equality in time that does not depend on where the two differ.
    pub fn equals(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        std::hint::black_box(pairs.fold(0_u8, |differs, (a, b)| differs | (a ^ b))) == 0
    }

    /// The first eight hex digits, for records and logs.
    pub fn prefix(&self) -> String {
        self.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.prefix())
    }
}

/// A SHA-256 digest that pins a version of something; prints `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest32(pub [u8; 32]);

impl Digest32 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest32 {
    type Err = String;

    /// `sha256:` may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("`{text}` is not a digest: `sha256:` and 64 digits of 0-9 and a-f"))
    }
}

impl Serialize for Digest32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_printing_and_has_one_form() {
        let digest = Digest32::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string().replace("sha256:", "").parse(), Ok(digest));
        for text in ["", "sha256:", "sha256:ab", &digest.to_string().to_uppercase(), &format!("{digest}0")] {
            assert!(text.parse::<Digest32>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_survives_printing_in_any_case() {
        let id = UserId(Uuid::from_u128(0x0192_3456_789a_7bcd_8123_4567_89ab_cdef));
        assert_eq!(id.to_string().parse::<UserId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().replace("USR_", "usr_").parse::<UserId>(), Ok(id));
        assert_eq!(id.0.to_string().parse::<UserId>(), Ok(id));
    }

    #[test]
    fn a_text_that_is_no_id_is_refused_with_what_was_expected() {
        let error = "alice".parse::<UserId>().unwrap_err();
        assert!(error.to_string().contains("`alice` is not a user id"), "{error}");
    }
}
