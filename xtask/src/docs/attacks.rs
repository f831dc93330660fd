//! The page of attacks against the tests: what it lists exists, and every file with a test named for an attack is listed
//! in the row of that attack.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

const PAGE: &str = "docs/attacks.md";

/// Attack number, and files relative to `crates/` with the tests named beside them.
type Rows = BTreeMap<u32, BTreeMap<String, Vec<String>>>;

/// What does not agree, one sentence each; `sources` are Rust files by their path relative to `crates/`.
pub(super) fn check(page: &str, sources: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let rows = rows(page);
    if rows.is_empty() {
        bail!("{PAGE} has no row `| ATK-1 | … | … |`");
    }
    let tested = tested(sources);
    let mut problems = Vec::new();
    for (attack, files) in &rows {
        for (file, names) in files {
            let Some(source) = sources.get(file) else {
                problems.push(format!("{PAGE}: ATK-{attack} lists `{file}`, which does not exist"));
                continue;
            };
            if names.is_empty() && !tested.get(attack).is_some_and(|files| files.contains(file.as_str())) {
                problems.push(format!("{PAGE}: no test in `{file}` is named for ATK-{attack}"));
            }
            let gone = names.iter().filter(|name| !source.contains(&format!("fn {name}(")));
            problems
                .extend(gone.map(|name| format!("{PAGE}: ATK-{attack} lists `{name}`, which `{file}` does not have")));
        }
    }
    for (attack, files) in &tested {
        let listed = rows.get(attack);
        let unlisted = files.iter().filter(|file| !listed.is_some_and(|files| files.contains_key(**file)));
        problems.extend(unlisted.map(|file| format!("{PAGE}: the row of ATK-{attack} lacks `{file}`")));
    }
    Ok(problems)
}

/// The page with every file that has a test named for an attack in the row of that attack. An attack without a row stays
/// a problem: what it is has to be said by somebody.
pub(super) fn completed(page: &str, sources: &BTreeMap<String, String>) -> String {
    let (rows, tested) = (rows(page), tested(sources));
    let line = |line: &str| {
        let attack = line.strip_prefix("| ATK-").and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        let missing: Vec<&str> = attack.and_then(|attack| tested.get(&attack).map(|files| (attack, files))).map_or(
            Vec::new(),
            |(attack, files)| {
                let is_listed = |file: &str| rows.get(&attack).is_some_and(|listed| listed.contains_key(file));
                files.iter().copied().filter(|file| !is_listed(file)).collect()
            },
        );
        let more: String = missing.iter().map(|file| format!(", `{file}`")).collect();
        match line.strip_suffix(" |") {
            Some(row) if !more.is_empty() => format!("{row}{more} |\n"),
            _ => format!("{line}\n"),
        }
    };
    page.lines().map(line).collect()
}

/// `| ATK-9 | what | `file`, `file` `test` |`.
fn rows(page: &str) -> Rows {
    let mut rows = Rows::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("| ATK-") else { continue };
        let Some((number, rest)) = rest.split_once(" |") else { continue };
        let Ok(attack) = number.parse::<u32>() else { continue };
        let cell = rest.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let files = rows.entry(attack).or_default();
        for part in cell.split(", ") {
            let mut words = part.split('`').skip(1).step_by(2).map(str::to_owned);
            if let Some(file) = words.next() {
                files.insert(file, words.collect());
            }
        }
    }
    rows
}

/// Attacks by number, with the files whose functions or table rows are named for them.
fn tested(sources: &BTreeMap<String, String>) -> BTreeMap<u32, BTreeSet<&str>> {
    let mut tested: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for (file, source) in sources {
        let functions = source.split("fn atk_").skip(1);
        let rows = source.split("\"ATK-").skip(1).filter(|_| file == "http-gate/src/attacks.rs");
        for named in functions.chain(rows) {
            let digits: String = named.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(attack) = digits.parse() {
                tested.entry(attack).or_default().insert(file);
            }
        }
    }
    tested
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(page: &str) -> Vec<String> {
        let source = "#[test]\nfn atk_9_a() {}\n#[test]\nfn another() {}\n";
        check(page, &BTreeMap::from([("a/b.rs".to_owned(), source.to_owned())])).unwrap()
    }

    #[test]
    fn a_page_that_agrees_passes() {
        assert_eq!(problems("| ATK-9 | bad | `a/b.rs` |\n| ATK-10 | x | `a/b.rs` `another` |"), Vec::<String>::new());
    }

    #[test]
    fn a_completed_page_agrees() {
        let sources = BTreeMap::from([("a/b.rs".to_owned(), "fn atk_9_a() {}".to_owned())]);
        let page = completed("# Attacks\n| ATK-9 | bad | `a/b.rs` `atk_9_a` |\n", &sources);
        assert_eq!(page, "# Attacks\n| ATK-9 | bad | `a/b.rs` `atk_9_a` |\n");
        let sources = BTreeMap::from([("a/c.rs".to_owned(), "fn atk_9_a() {}".to_owned())]);
        let page = completed("| ATK-9 | bad | `a/c.rs` `atk_9_a` |\n| ATK-1 | x | `a/c.rs` `atk_9_a` |\n", &sources);
        assert_eq!(check(&page, &sources).unwrap(), Vec::<String>::new());
        let more = BTreeMap::from([
            ("a/c.rs".to_owned(), "fn atk_1_x() {}\nfn atk_9_a() {}".to_owned()),
            ("d.rs".to_owned(), "fn atk_1_y() {}".to_owned()),
        ]);
        assert_eq!(check(&completed(&page, &more), &more).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_missing_file_a_missing_test_and_an_unlisted_test_are_found() {
        assert_eq!(
            problems("| ATK-10 | x | `a/b.rs` `gone`, `a/c.rs` |\n| ATK-11 | x | `a/b.rs` |"),
            [
                "docs/attacks.md: ATK-10 lists `gone`, which `a/b.rs` does not have",
                "docs/attacks.md: ATK-10 lists `a/c.rs`, which does not exist",
                "docs/attacks.md: no test in `a/b.rs` is named for ATK-11",
                "docs/attacks.md: the row of ATK-9 lacks `a/b.rs`",
            ]
        );
    }
}
