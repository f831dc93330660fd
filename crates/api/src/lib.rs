//! The control plane: what may be changed, over HTTP and over the local socket, and the pages people meet on the auth
//! host.
//!
//! [`ControlPlane`] holds the operations; every one of them leaves a record and, when it takes access away, goes
//! through the one kill path. [`http`] gives them a surface: [`http::ReservedEndpoints`] behind the doors, and
//! [`http::local_router`] on the Unix socket. The rooms below know no HTTP; this one knows no door.
//!
//! Invariants: a request that arrives here was decided and recorded before; a change is durable before it is
//! published, published before it is recorded as done, and recorded before it is answered.

#![forbid(unsafe_code)]

pub mod actor;
pub mod console;
pub mod control;
pub mod control_app;
pub mod failure;
pub mod http;
pub mod import;
mod pending;
mod preferences;

pub use actor::Actor;
pub use control::{ApiSettings, ControlPlane, ControlPlaneParts, DoorControl, Published};
pub use failure::Failure;
