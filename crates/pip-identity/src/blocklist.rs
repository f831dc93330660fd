//! Passwords that anybody tries first (ID-15): refused as a whole, by rule and by a list of words. Pure.
//!
//! A password is weak when it is one short text over and over, a walk along the alphabet, the digits or a keyboard, or
//! when nothing is left of it after words that everybody uses, the product's and the organisation's names, the person's
//! own name and address, digits and punctuation are taken away. Letters written as digits count as the letters. There are
//! no rules about kinds of characters.

use unicode_normalization::UnicodeNormalization;

/// Words of passwords that everybody tries. Ours: collected by kind, not copied from a list of leaked passwords.
const WORDS: &str = include_str!("blocklist/words.txt");

/// Rows of keyboards, the alphabet and the digits: walks along them are no secret.
const ROWS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
];
/// The shortest word of an organisation or person that is looked for.
const MIN_CONTEXT_CHARS: usize = 3;
/// How much of a password may be left beside what everybody tries: three letters are no secret.
const MAX_SCRAPS: usize = 3;

/// Why a password is weak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Weakness {
    /// Made of words that everybody tries.
    #[error("this password is made of words that are tried first; take words that do not belong together")]
    CommonWords,
    /// Made of names of the product, the organisation or the person.
    #[error("this password is made of your name or the names of this place; take something else")]
    Names,
    /// One short text over and over.
    #[error("this password repeats one short text; take something else")]
    Repeated,
    /// A walk along alphabet, digits or keyboard.
    #[error("this password walks along the alphabet, the digits or the keyboard; take something else")]
    Walk,
}

/// The names a password must not be made of.
#[derive(Clone, Debug, Default)]
pub struct Context {
    words: Vec<String>,
}

impl Context {
    /// From whatever names there are: they are cut at everything that is no letter or digit.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words = vec!["countersign".to_owned()];
        for name in names {
            let whole = reduced(name);
            words.extend(name.split(|c: char| !c.is_alphanumeric()).map(reduced));
            words.push(whole);
        }
        words.retain(|word| word.chars().count() >= MIN_CONTEXT_CHARS);
        words.sort();
        words.dedup();
        Self { words }
    }
}

/// Refuses what anybody would try first.
///
/// # Errors
/// Which rule.
pub fn check(password: &str, context: &Context) -> Result<(), Weakness> {
    let plain: Vec<char> = password.chars().flat_map(char::to_lowercase).collect();
    if is_repeated(&plain) {
        return Err(Weakness::Repeated);
    }
    if is_walk(&plain) {
        return Err(Weakness::Walk);
    }
    let letters: Vec<char> = reduced(password).chars().collect();
    if is_made_of(&letters, &context.words) {
        return Err(Weakness::Names);
    }
    let common: Vec<&str> = common_words().collect();
    if is_made_of(&letters, &common) {
        return Err(Weakness::CommonWords);
    }
    let all: Vec<&str> = common.into_iter().chain(context.words.iter().map(String::as_str)).collect();
    if is_made_of(&letters, &all) { Err(Weakness::Names) } else { Ok(()) }
}

fn common_words() -> impl Iterator<Item = &'static str> {
    WORDS.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}

