//! Records as text: table, JSON and CSV (AUD-14). Everything in a record was chosen by strangers, so nothing of it
//! reaches a terminal, a line-based reader or a spreadsheet as anything but text (CWE-117, CWE-1236).

use std::fmt::Write;

use crate::entry::{Column, Sealed, StoredRecord, Value};

/// How many characters a cell of a table shows.
const CELL_CHARS: usize = 48;
/// What a table shows.
const TABLE: [Column; 8] = [
    Column::Time,
    Column::Type,
    Column::Effect,
    Column::SubjectId,
    Column::Action,
    Column::Resource,
    Column::Reason,
    Column::AccessId,
];

/// `text` with every character escaped that could move a cursor, end a line or turn the reading direction:
/// C0, C1, DEL, U+2028, U+2029 and the bidirectional controls; `\` doubled so that the result reads back.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => push_fmt(&mut out, format_args!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The value of a column as one text, not escaped.
pub fn plain(record: &StoredRecord, column: Column) -> String {
    match (column, record.get(column)) {
        (_, None) => String::new(),
        (Column::Type, _) => record.kind().map_or_else(|| "unknown".into(), |kind| kind.as_str().into()),
        (Column::SubjectId | Column::ObjectSubject, Some(Value::Id(id))) => model::UserId(*id).to_string(),
        (Column::SessionId, Some(Value::Id(id))) => model::SessionId(*id).to_string(),
        (Column::RevocationId, Some(Value::Id(id))) => model::RevocationId(*id).to_string(),
        (_, Some(Value::Id(id))) => model::AccessId(*id).to_string(),
        (_, Some(Value::Bool(value))) => value.to_string(),
        (_, Some(Value::Digest(digest))) => digest.to_string(),
        (_, Some(Value::List(items))) => items.join(" "),
        (_, Some(Value::Sealed(sealed))) => sealed.as_str().into(),
        (_, Some(Value::Text(text))) => text.to_string(),
        (_, Some(Value::Time(time))) => time.to_string(),
        (_, Some(Value::Uint(number))) => number.to_string(),
    }
}

/// Who, for a line: the name where it is open, else the id, else the kind.
pub fn who(record: &StoredRecord) -> String {
    let named = [Column::SubjectEmail, Column::SubjectName, Column::Subject].into_iter().find_map(|c| record.text(c));
    match named {
        Some(name) => name.to_owned(),
        None if record.subject_id().is_some() => plain(record, Column::SubjectId),
        None => record.text(Column::SubjectKind).unwrap_or("-").to_owned(),
    }
}

/// A table for people, oldest or newest first as given; cells are cut.
pub fn table(records: &[StoredRecord]) -> String {
    let head = TABLE.iter().map(|column| if *column == Column::SubjectId { "who" } else { column.name() }.to_owned());
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    rows.extend(records.iter().map(|record| TABLE.iter().map(|column| cell(record, *column)).collect()));
    let widths: Vec<usize> = (0..TABLE.len())
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            push_fmt(&mut line, format_args!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn cell(record: &StoredRecord, column: Column) -> String {
    let text = match column {
        Column::SubjectId => who(record),
        // A change is about an object rather than a resource.
        Column::Resource if record.get(Column::Resource).is_none() => plain(record, Column::ObjectId),
        Column::Action if record.get(Column::Action).is_none() => plain(record, Column::Change),
        _ => plain(record, column),
    };
    let text = escape(&text);
    if text.is_empty() {
        return "-".into();
    }
    if text.chars().count() <= CELL_CHARS {
        return text;
    }
    text.chars().take(CELL_CHARS - 1).chain(['…']).collect()
}

/// One JSON object on one line (RFC 8259), columns by number; what is unknown is left out.
pub fn json(record: &StoredRecord) -> String {
    let mut out = String::from("{");
    push_member(&mut out, "uid", &quoted(&record.uid()));
    push_member(&mut out, "log", &quoted(&record.log));
    push_member(&mut out, "seq", &record.seq.to_string());
    for (column, value) in &record.columns {
        let text = match value {
            Value::Bool(value) => value.to_string(),
            Value::Uint(number) if *column != Column::Type => number.to_string(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(","))
            }
            Value::Sealed(sealed) if !matches!(sealed, Sealed::Open(_)) => {
                format!("{{\"state\":{}}}", quoted(sealed.as_str()))
            }
            _ => quoted(&plain(record, *column)),
        };
        push_member(&mut out, column.name(), &text);
    }
    out.push('}');
    out
}

fn push_member(out: &mut String, name: &str, value: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    push_fmt(out, format_args!("\"{name}\":{value}"));
}

/// `text` as a JSON string; what [`escape`] escapes is `\u` here.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if is_unsafe(c) => push_fmt(&mut out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The head of a CSV file: `seq` and every column.
pub fn csv_header() -> String {
    let names: Vec<&str> = ["log", "seq"].into_iter().chain(Column::ALL.iter().map(|column| column.name())).collect();
    format!("{}\r\n", names.join(","))
}

/// One line of CSV (RFC 4180). A cell that a spreadsheet would compute gets a leading `'`.
pub fn csv(record: &StoredRecord) -> String {
    let mut cells = vec![csv_cell(&record.log), record.seq.to_string()];
    cells.extend(Column::ALL.iter().map(|column| csv_cell(&plain(record, *column))));
    format!("{}\r\n", cells.join(","))
}

/// `text` as one cell: escaped, guarded against being computed, quoted where needed.
pub fn csv_cell(text: &str) -> String {
    // Judged before escaping: a TAB or CR in front is a formula's too.
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if is_formula { format!("'{}", escape(text)) } else { escape(text) };
    if guarded.contains([',', '"']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

fn push_fmt(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn with_path(path: &str) -> StoredRecord {
        let columns = vec![(Column::UrlPath, Value::Text(Arc::from(path)))];
        StoredRecord { log: Arc::from("l/1"), seq: 0, columns }
    }

    #[test]
    fn terminal_escapes_line_breaks_and_bidi_controls_are_text() {
        assert_eq!(
            escape("a\u{1b}[2J\r\nb\u{9b}\u{202e}\u{2028}\\"),
            "a\\u{1b}[2J\\r\\nb\\u{9b}\\u{202e}\\u{2028}\\\\"
        );
        for c in (0..=0x9fu32).chain(0x2000..=0x206f).filter_map(char::from_u32).filter(|c| is_unsafe(*c)) {
            let record = with_path(&c.to_string());
            for line in [json(&record), csv(&record).trim_end().to_owned(), escape(&c.to_string())] {
                assert!(!line.contains(c), "{c:?} in {line:?}");
            }
        }
    }

    #[test]
    fn csv_formula_injection_is_defused() {
        for formula in ["=1+1", "+1", "-1", "@x", "\tx", "\rx"] {
            let line = csv(&with_path(formula));
            let cell = line.split(',').find(|cell| cell.starts_with('\''));
            assert!(cell.is_some(), "{line}");
        }
        assert!(csv(&with_path("/a,\"b\"")).contains("\"/a,\"\"b\"\"\""));
        let cells = csv_header().split(',').count();
        assert_eq!(csv(&with_path("/plain")).split(',').count(), cells);
    }

    #[test]
    fn json_strings_are_json() {
        assert_eq!(quoted("a\"\\\n\u{2028}é"), "\"a\\\"\\\\\\u000a\\u2028é\"");
    }
}
