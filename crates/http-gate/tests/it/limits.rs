//! Every limit from both sides: the largest value passes, one more is refused (GW-83).

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_gate::attacks::AttackedApp;
use http_gate::limits::*;
use http_gate::{GateCode, h2};

use crate::support::drive;

fn refused(sent: &str) -> Option<GateCode> {
    let whole = drive([sent.as_bytes()], AttackedApp::Strict).refused;
    let in_pieces = drive(sent.as_bytes().chunks(1000), AttackedApp::Strict).refused;
    assert_eq!(whole, in_pieces);
    whole.map(|refusal| refusal.code)
}

/// `at_limit` passes and `beyond` is refused with `code`.
fn check(at_limit: &str, beyond: &str, code: GateCode) {
    assert_eq!(refused(at_limit), None, "{code}");
    assert_eq!(refused(beyond), Some(code));
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: wiki.localhost\r\n{fields}\r\n")
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn request_line_target_and_method_have_limits() {
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    check(&get(&target(MAX_TARGET_BYTES), ""), &get(&target(MAX_TARGET_BYTES + 1), ""), GateCode::TargetTooLong);
    let line = |length: usize| get(&target(length - "GET  HTTP/1.1".len()), "");
    // The target's limit comes first as long as the line fits.
    check(&get("/", ""), &line(MAX_REQUEST_LINE_BYTES), GateCode::TargetTooLong);
    check(&get("/", ""), &line(MAX_REQUEST_LINE_BYTES + 1), GateCode::RequestLineTooLong);
    check(&get("/", ""), &"a".repeat(MAX_REQUEST_LINE_BYTES + 2), GateCode::RequestLineTooLong);
    let method = |length: usize| format!("{} / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n", "A".repeat(length));
    check(&method(MAX_METHOD_BYTES), &method(MAX_METHOD_BYTES + 1), GateCode::MethodTooLong);
}

#[test]
fn header_fields_have_limits() {
    let field = |length: usize| format!("x-a: {}\r\n", "a".repeat(length - "x-a: ".len()));
    check(&get("/", &field(MAX_HEADER_BYTES)), &get("/", &field(MAX_HEADER_BYTES + 1)), GateCode::HeaderTooLong);
    let many = |count: usize| get("/", &"a: 1\r\n".repeat(count - 1));
    check(&many(MAX_HEADERS), &many(MAX_HEADERS + 1), GateCode::TooManyHeaders);
    let host = "Host: wiki.localhost\r\n".len();
    let total = |bytes: usize| {
        let line = field(1022);
        let rest = bytes - host - 63 * line.len();
        get("/", &[line.repeat(63), field(rest - 2)].concat())
    };
    check(&total(MAX_HEADERS_BYTES), &total(MAX_HEADERS_BYTES + 1), GateCode::HeadersTooLarge);
}

#[test]
fn chunks_and_trailers_have_limits() {
    let size = |digits: usize| chunked(&format!("{:0>digits$}\r\na\r\n0\r\n\r\n", 1));
    check(&size(MAX_CHUNK_SIZE_DIGITS), &size(MAX_CHUNK_SIZE_DIGITS + 1), GateCode::ChunkSize);
    let line = |length: usize| chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(length - 2)));
    check(&line(MAX_CHUNK_LINE_BYTES), &line(MAX_CHUNK_LINE_BYTES + 1), GateCode::ChunkLineTooLong);
    let extended = format!("1;{}\r\na\r\n", "e".repeat(127));
    let extensions = |count: usize| chunked(&[extended.repeat(count), "0\r\n\r\n".to_owned()].concat());
    let most = MAX_CHUNK_EXTENSION_BYTES / 128;
    check(&extensions(most), &extensions(most + 1), GateCode::ChunkExtensions);

    let trailers = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n0\r\n{body}\r\n"
        )
    };
    let many = |count: usize| trailers(&"a: 1\r\n".repeat(count));
    check(&many(MAX_TRAILERS), &many(MAX_TRAILERS + 1), GateCode::TooManyTrailers);
    let long = |bytes: usize| {
        let half = format!("a: {}\r\n", "a".repeat(bytes / 2 - 5));
        trailers(&[half.clone(), format!("a: {}\r\n", "a".repeat(bytes - half.len() - 5))].concat())
    };
    check(&long(MAX_TRAILERS_BYTES), &long(MAX_TRAILERS_BYTES + 1), GateCode::TrailersTooLarge);
    let declared = |count: usize| {
        let names = (0..count).map(|index| format!("t{index}")).collect::<Vec<_>>().join(",");
        format!(
            "POST / HTTP/1.1\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: {names}\r\n\r\n0\r\n\r\n"
        )
    };
    check(&declared(MAX_TRAILERS), &declared(MAX_TRAILERS + 1), GateCode::TooManyTrailers);
}

#[test]
fn a_host_has_a_limit() {
    let host = |length: usize| {
        let mut name = format!("{}.", "a".repeat(49)).repeat(5);
        name.push_str(&"a".repeat(length - 250));
        format!("GET / HTTP/1.1\r\nHost: {name}:65535\r\n\r\n")
    };
    check(&host(MAX_HOST_BYTES - 6), &host(MAX_HOST_BYTES - 5), GateCode::Host);
}

#[test]
fn http2_lists_have_the_same_limits() {
    let judge = |fields: &[(&'static str, usize)]| {
        let mut builder = Request::builder().uri("https://wiki.localhost/");
        for (name, length) in fields {
            builder = builder.header(*name, HeaderValue::try_from("a".repeat(*length)).unwrap());
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        h2::raw_request(&parts, true).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!(judge(&[("a", MAX_HEADER_BYTES - 5)]), Ok(()));
    assert_eq!(judge(&[("a", MAX_HEADER_BYTES - 4)]), Err(GateCode::HeaderTooLong));
    assert_eq!(judge(&[("a", 1); MAX_HEADERS]), Ok(()));
    assert_eq!(judge(&[("a", 1); MAX_HEADERS + 1]), Err(GateCode::TooManyHeaders));
    assert_eq!(judge(&[("a", 1024 - 5); 64]), Ok(()));
    assert_eq!(judge(&[[("a", 1024 - 5); 63].as_slice(), &[("a", 1024 - 4)]].concat()), Err(GateCode::HeadersTooLarge));
}

#[test]
fn http2_trailers_have_the_same_limits() {
    let (parts, ()) =
        Request::builder().uri("https://wiki.localhost/").header("trailer", "a").body(()).unwrap().into_parts();
    let raw = h2::raw_request(&parts, false).unwrap();
    let request = crate::support::canonicalise(raw, AttackedApp::Strict).unwrap();
    let judge = |count: usize, length: usize| {
        let mut trailers = HeaderMap::new();
        for _ in 0..count {
            trailers.append(HeaderName::from_static("a"), HeaderValue::try_from("a".repeat(length)).unwrap());
        }
        h2::trailers(&trailers, &request).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!(judge(MAX_TRAILERS, MAX_TRAILERS_BYTES / MAX_TRAILERS - 5), Ok(()));
    assert_eq!(judge(MAX_TRAILERS + 1, 1), Err(GateCode::TooManyTrailers));
    assert_eq!(judge(MAX_TRAILERS, MAX_TRAILERS_BYTES / MAX_TRAILERS - 4), Err(GateCode::TrailersTooLarge));
}
