//! The committer: one thread that writes for all (AUD-16, AUD-17). Takes whatever waits, writes it at once,
//! answers `Standard` callers, syncs when one is `Strict` or the time or size has come, answers the `Strict` ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::seams::{Durability, RecordError, Recorded};

use super::Shared;
use super::queue::{Answer, Job, Queue, Taken};
use super::writer::Writer;

/// The longest a written record stays without a sync (AUD-17).
pub const SYNC_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Committer {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    writer: Writer,
    sync_at: Option<Instant>,
    is_failing: bool,
}

impl Committer {
    pub(crate) fn new(queue: Arc<Queue>, shared: Arc<Shared>, writer: Writer) -> Self {
        Self { queue, shared, writer, sync_at: None, is_failing: false }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            let timeout = self.sync_at.map(|at| at.saturating_duration_since(Instant::now()));
            let strict = match self.queue.take(timeout) {
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
            let written = match self.writer.write(&records) {
                Ok(written) => written,
                Err(error) => {
                    self.failed(&error);
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
        let result = self.writer.sync();
        self.sync_at = if self.writer.is_dirty() { Some(Instant::now() + SYNC_INTERVAL) } else { None };
        if let Err(error) = &result {
            self.failed(error);
        } else if self.is_failing {
            self.is_failing = false;
            tracing::info!("the audit log takes records again");
        }
        let refusal = result.err().map(|error| RecordError { cause: error.to_string() });
        for (waiting, seq) in strict {
            waiting.send(refusal.clone().map_or(Ok(Recorded { seq }), Err));
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        if !self.is_failing {
            self.is_failing = true;
            tracing::error!(%error, "the audit log cannot write; requests that must be recorded are refused");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}
