//! Whole-product tests on real sockets: the server the binary starts, apps that record every byte they are sent, people
//! with software passkeys, and attackers who write their bytes by hand.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod attacks;
mod browser;
mod console_browser;
mod control_loop;
mod drain;
mod gateways;
mod harness;
mod host_recovery;
mod kill;
mod newcomer;
mod password_browser;
mod policy;
mod raised;
mod record;
mod sinks;
mod spa_browser;
mod upkeep_browser;
