//! Makes good assertions, and tokens that an attacker would make.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use model::Timestamp;
use pki::jose::assertion::{self, RequestClaim, SubjectKind};
use pki::{AssertionClaims, SigningKey};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://auth.localhost:8443";
pub(crate) const APP: &str = "payroll";
pub(crate) const METHOD: &str = "POST";
pub(crate) const AUTHORITY: &str = "payroll.localhost:8443";
pub(crate) const TARGET: &str = "/records/7?month=%C3%A4";

/// A good assertion's claims.
pub(crate) fn claims(now: Timestamp) -> AssertionClaims {
    let iat = now.unix_secs();
    AssertionClaims {
        iss: ISSUER.to_owned(),
        aud: APP.to_owned(),
        sub: "usr_alice".to_owned(),
        kind: SubjectKind::User,
        name: Some("Alice".to_owned()),
        email: None,
        groups: None,
        groups_overage: false,
        acr: "phr".to_owned(),
        amr: vec!["hwk".to_owned()],
        auth_time: iat - 60,
        sid: "ses_1".to_owned(),
        device: None,
        act: None,
        req: RequestClaim::new(METHOD, AUTHORITY, Some(TARGET)),
        dec: "decision".to_owned(),
        pol: "sha256:00".to_owned(),
        trace: "0".repeat(32),
        iat,
        exp: iat + 60,
        jti: "1".to_owned(),
    }
    .with_groups(vec!["payroll".to_owned()])
}

/// The claims as JSON, with some members replaced; `null` removes one.
pub(crate) fn altered(now: Timestamp, changes: Value) -> Value {
    let mut all = serde_json::to_value(claims(now)).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

/// The header of a good assertion, with some members added or replaced.
pub(crate) fn header(key: &SigningKey, changes: Value) -> Value {
    let mut header = json!({ "alg": "ES256", "typ": assertion::TYP, "kid": key.kid() });
    header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    header
}

/// `header.payload`, whatever they are.
pub(crate) fn unsigned(header: &Value, payload: &Value) -> String {
    unsigned_bytes(header.to_string().as_bytes(), payload.to_string().as_bytes())
}

pub(crate) fn unsigned_bytes(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(payload))
}

/// Signed with the key itself: what only a bug of ours could make.
pub(crate) fn signed(key: &SigningKey, header: &Value, payload: &Value) -> String {
    sign_text(key, unsigned(header, payload))
}

pub(crate) fn sign_text(key: &SigningKey, text: String) -> String {
    let der = key.to_pkcs8().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.expose()).unwrap();
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    with_signature(&text, signature.as_ref())
}

pub(crate) fn with_signature(text: &str, signature: &[u8]) -> String {
    format!("{text}.{}", BASE64URL_NOPAD.encode(signature))
}

/// HS256 with `secret`, the classic confusion when the secret is the public key.
pub(crate) fn hs256(header: &Value, payload: &Value, secret: &[u8]) -> String {
    let text = unsigned(header, payload);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    with_signature(&text, tag.as_ref())
}

/// The public key as a SubjectPublicKeyInfo PEM, as an attacker would use it for a secret.
pub(crate) fn public_pem(key: &SigningKey) -> String {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.to_pkcs8().unwrap().expose()).unwrap();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", data_encoding::BASE64.encode(der.as_ref()))
}
