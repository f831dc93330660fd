//! Tests of `pki` from outside: forged tokens, real handshakes, and the sample verifiers under foreign libraries.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "helpers of tests fail the test that calls them"
)]

mod forge;
mod identity;
mod tls;
mod tokens;
mod verifiers;
