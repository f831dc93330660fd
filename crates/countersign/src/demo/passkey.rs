//! A person's software authenticator: `passkey-authenticator` with `passkey-client` as the browser in front.
//! It says yes to everything, so it is for the tour and for tests and for nothing else.

use anyhow::{Context, Result, anyhow};
use passkey_authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey_client::{Client, DefaultClientData};
use passkey_crypto::rust_crypto::RustCryptoBackend;
use passkey_types::Passkey;
use passkey_types::ctap2::{Aaguid, Ctap2Error};
use serde_json::Value;
use url::Url;

/// A person who is there and confirms.
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
#[derive(Clone)]
pub struct Device {
    origin: Url,
    passkey: Option<Passkey>,
}

impl Device {
    /// An empty one, for pages of `origin`.
    ///
    /// # Errors
    /// The origin is no URL.
    pub fn new(origin: &str) -> Result<Self> {
        Ok(Self { origin: origin.parse()?, passkey: None })
    }

    /// `navigator.credentials.create()`.
    ///
    /// # Errors
    /// The options are not readable, or the authenticator refuses them.
    pub async fn create(&mut self, options: &Value) -> Result<Value> {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request =
            serde_json::from_value(options.clone()).context("the options of a new passkey are not readable")?;
        let created = browser.register(&self.origin, request, DefaultClientData).await;
        let created = created.map_err(|error| anyhow!("no passkey was made: {error:?}"))?;
        self.passkey.clone_from(browser.authenticator().store());
        Ok(serde_json::to_value(created)?)
    }

    /// `navigator.credentials.get()`.
    ///
    /// # Errors
    /// As [`Self::create`], or there is no passkey.
    pub async fn get(&mut self, options: &Value) -> Result<Value> {
        let mut browser = Client::new(self.authenticator()).allows_insecure_localhost(true);
        let request = serde_json::from_value(options.clone()).context("the options of a sign-in are not readable")?;
        let got = browser.authenticate(&self.origin, request, DefaultClientData).await;
        let got = got.map_err(|error| anyhow!("the passkey was not used: {error:?}"))?;
        self.passkey.clone_from(browser.authenticator().store());
        Ok(serde_json::to_value(got)?)
    }

    fn authenticator(&self) -> Authenticator<Option<Passkey>, Willing, RustCryptoBackend> {
        let mut authenticator =
            Authenticator::new(Aaguid::new_empty(), self.passkey.clone(), Willing, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(true);
        authenticator
    }
}
