//! Rules about pages and files that would otherwise rot: links lead somewhere, the configuration reference is what the code
//! says of the keys it reads, the page of attacks the tests there are, the README shows the commands that are run here,
//! nothing unfinished is left behind.

mod attacks;
mod reference;
mod requirements;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::Repo;

/// Commands a reader of the README is told to type; `ci` runs both.
const README_COMMANDS: &[&str] = &["cargo run --release -- demo", "cargo xtask test"];
const ATTACKS: &str = "docs/attacks.md";
/// Kept short so that it is read.
const ARCHITECTURE_LINES: usize = 200;
/// Folders that are not ours to check.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules", ".peers"];
/// Files of text.
const TEXT: &[&str] = &["md", "rs", "toml", "yaml", "cedar", "html", "css", "js", "mjs", "py", "sh"];

/// With `--fix`, first completes what can be completed without thinking.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let is_fixing = match arguments {
        [] => false,
        [only] if only == "--fix" => true,
        _ => bail!("`docs` takes `--fix` or nothing"),
    };
    let mut files = Vec::new();
    walk(&repo.root, &mut files)?;
    let mut problems = Vec::new();
    let mut sources = BTreeMap::new();
    let requirements =
        std::fs::read_to_string(repo.root.join(requirements::PAGE)).context("no page of requirements")?;
    let requirements = requirements::explained(&requirements);
    for file in &files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let name = file.strip_prefix(&repo.root).unwrap_or(file).display().to_string();
        problems.extend(requirements::check(&requirements, &name, &text));
        problems.extend(leftovers(&text).map(|(line, word)| format!("{name}:{line}: `{word}`")));
        if name.ends_with(".md") {
            problems.extend(dead_links(file, &text).map(|link| format!("{name}: `{link}` leads nowhere")));
        }
        if name.ends_with("/mod.rs") {
            problems.push(format!("{name}: modules are `foo.rs` beside `foo/`"));
        }
        if name.ends_with(".rs") && !text.starts_with("//!") && !text.starts_with("#!") {
            problems.push(format!("{name}: a file begins with `//!` and what it is"));
        }
        if let Some(name) = name.strip_prefix("crates/").filter(|name| name.ends_with(".rs")) {
            sources.insert(name.to_owned(), text);
        }
    }
    let page = |name: &str| std::fs::read_to_string(repo.root.join(name)).with_context(|| format!("no {name}"));
    problems.extend(unshown(&page("README.md")?).map(|command| format!("README.md does not show `{command}`")));
    let lines = page("ARCHITECTURE.md")?.lines().count();
    if lines > ARCHITECTURE_LINES {
        problems.push(format!("ARCHITECTURE.md has {lines} lines; {ARCHITECTURE_LINES} is the most people read"));
    }
    if is_fixing {
        std::fs::write(repo.root.join(reference::PAGE), reference::completed(&page)?)?;
        std::fs::write(repo.root.join(ATTACKS), attacks::completed(&page(ATTACKS)?, &sources))?;
    }
    problems.extend(reference::check(&page)?);
    problems.extend(attacks::check(&page(ATTACKS)?, &sources)?);
    if !problems.is_empty() {
        bail!("{} problems; `cargo xtask docs --fix` mends some\n  {}", problems.len(), problems.join("\n  "));
    }
    println!("{} files looked at, links, commands and configuration keys agree", files.len());
    Ok(())
}

/// Words that say something is unfinished. Spelled in halves, so that this file passes.
fn leftovers(text: &str) -> impl Iterator<Item = (usize, String)> {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat(), ["HA", "CK:"].concat()];
    text.lines().enumerate().filter_map(move |(index, line)| {
        words.iter().find(|word| line.contains(word.as_str())).map(|word| (index + 1, word.clone()))
    })
}

/// Relative links of a page that lead to no file.
fn dead_links(page: &Path, text: &str) -> impl Iterator<Item = String> {
    let folder = page.parent().map(Path::to_owned).unwrap_or_default();
    let targets: Vec<String> =
        text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect();
    targets.into_iter().filter(move |target| {
        let file = target.split('#').next().unwrap_or_default();
        !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") && !folder.join(file).exists()
    })
}

/// Commands that stand on no line of a shell block.
fn unshown(readme: &str) -> impl Iterator<Item = &'static str> {
    let mut in_shell = false;
    let mut shown = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            in_shell = line == "```sh";
        } else if in_shell {
            shown.push(line.split('#').next().unwrap_or_default().trim().to_owned());
        }
    }
    README_COMMANDS.iter().copied().filter(move |command| !shown.iter().any(|line| line == command))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && !NOT_OURS.iter().any(|folder| name == *folder) {
            walk(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| TEXT.iter().any(|text| end == *text)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let text = format!("fine\n// {}: later", ["TO", "DO"].concat());
        assert_eq!(leftovers(&text).map(|(line, _)| line).collect::<Vec<_>>(), [2]);
        assert_eq!(leftovers("a list of things to do").count(), 0);
    }

    #[test]
    fn a_link_to_a_missing_file_is_found_and_others_pass() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let text = "[a](src/main.rs) [b](src/none.rs#x) [c](https://example.org/x) [d](#here) [e](src/docs.rs#f)";
        assert_eq!(dead_links(&page, text).collect::<Vec<_>>(), ["src/none.rs#x"]);
    }

    #[test]
    fn a_command_that_is_not_in_a_shell_block_is_not_shown() {
        let readme = "```sh\ncargo xtask test   # all of them\n```\ncargo run --release -- demo\n";
        assert_eq!(unshown(readme).collect::<Vec<_>>(), ["cargo run --release -- demo"]);
    }

    #[test]
    fn the_pages_as_they_are_pass() {
        run(&Repo::find().unwrap(), &[]).unwrap();
    }
}
