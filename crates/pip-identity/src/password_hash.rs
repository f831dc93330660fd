//! Slow hashes of passwords (ID-15): argon2id for what is set here, and for taking over what other systems kept (ID-9)
//! also argon2i, argon2d, PBKDF2 and bcrypt. Pure and slow: call it on [`crate::hash_pool`].
//!
//! Invariants: nothing is truncated (bcrypt hashes of more than 72 bytes do not verify); a hash whose cost is beyond
//! the limits below is never computed; passwords are wiped when dropped and have no `Debug`.

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest password, in code points.
pub const MAX_PASSWORD_CHARS: usize = 256;
/// Random bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Bytes of a hash made here.
pub const OUTPUT_BYTES: usize = 32;
/// The longest stored hash.
pub const MAX_HASH_BYTES: usize = 512;
/// The largest memory of an argon2 hash that was taken over.
pub const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes of an argon2 hash that was taken over.
pub const MAX_PASSES: u32 = 16;
/// The most lanes of an argon2 hash that was taken over.
pub const MAX_LANES: u32 = 8;
/// The most rounds of a PBKDF2 hash that was taken over.
pub const MAX_ROUNDS: u32 = 5_000_000;
/// The highest cost of a bcrypt hash that was taken over.
pub const MAX_BCRYPT_COST: u32 = 15;

const BCRYPT_BYTES: usize = 60;
/// bcrypt looks at no more.
const MAX_BCRYPT_BYTES: usize = 72;

/// What a person typed: as it came, and in the one form that is hashed here.
#[derive(Clone)]
pub struct Password {
    typed: Zeroizing<String>,
    normal: Zeroizing<String>,
}

impl Password {
    /// Normalised to NFKC; `None` above [`MAX_PASSWORD_CHARS`] code points.
    pub fn new(typed: &str) -> Option<Self> {
        if typed.chars().take(MAX_PASSWORD_CHARS + 1).count() > MAX_PASSWORD_CHARS {
            return None;
        }
        // Room enough that growing leaves no copy behind: one code point becomes at most 18 (Unicode stability).
        let mut normal = Zeroizing::new(String::with_capacity(typed.len().saturating_mul(18)));
        normal.extend(typed.nfkc());
        Some(Self { typed: Zeroizing::new(typed.to_owned()), normal })
    }

    /// The normal form.
    pub fn expose(&self) -> &str {
        &self.normal
    }

    /// How many code points the normal form has.
    pub fn chars(&self) -> usize {
        self.normal.chars().count()
    }
}

/// How much work a hash is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl HashCost {
    /// Some tens of milliseconds and 19 MiB.
    pub const STANDARD: HashCost = HashCost { memory_kib: 19 * 1024, passes: 2 };
}

/// A stored hash that cannot be computed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HashError {
    /// Its cost is beyond the limits.
    #[error(
        "a password hash costs more than is ever computed here ({0}); leave it out and let the person set a new password"
    )]
    TooCostly(&'static str),
    /// Of no known form.
    #[error("a password hash is of no known form; argon2, pbkdf2 and bcrypt are read")]
    Unknown,
}

/// Hashes a password with argon2id.
///
/// # Errors
/// `cost` is no cost argon2 knows.
pub fn hash(password: &Password, salt: &[u8; SALT_BYTES], cost: HashCost) -> Result<String, HashError> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(OUTPUT_BYTES)).map_err(|_| HashError::Unknown)?;
    let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.normal.as_bytes(), salt, output.as_mut_slice())
        .map_err(|_| HashError::Unknown)?;
    Ok(stored_form(salt, &output, cost))
}

/// A hash of no password that anybody knows: `output` is random. To verify against it costs what any other does; to
/// make it costs nothing.
///
/// # Errors
/// `cost` is no cost argon2 knows.
pub fn decoy(salt: &[u8; SALT_BYTES], output: &[u8; OUTPUT_BYTES], cost: HashCost) -> Result<String, HashError> {
    let stored = stored_form(salt, output, cost);
    check(&stored)?;
    Ok(stored)
}

fn stored_form(salt: &[u8; SALT_BYTES], output: &[u8; OUTPUT_BYTES], cost: HashCost) -> String {
    let (salt, output) = (BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(output));
    format!("$argon2id$v=19$m={},t={},p=1${salt}${output}", cost.memory_kib, cost.passes)
}

/// Whether a password is the one a stored hash was made of.
///
/// # Errors
/// The hash cannot be computed.
pub fn verify(stored: &str, password: &Password) -> Result<bool, HashError> {
    let parsed = Stored::parse(stored)?;
    // Other systems hashed what was typed; we hash the normal form. Mostly they are the same.
    let is_good = parsed.fits(password.normal.as_bytes());
    Ok(is_good || (*password.typed != *password.normal && parsed.fits(password.typed.as_bytes())))
}

