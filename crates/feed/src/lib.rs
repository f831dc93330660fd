//! What the control plane tells its gateways and what they answer (GW-47, GW-55, GW-58, AUD-61, AUD-62, AUD-65).
//!
//! [`Source`] is the control plane's end: it numbers what happens and knows what a door that was away has missed.
//! [`Replica`] is a door's end: it takes [`Down`] messages and answers what to do about them. The door of an all-in-one
//! process and a gateway in a process of its own run the same machine on the same messages; only for the latter they
//! pass through [`wire`] and [`frame`].
//!
//! It is not a transport: no sockets, no TLS, no disk, no clock, no task. Nor does it compile policies or judge streams;
//! it says when that is due.
//!
//! Invariants: events (ends of sessions, orders to judge) have a lane and a numbering of their own and never wait for
//! facts, except an order that is about new facts; a gap, a repetition with another content or a message out of place
//! breaks the stream and nothing of it is applied; a door is confirmed to be current only when it has everything.

#![forbid(unsafe_code)]

pub mod frame;
pub mod message;
pub mod replica;
pub mod source;
pub mod wire;

pub use message::{
    Ack, Ask, ConfigSource, Delta, Down, Event, Hello, Known, Order, Part, Position, Purpose, Reply, Services,
    SourceText, Terms, Up, Welcome, WireRequest, WireResponse,
};
pub use replica::{Broken, Effect, Replica};
pub use source::Source;

/// The version of everything here. Both ends must speak the same one.
pub const PROTOCOL: u16 = 2;
