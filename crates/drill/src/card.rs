//! The score card: what became of every case, in words and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::attacks::ATTACKS;
use crate::setup::Doors;

/// What became of an attack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing whole reached the app.
    Refused,
    /// One request with one meaning reached the app, rewritten.
    Normalised,
    /// One request with one meaning reached the app as it was sent.
    Forwarded,
    /// What has two readings reached the app.
    Unchanged,
    /// More requests than the proxy judged reached the app, or an answer reached somebody else.
    Smuggled,
    /// What the proxy's rule refuses reached the app.
    Bypassed,
    /// What only the proxy may say, or nobody may read, got through.
    Leaked,
    /// The proxy went on without end.
    Unbounded,
    /// Something else, told in words.
    Other,
}

impl Outcome {
    /// True if the attack failed.
    pub fn is_harmless(self) -> bool {
        matches!(self, Outcome::Refused | Outcome::Normalised | Outcome::Forwarded)
    }

    /// In a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Refused => "refused",
            Outcome::Normalised => "normalised",
            Outcome::Forwarded => "forwarded",
            Outcome::Unchanged => "unchanged",
            Outcome::Smuggled => "smuggled",
            Outcome::Bypassed => "bypassed",
            Outcome::Leaked => "leaked",
            Outcome::Unbounded => "unbounded",
            Outcome::Other => "other",
        }
    }
}

/// How a case was judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The attack failed.
    Passed {
        /// How.
        outcome: Outcome,
        /// What was seen.
        seen: String,
    },
    /// The attack succeeded.
    Failed {
        /// How.
        outcome: Outcome,
        /// What was seen.
        seen: String,
    },
    /// The proxy lacks the door, or nothing was said of it.
    NotApplicable {
        /// Which, and the option that names it.
        why: String,
    },
    /// It needs more than a proxy and an app; the product's own test plays it.
    OwnTest {
        /// Where.
        test: &'static str,
    },
}

impl Verdict {
    /// By outcome.
    pub(crate) fn of(outcome: Outcome, seen: impl Into<String>) -> Self {
        let seen = printable(&seen.into());
        match outcome.is_harmless() {
            true => Verdict::Passed { outcome, seen },
            false => Verdict::Failed { outcome, seen },
        }
    }
}

/// What an attacked proxy sent on must not steer the terminal that shows it.
fn printable(text: &str) -> String {
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect()
}

/// One case with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// `ATK-13`.
    pub attack: &'static str,
    /// What is sent.
    pub case: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Every case.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreCard {
    /// What the proxy has.
    pub doors: Doors,
    /// In the order of the attacks.
    pub results: Vec<CaseResult>,
}

/// What the cases of one attack, or of all, add up to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Tally {
    /// Attacks that failed.
    pub passed: usize,
    /// Attacks that succeeded.
    pub failed: usize,
    /// Doors that the proxy lacks.
    pub not_applicable: usize,
    /// Played by the product's own tests.
    pub own_tests: usize,
}

impl ScoreCard {
    /// Over the cases of `attack`, or of all.
    pub fn tally(&self, attack: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        for result in self.results.iter().filter(|result| attack.is_none_or(|attack| attack == result.attack)) {
            match result.verdict {
                Verdict::Passed { .. } => tally.passed += 1,
                Verdict::Failed { .. } => tally.failed += 1,
                Verdict::NotApplicable { .. } => tally.not_applicable += 1,
                Verdict::OwnTest { .. } => tally.own_tests += 1,
            }
        }
        tally
    }

    /// The cases that the proxy did not withstand.
    pub fn failures(&self) -> impl Iterator<Item = &CaseResult> {
        self.results.iter().filter(|result| matches!(result.verdict, Verdict::Failed { .. }))
    }

    /// As JSON, with the sums.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "doors": self.doors, "tally": self.tally(None), "results": self.results })
    }

    /// For people: a line for every attack, and one for every case that failed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for attack in ATTACKS {
            let tally = self.tally(Some(attack.id));
            if tally == Tally::default() {
                continue;
            }
            let _ = writeln!(text, "{:<7} {:<7} {}", attack.id, word(tally), attack.title);
            for result in self.results.iter().filter(|result| result.attack == attack.id) {
                if let Verdict::Failed { outcome, seen } = &result.verdict {
                    let _ = writeln!(text, "        {}: {}: {seen}", outcome.as_str(), result.case);
                }
            }
            let is_only =
                |verdict: &Verdict| matches!(verdict, Verdict::NotApplicable { .. } | Verdict::OwnTest { .. });
            let others = self.results.iter().filter(|result| result.attack == attack.id && is_only(&result.verdict));
            let mut reasons: Vec<String> = others
                .map(|result| match &result.verdict {
                    Verdict::OwnTest { test } => format!("played by {test}"),
                    Verdict::NotApplicable { why } => format!("not applicable: {why}"),
                    _ => String::new(),
                })
                .collect();
            reasons.sort();
            reasons.dedup();
            for reason in reasons {
                let _ = writeln!(text, "        {reason}");
            }
        }
        let all = self.tally(None);
        let _ = writeln!(
            text,
            "\n{} passed, {} failed, {} not applicable, {} played by the product's own tests",
            all.passed, all.failed, all.not_applicable, all.own_tests
        );
        text
    }
}

fn word(tally: Tally) -> &'static str {
    match tally {
        Tally { failed: 1.., .. } => "FAIL",
        Tally { passed: 1.., .. } => "pass",
        Tally { own_tests: 1.., .. } => "own",
        _ => "n/a",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_in_what_was_seen_are_shown_and_not_sent() {
        let verdict = Verdict::of(Outcome::Leaked, "x: \u{1b}[2J\r\n\u{9b}1m");
        assert_eq!(
            verdict,
            Verdict::Failed { outcome: Outcome::Leaked, seen: "x: \\u{1b}[2J\\r\\n\\u{9b}1m".to_owned() }
        );
    }
}
