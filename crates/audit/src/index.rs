//! The hot index: for each recent record the few columns that narrow most questions, and where its frame
//! is. Bounded; older records are found by reading segments.
//!
//! The committer appends, readers take a snapshot: full chunks are shared, so neither waits for the other's work.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use model::record::RecordType;
use model::{AccessId, Effect, Reason, SessionId, Timestamp, UserId};

use crate::entry::{Column, StoredRecord, Value};
use crate::log::reader::Segment;

/// Rows per chunk; eviction drops a chunk at a time.
const CHUNK_ROWS: usize = 1_024;

/// Where a frame is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u32,
}

/// What is kept of a recent record.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) place: Place,
    pub(crate) keys: RowKeys,
}

/// The narrowing columns.
#[derive(Clone)]
pub(crate) struct RowKeys {
    pub(crate) kind: Option<RecordType>,
    pub(crate) access_id: AccessId,
    pub(crate) time: Timestamp,
    pub(crate) subject: Option<UserId>,
    pub(crate) session: Option<SessionId>,
    pub(crate) effect: Option<Effect>,
    pub(crate) reason: Option<Reason>,
    pub(crate) app: Option<Arc<str>>,
}

impl RowKeys {
    pub(crate) fn of_columns(columns: &[(Column, Value)]) -> Self {
        let mut keys = Self {
            kind: None,
            access_id: AccessId(uuid::Uuid::nil()),
            time: Timestamp::default(),
            subject: None,
            session: None,
            effect: None,
            reason: None,
            app: None,
        };
        for (column, value) in columns {
            match (column, value) {
                (Column::Type, Value::Uint(code)) => {
                    keys.kind = RecordType::ALL.iter().copied().find(|kind| u64::from(kind.code()) == *code);
                }
                (Column::AccessId, Value::Id(id)) => keys.access_id = AccessId(*id),
                (Column::Time, Value::Time(time)) => keys.time = *time,
                (Column::SubjectId, Value::Id(id)) => keys.subject = Some(UserId(*id)),
                (Column::SessionId, Value::Id(id)) => keys.session = Some(SessionId(*id)),
                (Column::Effect, Value::Text(text)) => keys.effect = effect_of(text),
                (Column::Reason, Value::Text(text)) => keys.reason = text.parse().ok(),
                (Column::App, Value::Text(text)) => keys.app = Some(text.clone()),
                _ => {}
            }
        }
        keys
    }

    pub(crate) fn of_record(record: &StoredRecord) -> Self {
        Self::of_columns(&record.columns)
    }
}

/// The effect with this name.
pub(crate) fn effect_of(text: &str) -> Option<Effect> {
    [Effect::Allow, Effect::Deny, Effect::StepUp].into_iter().find(|effect| effect.as_str() == text)
}

/// The newest records of a log.
pub(crate) struct HotIndex {
    max_rows: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    full: VecDeque<Arc<[Row]>>,
    open: Vec<Row>,
    is_evicted: bool,
}

/// The index at one moment, newest last.
pub(crate) struct Snapshot {
    chunks: Vec<Arc<[Row]>>,
    /// False when older records exist in the log that are not in the index.
    pub(crate) is_whole: bool,
}

impl Snapshot {
    /// Newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Row> {
        self.chunks.iter().rev().flat_map(|chunk| chunk.iter().rev())
    }

    /// From `seq` on, oldest first.
    pub(crate) fn from(&self, seq: u64) -> impl Iterator<Item = &Row> {
        let first = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|row| row.seq < seq));
        self.chunks.iter().skip(first).flat_map(|chunk| chunk.iter()).skip_while(move |row| row.seq < seq)
    }

    /// The oldest sequence number it holds.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        self.chunks.first().and_then(|chunk| chunk.first()).map(|row| row.seq)
    }
}

impl HotIndex {
    /// `is_whole` says whether `rows` (oldest first) is all there is in the log.
    pub(crate) fn new(max_rows: usize, rows: Vec<Row>, is_whole: bool) -> Self {
        let index = Self { max_rows: max_rows.max(CHUNK_ROWS), state: RwLock::default() };
        index.state.write().unwrap_or_else(PoisonError::into_inner).is_evicted = !is_whole;
        index.extend(rows);
        index
    }

    pub(crate) fn extend(&self, rows: impl IntoIterator<Item = Row>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            state.open.push(row);
            if state.open.len() >= CHUNK_ROWS {
                let chunk = std::mem::take(&mut state.open);
                state.full.push_back(chunk.into());
            }
        }
        while state.full.len().saturating_mul(CHUNK_ROWS) > self.max_rows {
            state.full.pop_front();
            state.is_evicted = true;
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let open: Arc<[Row]> = state.open.as_slice().into();
        let chunks = state.full.iter().cloned().chain((!open.is_empty()).then_some(open)).collect();
        Snapshot { chunks, is_whole: !state.is_evicted }
    }
}
