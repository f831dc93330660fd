//! Secrets as types: what must not be printed, logged, serialised or left in memory.
//!
//! Invariant: the only way to the bytes is a method named `expose`, so that a reader can search for every use.

use data_encoding::BASE64URL_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How many random bytes a bearer token carries.
pub const TOKEN_BYTES: usize = 32;

/// Secret bytes; wiped when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; the vector is wiped when this value is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Equality in time that depends on the length alone.
    pub fn equals(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

/// Secret text (a PEM key, a bearer token); wiped when dropped.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over; the string is wiped when this value is dropped.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A new bearer token: 256 random bits as 43 characters of base64url without padding.
pub fn random_token(ids: &dyn model::Ids) -> SecretText {
    let mut bytes = Zeroizing::new([0_u8; TOKEN_BYTES]);
    ids.fill_random(bytes.as_mut_slice());
    SecretText::new(BASE64URL_NOPAD.encode(bytes.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);

    impl model::Ids for Counting {
        fn uuid_v7(&self, _: model::Timestamp) -> uuid::Uuid {
            uuid::Uuid::nil()
        }

        fn fill_random(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    #[test]
    fn a_token_carries_256_bits_of_the_given_source() {
        let ids = Counting(7.into());
        let token = random_token(&ids);
        assert_eq!(token.expose().len(), 43);
        assert_eq!(BASE64URL_NOPAD.decode(token.expose().as_bytes()).unwrap(), [7; TOKEN_BYTES]);
        assert_ne!(random_token(&ids).expose(), token.expose());
    }

    #[test]
    fn secrets_compare_by_content_and_length() {
        let secret = SecretBytes::new(vec![1, 2, 3]);
        assert!(secret.equals(&[1, 2, 3]));
        assert!(!secret.equals(&[1, 2, 4]));
        assert!(!secret.equals(&[1, 2, 3, 0]));
    }
}
