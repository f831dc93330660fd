//! Lists taken along: exactly the rows of a filter, every page of them, as CSV or JSON Lines (UI-5). Whoever may see a list
//! may take it along; the record has a right of its own for that, and an export of its own.

use audit::render::{csv_cell, quoted};
use bytes::Bytes;
use http::Response;
use pages::console::Export;

use super::text::url;
use super::visit::Visit;
use super::{apps, file, people, sessions};
use crate::failure::Failure;
use crate::preferences::List;

/// The most rows of a file.
const MAX_ROWS: usize = 10_000;

/// A list as a file has it.
pub(super) struct Table {
    /// Names of the columns, for machines.
    pub(super) head: &'static [&'static str],
    /// As they are, with nothing cut or marked.
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) async fn along(visit: &Visit<'_>) -> Response<Bytes> {
    let list = List::named(visit.captured());
    let table = match list {
        Some(List::Apps) => Ok(apps::table(visit)),
        Some(List::People) => Ok(people::table(visit)),
        Some(List::Sessions) => sessions::table(visit).await,
        Some(List::Access) | None => return visit.nothing_here(),
    };
    let table = match table {
        Ok(table) if table.rows.len() <= MAX_ROWS => table,
        Ok(_) => {
            return visit.failed(&Failure::invalid("filter", "more than 10,000 rows match; narrow the filter"));
        }
        Err(failure) => return visit.failed(&failure),
    };
    let name = list.map_or("", List::name);
    match visit.asked("format") {
        "csv" => file("text/csv; charset=utf-8", &format!("countersign-{name}.csv"), csv(&table)),
        _ => file("application/x-ndjson", &format!("countersign-{name}.jsonl"), json_lines(&table)),
    }
}

/// The ways to take a list along, with the filter of its page.
pub(super) fn ways<'a>(list: List, pairs: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> Vec<Export> {
    let path = format!("/console/export/{}", list.name());
    let to = |format| url(&path, pairs.clone().into_iter().chain([("format", format)]));
    vec![Export { text: "CSV", url: to("csv") }, Export { text: "JSON Lines", url: to("jsonl") }]
}

/// RFC 4180, with cells that a spreadsheet would compute defused.
fn csv(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("{}\r\n", cells.join(","));
    let head = line(table.head.iter().map(|name| (*name).to_owned()).collect());
    let cells = |row: &Vec<String>| line(row.iter().map(|cell| csv_cell(cell)).collect());
    std::iter::once(head).chain(table.rows.iter().map(cells)).collect()
}

/// One object a row, with whatever would steer a terminal or hide escaped.
fn json_lines(table: &Table) -> String {
    let object = |row: &Vec<String>| {
        let pairs = table.head.iter().zip(row).map(|(name, cell)| format!("{}:{}", quoted(name), quoted(cell)));
        format!("{{{}}}\n", pairs.collect::<Vec<_>>().join(","))
    };
    table.rows.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_no_formula_is_computed_and_no_terminal_is_steered() {
        let cells = ["=cmd|'/c calc'!A1", "a,\"b\"", "two\nlines\u{9b}2J\u{202e}"].map(str::to_owned).to_vec();
        let table = Table { head: &["one", "two", "three"], rows: vec![cells] };
        let text = csv(&table);
        assert!(text.starts_with("one,two,three\r\n'=cmd|"), "{text}");
        assert!(text.contains("\"a,\"\"b\"\"\""), "{text}");
        assert_eq!(text.matches('\n').count(), 2, "a line end in a cell ends no row: {text:?}");
        let lines = json_lines(&table);
        let row: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(row["three"], "two\nlines\u{9b}2J\u{202e}", "what it was can be read back");
        for text in [&text, &lines] {
            assert!(!text.contains(['\u{9b}', '\u{202e}']), "{text:?}");
        }
        assert_eq!((row["two"].as_str(), lines.lines().count()), (Some("a,\"b\""), 1));
    }
}
