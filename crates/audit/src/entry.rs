//! The canonical entry (AUD-32) and what a frame of the log carries: the entry, and beside it the sealed
//! values it commits to (AUD-40) and the context the decision read (AUD-36).
//!
//! ```text
//! record payload = u32 LE length of the entry | entry | beside
//! entry          = {0: schema, 1: log, 2: seq, n: column n …}       leaf of the tree; sealed columns are commitments
//! beside         = {0: key, 1: context, n: ciphertext of column n …} key 0 = the person's, else the day's
//! ```
//!
//! Invariants: both maps are deterministic CBOR, so equal records give equal bytes; an entry is at most
//! [`MAX_ENTRY_BYTES`] long, however large the record was (AUD-11); no sealed value stands in either map in the clear.

mod cbor;
mod columns;
mod seal;
mod size;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::Timestamp;
use model::decision::EntitySlice;
use model::ids::Digest32;
use model::record::AuditRecord;
use uuid::Uuid;

use crate::keyring::{KeyRef, KeyStoreError, Keyring};
use cbor::Writer;
pub(crate) use columns::columns_of;
pub use columns::{Column, ColumnKind, Sealed, Value};
pub use seal::{commitment, salt};
use stored::find;
pub use stored::{SealedAccess, StoredRecord};

/// The schema number of entries written now.
pub const SCHEMA: u64 = 1;
/// The longest entry: lengths in tlog-tiles bundles are two bytes (AUD-11).
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// The longest log origin.
pub const MAX_ORIGIN_BYTES: usize = 256;
/// The longest sealed value; the rest is cut.
pub const MAX_SEALED_BYTES: usize = 4_096;
/// The longest context kept beside an entry; of a longer one only the hash is kept.
pub const MAX_CONTEXT_BYTES: usize = 65_535;
/// The largest entity slice kept; of a larger one only the hash is kept.
pub const MAX_SLICE_BYTES: usize = 131_072;

/// What schema, log and seq, five commitments and the marks of a cut may take of an entry.
const PREFIX_BYTES: usize = MAX_ORIGIN_BYTES + 256;
const KEY_SCHEMA: u64 = 0;
const KEY_LOG: u64 = 1;
const KEY_SEQ: u64 = 2;
const BESIDE_KEY: u64 = 0;
const BESIDE_CONTEXT: u64 = 1;
/// The name under which a context is sealed.
const CONTEXT_FIELD: &str = "context";

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not CBOR, or not the shape of an entry.
    #[error("not an entry: {0}")]
    Malformed(String),
    /// The same content written in another way; its leaf hash would differ.
    #[error("an entry that is not in canonical form")]
    NotCanonical,
    /// Written by a newer version.
    #[error("schema `{0}` is newer than this version; update countersign")]
    Schema(u64),
}

impl From<minicbor::decode::Error> for EntryError {
    fn from(error: minicbor::decode::Error) -> Self {
        EntryError::Malformed(error.to_string())
    }
}

/// A record sealed and encoded except for its place in the log, which the committer gives it.
pub(crate) struct Prepared {
    pub(crate) columns: Vec<(Column, Value)>,
    count: usize,
    rest: Vec<u8>,
    beside: Vec<u8>,
    pub(crate) slice: Option<Arc<EntitySlice>>,
}

/// Cuts, seals and encodes. Runs on the caller's thread, so that the committer only hashes and writes.
pub(crate) fn prepare(record: &AuditRecord, keys: &Keyring) -> Result<Prepared, KeyStoreError> {
    let slice = record.pins.entity_slice.clone().filter(|slice| slice.bytes.len() <= MAX_SLICE_BYTES);
    let context = record.pins.context.clone().filter(|context| context.len() <= MAX_CONTEXT_BYTES);
    let has_lost_pins =
        slice.is_none() != record.pins.entity_slice.is_none() || context.is_none() != record.pins.context.is_none();
    let columns = size::fit(columns_of(record), MAX_ENTRY_BYTES - PREFIX_BYTES, has_lost_pins);
    let (key_ref, key) = keys.sealing(record.who.subject_id.as_ref(), record.time)?;
    let sealer = seal::Sealer::new(&key, record.access_id, record.kind, record.time);

    let mut sealed: Vec<(u64, Vec<u8>)> = Vec::with_capacity(6);
    if let Some(context) = &context {
        sealed.push((BESIDE_CONTEXT, sealer.seal(CONTEXT_FIELD, context)));
    }
    let mut rest = Vec::with_capacity(1_024);
    let mut out = Writer(&mut rest);
    for (column, value) in &columns {
        let committed = match (column.kind(), value) {
            (ColumnKind::Sealed, Value::Text(text)) => {
                sealed.push((u64::from(column.number()), sealer.seal(column.name(), text.as_bytes())));
                Some(Value::Digest(Digest32(sealer.commitment(column.name(), text.as_bytes()))))
            }
            _ => None,
        };
        write_column(&mut out, *column, committed.as_ref().unwrap_or(value));
    }
    Ok(Prepared { count: columns.len(), columns, rest, beside: write_beside(key_ref, &sealed), slice })
}

