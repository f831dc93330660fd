//! A record as its readers get it.

use std::sync::Arc;

use model::record::RecordType;
use model::{AccessId, SessionId, Timestamp, UserId};
use uuid::Uuid;

use super::Entry;
use super::columns::{Column, ColumnKind, Sealed, Value};

/// Whether a reader may see sealed columns (right `audit.read_sealed`, AUD-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealedAccess {
    /// They read as `sealed`.
    Closed,
    /// They are opened where the key still exists.
    Open,
}

/// A record read back from a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    /// Origin of the log, epoch included.
    pub log: Arc<str>,
    /// Place in the log.
    pub seq: u64,
    /// Columns by number; sealed ones are [`Value::Sealed`].
    pub columns: Vec<(Column, Value)>,
}

/// The value of `column` among columns in order.
pub(super) fn find(columns: &[(Column, Value)], column: Column) -> Option<&Value> {
    let at = columns.binary_search_by_key(&column, |(column, _)| *column).ok()?;
    columns.get(at).map(|(_, value)| value)
}

impl StoredRecord {
    /// With every sealed column closed.
    pub(super) fn closed(entry: Entry) -> Self {
        let mut columns = entry.columns;
        for (column, value) in &mut columns {
            if column.kind() == ColumnKind::Sealed {
                *value = Value::Sealed(Sealed::Closed);
            }
        }
        Self { log: entry.log, seq: entry.seq, columns }
    }

    /// The value of a column, if it has one.
    pub fn get(&self, column: Column) -> Option<&Value> {
        find(&self.columns, column)
    }

    /// The text of a text column, or of a sealed one that was opened.
    pub fn text(&self, column: Column) -> Option<&str> {
        match self.get(column)? {
            Value::Text(text) | Value::Sealed(Sealed::Open(text)) => Some(text),
            _ => None,
        }
    }

    /// The number of a number column.
    pub fn uint(&self, column: Column) -> Option<u64> {
        match self.get(column)? {
            Value::Uint(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of a list column; empty when it has none.
    pub fn list(&self, column: Column) -> &[Arc<str>] {
        match self.get(column) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The id of an id column.
    pub fn id(&self, column: Column) -> Option<Uuid> {
        match self.get(column)? {
            Value::Id(id) => Some(*id),
            _ => None,
        }
    }

    /// What happened; `None` for a type this version does not know.
    pub fn kind(&self) -> Option<RecordType> {
        let code = self.uint(Column::Type)?;
        RecordType::ALL.iter().copied().find(|kind| u64::from(kind.code()) == code)
    }

    /// Joins decision, progress and completion.
    pub fn access_id(&self) -> Option<AccessId> {
        self.id(Column::AccessId).map(AccessId)
    }

    /// Whose record it is.
    pub fn subject_id(&self) -> Option<UserId> {
        self.id(Column::SubjectId).map(UserId)
    }

    /// The session it belongs to.
    pub fn session_id(&self) -> Option<SessionId> {
        self.id(Column::SessionId).map(SessionId)
    }

    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self.get(Column::Time) {
            Some(Value::Time(time)) => *time,
            _ => Timestamp::default(),
        }
    }

    /// The record's own name: log and sequence number.
    pub fn uid(&self) -> String {
        format!("{}#{}", self.log, self.seq)
    }
}
