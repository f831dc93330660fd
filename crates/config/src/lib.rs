//! What operators write, parsed into typed values with spans: one TOML for the process, YAML kinds and `.cedar` files
//! for everything that is declared.
//!
//! Pure: text in, values or all problems at once out. It reads no file and no environment; the binary does.
//!
//! Invariant: a value that leaves this crate has passed every check that can be made without running; anything else
//! is a [`Problem`] with file, line, column and the valid choices, and nothing is applied (GW-1).

#![forbid(unsafe_code)]

mod canonical;
pub mod kinds;
pub mod problem;
pub mod server;
mod text;
mod zone;

pub use canonical::canonical;
pub use kinds::{Declared, DeclaredGroup, DeclaredUser, Known, Membership, PolicyFile, SourceFile, read};
pub use problem::{Problem, Problems, Severity};
pub use server::ServerConfig;
pub use zone::time_zone;
