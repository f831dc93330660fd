//! ATK-9 and ATK-11 over HTTP/2 with frames written by hand: what client libraries refuse to send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{AUTH, PAYROLL, WIKI, World, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The window of streams and connection at the start (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

type Field<'a> = (&'a [u8], &'a [u8]);

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered(u16),
    Reset,
    ConnectionEnded,
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_9_http2_headers_that_http1_reads_differently_are_stream_errors() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    world.wiki.take();
    let cookie = alice.cookies(WIKI);
    let plain = pseudo(b"GET", b"/hostile", WIKI.as_bytes());
    let with = |field: Field<'static>| [plain.clone(), vec![field]].concat();
    let hostile: Vec<(&str, Vec<Field<'_>>)> = vec![
        ("a line end in a value", with((b"x-a", b"1\r\nx-admin: 1"))),
        ("a line feed in a value", with((b"x-a", b"1\nx-admin: 1"))),
        ("a carriage return in a value", with((b"x-a", b"1\rx"))),
        ("nul in a value", with((b"x-a", b"1\0"))),
        ("a line end in a name", with((b"x-a: 1\r\nx-admin", b"1"))),
        ("nul in a name", with((b"x-a\0", b"1"))),
        ("a colon in a name", with((b"x-a: 1", b"1"))),
        ("a space in a name", with((b"x-a ", b"1"))),
        ("upper case in a name", with((b"X-A", b"1"))),
        ("an empty name", with((b"", b"1"))),
        ("transfer-encoding", with((b"transfer-encoding", b"chunked"))),
        ("connection", with((b"connection", b"close"))),
        ("keep-alive", with((b"keep-alive", b"1"))),
        ("proxy-connection", with((b"proxy-connection", b"close"))),
        ("upgrade", with((b"upgrade", b"h2c"))),
        ("te other than trailers", with((b"te", b"gzip"))),
        ("another host", with((b"host", PAYROLL.as_bytes()))),
        ("two hosts", [with((b"host", WIKI.as_bytes())), vec![(b"host", PAYROLL.as_bytes())]].concat()),
        ("content-length as a list", with((b"content-length", b"1,1"))),
        ("content-length with a sign", with((b"content-length", b"+0"))),
        ("content-length without a body", with((b"content-length", b"5"))),
        ("two methods", with((b":method", b"DELETE"))),
        ("two paths", [vec![(b":path".as_slice(), b"/admin".as_slice())], plain.clone()].concat()),
        ("two schemes", [vec![(b":scheme".as_slice(), b"http".as_slice())], plain.clone()].concat()),
        ("two authorities", [vec![(b":authority".as_slice(), PAYROLL.as_bytes())], plain.clone()].concat()),
        ("a pseudo-header behind a header", [vec![(b"x-a".as_slice(), b"1".as_slice())], plain.clone()].concat()),
        ("an unknown pseudo-header", [vec![(b":evil".as_slice(), b"1".as_slice())], plain.clone()].concat()),
        ("a status", [vec![(b":status".as_slice(), b"200".as_slice())], plain.clone()].concat()),
        ("no path", plain.iter().copied().filter(|(name, _)| *name != b":path").collect()),
        ("an empty path", pseudo(b"GET", b"", WIKI.as_bytes())),
        ("no authority", plain.iter().copied().filter(|(name, _)| *name != b":authority").collect()),
        ("user-info in the authority", pseudo(b"GET", b"/hostile", b"wiki.localhost@payroll.localhost")),
        ("a line end in the path", pseudo(b"GET", b"/hostile HTTP/1.1\r\nx-admin: 1\r\nx: ", WIKI.as_bytes())),
        ("a space in the path", pseudo(b"GET", b"/hostile HTTP/1.1", WIKI.as_bytes())),
        ("a line end in the method", pseudo(b"GET / HTTP/1.1\r\nx-admin: 1\r\n\r\nGET", b"/hostile", WIKI.as_bytes())),
        ("an absolute path", pseudo(b"GET", b"https://payroll.localhost/", WIKI.as_bytes())),
        ("no leading slash", pseudo(b"GET", b"hostile", WIKI.as_bytes())),
        ("a dot-dot segment", pseudo(b"GET", b"/x/../hostile", WIKI.as_bytes())),
        ("an encoded slash", pseudo(b"GET", b"/x%2Fhostile", WIKI.as_bytes())),
        ("connect", pseudo(b"CONNECT", b"/hostile", WIKI.as_bytes())),
    ];
    let (mut reset, mut refused) = (0, 0);
    for (name, fields) in &hostile {
        let mut client = Frames::connect(&world).await;
        client.headers(1, &signed_in(fields, &cookie), END_STREAM).await;
        match client.end_of(1).await {
            End::Answered(status) => {
                assert!(matches!(status, 400 | 405 | 421), "{name}: {status}");
                refused += 1;
            }
            End::Reset | End::ConnectionEnded => reset += 1,
        }
        assert!(world.wiki.take().is_empty() && world.payroll.take().is_empty(), "{name} reached an app");
    }
    assert!(crate::harness::wire::find(&world.seen_by_apps(), b"hostile").is_none());
    let mut client = Frames::connect(&world).await;
    client.headers(1, &signed_in(&plain, &cookie), END_STREAM).await;
    assert_eq!(client.end_of(1).await, End::Answered(200), "the same frames with nothing wrong in them pass");
    assert_eq!(world.wiki.take().len(), 1);
    println!("ATK-9: {} hostile header lists, {reset} reset, {refused} refused with a status", hostile.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_9_a_hostile_stream_does_not_harm_its_neighbours() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    world.wiki.take();
    let cookie = alice.cookies(WIKI);
    let mut client = Frames::connect(&world).await;
    let mut hostile = pseudo(b"GET", b"/hostile", WIKI.as_bytes());
    hostile.push((b"transfer-encoding", b"chunked"));
    client.headers(1, &signed_in(&hostile, &cookie), END_STREAM).await;
    assert_ne!(client.end_of(1).await, End::ConnectionEnded);
    client.headers(3, &signed_in(&pseudo(b"GET", b"/well", WIKI.as_bytes()), &cookie), END_STREAM).await;
    assert_eq!(client.end_of(3).await, End::Answered(200));
    let lines: Vec<String> = world.wiki.take().iter().map(|asked| asked.line().to_owned()).collect();
    assert_eq!(lines, ["GET /well HTTP/1.1"]);
    println!("ATK-9: the neighbour stream of a hostile one was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_9_a_body_unlike_its_content_length_never_looks_whole() {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    alice.open(WIKI, "/").await;
    world.wiki.take();
    let cookie = alice.cookies(WIKI);
    for (announced, sent) in [("5", "hell"), ("4", "hello"), ("0", "x")] {
        let mut client = Frames::connect(&world).await;
        let mut fields = pseudo(b"POST", b"/upload", WIKI.as_bytes());
        fields.push((b"content-length", announced.as_bytes()));
        client.headers(1, &signed_in(&fields, &cookie), 0).await;
        client.frame(DATA, END_STREAM, 1, sent.as_bytes()).await;
        let end = client.end_of(1).await;
        assert!(matches!(end, End::Reset | End::ConnectionEnded | End::Answered(400)), "{announced}: {end:?}");
        let asked = world.wiki.take();
        assert!(asked.is_empty(), "{announced}: the app took {asked:?} for a whole request");
    }
    println!("ATK-9: bodies shorter and longer than announced never looked whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_11_a_gigabyte_over_http2_to_the_sign_in_is_refused_before_it_is_read() {
    let world = World::open().await;
    for path in [b"/login/finish".as_slice(), b"/enrol/finish", b"/step-up/finish"] {
        let mut client = Frames::connect(&world).await;
        let mut fields = pseudo(b"POST", path, AUTH.as_bytes());
        fields
            .extend([(b"content-length".as_slice(), b"4000000000".as_slice()), (b"content-type", b"application/json")]);
        client.headers(1, &fields, 0).await;
        assert_eq!(client.end_of(1).await, End::Answered(413), "{}", String::from_utf8_lossy(path));

        // Not announced: as soon as it is too much.
        let mut client = Frames::connect(&world).await;
        client.headers(1, &pseudo(b"POST", path, AUTH.as_bytes()), 0).await;
        for _ in 0..8 {
            client.data(1, &[b'x'; 0x2000]).await;
        }
        client.data(1, b"x").await;
        assert_eq!(client.end_of(1).await, End::Answered(413), "{}", String::from_utf8_lossy(path));
    }
    println!("ATK-11 h2: 413 for gigabytes announced, and for the first byte over 64 KiB");
}

fn pseudo<'a>(method: &'a [u8], path: &'a [u8], authority: &'a [u8]) -> Vec<Field<'a>> {
    vec![(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path)]
}

