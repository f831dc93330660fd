//! What declared files say, without how they say it: two units of files with the same canonical form are the same
//! configuration (PO-32). Comments, spacing, quoting, the order of keys, documents and files do not show.
//!
//! It is not a check and not a reading: a document that is no YAML stands for itself. Policies are not in it; the engine
//! has a hash of its own over them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::kinds::{SourceFile, documents};

/// A value of YAML, with keys in order.
#[derive(Deserialize)]
#[serde(untagged)]
enum Plain {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Plain>),
    Map(BTreeMap<String, Plain>),
    Nothing(()),
}

/// The canonical form of all files but the policies, one entry for each document, sorted.
pub fn canonical(files: &[SourceFile]) -> Vec<String> {
    let mut entries = Vec::new();
    for file in files {
        match file.name.rsplit('.').next() {
            Some("yaml" | "yml") => entries.extend(documents(&file.text).iter().map(|text| document(text))),
            Some("pem") => entries.push(pem(file)),
            _ => {}
        }
    }
    entries.sort();
    entries
}

fn document(text: &str) -> String {
    match serde_saphyr::from_str::<Plain>(text) {
        Ok(value) => {
            let mut form = String::from("yaml ");
            write(&value, &mut form);
            form
        }
        Err(_) => format!("text {text}"),
    }
}

/// Documents name a key file by its file name, so the name counts; the spacing around its lines does not.
fn pem(file: &SourceFile) -> String {
    let lines: Vec<&str> = file.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut form = String::from("pem ");
    text(&file.name, &mut form);
    text(&lines.join("\n"), &mut form);
    form
}

/// Every value with its kind and its length in front, so that no two values share a form.
fn write(value: &Plain, form: &mut String) {
    match value {
        Plain::Flag(flag) => form.push_str(if *flag { "T" } else { "F" }),
        Plain::Integer(number) => form.push_str(&format!("i{number};")),
        Plain::Number(number) => form.push_str(&format!("n{number};")),
        Plain::Text(value) => text(value, form),
        Plain::List(items) => {
            form.push_str(&format!("l{}:", items.len()));
            items.iter().for_each(|item| write(item, form));
        }
        Plain::Map(entries) => {
            form.push_str(&format!("m{}:", entries.len()));
            for (key, value) in entries {
                text(key, form);
                write(value, form);
            }
        }
        Plain::Nothing(()) => form.push('~'),
    }
}

fn text(value: &str, form: &mut String) {
    form.push_str(&format!("s{}:{value}", value.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(name, text): &(&str, &str)| SourceFile { name: (*name).to_owned(), text: (*text).to_owned() };
        canonical(&files.iter().map(file).collect::<Vec<_>>())
    }

    const APP: &str =
        "apiVersion: countersign/v1\nkind: App\nmetadata:\n  name: wiki\nspec:\n  hosts: [wiki.test]\n  title: Wiki\n";

    #[test]
    fn comments_spacing_quotes_order_and_file_names_do_not_show() {
        let same = "# the wiki\nkind: \"App\"\napiVersion: 'countersign/v1'\nspec: {title: Wiki, hosts: [ wiki.test ]}\nmetadata: {name: wiki}\n";
        assert_eq!(of(&[("a.yaml", APP)]), of(&[("b/c.yml", same)]));
        let group = "apiVersion: countersign/v1\nkind: Group\n";
        let both = format!("{group}---\n{APP}");
        assert_eq!(of(&[("a.yaml", APP), ("b.yaml", group)]), of(&[("all.yaml", both.as_str())]));
    }

    #[test]
    fn values_order_of_lists_and_kinds_of_scalars_show() {
        let base = of(&[("a.yaml", APP)]);
        for other in [
            APP.replace("Wiki", "Wiki 2"),
            APP.replace("wiki.test]", "wiki.test, w.test]"),
            APP.replace("title: Wiki", "title: true"),
            APP.replace("title: Wiki", "title:"),
        ] {
            assert_ne!(base, of(&[("a.yaml", other.as_str())]), "{other}");
        }
        assert_ne!(of(&[("a.yaml", "x: [a, b]")]), of(&[("a.yaml", "x: [b, a]")]));
        assert_ne!(of(&[("a.yaml", "x: 1")]), of(&[("a.yaml", "x: '1'")]));
        assert_ne!(of(&[("a.pem", "A")]), of(&[("b.pem", "A")]));
        assert_eq!(of(&[("a.pem", "A\n")]), of(&[("a.pem", " A \n\n")]));
    }

    #[test]
    fn what_is_no_yaml_stands_for_itself() {
        assert_eq!(of(&[("a.yaml", "{")]), ["text {\n"]);
    }
}
