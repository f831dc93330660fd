//! The client's socket: moves bytes out and in at the same time, without a second task.
//!
//! Invariants: waiting may be given up at any point without losing or repeating a byte; a reset socket sends nothing
//! more, not even what the system still holds.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

/// Up to here a read into an empty buffer goes by the stack.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// What a client speaks through.
pub(crate) type ClientStream = TlsStream<TcpStream>;

/// What moved.
pub(super) enum Moved {
    /// So many bytes came; zero is the end.
    In(usize),
    /// Everything there was to send is sent.
    Out,
}

/// A client's socket with what is still to be sent.
pub(super) struct Socket {
    stream: ClientStream,
    output: Bytes,
    needs_flush: bool,
}

impl Socket {
    pub(super) fn new(stream: ClientStream) -> Self {
        Self { stream, output: Bytes::new(), needs_flush: false }
    }

    /// Whether everything is sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.needs_flush
    }

    /// Whether more may be queued.
    pub(super) fn has_room(&self) -> bool {
        self.output.is_empty()
    }

    /// Queues bytes. To be called with what a connection gave when [`Self::has_room`], so that nothing piles up.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        debug_assert!(self.output.is_empty(), "output is queued piece by piece");
        self.output = bytes;
    }

    /// Sends what is queued and reads into `input`, if given: whatever happens first. Nothing to do waits for ever.
    pub(super) async fn transfer(&mut self, mut input: Option<(&mut BytesMut, usize)>) -> io::Result<Moved> {
        poll_fn(|context| {
            if let Poll::Ready(sent) = self.poll_send(context) {
                sent?;
                return Poll::Ready(Ok(Moved::Out));
            }
            let Some((buffer, at_once)) = &mut input else { return Poll::Pending };
            if *at_once <= FIRST_READ_BYTES && buffer.capacity() == 0 {
                // A connection that waits keeps no buffer: there is one once there is something to put into it.
                let mut arrived = [MaybeUninit::uninit(); FIRST_READ_BYTES];
                let mut arrived = ReadBuf::uninit(&mut arrived);
                std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut arrived))?;
                buffer.extend_from_slice(arrived.filled());
                return Poll::Ready(Ok(Moved::In(arrived.filled().len())));
            }
            if buffer.capacity() == buffer.len() {
                buffer.reserve(*at_once);
            }
            poll_read_buf(Pin::new(&mut self.stream), context, *buffer).map_ok(Moved::In)
        })
        .await
    }

    /// Ready once everything that was queued is sent; pending when there is nothing to send.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_flushed() {
            return Poll::Pending;
        }
        while !self.output.is_empty() {
            let count = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, &self.output))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(count);
            self.needs_flush = true;
        }
        self.output = Bytes::new();
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }

    /// Sends everything that is queued.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.is_flushed() {
            self.transfer(None).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Ends the connection at once; what the system still holds is thrown away.
    pub(super) fn reset(self) {
        reset(&self.stream);
    }

    pub(super) fn into_stream(self) -> ClientStream {
        self.stream
    }
}

/// Makes the end of `stream` a reset.
pub(crate) fn reset(stream: &ClientStream) {
    if let Err(error) = stream.get_ref().0.set_zero_linger() {
        tracing::debug!(%error, "a connection is closed instead of reset");
    }
}
