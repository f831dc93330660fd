//! Plain HTTP on a port of TLS: somebody typed `http://`. They get one sentence that says so; nothing they sent is read as a
//! request, and they are told no address, for `Host` is theirs to write.
//!
//! Invariants: the answer is the same whatever was sent; no more than [`READ_BYTES`] is taken and no longer than
//! [`ANSWER_LIMIT`] waited; each is recorded as what it is, and without the record there is no answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_gate::{GateCode, GateRefusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::ConnectionInfo;
use crate::gateway::Gateway;
use crate::refusal::REQUEST_ID;

/// How much of what was said is taken before the connection is closed, so that the answer is not lost with it.
const READ_BYTES: u64 = 64 * 1024;
/// How long the answer and its reading may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// What a request begins with, and neither a TLS record nor a PROXY header does.
const METHODS: &[&[u8]] =
    &[b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE "];
/// As long as the longest method.
const PEEK_BYTES: usize = 8;

/// Whether the next bytes begin a request line and no TLS record. Takes none of them.
pub(super) async fn is_spoken(tcp: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PEEK_BYTES];
    let peeked = tcp.peek(&mut start).await?;
    let start = start.get(..peeked).unwrap_or_default();
    Ok(!start.is_empty() && METHODS.iter().any(|method| start.starts_with(method) || method.starts_with(start)))
}

/// Records it, answers, and closes.
pub(super) async fn answer(mut tcp: TcpStream, gateway: &Arc<Gateway>, info: &ConnectionInfo) {
    let refusal = GateRefusal::new(GateCode::PlainHttp, 0);
    let refused = gateway.refuse_gate(&refusal, info).await;
    if refused.status() != refusal.status() {
        return;
    }
    let request = refused.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let sentence = "This port speaks https: open the same address with https:// in front.\n";
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{REQUEST_ID}: {request}\r\nConnection: close\r\n\r\n{sentence}",
        sentence.len()
    );
    let said = async {
        tcp.write_all(head.as_bytes()).await?;
        tcp.shutdown().await?;
        tokio::io::copy(&mut tcp.take(READ_BYTES), &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(ANSWER_LIMIT, said).await {
        tracing::debug!(peer = %info.peer, %error, "somebody who spoke plain http left");
    }
}