impl Prepared {
    /// Appends the entry for its place in the log.
    pub(crate) fn write_entry(&self, log: &str, seq: u64, out: &mut Vec<u8>) {
        write_identity(&mut Writer(out), log, seq, self.count);
        out.extend_from_slice(&self.rest);
    }

    /// Appends what stands beside the entry.
    pub(crate) fn write_beside(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.beside);
    }

    /// An upper bound of the payload's length.
    pub(crate) fn len_bound(&self) -> usize {
        4 + PREFIX_BYTES + self.rest.len() + self.beside.len()
    }
}

fn write_identity(out: &mut Writer<'_>, log: &str, seq: u64, columns: usize) {
    out.map(columns.saturating_add(3));
    out.uint(KEY_SCHEMA);
    out.uint(SCHEMA);
    out.uint(KEY_LOG);
    out.text(log);
    out.uint(KEY_SEQ);
    out.uint(seq);
}

fn write_beside(key: KeyRef, sealed: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer(&mut bytes);
    out.map(sealed.len().saturating_add(1));
    out.uint(BESIDE_KEY);
    out.uint(match key {
        KeyRef::Person => 0,
        KeyRef::Daily(day) => u64::from(day.0),
    });
    for (number, ciphertext) in sealed {
        out.uint(*number);
        out.bytes(ciphertext);
    }
    bytes
}

fn write_column(out: &mut Writer<'_>, column: Column, value: &Value) {
    out.uint(u64::from(column.number()));
    match value {
        Value::Bool(value) => out.bool(*value),
        Value::Digest(digest) => out.bytes(&digest.0),
        Value::Id(id) => out.bytes(id.as_bytes()),
        Value::List(items) => {
            out.array(items.len());
            items.iter().for_each(|item| out.text(item));
        }
        Value::Sealed(sealed) => out.text(sealed.as_str()),
        Value::Text(text) => out.text(text),
        Value::Time(time) => out.int(time.0),
        Value::Uint(number) => out.uint(*number),
    }
}

/// An entry as it stands in the tree: its columns by number, sealed ones as commitments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Origin of the log, epoch included.
    pub log: Arc<str>,
    /// Place in the log.
    pub seq: u64,
    /// Columns by number. Sealed columns are [`Value::Digest`] here.
    pub columns: Vec<(Column, Value)>,
}

/// Reads a canonical entry.
///
/// # Errors
/// When the bytes are not exactly what this version would have written.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, EntryError> {
    let mut input = minicbor::Decoder::new(bytes);
    let pairs = input.map()?.ok_or(EntryError::NotCanonical)?;
    expect_key(&mut input, KEY_SCHEMA)?;
    let schema = input.u64()?;
    if schema != SCHEMA {
        return Err(EntryError::Schema(schema));
    }
    expect_key(&mut input, KEY_LOG)?;
    let log: Arc<str> = Arc::from(input.str()?);
    expect_key(&mut input, KEY_SEQ)?;
    let seq = input.u64()?;
    let mut columns: Vec<(Column, Value)> = Vec::new();
    for _ in 3..pairs {
        let number = input.u64()?;
        let column =
            Column::of_number(number).ok_or_else(|| EntryError::Malformed(format!("no column has number {number}")))?;
        if columns.last().is_some_and(|(last, _)| *last >= column) {
            return Err(EntryError::NotCanonical);
        }
        columns.push((column, read_column(&mut input, column)?));
    }
    let entry = Entry { log, seq, columns };
    if entry.to_bytes() != bytes {
        return Err(EntryError::NotCanonical);
    }
    Ok(entry)
}

impl Entry {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1_024);
        let mut out = Writer(&mut bytes);
        write_identity(&mut out, &self.log, self.seq, self.columns.len());
        self.columns.iter().for_each(|(column, value)| write_column(&mut out, *column, value));
        bytes
    }
}

fn expect_key(input: &mut minicbor::Decoder<'_>, key: u64) -> Result<(), EntryError> {
    if input.u64()? == key { Ok(()) } else { Err(EntryError::NotCanonical) }
}

