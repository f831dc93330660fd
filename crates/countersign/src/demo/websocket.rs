//! WebSocket frames (RFC 6455), as much as the sample wiki and the tour need: unfragmented text, ping, pong and close.
//! Not the door's code, so that the tour judges the door with something it did not write for itself.
//!
//! Invariants: a frame is read whole or not at all, however the other side of a `select!` ends; nothing larger than
//! [`MAX_PAYLOAD`] is ever held.

use std::time::Instant;

use anyhow::{Result, bail};
use data_encoding::BASE64;
use model::Ids;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::system::SystemIds;

/// RFC 6455 §1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Frames read ahead; further ones wait in the socket.
const READ_AHEAD: usize = 16;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Close with this status; 1005 when it named none (RFC 6455 §7.4.1).
    Close(u16),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// A text.
    Text(String),
}

/// A frame and when its last byte came.
pub struct Arrived {
    /// When.
    pub at: Instant,
    /// What.
    pub frame: Frame,
}

/// Which end we are: clients mask, servers do not (RFC 6455 §5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The browser.
    Client,
    /// The app.
    Server,
}

/// An open WebSocket.
pub struct WebSocket<S> {
    arrived: mpsc::Receiver<Arrived>,
    writer: WriteHalf<S>,
    end: End,
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455 §4.2.2).
pub fn accept_value(key: &[u8]) -> String {
    BASE64.encode(&Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

/// A fresh `Sec-WebSocket-Key`.
pub fn new_key() -> String {
    let mut nonce = [0; 16];
    SystemIds.fill_random(&mut nonce);
    BASE64.encode(&nonce)
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> WebSocket<S> {
    /// Over a stream whose hand-shake is done. Reading ends with the stream, a close or the first frame that breaks a
    /// rule.
    pub fn new(stream: S, end: End) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (sender, arrived) = mpsc::channel(READ_AHEAD);
        tokio::spawn(read_all(reader, end, sender));
        Self { arrived, writer, end }
    }

    /// The next frame; `None` when the connection is over. May be dropped at any point without losing one.
    pub async fn next(&mut self) -> Option<Arrived> {
        self.arrived.recv().await
    }

    /// Sends a text.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.send(TEXT, text.as_bytes()).await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn pong(&mut self, payload: &[u8]) -> Result<()> {
        self.send(PONG, payload).await
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn close(&mut self, status: u16) -> Result<()> {
        self.send(CLOSE, &status.to_be_bytes()).await
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut mask = None;
        if self.end == End::Client {
            let mut fresh = [0; 4];
            SystemIds.fill_random(&mut fresh);
            mask = Some(fresh);
        }
        self.writer.write_all(&encode(opcode, payload, mask)?).await?;
        self.writer.flush().await?;
        Ok(())
    }
}

fn encode(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Result<Vec<u8>> {
    if payload.len() > MAX_PAYLOAD {
        bail!("a frame of {} bytes is larger than {MAX_PAYLOAD}", payload.len());
    }
    let masked = if mask.is_some() { MASKED } else { 0 };
    let mut frame = vec![FINAL | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(masked | short),
        (_, Ok(medium)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask.as_slice()));
    frame.extend(payload.iter().zip(mask.unwrap_or_default().iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(frame)
}

async fn read_all<S: AsyncRead>(mut reader: ReadHalf<S>, end: End, sender: mpsc::Sender<Arrived>) {
    while let Ok(frame) = read_frame(&mut reader, end).await {
        let is_last = matches!(frame, Frame::Close(_));
        if sender.send(Arrived { at: Instant::now(), frame }).await.is_err() || is_last {
            return;
        }
    }
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin), end: End) -> Result<Frame> {
    let [first, second] = read_array(reader).await?;
    let is_masked = second & MASKED != 0;
    if is_masked != (end == End::Server) || first & 0x70 != 0 {
        bail!("a frame that this end may not be sent");
    }
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(read_array(reader).await?)),
        127 => u64::from_be_bytes(read_array(reader).await?),
        short => u64::from(short),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        bail!("a frame of {length} bytes is larger than {MAX_PAYLOAD}");
    }
    let mask: [u8; 4] = if is_masked { read_array(reader).await? } else { [0; 4] };
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    match first ^ FINAL {
        TEXT => Ok(Frame::Text(String::from_utf8(payload)?)),
        CLOSE => Ok(Frame::Close(payload.first_chunk().map_or(1005, |status| u16::from_be_bytes(*status)))),
        PING => Ok(Frame::Ping(payload)),
        PONG => Ok(Frame::Pong),
        other => bail!("frame {other:#x} is fragmented or not a text"),
    }
}

async fn read_array<const N: usize>(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_shake_of_the_rfc_is_answered_as_in_the_rfc() {
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_of_every_length_form_arrive_unchanged() {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (mut client, mut server) = (WebSocket::new(client, End::Client), WebSocket::new(server, End::Server));
        for length in [0, 1, 125, 126, 65_535, MAX_PAYLOAD] {
            let text = "x".repeat(length);
            client.send_text(&text).await.unwrap();
            assert_eq!(server.next().await.unwrap().frame, Frame::Text(text.clone()));
            server.send_text(&text).await.unwrap();
            assert_eq!(client.next().await.unwrap().frame, Frame::Text(text));
        }
        server.close(1008).await.unwrap();
        assert_eq!(client.next().await.unwrap().frame, Frame::Close(1008));
        assert!(client.next().await.is_none());
    }

    #[tokio::test]
    async fn a_frame_larger_than_the_limit_ends_the_connection_before_it_is_read() {
        let (mut raw, server) = tokio::io::duplex(64);
        let mut server = WebSocket::new(server, End::Server);
        raw.write_all(&[FINAL | TEXT, MASKED | 127, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]).await.unwrap();
        assert!(server.next().await.is_none());
    }

    #[tokio::test]
    async fn an_unmasked_frame_from_a_client_ends_the_connection() {
        let (mut raw, server) = tokio::io::duplex(64);
        let mut server = WebSocket::new(server, End::Server);
        raw.write_all(&[FINAL | TEXT, 1, b'x']).await.unwrap();
        assert!(server.next().await.is_none());
    }
}
