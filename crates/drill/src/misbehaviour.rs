//! Answers of an app that went wrong or was taken over (ATK-12): bytes that could become somebody else's answer.
//!
//! A request asks for one by name; the echo then leaves its connection open, so that a proxy that reuses it hands the
//! rest to the next request.

/// What a poisoned answer says; nobody may ever read it.
pub(crate) const POISON: &str = "drill-poison";

/// The bytes of the misbehaviour `order`, for the exchange `marker`; `None` for one that is not known.
pub(crate) fn answer(order: &str, marker: &str) -> Option<Vec<u8>> {
    let body = format!("drill {marker} end\n");
    let length = body.len();
    let poison = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{POISON}", POISON.len());
    let text = match order {
        "leftover" => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}{poison}"),
        "length-and-chunked" => {
            let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{poison}",
                chunks.len() + poison.len()
            )
        }
        "two-lengths" => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: {}\r\n\r\n{body}{poison}",
            length + poison.len()
        ),
        "no-content-with-body" => {
            format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{poison}", poison.len())
        }
        "not-modified-with-body" => {
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{poison}", poison.len())
        }
        "line-end-in-header" => {
            format!("HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: {POISON}=1\r\nContent-Length: {length}\r\n\r\n{body}")
        }
        "unasked-switch" => {
            format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n{poison}")
        }
        "bad-chunk" => {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{body}\r\n0\r\n\r\n{poison}")
        }
        _ => return None,
    };
    Some(text.into_bytes())
}
