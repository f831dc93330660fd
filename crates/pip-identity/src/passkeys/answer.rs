//! What a browser posts back: `PublicKeyCredential.toJSON()` (WebAuthn L3 §5.1.4). Only what is verified is read;
//! client extension outputs and transports, which nothing signs, never reach the core crate.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use webauthn_rs_core::proto::{
    AuthenticationExtensionsClientOutputs, AuthenticatorAssertionResponseRaw, AuthenticatorAttestationResponseRaw,
    PublicKeyCredential, RegisterPublicKeyCredential, RegistrationExtensionsClientOutputs,
};

use super::refusal::PasskeyRefusal;

/// The largest answer that is read.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Credential<R> {
    #[serde(rename = "rawId")]
    raw_id: Base64Url,
    #[serde(rename = "type")]
    type_: String,
    response: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    #[serde(rename = "clientDataJSON")]
    client_data_json: Base64Url,
    attestation_object: Base64Url,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    #[serde(rename = "clientDataJSON")]
    client_data_json: Base64Url,
    authenticator_data: Base64Url,
    signature: Base64Url,
    user_handle: Option<Base64Url>,
}

struct Base64Url(Vec<u8>);

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        BASE64URL_NOPAD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The answer to `navigator.credentials.create()`.
pub(super) fn read_registration(answer: &[u8]) -> Result<RegisterPublicKeyCredential, PasskeyRefusal> {
    let credential: Credential<Attestation> = read(answer)?;
    Ok(RegisterPublicKeyCredential {
        id: BASE64URL_NOPAD.encode(&credential.raw_id.0),
        raw_id: credential.raw_id.0,
        response: AuthenticatorAttestationResponseRaw {
            attestation_object: credential.response.attestation_object.0,
            client_data_json: credential.response.client_data_json.0,
            transports: None,
        },
        type_: credential.type_,
        extensions: RegistrationExtensionsClientOutputs::default(),
    })
}

/// The answer to `navigator.credentials.get()`.
pub(super) fn read_assertion(answer: &[u8]) -> Result<PublicKeyCredential, PasskeyRefusal> {
    let credential: Credential<Assertion> = read(answer)?;
    Ok(PublicKeyCredential {
        id: BASE64URL_NOPAD.encode(&credential.raw_id.0),
        raw_id: credential.raw_id.0,
        response: AuthenticatorAssertionResponseRaw {
            authenticator_data: credential.response.authenticator_data.0,
            client_data_json: credential.response.client_data_json.0,
            signature: credential.response.signature.0,
            user_handle: credential.response.user_handle.map(|handle| handle.0),
        },
        extensions: AuthenticationExtensionsClientOutputs::default(),
        type_: credential.type_,
    })
}

fn read<R: DeserializeOwned>(answer: &[u8]) -> Result<Credential<R>, PasskeyRefusal> {
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(PasskeyRefusal::Malformed { what: "more than 64 KiB" });
    }
    let malformed = PasskeyRefusal::Malformed { what: "not a public key credential" };
    let credential: Credential<R> = serde_json::from_slice(answer).map_err(|_| malformed.clone())?;
    if credential.type_ != "public-key" {
        return Err(malformed);
    }
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chromium_posts_is_read() {
        let json =
            br#"{"authenticatorAttachment":"platform","clientExtensionResults":{"credProps":{"rk":true},"prf":{}},
            "id":"AAE","rawId":"AAE","type":"public-key","response":{"attestationObject":"Ag","authenticatorData":"Aw",
            "clientDataJSON":"BA","publicKey":"BQ","publicKeyAlgorithm":-7,"transports":["hybrid","not-yet-known"]}}"#;
        let credential = read_registration(json).unwrap();
        assert_eq!(credential.raw_id, [0, 1]);
        assert_eq!(credential.response.attestation_object, [2]);
        assert_eq!(credential.response.client_data_json, [4]);
        assert!(credential.extensions.cred_props.is_none());

        let json =
            br#"{"authenticatorAttachment":null,"clientExtensionResults":{"appid":true},"id":"AAE","rawId":"AAE",
            "type":"public-key","response":{"authenticatorData":"Aw","clientDataJSON":"BA","signature":"Bg",
            "userHandle":"Bw"}}"#;
        let credential = read_assertion(json).unwrap();
        assert_eq!(credential.response.user_handle, Some(vec![7]));
        assert_eq!(credential.extensions.appid, None, "the appid extension would widen the RP ID check");
    }

    #[test]
    fn another_credential_type_or_encoding_is_refused() {
        let wrong_type = br#"{"rawId":"AAE","type":"password","response":{"authenticatorData":"Aw","clientDataJSON":"BA","signature":"Bg"}}"#;
        assert!(read_assertion(wrong_type).is_err());
        let padded = br#"{"rawId":"AAE=","type":"public-key","response":{"authenticatorData":"Aw","clientDataJSON":"BA","signature":"Bg"}}"#;
        assert!(read_assertion(padded).is_err());
    }
}
