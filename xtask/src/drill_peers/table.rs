//! Score cards side by side, written into docs/drill.md between two marks.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Peer;
use crate::run::Repo;

const PAGE: &str = "docs/drill.md";
const BEGIN: &str = "<!-- written by cargo xtask drill-peers -->\n";
const END: &str = "<!-- end -->\n";

/// Name, version, score card.
pub(crate) type Card = (String, String, Value);

/// The table and what got through.
pub(crate) fn of(cards: &[Card], peers: &[&Peer]) -> String {
    let mut text = String::from("| attack |");
    for (name, version, _) in cards {
        let _ = write!(text, " {name} {version} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(cards.len()));
    text.push('\n');
    for attack in attacks(cards) {
        let _ = write!(text, "| {attack} |");
        for (_, _, card) in cards {
            let _ = write!(text, " {} |", cell(card, &attack));
        }
        text.push('\n');
    }
    let _ = write!(text, "| all |");
    for (_, _, card) in cards {
        let sum = |member: &str| card.pointer(&format!("/tally/{member}")).and_then(Value::as_u64).unwrap_or(0);
        let _ = write!(text, " {} of {} |", sum("passed"), sum("passed") + sum("failed"));
    }
    text.push_str("\n\nWhat each was told, beside the task above:\n\n");
    for peer in peers {
        let _ = writeln!(text, "- {} ({}): {}.", peer.name, peer.package, peer.note);
    }
    for (name, _, card) in cards {
        let failures: Vec<&Value> = results(card).filter(|result| verdict(result) == "failed").collect();
        if failures.is_empty() {
            continue;
        }
        let _ = write!(text, "\n<details><summary>What got through {name}: {} cases</summary>\n\n", failures.len());
        for failure in failures {
            let member = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default();
            let seen = member("seen").replace('`', "'").replace('|', "\\|");
            let _ = writeln!(text, "- {} {}, {}: `{seen}`", member("attack"), member("case"), member("outcome"));
        }
        text.push_str("\n</details>\n");
    }
    text
}

/// `12 of 12`, with what became of the rest; `-` where nothing could be judged.
fn cell(card: &Value, attack: &str) -> String {
    let mine = results(card).filter(|result| result.get("attack").and_then(Value::as_str) == Some(attack));
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut passed, mut judged, mut own) = (0, 0, false);
    for result in mine {
        match verdict(result) {
            "passed" => {
                passed += 1;
                judged += 1;
            }
            "failed" => {
                judged += 1;
                let outcome = result.get("outcome").and_then(Value::as_str).unwrap_or_default();
                *outcomes.entry(outcome.to_owned()).or_default() += 1;
            }
            "own_test" => own = true,
            _ => {}
        }
    }
    let rest: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    match (judged, rest.is_empty()) {
        (0, _) if own => "own tests".to_owned(),
        (0, _) => "-".to_owned(),
        (_, true) => format!("{passed} of {judged}"),
        (_, false) => format!("{passed} of {judged} ({})", rest.join(", ")),
    }
}

/// Attacks that some card judged, in the order of the cards.
fn attacks(cards: &[Card]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, _, card) in cards {
        for result in results(card).filter(|result| matches!(verdict(result), "passed" | "failed")) {
            let id = result.get("attack").and_then(Value::as_str).unwrap_or_default();
            if !found.iter().any(|known| known == id) {
                found.push(id.to_owned());
            }
        }
    }
    let number = |id: &String| id.trim_start_matches("ATK-").parse::<u32>().unwrap_or(0);
    found.sort_by_key(number);
    found
}

fn results(card: &Value) -> impl Iterator<Item = &Value> {
    card.get("results").and_then(Value::as_array).into_iter().flatten()
}

fn verdict(result: &Value) -> &str {
    result.get("verdict").and_then(Value::as_str).unwrap_or_default()
}

/// Puts `text` between the marks of the page.
pub(crate) fn write(repo: &Repo, text: &str) -> Result<()> {
    let path = repo.root.join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{PAGE}`"))?;
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("`{PAGE}` lacks the mark for the table"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("`{PAGE}` lacks the mark behind the table"))?;
    std::fs::write(path, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_card_becomes_a_column_and_what_got_through_is_listed() {
        let card = json!({
            "tally": { "passed": 1, "failed": 2 },
            "results": [
                { "attack": "ATK-13", "case": "two slashes", "verdict": "failed", "outcome": "bypassed", "seen": "a|b" },
                { "attack": "ATK-13", "case": "a dot", "verdict": "failed", "outcome": "bypassed", "seen": "`c`" },
                { "attack": "ATK-2", "case": "gzip", "verdict": "passed", "outcome": "refused", "seen": "status 400" },
                { "attack": "ATK-45", "case": "all of it", "verdict": "own_test", "test": "x" },
            ],
        });
        let text = of(&[("A".to_owned(), "1.0".to_owned(), card)], &[]);
        assert!(text.contains("| ATK-2 | 1 of 1 |\n| ATK-13 | 0 of 2 (2 bypassed) |\n| all | 1 of 3 |"), "{text}");
        assert!(text.contains("- ATK-13 two slashes, bypassed: `a\\|b`") && !text.contains("ATK-45"), "{text}");
    }
}