fn signed_in<'a>(fields: &[Field<'a>], cookie: &'a str) -> Vec<Field<'a>> {
    [fields, &[(b"cookie".as_slice(), cookie.as_bytes())]].concat()
}

/// A client that writes frames. It keeps to the window of the stream it sends data on, and to nothing else.
struct Frames {
    stream: TlsStream<TcpStream>,
    windows: [usize; 2],
}

impl Frames {
    async fn connect(world: &World) -> Self {
        let mut client = Self { stream: world.door.http2().await, windows: [WINDOW; 2] };
        client.write(PREFACE).await;
        client.frame(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The door may have hung up; how a stream ended is read from what it sent.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let header = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write(&[&header, payload].concat()).await;
    }

    /// A header block of literals without indexing (RFC 7541 §6.2.2), neither Huffman-coded nor checked.
    async fn headers(&mut self, stream: u32, fields: &[Field<'_>], flags: u8) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                length(&mut block, text.len());
                block.extend_from_slice(text);
            }
        }
        self.frame(HEADERS, END_HEADERS | flags, stream, &block).await;
    }

    /// Data, once both windows have room for it.
    async fn data(&mut self, stream: u32, payload: &[u8]) {
        while self.windows.iter().any(|window| *window < payload.len()) {
            let (kind, _, id, payload) = self.next().await.expect("the door hung up before it had too much");
            if kind != WINDOW_UPDATE {
                continue;
            }
            let more = u32::from_be_bytes(payload.try_into().unwrap());
            self.windows[usize::from(id == stream)] += usize::try_from(more).unwrap();
        }
        for window in &mut self.windows {
            *window -= payload.len();
        }
        self.frame(DATA, 0, stream, payload).await;
    }

