//! The administrator against a reference model and the attacks it exists for.

#![forbid(unsafe_code)]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod interleavings;
mod kill_path;
mod people;
mod reference;
mod table;
