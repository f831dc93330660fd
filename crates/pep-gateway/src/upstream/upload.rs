//! The request body on its way to an upstream: a hand-over of one piece at a time from the door to the connection.
//!
//! Not a buffer: the channel holds a single piece, so a slow upstream slows the client down (GW-40).
//!
//! Invariant: a body that was cut or lost never looks complete. Only [`Upload::finish`] makes the upstream see an end;
//! dropping the sender, or cutting the stream, makes it see an error instead.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many pieces may wait between door and connection.
const PIECES_WAITING: usize = 1;

enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
}

/// How far a request is, so that a slow upload is not taken for a slow upstream.
#[derive(Clone)]
pub(crate) struct Progress(CancellationToken);

impl Progress {
    fn new(is_over: bool) -> Self {
        let over = CancellationToken::new();
        if is_over {
            over.cancel();
        }
        Self(over)
    }

    /// Whether the last byte of the request was passed on.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves `limit` after the last byte of the request was passed on.
    pub(crate) async fn over_for(&self, limit: Duration) {
        self.0.cancelled().await;
        tokio::time::sleep(limit).await;
    }
}

/// The body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body ended early")]
pub(crate) struct UploadAborted;

/// The door's end.
pub(crate) struct Upload {
    pieces: mpsc::Sender<Piece>,
}

/// Room for one piece.
pub(crate) struct UploadRoom<'a>(mpsc::Permit<'a, Piece>);

impl Upload {
    /// Waits for room. Safe to drop at any time.
    pub(crate) async fn room(&self) -> Result<UploadRoom<'_>, UploadAborted> {
        self.pieces.reserve().await.map(UploadRoom).map_err(|_| UploadAborted)
    }
}

impl UploadRoom<'_> {
    /// Passes bytes on.
    pub(crate) fn send(self, data: Bytes) {
        self.0.send(Piece::Data(data));
    }

    /// Ends the body well.
    pub(crate) fn finish(self, trailers: Option<HeaderMap>) {
        self.0.send(Piece::End(trailers));
    }
}

/// The connection's end.
pub(crate) struct UploadBody {
    source: Source,
    progress: Progress,
}

enum Source {
    Empty,
    Pieces { pieces: mpsc::Receiver<Piece>, cut: CancellationToken, is_over: bool },
}

impl UploadBody {
    /// A request without a body.
    pub(crate) fn empty() -> Self {
        Self { source: Source::Empty, progress: Progress::new(true) }
    }

    /// A body that flows until `cut`.
    pub(crate) fn stream(cut: CancellationToken) -> (Upload, Self) {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let source = Source::Pieces { pieces, cut, is_over: false };
        (Upload { pieces: sender }, Self { source, progress: Progress::new(false) })
    }

    /// A request without a body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadBody")
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadAborted>>> {
        let Self { source, progress } = &mut *self;
        let Source::Pieces { pieces, cut, is_over } = source else { return Poll::Ready(None) };
        if *is_over {
            return Poll::Ready(None);
        }
        if cut.is_cancelled() {
            return Poll::Ready(Some(Err(UploadAborted)));
        }
        let Poll::Ready(piece) = pieces.poll_recv(context) else { return Poll::Pending };
        match piece {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::End(trailers)) => {
                *is_over = true;
                progress.0.cancel();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            None => Poll::Ready(Some(Err(UploadAborted))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Pieces { is_over, .. } => *is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Pieces { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(body: &mut UploadBody) -> Option<Result<Frame<Bytes>, UploadAborted>> {
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
    }

    #[tokio::test]
    async fn a_body_that_is_finished_ends() {
        let (upload, mut body) = UploadBody::stream(CancellationToken::new());
        upload.room().await.unwrap().send(Bytes::from_static(b"x"));
        assert!(next(&mut body).await.unwrap().unwrap().is_data());
        upload.room().await.unwrap().finish(None);
        assert!(next(&mut body).await.is_none());
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn a_door_that_goes_away_never_looks_like_the_end() {
        let (upload, mut body) = UploadBody::stream(CancellationToken::new());
        drop(upload);
        assert!(next(&mut body).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn bytes_waiting_at_a_cut_are_dropped() {
        let cut = CancellationToken::new();
        let (upload, mut body) = UploadBody::stream(cut.clone());
        upload.room().await.unwrap().send(Bytes::from_static(b"x"));
        cut.cancel();
        assert!(next(&mut body).await.unwrap().is_err());
    }
}
