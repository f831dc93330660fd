//! Cutting a record that is too large for an entry (audit.md AUD-11): field by field in a fixed order, marked, never
//! dropped.
//!
//! Invariant: whatever the record held, the result fits, because after the last pass every text is at most 256 bytes and
//! every list at most 16 such texts, and there are fewer than a hundred columns.

use std::sync::Arc;

use super::cbor::Writer;
use super::columns::{Column, ColumnKind, Value};
use super::{MAX_SEALED_BYTES, write_column};

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

fn encoded_len(columns: &[(Column, Value)]) -> usize {
    let mut bytes = Vec::with_capacity(1_024);
    let mut out = Writer(&mut bytes);
    columns.iter().for_each(|(column, value)| write_column(&mut out, *column, value));
    bytes.len()
}
