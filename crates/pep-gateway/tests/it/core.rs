//! The judging half of the door, without sockets: requests in, verdicts and records out.

mod abuse;
mod assertions;
mod cross_origin;
mod live;
mod metrics;
mod record;
mod refusals;
mod routing;
mod service_tokens;
mod sign_in;
mod staleness;
mod step_up;
mod unsigned_headers;
pub(crate) mod world;
