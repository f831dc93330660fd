//! What goes to an upstream and what comes back (GW-5, GW-28, GW-35, GW-66; ATK-12, ATK-20, ATK-29).

use bytes::BytesMut;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_gate::cookies::{LOGIN_COOKIE, SESSION_COOKIE};
use http_gate::upstream::{UpstreamRequest, sanitise_response};

use crate::support::{canonical, serialise};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    map
}

#[test]
fn an_upstream_sees_the_canonical_form_and_what_we_add() {
    let request = canonical(
        b"POST /%61?q HTTP/1.1\r\nHOST: Wiki.localhost:8443\r\nX-Trace: client\r\nX-Forwarded-For: 1.2.3.4\r\nAccept:  text/html \r\n\
          Expect: 100-continue\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nTE: gzip, trailers\r\n\r\n0\r\n\r\n",
    );
    let extra = map(&[("x-countersign-assertion", "ey"), ("x-trace", "ours")]);
    let mut head = BytesMut::new();
    UpstreamRequest { request: &request, host: Some("10.0.0.5"), extra: &extra }.write_head(&mut head);
    assert_eq!(
        String::from_utf8(head.to_vec()).unwrap(),
        "POST /a?q HTTP/1.1\r\nhost: 10.0.0.5\r\naccept: text/html\r\nx-countersign-assertion: ey\r\nx-trace: ours\r\n\
         transfer-encoding: chunked\r\nte: trailers\r\ntrailer: x-sum\r\n\r\n"
    );
}

#[test]
fn a_client_connection_is_given_the_same_head() {
    let request =
        canonical(b"PUT /?q HTTP/1.1\r\nHost: wiki.localhost\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n");
    let extra = map(&[("x-countersign-assertion", "ey")]);
    let upstream = UpstreamRequest { request: &request, host: None, extra: &extra };
    let parts = upstream.to_http1().unwrap();
    assert_eq!(
        (parts.method.as_str(), parts.uri.to_string(), parts.version),
        ("PUT", "/?q".to_owned(), Version::HTTP_11)
    );
    let expect = [("x-a", "1"), ("x-a", "2"), ("x-countersign-assertion", "ey"), ("content-length", "0")];
    let mut http1 = map(&expect);
    http1.insert("host", HeaderValue::from_static("wiki.localhost"));
    assert_eq!(parts.headers, http1);
    let parts = upstream.to_http2(Scheme::HTTPS).unwrap();
    assert_eq!((parts.uri.to_string(), parts.version), ("https://wiki.localhost/?q".to_owned(), Version::HTTP_2));
    assert_eq!(parts.headers, map(&expect));
}

#[test]
fn a_websocket_is_asked_for_anew() {
    let request = canonical(
        b"GET /live HTTP/1.1\r\nHost: wiki.localhost\r\nConnection: Upgrade\r\nUpgrade: foo, WebSocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(
        String::from_utf8(serialise(&request)).unwrap(),
        "GET /live HTTP/1.1\r\nhost: wiki.localhost\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
}

#[test]
fn credentials_meant_for_us_never_reach_an_upstream() {
    let secret = "SECRETSECRETSECRETSECRETSECRETSECRETSECRETSECRET";
    let sent = format!(
        "GET / HTTP/1.1\r\nHost: wiki.localhost\r\nCookie: a=1; {SESSION_COOKIE}={secret}; {LOGIN_COOKIE}={secret}\r\n\
         Authorization: countersign {secret}\r\nX-Countersign-Client-Id: {secret}\r\nX-Countersign-Client-Secret: {secret}\r\n\r\n"
    );
    let request = canonical(sent.as_bytes());
    let head = String::from_utf8(serialise(&request)).unwrap();
    assert_eq!(head, "GET / HTTP/1.1\r\nhost: wiki.localhost\r\ncookie: a=1\r\n\r\n");
    let credentials = request.credentials();
    let all = [
        &credentials.session,
        &credentials.login,
        &credentials.bearer,
        &credentials.client_id,
        &credentials.client_secret,
    ];
    assert!(all.iter().all(|presented| presented.once().is_some_and(|found| found.expose() == secret.as_bytes())));
    assert!(!format!("{request:?}").contains("SECRET"));
}

#[test]
fn two_machine_credentials_are_ambiguous() {
    let request = canonical(
        b"GET / HTTP/1.1\r\nHost: wiki.localhost\r\nAuthorization: Countersign a\r\nX-Countersign-Authorization: Bearer b\r\n\r\n",
    );
    assert!(request.credentials().bearer.is_ambiguous());
    let request = canonical(b"GET / HTTP/1.1\r\nHost: wiki.localhost\r\nX-Countersign-Authorization: Basic b\r\n\r\n");
    assert!(request.credentials().bearer.is_ambiguous());
}

#[test]
fn a_scheme_that_only_begins_like_ours_belongs_to_the_app() {
    for value in ["Countersigned x", "Bearer x", "Basic eA=="] {
        let request =
            canonical(format!("GET / HTTP/1.1\r\nHost: wiki.localhost\r\nAuthorization: {value}\r\n\r\n").as_bytes());
        assert_eq!(request.fields().single("authorization").map(|value| &value[..]), Some(value.as_bytes()));
        assert!(request.credentials().bearer.once().is_none() && !request.credentials().bearer.is_ambiguous());
    }
}

#[test]
fn options_is_a_preflight_only_if_it_is_one() {
    let preflight = |fields: &str| {
        canonical(format!("OPTIONS / HTTP/1.1\r\nHost: wiki.localhost\r\n{fields}\r\n").as_bytes()).is_preflight()
    };
    let real = "Origin: https://a.localhost\r\nAccess-Control-Request-Method: PUT\r\n";
    assert!(preflight(real));
    assert!(!preflight(""));
    assert!(!preflight("Origin: https://a.localhost\r\n"));
    assert!(!preflight("Access-Control-Request-Method: PUT\r\n"));
    assert!(!preflight(&[real, "Cookie: a=1\r\n"].concat()));
    assert!(!preflight(&[real, "Authorization: Bearer a\r\n"].concat()));
    assert!(!preflight(&[real, "Content-Length: 0\r\n"].concat()));
    assert!(!preflight(&[real, &format!("Cookie: {SESSION_COOKIE}=x\r\n")].concat()));
}

#[test]
fn a_response_keeps_what_is_the_apps_and_loses_what_is_not() {
    let mut headers = map(&[
        ("content-type", "text/html"),
        ("set-cookie", "a=1"),
        ("set-cookie", "__Host-countersign=evil; Path=/"),
        ("set-cookie", "=__Host-countersign=evil; Path=/"),
        ("set-cookie", "b=2"),
        ("x-countersign-decision", "1"),
        ("x_countersign_decision", "1"),
        ("alt-svc", "h3=\":443\""),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
    ]);
    sanitise_response(&mut headers);
    assert_eq!(headers, map(&[("content-type", "text/html"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]));
}
