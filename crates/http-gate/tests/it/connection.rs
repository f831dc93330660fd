//! One HTTP/1.1 connection from its first byte to its last (GW-36, GW-57).

use http::{HeaderMap, HeaderValue, StatusCode};
use http_gate::h1::{Event, ResponseBody, ServerConnection, WriteError};
use http_gate::limits::MAX_READ_AHEAD_BYTES;
use http_gate::{Framing, GateCode, HttpVersion, RawRequest};

const GET: &str = "GET /a HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n";
const WEBSOCKET: &str = "GET /live HTTP/1.1\r\nHost: wiki.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn connection(sent: &str) -> ServerConnection {
    let mut connection = ServerConnection::new();
    connection.receive(sent.as_bytes());
    connection
}

fn head(connection: &mut ServerConnection) -> RawRequest {
    match connection.next_event() {
        Ok(Event::Head(request)) => *request,
        other => panic!("no head but {other:?}"),
    }
}

fn output(connection: &mut ServerConnection) -> String {
    String::from_utf8(connection.take_output().to_vec()).unwrap()
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_pipelined_request_waits_until_the_response_before_it_is_finished() {
    let mut connection = connection(&[GET, GET].concat());
    assert_eq!(head(&mut connection).framing(), Framing::None);
    assert_eq!(connection.next_event(), Ok(Event::Waiting));
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Length(2)).unwrap();
    connection.write_body(b"o").unwrap();
    assert_eq!(connection.next_event(), Ok(Event::Waiting));
    connection.write_body(b"k").unwrap();
    connection.finish(None).unwrap();
    assert_eq!(head(&mut connection).raw_path(), b"/a");
    assert_eq!(output(&mut connection), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert!(!connection.should_close());
}

#[test]
fn an_idle_connection_that_ends_is_closed_without_a_word() {
    let mut connection = ServerConnection::new();
    assert_eq!(connection.next_event(), Ok(Event::NeedMore));
    assert!(connection.is_idle() && connection.wants_input());
    connection.receive_end();
    assert_eq!(connection.next_event(), Ok(Event::Closed));
    assert!(connection.should_close() && !connection.wants_input());
    assert_eq!(output(&mut connection), "");
}

#[test]
fn a_connection_that_waits_gives_its_memory_back_and_loses_no_byte() {
    let first = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut connection = connection(first);
    drop(head(&mut connection));
    connection.respond(StatusCode::OK, &HeaderMap::new(), b"one").unwrap();
    assert!(output(&mut connection).ends_with("one"));
    assert!(matches!(connection.next_event(), Ok(Event::NeedMore)));
    assert!(connection.is_idle());
    connection.release_idle_buffers();
    assert_eq!(connection.buffer_capacity(), 0);
    // Half a head is kept.
    connection.receive(b"GET /2 HTT");
    assert!(matches!(connection.next_event(), Ok(Event::NeedMore)));
    connection.release_idle_buffers();
    connection.receive(b"P/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head(&mut connection).raw_path(), b"/2");
    // So is an answer that is not sent.
    connection.respond(StatusCode::OK, &HeaderMap::new(), b"two").unwrap();
    connection.release_idle_buffers();
    assert!(output(&mut connection).ends_with("two"));
}

#[test]
fn a_connection_that_ends_inside_a_message_is_refused() {
    let mut half_head = connection("GET / HT");
    half_head.receive_end();
    assert_eq!(half_head.next_event().unwrap_err().code, GateCode::HeadTruncated);
    for (framing, sent) in [("Content-Length: 5", "abc"), ("Transfer-Encoding: chunked", "5\r\nabc")] {
        let mut half_body = connection(&format!("POST / HTTP/1.1\r\nHost: wiki.localhost\r\n{framing}\r\n\r\n{sent}"));
        head(&mut half_body);
        assert_eq!(half_body.next_event(), Ok(Event::Body("abc".into())));
        half_body.receive_end();
        assert_eq!(half_body.next_event().unwrap_err().code, GateCode::BodyTruncated);
    }
}

#[test]
fn a_refusal_stays_and_nothing_after_it_is_read() {
    let mut connection = connection("GET  / HTTP/1.1\r\n");
    let refusal = connection.next_event().unwrap_err();
    connection.receive(GET.as_bytes());
    assert_eq!(connection.next_event(), Err(refusal));
    connection.refuse(&refusal);
    assert_eq!(connection.next_event(), Ok(Event::Closed));
    assert!(output(&mut connection).starts_with("HTTP/1.1 400 Bad Request\r\n"));
}

#[test]
fn a_refusal_carries_what_the_caller_adds_and_no_framing_of_its_making() {
    let mut connection = connection("GET  / HTTP/1.1\r\n");
    let refusal = connection.next_event().unwrap_err();
    let mut headers = refusal.headers();
    headers.insert("x-request-id", "abc".parse().unwrap());
    headers.insert("transfer-encoding", "chunked".parse().unwrap());
    headers.insert("content-length", "9".parse().unwrap());
    connection.refuse_as(refusal.status(), &headers, b"no");
    assert!(connection.should_close());
    assert_eq!(
        output(&mut connection),
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         x-request-id: abc\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"
    );
}

#[test]
fn a_refusal_inside_a_response_cuts_it_short() {
    let mut connection = connection("POST / HTTP/1.1\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    head(&mut connection);
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Streamed).unwrap();
    connection.receive(b"zz\r\n");
    let refusal = connection.next_event().unwrap_err();
    connection.refuse(&refusal);
    assert!(connection.is_aborted() && connection.should_close());
    assert_eq!(output(&mut connection), "");
}

#[test]
fn continue_is_written_only_when_the_door_says_so() {
    let sent = "PUT / HTTP/1.1\r\nHost: wiki.localhost\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    let mut asked = connection(sent);
    assert!(head(&mut asked).expects_continue());
    assert_eq!(asked.next_event(), Ok(Event::NeedMore));
    assert_eq!(output(&mut asked), "");
    asked.write_continue();
    asked.write_continue();
    assert_eq!(output(&mut asked), "HTTP/1.1 100 Continue\r\n\r\n");
    asked.receive(b"ok");
    assert_eq!(asked.next_event(), Ok(Event::Body("ok".into())));
    assert!(matches!(asked.next_event(), Ok(Event::End { .. })));
    asked.respond(StatusCode::OK, &HeaderMap::new(), b"").unwrap();
    assert!(!asked.should_close());

    // Refused without asking: the body may or may not come, so that the connection has to end.
    let mut refused = connection(sent);
    head(&mut refused);
    refused.respond(StatusCode::FORBIDDEN, &HeaderMap::new(), b"no").unwrap();
    refused.write_continue();
    assert_eq!(output(&mut refused), "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    refused.receive(b"GET /admin HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n");
    assert_eq!(refused.next_event(), Ok(Event::Closed));
}

#[test]
fn another_expectation_is_refused() {
    let mut connection = connection("GET / HTTP/1.1\r\nHost: wiki.localhost\r\nExpect: tea\r\n\r\n");
    let refusal = connection.next_event().unwrap_err();
    assert_eq!((refusal.code, refusal.status()), (GateCode::Expectation, StatusCode::EXPECTATION_FAILED));
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let sent = "GET / HTTP/1.0\r\nHost: wiki.localhost\r\nConnection: keep-alive\r\n\r\n";
    let mut connection = connection(&[sent, GET].concat());
    assert_eq!(head(&mut connection).version(), HttpVersion::Http10);
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Streamed).unwrap();
    connection.write_body(b"ok").unwrap();
    connection.finish(None).unwrap();
    assert_eq!(output(&mut connection), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok");
    assert_eq!(connection.next_event(), Ok(Event::Closed));
}

#[test]
fn a_client_that_asks_to_close_is_answered_and_closed() {
    let mut connection = connection("GET / HTTP/1.1\r\nHost: wiki.localhost\r\nConnection: Close\r\n\r\n");
    head(&mut connection);
    connection.respond(StatusCode::OK, &HeaderMap::new(), b"").unwrap();
    assert!(output(&mut connection).contains("connection: close\r\n"));
    assert!(connection.should_close());
}

#[test]
fn a_draining_door_closes_after_the_response() {
    let mut busy = connection(GET);
    head(&mut busy);
    busy.close_after_response();
    assert!(!busy.should_close());
    busy.respond(StatusCode::OK, &HeaderMap::new(), b"").unwrap();
    assert!(busy.should_close());
    let mut idle = ServerConnection::new();
    idle.close_after_response();
    assert!(idle.should_close());
}

#[test]
fn a_streamed_response_is_chunked_and_an_empty_part_does_not_end_it() {
    let mut connection = connection("GET / HTTP/1.1\r\nHost: wiki.localhost\r\nTE: trailers\r\n\r\n");
    head(&mut connection);
    let fields =
        headers(&[("content-type", "text/event-stream"), ("transfer-encoding", "identity"), ("content-length", "9")]);
    connection.write_head(StatusCode::OK, &fields, ResponseBody::Streamed).unwrap();
    connection.write_body(b"data: 1\n\n").unwrap();
    connection.write_body(b"").unwrap();
    connection.write_body(&[b'x'; 16]).unwrap();
    connection.finish(Some(&headers(&[("grpc-status", "0"), ("content-length", "1")]))).unwrap();
    assert_eq!(
        output(&mut connection),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         9\r\ndata: 1\n\n\r\n10\r\nxxxxxxxxxxxxxxxx\r\n0\r\ngrpc-status: 0\r\n\r\n"
    );
}

#[test]
fn trailers_are_kept_from_a_client_that_did_not_ask_for_them() {
    let mut connection = connection(GET);
    head(&mut connection);
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Streamed).unwrap();
    connection.finish(Some(&headers(&[("grpc-status", "0")]))).unwrap();
    assert!(output(&mut connection).ends_with("\r\n\r\n0\r\n\r\n"));
}

#[test]
fn an_aborted_response_has_no_final_chunk_and_nothing_after_the_cut() {
    let mut connection = connection(GET);
    head(&mut connection);
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Streamed).unwrap();
    connection.write_body(b"before").unwrap();
    assert!(output(&mut connection).ends_with("6\r\nbefore\r\n"));
    connection.write_body(b"queued but not sent").unwrap();
    connection.abort();
    assert_eq!(connection.write_body(b"after"), Err(WriteError::NotBegun));
    assert_eq!(connection.finish(None), Err(WriteError::NotBegun));
    assert_eq!(output(&mut connection), "");
    assert!(connection.is_aborted() && connection.should_close());
}

#[test]
fn responses_without_body_have_none_whatever_an_upstream_sends() {
    for (sent, status, fields) in [
        (GET, StatusCode::NO_CONTENT, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, StatusCode::NOT_MODIFIED, "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n"),
        (
            "HEAD / HTTP/1.1\r\nHost: wiki.localhost\r\n\r\n",
            StatusCode::OK,
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
        ),
    ] {
        let mut connection = connection(sent);
        head(&mut connection);
        connection.respond(status, &HeaderMap::new(), b"evil").unwrap();
        assert_eq!(output(&mut connection), fields);
        assert!(!connection.should_close());
    }
}

#[test]
fn a_response_longer_or_shorter_than_announced_is_an_error() {
    let mut connection = connection(GET);
    head(&mut connection);
    connection.write_head(StatusCode::OK, &HeaderMap::new(), ResponseBody::Length(3)).unwrap();
    connection.write_body(b"ab").unwrap();
    assert_eq!(connection.finish(None), Err(WriteError::BodyTooShort { missing: 1 }));
    assert_eq!(connection.write_body(b"cd"), Err(WriteError::BodyTooLong));
    assert!(output(&mut connection).ends_with("\r\n\r\nab"));
}

#[test]
fn a_response_needs_a_request_and_a_final_status() {
    let mut connection = connection(GET);
    let respond = |connection: &mut ServerConnection, status| connection.respond(status, &HeaderMap::new(), b"");
    assert_eq!(respond(&mut connection, StatusCode::OK), Err(WriteError::NothingToAnswer));
    head(&mut connection);
    assert_eq!(respond(&mut connection, StatusCode::CONTINUE), Err(WriteError::Status(100)));
    assert_eq!(respond(&mut connection, StatusCode::SWITCHING_PROTOCOLS), Err(WriteError::Status(101)));
    respond(&mut connection, StatusCode::OK).unwrap();
    assert_eq!(respond(&mut connection, StatusCode::OK), Err(WriteError::NothingToAnswer));
}

#[test]
fn a_response_before_the_end_of_the_body_closes() {
    let mut connection = connection("POST / HTTP/1.1\r\nHost: wiki.localhost\r\nContent-Length: 9\r\n\r\nabc");
    head(&mut connection);
    connection.respond(StatusCode::PAYLOAD_TOO_LARGE, &HeaderMap::new(), b"").unwrap();
    assert!(output(&mut connection).contains("connection: close\r\n"));
    connection.receive(b"defghi");
    assert_eq!(connection.next_event(), Ok(Event::Closed));
}

#[test]
fn a_websocket_is_handed_over_with_what_follows_it() {
    let mut connection = connection(WEBSOCKET);
    assert!(head(&mut connection).is_websocket());
    assert_eq!(connection.next_event(), Ok(Event::Waiting));
    let fields = headers(&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), ("upgrade", "foo")]);
    connection.write_head(StatusCode::SWITCHING_PROTOCOLS, &fields, ResponseBody::Empty).unwrap();
    connection.receive(b"\x81\x00");
    assert_eq!(connection.next_event(), Ok(Event::Waiting));
    let upgraded = connection.into_upgraded().unwrap();
    assert_eq!(&upgraded.input[..], b"\x81\x00");
    assert_eq!(
        upgraded.output,
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
}

