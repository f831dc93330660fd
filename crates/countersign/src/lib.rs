//! Countersign: a zero-trust access platform in one binary (architecture: ARCHITECTURE.md). Composition only; rules live
//! in the rooms. A library so that whole-product tests start the same server the binary starts.

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod commands;
#[cfg(feature = "demo")]
pub mod demo;
pub mod local_tls;
pub mod output;
pub mod roles;
pub mod system;