fn read_column(input: &mut minicbor::Decoder<'_>, column: Column) -> Result<Value, EntryError> {
    Ok(match column.kind() {
        ColumnKind::Bool => Value::Bool(input.bool()?),
        ColumnKind::Digest | ColumnKind::Sealed => Value::Digest(Digest32(fixed(input.bytes()?)?)),
        ColumnKind::Id => Value::Id(Uuid::from_bytes(fixed(input.bytes()?)?)),
        ColumnKind::List => {
            let items = input.array()?.ok_or(EntryError::NotCanonical)?;
            let mut list = Vec::new();
            for _ in 0..items {
                list.push(Arc::from(input.str()?));
            }
            Value::List(list)
        }
        ColumnKind::Text => Value::Text(Arc::from(input.str()?)),
        ColumnKind::Time => Value::Time(Timestamp(input.i64()?)),
        ColumnKind::Uint => Value::Uint(input.u64()?),
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], EntryError> {
    bytes.try_into().map_err(|_| EntryError::Malformed(format!("{} bytes where {N} belong", bytes.len())))
}

/// Splits a record payload into entry and beside.
pub(crate) fn split_payload(payload: &[u8]) -> Result<(&[u8], &[u8]), EntryError> {
    let malformed = || EntryError::Malformed("a record frame shorter than its entry".into());
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(malformed)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| malformed())?;
    rest.split_at_checked(length).ok_or_else(malformed)
}

/// Reads a record payload.
pub(crate) fn decode_payload(payload: &[u8], keys: &Keyring, access: SealedAccess) -> Result<StoredRecord, EntryError> {
    let (entry, beside) = split_payload(payload)?;
    let entry = decode_entry(entry)?;
    let commitments = if access == SealedAccess::Open { entry.columns.clone() } else { Vec::new() };
    let mut record = StoredRecord::closed(entry);
    if access == SealedAccess::Open {
        let opener = Opener::new(beside, &record, keys)?;
        for (column, value) in &mut record.columns {
            let (Value::Sealed(sealed), Some(Value::Digest(commitment))) = (value, find(&commitments, *column)) else {
                continue;
            };
            *sealed = opener.open_text(*column, &commitment.0);
        }
    }
    Ok(record)
}

/// The context bytes beside a record: `None` when it has none, its key is gone or it was tampered with.
pub(crate) fn decode_context(payload: &[u8], keys: &Keyring) -> Result<Option<Vec<u8>>, EntryError> {
    let (entry, beside) = split_payload(payload)?;
    let record = StoredRecord::closed(decode_entry(entry)?);
    let Some(Value::Digest(hash)) = record.get(Column::ContextHash) else { return Ok(None) };
    let context = Opener::new(beside, &record, keys)?.open(BESIDE_CONTEXT, CONTEXT_FIELD);
    Ok(context.ok().filter(|context| Digest32::of(context) == *hash))
}

struct Opener<'a> {
    sealer: Option<seal::Sealer>,
    sealed: Vec<(u64, &'a [u8])>,
}

impl<'a> Opener<'a> {
    fn new(beside: &'a [u8], record: &StoredRecord, keys: &Keyring) -> Result<Self, EntryError> {
        let mut input = minicbor::Decoder::new(beside);
        let pairs = input.map()?.ok_or(EntryError::NotCanonical)?;
        expect_key(&mut input, BESIDE_KEY)?;
        let day = u32::try_from(input.u64()?).map_err(|_| EntryError::NotCanonical)?;
        let key_ref = if day == 0 { KeyRef::Person } else { KeyRef::Daily(crate::keyring::Day(day)) };
        let mut sealed = Vec::new();
        for _ in 1..pairs {
            sealed.push((input.u64()?, input.bytes()?));
        }
        let sealer = keys
            .opening(key_ref, record.subject_id().as_ref())
            .and_then(|key| Some(seal::Sealer::new(&key, record.access_id()?, record.kind()?, record.time())));
        Ok(Self { sealer, sealed })
    }

    fn open(&self, number: u64, field: &str) -> Result<Vec<u8>, Sealed> {
        let sealer = self.sealer.as_ref().ok_or(Sealed::KeyDestroyed)?;
        let (_, ciphertext) = self.sealed.iter().find(|(n, _)| *n == number).ok_or(Sealed::Tampered)?;
        sealer.open(field, ciphertext).ok_or(Sealed::Tampered)
    }

    fn open_text(&self, column: Column, commitment: &[u8; 32]) -> Sealed {
        let value = match self.open(u64::from(column.number()), column.name()) {
            Ok(value) => value,
            Err(state) => return state,
        };
        let is_committed =
            self.sealer.as_ref().is_some_and(|sealer| sealer.commitment(column.name(), &value) == *commitment);
        match String::from_utf8(value) {
            Ok(text) if is_committed => Sealed::Open(Arc::from(text)),
            _ => Sealed::Tampered,
        }
    }
}
