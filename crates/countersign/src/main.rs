//! Countersign: a zero-trust access platform in one binary (architecture: ARCHITECTURE.md). Composition only; rules live
//! in the rooms.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod output;
mod roles;
mod system;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
