//! The bounded queue between whoever records and the committer. Full means: wait for room, at most
//! [`ROOM_TIMEOUT`], then a [`RecordError`] (AUD-18).

use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::seams::{Durability, RecordError, Recorded};
use tokio::sync::{Notify, oneshot};

use crate::entry::Prepared;

/// How long a caller waits for room in the queue.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes may wait, whatever the number of records.
pub const MAX_QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Where an answer goes: to a task or to a thread.
pub(crate) enum Answer {
    Task(oneshot::Sender<Result<Recorded, RecordError>>),
    Thread(SyncSender<Result<Recorded, RecordError>>),
}

impl Answer {
    /// A caller that went away does not want to know.
    pub(crate) fn send(self, result: Result<Recorded, RecordError>) {
        match self {
            Answer::Task(sender) => drop(sender.send(result)),
            Answer::Thread(sender) => drop(sender.try_send(result)),
        }
    }
}

/// A record on its way to the disk.
pub(crate) struct Job {
    pub(crate) record: Prepared,
    pub(crate) durability: Durability,
    pub(crate) answer: Answer,
}

/// What the committer found.
pub(crate) enum Taken {
    Jobs(Vec<Job>),
    Nothing,
    Closed,
}

pub(crate) struct Queue {
    max_jobs: usize,
    state: Mutex<State>,
    arrived: Condvar,
    room: Condvar,
    room_async: Notify,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    bytes: usize,
    is_closed: bool,
    is_called: bool,
}

impl Queue {
    pub(crate) fn new(max_jobs: usize) -> Self {
        Self {
            max_jobs: max_jobs.max(1),
            state: Mutex::default(),
            arrived: Condvar::new(),
            room: Condvar::new(),
            room_async: Notify::new(),
        }
    }

    /// Waits for room without a thread.
    pub(crate) async fn push(&self, job: Job) -> Result<(), RecordError> {
        let mut job = Some(job);
        if self.try_push(&mut job)? {
            return Ok(());
        }
        let wait = async {
            loop {
                let notified = self.room_async.notified();
                tokio::pin!(notified);
                // Registered before the look, or a drain in between would go unseen.
                notified.as_mut().enable();
                if self.try_push(&mut job)? {
                    return Ok(());
                }
                notified.await;
            }
        };
        tokio::time::timeout(ROOM_TIMEOUT, wait).await.unwrap_or_else(|_| Err(full()))
    }

    /// Waits for room on this thread.
    pub(crate) fn push_blocking(&self, job: Job) -> Result<(), RecordError> {
        let deadline = Instant::now() + ROOM_TIMEOUT;
        let mut job = Some(job);
        let mut state = self.lock();
        loop {
            if Self::try_push_locked(self.max_jobs, &mut state, &mut job)? {
                drop(state);
                self.arrived.notify_one();
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(full());
            }
            (state, _) = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes everything that waits; with nothing there, waits for `timeout` or for ever.
    pub(crate) fn take(&self, timeout: Option<Duration>) -> Taken {
        let mut state = self.lock();
        let is_idle = |state: &mut State| state.jobs.is_empty() && !state.is_closed && !state.is_called;
        let has_to_wait = is_idle(&mut state);
        state = match timeout {
            Some(timeout) => {
                self.arrived.wait_timeout_while(state, timeout, is_idle).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.arrived.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner),
        };
        state.is_called = false;
        if state.jobs.is_empty() {
            return if state.is_closed { Taken::Closed } else { Taken::Nothing };
        }
        if has_to_wait {
            // Whoever woke us may be about to push more; where it shares our core it only can if we step back.
            drop(state);
            std::thread::yield_now();
            state = self.lock();
        }
        state.bytes = 0;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.room.notify_all();
        self.room_async.notify_waiters();
        Taken::Jobs(jobs)
    }

    /// Makes [`Self::take`] return also with nothing there.
    pub(crate) fn call(&self) {
        self.lock().is_called = true;
        self.arrived.notify_one();
    }

    /// Refuses everything from now on; what waits is still taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
        self.room_async.notify_waiters();
    }

    /// The committer is gone: what waits is dropped, which its callers notice.
    pub(crate) fn abandon(&self) {
        self.close();
        self.lock().jobs.clear();
    }

    fn try_push(&self, job: &mut Option<Job>) -> Result<bool, RecordError> {
        let is_pushed = Self::try_push_locked(self.max_jobs, &mut self.lock(), job)?;
        if is_pushed {
            // With the lock let go: a committer that wakes at once must not stop at it.
            self.arrived.notify_one();
        }
        Ok(is_pushed)
    }

    fn try_push_locked(max_jobs: usize, state: &mut State, job: &mut Option<Job>) -> Result<bool, RecordError> {
        if state.is_closed {
            return Err(RecordError { cause: "the log is closed".into() });
        }
        let bytes = job.as_ref().map_or(0, |job| job.record.len_bound());
        if state.jobs.len() >= max_jobs || state.bytes.saturating_add(bytes) > MAX_QUEUE_BYTES {
            return Ok(false);
        }
        state.bytes = state.bytes.saturating_add(bytes);
        state.jobs.extend(job.take());
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full() -> RecordError {
    RecordError { cause: format!("its queue stayed full for {} s", ROOM_TIMEOUT.as_secs()) }
}
