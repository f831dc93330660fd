//! The HTTP surface: one axum router for the JSON API, reached through the doors and through the local socket, and the
//! pages and hand-off endpoints, reached through the doors only.
//!
//! Behind a door the request was decided and recorded before it came here; on the local socket [`local_router`] asks
//! the engine as `local-operator` and records the answer first.

mod assets;
mod body;
pub(crate) mod cookies;
mod local;
pub(crate) mod portal;
mod problem;
pub(crate) mod reserved;
mod v1;

pub use assets::answer as asset;
pub use local::local_router;
pub use portal::{Portal, PortalParts, ShownLink};
pub use problem::problem_lines;
pub use reserved::ReservedEndpoints;

/// Runs `work` to its end even when whoever asked hangs up in the middle. A change that is durable must still be
/// published, withdrawn at the doors and recorded; a dropped connection would otherwise drop all three. `None`: it
/// panicked.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::spawn(work).await.ok()
}

/// The largest body the API takes from a signed-in person; doors enforce the limits of GW-83 before it comes here.
pub const BODY_BYTES: usize = 4 << 20;
/// The largest body on the local socket.
pub const LOCAL_BODY_BYTES: usize = 20 << 20;
