//! A software authenticator with a browser in front (`passkey-client`), and what an attacker who owns the browser can do
//! to its answers: change them, and sign again with the key.

use data_encoding::{BASE64URL, BASE64URL_NOPAD};
use model::TokenHash;
use passkey_authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::SecretKeyT;
use passkey_crypto::rust_crypto::{RustCryptoBackend, RustCryptoSecretKey};
use passkey_types::Passkey;
use passkey_types::ctap2::{Aaguid, Ctap2Error};
use serde_json::{Value, json};

pub const ORIGIN: &str = "https://localhost:8443";

/// Flags of authenticator data (WebAuthn L3 §6.1).
pub const UP: u8 = 0x01;
pub const UV: u8 = 0x04;
pub const BE: u8 = 0x08;
pub const BS: u8 = 0x10;

const FLAGS_AT: usize = 32;
const COUNTER_AT: usize = 33;

struct Willing;

#[async_trait::async_trait]
impl UserValidationMethod for Willing {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Passkey>,
        presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// A device with room for one passkey.
pub struct Device {
    origin: url::Url,
    passkey: Option<Passkey>,
}

impl Default for Device {
    fn default() -> Self {
        Self::at(ORIGIN)
    }
}

impl Device {
    /// With a browser at `origin`.
    pub fn at(origin: &str) -> Self {
        Self { origin: origin.parse().unwrap(), passkey: None }
    }

    /// `navigator.credentials.create()`.
    pub async fn create(&mut self, options: &Value) -> Answer {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).unwrap();
        let created = browser.register(&self.origin, request, DefaultClientData).await.unwrap();
        self.passkey.clone_from(browser.authenticator().store());
        Answer(serde_json::to_value(created).unwrap())
    }

    /// `navigator.credentials.get()`.
    pub async fn get(&mut self, options: &Value) -> Answer {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).unwrap();
        let got = browser.authenticate(&self.origin, request, DefaultClientData).await.unwrap();
        self.passkey.clone_from(browser.authenticator().store());
        Answer(serde_json::to_value(got).unwrap())
    }

    /// Signs an altered assertion afresh, as a device under an attacker's control would.
    pub fn sign(&self, answer: &mut Answer) {
        let passkey = self.passkey.as_ref().unwrap();
        let mut key = RustCryptoSecretKey::from_cose_key(&passkey.key).unwrap();
        let mut signed = answer.bytes("authenticatorData");
        signed.extend(TokenHash::of(&answer.bytes("clientDataJSON")).0);
        answer.set("signature", &key.sign(&signed));
    }

    fn authenticator(&self) -> Authenticator<Option<Passkey>, Willing, RustCryptoBackend> {
        let mut authenticator =
            Authenticator::new(Aaguid::new_empty(), self.passkey.clone(), Willing, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(true);
        authenticator
    }
}

/// What the browser sends.
#[derive(Clone)]
pub struct Answer(pub Value);

impl Answer {
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap()
    }

    pub fn bytes(&self, field: &str) -> Vec<u8> {
        let text = self.0["response"][field].as_str().unwrap();
        BASE64URL_NOPAD.decode(text.as_bytes()).or_else(|_| BASE64URL.decode(text.as_bytes())).unwrap()
    }

    pub fn set(&mut self, field: &str, bytes: &[u8]) {
        self.0["response"][field] = json!(BASE64URL_NOPAD.encode(bytes));
    }

    /// Changes what the browser says it did.
    pub fn change_client_data(&mut self, change: impl Fn(&mut Value)) {
        let mut client_data: Value = serde_json::from_slice(&self.bytes("clientDataJSON")).unwrap();
        change(&mut client_data);
        self.set("clientDataJSON", &serde_json::to_vec(&client_data).unwrap());
    }

    /// Changes the authenticator data of an assertion.
    pub fn change_authenticator_data(&mut self, change: impl Fn(&mut [u8])) {
        let mut data = self.bytes("authenticatorData");
        change(&mut data);
        self.set("authenticatorData", &data);
    }

    /// Changes the authenticator data inside the attestation object of a registration. The attestation is `none`, so
    /// nothing signs it.
    pub fn change_attested_data(&mut self, rp_id: &str, change: impl Fn(&mut [u8])) {
        let mut object = self.bytes("attestationObject");
        let rp_id_hash = TokenHash::of(rp_id.as_bytes()).0;
        let at = object.windows(32).position(|window| window == rp_id_hash).unwrap();
        change(&mut object[at..]);
        self.set("attestationObject", &object);
    }
}

pub fn set_flags(flags: u8) -> impl Fn(&mut [u8]) {
    move |data| data[FLAGS_AT] = (data[FLAGS_AT] & !(UP | UV | BE | BS)) | flags
}

pub fn set_counter(counter: u32) -> impl Fn(&mut [u8]) {
    move |data| data[COUNTER_AT..COUNTER_AT + 4].copy_from_slice(&counter.to_be_bytes())
}

pub fn set_rp_id(rp_id: &str) -> impl Fn(&mut [u8]) {
    let hash = TokenHash::of(rp_id.as_bytes()).0;
    move |data| data[..32].copy_from_slice(&hash)
}
