//! The gate: a strict, sans-IO HTTP parser and canonicaliser that every HTTP door stands behind.
//!
//! Bytes go in; a [`RawRequest`], "need more" or a [`GateRefusal`] comes out. The door finds the app by the host and
//! lets the app's settings turn the raw request into a [`CanonicalRequest`]: the only form that is routed, judged,
//! recorded and written upstream. The gate does no IO, reads no clock, and knows no routes, policies or sessions.
//!
//! Requirements: GW-3 to GW-5, GW-35, GW-36, GW-64 to GW-67, GW-83, ATK-1 to ATK-23; R-22
//! and R-23.
//!
//! Invariants: bytes judged are bytes forwarded; nothing outside this crate can make a [`CanonicalRequest`]; whatever
//! has two readings is refused; a refusal repeats nothing of the input; credentials have no `Debug`.

#![forbid(unsafe_code)]

pub mod attacks;
pub mod body_meter;
pub mod client_address;
pub mod cookies;
pub mod fields;
pub mod h1;
pub mod h2;
mod headers;
pub mod host;
pub mod limits;
pub mod path;
pub mod refusal;
pub mod request;
mod structure;
pub mod upstream;

pub use body_meter::BodyMeter;
pub use cookies::{Credentials, Presented, Secret};
pub use fields::{Field, Fields};
pub use host::CanonicalHost;
pub use refusal::{GateCode, GateRefusal};
pub use request::{CanonicalRequest, Framing, GateSettings, HttpVersion, RawRequest};
