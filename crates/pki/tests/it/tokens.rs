//! ATK-36 for our own tokens: forged, confused and stale ones are refused, each for its own reason.

use std::time::Duration;

use model::Timestamp;
use model::ids::{AccessId, RevocationId};
use model::seams::{Cause, CutReport};
use pki::jose::{JoseError, Jwks, VerifyingKeys, assertion, receipt};
use pki::{AssertionClaims, KeyRing, ReceiptClaims, SigningKey};
use serde_json::{Value, json};
use testkit::SimClock;

use crate::forge::*;

const NOW: Timestamp = SimClock::START;

struct Bench {
    key: SigningKey,
    keys: VerifyingKeys,
}

fn bench() -> Bench {
    let key = SigningKey::generate("gw1").unwrap();
    let keys = VerifyingKeys::from_jwks(&Jwks::new([key.public_jwk()])).unwrap();
    Bench { key, keys }
}

impl Bench {
    fn judge(&self, token: &str) -> Result<AssertionClaims, JoseError> {
        AssertionClaims::verify(token, &self.keys, ISSUER, APP, NOW)
    }

    /// A token with a good signature but this header and these claims.
    fn judge_signed(&self, header_changes: Value, claim_changes: Value) -> Result<AssertionClaims, JoseError> {
        self.judge(&signed(&self.key, &header(&self.key, header_changes), &altered(NOW, claim_changes)))
    }
}

#[test]
fn a_good_assertion_gives_back_its_claims() {
    let bench = bench();
    let token = bench.key.sign(assertion::TYP, &claims(NOW)).unwrap();
    let read = bench.judge(&token).unwrap();
    assert_eq!(read, claims(NOW));
    assert!(read.req.fits(METHOD, AUTHORITY, TARGET));
}

#[test]
fn an_assertion_fits_no_other_request() {
    let req = claims(NOW).req;
    for (method, authority, target) in [
        ("GET", AUTHORITY, TARGET),
        ("post", AUTHORITY, TARGET),
        (METHOD, "wiki.localhost:8443", TARGET),
        (METHOD, "payroll.localhost", TARGET),
        (METHOD, AUTHORITY, "/records/7"),
        (METHOD, AUTHORITY, "/records/8?month=%C3%A4"),
        (METHOD, AUTHORITY, "/records/7?month=%c3%a4"),
    ] {
        assert!(!req.fits(method, authority, target), "{method} {authority} {target}");
    }
}

#[test]
fn alg_none_is_refused() {
    let bench = bench();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let text = unsigned(&header(&bench.key, json!({ "alg": alg })), &altered(NOW, json!({})));
        for token in [format!("{text}."), with_signature(&text, &[0; 64])] {
            assert!(matches!(bench.judge(&token), Err(JoseError::Algorithm { .. })), "{alg}");
        }
        assert!(bench.judge(&text).is_err(), "without a third part");
    }
}

#[test]
fn hs256_with_the_public_key_is_refused() {
    let bench = bench();
    let jwks = Jwks::new([bench.key.public_jwk()]).to_json();
    for secret in [public_pem(&bench.key), jwks, String::new()] {
        let token = hs256(&header(&bench.key, json!({ "alg": "HS256" })), &altered(NOW, json!({})), secret.as_bytes());
        assert!(matches!(bench.judge(&token), Err(JoseError::Algorithm { .. })));
        // The same bytes under the name of the right algorithm.
        let token = hs256(&header(&bench.key, json!({})), &altered(NOW, json!({})), secret.as_bytes());
        assert!(matches!(bench.judge(&token), Err(JoseError::Signature)));
    }
}

#[test]
fn other_algorithms_are_refused_even_with_our_signature() {
    for alg in ["ES384", "ES512", "RS256", "PS256", "EdDSA", "es256", "ES256 "] {
        let refused = bench().judge_signed(json!({ "alg": alg }), json!({}));
        assert!(matches!(refused, Err(JoseError::Algorithm { .. })), "{alg}");
    }
    for alg in [json!(null), json!(1), json!(["ES256"])] {
        assert!(matches!(bench().judge_signed(json!({ "alg": alg }), json!({})), Err(JoseError::Malformed)));
    }
}

#[test]
fn a_key_brought_along_by_the_token_is_not_used() {
    let (bench, attacker) = (bench(), SigningKey::generate("attacker").unwrap());
    let brought = [
        json!({ "jwk": attacker.public_jwk() }),
        json!({ "jku": "https://attacker.example/jwks.json" }),
        json!({ "x5u": "https://attacker.example/cert.pem" }),
        json!({ "x5c": ["AAAA"] }),
    ];
    for extra in brought {
        let token = signed(&attacker, &header(&bench.key, extra.clone()), &altered(NOW, json!({})));
        assert!(matches!(bench.judge(&token), Err(JoseError::Signature)), "{extra}");
        let token = signed(&attacker, &header(&attacker, extra.clone()), &altered(NOW, json!({})));
        assert!(matches!(bench.judge(&token), Err(JoseError::UnknownKey { .. })), "{extra}");
        // On a genuine token they are ignored, not followed.
        assert!(bench.judge_signed(extra, json!({})).is_ok());
    }
}

