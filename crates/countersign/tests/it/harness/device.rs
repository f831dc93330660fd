//! A software authenticator with a browser's WebAuthn in front.

use passkey_authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::rust_crypto::RustCryptoBackend;
use passkey_types::Passkey;
use passkey_types::ctap2::{Aaguid, Ctap2Error};
use serde_json::Value;

use super::ISSUER;

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

/// Room for one passkey.
#[derive(Clone, Default)]
pub(crate) struct Device {
    passkey: Option<Passkey>,
}

impl Device {
    /// `navigator.credentials.create()`.
    pub(crate) async fn create(&mut self, options: &Value) -> Value {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).unwrap();
        let origin: url::Url = ISSUER.parse().unwrap();
        let created = browser.register(&origin, request, DefaultClientData).await.unwrap();
        self.passkey.clone_from(browser.authenticator().store());
        serde_json::to_value(created).unwrap()
    }

    /// `navigator.credentials.get()`.
    pub(crate) async fn get(&mut self, options: &Value) -> Value {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).unwrap();
        let origin: url::Url = ISSUER.parse().unwrap();
        let got = browser.authenticate(&origin, request, DefaultClientData).await.unwrap();
        self.passkey.clone_from(browser.authenticator().store());
        serde_json::to_value(got).unwrap()
    }

    fn authenticator(&self) -> Authenticator<Option<Passkey>, Willing, RustCryptoBackend> {
        let mut authenticator =
            Authenticator::new(Aaguid::new_empty(), self.passkey.clone(), Willing, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(true);
        authenticator
    }
}
