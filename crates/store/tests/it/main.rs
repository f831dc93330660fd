//! The store against its conformance suite, on damaged and foreign files, under SIGKILL and across restarts.

#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that panics has failed, as it should"
)]

mod conformance;
mod files;
mod kill;
mod restart;
mod withdrawn;
