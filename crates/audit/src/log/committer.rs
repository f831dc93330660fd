//! The committer: one thread that writes for all (AUD-16, AUD-17). Takes whatever waits, writes it at once,
//! answers `Standard` callers, syncs when one is `Strict` or the time or size has come, answers the `Strict` ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::seams::{Durability, RecordError, Recorded};

use super::Shared;
use super::ladder::Ladder;
use super::queue::{Answer, Job, Queue, Taken};
use super::writer::Writer;
use crate::alerts::AlertKind;

/// The longest a written record stays without a sync (AUD-17).
pub const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// How often a segment is laid down again at most: it means copying it.
pub(crate) const MEND_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Committer {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    writer: Writer,
    ladder: Arc<Ladder>,
    sync_at: Option<Instant>,
    mended_at: Option<Instant>,
}

impl Committer {
    pub(crate) fn new(queue: Arc<Queue>, shared: Arc<Shared>, writer: Writer, ladder: Arc<Ladder>) -> Self {
        Self { queue, shared, writer, ladder, sync_at: None, mended_at: None }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            let timeout = self.sync_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.ladder.busy(false);
            let taken = self.queue.take(timeout);
            self.ladder.busy(true);
            if self.ladder.take_call_for_mending() {
                self.mend_after_tampering();
            }
            let strict = match taken {
                Taken::Jobs(jobs) => self.commit(jobs),
                Taken::Nothing => Vec::new(),
                Taken::Closed => {
                    if self.writer.is_dirty() {
                        self.sync(Vec::new());
                    }
                    return;
                }
            };
            if self.writer.is_dirty() && self.sync_at.is_none() {
                self.sync_at = Some(Instant::now() + SYNC_INTERVAL);
            }
            let is_due = self.sync_at.is_some_and(|at| at <= Instant::now());
            if !strict.is_empty() || is_due || self.writer.is_sync_due() {
                self.sync(strict);
            }
        }
    }

    /// Writes, publishes, answers; gives back who waits for a sync.
    fn commit(&mut self, jobs: Vec<Job>) -> Vec<(Answer, u64)> {
        let mut strict = Vec::new();
        let mut jobs = jobs.into_iter();
        while !jobs.as_slice().is_empty() {
            let records: Vec<_> = jobs.as_slice().iter().map(|job| &job.record).collect();
            let mut written = self.writer.write(&records);
            if let Err(error) = &written
                && self.writer.has_reserve()
                && self.may_mend()
            {
                // The next rung: the same segment in a file that was laid in while all was well.
                self.ladder.failed(error);
                if self.mend(false).is_ok() {
                    written = self.writer.write(&records);
                }
            }
            let written = match written {
                Ok(written) => written,
                Err(error) => {
                    self.ladder.failed(&error);
                    let refusal = RecordError { cause: error.to_string() };
                    jobs.by_ref().for_each(|job| job.answer.send(Err(refusal.clone())));
                    break;
                }
            };
            let seqs: Vec<u64> = written.rows.iter().map(|row| row.seq).collect();
            self.shared.publish(written);
            for (job, seq) in jobs.by_ref().take(seqs.len()).zip(seqs) {
                match job.durability {
                    Durability::Standard => job.answer.send(Ok(Recorded { seq })),
                    Durability::Strict => strict.push((job.answer, seq)),
                }
            }
        }
        strict
    }

    fn sync(&mut self, strict: Vec<(Answer, u64)>) {
        let mut result = self.writer.sync();
        if let Err(error) = &result
            && self.writer.has_reserve()
            && self.may_mend()
        {
            self.ladder.failed(error);
            result = self.mend(false);
        }
        self.sync_at = if self.writer.is_dirty() { Some(Instant::now() + SYNC_INTERVAL) } else { None };
        match &result {
            Ok(()) => {
                self.shared.synced.send_replace(self.writer.next_seq());
                self.ladder.succeeded();
            }
            Err(error) => self.ladder.failed(error),
        }
        let refusal = result.err().map(|error| RecordError { cause: error.to_string() });
        for (waiting, seq) in strict {
            waiting.send(refusal.clone().map_or(Ok(Recorded { seq }), Err));
        }
    }

    fn may_mend(&self) -> bool {
        self.mended_at.is_none_or(|at| at.elapsed() >= MEND_PAUSE)
    }

    /// The watch found that the file is not where or what it was.
    fn mend_after_tampering(&mut self) {
        if !self.may_mend() {
            return; // It calls again.
        }
        match self.mend(true) {
            Ok(()) => {
                let tampered = AlertKind::ALL.iter().filter(|kind| kind.is_tampering());
                tampered.for_each(|kind| self.ladder.alerts.clear(*kind));
            }
            Err(error) => self.ladder.failed(&error),
        }
    }

    fn mend(&mut self, keeps_old: bool) -> std::io::Result<()> {
        self.mended_at = Some(Instant::now());
        let mended = self.writer.mend(keeps_old)?;
        self.shared.note_mended(&mended);
        self.ladder.lost(&mended.holes);
        tracing::warn!(holes = mended.holes.len(), "a segment of the audit log was laid down again in a fresh file");
        Ok(())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}