#[test]
fn a_foreign_or_crafted_kid_is_refused() {
    for kid in ["", "gw2-aaaaaaaaaaaaaaaa", "../../dev/null", "' OR 1=1 --", "gw1\0"] {
        let refused = bench().judge_signed(json!({ "kid": kid }), json!({}));
        assert!(matches!(refused, Err(JoseError::UnknownKey { .. })), "{kid:?}");
    }
    assert!(matches!(bench().judge_signed(json!({ "kid": null }), json!({})), Err(JoseError::Malformed)));
    assert!(matches!(bench().judge_signed(json!({ "kid": 7 }), json!({})), Err(JoseError::Malformed)));
    let refused = bench().judge_signed(json!({ "kid": "k".repeat(5000) }), json!({})).unwrap_err();
    assert!(refused.to_string().len() < 100, "an error does not repeat a stranger's kilobytes");
}

#[test]
fn any_critical_extension_is_refused() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x")] {
        let refused = bench().judge_signed(json!({ "crit": crit, "b64": false }), json!({}));
        assert!(matches!(refused, Err(JoseError::Critical)), "{crit}");
    }
}

#[test]
fn another_type_of_token_is_not_taken_for_an_assertion() {
    for typ in [json!("JWT"), json!("at+jwt"), json!(receipt::TYP), json!(""), json!(null)] {
        let refused = bench().judge_signed(json!({ "typ": typ }), json!({}));
        assert!(matches!(refused, Err(JoseError::Type { .. })), "{typ}");
    }
}

#[test]
fn an_assertion_for_another_app_or_issuer_is_refused() {
    for aud in [json!("wiki"), json!("Payroll"), json!(null)] {
        let refused = bench().judge_signed(json!({}), json!({ "aud": aud }));
        assert!(matches!(refused, Err(JoseError::Audience { .. })), "{aud}");
    }
    let refused = bench().judge_signed(json!({}), json!({ "aud": [APP, "wiki"] }));
    assert!(matches!(refused, Err(JoseError::Claims(_))), "an assertion is for one app");
    for iss in ["https://auth.localhost", "https://auth.localhost:8443/", "https://attacker.example"] {
        let refused = bench().judge_signed(json!({}), json!({ "iss": iss }));
        assert!(matches!(refused, Err(JoseError::Issuer { .. })), "{iss}");
    }
}

#[test]
fn time_is_checked_with_five_seconds_of_leeway() {
    let now = NOW.unix_secs();
    let at = |iat: i64, exp: i64| bench().judge_signed(json!({}), json!({ "iat": iat, "exp": exp }));
    assert!(at(now - 60, now - 4).is_ok());
    assert!(matches!(at(now - 60, now - 5), Err(JoseError::Expired { secs: 5 })));
    assert!(at(now + 5, now + 60).is_ok());
    assert!(matches!(at(now + 6, now + 60), Err(JoseError::NotYet { secs: 6 })));
    assert!(at(now, now + 60).is_ok());
    assert!(matches!(at(now, now + 61), Err(JoseError::Lifetime { secs: 61 })));
    assert!(matches!(at(i64::MIN, i64::MAX), Err(JoseError::Lifetime { .. })));
    let refused = bench().judge_signed(json!({}), json!({ "nbf": now + 6 }));
    assert!(matches!(refused, Err(JoseError::NotYet { .. })));
}

#[test]
fn times_of_the_wrong_type_are_refused_not_ignored() {
    let now = NOW.unix_secs();
    for wrong in [json!(now.to_string()), json!(now as f64 + 30.5), json!([now]), json!(1e30), json!(true)] {
        for claim in ["exp", "iat", "nbf"] {
            let refused = bench().judge_signed(json!({}), json!({ claim: wrong }));
            assert!(matches!(refused, Err(JoseError::Claims(_))), "{claim} {wrong}");
        }
    }
    let refused = bench().judge_signed(json!({}), json!({ "exp": null }));
    assert!(matches!(refused, Err(JoseError::Expired { .. })), "a token without an end has ended");
    assert!(bench().judge_signed(json!({}), json!({ "iat": null })).is_err());
}

