//! The janitor of a running log (AUD-6): an access that was allowed and of which nothing was heard for [`SILENT_FOR`], neither
//! its end nor its progress, which is recorded every five minutes, ends as `unknown`.
//!
//! It looks at what the hot index holds. An access must be silent in two looks `LOOK_EVERY` apart by the monotonic clock,
//! so that a wall clock that is set forward ends nothing that still flows.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use model::record::{AuditRecord, RecordType};
use model::{AccessId, Effect, Timestamp};

use super::own_records::unknown_end;
use crate::index::Row;

/// Three times the interval of progress records.
pub const SILENT_FOR: Duration = Duration::from_secs(15 * 60);
/// How often it looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

#[derive(Default)]
pub(crate) struct Janitor {
    looked: Option<Instant>,
    suspects: BTreeSet<AccessId>,
}

impl Janitor {
    /// Whether it is time to look again.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let looked = *self.looked.get_or_insert(now);
        let is_due = now.saturating_duration_since(looked) >= LOOK_EVERY;
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// Ends for accesses that were silent the last time too; `rows` oldest first.
    pub(crate) fn look<'a>(&mut self, rows: impl Iterator<Item = &'a Row>, now: Timestamp) -> Vec<AuditRecord> {
        let mut open: HashMap<AccessId, (&Row, Timestamp)> = HashMap::new();
        for row in rows {
            let keys = &row.keys;
            match keys.kind {
                Some(RecordType::AccessDecision) if keys.effect == Some(Effect::Allow) => {
                    open.insert(keys.access_id, (row, keys.time));
                }
                Some(RecordType::AccessProgress) => {
                    open.entry(keys.access_id).and_modify(|(_, heard)| *heard = keys.time);
                }
                Some(RecordType::AccessCompletion) => {
                    open.remove(&keys.access_id);
                }
                _ => {}
            }
        }
        open.retain(|_, (_, heard)| now.since(*heard) >= SILENT_FOR);
        let suspects = std::mem::replace(&mut self.suspects, open.keys().copied().collect());
        let mut silent: Vec<&Row> =
            open.into_iter().filter(|(access, _)| suspects.contains(access)).map(|(_, (row, _))| row).collect();
        silent.sort_by_key(|row| row.seq);
        silent.into_iter().map(|row| AuditRecord { time: now, ..unknown_end(row) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Place, RowKeys};
    use crate::log::reader::Segment;
    use std::sync::Arc;

    const MINUTE: i64 = 60_000_000_000;

    fn row(seq: u64, access: u128, kind: RecordType, minute: i64) -> Row {
        let mut keys = RowKeys::of_columns(&[]);
        keys.kind = Some(kind);
        keys.effect = (kind == RecordType::AccessDecision).then_some(Effect::Allow);
        keys.access_id = AccessId(uuid::Uuid::from_u128(access));
        keys.time = Timestamp(minute * MINUTE);
        Row { seq, place: Place { segment: Arc::new(Segment { epoch: 1, first_seq: 0 }), offset: 0 }, keys }
    }

    fn looks(rows: &[Row], minutes: [i64; 2]) -> Vec<u128> {
        let mut janitor = Janitor::default();
        assert_eq!(janitor.look(rows.iter(), Timestamp(minutes[0] * MINUTE)), vec![], "never at the first look");
        let ends = janitor.look(rows.iter(), Timestamp(minutes[1] * MINUTE));
        ends.iter().map(|end| end.access_id.0.as_u128()).collect()
    }

    #[test]
    fn an_access_of_which_nothing_is_heard_ends_as_unknown_and_a_stream_that_tells_of_itself_does_not() {
        let rows = [
            row(0, 1, RecordType::AccessDecision, 0),
            row(1, 2, RecordType::AccessDecision, 0),
            row(2, 3, RecordType::AccessDecision, 0),
            row(3, 2, RecordType::AccessProgress, 20),
            row(4, 3, RecordType::AccessCompletion, 1),
            row(5, 4, RecordType::AccessDecision, 20),
        ];
        assert_eq!(looks(&rows, [15, 25]), [1]);
        assert_eq!(looks(&rows, [40, 50]), [1, 2, 4]);
        assert_eq!(looks(&rows, [10, 15]), [0; 0], "silent at one look only");
    }
}
