//! HTTP/2 frames written by hand: what client libraries refuse to send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::DrillError;
use crate::target::Target;
use crate::wire::{Io, connect};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With a status; 0 where it cannot be read.
    Answered(u16),
    /// The stream alone was refused.
    Reset,
    /// The connection was.
    ConnectionEnded,
    /// Nothing came in time.
    Silent,
}

/// One connection.
pub(crate) struct Frames {
    pub(crate) stream: Box<dyn Io>,
}

impl Frames {
    /// Opens a connection and says hello; `None` if the proxy does not speak HTTP/2.
    pub(crate) async fn connect(target: &Target) -> Result<Option<Self>, DrillError> {
        let Some(mut stream) = connect(target, pki::tls::ALPN_H2).await? else { return Ok(None) };
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let _ = stream.write_all(&hello).await;
        let _ = stream.flush().await;
        Ok(Some(Self { stream }))
    }

    /// Writes; the proxy may have hung up, and how a stream ended is read from what it sent.
    pub(crate) async fn write(&mut self, bytes: &[u8], limit: Duration) {
        let write = async {
            let _ = self.stream.write_all(bytes).await;
            let _ = self.stream.flush().await;
        };
        let _ = tokio::time::timeout(limit, write).await;
    }

    /// Reads until `stream` is answered, reset, or gone with its connection, but not longer than `limit`.
    pub(crate) async fn end_of(&mut self, stream: u32, limit: Duration) -> End {
        let deadline = Instant::now() + limit;
        loop {
            let Ok(next) = timeout_at(deadline, self.next()).await else { return End::Silent };
            let Some((kind, flags, id, payload)) = next else { return End::ConnectionEnded };
            match (kind, id) {
                (SETTINGS, _) if flags == 0 => self.write(&frame(SETTINGS, 1, 0, &[]), limit).await,
                (PING, _) if flags == 0 => self.write(&frame(PING, 1, 0, &payload), limit).await,
                (RST_STREAM, id) if id == stream => return End::Reset,
                (GOAWAY, _) if payload.get(4..8) != Some(&[0; 4]) => return End::ConnectionEnded,
                (HEADERS, id) if id == stream => return End::Answered(status(&payload)),
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, flags, id @ ..] = header;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
    }
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block of literals without indexing (RFC 7541 §6.2.2), neither Huffman-coded nor checked.
pub(crate) fn block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// RFC 7541 §5.1 with a prefix of 7 bits.
fn put_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap_or(0));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or(0) | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or(0));
}

/// The status, which servers send first: indexed (RFC 7541 appendix A), or a literal with the indexed name `:status`.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // A change of the table's size may come before.
        [0x3f, _, _, rest @ ..] => rest,
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        block => block,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [first, coded, rest @ ..] if matches!(first & 0x3f, 8..=14) || matches!(first & 0x0f, 8..=14) => {
            digits(*coded, rest).unwrap_or(0)
        }
        _ => 0,
    }
}

fn digits(coded: u8, rest: &[u8]) -> Option<u16> {
    let text = rest.get(..usize::from(coded & 0x7f))?;
    if coded & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    // Codes of digits (RFC 7541 appendix B): `0`, `1`, `2` are 00000, 00001, 00010; `3` to `9` are 011001 to 011111.
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut number: u16 = 0;
    for _ in 0..3 {
        let mut take = |count: usize| bits.by_ref().take(count).fold(0u16, |code, bit| code << 1 | u16::from(bit));
        let five = take(5);
        let digit = if five < 3 { five } else { (five << 1 | take(1)).checked_sub(0b01_1001)? + 3 };
        number = number * 10 + digit;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (block, expected) in [
            (b"\x88".as_slice(), 200),
            (b"\x20\x8c", 400),
            (b"\x08\x03403", 403),
            (b"\x48\x03502", 502),
            // 403 Huffman-coded: 011010 00000 011001.
            (b"\x48\x83\x68\x0c\xff", 403),
            (b"", 0),
            (b"\xff\xff", 0),
        ] {
            assert_eq!(status(block), expected, "{block:02x?}");
        }
    }
}
