//! The store against its conformance suite, on damaged and foreign files, and under SIGKILL.

#![forbid(unsafe_code)]

mod conformance;
mod files;
mod kill;
