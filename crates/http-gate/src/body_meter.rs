//! Counts a request's body against what was announced and what is allowed (GW-83; ATK-9, ATK-11).
//!
//! `h1` frames bodies itself; there the meter only enforces the limit. In HTTP/2 it also holds the body to its
//! `content-length`.

use crate::refusal::{GateCode, GateRefusal};
use crate::request::Framing;

/// The meter of one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyMeter {
    announced: Option<u64>,
    limit: Option<u64>,
    seen: u64,
}

impl BodyMeter {
    /// For a body framed so, of at most `limit` bytes (`None`: unlimited).
    ///
    /// # Errors
    /// [`GateCode::BodyTooLarge`] (413) if more is announced: answer before reading any of it.
    pub fn new(framing: Framing, limit: Option<u64>) -> Result<Self, GateRefusal> {
        let announced = match framing {
            Framing::None => Some(0),
            Framing::ContentLength(length) => Some(length),
            Framing::Chunked => None,
        };
        let is_too_large = announced.zip(limit).is_some_and(|(announced, limit)| announced > limit);
        match is_too_large {
            true => Err(GateRefusal::new(GateCode::BodyTooLarge, 0)),
            false => Ok(Self { announced, limit, seen: 0 }),
        }
    }

    /// Counts `length` more bytes, before they go upstream.
    ///
    /// # Errors
    /// [`GateCode::BodyLength`] or [`GateCode::BodyTooLarge`]: send nothing of them, cut the upstream request short.
    pub fn add(&mut self, length: usize) -> Result<(), GateRefusal> {
        self.seen = self.seen.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        let exceeds = |bound: Option<u64>| bound.is_some_and(|bound| self.seen > bound);
        if exceeds(self.announced) {
            return Err(self.refusal(GateCode::BodyLength));
        }
        if exceeds(self.limit) {
            return Err(self.refusal(GateCode::BodyTooLarge));
        }
        Ok(())
    }

    /// The body is over.
    ///
    /// # Errors
    /// [`GateCode::BodyLength`] if less came than was announced: cut the upstream request short.
    pub fn end(&self) -> Result<(), GateRefusal> {
        match self.announced {
            Some(announced) if announced != self.seen => Err(self.refusal(GateCode::BodyLength)),
            _ => Ok(()),
        }
    }

    /// How many bytes came.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    fn refusal(&self, code: GateCode) -> GateRefusal {
        GateRefusal::new(code, usize::try_from(self.seen).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_longer_or_shorter_than_announced_is_refused() {
        let mut meter = BodyMeter::new(Framing::ContentLength(5), None).unwrap();
        meter.add(4).unwrap();
        assert_eq!(meter.end().unwrap_err().code, GateCode::BodyLength);
        meter.add(1).unwrap();
        meter.end().unwrap();
        assert_eq!(meter.add(1).unwrap_err().code, GateCode::BodyLength);
    }

    #[test]
    fn a_limit_holds_for_announced_and_for_streamed_bodies() {
        assert_eq!(BodyMeter::new(Framing::ContentLength(11), Some(10)).unwrap_err().code, GateCode::BodyTooLarge);
        let mut meter = BodyMeter::new(Framing::Chunked, Some(10)).unwrap();
        meter.add(10).unwrap();
        meter.end().unwrap();
        assert_eq!(meter.add(1).unwrap_err().code, GateCode::BodyTooLarge);
    }

    #[test]
    fn a_request_without_body_has_none() {
        let mut meter = BodyMeter::new(Framing::None, None).unwrap();
        meter.end().unwrap();
        assert_eq!(meter.add(1).unwrap_err().code, GateCode::BodyLength);
    }
}
