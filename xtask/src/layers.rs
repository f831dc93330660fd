//! Who may depend on whom (ARCHITECTURE.md, "Direction"). Reads `cargo metadata`; looks at normal and build
//! dependencies, optional ones included. Tests may depend on more, so dev-dependencies are not looked at.
//!
//! Two rules are the architecture: a door never depends on where facts come from nor on the policy decision point's
//! crates; the policy decision point depends on `model` alone. The others keep every heavy crate behind one room.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{Repo, output_of};

/// Rooms by name or `prefix*`; the first rule that fits a room counts.
struct Rule {
    room: &'static str,
    may: May,
    why: &'static str,
}

enum May {
    Nothing,
    Only(&'static [&'static str]),
    /// Every room that is part of the product, but not these.
    AllBut(&'static [&'static str]),
}

const RULES: &[Rule] = &[
    Rule { room: "model", may: May::Nothing, why: "model is what the rooms say to each other and knows none of them" },
    Rule { room: "pdp-*", may: May::Only(&["model"]), why: "the policy decision point depends on model alone" },
    Rule { room: "audit", may: May::Only(&["model"]), why: "the record knows nouns, not the rooms that write it" },
    Rule { room: "sys", may: May::Nothing, why: "sys asks the kernel and knows nobody" },
    Rule { room: "pki", may: May::Only(&["model"]), why: "keys know nouns, not their uses" },
    Rule { room: "http-gate", may: May::Only(&["model"]), why: "the gate knows no route, policy or session" },
    Rule { room: "pages", may: May::Only(&["model"]), why: "pages are a leaf: structs in, HTML out" },
    Rule {
        room: "feed",
        may: May::Only(&["model"]),
        why: "the feed knows what is told, not who compiles or serves it",
    },
    Rule { room: "config", may: May::Only(&["model"]), why: "config turns text into values and does nothing else" },
    Rule {
        room: "pip-*",
        may: May::Only(&["model", "pki"]),
        why: "an information point brings facts; it knows no door, no decision and no store",
    },
    Rule {
        room: "pep-*",
        may: May::Only(&["model", "pki", "http-gate", "pages"]),
        why: "a door never depends on an information point or on the policy decision point's crates",
    },
    Rule {
        room: "store",
        may: May::Only(&["model", "pki", "pip-identity"]),
        why: "the store knows only the rooms whose storage traits it implements",
    },
    Rule {
        room: "api",
        may: May::AllBut(&["pep-*", "countersign"]),
        why: "the control plane reaches doors over the traits of model",
    },
    Rule {
        room: "drill",
        may: May::Only(&["http-gate", "pki"]),
        why: "a drill attacks from outside and knows no door",
    },
    Rule { room: "fuzz", may: May::AllBut(&[]), why: "fuzz targets reach whatever parses what strangers send" },
    Rule { room: "testkit", may: May::Only(&["model", "pki"]), why: "fakes stand in for rooms, so they use none" },
    Rule { room: "countersign", may: May::AllBut(&[]), why: "the binary puts the rooms together" },
    Rule { room: "xtask", may: May::Nothing, why: "tasks must work while the product does not compile" },
];

/// Rooms nobody builds upon outside tests.
const NOT_PRODUCT: &[&str] = &["fuzz", "testkit", "xtask"];

/// Crates from outside that stay behind one room, and whether only as an optional dependency.
const BEHIND: &[(&str, &[&str], bool)] = &[
    ("askama", &["pages"], false),
    ("aws-lc-rs", &["pki", "audit"], false),
    ("cedar-policy*", &["pdp-engine"], false),
    ("jiff*", &["config"], false),
    ("passkey-*", &["countersign"], true),
    ("qrcode", &["pages"], false),
    ("rcgen", &["pki"], false),
    ("sqlx", &["store"], false),
    ("webauthn-rs-core", &["pip-identity"], false),
];

/// The only room that may hold unsafe code (ARCHITECTURE.md, "Direction").
const UNSAFE_ROOM: &str = "sys";
const FORBIDS_UNSAFE: &str = "#![forbid(unsafe_code)]";

