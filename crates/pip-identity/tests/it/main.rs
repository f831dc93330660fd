//! People from the outside: the public API over the in-memory store, with a software authenticator.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![expect(unreachable_pub, reason = "one binary: modules share what they export")]

mod device;
mod links;
mod passkey_attacks;
mod passkeys;
mod passwords;
mod people;
mod reconcile;
mod recovery;
mod recovery_codes;
mod security_keys;
mod services;
mod withdrawn;
mod world;
