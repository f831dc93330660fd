//! WebSocket frame headers as they pass (RFC 6455 §5.2). Pure.
//!
//! It looks at headers only, so that a door knows where a frame ends and that nothing but frames flows; payloads pass
//! unread. Not here: masking keys, UTF-8, close codes.
//!
//! Invariant: after an error nothing of the bytes that held it may be passed on.

/// The longest header: two bytes, eight of length, four of masking key.
const MAX_HEADER_BYTES: usize = 14;
/// The largest payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: u64 = 125;
const OPCODE_CONTINUATION: u8 = 0x0;
const OPCODE_CLOSE: u8 = 0x8;

/// Which end sends the frames: clients mask, servers do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// What is wrong with a frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame after the close frame")]
    AfterClose,
    #[error("a control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("a fragment out of order")]
    Fragment,
    #[error("a payload length that is not in its shortest form, or too large")]
    Length,
    #[error("a masked frame from a server or an unmasked one from a client")]
    Mask,
    #[error("an unknown opcode")]
    Opcode,
    #[error("a reserved bit without an extension")]
    ReservedBit,
}

/// Follows the frames of one direction.
pub(crate) struct FrameTracker {
    sender: Sender,
    has_extension: bool,
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: usize,
    /// Payload bytes of the current frame still to come.
    payload_left: u64,
    is_in_message: bool,
    saw_close: bool,
}

impl FrameTracker {
    /// At the start of a stream. Extensions own the reserved bits.
    pub(crate) fn new(sender: Sender, has_extension: bool) -> Self {
        Self {
            sender,
            has_extension,
            header: [0; MAX_HEADER_BYTES],
            header_bytes: 0,
            payload_left: 0,
            is_in_message: false,
            saw_close: false,
        }
    }

    /// A tracker at the start of the same direction.
    pub(crate) fn same(&self) -> Self {
        Self::new(self.sender, self.has_extension)
    }

    /// Whether a frame of one's own may be put here.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.header_bytes == 0 && self.payload_left == 0
    }

    /// Whether the sender has said goodbye.
    pub(crate) fn saw_close(&self) -> bool {
        self.saw_close
    }

    /// Follows `bytes`.
    ///
    /// # Errors
    /// What the bytes hold is not frames; the connection must end.
    pub(crate) fn advance(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            bytes = self.advance_part(bytes)?;
        }
        Ok(())
    }

    /// Follows `bytes` to the end of the current frame, and says how many of them belong to it.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub(crate) fn advance_to_boundary(&mut self, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_at_boundary() {
            rest = self.advance_part(rest)?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// Follows one header byte or some payload; gives back the rest.
    fn advance_part<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FrameError> {
        if self.payload_left > 0 {
            let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let taken = self.payload_left.min(available);
            self.payload_left -= taken;
            let (_, rest) = bytes.split_at_checked(usize::try_from(taken).unwrap_or(bytes.len())).unwrap_or_default();
            return Ok(rest);
        }
        let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
        if let Some(slot) = self.header.get_mut(self.header_bytes) {
            *slot = *byte;
        }
        self.header_bytes += 1;
        if self.header_bytes == self.header_length() {
            self.begin_frame()?;
        }
        Ok(rest)
    }

    /// How long the header is, as far as it is known.
    fn header_length(&self) -> usize {
        let [_, second, ..] = self.header;
        if self.header_bytes < 2 {
            return 2;
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 != 0 { 4 } else { 0 };
        2 + length_bytes + mask_bytes
    }

    /// Judges a whole header and goes on to its payload.
    fn begin_frame(&mut self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
        if self.saw_close {
            return Err(FrameError::AfterClose);
        }
        if first & 0x70 != 0 && !self.has_extension {
            return Err(FrameError::ReservedBit);
        }
        if (second & 0x80 != 0) != (self.sender == Sender::Client) {
            return Err(FrameError::Mask);
        }
        let length = self.payload_length()?;
        match opcode {
            0x8..=0xa if !is_final || length > MAX_CONTROL_BYTES => return Err(FrameError::Control),
            0x8..=0xa => self.saw_close = opcode == OPCODE_CLOSE,
            0x0..=0x2 if self.is_in_message != (opcode == OPCODE_CONTINUATION) => return Err(FrameError::Fragment),
            0x0..=0x2 => self.is_in_message = !is_final,
            _ => return Err(FrameError::Opcode),
        }
        self.payload_left = length;
        self.header_bytes = 0;
        Ok(())
    }

    fn payload_length(&self) -> Result<u64, FrameError> {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.header;
        match second & 0x7f {
            126 => match u64::from(u16::from_be_bytes([a, b])) {
                length if length > 125 => Ok(length),
                _ => Err(FrameError::Length),
            },
            127 => match u64::from_be_bytes([a, b, c, d, e, f, g, h]) {
                length if length > u64::from(u16::MAX) && length >> 63 == 0 => Ok(length),
                _ => Err(FrameError::Length),
            },
            short => Ok(u64::from(short)),
        }
    }
}