    /// The next frame: kind, flags, stream, payload. `None` once the connection is gone.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        soon(self.stream.read_exact(&mut header)).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = header;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        soon(self.stream.read_exact(&mut payload)).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
    }

    /// Reads until `stream` is answered, reset, or gone with its connection.
    async fn end_of(&mut self, stream: u32) -> End {
        while let Some((kind, flags, id, payload)) = self.next().await {
            match (kind, id) {
                (SETTINGS, _) if flags == 0 => self.frame(SETTINGS, 1, 0, &[]).await,
                (PING, _) if flags == 0 => self.frame(PING, 1, 0, &payload).await,
                (RST_STREAM, id) if id == stream => return End::Reset,
                (GOAWAY, _) if payload.get(4..8) != Some(&[0; 4]) => return End::ConnectionEnded,
                (HEADERS, id) if id == stream => return End::Answered(status(&payload)),
                _ => {}
            }
        }
        End::ConnectionEnded
    }
}

/// RFC 7541 §5.1 with a prefix of 7 bits.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The status, which `h2` sends first: indexed (RFC 7541 appendix A) or as a literal with the indexed name `:status`.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // A change of the table's size may come before.
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        block => block,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // Three digits fit two Huffman-coded bytes or three plain ones.
        [first, coded, rest @ ..] if matches!(first & 0x3f, 8..=14) || first & 0x0f >= 8 => digits(*coded, rest),
        other => panic!("no status at the start of {other:02x?}"),
    }
}

fn digits(coded: u8, rest: &[u8]) -> u16 {
    let text = &rest[..usize::from(coded & 0x7f)];
    if coded & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    // Codes of digits (RFC 7541 appendix B): `0`, `1`, `2` are 00000, 00001, 00010; `3` to `9` are 011001 to 011111.
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number = 0;
    for _ in 0..3 {
        let mut take = |count: usize| bits.by_ref().take(count).fold(0u16, |code, bit| code << 1 | u16::from(bit));
        let five = take(5);
        let digit = if five < 3 { five } else { (five << 1 | take(1)) - 0b011001 + 3 };
        number = number * 10 + digit;
    }
    number
}
