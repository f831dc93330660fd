//! The configuration reference against the code: every key that a `Deserialize` struct of the room `config` reads has a
//! row in the section that stands for the struct, and every row stands for a key.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

const PAGE: &str = "docs/config-reference.md";

/// Struct, and the heading of its section.
type Section = (&'static str, &'static str);

/// Files with the structs operators' text is read into.
const SOURCES: &[(&str, &[Section])] = &[
    (
        "crates/config/src/server.rs",
        &[
            ("File", "server.toml"),
            ("Listener", "[[listener]]"),
            ("Tls", "[[listener]] tls"),
            ("Certificate", "[[certificate]]"),
            ("Identity", "[identity]"),
            ("Session", "[identity] session"),
            ("Keys", "[keys]"),
            ("Audit", "[audit]"),
            ("Admin", "[admin]"),
        ],
    ),
    (
        "crates/config/src/kinds.rs",
        &[("Envelope", "Every document"), ("Metadata", "metadata"), ("Peek", "Every document")],
    ),
    (
        "crates/config/src/kinds/app.rs",
        &[
            ("AppSpec", "App"),
            ("RouteSpec", "App: routes"),
            ("RewriteSpec", "App: rewrite"),
            ("ReplaceSpec", "App: replace_prefix"),
            ("UpstreamSpec", "App: upstreams"),
            ("TlsSpec", "App: upstream tls"),
            ("TimeoutsSpec", "App: upstream timeouts"),
            ("AssertionSpec", "App: assertion"),
            ("PathSpec", "App: path"),
            ("OriginsSpec", "App: websocket and cors"),
            ("LogoutSpec", "App: logout"),
        ],
    ),
    (
        "crates/config/src/kinds/access/spec.rs",
        &[
            ("AccessSpec", "App: access"),
            ("FieldsSpec", "App: access entries"),
            ("MfaSpec", "App: access mfa"),
            ("DeviceSpec", "App: access device"),
            ("ClaimSpec", "App: access claim"),
            ("CertSpec", "App: access client_cert"),
            ("TlsSpec", "App: access tls"),
            ("TimeSpec", "App: access time"),
        ],
    ),
    (
        "crates/config/src/kinds/policy_test.rs",
        &[
            ("PolicyTestSpec", "PolicyTest"),
            ("GivenSpec", "PolicyTest: given"),
            ("RowSpec", "PolicyTest: table"),
            ("PrincipalSpec", "PolicyTest: principal"),
            ("ResourceSpec", "PolicyTest: resource"),
        ],
    ),
    ("crates/config/src/kinds/people.rs", &[("GroupSpec", "Group"), ("UserSpec", "User")]),
];

/// What does not agree, one sentence each.
pub(super) fn check(read: &dyn Fn(&str) -> Result<String>) -> Result<Vec<String>> {
    let page = read(PAGE)?;
    let mut problems = Vec::new();
    for (file, sections) in SOURCES {
        problems.extend(compare(file, &read(file)?, sections, &page)?);
    }
    Ok(problems)
}

