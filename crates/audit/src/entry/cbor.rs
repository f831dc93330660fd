//! Deterministic CBOR (RFC 8949 §4.2.1), only what entries need: shortest heads, definite lengths, integer map keys in
//! ascending order. Reading is `minicbor`; whatever was read is written again and compared (see [`super::decode_entry`]).

/// Appends items to a buffer it borrows. Cannot fail.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

const UINT: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

impl Writer<'_> {
    pub(crate) fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    pub(crate) fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(UINT, value),
            Err(_) => self.head(NEGATIVE, value.unsigned_abs() - 1),
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(if value { TRUE } else { FALSE });
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.head(ARRAY, items as u64);
    }

    pub(crate) fn map(&mut self, pairs: usize) {
        self.head(MAP, pairs as u64);
    }

    fn head(&mut self, major: u8, value: u64) {
        let bytes = value.to_be_bytes();
        let [.., b4, b5, b6, b7] = bytes;
        match value {
            0..=23 => self.0.push(major | b7),
            24..=0xff => self.0.extend_from_slice(&[major | 24, b7]),
            0x100..=0xffff => self.0.extend_from_slice(&[major | 25, b6, b7]),
            0x1_0000..=0xffff_ffff => self.0.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(write: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Writer(&mut out));
        data_encoding::HEXLOWER.encode(&out)
    }

    #[test]
    fn heads_are_the_examples_of_rfc_8949_appendix_a() {
        for (value, expected) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (u64::MAX, "1bffffffffffffffff"),
        ] {
            assert_eq!(hex(|w| w.uint(value)), expected);
        }
        assert_eq!(hex(|w| w.int(-1)), "20");
        assert_eq!(hex(|w| w.int(-1000)), "3903e7");
        assert_eq!(hex(|w| w.int(i64::MIN)), "3b7fffffffffffffff");
        assert_eq!(hex(|w| w.text("IETF")), "6449455446");
        assert_eq!(hex(|w| w.bytes(&[1, 2, 3, 4])), "4401020304");
        assert_eq!(hex(|w| w.array(3)), "83");
        assert_eq!(hex(|w| w.map(2)), "a2");
        assert_eq!(hex(|w| w.bool(true)), "f5");
    }
}
