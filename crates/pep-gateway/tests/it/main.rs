//! The gateway from outside: its core without sockets, and its doors on real ones.

mod core;
mod sockets;
