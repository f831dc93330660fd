//! A connection driven the way a door drives it.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use http_gate::attacks::AttackedApp;
use http_gate::h1::{Event, ServerConnection};
use http_gate::upstream::UpstreamRequest;
use http_gate::{CanonicalRequest, GateRefusal, GateSettings, RawRequest};

/// The canonical form for `app`, its rewrite applied.
pub(crate) fn canonicalise(raw: RawRequest, app: AttackedApp) -> Result<CanonicalRequest, GateRefusal> {
    let path = app.path();
    let settings = GateSettings {
        path: &path,
        has_path_rules: app.has_path_rules(),
        passes_odd_header_names: app == AttackedApp::PassesOddNames,
        judges_method_override: app == AttackedApp::JudgesOverride,
        owned_names: &[],
    };
    let request = raw.canonicalise(&settings)?;
    match app.rewrite() {
        Some(rewrite) => request.rewritten(&rewrite, &settings),
        None => Ok(request),
    }
}

/// The canonical form of one request under the default app.
pub(crate) fn canonical(sent: &[u8]) -> CanonicalRequest {
    let seen = drive([sent], AttackedApp::Strict);
    assert_eq!(seen.refused, None, "{}", String::from_utf8_lossy(sent));
    seen.requests.into_iter().next().unwrap()
}

/// What a door saw on one connection.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<CanonicalRequest>,
    /// The body of each request.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// The trailers of each request.
    pub(crate) trailers: Vec<http_gate::Fields>,
    pub(crate) refused: Option<GateRefusal>,
    pub(crate) output: Vec<u8>,
}

/// Feeds `pieces`, then the end; answers every request with 200 once it is complete.
pub(crate) fn drive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, app: AttackedApp) -> Seen {
    let mut connection = ServerConnection::new();
    let mut seen = Seen::default();
    for piece in pieces {
        if connection.wants_input() {
            connection.receive(piece);
        }
        handle(&mut connection, app, &mut seen);
    }
    connection.receive_end();
    handle(&mut connection, app, &mut seen);
    seen.output.extend_from_slice(&connection.take_output());
    seen
}

fn handle(connection: &mut ServerConnection, app: AttackedApp, seen: &mut Seen) {
    loop {
        let event = match connection.next_event() {
            Ok(Event::Head(raw)) => canonicalise(*raw, app).map(|request| {
                connection.write_continue();
                seen.requests.push(request);
                seen.bodies.push(Vec::new());
                seen.trailers.push(http_gate::Fields::default());
            }),
            Ok(Event::Body(data)) => {
                assert!(!data.is_empty());
                seen.bodies.last_mut().unwrap().extend_from_slice(&data);
                Ok(())
            }
            Ok(Event::End { trailers }) => {
                *seen.trailers.last_mut().unwrap() = trailers;
                Ok(())
            }
            Ok(Event::Waiting) => {
                if seen.requests.last().is_some_and(CanonicalRequest::is_websocket) {
                    return;
                }
                connection.respond(StatusCode::OK, &HeaderMap::new(), b"ok").unwrap();
                Ok(())
            }
            Ok(Event::NeedMore | Event::Closed) => return,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = event {
            seen.refused = Some(refusal);
            connection.refuse(&refusal);
            assert!(connection.should_close());
            return;
        }
    }
}

/// The head as written upstream.
pub(crate) fn serialise(request: &CanonicalRequest) -> Vec<u8> {
    let mut head = BytesMut::new();
    UpstreamRequest { request, host: None, extra: &HeaderMap::new() }.write_head(&mut head);
    head.to_vec()
}
