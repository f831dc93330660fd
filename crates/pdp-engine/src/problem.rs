//! What is wrong with policies: problems refuse them, findings only tell.
//!
//! Invariant: a problem names file, line, column, the offending word and, where there is one, the nearest valid word.

use std::fmt;

/// Words at most this far apart count as a slip of the pen.
pub(crate) const MISSPELLING_DISTANCE: usize = 2;

/// Why policies were refused. All problems of a compilation are reported together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PolicyProblem {
    /// The file as named in [`crate::PolicySource`].
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `<file stem>/<@id>`, once known.
    pub policy: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// The nearest valid word, where there is one.
    pub nearest: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.nearest {
            Some(word) => write!(f, "; did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyProblem {}

/// What kind of thing a finding is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FindingKind {
    /// A fact is calculated with, which may overflow (L-7).
    Arithmetic,
    /// A condition that is always false, or the like: Cedar's own warnings.
    Cedar,
    /// A time-derived fact is compared with something else than a number (L-8): answers hold one second only.
    ComparisonWithoutLiteral,
    /// A permit opens by an approval alone (L-4).
    GrantIgnoresRisk,
    /// A soft forbid that no remedy satisfies (L-3).
    NoRemedy,
    /// No permit can ever apply to an app (PO-1).
    NoRule,
    /// An app declares no sensitivity and counts as critical (PO-4).
    NoSensitivity,
    /// A fact is read that nothing brings yet.
    NoSource,
    /// A fact about a device is read whatever its age (L-14).
    PostureWithoutAge,
    /// A forbid that a remedy turns on (L-15).
    RemedyCloses,
    /// A permit on one route alone (GW-7).
    RouteWidened,
    /// An app with routes is named by `==`, which covers none of them (L-2).
    RoutesNotCovered,
    /// A permit under a forbid without condition (L-6).
    ShadowedPermit,
    /// A pattern on a path without whole segments (L-9).
    UnanchoredPath,
    /// A permit for everyone without condition (L-12).
    UnconditionalPermit,
    /// A fix is done where a device that needs it cannot go (L-5).
    UnreachableFix,
    /// An annotation nothing reads.
    UnknownAnnotation,
    /// A group, app or route that does not exist (L-16).
    UnknownName,
    /// A text that a fact never is (L-11).
    UnknownWord,
    /// Many policies without resource scope: each costs on every request (L-13).
    UnscopedPolicies,
    /// Rules by path of an app whose path form is opened (GW-4).
    WeakenedPath,
}

impl FindingKind {
    /// The word in listings, e.g. `unconditional_permit`.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::Arithmetic => "arithmetic",
            FindingKind::Cedar => "cedar",
            FindingKind::ComparisonWithoutLiteral => "comparison_without_literal",
            FindingKind::GrantIgnoresRisk => "grant_ignores_risk",
            FindingKind::NoRemedy => "no_remedy",
            FindingKind::NoRule => "no_rule",
            FindingKind::NoSensitivity => "no_sensitivity",
            FindingKind::NoSource => "no_source",
            FindingKind::PostureWithoutAge => "posture_without_age",
            FindingKind::RemedyCloses => "remedy_closes",
            FindingKind::RouteWidened => "route_widened",
            FindingKind::RoutesNotCovered => "routes_not_covered",
            FindingKind::ShadowedPermit => "shadowed_permit",
            FindingKind::UnanchoredPath => "unanchored_path",
            FindingKind::UnconditionalPermit => "unconditional_permit",
            FindingKind::UnreachableFix => "unreachable_fix",
            FindingKind::UnknownAnnotation => "unknown_annotation",
            FindingKind::UnknownName => "unknown_name",
            FindingKind::UnknownWord => "unknown_word",
            FindingKind::UnscopedPolicies => "unscoped_policies",
            FindingKind::WeakenedPath => "weakened_path",
        }
    }
}

/// Something an operator should look at; it refuses nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// `crm.cedar:12`, `apps.yaml:3`.
    pub declared_at: String,
    /// What kind.
    pub kind: FindingKind,
    /// What it is and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.declared_at, self.message)
    }
}

/// The word of `known` nearest to `word`, if any is within [`MISSPELLING_DISTANCE`].
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= MISSPELLING_DISTANCE)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters; words longer than 64 are as far as can be.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in
            [("", "", 0), ("mode", "mode", 0), ("mod", "mode", 1), ("stgae", "stage", 2), ("a", "", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_word_is_offered() {
        assert_eq!(nearest("clas", ["class", "mode"]), Some("class"));
        assert_eq!(nearest("owner", ["class", "mode"]), None);
    }
}
