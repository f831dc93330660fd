//! A QR code as a drawing inside the page: no image to fetch, no script, nothing the content security policy would have to
//! allow. What it says is never part of its description, which is read aloud and logged by others.
//!
//! Invariants: the drawing consists of digits and six letters, whatever it says, and passes through the same escaping as
//! all text; it is black on white with its quiet zone in every colour scheme, because cameras expect that.

use qrcode::{Color, EcLevel};

/// The margin cameras need, in modules (ISO/IEC 18004 §5.3.8).
const QUIET_MODULES: usize = 4;
/// The longest text that is drawn: what still fits a phone's camera held to a screen.
pub const MAX_SCAN_BYTES: usize = 1_024;

/// A drawing to be scanned.
#[derive(Clone, PartialEq, Eq)]
pub struct ScanCode {
    /// What it is, for those who do not see it.
    pub label: String,
    /// Width and height in modules, quiet zone included.
    pub size: usize,
    /// The dark modules, as the `d` of a path.
    pub path: String,
}

impl std::fmt::Debug for ScanCode {
    // What is drawn may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanCode").field("label", &self.label).field("size", &self.size).finish_non_exhaustive()
    }
}

impl ScanCode {
    /// Draws `text`; `None` above [`MAX_SCAN_BYTES`].
    pub fn of(text: &str, label: &str) -> Option<Self> {
        if text.len() > MAX_SCAN_BYTES {
            return None;
        }
        let code = qrcode::QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let colors = code.to_colors();
        let mut path = String::new();
        for (y, row) in colors.chunks(width).enumerate() {
            for (x, length) in dark_runs(row) {
                let (x, y) = (x + QUIET_MODULES, y + QUIET_MODULES);
                path.push_str(&format!("M{x} {y}h{length}v1h-{length}z"));
            }
        }
        Some(Self { label: label.to_owned(), size: width + 2 * QUIET_MODULES, path })
    }
}

/// Where dark modules begin in a row, and how many follow each other.
fn dark_runs(row: &[Color]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (x, _) in row.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == x => *length += 1,
            _ => runs.push((x, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the drawing as a camera would, with a decoder of other hands: eight pixels a module.
    fn scanned(code: &ScanCode) -> String {
        const PIXELS: usize = 8;
        let mut dark = vec![false; code.size * code.size];
        for run in code.path.split('M').skip(1) {
            let numbers: Vec<usize> =
                run.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
            let [x, y, length, 1, back] = numbers.as_slice() else { panic!("{run}") };
            assert_eq!(length, back);
            (0..*length).for_each(|step| dark[y * code.size + x + step] = true);
        }
        let pixels = code.size * PIXELS;
        let is_dark = |x: usize, y: usize| dark[(y / PIXELS) * code.size + x / PIXELS];
        let mut image = rqrr::PreparedImage::prepare_from_bitmap(pixels, pixels, is_dark);
        image.detect_grids().remove(0).decode().unwrap().1
    }

    #[test]
    fn another_decoder_reads_what_was_drawn() {
        let longest = format!("otpauth://totp/{}", "x".repeat(MAX_SCAN_BYTES - 15));
        for text in [
            "otpauth://totp/Corp:bob%40corp.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Corp&algorithm=SHA1&digits=6&period=30",
            "a",
            longest.as_str(),
        ] {
            assert_eq!(scanned(&ScanCode::of(text, "key").unwrap()), text);
        }
        assert!(ScanCode::of(&format!("{longest}x"), "key").is_none());
    }

    #[test]
    fn whatever_it_says_the_drawing_cannot_leave_its_attribute() {
        let code = ScanCode::of("\"><script>alert(1)</script>", "key").unwrap();
        assert!(code.path.chars().all(|c| c.is_ascii_digit() || "Mhvz -".contains(c)), "{}", code.path);
        assert!(!format!("{code:?}").contains(&code.path));
    }
}