fn compare(file: &str, source: &str, sections: &[Section], page: &str) -> Result<Vec<String>> {
    let structs = structs(source);
    if structs.is_empty() {
        bail!("`{file}` has no struct that is read from text; this check has to learn where they went");
    }
    let mut problems = Vec::new();
    for (name, keys) in &structs {
        let Some((_, heading)) = sections.iter().find(|(known, _)| known == name) else {
            problems
                .push(format!("{file}: `{name}` is read from text; name its section in xtask/src/docs/reference.rs"));
            continue;
        };
        let Some(rows) = rows(page, heading) else {
            problems.push(format!("{PAGE} has no section `{heading}` for `{name}` of {file}"));
            continue;
        };
        problems.extend(keys.difference(&rows).map(|key| format!("{PAGE}, `{heading}`: the key `{key}` is missing")));
        let all_keys: BTreeSet<&String> = structs
            .iter()
            .filter(|(other, _)| sections.iter().any(|(known, section)| known == other && section == heading))
            .flat_map(|(_, keys)| keys)
            .collect();
        let strangers = rows.iter().filter(|row| !all_keys.contains(row));
        problems.extend(strangers.map(|key| format!("{PAGE}, `{heading}`: `{key}` is not a key that is read")));
    }
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// Structs read by serde with the names of their keys: derived ones by their fields, hand-written ones by the list they
/// give to `unknown_field`.
fn structs(source: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    let mut is_derived = false;
    let mut rename = None;
    let mut open: Option<(String, BTreeSet<String>)> = None;
    for line in source.lines() {
        let line = line.trim();
        if let Some((name, mut keys)) = open.take() {
            if line.starts_with('}') {
                found.push((name, keys));
                continue;
            }
            if let Some(given) = line.strip_prefix("#[serde(rename = \"") {
                rename = given.split('"').next().map(str::to_owned);
            } else if let Some(field) = field(line) {
                keys.insert(rename.take().unwrap_or_else(|| field.to_owned()));
            }
            open = Some((name, keys));
        } else if line.starts_with("#[derive(") {
            is_derived = line.contains("Deserialize");
        } else if let Some(name) = struct_name(line) {
            if is_derived && line.ends_with('{') {
                open = Some((name.to_owned(), BTreeSet::new()));
            }
            is_derived = false;
        }
    }
    found.extend(by_hand(source));
    found
}

fn unexported(line: &str) -> &str {
    ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line)
}

fn struct_name(line: &str) -> Option<&str> {
    let rest = unexported(line);
    rest.strip_prefix("struct ")?.split(|c: char| !c.is_alphanumeric()).next()
}

fn field(line: &str) -> Option<&str> {
    let rest = unexported(line);
    let (name, _) = rest.split_once(": ")?;
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(name)
}

/// `impl<'de> Deserialize<'de> for X` and its `unknown_field(…, &["a", "b"])`.
fn by_hand(source: &str) -> Option<(String, BTreeSet<String>)> {
    let (_, body) = source.split_once("Deserialize<'de> for ")?;
    let name = body.split(|c: char| !c.is_alphanumeric()).next()?;
    let (_, list) = body.split_once("unknown_field(")?;
    let list = list.split_once("&[")?.1.split(']').next()?;
    Some((name.to_owned(), list.split('"').skip(1).step_by(2).map(str::to_owned).collect()))
}

/// The first cells of the table under `heading`: ``| `key` | …``.
fn rows(page: &str, heading: &str) -> Option<BTreeSet<String>> {
    let is_ours =
        |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim().replace('`', "") == heading;
    let mut lines = page.lines();
    lines.find(is_ours)?;
    let section = lines.take_while(|line| !line.starts_with('#'));
    Some(section.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
#[derive(Clone)]
pub struct Other {
    pub not_read: u8,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    title: Option<String>,
    #[serde(rename = "maxBody")]
    pub(crate) max_body: u64,
}
"#;
    const SECTIONS: &[Section] = &[("Spec", "Thing")];

    fn problems(page: &str) -> Vec<String> {
        compare("a.rs", SOURCE, SECTIONS, page).unwrap()
    }

    #[test]
    fn a_page_that_agrees_passes() {
        assert_eq!(
            problems("## Thing\n| `title` | text |\n| `maxBody` | size |\n## Next\n| `x` | |"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_key_that_is_not_documented_and_a_row_that_is_not_read_are_found() {
        assert_eq!(
            problems("## `Thing`\n| `title` | text |\n| `max_body` | size |\n"),
            [
                "docs/config-reference.md, `Thing`: `max_body` is not a key that is read",
                "docs/config-reference.md, `Thing`: the key `maxBody` is missing",
            ]
        );
    }

    #[test]
    fn a_struct_without_a_section_is_found() {
        assert!(problems("# Nothing")[0].contains("no section `Thing`"));
        let unmapped = compare("a.rs", SOURCE, &[], "").unwrap();
        assert!(unmapped[0].contains("name its section"), "{unmapped:?}");
    }

    #[test]
    fn a_hand_written_reader_counts_too() {
        let source = "impl<'de> Deserialize<'de> for Mapped {\n unknown_field(other, &[\"bind\", \"groups\"])\n}";
        assert_eq!(by_hand(source).unwrap(), ("Mapped".to_owned(), ["bind".to_owned(), "groups".to_owned()].into()));
    }
}
