//! One-time codes by time (RFC 6238; ID-14): SHA-1, six digits, thirty seconds, one step of skew either way. Pure.
//!
//! Invariants: the secret has 160 random bits, is wiped when dropped and has no `Debug`; every step of the window is
//! compared, in constant time. That a step is used once is the store's to hold.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use model::{Ids, Timestamp};
use sha1::Sha1;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// Random bytes of a secret.
pub const SECRET_BYTES: usize = 20;
/// How long a code lives.
pub const STEP_SECS: u64 = 30;
/// How many digits a code has.
pub const DIGITS: usize = 6;
/// How many steps a clock may be off, either way.
pub const SKEW_STEPS: u64 = 1;
/// The longest text that is looked at as a code: six digits, and the spaces people put between them.
pub const MAX_CODE_CHARS: usize = 16;

const MODULUS: u32 = 1_000_000;

/// What the authenticator app and we share.
pub struct TotpSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl TotpSecret {
    /// A fresh one.
    pub fn random(ids: &dyn Ids) -> Self {
        let mut bytes = [0; SECRET_BYTES];
        ids.fill_random(&mut bytes);
        let secret = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        secret
    }

    /// One that was kept; `None` if it has not [`SECRET_BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// The bytes, to be sealed.
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// For typing it into an app: base32 without padding.
    pub fn base32(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE32_NOPAD.encode(self.expose()))
    }

    /// For apps that read it whole, as text or drawn: `otpauth://totp/…`.
    pub fn otpauth_uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let (issuer, account) = (escape(issuer), escape(account));
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECS}",
            self.base32().as_str()
        ))
    }

    /// The step whose code was typed, of those that count at `now`; the latest when two have the same code.
    pub fn accepted_step(&self, typed: &str, now: Timestamp) -> Option<u64> {
        let typed = digits_of(typed)?;
        let current = step_of(now);
        let (mut found, mut accepted) = (Choice::from(0), 0_u64);
        for step in current.saturating_sub(SKEW_STEPS)..=current.saturating_add(SKEW_STEPS) {
            let is_it = self.code(step).ct_eq(&typed);
            accepted.conditional_assign(&step, is_it);
            found |= is_it;
        }
        bool::from(found).then_some(accepted)
    }

    fn code(&self, step: u64) -> u32 {
        truncated(self.expose(), step) % MODULUS
    }
}

/// The time step of a moment.
pub fn step_of(now: Timestamp) -> u64 {
    u64::try_from(now.unix_secs()).unwrap_or(0) / STEP_SECS
}

/// RFC 4226 §5.3 over HMAC-SHA-1: 31 bits.
fn truncated(secret: &[u8], counter: u64) -> u32 {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else { return u32::MAX };
    mac.update(&counter.to_be_bytes());
    let tag = mac.finalize().into_bytes();
    let offset = usize::from(tag.last().copied().unwrap_or(0) & 0x0f);
    let word = tag.get(offset..offset + 4).and_then(|word| <[u8; 4]>::try_from(word).ok()).unwrap_or_default();
    u32::from_be_bytes(word) & 0x7fff_ffff
}

fn digits_of(typed: &str) -> Option<u32> {
    if typed.len() > MAX_CODE_CHARS {
        return None;
    }
    let digits: Zeroizing<String> = Zeroizing::new(typed.chars().filter(|c| !matches!(c, ' ' | '-')).collect());
    let is_code = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| digits.parse().ok()).flatten()
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // Appendix B, the rows for SHA-1; eight digits there.
        for (secs, code) in [
            (59_i64, 94_287_082_u32),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            let step = u64::try_from(secs).unwrap() / STEP_SECS;
            assert_eq!(truncated(b"12345678901234567890", step) % 100_000_000, code, "{secs}");
            assert_eq!(secret().code(step), code % MODULUS, "{secs}");
        }
    }

    #[test]
    fn a_code_counts_one_step_early_and_one_late_and_no_more() {
        let code = format!("{:06}", secret().code(100));
        for (secs, counts) in [(2_969, false), (2_970, true), (3_000, true), (3_059, true), (3_060, false)] {
            assert_eq!(secret().accepted_step(&code, at(secs)), counts.then_some(100), "{secs}");
        }
    }

    #[test]
    fn what_is_no_code_is_refused_and_spaces_are_not_minded() {
        let code = format!("{:06}", secret().code(100));
        let (left, right) = code.split_at(3);
        assert_eq!(secret().accepted_step(&format!("{left} {right}"), at(3_000)), Some(100));
        let long = format!("{code}{}", " ".repeat(MAX_CODE_CHARS));
        for text in ["", "12345", "1234567", "12345a", "+12345", "１２３４５６", &long] {
            assert_eq!(secret().accepted_step(text, at(3_000)), None, "{text:?}");
        }
    }

    #[test]
    fn an_app_reads_the_secret_whole() {
        assert_eq!(
            secret().otpauth_uri("Corp & Co", "alice@corp.example").as_str(),
            "otpauth://totp/Corp%20%26%20Co:alice%40corp.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Corp%20%26%20Co&algorithm=SHA1&digits=6&period=30"
        );
    }
}
