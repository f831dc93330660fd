//! Why the gate refuses bytes: one code per rule, with the status that goes with it and one sentence.
//!
//! Invariant (GW-65): nothing here carries any byte of the input; a refusal says which rule and where.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A refusal: which rule, and at which byte of the message it was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code} at byte {offset}: {}", code.sentence())]
pub struct GateRefusal {
    /// The rule.
    pub code: GateCode,
    /// Counted from the first byte of the request. For HTTP/2 header lists: from the first byte of the value
    /// concerned, because the compressed bytes mean nothing to the sender.
    pub offset: usize,
}

impl GateRefusal {
    /// A refusal of `code` at `offset`.
    pub const fn new(code: GateCode, offset: usize) -> Self {
        Self { code, offset }
    }

    /// The same refusal in a message that started `by` bytes earlier.
    pub const fn shifted(self, by: usize) -> Self {
        Self { code: self.code, offset: self.offset.saturating_add(by) }
    }

    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// What goes with the status: `Allow` with 405 (RFC 9110 §15.5.6), the type of [`Self::problem_json`], no caching.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == GateCode::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        headers
    }

    /// Problem JSON (RFC 9457) naming code and offset.
    pub fn problem_json(&self) -> String {
        let (code, status, sentence, offset) =
            (self.code.as_str(), self.code.status().as_u16(), self.code.sentence(), self.offset);
        format!(
            "{{\"type\":\"urn:countersign:problem:{code}\",\"title\":\"The request was not well formed and went \
             nowhere.\",\"status\":{status},\"code\":\"{code}\",\"detail\":\"{sentence} (byte {offset})\",\
             \"offset\":{offset}}}"
        )
    }
}

macro_rules! gate_codes {
    ($($variant:ident = $code:literal, $status:ident, $sentence:literal;)*) => {
        /// The rules of the gate, in alphabetical order.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum GateCode {
            $(#[doc = $sentence] $variant,)*
        }

        impl GateCode {
            /// Every code; the documentation and the tests walk this.
            pub const ALL: &'static [GateCode] = &[$(GateCode::$variant,)*];

            /// The code in problem JSON and in the record.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(GateCode::$variant => $code,)*
                }
            }

            /// The status to answer with.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(GateCode::$variant => StatusCode::$status,)*
                }
            }

            /// What the rule says: lower case, no full stop.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(GateCode::$variant => $sentence,)*
                }
            }
        }
    };
}

