//! Every size and count the gate enforces (GW-83). Times and connection counts are the listener's.
//!
//! Invariant: each limit is the largest value that still passes; one more is refused with the code named beside it.

/// Method, target and version without the line end: `gate_request_line_too_long` (414).
pub const MAX_REQUEST_LINE_BYTES: usize = 16 * 1024;
/// The target as sent: `gate_target_too_long` (414).
pub const MAX_TARGET_BYTES: usize = 8 * 1024;
/// The method: `gate_method_too_long` (400). The longest registered one has 17 letters (`UPDATEREDIRECTREF`).
pub const MAX_METHOD_BYTES: usize = 32;
/// One header line without the line end: `gate_header_too_long` (431).
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// All header lines of one request with their line ends: `gate_headers_too_large` (431).
pub const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// Header fields of one request: `gate_too_many_headers` (431).
pub const MAX_HEADERS: usize = 128;
/// The host with port, RFC 1035 §2.3.4 plus `:65535`: `gate_host` (400).
pub const MAX_HOST_BYTES: usize = 253 + 6;
/// Names in `Trailer`, and trailer fields: `gate_too_many_trailers` (400).
pub const MAX_TRAILERS: usize = 32;
/// All trailer lines with their line ends: `gate_trailers_too_large` (400).
pub const MAX_TRAILERS_BYTES: usize = 16 * 1024;
/// Hex digits of one chunk size: `gate_chunk_size` (400). Eight digits are 4 GiB.
pub const MAX_CHUNK_SIZE_DIGITS: usize = 8;
/// One chunk-size line with its extensions: `gate_chunk_line_too_long` (400).
pub const MAX_CHUNK_LINE_BYTES: usize = 256;
/// All chunk extensions of one body (CVE-2023-39326): `gate_chunk_extensions` (400).
pub const MAX_CHUNK_EXTENSION_BYTES: usize = 4 * 1024;
/// Bytes of following requests kept while one is answered; more are left in the socket.
pub const MAX_READ_AHEAD_BYTES: usize = 64 * 1024;
/// Interim (1xx) responses an upstream may send before the final one (ATK-12).
pub const MAX_INTERIM_RESPONSES: usize = 8;
/// Hops read from `X-Forwarded-For` of a trusted peer: `gate_forwarded_for` (400).
pub const MAX_FORWARDED_HOPS: usize = 32;
/// A PROXY protocol v1 line with its line end (specification §2.1): `gate_proxy_protocol` (400).
pub const MAX_PROXY_V1_BYTES: usize = 107;
/// The address block and TLVs of a PROXY protocol v2 header: `gate_proxy_protocol` (400).
pub const MAX_PROXY_V2_BYTES: usize = 4 * 1024;