#[test]
fn early_bytes_behind_a_websocket_upgrade_are_refused_however_they_arrive() {
    let mut at_once = connection(&[WEBSOCKET, GET].concat());
    assert_eq!(at_once.next_event().unwrap_err().code, GateCode::UpgradeEarlyBytes);
    let mut later = connection(WEBSOCKET);
    head(&mut later);
    later.receive(GET.as_bytes());
    let refusal = later.next_event().unwrap_err();
    assert_eq!((refusal.code, refusal.offset), (GateCode::UpgradeEarlyBytes, WEBSOCKET.len()));
    assert!(later.into_upgraded().is_none());
}

#[test]
fn a_refused_websocket_closes_and_is_never_a_tunnel() {
    let mut connection = connection(WEBSOCKET);
    head(&mut connection);
    connection.respond(StatusCode::OK, &HeaderMap::new(), b"no").unwrap();
    assert!(output(&mut connection).contains("connection: close\r\n"));
    connection.receive(GET.as_bytes());
    assert_eq!(connection.next_event(), Ok(Event::Closed));
    assert!(connection.into_upgraded().is_none());
}

#[test]
fn requests_in_waiting_are_left_in_the_socket_beyond_a_bound() {
    let mut connection = connection(GET);
    head(&mut connection);
    assert!(connection.wants_input());
    connection.receive(&vec![b'x'; MAX_READ_AHEAD_BYTES - 1]);
    assert!(connection.wants_input());
    connection.receive(b"x");
    assert!(!connection.wants_input());
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let mut connection = connection(&["\r\n", GET].concat());
    assert_eq!(head(&mut connection).raw_path(), b"/a");
}

#[test]
fn declared_trailers_arrive_and_others_do_not() {
    let sent = "POST / HTTP/1.1\r\nHost: wiki.localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, x-more\r\n\r\n\
                3\r\nabc\r\n0\r\nX-SUM: 1\r\n\r\n";
    let mut connection = connection(sent);
    head(&mut connection);
    assert_eq!(connection.next_event(), Ok(Event::Body("abc".into())));
    let Ok(Event::End { trailers }) = connection.next_event() else { panic!("no end") };
    assert_eq!(trailers.single("x-sum").map(|value| &value[..]), Some(b"1".as_slice()));
    assert_eq!(trailers.len(), 1);
}
