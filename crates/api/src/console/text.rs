//! Values in the words of a screen: marks for characters that would hide something, times, ages, answers, addresses.

use model::{Effect, Timestamp};
use pages::Moment;
use pages::console::Badge;

/// How much of a value chosen by strangers a cell shows.
const CELL_CHARS: usize = 300;

/// `text` as a cell shows it: cut, and with marks for what would turn the reading direction, end a line or hide (UI-26).
pub(super) fn shown(text: &str) -> String {
    let is_long = text.chars().nth(CELL_CHARS).is_some();
    let mut shown = pages::mark(&text.chars().take(CELL_CHARS).collect::<String>());
    if is_long {
        shown.push('…');
    }
    shown
}

/// A time for machines and for people.
pub(super) fn moment(time: Timestamp) -> Moment {
    (time.to_string(), time.readable())
}

/// An answer with its mark.
pub(super) fn badge(effect: Option<Effect>) -> Badge {
    let (class, text) = match effect {
        Some(Effect::Allow) => ("allow", "✓ ALLOW"),
        Some(Effect::Deny) => ("deny", "✕ DENY"),
        Some(Effect::StepUp) => ("step", "↑ STEP_UP"),
        None => ("none", "– no answer"),
    };
    Badge { class, text: text.to_owned() }
}

/// The same for the word in a record.
pub(super) fn effect(word: Option<&str>) -> Option<Effect> {
    [Effect::Allow, Effect::Deny, Effect::StepUp].into_iter().find(|effect| Some(effect.as_str()) == word)
}

/// `3 h 20 min`, for the age of a fact.
pub(super) fn age(secs: i64) -> String {
    match secs {
        model::facts::NEVER_SECS.. => "never seen".to_owned(),
        secs if secs < 120 => format!("{secs} s"),
        secs if secs < 7_200 => format!("{} min", secs / 60),
        secs if secs < 172_800 => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        secs => format!("{} days", secs / 86_400),
    }
}

/// `1 session`, `2 sessions`; `people` for `person`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// A path with a query; pairs without a value are left out.
pub(super) fn url<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if pairs.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", query.extend_pairs(pairs).finish())
}

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A segment read back; what is no text stays none.
pub(super) fn unescaped(segment: &str) -> String {
    // `+` is itself in a path.
    let query = segment.replace('+', "%2B");
    form_urlencoded::parse(query.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// A text as a word of a POSIX shell, for the command at a page's foot.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", shown(text).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bidi_and_control_characters_become_marks() {
        assert_eq!(shown("a\u{202e}b\u{1b}[2J\u{200b}\n"), "a[U+202E]b[U+001B][2J[U+200B][U+000A]");
        assert_eq!(shown("مرحبا"), "مرحبا", "a name that is written from right to left is no attack");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), CELL_CHARS + 1);
    }

    #[test]
    fn a_segment_is_read_back_as_it_was() {
        for text in ["a@b.test", "a b+c", "50%", "ü/ö?", "usr_abc"] {
            assert_eq!(unescaped(&segment(text)), text);
            assert!(!segment(text).contains('/'), "{text}");
        }
    }

    #[test]
    fn a_command_is_one_that_can_be_pasted() {
        assert_eq!(shell_word("alice@example.org"), "alice@example.org");
        assert_eq!(shell_word("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(shell_word("it's\n"), "'it'\\''s[U+000A]'");
    }
}
