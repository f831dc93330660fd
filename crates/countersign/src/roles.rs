//! Which parts run together. `serve` is control plane and gateway in one process on an
//! embedded store; `gateway` is a gateway alone.

pub mod admin_listener;
pub mod control_loop;
pub mod control_socket;
pub mod doors;
pub mod gateway;
pub mod gateway_listener;
pub mod gateways;
pub mod ground;
pub mod hub;
pub mod keys;
pub mod line;
pub mod local_door;
pub mod metrics;
pub(crate) mod record_watch;
pub mod serve;
pub mod signing_keys;
pub(crate) mod sinks;
pub mod stages;
pub mod startup;
