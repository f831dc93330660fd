//! The administrator against a reference model and the attacks it exists for.

#![forbid(unsafe_code)]

mod interleavings;
mod kill_path;
mod people;
mod reference;
mod table;
