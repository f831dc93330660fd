//! Following the log as it grows (AUD-3). A follower pulls by sequence number from the hot index, so it can stop,
//! come back and never slow the writer; one that falls behind is told how many it missed.

use std::sync::Arc;

use model::Timestamp;
use tokio::sync::watch;

use crate::entry::{SealedAccess, StoredRecord};
use crate::log::reader::Files;
use crate::log::{AuditLog, Growth, Shared};
use crate::query::{Query, QueryError};

/// How many records a follower may be behind before it is moved up.
pub const MAX_BEHIND: u64 = 10_000;
/// How many records are looked at before control goes back to the caller.
const BATCH: usize = 256;

/// What a follower gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TailItem {
    /// The next matching record.
    Record(StoredRecord),
    /// So many records went by unseen, matching or not; a query finds them.
    Skipped {
        /// The first.
        from_seq: u64,
        /// How many.
        records: u64,
    },
    /// The record with this number cannot be read.
    Unreadable {
        /// Which.
        seq: u64,
    },
}

/// A follower.
pub struct Tail {
    shared: Arc<Shared>,
    query: Query,
    access: SealedAccess,
    next_seq: u64,
    growth: watch::Receiver<Growth>,
}

impl AuditLog {
    /// Follows the log from `from_seq`, or from now on. `since`, `until` and `limit` of the query do not count. To resume,
    /// give [`Tail::next_seq`] of the follower that was lost.
    ///
    /// # Errors
    /// When the reader may not ask this.
    pub fn tail(&self, query: Query, from_seq: Option<u64>, access: SealedAccess) -> Result<Tail, QueryError> {
        query.check(access)?;
        let query = Query { since: None::<Timestamp>, until: None, ..query };
        let growth = self.shared.growth.subscribe();
        let next_seq = from_seq.unwrap_or_else(|| growth.borrow().next_seq);
        Ok(Tail { shared: self.shared.clone(), query, access, next_seq, growth })
    }
}

impl Tail {
    /// The sequence number it goes on with.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Waits until there is something; a batch in order, never empty. Dropping the future loses nothing. Ends with `None`
    /// when the log is closed.
    pub async fn next(&mut self) -> Option<Vec<TailItem>> {
        loop {
            let Growth { next_seq: end, is_closed } = *self.growth.borrow_and_update();
            let items = self.take(end);
            if !items.is_empty() {
                return Some(items);
            }
            if self.next_seq < end {
                tokio::task::yield_now().await;
                continue;
            }
            if is_closed {
                return None;
            }
            self.growth.changed().await.ok()?;
        }
    }

    /// What is there now, without waiting; may be empty.
    pub fn take_ready(&mut self) -> Vec<TailItem> {
        let end = self.growth.borrow().next_seq;
        self.take(end)
    }

    fn take(&mut self, end: u64) -> Vec<TailItem> {
        let mut items = Vec::new();
        if self.next_seq >= end {
            return items;
        }
        let snapshot = self.shared.index.snapshot();
        let reach = snapshot.first_seq().unwrap_or(end).max(end.saturating_sub(MAX_BEHIND));
        if self.next_seq < reach {
            items.push(TailItem::Skipped { from_seq: self.next_seq, records: reach - self.next_seq });
            self.next_seq = reach;
        }
        let mut files = Files::new(&*self.shared.disk);
        for row in snapshot.from(self.next_seq).take_while(|row| row.seq < end).take(BATCH) {
            if row.seq > self.next_seq {
                items.push(TailItem::Skipped { from_seq: self.next_seq, records: row.seq - self.next_seq });
            }
            self.next_seq = row.seq.saturating_add(1);
            if !self.query.may_match(&row.keys) {
                continue;
            }
            match self.shared.fetch(&mut files, row, self.access) {
                Ok(record)
                    if self.query.matches(&record)
                        && !self.query.leaves_out(&record)
                        && self.is_opened_match(&record) =>
                {
                    items.push(TailItem::Record(record));
                }
                Ok(_) => {}
                Err(_) => items.push(TailItem::Unreadable { seq: row.seq }),
            }
        }
        items
    }

    fn is_opened_match(&self, record: &StoredRecord) -> bool {
        self.access == SealedAccess::Closed || self.query.matches_opened(record)
    }
}