/// A close frame from a server: unmasked, with a status and no reason (RFC 6455 §5.5.1).
pub(crate) fn server_close(status: u16) -> [u8; 4] {
    let [high, low] = status.to_be_bytes();
    [0x80 | OPCODE_CLOSE, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(sender: Sender, bytes: &[u8], expected: Result<bool, FrameError>) {
        let mut tracker = FrameTracker::new(sender, false);
        let result = tracker.advance(bytes).map(|()| tracker.is_at_boundary());
        assert_eq!(result, expected, "{sender:?} {bytes:02x?}");
    }

    #[test]
    fn frame_headers_are_judged() {
        use FrameError::*;
        use Sender::*;
        check(Server, &[0x81, 2, b'h', b'i'], Ok(true));
        check(Server, &[0x81, 2, b'h'], Ok(false));
        check(Server, &[0x81], Ok(false));
        check(Client, &[0x81, 0x82, 1, 2, 3, 4, 9, 9], Ok(true));
        check(Client, &[0x81, 2, b'h', b'i'], Err(Mask));
        check(Server, &[0x81, 0x82, 1, 2, 3, 4], Err(Mask));
        check(Server, &[0xc1, 0], Err(ReservedBit));
        check(Server, &[0x83, 0], Err(Opcode));
        check(Server, &[0x8b, 0], Err(Opcode));
        check(Server, &[0x08, 0], Err(Control));
        check(Server, &[0x89, 126, 0, 126], Err(Control));
        check(Server, &[0x80, 0], Err(Fragment));
        check(Server, &[0x01, 0, 0x01, 0], Err(Fragment));
        check(Server, &[0x01, 0, 0x89, 0, 0x80, 0], Ok(true));
        check(Server, &[0x82, 126, 0, 5], Err(Length));
        check(Server, &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Err(Length));
        check(Server, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(Length));
        check(Server, &[0x88, 0, 0x81, 0], Err(AfterClose));
        check(Client, b"GET /admin HTTP/1.1\r\n\r\n", Err(ReservedBit));
    }

    #[test]
    fn a_frame_of_ours_never_lands_inside_another() {
        let mut tracker = FrameTracker::new(Sender::Server, false);
        tracker.advance(&[0x82, 4, 1]).unwrap();
        assert_eq!(tracker.advance_to_boundary(&[2, 3, 4, 0x81, 0]), Ok(3));
        assert!(tracker.is_at_boundary());
        assert_eq!(tracker.advance_to_boundary(&[0x81, 0]), Ok(0));
    }

    proptest! {
        #[test]
        fn splitting_the_bytes_differently_changes_nothing(bytes: Vec<u8>, at in 0usize..64) {
            let mut whole = FrameTracker::new(Sender::Server, true);
            let mut parts = FrameTracker::new(Sender::Server, true);
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            let expected = whole.advance(&bytes);
            let result = parts.advance(first).and_then(|()| parts.advance(second));
            prop_assert_eq!(&result, &expected);
            if result.is_ok() {
                prop_assert_eq!(parts.is_at_boundary(), whole.is_at_boundary());
                prop_assert_eq!(parts.payload_left, whole.payload_left);
            }
        }

        #[test]
        fn well_formed_frames_end_at_their_boundary(lengths in prop::collection::vec(0usize..70_000, 1..4)) {
            let mut stream = Vec::new();
            for length in lengths {
                stream.push(0x82);
                match length {
                    0..=125 => stream.push(length as u8),
                    126..=65_535 => {
                        stream.push(126);
                        stream.extend((length as u16).to_be_bytes());
                    }
                    _ => {
                        stream.push(127);
                        stream.extend((length as u64).to_be_bytes());
                    }
                }
                stream.resize(stream.len() + length, 7);
            }
            let mut tracker = FrameTracker::new(Sender::Server, false);
            prop_assert_eq!(tracker.advance(&stream), Ok(()));
            prop_assert!(tracker.is_at_boundary());
        }
    }
}