gate_codes! {
    AuthorityMismatch = "gate_authority_mismatch", BAD_REQUEST, "the authority of the target differs from the host field";
    BareCr = "gate_bare_cr", BAD_REQUEST, "a carriage return stands without a line feed";
    BareLf = "gate_bare_lf", BAD_REQUEST, "a line ends with a line feed alone";
    BodyLength = "gate_body_length", BAD_REQUEST, "the body is longer or shorter than content-length says";
    BodyTooLarge = "gate_body_too_large", PAYLOAD_TOO_LARGE, "the body is larger than is allowed here";
    BodyTruncated = "gate_body_truncated", BAD_REQUEST, "the connection ended inside the body";
    ChunkData = "gate_chunk_data", BAD_REQUEST, "chunk data is not followed by a line end";
    ChunkExtensions = "gate_chunk_extensions", BAD_REQUEST, "a chunk extension holds a forbidden byte, or there are too many";
    ChunkLineTooLong = "gate_chunk_line_too_long", BAD_REQUEST, "the line of a chunk size is too long";
    ChunkSize = "gate_chunk_size", BAD_REQUEST, "a chunk size is not one to eight hex digits";
    ConnectionOption = "gate_connection_option", BAD_REQUEST, "the connection field names something other than close, keep-alive, upgrade, te or http2-settings";
    ConnectionSpecific = "gate_connection_specific", BAD_REQUEST, "a connection-specific field came with http/2";
    ContentLength = "gate_content_length", BAD_REQUEST, "content-length is not one plain decimal number";
    ContentLengthAndTransferEncoding = "gate_content_length_and_transfer_encoding", BAD_REQUEST, "content-length and transfer-encoding came together";
    Expectation = "gate_expectation", EXPECTATION_FAILED, "the expectation is not 100-continue";
    ForwardedFor = "gate_forwarded_for", BAD_REQUEST, "x-forwarded-for of a trusted peer is not a list of addresses";
    HeadTruncated = "gate_head_truncated", BAD_REQUEST, "the connection ended inside the request head";
    HeaderDoubled = "gate_header_doubled", BAD_REQUEST, "a field that may come once came twice";
    HeaderName = "gate_header_name", BAD_REQUEST, "a header name is empty or holds a forbidden byte";
    HeaderTooLong = "gate_header_too_long", REQUEST_HEADER_FIELDS_TOO_LARGE, "one header field is too long";
    HeaderValue = "gate_header_value", BAD_REQUEST, "a header value holds a control character";
    HeadersTooLarge = "gate_headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "the header fields together are too large";
    Host = "gate_host", BAD_REQUEST, "the host is not a host name or address with an optional port";
    HostDoubled = "gate_host_doubled", BAD_REQUEST, "more than one host field came";
    HostMissing = "gate_host_missing", BAD_REQUEST, "no host field came";
    HostUnknown = "gate_host_unknown", MISDIRECTED_REQUEST, "nothing is served under this host here";
    Method = "gate_method", BAD_REQUEST, "the method is not a token";
    MethodCase = "gate_method_case", BAD_REQUEST, "a known method is not in upper case";
    MethodNotAllowed = "gate_method_not_allowed", METHOD_NOT_ALLOWED, "this method is never served here";
    MethodOverride = "gate_method_override", BAD_REQUEST, "the method override is doubled, not a method, or not on a post";
    MethodTooLong = "gate_method_too_long", BAD_REQUEST, "the method is too long";
    ObsFold = "gate_obs_fold", BAD_REQUEST, "a header line is folded";
    PathBackslash = "gate_path_backslash", BAD_REQUEST, "the path holds a backslash";
    PathCharacter = "gate_path_character", BAD_REQUEST, "the path holds a character that must be percent-encoded";
    PathControl = "gate_path_control", BAD_REQUEST, "the path holds an encoded control character";
    PathDotSegment = "gate_path_dot_segment", BAD_REQUEST, "the path holds a dot segment";
    PathEmptySegment = "gate_path_empty_segment", BAD_REQUEST, "the path holds an empty segment";
    PathEncodedPercent = "gate_path_encoded_percent", BAD_REQUEST, "the path holds a percent-encoded percent sign before hex digits";
    PathEncodedSlash = "gate_path_encoded_slash", BAD_REQUEST, "the path holds an encoded slash";
    PathFragment = "gate_path_fragment", BAD_REQUEST, "the target holds a number sign";
    PathOverlong = "gate_path_overlong", BAD_REQUEST, "the path holds overlong utf-8";
    PathRewrite = "gate_path_rewrite", BAD_REQUEST, "the rewritten path is not in normal form";
    PathSemicolon = "gate_path_semicolon", BAD_REQUEST, "the path holds a semicolon where rules depend on the path";
    PathTriplet = "gate_path_triplet", BAD_REQUEST, "a percent sign is not followed by two hex digits";
    PlainHttp = "gate_plain_http", BAD_REQUEST, "plain http came to a port that speaks https";
    PreviousBody = "gate_previous_body", BAD_REQUEST, "the body of the previous request was not read to its end";
    ProxyProtocol = "gate_proxy_protocol", BAD_REQUEST, "the proxy protocol header is malformed";
    PseudoHeader = "gate_pseudo_header", BAD_REQUEST, "a pseudo-header is missing or doubled";
    QueryCharacter = "gate_query_character", BAD_REQUEST, "the query holds a character that must be percent-encoded";
    RequestLine = "gate_request_line", BAD_REQUEST, "the request line is not method, target and version with one space between";
    RequestLineTooLong = "gate_request_line_too_long", URI_TOO_LONG, "the request line is too long";
    SpaceBeforeColon = "gate_space_before_colon", BAD_REQUEST, "white space stands between a header name and its colon";
    TargetForm = "gate_target_form", BAD_REQUEST, "the target is neither a path nor an absolute http address";
    TargetTooLong = "gate_target_too_long", URI_TOO_LONG, "the target is too long";
    TooManyHeaders = "gate_too_many_headers", REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many header fields";
    TooManyTrailers = "gate_too_many_trailers", BAD_REQUEST, "there are too many trailer fields";
    TrailerForbidden = "gate_trailer_forbidden", BAD_REQUEST, "a trailer is declared that may not be one";
    TrailerUndeclared = "gate_trailer_undeclared", BAD_REQUEST, "a trailer came that was not declared";
    TrailersTooLarge = "gate_trailers_too_large", BAD_REQUEST, "the trailer fields together are too large";
    TransferEncoding = "gate_transfer_encoding", BAD_REQUEST, "transfer-encoding is not exactly one chunked";
    UpgradeBody = "gate_upgrade_body", BAD_REQUEST, "an upgrade request carries a body";
    UpgradeEarlyBytes = "gate_upgrade_early_bytes", BAD_REQUEST, "bytes followed an upgrade request before it was answered";
    Upgrade = "gate_upgrade", BAD_REQUEST, "the upgrade to websocket is malformed";
    Version = "gate_version", BAD_REQUEST, "the version is neither http/1.1 nor http/1.0";
}

impl std::fmt::Display for GateCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_start_with_gate() {
        let mut codes: Vec<&str> = GateCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(codes.iter().all(|code| code.starts_with("gate_")));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), GateCode::ALL.len());
    }

    #[test]
    fn a_refusal_says_code_and_offset_and_nothing_else_of_the_request() {
        let body = GateRefusal::new(GateCode::PathDotSegment, 7).problem_json();
        assert_eq!(
            body,
            "{\"type\":\"urn:countersign:problem:gate_path_dot_segment\",\"title\":\"The request was not well formed \
             and went nowhere.\",\"status\":400,\"code\":\"gate_path_dot_segment\",\"detail\":\"the path holds a dot \
             segment (byte 7)\",\"offset\":7}"
        );
    }
}
