//! Which parts run together. Only `serve` exists yet: control plane and gateway in one process on an embedded store.

pub mod admin_listener;
pub mod control_loop;
pub mod control_socket;
pub mod doors;
pub mod ground;
pub mod hub;
pub mod keys;
pub mod local_door;
pub mod metrics;
pub(crate) mod record_watch;
pub mod serve;
pub mod signing_keys;
pub(crate) mod sinks;
pub mod stages;
pub mod startup;
