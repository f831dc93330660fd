//! The log as its users and its enemies see it: through the public API and through its files.

mod common;
mod faults;
mod kill;
mod questions;
mod recovery;
mod sealing;
