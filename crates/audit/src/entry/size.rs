//! Cutting a record that is too large for an entry (AUD-11): field by field in a fixed order, marked, never
//! dropped.
//!
//! Invariant: whatever the record held, the result fits, because after the last pass every text is at most 256 bytes and
//! every list at most 16 such texts, and there are fewer than a hundred columns.

use std::sync::Arc;

use super::cbor::Writer;
use super::columns::{Column, ColumnKind, Value};
use super::{MAX_SEALED_BYTES, write_column};

/// The longest head of a CBOR item (RFC 8949 §3).
const MAX_HEAD_BYTES: usize = 9;
/// How long a text may be, and how many items a list may have, in each pass over all columns.
const PASSES: [(usize, usize); 2] = [(4_096, 256), (256, 16)];

/// What strangers choose the length of comes first; the rest follows by number.
const ORDER: [Column; 8] = [
    Column::UrlPath,
    Column::Host,
    Column::Sni,
    Column::ClientTraceId,
    Column::ReasonText,
    Column::Change,
    Column::ObjectId,
    Column::Method,
];

/// Makes `columns` fit `max_bytes`. `has_lost_pins` marks a record whose pins were too large to keep.
pub(super) fn fit(mut columns: Vec<(Column, Value)>, max_bytes: usize, has_lost_pins: bool) -> Vec<(Column, Value)> {
    let is_short =
        |(column, value): &(Column, Value)| column.kind() != ColumnKind::Sealed || max_len(value) <= MAX_SEALED_BYTES;
    if !has_lost_pins && columns.iter().all(is_short) && max_encoded_len(&columns) <= max_bytes {
        return columns;
    }
    let untruncated_size = encoded_len(&columns);
    let mut is_cut = has_lost_pins;
    for (column, value) in &mut columns {
        if column.kind() == ColumnKind::Sealed {
            is_cut |= cut(value, MAX_SEALED_BYTES, 0);
        }
    }
    // Sealed columns count with their plain length here; the 34 bytes of a commitment are part of the reserve above.
    let mut size = encoded_len(&columns);
    let order = || ORDER.iter().chain(Column::ALL.iter().filter(|column| !ORDER.contains(column)));
    for ((max_text, max_items), column) in PASSES.iter().flat_map(|pass| order().map(move |column| (pass, column))) {
        if size <= max_bytes {
            break;
        }
        let Some((_, value)) = columns.iter_mut().find(|(candidate, _)| candidate == column) else { continue };
        if cut(value, *max_text, *max_items) {
            is_cut = true;
            size = encoded_len(&columns);
        }
    }
    if is_cut {
        mark(&mut columns, untruncated_size);
    }
    columns
}

fn mark(columns: &mut Vec<(Column, Value)>, untruncated_size: usize) {
    columns.push((Column::IsTruncated, Value::Bool(true)));
    columns.push((Column::UntruncatedSize, Value::Uint(untruncated_size as u64)));
    columns.sort_by_key(|(column, _)| *column);
}

fn cut(value: &mut Value, max_text: usize, max_items: usize) -> bool {
    match value {
        Value::Text(text) => cut_text(text, max_text),
        Value::List(items) => {
            let is_long = items.len() > max_items;
            items.truncate(max_items);
            items.iter_mut().fold(is_long, |is_cut, item| cut_text(item, max_text) || is_cut)
        }
        _ => false,
    }
}

fn cut_text(text: &mut Arc<str>, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    *text = Arc::from(text.get(..end).unwrap_or_default());
    true
}

/// An upper bound of [`encoded_len`] without encoding: nearly every record is far below the limit.
fn max_encoded_len(columns: &[(Column, Value)]) -> usize {
    columns.iter().map(|(_, value)| max_len(value).saturating_add(2 * MAX_HEAD_BYTES)).sum()
}

/// At least the bytes of a value without its own head.
fn max_len(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Sealed(sealed) => sealed.as_str().len(),
        Value::List(items) => items.iter().map(|item| item.len().saturating_add(MAX_HEAD_BYTES)).sum(),
        Value::Digest(_) => 32,
        Value::Id(_) => 16,
        Value::Bool(_) | Value::Time(_) | Value::Uint(_) => 0,
    }
}

fn encoded_len(columns: &[(Column, Value)]) -> usize {
    let mut bytes = Vec::with_capacity(1_024);
    let mut out = Writer(&mut bytes);
    columns.iter().for_each(|(column, value)| write_column(&mut out, *column, value));
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use model::ids::Digest32;

    #[test]
    fn the_bound_is_never_below_the_encoded_length() {
        let text = |length: usize| Value::Text(Arc::from("x".repeat(length)));
        let lists = [0, 1, 40].map(|items| Value::List(vec![Arc::from("y".repeat(300)); items]));
        let numbers = [0, 23, 24, 256, 70_000, u64::MAX].map(Value::Uint);
        let times = [i64::MIN, -1, i64::MAX].map(|time| Value::Time(Timestamp(time)));
        let fixed = [Value::Bool(true), Value::Digest(Digest32([7; 32])), Value::Id(uuid::Uuid::nil())];
        let texts = [0, 1, 23, 24, 255, 256, 70_000].map(text);
        for value in lists.into_iter().chain(numbers).chain(times).chain(fixed).chain(texts) {
            let columns = [(Column::Receipt, value)];
            assert!(max_encoded_len(&columns) >= encoded_len(&columns), "{columns:?}");
        }
    }
}
