//! HTTP/2 header lists under the rules of HTTP/1.1 (ATK-8, ATK-9; the framing layer's part is the `h2` crate's).

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_gate::attacks::AttackedApp;
use http_gate::{CanonicalRequest, Framing, GateCode, HttpVersion, h2};

use crate::support::{canonicalise, serialise};

fn judge(uri: &str, fields: &[(&str, &[u8])]) -> Result<CanonicalRequest, GateCode> {
    let mut builder = Request::builder().method("POST").uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let raw = h2::raw_request(&parts, false).map_err(|refusal| refusal.code)?;
    canonicalise(raw, AttackedApp::Strict).map_err(|refusal| refusal.code)
}

fn check(uri: &str, fields: &[(&str, &[u8])], code: GateCode) {
    assert_eq!(judge(uri, fields).map(drop), Err(code), "{uri} {fields:?}");
}

#[test]
fn a_list_becomes_the_same_request_as_a_head() {
    let request = judge(
        "https://WIKI.localhost/%61?b",
        &[("x-a", b"1"), ("te", b"trailers"), ("cookie", b"a=1"), ("cookie", b"b=2")],
    );
    let request = request.unwrap();
    assert_eq!((request.version(), request.framing()), (HttpVersion::Http2, Framing::Chunked));
    assert_eq!(
        String::from_utf8(serialise(&request)).unwrap(),
        "POST /a?b HTTP/1.1\r\nhost: wiki.localhost\r\nx-a: 1\r\ncookie: a=1; b=2\r\n\
         transfer-encoding: chunked\r\nte: trailers\r\n\r\n"
    );
}

#[test]
fn the_end_of_the_stream_and_content_length_say_how_the_body_ends() {
    let framing = |length: Option<&str>, is_end_of_stream| {
        let mut builder = Request::builder().uri("https://wiki.localhost/");
        if let Some(length) = length {
            builder = builder.header("content-length", length);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        h2::raw_request(&parts, is_end_of_stream).unwrap().framing()
    };
    assert_eq!(framing(None, true), Framing::None);
    assert_eq!(framing(None, false), Framing::Chunked);
    assert_eq!(framing(Some("5"), false), Framing::ContentLength(5));
}

#[test]
fn connection_specific_fields_are_refused() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        check("https://wiki.localhost/", &[(name, b"chunked")], GateCode::ConnectionSpecific);
    }
    check("https://wiki.localhost/", &[("te", b"gzip")], GateCode::ConnectionSpecific);
}

#[test]
fn an_authority_that_differs_from_host_is_refused() {
    check("https://wiki.localhost/", &[("host", b"payroll.localhost")], GateCode::AuthorityMismatch);
    check("https://wiki.localhost/", &[("host", b"wiki.localhost:8443")], GateCode::AuthorityMismatch);
    check(
        "https://wiki.localhost/",
        &[("host", b"wiki.localhost"), ("host", b"wiki.localhost")],
        GateCode::HostDoubled,
    );
    check("https://carol@wiki.localhost/", &[], GateCode::Host);
    check("/", &[], GateCode::HostMissing);
    judge("https://wiki.localhost/", &[("host", b"Wiki.localhost.:443")]).unwrap();
    judge("/", &[("host", b"wiki.localhost")]).unwrap();
}

#[test]
fn other_schemes_and_connect_are_refused() {
    check("ftp://wiki.localhost/", &[], GateCode::PseudoHeader);
    let (parts, ()) = Request::builder().method("CONNECT").uri("wiki.localhost:443").body(()).unwrap().into_parts();
    assert!(h2::raw_request(&parts, false).is_err());
}

#[test]
fn control_characters_and_padding_in_values_are_refused() {
    // What `HeaderValue` lets in and an HTTP/1.1 upstream would read differently.
    check("https://wiki.localhost/", &[("x-a", b" 1")], GateCode::HeaderValue);
    check("https://wiki.localhost/", &[("x-a", b"1\t")], GateCode::HeaderValue);
    assert!(HeaderValue::from_bytes(b"a\r\nb").is_err() && HeaderValue::from_bytes(b"a\0b").is_err());
    assert!(HeaderName::from_bytes(b"a:b").is_err());
}

#[test]
fn paths_obey_the_same_rules() {
    check("https://wiki.localhost/x/../admin", &[], GateCode::PathDotSegment);
    check("https://wiki.localhost//admin", &[], GateCode::PathEmptySegment);
    check("https://wiki.localhost/%2e%2e/admin", &[], GateCode::PathDotSegment);
}

#[test]
fn owned_fields_do_not_pass() {
    let request = judge(
        "https://wiki.localhost/",
        &[("x-countersign-assertion", b"ey"), ("x_forwarded_for", b"1"), ("x-a", b"1")],
    );
    let names: Vec<String> = request.unwrap().fields().iter().map(|field| field.name().to_owned()).collect();
    assert_eq!(names, ["x-a"]);
}

#[test]
fn only_declared_trailers_pass() {
    let request = judge("https://wiki.localhost/", &[("trailer", b"x-sum")]).unwrap();
    let trailers =
        |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("1"))]);
    assert_eq!(h2::trailers(&trailers("x-sum"), &request).unwrap().len(), 1);
    assert_eq!(h2::trailers(&trailers("x-admin"), &request).unwrap_err().code, GateCode::TrailerUndeclared);
}
