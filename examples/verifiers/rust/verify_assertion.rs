//! Checks `X-Countersign-Assertion` inside an app. Copy this file; what is checked, and why, is in the README beside it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use sha2::{Digest, Sha256};

const TYP: &str = "countersign-assertion+jwt";
const SKEW_SECS: u64 = 5;
const REFETCH: Duration = Duration::from_secs(30);

type FetchKeys = dyn Fn() -> Result<String, String> + Send + Sync;

/// Checks assertions for one app. `fetch_keys` gets the gateway's key set with the app's own HTTP client.
pub(crate) struct Verifier {
    validation: Validation,
    fetch_keys: Box<FetchKeys>,
    keys: Mutex<(JwkSet, Option<Instant>)>,
}

impl Verifier {
    /// `issuer` is `https://<auth host>`; `app` the app's name at the gateway.
    pub(crate) fn new(issuer: &str, app: &str, fetch_keys: Box<FetchKeys>) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = SKEW_SECS;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[app]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self { validation, fetch_keys, keys: Mutex::new((JwkSet { keys: Vec::new() }, None)) }
    }

    /// The claims, if `assertion` was made for this request. `target` is `path?query`, byte for byte as received.
    pub(crate) fn verify(&self, assertion: &str, method: &str, authority: &str, target: &str) -> Result<Value, String> {
        let header = decode_header(assertion).map_err(|error| error.to_string())?;
        if header.typ.as_deref() != Some(TYP) || header.crit.is_some() {
            return Err("not an assertion".to_owned());
        }
        let key = self.key(header.kid.as_deref().unwrap_or_default())?;
        let token = decode::<Value>(assertion, &key, &self.validation).map_err(|error| error.to_string())?;
        let hash = BASE64URL_NOPAD.encode(&Sha256::digest(target));
        match token.claims.get("req") {
            Some(req) if *req == serde_json::json!({ "m": method, "a": authority, "p": hash }) => Ok(token.claims),
            _ => Err("made for another request".to_owned()),
        }
    }

    fn key(&self, kid: &str) -> Result<DecodingKey, String> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.0.find(kid).is_none() && keys.1.is_none_or(|fetched| fetched.elapsed() >= REFETCH) {
            keys.1 = Some(Instant::now());
            keys.0 = serde_json::from_str(&(self.fetch_keys)()?).map_err(|error| error.to_string())?;
        }
        DecodingKey::from_jwk(keys.0.find(kid).ok_or("unknown key")?).map_err(|error| error.to_string())
    }
}
