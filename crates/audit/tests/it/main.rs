//! The log as its users and its enemies see it: through the public API and through its files.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;
mod drill;
mod faults;
mod floods;
mod kill;
mod ladder;
mod questions;
mod recovery;
mod sealing;
mod sinks;
mod tally;
