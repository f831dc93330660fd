//! How commands speak: tables or JSON on standard output, errors as a chain on standard error.

use std::fmt;
use std::process::ExitCode;

use serde_json::Value;

use crate::client::ApiError;

/// Prints a line like `println!`, but ends the program quietly when nobody reads any more (`countersign … | head`).
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}

/// One line on standard output; see [`say!`].
pub fn line(text: fmt::Arguments<'_>) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    if let Err(error) = writeln!(output, "{text}").and_then(|()| output.flush())
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Prints an error and what caused it. Refusals of the API keep their own words and exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(refusal) = error.downcast_ref::<ApiError>() {
        eprintln!("countersign: {refusal}");
        return ExitCode::from(refusal.exit_code());
    }
    eprintln!("countersign: {error}");
    let mut shown = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // A cause that its parent has quoted already says nothing new.
        if !shown.contains(&text) {
            eprintln!("  because: {text}");
        }
        shown.push_str(&text);
    }
    ExitCode::FAILURE
}

/// Prints JSON as the API sent it.
pub fn json(value: &Value) {
    say!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints rows under a head; cells are made safe for a terminal (AUD-14).
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| audit::render::escape(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", padded.join("  ").trim_end());
    };
    line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
}

/// A member of a JSON object as text: strings bare, lists joined, null empty.
pub fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A list of objects as a table of the named members.
pub fn list(value: &Value, member: &str, columns: &[(&str, &str)]) {
    let items = value.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        say!("none");
        return;
    }
    let head: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|(_, member)| text(item, member)).collect()).collect();
    table(&head, &rows);
}

/// What a change did to live sessions, in one line per withdrawal that did something.
pub fn revocations(value: &Value) {
    for revocation in members(value, "revocations") {
        for gateway in members(revocation, "gateways") {
            let sessions = members(revocation, "sessions").len();
            let is_idle = text(gateway, "streams") == "0" && members(gateway, "unproven").is_empty();
            if is_idle && sessions == 0 {
                continue;
            }
            say!(
                "{}: {} of {} streams cut at gateway `{}` in {} ms, {sessions} sessions ended ({})",
                text(revocation, "cause"),
                text(gateway, "streams"),
                text(gateway, "examined"),
                text(gateway, "id"),
                text(gateway, "ms"),
                text(revocation, "id"),
            );
            for access in members(gateway, "unproven") {
                say!("  not confirmed dead: {}", access.as_str().unwrap_or_default());
            }
        }
    }
}

/// What each gateway did about a withdrawal and what it could not prove, as a table (GW-58).
pub fn withdrawal_table(value: &Value) {
    for revocation in members(value, "revocations") {
        say!("{}: {} sessions ended", text(revocation, "id"), members(revocation, "sessions").len());
        table(&WITHDRAWAL_HEAD, &members(revocation, "gateways").iter().map(withdrawal_row).collect::<Vec<_>>());
    }
}

const WITHDRAWAL_HEAD: [&str; 6] = ["GATEWAY", "STATE", "STREAMS", "MS", "FAILS CLOSED AT", "NOT CONFIRMED DEAD"];

fn withdrawal_row(gateway: &Value) -> Vec<String> {
    let columns = ["id", "state", "streams", "ms", "fails_closed_at", "unproven"];
    let or_dash = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
    columns.iter().map(|member| or_dash(text(gateway, member))).collect()
}

/// Whether every gateway has proven that nothing of what was withdrawn still flows (GW-58).
pub fn is_proven(value: &Value) -> bool {
    members(value, "revocations").iter().all(|revocation| {
        let gateways = members(revocation, "gateways");
        !gateways.is_empty()
            && gateways.iter().all(|gateway| matches!(text(gateway, "state").as_str(), "cut" | "nothing_open"))
    })
}

fn members<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_shows_what_is_known_of_a_gateway_and_a_dash_for_the_rest() {
        let stuck = json!({ "id": "a", "state": "unproven", "streams": 1, "ms": 2000, "unproven": ["acc_1"] });
        assert_eq!(withdrawal_row(&stuck), ["a", "unproven", "1", "2000", "-", "acc_1"]);
        let gone = json!({ "id": "b", "state": "unreachable", "fails_closed_at": "2026-01-01T00:05:00Z" });
        assert_eq!(withdrawal_row(&gone), ["b", "unreachable", "-", "-", "2026-01-01T00:05:00Z", "-"]);
    }

    #[test]
    fn a_withdrawal_is_proven_only_when_every_gateway_says_so() {
        let answer = |states: &[&str]| {
            let gateways: Vec<Value> = states.iter().map(|state| json!({ "state": state })).collect();
            json!({ "revocations": [{ "gateways": gateways }] })
        };
        for (states, expected) in [
            (["cut", "nothing_open"].as_slice(), true),
            (&["cut", "unproven"], false),
            (&["unreachable"], false),
            (&["something new"], false),
            (&[], false),
        ] {
            assert_eq!(is_proven(&answer(states)), expected, "{states:?}");
        }
        assert!(is_proven(&json!({ "revocations": [] })), "nothing was withdrawn");
    }
}
