//! One connection of the attacker: bytes as they are, over TCP or TLS, and answers read without trusting them.
//!
//! The proxy's certificate is not verified: whoever drills owns the target, and test certificates are common there.

use std::time::Duration;

use pki::tls::Verify;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::DrillError;
use crate::target::Target;

/// Of RFC 6455 §1.3; the echo knows its answer.
pub(crate) const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The most bytes read of one connection.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// After all expected answers, how long one more may take.
const QUIET: Duration = Duration::from_millis(60);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A stream of bytes.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Opens a connection that speaks `alpn`; `None` if the proxy does not.
pub(crate) async fn connect(target: &Target, alpn: &[u8]) -> Result<Option<Box<dyn Io>>, DrillError> {
    let opened = timeout(CONNECT_LIMIT, open(target, alpn)).await;
    opened
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
        .map_err(|source| DrillError::Connection { address: target.address, source })
}

async fn open(target: &Target, alpn: &[u8]) -> std::io::Result<Option<Box<dyn Io>>> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    if !target.is_tls {
        // HTTP/2 without TLS is another door and not looked at.
        return Ok((alpn == pki::tls::ALPN_HTTP11).then(|| Box::new(stream) as Box<dyn Io>));
    }
    let config = pki::tls::client_config(None, &[alpn], Verify::Off).map_err(std::io::Error::other)?;
    let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
    let stream = match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => stream,
        // A server may also end the handshake where no protocol fits.
        Err(_) if alpn == pki::tls::ALPN_H2 => return Ok(None),
        Err(error) => return Err(error),
    };
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let fits = agreed.as_deref() == Some(alpn) || (agreed.is_none() && alpn == pki::tls::ALPN_HTTP11);
    Ok(fits.then(|| Box::new(stream) as Box<dyn Io>))
}

/// What came back on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    /// As received.
    pub(crate) bytes: Vec<u8>,
    /// True if the proxy ended the connection.
    pub(crate) is_closed: bool,
}

impl Reply {
    /// Every whole answer; informational ones left out.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        read_answers(&self.bytes, self.is_closed)
    }

    /// The status of the first answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.answers().first().map(|answer| answer.status)
    }

    /// As text, for looking for words.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Sends `bytes` on a connection of its own and reads until `expected` answers came, the proxy hung up, or `limit`.
pub(crate) async fn exchange(
    target: &Target,
    bytes: &[u8],
    expected: usize,
    limit: Duration,
) -> Result<Reply, DrillError> {
    let opened = connect(target, pki::tls::ALPN_HTTP11).await?;
    let Some(mut stream) = opened else {
        return Err(DrillError::Unusable("the target does not speak HTTP/1.1 over TLS".to_owned()));
    };
    Ok(exchange_on(&mut stream, bytes, expected, limit).await)
}

/// The same on an open connection.
pub(crate) async fn exchange_on(stream: &mut Box<dyn Io>, bytes: &[u8], expected: usize, limit: Duration) -> Reply {
    let deadline = Instant::now() + limit;
    // The proxy may answer and hang up before it has read all.
    let _ = timeout_at(deadline, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await;
    let mut reply = Reply::default();
    let mut buffer = vec![0; 16 * 1024];
    while reply.bytes.len() < MAX_REPLY_BYTES {
        let has_all = reply.answers().len() >= expected;
        let until = if has_all { deadline.min(Instant::now() + QUIET) } else { deadline };
        match timeout_at(until, stream.read(&mut buffer)).await {
            Err(_) => break,
            Ok(Ok(0) | Err(_)) => {
                reply.is_closed = true;
                break;
            }
            Ok(Ok(count)) => reply.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    reply
}

fn read_answers(bytes: &[u8], is_closed: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some((answer, after)) = read_answer(rest, is_closed) {
        rest = after;
        if answer.status >= 200 || answer.status == 101 {
            answers.push(answer);
        }
    }
    answers
}

fn read_answer(bytes: &[u8], is_closed: bool) -> Option<(Answer, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = (bytes.get(..end)?, bytes.get(end + 4..)?);
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, fields, body: Vec::new() };
    let has_no_body = status < 200 || status == 204 || status == 304;
    let is_chunked = answer.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length = answer.field("content-length").and_then(|length| length.parse::<usize>().ok());
    let rest = match (has_no_body, is_chunked, length) {
        (true, _, _) => rest,
        (_, true, _) => read_chunks(rest, &mut answer.body)?,
        (_, _, Some(length)) => {
            answer.body = rest.get(..length)?.to_vec();
            rest.get(length..)?
        }
        _ if is_closed => {
            answer.body = rest.to_vec();
            &[]
        }
        _ => return None,
    };
    Some((answer, rest))
}

fn read_chunks<'a>(mut rest: &'a [u8], body: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_and_half_ones_do_not_count() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 400 Bad\r\nConnection: close\r\n\r\nx";
        assert_eq!(read_answers(bytes, false).len(), 2);
        let answers = read_answers(bytes, true);
        let bodies: Vec<&[u8]> = answers.iter().map(|answer| answer.body.as_slice()).collect();
        assert_eq!(bodies, [b"ab".as_slice(), b"abc", b"x"]);
        assert_eq!(answers[2].status, 400);
    }
}
