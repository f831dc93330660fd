//! LDIF itself (RFC 2849): folded lines, comments, base64, records with the line each begins on. It knows nothing of
//! people.

use std::collections::BTreeMap;

use data_encoding::BASE64;

/// The most attribute values of one record: a group of many people has one value each.
const MAX_VALUES: usize = 20_000;

/// One entry of the directory.
pub(super) struct Record {
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// Its distinguished name.
    pub(super) name: String,
    /// By attribute in lower case. What is no text stays bytes.
    values: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Record {
    /// The values of an attribute that are text.
    pub(super) fn texts(&self, attribute: &str) -> impl Iterator<Item = &str> {
        let values = self.values.get(attribute).map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of an attribute.
    pub(super) fn text(&self, attribute: &str) -> Result<Option<&str>, String> {
        let Some(first) = self.values.get(attribute).and_then(|values| values.first()) else { return Ok(None) };
        std::str::from_utf8(first).map(Some).map_err(|_| format!("its `{attribute}` is no text"))
    }
}

/// An entry, or on which line one begins that is none, and why.
pub(super) type Read = Result<Record, (usize, String)>;

/// Every entry, in order, or what is wrong with it.
///
/// # Errors
/// The text is no LDIF of entries at all.
pub(super) fn read(text: &str) -> Result<Vec<Read>, String> {
    let mut records = Vec::new();
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut is_comment = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match (line.strip_prefix(' '), lines.last_mut()) {
            // A folded line continues what is above, a comment too.
            (Some(_), _) if is_comment => {}
            (Some(rest), Some((_, logical))) => logical.push_str(rest),
            (Some(_), None) => return Err(format!("line {}: it continues a line, and there is none above", at + 1)),
            (None, _) => {
                is_comment = line.starts_with('#');
                match line {
                    "" => end(&mut records, std::mem::take(&mut lines)),
                    _ if is_comment => {}
                    _ => lines.push((at + 1, line.to_owned())),
                }
            }
        }
    }
    end(&mut records, lines);
    Ok(records)
}

fn end(records: &mut Vec<Read>, lines: Vec<(usize, String)>) {
    let begins = lines.first().map_or(0, |(line, _)| *line);
    match record(lines) {
        Ok(Some(record)) => records.push(Ok(record)),
        Ok(None) => {}
        Err(why) => records.push(Err((begins, why))),
    }
}

fn record(lines: Vec<(usize, String)>) -> Result<Option<Record>, String> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some_and(|(_, line)| line.starts_with("version:")) {
        lines.next();
    }
    let Some((line, first)) = lines.next() else { return Ok(None) };
    let (attribute, name) = split(&first)?;
    match attribute.as_str() {
        "dn" => {}
        // What `ldapsearch` prints after the last entry.
        "search" | "result" | "ref" => return Ok(None),
        _ => return Err("an entry begins with `dn:`".to_owned()),
    }
    let name = String::from_utf8(name).map_err(|_| "its name is no text".to_owned())?;
    let mut record = Record { line, name, values: BTreeMap::new() };
    for (count, (_, line)) in lines.enumerate() {
        if count >= MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values"));
        }
        let (attribute, value) = split(&line)?;
        match attribute.as_str() {
            "changetype" | "control" => return Err("this is a list of changes; export entries".to_owned()),
            // Another language or form of an attribute is not the attribute.
            option if option.contains(';') => {}
            _ => record.values.entry(attribute).or_default().push(value),
        }
    }
    Ok(Some(record))
}

/// `attribute: text`, `attribute:: base64`; `attribute:< address` is refused.
fn split(line: &str) -> Result<(String, Vec<u8>), String> {
    let Some((attribute, value)) = line.split_once(':') else {
        return Err(format!("`{}` is no `attribute: value`", line.escape_debug().take(40).collect::<String>()));
    };
    let attribute = attribute.to_ascii_lowercase();
    if value.starts_with('<') {
        return Err(format!("its `{attribute}` points to a file or an address, which is never followed"));
    }
    let value = match value.strip_prefix(':') {
        Some(base64) => {
            BASE64.decode(base64.trim().as_bytes()).map_err(|_| format!("its `{attribute}` is no base64"))?
        }
        None => value.trim_start_matches(' ').as_bytes().to_vec(),
    };
    Ok((attribute, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<Result<(usize, String), (usize, String)>> {
        read(text).unwrap().into_iter().map(|record| record.map(|record| (record.line, record.name))).collect()
    }

    #[test]
    fn folded_lines_comments_and_base64_are_read_as_rfc_2849_says() {
        let text = "version: 1\r\n# a comment\r\n  that goes on\r\ndn:: Y249w4lsaXNl\r\nDescription: one\r\n  two\r\n\
                    description:: dGhyZWU=\r\n\r\n\r\ndn: cn=b\ncn;lang-de: B\ncn: b\n\n\n# search result\nsearch: 2\n\
                    result: 0 Success\n";
        let records = read(text).unwrap();
        let (first, second) = (records[0].as_ref().ok().unwrap(), records[1].as_ref().ok().unwrap());
        assert_eq!((first.line, first.name.as_str()), (4, "cn=\u{c9}lise"));
        assert_eq!(first.texts("description").collect::<Vec<_>>(), ["one two", "three"]);
        assert_eq!((second.line, second.text("cn").unwrap()), (10, Some("b")));
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn values_that_point_elsewhere_changes_and_what_is_no_entry_are_refused_by_line() {
        for (text, why) in [
            ("\n\ndn: cn=a\nuserPassword:< file:///etc/shadow\n", "never followed"),
            ("\n\ndn: cn=a\nchangetype: delete\n", "list of changes"),
            ("\n\ncn: a\n", "begins with `dn:`"),
            ("\n\ndn: cn=a\nnonsense\n", "no `attribute: value`"),
            ("\n\ndn: cn=a\ncn:: ***\n", "no base64"),
            ("\n\ndn:: /w==\n", "no text"),
        ] {
            let told = told(text);
            assert!(matches!(&told[..], [Err((3, found))] if found.contains(why)), "{text}: {told:?}");
        }
        assert!(read(" folded\n").is_err());
        assert!(read("dn: cn=a\ncn:: /w==\n").unwrap()[0].as_ref().ok().unwrap().text("cn").is_err());
        let many = format!("dn: cn=a\n{}", "member: cn=b\n".repeat(MAX_VALUES + 1));
        assert!(matches!(&told(&many)[..], [Err(_)]));
    }
}
