//! Tokens we sign ourselves: compact JWS (RFC 7515) with ES256 and nothing else.
//!
//! It is not a general JOSE library: foreign ID tokens are another module's work. Signing goes straight to aws-lc-rs
//! with a key parsed once; the general crate would parse the key anew for each signature and read the clock itself.
//! Requirements: GW-28, GW-29, GW-58; R-9.
//!
//! Invariants: the algorithm is a constant, never read from a token; `typ` is required and compared, so no kind of
//! token stands in for another; a key is found by `kid` among keys we hold, never through `jku`, `x5u`, `jwk` or `x5c`;
//! any `crit` is refused.

pub mod assertion;
mod jwks;
mod key;
pub mod receipt;
mod ring;
mod verify;

pub use jwks::{Jwk, Jwks, JwksError, MAX_JWKS_BYTES, MAX_JWKS_KEYS, VerifyingKeys};
pub use key::{KeyError, SigningKey};
pub use ring::{KeyRing, PUBLISH_LEAD, RETIRE_AFTER, RingKey};
pub use verify::{Expected, JoseError, Lifetime, verify};

/// The only algorithm.
const ALGORITHM: &str = "ES256";
