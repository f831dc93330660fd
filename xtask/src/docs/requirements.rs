//! The page of requirement ids against the ids that code and pages cite: nobody has to guess what `GW-12` means, and
//! nothing leans on a document that is not here.

use std::collections::BTreeSet;

/// Where the ids are explained.
pub(super) const PAGE: &str = "docs/requirements.md";
/// Families of ids that the page explains. Attacks have a page of their own.
const FAMILIES: &[&str] = &["AUD", "GW", "ID", "L", "PO", "R", "T", "UI"];
/// Names under which the page might be cited, and nothing else that ends so.
const FOREIGN: &[&str] =
    &["gateway.md", "policy.md", "identity.md", "audit.md", "console.md", "risk.md", "device.md", "mesh.md", "rulings"];

/// What `text` of `file` cites and is not `known`, and citations of documents that are not here.
pub(super) fn check(known: &BTreeSet<String>, file: &str, text: &str) -> Vec<String> {
    if file == PAGE {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{file}:{}", index + 1);
        for id in cited(line).filter(|id| !known.contains(id)) {
            problems.push(format!("{at}: `{id}` is not explained in {PAGE}"));
        }
        if file.ends_with(".rs") && !file.ends_with("docs/requirements.rs") {
            let named = FOREIGN.iter().filter(|name| names(line, name));
            problems.extend(named.map(|name| format!("{at}: `{name}` is not in this repository; cite the id alone")));
        }
    }
    problems
}

/// What the page explains: the first column of its tables; `L-1 … L-16` stands for all of them.
pub(super) fn explained(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.flat_map(|(cell, _)| {
        let ids: Vec<String> = cited(cell).collect();
        match (cell.contains('…'), ids.as_slice()) {
            (true, [first, last]) => between(first, last),
            _ => ids,
        }
    })
    .collect()
}

fn between(first: &str, last: &str) -> Vec<String> {
    let split =
        |id: &str| id.rsplit_once('-').and_then(|(family, n)| Some((family.to_owned(), n.parse::<u32>().ok()?)));
    match (split(first), split(last)) {
        (Some((family, from)), Some((_, to))) => (from..=to).map(|n| format!("{family}-{n}")).collect(),
        _ => Vec::new(),
    }
}

/// Ids in a line: a family, a dash, one to three digits, and no word before or after.
fn cited(line: &str) -> impl Iterator<Item = String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    line.split(move |c| !is_word(c)).filter_map(|word| {
        let (family, number) = word.split_once('-')?;
        let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        (FAMILIES.contains(&family) && is_number).then(|| word.to_owned())
    })
}

/// Whether `line` has `name` as a word of its own, outside a path such as `docs/policy.md`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && c != '/' && c != '-' && c != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_TEXT: &str = "# Ids\n| id | asks for |\n|---|---|\n| GW-1 | one |\n| L-1 … L-3 | lints |\n";

    #[test]
    fn an_unexplained_id_and_a_foreign_document_are_found() {
        let text = "//! See GW-1, GW-2 and L-2 (policy.md PO-9).\n";
        let problems = check(&explained(PAGE_TEXT), "a.rs", text);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("GW-2") && problems[1].contains("PO-9") && problems[2].contains("policy.md"));
    }

    #[test]
    fn words_that_only_look_like_ids_are_left_alone() {
        assert_eq!(cited("UTF-8, AES-256, X-GW-1, TLS-1, RID-5, GW-1234, docs/policy.md").count(), 0);
        assert!(!names("see docs/policy.md", "policy.md"));
    }
}