struct Room {
    name: String,
    needs: Vec<Need>,
    /// Root files of its library and binaries.
    roots: Vec<PathBuf>,
}

struct Need {
    name: String,
    is_optional: bool,
}

pub(crate) fn run(repo: &Repo, _: &[String]) -> Result<()> {
    let rooms = rooms(&metadata(repo)?)?;
    let edges = edges(&rooms);
    for (from, to) in &edges {
        println!("{from} -> {to}");
    }
    let mut wrong = wrong_edges(&rooms);
    wrong.extend(missing_forbids(&rooms)?);
    if !wrong.is_empty() {
        bail!("the layers do not hold\n  {}", wrong.join("\n  "));
    }
    println!("{} rooms, {} edges, all in the right direction", rooms.len(), edges.len());
    Ok(())
}

fn metadata(repo: &Repo) -> Result<Value> {
    let mut cargo = repo.cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"]);
    let text = output_of(&mut cargo).context("`cargo metadata` failed; is every Cargo.toml valid?")?;
    Ok(serde_json::from_str(&text)?)
}

fn rooms(metadata: &Value) -> Result<Vec<Room>> {
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata lists no packages")?;
    packages.iter().map(room).collect::<Option<_>>().context("cargo metadata has an unknown shape")
}

fn room(package: &Value) -> Option<Room> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut needs = Vec::new();
    for dependency in package.get("dependencies")?.as_array()? {
        if text(dependency, "kind").as_deref() != Some("dev") {
            let is_optional = dependency.get("optional").and_then(Value::as_bool).unwrap_or(false);
            needs.push(Need { name: text(dependency, "name")?, is_optional });
        }
    }
    let mut roots = Vec::new();
    for target in package.get("targets")?.as_array()? {
        let kinds = target.get("kind")?.as_array()?;
        if kinds.iter().filter_map(Value::as_str).any(|kind| kind == "lib" || kind == "bin") {
            roots.push(PathBuf::from(text(target, "src_path")?));
        }
    }
    Some(Room { name: text(package, "name")?, needs, roots })
}

/// Edges between rooms, sorted.
fn edges(rooms: &[Room]) -> BTreeSet<(&str, &str)> {
    let ours: BTreeSet<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
    let edges = rooms.iter().flat_map(|room| room.needs.iter().map(|need| (room.name.as_str(), need.name.as_str())));
    edges.filter(|(_, to)| ours.contains(to)).collect()
}

fn wrong_edges(rooms: &[Room]) -> Vec<String> {
    let mut wrong = Vec::new();
    for room in rooms {
        if !RULES.iter().any(|rule| fits(rule.room, &room.name)) {
            wrong.push(format!("`{}` has no rule: say in xtask/src/layers.rs whom it may know", room.name));
        }
    }
    for (from, to) in edges(rooms) {
        let Some(rule) = RULES.iter().find(|rule| fits(rule.room, from)) else { continue };
        let may = !NOT_PRODUCT.contains(&to)
            && match rule.may {
                May::Nothing => false,
                May::Only(rooms) => rooms.contains(&to),
                May::AllBut(rooms) => !rooms.iter().any(|room| fits(room, to)),
            };
        if !may {
            wrong.push(format!("{from} -> {to}: {}", rule.why));
        }
    }
    for room in rooms {
        wrong.extend(room.needs.iter().filter_map(|need| leaked(&room.name, need)));
    }
    wrong
}

/// A heavy crate outside its room.
fn leaked(room: &str, need: &Need) -> Option<String> {
    let (name, homes, only_optional) = BEHIND.iter().find(|(name, _, _)| fits(name, &need.name))?;
    if !homes.contains(&room) {
        return Some(format!("{room} -> {}: `{name}` stays behind {}", need.name, homes.join(", ")));
    }
    (*only_optional && !need.is_optional)
        .then(|| format!("{room} -> {}: `{name}` is for tests and the feature `demo` only", need.name))
}

