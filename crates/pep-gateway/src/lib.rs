//! The gateway: people to apps, every request decided (SP 800-207 PEP).
//!
//! The life of a request, in the order of the modules: [`routing`] finds the app, the gate gives the one canonical
//! form, [`enforce`] turns it into a question, asks the policy decision point of the current [`snapshot`], keeps the
//! record, and answers with a [`permit::Permit`] (nothing reaches an upstream without one), a call to one of our own
//! endpoints, or a [`refusal::Refusal`] that explains itself. [`streams`] holds what is under way, so that an answer
//! can be withdrawn.
//!
//! Not here: who people are, how policies are read, where records go. Those rooms are reached over the traits of
//! `model` only.
//!
//! Invariants: no decision, no bytes; no record, no bytes; the request judged is the request forwarded; whatever goes
//! wrong on the way to a decision is a refusal.

#![forbid(unsafe_code)]

pub mod assertion;
mod completion;
pub mod connection;
mod cross_origin;
mod doors;
pub mod enforce;
mod fact_builder;
pub mod freshness;
mod gateway;
pub mod listener;
pub mod metrics;
pub mod permit;
mod record;
pub mod refusal;
pub mod reserved_call;
pub mod routing;
mod sign_in;
pub mod snapshot;
pub mod streams;
pub mod trace;
mod unsigned_headers;
pub mod upstream;
mod visit;
mod wrong_tokens;

pub use completion::Completion;
pub use connection::{ConnectionInfo, Protocol, TlsInfo};
pub use enforce::Outcome;
pub use gateway::{Gateway, GatewayParts, GatewaySettings};
pub use permit::Permit;
pub use refusal::Refusal;
pub use reserved_call::ReservedCall;
pub use routing::RoutingTable;
pub use snapshot::GatewaySnapshot;
pub use streams::{StreamGuard, StreamTable};
pub use wrong_tokens::WRONG_PER_MINUTE;
