//! The doors on real sockets: a TLS client on one side, an upstream of our own on the other.

mod attacks;
mod cross_origin;
mod cuts;
mod http1;
mod http2;
mod http2_refusals;
mod limits;
mod plain_http;
mod records;
mod retries;
mod streaming;
mod support;
mod targets;
mod trusted_peers;
mod upstreams;
mod websocket;
