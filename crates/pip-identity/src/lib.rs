//! Where people prove who they are: directory, set-up links, invitations, passkeys, passwords with one-time codes,
//! recovery, notices and throttles. No serving socket, no HTTP status, no SQL, no session table: outcomes are typed and
//! other rooms act on them.
//!
//! Invariants: secrets have no `Debug`, are shown once and kept as hashes or sealed only; every refusal names what to
//! do; time and randomness come in through `model::Clock` and `model::Ids`.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod blocklist;
pub mod conformance;
pub mod directory;
mod entrance;
pub mod hash_pool;
pub mod links;
pub mod memory;
pub mod notices;
pub mod passkeys;
pub mod password_hash;
pub mod passwords;
pub mod people;
pub mod recovery;
pub mod recovery_codes;
pub mod secret;
pub mod sensitive;
pub mod services;
pub mod store;
pub mod throttle;
pub mod totp;

pub use accounts::Accounts;
pub use links::Links;
pub use notices::Notices;
pub use passkeys::{Passkeys, RelyingParty, SignedIn};
pub use passwords::{PasswordRules, Passwords};
pub use people::People;
pub use recovery::Recovery;
pub use recovery_codes::RecoveryCodes;
pub use store::{DirectoryStore, StoreError};
pub use throttle::Throttle;
