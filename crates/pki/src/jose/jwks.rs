//! Public keys: the JSON Web Key Set we publish and the keys a verifier holds (RFC 7517).
//!
//! Invariants: only P-256 keys for ES256 signatures are published or taken; foreign members are ignored, foreign keys
//! skipped; a set is bounded in bytes and keys.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::ALGORITHM;

/// The largest key set that is read.
pub const MAX_JWKS_BYTES: usize = 64 * 1024;
/// The most keys a set may hold.
pub const MAX_JWKS_KEYS: usize = 128;
/// The length of one coordinate of a P-256 point.
const COORDINATE_BYTES: usize = 32;

/// Why a key set is refused.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Two keys share an id.
    #[error("the key set has two keys with the id `{kid}`; every key needs its own")]
    DuplicateKid {
        /// The id.
        kid: String,
    },
    /// Not JSON of the expected shape.
    #[error("the key set is not json of the form {{\"keys\":[…]}}")]
    Json(#[source] serde_json::Error),
    /// A key is no point of P-256.
    #[error("key `{kid}` of the set is not a point of P-256")]
    Point {
        /// The id.
        kid: String,
    },
    /// A key is not named after its owner and itself.
    #[error("the key id `{kid}` is not that of a key of `{owner}`")]
    NotOwned {
        /// The id.
        kid: String,
        /// Whose it should be.
        owner: String,
    },
    /// Too many bytes.
    #[error("the key set has {bytes} bytes; at most {MAX_JWKS_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Too many keys.
    #[error("the key set has {keys} keys; at most {MAX_JWKS_KEYS} are taken")]
    TooMany {
        /// How many.
        keys: usize,
    },
}

/// One public key, as published.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
}

impl Jwk {
    pub(super) fn p256(kid: &str, x: &str, y: &str) -> Self {
        Self {
            kty: "EC",
            crv: "P-256",
            x: x.to_owned(),
            y: y.to_owned(),
            kid: kid.to_owned(),
            alg: ALGORITHM,
            usage: "sig",
        }
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// RFC 7638 thumbprint: base64url SHA-256 of the required members in lexical order.
    pub fn thumbprint(&self) -> String {
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }
}

/// The published key set; keys in order of id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Jwks {
    keys: BTreeMap<String, Jwk>,
}

#[derive(Serialize)]
struct JwksDocument<'a> {
    keys: Vec<&'a Jwk>,
}

impl Jwks {
    /// A set of these keys.
    pub fn new(keys: impl IntoIterator<Item = Jwk>) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.kid.clone(), key)).collect() }
    }

    /// The union with another gateway's keys (GW-29).
    #[must_use]
    pub fn union(mut self, other: Jwks) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// Reads the set of another gateway. Its keys must be called `<owner>-<start of the thumbprint>`, so that no gateway
    /// can publish a key under another's id.
    ///
    /// # Errors
    /// [`JwksError`]; keep the keys already held.
    pub fn parse_of(owner: &str, json: &str) -> Result<Self, JwksError> {
        VerifyingKeys::parse(json)?;
        let set: ForeignSet = serde_json::from_str(json).map_err(JwksError::Json)?;
        let mut keys = Vec::new();
        for key in &set.keys {
            let (Some(kid), Some(x), Some(y), true) = (&key.kid, &key.x, &key.y, key.is_for_es256()) else {
                continue;
            };
            let read = Jwk::p256(kid, x, y);
            if *kid != super::key::kid_of(owner, &read) {
                return Err(JwksError::NotOwned { kid: kid.clone(), owner: owner.to_owned() });
            }
            keys.push(read);
        }
        Ok(Self::new(keys))
    }

    /// The ids, sorted.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The document to serve as `application/jwk-set+json`.
    pub fn to_json(&self) -> String {
        let document = JwksDocument { keys: self.keys.values().collect() };
        // Strings and sequences always have a JSON form; an empty set would only make verifiers refuse.
        serde_json::to_string(&document).unwrap_or_else(|_| r#"{"keys":[]}"#.to_owned())
    }
}

/// Keys a verifier trusts, parsed once.
#[derive(Default)]
pub struct VerifyingKeys {
    keys: BTreeMap<String, ParsedPublicKey>,
}

#[derive(Deserialize)]
struct ForeignSet {
    keys: Vec<ForeignKey>,
}

#[derive(Deserialize)]
struct ForeignKey {
    kty: String,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl VerifyingKeys {
    /// The keys of our own set.
    ///
    /// # Errors
    /// [`JwksError::Point`] when a key is none; impossible for sets made by [`super::KeyRing`].
    pub fn from_jwks(jwks: &Jwks) -> Result<Self, JwksError> {
        let mut keys = Self::default();
        for key in jwks.keys.values() {
            keys.insert(&key.kid, &key.x, &key.y)?;
        }
        Ok(keys)
    }

    /// Reads a served key set. Keys of other kinds and keys without an id are skipped.
    ///
    /// # Errors
    /// [`JwksError`]; keep the keys already held.
    pub fn parse(json: &str) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge { bytes: json.len() });
        }
        let set: ForeignSet = serde_json::from_str(json).map_err(JwksError::Json)?;
        if set.keys.len() > MAX_JWKS_KEYS {
            return Err(JwksError::TooMany { keys: set.keys.len() });
        }
        let mut keys = Self::default();
        for key in &set.keys {
            let (Some(kid), Some(x), Some(y), true) = (&key.kid, &key.x, &key.y, key.is_for_es256()) else {
                continue;
            };
            keys.insert(kid, x, y)?;
        }
        Ok(keys)
    }

    /// The ids, sorted.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub(super) fn by_kid(&self, kid: &str) -> Option<&ParsedPublicKey> {
        self.keys.get(kid)
    }

    fn insert(&mut self, kid: &str, x: &str, y: &str) -> Result<(), JwksError> {
        let point = sec1_point(x, y).ok_or_else(|| JwksError::Point { kid: kid.to_owned() })?;
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| JwksError::Point { kid: kid.to_owned() })?;
        match self.keys.insert(kid.to_owned(), key) {
            Some(_) => Err(JwksError::DuplicateKid { kid: kid.to_owned() }),
            None => Ok(()),
        }
    }
}

