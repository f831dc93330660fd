//! The gate from outside: what its callers see.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod attacks;
mod connection;
mod http2;
mod limits;
mod properties;
mod support;
mod upstream;