#[test]
fn a_claim_given_twice_is_refused() {
    let bench = bench();
    let payload = altered(NOW, json!({})).to_string().replacen('{', r#"{"aud":"payroll","#, 1);
    let text = unsigned_bytes(header(&bench.key, json!({})).to_string().as_bytes(), payload.as_bytes());
    assert!(matches!(bench.judge(&sign_text(&bench.key, text)), Err(JoseError::Claims(_))));
    let twice = header(&bench.key, json!({})).to_string().replacen('{', r#"{"alg":"none","#, 1);
    let text = unsigned_bytes(twice.as_bytes(), altered(NOW, json!({})).to_string().as_bytes());
    assert!(matches!(bench.judge(&sign_text(&bench.key, text)), Err(JoseError::Malformed)));
}

#[test]
fn a_changed_payload_or_signature_is_refused() {
    let bench = bench();
    let token = bench.key.sign(assertion::TYP, &claims(NOW)).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let (good_header, _) = text.split_once('.').unwrap();
    let payload =
        data_encoding::BASE64URL_NOPAD.encode(altered(NOW, json!({ "sub": "usr_bob" })).to_string().as_bytes());
    let forged = format!("{good_header}.{payload}.{signature}");
    assert!(matches!(bench.judge(&forged), Err(JoseError::Signature)));
    let raw = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    for bad in [&[0; 64][..], &[], &raw[..63], &[&raw[..], &[0]].concat(), &[&raw[32..], &raw[..32]].concat()] {
        assert!(matches!(bench.judge(&with_signature(text, bad)), Err(JoseError::Signature)), "{} bytes", bad.len());
    }
}

#[test]
fn no_single_character_of_a_token_can_be_changed() {
    let bench = bench();
    let token = bench.key.sign(assertion::TYP, &claims(NOW)).unwrap();
    for position in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        assert!(bench.judge(&String::from_utf8(bytes).unwrap()).is_err(), "at {position}");
    }
}

#[test]
fn only_the_one_compact_form_is_read() {
    let bench = bench();
    let token = bench.key.sign(assertion::TYP, &claims(NOW)).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let last = token.len() - 1;
    let malformed = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        parts[..2].join("."),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace('-', "+").replace('_', "/") + "+",
        format!("{}.{}.", parts[0], parts[1]) + &parts[2][..1],
        format!("{}!", &token[..last]),
    ];
    for bad in malformed {
        assert!(matches!(bench.judge(&bad), Err(JoseError::Malformed | JoseError::Signature)), "{bad}");
    }
}

#[test]
fn an_overlong_token_is_not_looked_at() {
    let refused = bench().judge(&"a".repeat(assertion::MAX_BYTES + 1));
    assert!(matches!(refused, Err(JoseError::TooLarge { .. })));
    let refused = bench().judge(&"a".repeat(assertion::MAX_BYTES));
    assert!(matches!(refused, Err(JoseError::Malformed)));
}

#[test]
fn too_many_groups_are_announced_not_cut() {
    let name = |index: usize| format!("group-{index}");
    let with = |groups: Vec<String>| {
        let json = serde_json::to_value(claims(NOW).with_groups(groups)).unwrap();
        (json.get("groups").map(|groups| groups.as_array().unwrap().len()), json.get("groups_overage").cloned())
    };
    assert_eq!(with((0..100).map(name).collect()), (Some(100), None));
    assert_eq!(with((0..101).map(name).collect()), (None, Some(json!(true))));
    assert_eq!(with(vec!["g".repeat(assertion::MAX_GROUPS_BYTES)]).0, Some(1));
    assert_eq!(with(vec!["g".repeat(assertion::MAX_GROUPS_BYTES + 1)]), (None, Some(json!(true))));
}

#[test]
fn an_assertion_with_as_many_groups_as_allowed_still_verifies() {
    let bench = bench();
    let group = "g".repeat(assertion::MAX_GROUPS_BYTES / assertion::MAX_GROUPS);
    let claims = claims(NOW).with_groups(vec![group; assertion::MAX_GROUPS]);
    let token = bench.key.sign(assertion::TYP, &claims).unwrap();
    assert_eq!(bench.judge(&token).unwrap().groups.map(|groups| groups.len()), Some(assertion::MAX_GROUPS));
}

#[test]
fn a_receipt_is_proof_under_its_own_keys_and_no_assertion() {
    let ring = KeyRing::new(SigningKey::generate("receipts").unwrap(), NOW);
    let received = NOW;
    let last_cut = NOW + Duration::from_micros(1500);
    let access = AccessId(uuid::Uuid::from_u128(2));
    let report = CutReport { examined: 3, streams: Vec::new(), unproven: vec![access], received, last_cut };
    let revocation = RevocationId(uuid::Uuid::from_u128(1));
    let claims = ReceiptClaims::new(ISSUER, "gw1", revocation, Cause::FactsChanged, &report, NOW);
    assert_eq!((claims.ms, claims.examined, claims.cause.as_str()), (2, 3, "facts_changed"));
    assert_eq!(claims.unproven, [access.to_string()], "a receipt names what it does not prove");

    let token = ring.sign(receipt::TYP, &claims, NOW).unwrap();
    let keys = VerifyingKeys::from_jwks(&ring.jwks(NOW)).unwrap();
    let years_later = NOW + Duration::from_secs(10 * 365 * 86_400);
    let read = ReceiptClaims::verify(&token, &keys, ISSUER, years_later).unwrap();
    assert_eq!(json!(read), json!(claims));
    assert!(AssertionClaims::verify(&token, &keys, ISSUER, APP, NOW).is_err());

    let Bench { key, keys: assertion_keys } = bench();
    assert!(ReceiptClaims::verify(&token, &assertion_keys, ISSUER, NOW).is_err());
    let assertion = key.sign(assertion::TYP, &crate::forge::claims(NOW)).unwrap();
    assert!(ReceiptClaims::verify(&assertion, &assertion_keys, ISSUER, NOW).is_err());
}
