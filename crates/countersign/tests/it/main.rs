//! Whole-product tests on real sockets: the server the binary starts, apps that record every byte they are sent, people
//! with software passkeys, and attackers who write their bytes by hand.

mod attacks;
mod browser;
mod drain;
mod harness;
mod kill;
