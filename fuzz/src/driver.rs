//! A connection of the gate driven the way a door drives it, and requests written the way a door writes them.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use http_gate::attacks::AttackedApp;
use http_gate::h1::{Event, ServerConnection};
use http_gate::upstream::UpstreamRequest;
use http_gate::{CanonicalRequest, Fields, GateRefusal, GateSettings, RawRequest};

const APPS: &[AttackedApp] = &[
    AttackedApp::Strict,
    AttackedApp::Base,
    AttackedApp::Merge,
    AttackedApp::DecodeAndMerge,
    AttackedApp::EmptySegment,
    AttackedApp::EncodedPercent,
    AttackedApp::EncodedSlash,
    AttackedApp::JudgesOverride,
    AttackedApp::NoPathRules,
    AttackedApp::PassesOddNames,
];

/// The settings that a byte chooses.
pub(crate) fn app(choice: u8) -> AttackedApp {
    APPS.iter().copied().cycle().nth(usize::from(choice)).unwrap_or(AttackedApp::Strict)
}

/// What a door saw on one connection.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct Seen {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) refused: Option<GateRefusal>,
    pub(crate) output: Vec<u8>,
}

/// One request with all that came with it.
#[derive(PartialEq, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: CanonicalRequest,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// True once its last byte was there.
    pub(crate) is_whole: bool,
}

/// The canonical form for `app`.
pub(crate) fn canonicalise(raw: RawRequest, app: AttackedApp) -> Result<CanonicalRequest, GateRefusal> {
    let path = app.path();
    raw.canonicalise(&GateSettings {
        path: &path,
        has_path_rules: app.has_path_rules(),
        passes_odd_header_names: app == AttackedApp::PassesOddNames,
        judges_method_override: app == AttackedApp::JudgesOverride,
        owned_names: &[],
    })
}

/// Feeds `pieces`, then the end; answers every whole request with 200.
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
        let last = seen.exchanges.last_mut();
        let step = match (connection.next_event(), last) {
            (Ok(Event::Head(raw)), _) => canonicalise(*raw, app).map(|request| {
                connection.write_continue();
                let is_whole = !request.framing().has_body();
                let (body, trailers) = (Vec::new(), Fields::default());
                seen.exchanges.push(Exchange { request, body, trailers, is_whole });
            }),
            (Ok(Event::Body(data)), Some(last)) => {
                assert!(!data.is_empty(), "an empty piece of a body");
                last.body.extend_from_slice(&data);
                Ok(())
            }
            (Ok(Event::End { trailers }), Some(last)) => {
                last.trailers = trailers;
                last.is_whole = true;
                Ok(())
            }
            (Ok(Event::Waiting), Some(last)) if last.request.is_websocket() => return,
            (Ok(Event::Waiting), Some(_)) => {
                let answered = connection.respond(StatusCode::OK, &HeaderMap::new(), b"ok");
                assert!(answered.is_ok(), "a whole request cannot be answered: {answered:?}");
                Ok(())
            }
            (Ok(Event::NeedMore | Event::Closed), _) => return,
            (Ok(event), None) => {
                assert!(matches!(event, Event::Head(_)), "{event:?} before any head");
                return;
            }
            (Err(refusal), _) => Err(refusal),
        };
        if let Err(refusal) = step {
            seen.refused = Some(refusal);
            connection.refuse(&refusal);
            assert!(connection.should_close(), "a refused connection goes on");
            return;
        }
    }
}

/// `bytes` in pieces whose lengths `cuts` say.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// The head as written upstream.
pub(crate) fn written(request: &CanonicalRequest) -> Vec<u8> {
    let mut head = BytesMut::new();
    UpstreamRequest { request, host: None, extra: &HeaderMap::new() }.write_head(&mut head);
    head.to_vec()
}

/// Checks that `request`, written upstream, is read as the same request and by nobody as more than one.
pub(crate) fn check_round_trip(request: &CanonicalRequest, app: AttackedApp) {
    let head = written(request);
    let text = head.escape_ascii().to_string();
    let mut connection = ServerConnection::new();
    connection.receive(&head);
    let event = connection.next_event();
    let Ok(Event::Head(raw)) = event else {
        assert!(matches!(event, Ok(Event::Head(_))), "{text} was written and is read as {event:?}");
        return;
    };
    let again = canonicalise(*raw, app);
    assert!(again.as_ref().is_ok_and(|again| is_same(request, again)), "{text} is read as {again:?}");
    assert!(again.is_ok_and(|again| written(&again) == head), "{text} is written differently the second time");
    // A body of no bytes ends at once.
    let next = match connection.next_event() {
        Ok(Event::End { trailers }) if trailers.is_empty() => connection.next_event(),
        next => next,
    };
    let is_over = matches!(next, Ok(Event::NeedMore | Event::Waiting));
    assert!(is_over, "{text} is followed by {next:?}");
}

fn is_same(one: &CanonicalRequest, other: &CanonicalRequest) -> bool {
    one.method() == other.method()
        && one.host() == other.host()
        && one.target() == other.target()
        && one.fields() == other.fields()
        && one.framing() == other.framing()
        && one.is_websocket() == other.is_websocket()
        && one.accepts_trailers() == other.accepts_trailers()
        && one.declared_trailers().eq(other.declared_trailers())
}
