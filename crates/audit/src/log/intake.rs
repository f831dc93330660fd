//! Taking records in: from masking and sealing to the answer. What the log's handle, the watch and the drill share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};

use model::record::AuditRecord;
use model::seams::{Durability, RecordError, Recorded};
use model::{BoxFuture, Clock, Ids};
use tokio::sync::oneshot;

use super::ladder::{Ladder, STUCK_AFTER};
use super::own_records::least_durability;
use super::queue::{Answer, Job, Queue};
use super::{ANSWER_TIMEOUT, Shared};
use crate::alerts::AlertKind;
use crate::entry::prepare;
use crate::mask::{PathMask, mask_path};

pub(crate) struct Intake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) masks: Arc<[PathMask]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// The kernel does not vouch for the time (AUD-13).
    pub(crate) is_unsure_of_time: AtomicBool,
}

impl Intake {
    /// Waits on this thread; a record that cannot be kept is counted and the rung of the ladder decides.
    pub(crate) fn append_blocking(&self, record: AuditRecord, asked: Durability) -> Result<Recorded, RecordError> {
        let what = (record.kind, asked, record.time);
        self.ladder.settle(self.try_append(record, asked), what)
    }

    /// Waits on this thread.
    pub(crate) fn try_append(&self, record: AuditRecord, asked: Durability) -> Result<Recorded, RecordError> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.queue.push_blocking(self.job(record, asked, Answer::Thread(sender))?)?;
        match answer.recv_timeout(ANSWER_TIMEOUT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(self.unanswered()),
            Err(RecvTimeoutError::Disconnected) => Err(stopped()),
        }
    }

    /// Waits without a thread.
    pub(crate) fn append(
        self: &Arc<Self>,
        record: AuditRecord,
        asked: Durability,
    ) -> BoxFuture<'static, Result<Recorded, RecordError>> {
        let (sender, answer) = oneshot::channel();
        let what = (record.kind, asked, record.time);
        let (job, this) = (self.job(record, asked, Answer::Task(sender)), Arc::clone(self));
        Box::pin(async move {
            let answer = async {
                this.queue.push(job?).await?;
                match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                    Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
                    Err(_) => Err(this.unanswered()),
                }
            };
            let answer = answer.await;
            this.ladder.settle(answer, what)
        })
    }

    fn job(&self, mut record: AuditRecord, asked: Durability, answer: Answer) -> Result<Job, RecordError> {
        if self.ladder.is_stuck() {
            // Whoever waits already is answered in time; nobody else is made to wait for a disk that does not answer.
            let cause = format!("the disk has not answered for more than {} s", STUCK_AFTER.as_secs());
            return Err(RecordError { cause });
        }
        let durability = asked.max(least_durability(record.kind));
        if let Some(path) = record.what.url_path.as_deref().filter(|_| !self.masks.is_empty()) {
            record.what.url_path = Some(Arc::from(mask_path(path, &self.masks)));
        }
        if self.is_unsure_of_time.load(Ordering::Relaxed) {
            record.decision.degraded.push(CLOCK_UNSYNCHRONISED);
        }
        let record = prepare(&record, &self.shared.keys).map_err(|error| RecordError { cause: error.to_string() })?;
        Ok(Job { record, durability, answer })
    }

    fn unanswered(&self) -> RecordError {
        let cause = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
        self.ladder.alerts.raise(AlertKind::DiskHung, &cause);
        RecordError { cause }
    }
}

/// In `degraded` of records whose time the kernel does not vouch for (AUD-13).
pub const CLOCK_UNSYNCHRONISED: &str = "clock_unsynchronised";

fn stopped() -> RecordError {
    RecordError { cause: "the log is closed".into() }
}
