//! What the YAML reader refuses, in the words of somebody who wrote the file. It reads nothing itself.
//!
//! Invariant: a refusal nobody thought of keeps the reader's own words; the place is always the reader's.

use serde_saphyr::Error;

use super::{API_VERSION, at};
use crate::problem::{Problem, choices};

/// What the reader says, what we say, and what to do.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "did not find expected key",
        "this line is not in line with the ones above it",
        "keys of one table begin in the same column; count the spaces",
    ),
    ("tabs disallowed", "a tab stands where spaces belong", "YAML is indented by spaces only"),
    ("found a tab character", "a tab stands where spaces belong", "YAML is indented by spaces only"),
    (
        "mapping values are not allowed",
        "a `:` is not expected here",
        "a value with `: ` in it belongs in quotes; or the line above is indented differently",
    ),
    (
        "multiline quoted scalar",
        "a quote is opened here or above and not closed",
        "close it on the line where it begins",
    ),
    ("unclosed quote", "a quote is opened here or above and not closed", "close it on the line where it begins"),
    (
        "illegal placement of ':'",
        "a `:` is not expected here",
        "a `[` or `{` above is not closed, or a value with `: ` in it belongs in quotes",
    ),
    ("unclosed bracket", "a `[` or `{` is not closed", "close it with `]` or `}`"),
    ("unexpected character", "a value cannot begin like this", "put it in quotes"),
    ("recursion limit exceeded", "this is nested too deep", "nothing we know is nested deeper than ten levels"),
    (
        "budget breached",
        "this says more than is ever read: an alias (`*name`) repeats too much",
        "write out what is meant; aliases of aliases multiply",
    ),
    ("alias", "an alias (`*name`) is not understood here", "write out what is meant"),
    ("unknown anchor", "an alias (`*name`) names nothing", "text that begins with `*` belongs in quotes"),
    ("expected mapping start", "a table is expected here", "write `key: value`, or such lines below it, indented"),
    (
        "expected sequence start",
        "a list is expected here",
        "write `[one, two]`, or lines below it that begin with `- `",
    ),
    ("expected string scalar", "a text is expected here", "write one word or a text in quotes, no list and no table"),
    ("null into string", "a text is expected here, and there is none", "write it behind the `:`, on the same line"),
    (
        "cannot deserialize null",
        "a value is expected here, and there is none",
        "write it behind the `:`, on the same line",
    ),
    ("invalid boolean", "yes or no is expected here", "write `true` or `false`"),
    ("multiple documents", "a second document begins here", "separate documents by a line that is `---` alone"),
];

/// A YAML or shape error as a problem; unknown keys name the nearest valid one.
pub(super) fn problem(file: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map_or((0, 0), |location| at(&location));
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            Problem::error(file, place, format!("unknown key `{field}`")).hint(choices(field, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            let problem = Problem::error(file, place, format!("the key `{field}` is missing"));
            match *field {
                "apiVersion" => problem.hint(format!("begin the document with `apiVersion: {API_VERSION}`")),
                "metadata" | "name" => problem.hint("write `metadata: { name: … }` beside `kind`"),
                "spec" => problem.hint("what the document says stands below `spec:`, indented"),
                _ => problem,
            }
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            let problem = Problem::error(file, place, format!("the key `{key}` is written twice in one table"));
            problem.hint("remove one of them")
        }
        other => {
            let text = other.to_string();
            let said = text.lines().next().unwrap_or("not valid YAML");
            let known = WORDS.iter().find(|(theirs, ..)| said.to_ascii_lowercase().contains(theirs));
            match known {
                Some((_, ours, hint)) => Problem::error(file, place, *ours).hint(*hint),
                // The place is told already.
                None => Problem::error(file, place, said.split(" at line ").next().unwrap_or(said)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Known, SourceFile, read};

    const APP: &str = "apiVersion: countersign/v1
kind: App
metadata:
  name: notes
spec:
  title: notes
  hosts: [\"notes.localhost\"]
  sensitivity: medium
  upstreams:
    main: { targets: [\"http://127.0.0.1:3000\"] }
";

    fn refused(text: &str) -> String {
        let groups = BTreeSet::new();
        let known = Known { auth_host: "localhost", is_covered: &|_| true, is_certificate: &|_| true, groups: &groups };
        let file = SourceFile { name: "notes.yaml".to_owned(), text: text.to_owned() };
        read(&[file], &known).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn slips_of_newcomers_are_told_in_their_words_and_at_their_line() {
        for (from, to, expected) in [
            ("  title", "   title", "notes.yaml:7:3: error: this line is not in line"),
            ("  title", "\ttitle", "notes.yaml:6:2: error: a tab stands where spaces belong"),
            ("title: notes", "title: notes: mine", "notes.yaml:6:15: error: a `:` is not expected here"),
            ("title: notes", "title: @notes", "notes.yaml:6:10: error: a value cannot begin like this"),
            ("title: notes", "title: 'notes", "error: a quote is opened here or above and not closed"),
            ("title: notes", "title: [notes]", "notes.yaml:6:10: error: a text is expected here"),
            ("title: notes", "title: *notes", "an alias (`*name`)"),
            ("[\"notes.localhost\"]", "notes.localhost", "notes.yaml:7:10: error: a list is expected here"),
            ("[\"notes.localhost\"]", "[\"notes.localhost\"", "a `[` or `{` above is not closed"),
            ("  name: notes\n", "", "notes.yaml:3:9: error: a table is expected here"),
            ("metadata:\n  name: notes\n", "", "write `metadata: { name: … }`"),
            ("apiVersion: countersign/v1\n", "", "begin the document with `apiVersion: countersign/v1`"),
            (
                "  title: notes\n",
                "  title: notes\n  title: x\n",
                "notes.yaml:7:3: error: the key `title` is written twice",
            ),
        ] {
            assert!(APP.contains(from), "`{from}` is not in the text");
            let told = refused(&APP.replacen(from, to, 1));
            assert!(told.contains(expected), "expected `{expected}` in:\n{told}");
            assert!(!told.contains(" at line ") && told.contains("help: "), "{told}");
        }
    }

    #[test]
    fn a_document_that_is_no_table_is_told_so() {
        assert!(refused("hello\n").contains("notes.yaml:1:1: error: a table is expected here"));
        assert!(refused("- a\n- b\n").contains("a table is expected here"), "{}", refused("- a\n- b\n"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_within_a_moment() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            bomb.push_str(&format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(", ")));
        }
        let begun = std::time::Instant::now();
        let told = refused(&bomb);
        assert!(told.contains("repeats too much"), "{told}");
        assert!(refused(&"[".repeat(1 << 20)).contains("nested too deep"));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
