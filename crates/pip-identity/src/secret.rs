//! Secrets that are shown to a person once: link secrets and recovery codes. Only their hashes are kept.
//!
//! Invariants: no `Debug`, `Display` or `Serialize`; wiped when dropped.

use data_encoding::BASE32_NOPAD;
use model::{Ids, TokenHash};
use zeroize::{Zeroize, Zeroizing};

/// The longest text that is looked at as a secret.
pub const MAX_SECRET_CHARS: usize = 64;

/// A secret as text: lower-case base32.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text. Show it once; never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A fresh one of `BYTES` random bytes.
    pub(crate) fn random<const BYTES: usize>(ids: &dyn Ids) -> Self {
        let mut bytes = [0u8; BYTES];
        ids.fill_random(&mut bytes);
        let mut text = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        text.make_ascii_lowercase();
        bytes.zeroize();
        Self(text)
    }

    /// What a person typed or a link carried: case, spaces and dashes do not count. `None` if it cannot be one.
    pub(crate) fn typed(text: &str) -> Option<Self> {
        if text.len() > MAX_SECRET_CHARS {
            return None;
        }
        let kept = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-');
        let text: Zeroizing<String> = Zeroizing::new(kept.map(|c| c.to_ascii_lowercase()).collect());
        let is_base32 = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
        (!text.is_empty() && text.bytes().all(is_base32)).then_some(Self(text))
    }

    /// What is kept of it. `domain` keeps hashes of different kinds apart.
    pub(crate) fn hash(&self, domain: &str) -> TokenHash {
        let input = Zeroizing::new(format!("{domain}\0{}", self.expose()));
        TokenHash::of(input.as_bytes())
    }
}
