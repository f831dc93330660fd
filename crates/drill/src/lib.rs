//! A drill: attacks from outside against any HTTP proxy, with an app behind it that records every byte (LEAP-7).
//!
//! The proxy is a black box with two ends, and both are ours. Each case sends what a hostile client sends and judges by
//! what reached the app. A proxy is judged only on doors that it has: a rule on paths, HTTP/2, WebSocket, headers of its
//! own, sign-in. It knows no proxy by name, and nothing of our own door.
//!
//! Invariants: every case ends within its limit; a case is judged by what arrived, never by what the proxy says of it; what
//! cannot be judged is said to be so and is no success.

#![forbid(unsafe_code)]

pub mod attacks;
pub mod card;
mod cases;
pub mod differential;
mod echo;
mod floods;
mod frames;
mod judge;
mod misbehaviour;
mod play;
mod probes;
mod setup;
mod target;
mod wire;

use std::net::SocketAddr;

pub use card::{CaseResult, Outcome, ScoreCard, Verdict};
pub use echo::{Arrived, Echo};
pub use play::run;
pub use setup::Doors;
pub use target::{CASE_LIMIT, Options, Target};

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The proxy is not there.
    #[error("cannot connect to `{address}`")]
    Connection {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The proxy does not do what was said of it.
    #[error("{0}")]
    Unusable(String),
    /// Not the address of a proxy.
    #[error("`{target}` is no target: {why}")]
    Target {
        /// As written.
        target: String,
        /// What is wrong.
        why: String,
    },
}
