//! Comma-separated people (RFC 4180), with a header line that names the columns in any order: `email`, and if wanted
//! `name`, `groups` (with `;` between), `external`, `disabled`, `password_hash`.

use super::{Person, Place, Rows, checked};

const COLUMNS: &[&str] = &["disabled", "email", "external", "groups", "name", "password_hash"];

pub(super) fn read(text: &str) -> Result<Rows, String> {
    let mut records = split(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
    let (_, header) = records.next().ok_or("the file is empty")?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    for name in &header {
        if !COLUMNS.contains(&name.as_str()) {
            let near = config::problem::nearest(name, COLUMNS.iter().copied());
            let near = near.map_or_else(|| COLUMNS.join(", "), |near| format!("did you mean `{near}`"));
            return Err(format!("the first line names the columns; `{}` is none: {near}", name.escape_debug()));
        }
    }
    if !header.iter().any(|name| name == "email") {
        return Err("the first line names the columns, and `email` must be among them".to_owned());
    }
    let unique: std::collections::BTreeSet<&String> = header.iter().collect();
    if unique.len() != header.len() {
        return Err("a column is named twice".to_owned());
    }
    Ok(records.map(|(line, record)| (Place::Line(line), checked(person(&header, &record)))).collect())
}

fn person(header: &[String], record: &[String]) -> Result<Person, String> {
    if record.len() != header.len() {
        return Err(format!("it has {} columns and the first line {}", record.len(), header.len()));
    }
    let mut person = Person::default();
    for (name, value) in header.iter().zip(record) {
        let value = value.trim();
        match name.as_str() {
            "disabled" => person.is_disabled = yes(name, value)?,
            "email" => person.email = value.to_owned(),
            "external" => person.is_external = yes(name, value)?,
            "groups" => {
                let groups = value.split(';').map(str::trim).filter(|group| !group.is_empty());
                person.groups = groups.map(str::to_owned).collect();
            }
            "name" => person.name = value.to_owned(),
            _ => person.hash = (!value.is_empty()).then(|| value.to_owned()),
        }
    }
    Ok(person)
}

fn yes(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "no" | "false" | "0" => Ok(false),
        "yes" | "true" | "1" => Ok(true),
        _ => Err(format!("`{name}` is yes or no")),
    }
}

/// Records with the line each begins on. Quoted fields may hold commas, line ends and doubled quotes.
fn split(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begins, mut is_quoted, mut was_quoted) = (1, 1, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if is_quoted => is_quoted = false,
            _ if is_quoted => field.push(c),
            '"' if field.is_empty() && !was_quoted => (is_quoted, was_quoted) = (true, true),
            '"' => {
                return Err(format!(
                    "line {line}: a quote inside a field; put the whole field in quotes, and double it"
                ));
            }
            ',' => {
                record.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                end(&mut records, begins, std::mem::take(&mut record));
                (begins, was_quoted) = (line, false);
            }
            _ if was_quoted => return Err(format!("line {line}: text after a closing quote")),
            _ => field.push(c),
        }
    }
    if is_quoted {
        return Err(format!("a quote that opens on line {begins} is never closed"));
    }
    record.push(field);
    end(&mut records, begins, record);
    Ok(records)
}

/// Empty lines are none.
fn end(records: &mut Vec<(usize, Vec<String>)>, begins: usize, record: Vec<String>) {
    if record.iter().any(|field| !field.trim().is_empty()) {
        records.push((begins, record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = Result<(String, String), String>;

    fn people(text: &str) -> Vec<(Place, Told)> {
        let rows = read(text).unwrap();
        rows.into_iter().map(|(at, person)| (at, person.map(|p| (p.email, p.name)))).collect()
    }

    #[test]
    fn quotes_line_ends_and_empty_lines_are_read_as_rfc_4180_says() {
        let text = "\u{feff}Email,name\r\n\r\na@b.example,\"Quote \"\" and, comma\"\r\nc@b.example,\"two\nlines\"\nd@b.example,D";
        let read = people(text);
        assert_eq!(read[0], (Place::Line(3), Ok(("a@b.example".into(), "Quote \" and, comma".into()))));
        assert_eq!(read[1], (Place::Line(4), Ok(("c@b.example".into(), "two\nlines".into()))));
        assert_eq!(read[2], (Place::Line(6), Ok(("d@b.example".into(), "D".into()))));
    }

    #[test]
    fn a_row_that_is_not_understood_is_told_by_its_line_and_a_text_that_is_none_as_a_whole() {
        let read = people("email,name,external\na@b.example,A\nb@b.example,B,perhaps\n,C,no\n");
        assert!(read.iter().all(|(_, person)| person.is_err()), "{read:?}");
        assert_eq!(read[1].0, Place::Line(3));
        for text in ["", "name\nA", "email,emial\n", "email,email\n", "email\n\"open", "email\na\"b", "email\n\"a\"b"] {
            assert!(super::read(text).is_err(), "{text:?}");
        }
    }
}
