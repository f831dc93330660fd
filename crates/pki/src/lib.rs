//! Keys, certificates, JOSE, sealing and TLS configurations: the one place that picks the crypto provider.
//!
//! It is not a place for rules: who may hold a certificate or an assertion is decided elsewhere. It installs nothing
//! process-wide; every rustls configuration carries its provider (aws-lc-rs). Requirements: GW-28 to GW-30,
//! GW-58, GW-75; AUD-56.
//!
//! Invariants: private keys and secrets live in [`SecretBytes`] or [`SecretText`], which have no `Debug`, `Display` or
//! `Serialize` and are wiped when dropped; times are arguments, nothing here reads a clock.

#![forbid(unsafe_code)]

pub mod ca;
pub mod jose;
pub mod private_file;
pub mod return_ticket;
pub mod seal;
pub mod secret;
pub mod step_up_ticket;
pub mod svid;
pub mod tls;

pub use ca::{Issued, LocalCa};
pub use jose::assertion::AssertionClaims;
pub use jose::receipt::ReceiptClaims;
pub use jose::{Jwks, KeyRing, SigningKey};
pub use seal::{Kek, Sealer};
pub use secret::{SecretBytes, SecretText, random_token};
pub use tls::{NamedCertificate, TlsSettings};
