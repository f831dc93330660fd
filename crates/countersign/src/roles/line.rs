//! A connection between control plane and gateway: frames over TLS, urgent ones first (AUD-62).
//!
//! Not here: what messages mean. Invariants: a message that is under way is overtaken after at most one frame; whoever
//! does not read or write for too long loses the connection.

use std::collections::VecDeque;
use std::time::Duration;

use feed::frame::{Assembler, Cutter, FrameError, HEAD_BYTES, Head, Lane};
use feed::wire::{self, Message, Wire, WireError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// How long a write may take before the connection is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How many messages that are not urgent are cut into frames ahead of their turn.
const CUT_AHEAD: usize = 2;
/// How much the system may hold of what was written and not received yet. Small, because an urgent message waits behind it.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not the frames of this version.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The network.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// Nothing came, or nothing was taken.
    #[error("the other side has been silent for too long")]
    Silent,
    /// Not a message of this version.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The reading end.
pub struct LineReader<R> {
    stream: R,
    assembler: Assembler,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Over the reading half of a connection.
    pub fn new(stream: R) -> Self {
        Self { stream, assembler: Assembler::default() }
    }

    /// The next message, if something comes within `limit`.
    ///
    /// # Errors
    /// [`LineError`]: give the connection up.
    pub async fn next<M: Wire>(&mut self, limit: Duration) -> Result<M, LineError> {
        loop {
            let frame = tokio::time::timeout(limit, self.frame()).await.map_err(|_| LineError::Silent)??;
            if let Some(message) = frame {
                return Ok(wire::decode(&message)?);
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).await?;
        let head = Head::read(head)?;
        let mut piece = vec![0; head.bytes];
        self.stream.read_exact(&mut piece).await?;
        Ok(self.assembler.add(head, &piece)?)
    }
}

/// Messages cut into frames, waiting for their turn.
#[derive(Default)]
struct Lanes {
    lanes: [VecDeque<Cutter>; 3],
}

impl Lanes {
    fn push<M: Message>(&mut self, message: &M) -> Result<(), FrameError> {
        let lane = message.lane();
        let cutter = Cutter::new(lane, wire::encode(message))?;
        if let Some(queue) = self.lanes.get_mut(place(lane)) {
            queue.push_back(cutter);
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        for queue in &mut self.lanes {
            while let Some(cutter) = queue.front_mut() {
                if let Some((head, piece)) = cutter.next_frame() {
                    return Some([head.as_slice(), piece].concat());
                }
                queue.pop_front();
            }
        }
        None
    }

    fn has_room(&self) -> bool {
        self.lanes.last().is_none_or(|bulk| bulk.len() < CUT_AHEAD)
    }
}

fn place(lane: Lane) -> usize {
    Lane::ALL.iter().position(|known| *known == lane).unwrap_or_default()
}

/// Writes `first`, then whatever the two queues bring, until one of them is closed or the connection breaks. What `first`
/// holds that is not urgent goes out before anything of `bulk`.
///
/// # Errors
/// [`LineError`].
pub async fn write<M: Message>(
    mut stream: impl AsyncWrite + Unpin,
    first: Vec<M>,
    mut urgent: mpsc::Receiver<M>,
    mut bulk: mpsc::Receiver<M>,
) -> Result<(), LineError> {
    let mut lanes = Lanes::default();
    let mut backlog = VecDeque::new();
    for message in first {
        match message.lane() {
            Lane::Bulk => backlog.push_back(message),
            Lane::Urgent | Lane::Talk => lanes.push(&message)?,
        }
    }
    loop {
        while let Ok(message) = urgent.try_recv() {
            lanes.push(&message)?;
        }
        if lanes.has_room()
            && let Some(message) = backlog.pop_front().or_else(|| bulk.try_recv().ok())
        {
            lanes.push(&message)?;
        }
        if let Some(frame) = lanes.next_frame() {
            in_time(stream.write_all(&frame)).await?;
            continue;
        }
        in_time(stream.flush()).await?;
        tokio::select! {
            biased;
            message = urgent.recv() => match message {
                Some(message) => lanes.push(&message)?,
                None => break,
            },
            message = bulk.recv() => match message {
                Some(message) => lanes.push(&message)?,
                None => break,
            },
        }
    }
    in_time(stream.shutdown()).await
}

async fn in_time(work: impl Future<Output = std::io::Result<()>>) -> Result<(), LineError> {
    Ok(tokio::time::timeout(WRITE_LIMIT, work).await.map_err(|_| LineError::Silent)??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use feed::{Down, Part};
    use std::sync::Arc;

    fn large() -> Down {
        let text = feed::SourceText { name: "apps.yaml".into(), text: "x".repeat(4 << 20) };
        let policy_hash = model::ids::Digest32([0; 32]);
        let terms = feed::Terms { time_zone: "UTC".to_owned(), fresh_secs: Vec::new() };
        Down::Part(Part::Config(Arc::new(feed::ConfigSource { number: 1, files: vec![text], terms, policy_hash })))
    }

    #[tokio::test]
    async fn an_urgent_message_overtakes_a_snapshot_that_is_being_written() {
        let (near, far) = tokio::io::duplex(32 * 1024);
        let (urgent, urgent_out) = mpsc::channel(8);
        let (bulk, bulk_out) = mpsc::channel(8);
        let writing = tokio::spawn(write(near, vec![large(), large(), Down::End], urgent_out, bulk_out));
        let mut far = LineReader::new(far);
        // A first frame has arrived, so the large message is under way.
        assert!(far.frame().await.unwrap().is_none());
        urgent.send(Down::Beat { facts: 1, events: 2 }).await.unwrap();
        bulk.send(Down::Keys(Arc::from("last"))).await.unwrap();
        let limit = Duration::from_secs(10);
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(match far.next::<Down>(limit).await.unwrap() {
                Down::Beat { .. } => "beat",
                Down::Part(_) => "part",
                Down::End => "end",
                Down::Keys(_) => "keys",
                _ => "other",
            });
        }
        assert_eq!(order, ["beat", "part", "part", "end", "keys"]);
        drop(urgent);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn attack_who_sends_nothing_or_no_frames_loses_the_connection() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut far = LineReader::new(far);
        let silent = far.next::<Down>(Duration::from_millis(20)).await;
        assert!(matches!(silent, Err(LineError::Silent)));
        near.write_all(&[9, 9, 9, 9]).await.unwrap();
        assert!(matches!(far.next::<Down>(Duration::from_secs(5)).await, Err(LineError::Frame(_))));
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(&[0, 1, 0, 1, 0xff]).await.unwrap();
        assert!(matches!(LineReader::new(far).next::<Down>(Duration::from_secs(5)).await, Err(LineError::Wire(_))));
    }
}
