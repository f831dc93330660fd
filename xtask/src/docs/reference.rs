//! The tables of the configuration reference, made from the code: a row is a field that a `Deserialize` struct of the room
//! `config` reads, and its words are the field's own documentation.
//!
//! A field's documentation is what it means, then a paragraph `Type: …; default: ….`. What stands between the tables is
//! written by hand, and so is the order of rows; a new key goes to the end.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

pub(super) const PAGE: &str = "docs/config-reference.md";

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
            ("Policy", "[policy]"),
            ("Fresh", "[policy] fresh"),
            ("Keys", "[keys]"),
            ("Audit", "[audit]"),
            ("Admin", "[admin]"),
            ("Gateways", "[gateways]"),
        ],
    ),
    ("crates/config/src/server/sink.rs", &[("Sink", "[[audit.sink]]")]),
    ("crates/config/src/server/gateway.rs", &[("GatewayFile", "gateway.toml")]),
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
            ("OriginsSpec", "App: websocket"),
            ("LogoutSpec", "App: logout"),
        ],
    ),
    ("crates/config/src/kinds/app/cors.rs", &[("CorsSpec", "App: cors")]),
    ("crates/config/src/kinds/app/upstreams.rs", &[("HealthSpec", "App: upstream health")]),
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
    ("crates/config/src/kinds/remedy.rs", &[("RemedySpec", "Remedy")]),
    ("crates/config/src/kinds/people.rs", &[("GroupSpec", "Group"), ("UserSpec", "User")]),
];

/// A key with the cells of its row.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    key: String,
    kind: String,
    /// The default, or whatever the third column of the section holds.
    third: String,
    meaning: String,
}

impl Row {
    fn line(&self) -> String {
        let cell = |text: &str| if text.is_empty() { " ".to_owned() } else { format!(" {text} ") };
        format!("| `{}` |{}|{}|{}|", self.key, cell(&self.kind), cell(&self.third), cell(&self.meaning))
    }
}

/// What does not agree, one sentence each.
pub(super) fn check(read: &dyn Fn(&str) -> Result<String>) -> Result<Vec<String>> {
    let page = read(PAGE)?;
    let made = completed(read)?;
    let differs = made.lines().zip(page.lines()).position(|(made, there)| made != there);
    let line = differs.or_else(|| (made != page).then(|| made.lines().count().min(page.lines().count())));
    Ok(line.map(|line| format!("{PAGE}:{}: not what the code says of it", line + 1)).into_iter().collect())
}

/// The page with its tables as the code has them.
pub(super) fn completed(read: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let mut sections: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (file, known) in SOURCES {
        for (name, rows) in structs(&read(file)?).with_context(|| format!("`{file}`"))? {
            let Some((_, heading)) = known.iter().find(|(known, _)| *known == name) else {
                bail!("{file}: `{name}` is read from text; name its section in xtask/src/docs/reference.rs");
            };
            let section = sections.entry(heading).or_default();
            for row in rows {
                match section.iter().find(|other| other.key == row.key) {
                    Some(other) if *other != row => bail!("{file}: `{name}.{}` is documented in two ways", row.key),
                    Some(_) => {}
                    None => section.push(row),
                }
            }
        }
        if let Some((name, _)) = known.iter().find(|(_, heading)| !sections.contains_key(heading)) {
            bail!("`{file}` has no struct `{name}` that is read from text");
        }
    }
    with_tables(&read(PAGE)?, sections)
}

/// Puts rows in place of those that stand under each heading.
fn with_tables(page: &str, mut sections: BTreeMap<&str, Vec<Row>>) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open: Option<Vec<Row>> = None;
    let mut there: Vec<&str> = Vec::new();
    // A line more than the page has, so that a table at its end ends too.
    for line in page.lines().chain([""]) {
        if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
            && open.is_some()
        {
            there.push(key);
            continue;
        }
        let is_in_table = lines.last().is_some_and(|last| last.starts_with("|---")) || !there.is_empty();
        if let Some(mut rows) = open.take_if(|_| is_in_table) {
            rows.sort_by_key(|row| there.iter().position(|key| *key == row.key).unwrap_or(usize::MAX));
            lines.extend(rows.iter().map(Row::line));
            there.clear();
        }
        if line.starts_with('#') {
            if open.is_some() {
                bail!("{PAGE}: the section before `{line}` has no table");
            }
            open = sections.remove(line.trim_start_matches('#').trim().replace('`', "").as_str());
        }
        lines.push(line.to_owned());
    }
    if let Some(heading) = sections.keys().next() {
        bail!("{PAGE} has no section `{heading}`");
    }
    Ok(lines.join("\n"))
}

