//! Signing a batch so that its receiver knows it is ours (Standard Webhooks 1.0, symmetric).

use aws_lc_rs::hmac;
use data_encoding::BASE64;

/// In front of a secret.
const PREFIX: &str = "whsec_";
/// The shortest secret.
const MIN_SECRET_BYTES: usize = 24;

/// A secret that signs. No text form, wiped by the library.
pub struct SigningSecret(hmac::Key);

impl SigningSecret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// What a secret looks like; never what was given.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "a secret is `whsec_` and at least 24 bytes in base64; make one with \
                             `echo whsec_$(head -c 32 /dev/urandom | base64)`";
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|rest| BASE64.decode(rest.as_bytes()).ok());
        let bytes = zeroize::Zeroizing::new(bytes.ok_or(SHAPE)?);
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(SHAPE);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of `webhook-signature` for a body sent as `id` at `unix_secs`.
    pub fn sign(&self, id: &str, unix_secs: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{unix_secs}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_signs_as_it_says() {
        // From the test suite of the reference libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_told() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let error = SigningSecret::parse(text).err().unwrap();
            assert!(error.starts_with("a secret is `whsec_`") && !error.contains("MfKQ"), "{text}");
        }
    }
}
