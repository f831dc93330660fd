//! Where people prove who they are: directory, set-up links, invitations, passkeys, recovery codes and throttles
//! (ID-1 to ID-26). No serving socket, no HTTP status, no SQL, no session table: outcomes are typed and other
//! rooms act on them.
//!
//! Invariants: secrets have no `Debug`, are shown once and kept as SHA-256 only; every refusal names what to do;
//! time and randomness come in through `model::Clock` and `model::Ids`.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod directory;
pub mod links;
pub mod memory;
pub mod passkeys;
pub mod people;
pub mod recovery_codes;
pub mod secret;
pub mod store;
pub mod throttle;

pub use links::Links;
pub use passkeys::{Passkeys, RelyingParty, SignedIn};
pub use people::People;
pub use recovery_codes::RecoveryCodes;
pub use store::{DirectoryStore, StoreError};
pub use throttle::Throttle;
