//! From columns to values and back. What does not decode is [`StoreError::Malformed`], never a guess.

use std::time::Duration;

use model::{Timestamp, TokenHash};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::StoreError;

/// Reads typed columns by name.
pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<String, StoreError>;
    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError>;
    fn blob(&self, column: &'static str) -> Result<Vec<u8>, StoreError>;
    fn integer(&self, column: &'static str) -> Result<i64, StoreError>;
    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError>;
    fn maybe_uuid(&self, column: &'static str) -> Result<Option<Uuid>, StoreError>;
    fn maybe_hash(&self, column: &'static str) -> Result<Option<TokenHash>, StoreError>;

    fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        match self.integer(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(StoreError::malformed(column, other)),
        }
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp)
    }

    fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        let value = self.integer(column)?;
        u64::try_from(value).map_err(|_| StoreError::malformed(column, value))
    }

    fn duration(&self, column: &'static str) -> Result<Duration, StoreError> {
        self.count(column).map(Duration::from_nanos)
    }

    fn bytes<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError> {
        let blob = self.blob(column)?;
        <[u8; N]>::try_from(blob).map_err(|blob| StoreError::malformed(column, format!("{} bytes", blob.len())))
    }

    fn uuid(&self, column: &'static str) -> Result<Uuid, StoreError> {
        self.bytes(column).map(Uuid::from_bytes)
    }

    /// A JSON array of strings.
    fn strings<T: FromIterator<String>>(&self, column: &'static str) -> Result<T, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str::<Vec<String>>(&text)
            .map(|items| items.into_iter().collect())
            .map_err(|_| StoreError::malformed(column, text))
    }

    /// One of a closed list of words.
    fn word<T: Copy>(
        &self,
        column: &'static str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T, StoreError> {
        let text = self.text(column)?;
        all.iter().copied().find(|item| name(*item) == text).ok_or_else(|| StoreError::malformed(column, text))
    }
}

impl Columns for SqliteRow {
    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn blob(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.try_get::<Option<i64>, _>(column)?.map(Timestamp))
    }

    fn maybe_uuid(&self, column: &'static str) -> Result<Option<Uuid>, StoreError> {
        let Some(blob) = self.try_get::<Option<Vec<u8>>, _>(column)? else { return Ok(None) };
        Uuid::from_slice(&blob).map(Some).map_err(|_| StoreError::malformed(column, format!("{} bytes", blob.len())))
    }

    fn maybe_hash(&self, column: &'static str) -> Result<Option<TokenHash>, StoreError> {
        let Some(blob) = self.try_get::<Option<Vec<u8>>, _>(column)? else { return Ok(None) };
        let bytes = <[u8; 32]>::try_from(blob);
        bytes
            .map(|bytes| Some(TokenHash(bytes)))
            .map_err(|blob| StoreError::malformed(column, format!("{} bytes", blob.len())))
    }
}

/// A counter as a column: SQLite's integers are signed.
pub(super) fn to_integer(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::malformed(what, value))
}

/// A duration as a column, in nanoseconds.
pub(super) fn to_nanos(what: &'static str, value: Duration) -> Result<i64, StoreError> {
    i64::try_from(value.as_nanos()).map_err(|_| StoreError::malformed(what, value.as_secs()))
}

/// A JSON array of strings.
pub(super) fn to_json<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    Value::Array(items.into_iter().map(|item| Value::String(item.to_owned())).collect()).to_string()
}
