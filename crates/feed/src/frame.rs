//! Messages cut into frames, so that an urgent one overtakes a large one (AUD-62).
//!
//! A frame is `lane (1) | flags (1) | length (2, big endian) | piece`. Pieces of one lane follow each other in order;
//! lanes interleave as they like.
//!
//! Invariants: a lane never holds more than its limit of an unfinished message; whatever is not exactly a frame of this
//! version breaks the connection.

/// The largest piece.
pub const MAX_PIECE_BYTES: usize = 16 * 1024;
/// The length of a frame's head.
pub const HEAD_BYTES: usize = 4;
/// The last piece of its message.
const FINAL: u8 = 1;

/// What waits for what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Ends of sessions, orders, proofs of life: before everything else.
    Urgent,
    /// Questions and answers.
    Talk,
    /// Snapshots, versions, reports.
    Bulk,
}

impl Lane {
    /// Every lane, in the order in which they are served.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Talk, Lane::Bulk];

    /// The largest message.
    pub const fn max_bytes(self) -> usize {
        match self {
            Lane::Urgent => 256 * 1024,
            Lane::Talk => 1024 * 1024,
            Lane::Bulk => 16 * 1024 * 1024,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    fn byte(self) -> u8 {
        match self {
            Lane::Urgent => 0,
            Lane::Talk => 1,
            Lane::Bulk => 2,
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An empty piece that ends nothing.
    #[error("a frame is empty and not the last of its message")]
    Empty,
    /// Unknown flags or lane.
    #[error("a frame has a head of no version this program knows")]
    Head,
    /// The message is too large for its lane.
    #[error("a message of the lane {lane:?} is larger than {} bytes", .lane.max_bytes())]
    MessageTooLarge {
        /// Which.
        lane: Lane,
    },
    /// The piece is too large.
    #[error("a frame has {bytes} bytes; at most {MAX_PIECE_BYTES}")]
    PieceTooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its lane.
    pub lane: Lane,
    /// Whether it ends its message.
    pub is_final: bool,
    /// How many bytes follow.
    pub bytes: usize,
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// [`FrameError`]: give the connection up.
    pub fn read(bytes: [u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        let [lane, flags, high, low] = bytes;
        let lane = Lane::from_byte(lane).ok_or(FrameError::Head)?;
        if flags & !FINAL != 0 {
            return Err(FrameError::Head);
        }
        let head = Self { lane, is_final: flags == FINAL, bytes: usize::from(u16::from_be_bytes([high, low])) };
        if head.bytes > MAX_PIECE_BYTES {
            return Err(FrameError::PieceTooLarge { bytes: head.bytes });
        }
        if head.bytes == 0 && !head.is_final {
            return Err(FrameError::Empty);
        }
        Ok(head)
    }

    /// Its bytes.
    pub fn write(self) -> [u8; HEAD_BYTES] {
        let [high, low] = u16::try_from(self.bytes).unwrap_or(u16::MAX).to_be_bytes();
        [self.lane.byte(), u8::from(self.is_final), high, low]
    }
}

/// A message on its way out, frame by frame.
#[derive(Clone, Debug)]
pub struct Cutter {
    lane: Lane,
    message: Vec<u8>,
    sent: usize,
    is_done: bool,
}

impl Cutter {
    /// All of `message`.
    ///
    /// # Errors
    /// [`FrameError::MessageTooLarge`]: it cannot be sent.
    pub fn new(lane: Lane, message: Vec<u8>) -> Result<Self, FrameError> {
        if message.len() > lane.max_bytes() {
            return Err(FrameError::MessageTooLarge { lane });
        }
        Ok(Self { lane, message, sent: 0, is_done: false })
    }

    /// The next frame, head and piece; `None` after the last.
    pub fn next_frame(&mut self) -> Option<([u8; HEAD_BYTES], &[u8])> {
        if self.is_done {
            return None;
        }
        let rest = self.message.get(self.sent..).unwrap_or_default();
        let piece = rest.get(..MAX_PIECE_BYTES).unwrap_or(rest);
        self.sent += piece.len();
        self.is_done = self.sent >= self.message.len();
        let head = Head { lane: self.lane, is_final: self.is_done, bytes: piece.len() };
        Some((head.write(), piece))
    }
}

/// Puts messages together again.
#[derive(Debug, Default)]
pub struct Assembler {
    lanes: [Vec<u8>; 3],
}

impl Assembler {
    /// Takes a piece; gives the message if it was its last.
    ///
    /// # Errors
    /// [`FrameError::MessageTooLarge`]: give the connection up.
    pub fn add(&mut self, head: Head, piece: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(so_far) = self.lanes.get_mut(usize::from(head.lane.byte())) else { return Err(FrameError::Head) };
        if so_far.len().saturating_add(piece.len()) > head.lane.max_bytes() {
            return Err(FrameError::MessageTooLarge { lane: head.lane });
        }
        so_far.extend_from_slice(piece);
        Ok(head.is_final.then(|| std::mem::take(so_far)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(lane: Lane, message: &[u8]) -> Vec<(Head, Vec<u8>)> {
        let mut cutter = Cutter::new(lane, message.to_vec()).unwrap();
        let mut frames = Vec::new();
        while let Some((head, piece)) = cutter.next_frame() {
            frames.push((Head::read(head).unwrap(), piece.to_vec()));
        }
        frames
    }

    #[test]
    fn an_urgent_message_overtakes_a_large_one_in_the_middle() {
        let large = vec![7; 5 * MAX_PIECE_BYTES + 1];
        let mut assembler = Assembler::default();
        let (bulk, urgent) = (frames(Lane::Bulk, &large), frames(Lane::Urgent, b"now"));
        assert_eq!(bulk.len(), 6);
        for (head, piece) in &bulk[..3] {
            assert_eq!(assembler.add(*head, piece), Ok(None));
        }
        assert_eq!(assembler.add(urgent[0].0, &urgent[0].1), Ok(Some(b"now".to_vec())));
        for (head, piece) in &bulk[3..5] {
            assert_eq!(assembler.add(*head, piece), Ok(None));
        }
        assert_eq!(assembler.add(bulk[5].0, &bulk[5].1), Ok(Some(large)));
    }

    #[test]
    fn an_empty_message_is_one_frame() {
        let all = frames(Lane::Talk, b"");
        assert_eq!(all.len(), 1);
        assert_eq!(Assembler::default().add(all[0].0, &[]), Ok(Some(Vec::new())));
    }

    #[test]
    fn what_is_too_large_is_refused_at_both_ends() {
        for lane in Lane::ALL {
            let refused = Cutter::new(lane, vec![0; lane.max_bytes() + 1]).err();
            assert_eq!(refused, Some(FrameError::MessageTooLarge { lane }));
            let (mut assembler, piece) = (Assembler::default(), vec![0; MAX_PIECE_BYTES]);
            let head = Head { lane, is_final: false, bytes: piece.len() };
            for _ in 0..lane.max_bytes() / MAX_PIECE_BYTES {
                assert_eq!(assembler.add(head, &piece), Ok(None));
            }
            assert_eq!(assembler.add(head, &[0]), Err(FrameError::MessageTooLarge { lane }));
        }
    }

    #[test]
    fn heads_of_no_known_version_are_refused() {
        assert_eq!(Head::read([3, 1, 0, 1]), Err(FrameError::Head));
        assert_eq!(Head::read([0, 2, 0, 1]), Err(FrameError::Head));
        assert_eq!(Head::read([0, 0, 0, 0]), Err(FrameError::Empty));
        assert_eq!(Head::read([0, 1, 0x40, 1]), Err(FrameError::PieceTooLarge { bytes: MAX_PIECE_BYTES + 1 }));
    }
}
