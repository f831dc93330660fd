//! What the browser says it did: `clientDataJSON`, read by ourselves before the core crate reads it, because the core
//! neither looks at `topOrigin` nor, at sign-in, at `crossOrigin` (WebAuthn L3 §5.8.1; R-32).

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::refusal::PasskeyRefusal;
use super::relying_party::RelyingParty;

/// The longest client data that is read.
pub const MAX_CLIENT_DATA_BYTES: usize = 8 * 1024;

/// Read, not yet judged.
#[derive(Deserialize)]
pub(super) struct ClientData {
    #[serde(rename = "type")]
    type_: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin")]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin", default, deserialize_with = "is_present")]
    has_top_origin: bool,
}

fn is_present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl ClientData {
    /// Reads the bytes that the authenticator signed.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PasskeyRefusal> {
        if bytes.len() > MAX_CLIENT_DATA_BYTES {
            return Err(PasskeyRefusal::Malformed { what: "client data too long" });
        }
        serde_json::from_slice(bytes).map_err(|_| PasskeyRefusal::Malformed { what: "client data" })
    }

    /// The challenge it answers.
    pub(super) fn challenge(&self) -> Result<Vec<u8>, PasskeyRefusal> {
        BASE64URL_NOPAD.decode(self.challenge.as_bytes()).map_err(|_| PasskeyRefusal::Malformed { what: "challenge" })
    }

    /// Type, origin and framing (WebAuthn L3 §7.1 steps 7, 9–11; §7.2 steps 10, 12–14).
    pub(super) fn check(&self, expected_type: &str, rp: &RelyingParty) -> Result<(), PasskeyRefusal> {
        if self.type_ != expected_type {
            return Err(PasskeyRefusal::WrongType);
        }
        if !rp.allows(&self.origin) {
            let origin = self.origin.chars().filter(|c| !c.is_control()).take(128).collect();
            return Err(PasskeyRefusal::WrongOrigin { origin });
        }
        if self.cross_origin == Some(true) || self.has_top_origin {
            return Err(PasskeyRefusal::CrossOrigin);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), PasskeyRefusal> {
        let rp = RelyingParty::new("localhost", "Countersign", &["https://localhost:8443".to_owned()]).unwrap();
        ClientData::parse(json.as_bytes())?.check("webauthn.get", &rp)
    }

    #[test]
    fn what_browsers_send_passes() {
        let plain = r#"{"type":"webauthn.get","challenge":"AAAA","origin":"https://localhost:8443"}"#;
        assert_eq!(check(plain), Ok(()));
        let newer = r#"{"type":"webauthn.get","challenge":"AAAA","origin":"https://localhost:8443","crossOrigin":false,"other_keys_can_be_added_here":"x"}"#;
        assert_eq!(check(newer), Ok(()));
    }

    #[test]
    fn a_framed_ceremony_is_refused_by_cross_origin_and_by_top_origin() {
        let cross =
            r#"{"type":"webauthn.get","challenge":"AAAA","origin":"https://localhost:8443","crossOrigin":true}"#;
        assert_eq!(check(cross), Err(PasskeyRefusal::CrossOrigin));
        for top in [r#""https://evil.example""#, "null", r#""https://localhost:8443""#] {
            let json = format!(
                r#"{{"type":"webauthn.get","challenge":"AAAA","origin":"https://localhost:8443","topOrigin":{top}}}"#
            );
            assert_eq!(check(&json), Err(PasskeyRefusal::CrossOrigin), "{top}");
        }
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let json = r#"{"type":"webauthn.get","challenge":"AAAA","origin":"https://evil.example","origin":"https://localhost:8443"}"#;
        assert_eq!(check(json), Err(PasskeyRefusal::Malformed { what: "client data" }));
    }

    #[test]
    fn a_sign_in_with_the_answer_of_an_enrolment_is_refused() {
        let json = r#"{"type":"webauthn.create","challenge":"AAAA","origin":"https://localhost:8443"}"#;
        assert_eq!(check(json), Err(PasskeyRefusal::WrongType));
    }

    #[test]
    fn client_data_beyond_its_limit_is_refused() {
        let json = format!(
            r#"{{"type":"webauthn.get","challenge":"AAAA","origin":"https://localhost:8443","x":"{}"}}"#,
            "a".repeat(MAX_CLIENT_DATA_BYTES)
        );
        assert_eq!(check(&json), Err(PasskeyRefusal::Malformed { what: "client data too long" }));
    }
}
