//! What is wrong with a text, said so that it can be mended: where, what, and what would be valid.

use std::fmt;

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// Applied, but worth a look.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// File name as given.
    pub file: String,
    /// From 1; 0 when the whole file is meant.
    pub line: u64,
    /// From 1; 0 when the whole line is meant.
    pub column: u64,
    /// How bad.
    pub severity: Severity,
    /// What, lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// An error at a place.
    pub fn error(file: &str, at: (u64, u64), message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.0,
            column: at.1,
            severity: Severity::Error,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning at a place.
    pub fn warning(file: &str, at: (u64, u64), message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, at, message) }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {word}: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  help: {hint}")?;
        }
        Ok(())
    }
}

/// All problems of a text or a set of files.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

/// The candidate closest to `word`, if it is close enough to be a slip of the pen.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(from != *to);
            diagonal = *above;
            left = cost.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// "did you mean …" or the list of valid words.
pub(crate) fn choices(word: &str, valid: &[&str]) -> String {
    match nearest(word, valid.iter().copied()) {
        Some(close) => format!("did you mean `{close}`? valid here: {}", valid.join(", ")),
        None => format!("valid here: {}", valid.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_word() {
        assert_eq!(nearest("upsteam", ["upstream", "path"]), Some("upstream"));
        assert_eq!(nearest("zzz", ["upstream", "path"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