/// Structs read by serde with the rows of their keys: derived ones by their fields, hand-written ones by the fields in
/// the list they give to `unknown_field`.
fn structs(source: &str) -> Result<Vec<(String, Vec<Row>)>> {
    let by_hand = by_hand(source);
    let mut found = Vec::new();
    let (mut is_derived, mut rename, mut docs) = (false, None, Vec::new());
    let mut open: Option<(String, Vec<Row>, bool)> = None;
    for line in source.lines() {
        let line = line.trim();
        if let Some((name, rows, is_derived)) = &mut open {
            if line.starts_with('}') {
                found.push((std::mem::take(name), std::mem::take(rows)));
                open = None;
            } else if let Some(words) = line.strip_prefix("///") {
                docs.push(words.trim());
            } else if let Some(given) = line.strip_prefix("#[serde(rename = \"") {
                rename = given.split('"').next().map(str::to_owned);
            } else if let Some(field) = field(line) {
                let key = rename.take().unwrap_or_else(|| field.to_owned());
                let keys = by_hand.as_ref().map(|(_, keys)| keys);
                if *is_derived || keys.is_some_and(|keys| keys.contains(&key)) {
                    rows.push(row(key, &docs).with_context(|| format!("struct `{name}`"))?);
                }
                docs.clear();
            }
        } else if line.starts_with("#[derive(") {
            is_derived = line.contains("Deserialize");
        } else if let Some(name) = struct_name(line) {
            let is_read = is_derived || by_hand.as_ref().is_some_and(|(by_hand, _)| by_hand == name);
            if is_read && line.ends_with('{') {
                open = Some((name.to_owned(), Vec::new(), is_derived));
            }
            is_derived = false;
            docs.clear();
        }
    }
    Ok(found)
}

/// Reads the documentation of a field.
fn row(key: String, docs: &[&str]) -> Result<Row> {
    let text = docs.join("\n");
    let parts = text.split_once("\n\nType: ");
    let Some((meaning, rest)) = parts else {
        bail!("the key `{key}` needs documentation: what it means, then a paragraph `Type: …; default: ….`");
    };
    let rest = rest.replace('\n', " ");
    let rest = rest.strip_suffix('.').unwrap_or(&rest);
    let split = ["; default: ", "; decides today: "].iter().find_map(|mark| rest.split_once(mark));
    let (kind, third) = split.unwrap_or((rest, ""));
    let meaning = meaning.replace("\n\n", " ").replace('\n', " ");
    let meaning = meaning.strip_suffix('.').unwrap_or(&meaning).to_owned();
    Ok(Row { key, kind: kind.to_owned(), third: third.to_owned(), meaning })
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
fn by_hand(source: &str) -> Option<(String, Vec<String>)> {
    let (before, list) = source.split_once("unknown_field(")?;
    let (_, body) = before.rsplit_once("Deserialize<'de> for ")?;
    let name = body.split(|c: char| !c.is_alphanumeric()).next()?;
    let list = list.split_once("&[")?.1.split(']').next()?;
    Some((name.to_owned(), list.split('"').skip(1).step_by(2).map(str::to_owned).collect()))
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
    /// For people,
    /// in one line.
    ///
    /// Type: text.
    title: Option<String>,
    /// Larger is refused.
    ///
    /// Type: `small` or `large`; default: none, streamed.
    #[serde(rename = "maxBody")]
    pub(crate) max_body: u64,
}
"#;

    fn made(page: &str) -> String {
        let rows = structs(SOURCE).unwrap().remove(0).1;
        with_tables(page, BTreeMap::from([("Thing", rows)])).unwrap()
    }

    const HEAD: &str = "| key | type | default | meaning |\n|---|---|---|---|\n";
    const TITLE: &str = "| `title` | text | | For people, in one line |\n";
    const BODY: &str = "| `maxBody` | `small` or `large` | none, streamed | Larger is refused |\n";

    #[test]
    fn an_empty_table_is_filled_with_what_the_fields_say() {
        let page = format!("# Top\n| `other` | |\n## Thing\nBy hand.\n\n{HEAD}\nMore by hand.\n## Next\n| `x` | |\n");
        assert_eq!(made(&page), page.replace(HEAD, &format!("{HEAD}{TITLE}{BODY}")));
        let at_the_end = format!("## Thing\n{HEAD}");
        assert_eq!(made(&at_the_end), format!("{at_the_end}{TITLE}{BODY}"));
    }

    #[test]
    fn what_the_code_does_not_say_is_replaced_and_the_order_of_rows_stays() {
        let page = format!(
            "## `Thing`\n{HEAD}{BODY}| `gone` | text | | by hand |\n| `title` | number | 3 | other |\n\nEnd.\n"
        );
        assert_eq!(made(&page), format!("## `Thing`\n{HEAD}{BODY}{TITLE}\nEnd.\n"));
    }

    #[test]
    fn a_field_without_documentation_and_a_section_without_a_place_are_refused() {
        let bare = SOURCE.replace("    ///\n    /// Type: text.\n", "");
        assert!(format!("{:#}", structs(&bare).unwrap_err()).contains("the key `title` needs documentation"));
        let rows = || BTreeMap::from([("Thing", Vec::new())]);
        assert!(with_tables("# Nothing\n", rows()).unwrap_err().to_string().contains("no section `Thing`"));
        assert!(with_tables("# Thing\n# Next\n", rows()).unwrap_err().to_string().contains("has no table"));
    }

    #[test]
    fn a_hand_written_reader_counts_too() {
        let source = "struct Mapped {\n    is_on: bool,\n    /// Which.\n    ///\n    /// Type: list.\n    groups: Vec<String>,\n}\nimpl<'de> Deserialize<'de> for Mapped {\n unknown_field(other, &[\"bind\", \"groups\"])\n}";
        let found = structs(source).unwrap();
        assert_eq!((found[0].0.as_str(), found[0].1[0].key.as_str(), found[0].1.len()), ("Mapped", "groups", 1));
    }
}