impl ForeignKey {
    fn is_for_es256(&self) -> bool {
        self.kty == "EC"
            && self.crv.as_deref() == Some("P-256")
            && self.alg.as_deref().is_none_or(|alg| alg == ALGORITHM)
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
    }
}

fn sec1_point(x: &str, y: &str) -> Option<Vec<u8>> {
    let x = BASE64URL_NOPAD.decode(x.as_bytes()).ok()?;
    let y = BASE64URL_NOPAD.decode(y.as_bytes()).ok()?;
    (x.len() == COORDINATE_BYTES && y.len() == COORDINATE_BYTES).then(|| [&[4], x.as_slice(), &y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::SigningKey;

    fn jwk() -> Jwk {
        SigningKey::generate("gw1").unwrap().public_jwk()
    }

    fn set_of(keys: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn the_published_set_reads_back_and_holds_no_private_member() {
        let jwks = Jwks::new([jwk()]).union(Jwks::new([jwk()]));
        let json = jwks.to_json();
        assert!(!json.contains(r#""d""#), "{json}");
        let keys = VerifyingKeys::parse(&json).unwrap();
        assert_eq!(keys.kids().collect::<Vec<_>>(), jwks.kids().collect::<Vec<_>>());
        assert_eq!(keys.kids().count(), 2);
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // Computed with `jose.calculateJwkThumbprint` of npm jose 6.
        let key = Jwk::p256(
            "k",
            "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        );
        assert_eq!(key.thumbprint(), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
    }

    #[test]
    fn keys_of_other_kinds_are_skipped() {
        let good = serde_json::to_string(&jwk()).unwrap();
        let foreign = [
            r#"{"kty":"RSA","kid":"r","n":"AQ","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"oct","kid":"o","k":"AQ"}"#.to_owned(),
            good.replace("P-256", "P-384"),
            good.replace("ES256", "HS256"),
            good.replace(r#""use":"sig""#, r#""use":"enc""#),
            good.replace(r#""kid""#, r#""id""#),
        ];
        assert_eq!(VerifyingKeys::parse(&set_of(&foreign)).unwrap().kids().count(), 0);
        assert_eq!(VerifyingKeys::parse(&set_of(&[foreign[0].clone(), good])).unwrap().kids().count(), 1);
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let key = jwk();
        let good = serde_json::to_string(&key).unwrap();
        let zero = BASE64URL_NOPAD.encode(&[0; COORDINATE_BYTES]);
        for bad in [good.replace(&key.y, &zero), good.replace(&key.x, "AQ"), good.replace(&key.x, "=")] {
            assert!(matches!(VerifyingKeys::parse(&set_of(&[bad])), Err(JwksError::Point { .. })));
        }
    }

    #[test]
    fn attack_a_gateway_cannot_publish_a_key_under_the_id_of_another() {
        let set = |key: &Jwk| set_of(&[serde_json::to_string(key).unwrap()]);
        let key = jwk();
        assert_eq!(Jwks::parse_of("gw1", &set(&key)).unwrap(), Jwks::new([key.clone()]));
        assert!(matches!(Jwks::parse_of("gw", &set(&key)), Err(JwksError::NotOwned { .. })));
        let posing = Jwk { kid: jwk().kid, ..key };
        assert!(matches!(Jwks::parse_of("gw1", &set(&posing)), Err(JwksError::NotOwned { .. })));
    }

    #[test]
    fn a_set_with_one_id_twice_is_refused() {
        let one = jwk();
        let two = Jwk { kid: one.kid.clone(), ..jwk() };
        let keys = [one, two].map(|key| serde_json::to_string(&key).unwrap());
        assert!(matches!(VerifyingKeys::parse(&set_of(&keys)), Err(JwksError::DuplicateKid { .. })));
    }

    #[test]
    fn a_set_is_bounded_in_keys_and_bytes() {
        let keys = |count: usize| set_of(&vec![r#"{"kty":"oct"}"#.to_owned(); count]);
        assert!(VerifyingKeys::parse(&keys(MAX_JWKS_KEYS)).is_ok());
        assert!(matches!(VerifyingKeys::parse(&keys(MAX_JWKS_KEYS + 1)), Err(JwksError::TooMany { .. })));
        let padded = |bytes: usize| format!(r#"{{"keys":[]{}}}"#, " ".repeat(bytes - 11));
        assert!(VerifyingKeys::parse(&padded(MAX_JWKS_BYTES)).is_ok());
        assert!(matches!(VerifyingKeys::parse(&padded(MAX_JWKS_BYTES + 1)), Err(JwksError::TooLarge { .. })));
    }
}
