//! The app behind both proxies: HTTP/1.1 on loopback, 100 bytes for every request. As little work as an answer can be, so
//! that the load's core has room for the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What apps know the visitor by.
const ASSERTION: &[u8] = b"x-countersign-assertion: ";
const HEAD_END: &[u8] = b"\r\n\r\n";
const MAX_HEAD_BYTES: usize = 64 * 1024;
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n";
/// Bytes of a body.
pub(crate) const BODY_BYTES: usize = 100;

/// The app that runs.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    asserted: AtomicU64,
}

impl Upstream {
    /// Serves on a thread of its own until the process ends.
    pub(crate) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no loopback port for the upstream")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let counters = Arc::new(Counters::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counted = Arc::clone(&counters);
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    let counted = Arc::clone(&counted);
                    tokio::spawn(async move { serve(stream, &counted).await.ok() });
                }
            });
        });
        Ok(Self { port, counters })
    }

    /// Requests so far, and how many of them brought an assertion.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (self.counters.requests.load(Ordering::Relaxed), self.counters.asserted.load(Ordering::Relaxed))
    }
}

/// Answers requests without a body, one after another.
async fn serve(mut stream: TcpStream, counters: &Counters) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = [ANSWER.as_bytes(), &[b'x'; BODY_BYTES]].concat();
    let mut input: Vec<u8> = Vec::with_capacity(8 * 1024);
    loop {
        while let Some(end) = find(&input, HEAD_END) {
            let head: Vec<u8> = input.drain(..end + HEAD_END.len()).collect();
            counters.requests.fetch_add(1, Ordering::Relaxed);
            if find(&head, ASSERTION).is_some() {
                counters.asserted.fetch_add(1, Ordering::Relaxed);
            }
            stream.write_all(&answer).await?;
        }
        if input.len() > MAX_HEAD_BYTES || stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