/// Lower-case letters and digits without accents, digits and signs that stand for letters read as those letters.
fn reduced(text: &str) -> String {
    text.nfkd()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            '0' => Some('o'),
            '1' | '!' | '|' => Some('i'),
            '3' | '€' => Some('e'),
            '4' | '@' => Some('a'),
            '5' | '$' => Some('s'),
            '7' | '+' => Some('t'),
            '8' => Some('b'),
            c => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

fn is_repeated(chars: &[char]) -> bool {
    let is_period = |period: usize| chars.iter().zip(chars.iter().skip(period)).all(|(a, b)| a == b);
    (1..=chars.len() / 2).any(is_period)
}

/// Nine of ten steps go to a neighbour, or stay.
fn is_walk(chars: &[char]) -> bool {
    let steps = chars.len().saturating_sub(1);
    let near = chars.iter().zip(chars.iter().skip(1)).filter(|(a, b)| is_neighbour(**a, **b)).count();
    steps > 0 && near * 10 >= steps * 9
}

fn is_neighbour(a: char, b: char) -> bool {
    let in_row = |row: &&str| {
        let (a, b) = (row.chars().position(|c| c == a), row.chars().position(|c| c == b));
        matches!((a, b), (Some(a), Some(b)) if a.abs_diff(b) <= 1)
    };
    a == b || (a, b) == ('9', '0') || (a, b) == ('0', '9') || ROWS.iter().any(in_row)
}

/// Whether words, digits as they are and at most [`MAX_SCRAPS`] other characters make up the whole. The fewest scraps
/// for every prefix, from left to right.
fn is_made_of<W: AsRef<str>>(letters: &[char], words: &[W]) -> bool {
    let words: Vec<Vec<char>> = words.iter().map(|word| reduced(word.as_ref()).chars().collect()).collect();
    let mut scraps: Vec<usize> = vec![usize::MAX; letters.len() + 1];
    let mut has_word = vec![false; letters.len() + 1];
    if let Some(first) = scraps.first_mut() {
        *first = 0;
    }
    for at in 0..letters.len() {
        let (Some(&so_far), Some(&had_word)) = (scraps.get(at), has_word.get(at)) else { break };
        let rest = letters.get(at..).unwrap_or_default();
        let mut reach = |length: usize, cost: usize, is_word: bool| {
            let (Some(best), Some(word)) = (scraps.get_mut(at + length), has_word.get_mut(at + length)) else { return };
            if so_far.saturating_add(cost) < *best {
                *best = so_far.saturating_add(cost);
                *word = had_word || is_word;
            }
        };
        for word in words.iter().filter(|word| rest.starts_with(word)) {
            reach(word.len(), 0, true);
        }
        reach(1, usize::from(!rest.first().is_some_and(char::is_ascii_digit)), false);
    }
    let (Some(left), Some(has_word)) = (scraps.last(), has_word.last()) else { return false };
    *left <= MAX_SCRAPS && (*has_word || letters.len() <= MAX_SCRAPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(password: &str) -> Result<(), Weakness> {
        check(password, &Context::of(["Acme Rockets", "Alice Wonder", "alice.w@acme.example"]))
    }

    #[test]
    fn what_everybody_tries_is_refused_however_it_is_dressed_up() {
        for (password, weakness) in [
            ("passwordpassword", Weakness::Repeated),
            ("aaaaaaaaaaaaaaaaa", Weakness::Repeated),
            ("abcabcabcabcabca", Weakness::Repeated),
            ("123456789012345", Weakness::Walk),
            ("12345678901234567890", Weakness::Repeated),
            ("abcdefghijklmnop", Weakness::Walk),
            ("987654321098765", Weakness::Walk),
            ("qwertyuiopasdfghjkl", Weakness::Walk),
            ("Password-Admin-2026!", Weakness::CommonWords),
            ("P@$$w0rd4dm1n2026!", Weakness::CommonWords),
            ("welcomesummer2026!", Weakness::CommonWords),
            ("iloveyouverymuch!", Weakness::CommonWords),
            ("AliceWonder-1990!", Weakness::Names),
            ("acme.rockets.acme", Weakness::Names),
            ("Countersign-2026-01", Weakness::Names),
            ("welcome-to-acme-26", Weakness::CommonWords),
        ] {
            let found = verdict(password);
            assert!(found.is_err(), "{password} passes");
            assert_eq!(found, Err(weakness), "{password}");
        }
    }

    #[test]
    fn passwords_nobody_would_guess_pass_without_digits_and_signs() {
        for password in [
            "ferry lantern quartz mild",
            "korrektes pferd batterie",
            "7hs kq2 vbn 0wz lm4",
            "Überschwemmung im Keller",
            "雪が静かに山を覆っている朝に鳥が鳴く",
            "my coffee tastes of diesel",
        ] {
            assert_eq!(verdict(password), Ok(()), "{password}");
        }
    }

    #[test]
    fn the_longest_password_is_judged_quickly_enough_to_be_judged_at_all() {
        let long: String = "password1".chars().cycle().take(251).chain("x y z".chars()).collect();
        assert!(verdict(&long).is_err());
    }
}
