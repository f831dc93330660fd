//! Filters of the templates. They change text, never its escaping: askama escapes what they give.

use std::fmt;

/// Shows characters that would change how their surroundings read, controls and bidirectional overrides, as marks (UI-26).
#[askama::filter_fn]
pub fn marked(text: impl fmt::Display, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(mark(&text.to_string()))
}

/// `text` with every control, bidirectional and invisible format character as `U+202E`.
pub fn mark(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceiving(c) {
            marked.push_str(&format!("[U+{:04X}]", u32::from(c)));
        } else {
            marked.push(c);
        }
    }
    marked
}

fn is_deceiving(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    c.is_control() || is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_turns_itself_around_is_shown_with_marks() {
        assert_eq!(mark("user\u{202e}gpj.exe"), "user[U+202E]gpj.exe");
        assert_eq!(mark("a\u{0}b\nc"), "a[U+0000]b[U+000A]c");
        assert_eq!(mark("Zoë 李"), "Zoë 李");
    }
}