fn missing_forbids(rooms: &[Room]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for room in rooms.iter().filter(|room| room.name != UNSAFE_ROOM) {
        for root in &room.roots {
            let text = std::fs::read_to_string(root).with_context(|| format!("cannot read `{}`", root.display()))?;
            if !text.lines().any(|line| line == FORBIDS_UNSAFE) {
                wrong.push(format!("`{}` lacks `{FORBIDS_UNSAFE}` in {}", room.name, root.display()));
            }
        }
    }
    Ok(wrong)
}

/// `pep-*` fits everything that begins with `pep-`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The real rooms' metadata in small, with one more dependency.
    fn with_edge(from: &str, dependency: Value) -> Vec<String> {
        let names = ["model", "pdp-engine", "pip-identity", "pep-gateway", "pki", "store", "api", "testkit"];
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let mut dependencies = Vec::new();
                if *name != "model" {
                    dependencies.push(json!({ "name": "model", "kind": null, "optional": false }));
                }
                if *name == from {
                    dependencies.push(dependency.clone());
                }
                json!({ "name": name, "dependencies": dependencies, "targets": [] })
            })
            .collect();
        wrong_edges(&rooms(&json!({ "packages": packages })).unwrap())
    }

    fn needs(name: &str) -> Value {
        json!({ "name": name, "kind": null, "optional": false })
    }

    #[test]
    fn a_deliberate_wrong_edge_is_named_with_its_rule() {
        for (from, to, why) in [
            ("pep-gateway", "pip-identity", "a door never depends on an information point"),
            ("pep-gateway", "pdp-engine", "a door never depends"),
            ("pdp-engine", "pki", "depends on model alone"),
            ("model", "pki", "knows none of them"),
            ("api", "pep-gateway", "over the traits of model"),
            ("store", "testkit", "storage traits"),
            ("api", "testkit", "over the traits"),
            ("pep-gateway", "cedar-policy", "stays behind pdp-engine"),
            ("api", "sqlx", "stays behind store"),
            ("api", "passkey-client", "stays behind countersign"),
        ] {
            let wrong = with_edge(from, needs(to));
            assert_eq!(wrong.len(), 1, "{from} -> {to}: {wrong:?}");
            assert!(wrong[0].starts_with(&format!("{from} -> {to}: ")) && wrong[0].contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn an_optional_or_build_dependency_is_an_edge_too() {
        assert_eq!(with_edge("pdp-engine", json!({ "name": "pki", "kind": "build", "optional": false })).len(), 1);
        assert_eq!(with_edge("pdp-engine", json!({ "name": "pki", "kind": null, "optional": true })).len(), 1);
    }

    #[test]
    fn a_right_edge_and_a_dev_dependency_pass() {
        assert_eq!(with_edge("store", needs("pip-identity")), Vec::<String>::new());
        assert_eq!(
            with_edge("pdp-engine", json!({ "name": "testkit", "kind": "dev", "optional": false })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_room_without_a_rule_and_a_mandatory_authenticator_are_wrong() {
        let stray = Room { name: "utils".into(), needs: Vec::new(), roots: Vec::new() };
        assert!(wrong_edges(&[stray])[0].contains("`utils` has no rule"));
        let need = Need { name: "passkey-client".into(), is_optional: false };
        assert!(leaked("countersign", &need).unwrap().contains("only"));
    }

    #[test]
    fn a_root_without_the_forbid_is_found() {
        let file = std::env::temp_dir().join(format!("countersign-layers-{}.rs", std::process::id()));
        std::fs::write(&file, "//! No `#![forbid(unsafe_code)]` but in words.\n").unwrap();
        let room = Room { name: "loose".into(), needs: Vec::new(), roots: vec![file.clone()] };
        let wrong = missing_forbids(&[room]).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(wrong.len(), 1);
    }

    #[test]
    fn the_workspace_as_it_is_passes() {
        let rooms = rooms(&metadata(&Repo::find().unwrap()).unwrap()).unwrap();
        assert!(edges(&rooms).len() > 20, "the workspace was not read");
        assert_eq!(wrong_edges(&rooms), Vec::<String>::new());
        assert_eq!(missing_forbids(&rooms).unwrap(), Vec::<String>::new());
    }
}