/// Whether a stored hash is one that [`hash`] makes at this cost; otherwise it is made anew at the next good use.
pub fn is_current(stored: &str, cost: HashCost) -> bool {
    stored.starts_with(&format!("$argon2id$v=19$m={},t={},p=1$", cost.memory_kib, cost.passes))
}

/// Refuses a stored hash that [`verify`] would refuse.
///
/// # Errors
/// The hash cannot be computed.
pub fn check(stored: &str) -> Result<(), HashError> {
    Stored::parse(stored).map(drop)
}

enum Stored<'a> {
    Argon2(PasswordHash<'a>),
    Bcrypt(&'a str),
    Pbkdf2 { digest: Digest, rounds: u32, salt: Vec<u8>, output: Vec<u8> },
}

#[derive(Clone, Copy)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl<'a> Stored<'a> {
    fn parse(stored: &'a str) -> Result<Self, HashError> {
        if stored.len() > MAX_HASH_BYTES {
            return Err(HashError::Unknown);
        }
        if stored.starts_with("$argon2") {
            return Self::argon2(stored);
        }
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| stored.starts_with(prefix)) {
            return Self::bcrypt(stored);
        }
        Self::pbkdf2(stored)
    }

    fn argon2(stored: &'a str) -> Result<Self, HashError> {
        let hash = PasswordHash::new(stored).map_err(|_| HashError::Unknown)?;
        Algorithm::try_from(hash.algorithm).map_err(|_| HashError::Unknown)?;
        if hash.hash.is_none() || hash.salt.is_none() {
            return Err(HashError::Unknown);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Unknown)?;
        let is_small =
            params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_PASSES && params.p_cost() <= MAX_LANES;
        if is_small { Ok(Stored::Argon2(hash)) } else { Err(HashError::TooCostly("argon2")) }
    }

    fn bcrypt(stored: &'a str) -> Result<Self, HashError> {
        let cost = stored.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok()).ok_or(HashError::Unknown)?;
        if cost > MAX_BCRYPT_COST {
            return Err(HashError::TooCostly("bcrypt"));
        }
        let is_whole = stored.len() == BCRYPT_BYTES && stored.parse::<bcrypt::HashParts>().is_ok();
        if is_whole { Ok(Stored::Bcrypt(stored)) } else { Err(HashError::Unknown) }
    }

    /// `$pbkdf2-sha256$i=600000$SALT$OUTPUT`, and Django's `pbkdf2_sha256$600000$SALT$OUTPUT`.
    fn pbkdf2(stored: &'a str) -> Result<Self, HashError> {
        let is_ours = stored.starts_with('$');
        let mut parts = stored.trim_start_matches('$').split('$');
        let mut part = || parts.next().ok_or(HashError::Unknown);
        let digest = match part()? {
            "pbkdf2" | "pbkdf2-sha1" | "pbkdf2_sha1" => Digest::Sha1,
            "pbkdf2-sha256" | "pbkdf2_sha256" => Digest::Sha256,
            "pbkdf2-sha512" | "pbkdf2_sha512" => Digest::Sha512,
            _ => return Err(HashError::Unknown),
        };
        let rounds = part()?.split(',').next().unwrap_or_default().trim_start_matches("i=");
        let rounds: u32 = rounds.parse().map_err(|_| HashError::Unknown)?;
        let (salt, output) = (part()?, part()?);
        let decode = |text: &str| BASE64_NOPAD.decode(text.trim_end_matches('=').as_bytes()).ok();
        // Django's salt is text; ours is base64.
        let salt = if is_ours { decode(salt) } else { Some(salt.as_bytes().to_vec()) }.ok_or(HashError::Unknown)?;
        let output = decode(output).filter(|output| (16..=64).contains(&output.len())).ok_or(HashError::Unknown)?;
        if parts.next().is_some() || rounds == 0 {
            return Err(HashError::Unknown);
        }
        if rounds > MAX_ROUNDS {
            return Err(HashError::TooCostly("pbkdf2"));
        }
        Ok(Stored::Pbkdf2 { digest, rounds, salt, output })
    }

    fn fits(&self, password: &[u8]) -> bool {
        match self {
            Stored::Argon2(hash) => Argon2::default().verify_password(password, hash).is_ok(),
            Stored::Bcrypt(hash) => {
                password.len() <= MAX_BCRYPT_BYTES && bcrypt::verify(password, hash).is_ok_and(|fits| fits)
            }
            Stored::Pbkdf2 { digest, rounds, salt, output } => {
                let mut found = Zeroizing::new(vec![0; output.len()]);
                match digest {
                    Digest::Sha1 => pbkdf2::pbkdf2_hmac::<sha1::Sha1>(password, salt, *rounds, &mut found),
                    Digest::Sha256 => pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, salt, *rounds, &mut found),
                    Digest::Sha512 => pbkdf2::pbkdf2_hmac::<sha2::Sha512>(password, salt, *rounds, &mut found),
                }
                found.as_slice().ct_eq(output).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 8, passes: 1 };

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn fits(stored: &str, text: &str) -> bool {
        verify(stored, &password(text)).unwrap()
    }

    #[test]
    fn a_password_fits_its_own_hash_and_no_other() {
        let stored = hash(&password("correct horse battery"), &[7; SALT_BYTES], CHEAP).unwrap();
        assert!(fits(&stored, "correct horse battery") && !fits(&stored, "correct horse batterx"));
        assert!(is_current(&stored, CHEAP) && !is_current(&stored, HashCost::STANDARD));
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
    }

    #[test]
    fn a_decoy_is_the_work_of_a_hash_and_fits_no_password() {
        let stored = decoy(&[7; SALT_BYTES], &[9; OUTPUT_BYTES], CHEAP).unwrap();
        assert!(is_current(&stored, CHEAP), "{stored}");
        assert!(!fits(&stored, "") && !fits(&stored, "passwd"));
        let made = hash(&password("passwd"), &[7; SALT_BYTES], CHEAP).unwrap();
        assert_eq!(stored.len(), made.len());
        let costly = HashCost { memory_kib: MAX_MEMORY_KIB + 1, passes: 1 };
        assert!(decoy(&[7; SALT_BYTES], &[9; OUTPUT_BYTES], costly).is_err());
    }

    #[test]
    fn the_same_password_typed_on_another_keyboard_is_the_same() {
        // U+00E9 and U+0065 U+0301; U+FB01 and "fi".
        let stored = hash(&password("caf\u{e9} \u{fb01}"), &[7; SALT_BYTES], CHEAP).unwrap();
        assert!(fits(&stored, "cafe\u{301} fi"));
    }

    #[test]
    fn nothing_is_truncated() {
        let long = "x".repeat(MAX_PASSWORD_CHARS);
        let stored = hash(&password(&long), &[7; SALT_BYTES], CHEAP).unwrap();
        assert!(fits(&stored, &long) && !fits(&stored, &"x".repeat(MAX_PASSWORD_CHARS - 1)));
        assert!(Password::new(&format!("{long}x")).is_none());
        // Code points and not bytes.
        assert!(Password::new(&"\u{1f600}".repeat(MAX_PASSWORD_CHARS)).is_some());
        let bcrypt = bcrypt::hash("y".repeat(72), 4).unwrap();
        assert!(fits(&bcrypt, &"y".repeat(72)) && !fits(&bcrypt, &"y".repeat(73)));
    }

    #[test]
    fn hashes_of_other_systems_verify() {
        // RFC 7914 §11, PBKDF2-HMAC-SHA-256 with P="passwd", S="salt", c=1.
        let output = data_encoding::HEXLOWER
            .decode(b"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc")
            .unwrap();
        let output = BASE64_NOPAD.encode(&output);
        for stored in [format!("$pbkdf2-sha256$i=1$c2FsdA${output}"), format!("pbkdf2_sha256$1$salt${output}=")] {
            assert!(fits(&stored, "passwd") && !fits(&stored, "Passwd"), "{stored}");
            assert!(!is_current(&stored, HashCost::STANDARD));
        }
        let bcrypt = bcrypt::hash("passwd", 4).unwrap();
        assert!(fits(&bcrypt, "passwd") && !fits(&bcrypt, "other"));
        for algorithm in ["argon2i", "argon2d", "argon2id"] {
            let params = Params::new(8, 1, 1, None).unwrap();
            let mut out = [0; 32];
            let kind = Algorithm::new(algorithm).unwrap();
            Argon2::new(kind, Version::V0x13, params).hash_password_into(b"passwd", b"saltsalt", &mut out).unwrap();
            let (salt, out) = (BASE64_NOPAD.encode(b"saltsalt"), BASE64_NOPAD.encode(&out));
            let stored = format!("${algorithm}$v=19$m=8,t=1,p=1${salt}${out}");
            assert!(fits(&stored, "passwd") && !fits(&stored, "other"), "{stored}");
        }
    }

    #[test]
    fn a_hash_that_would_cost_too_much_is_refused_before_it_is_computed() {
        let salt = "c2FsdHNhbHQ";
        let output = BASE64_NOPAD.encode(&[0; 32]);
        for stored in [
            format!("$argon2id$v=19$m=4194304,t=1,p=1${salt}${output}"),
            format!("$argon2id$v=19$m=8,t=4000000,p=1${salt}${output}"),
            format!("$pbkdf2-sha256$i=4000000000${salt}${output}"),
            format!("$2b$31${}", "a".repeat(53)),
        ] {
            assert!(matches!(check(&stored), Err(HashError::TooCostly(_))), "{stored}");
        }
        for stored in ["", "plain", "$1$md5$x", "$argon2id$", "$pbkdf2-sha256$i=0$YQ$YQ", &"$".repeat(1_000)] {
            assert_eq!(check(stored), Err(HashError::Unknown), "{stored}");
        }
    }
}
