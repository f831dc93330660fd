//! Where slow hashes are computed (ID-15): a few at a time on blocking threads, a few more waiting, and whoever comes
//! beyond that is told to come again. It is the only place of this room that needs a runtime.
//!
//! Invariants: memory for hashes is bounded by [`RUNNING`] times their cost; a full pool answers at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How many hashes are computed at once.
pub const RUNNING: usize = 2;
/// How many may be computed or wait.
pub const ADMITTED: usize = 16;
/// When to come again.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The pool is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many people are signing in with a password just now; try again in {} s", RETRY_AFTER.as_secs())]
pub struct PoolFull;

/// The pool.
pub struct HashPool {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for HashPool {
    fn default() -> Self {
        Self { admitted: Arc::new(Semaphore::new(ADMITTED)), running: Arc::new(Semaphore::new(RUNNING)) }
    }
}

impl HashPool {
    /// Runs `work` on a blocking thread. It is finished even when nobody waits for the answer any more: its place is
    /// given back when it is done and not before.
    ///
    /// # Errors
    /// The pool is full, or the process is stopping.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PoolFull> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| PoolFull)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| PoolFull)?;
        let done = tokio::task::spawn_blocking(move || {
            let _places = (admitted, running);
            work()
        });
        done.await.map_err(|_| PoolFull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_full_pool_says_so_at_once_and_takes_work_again_later() {
        let pool = Arc::new(HashPool::default());
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let mut tasks = Vec::new();
        for _ in 0..ADMITTED {
            let (pool, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            tasks.push(tokio::spawn(async move {
                pool.run(move || {
                    gate.lock().unwrap().recv().unwrap();
                })
                .await
            }));
        }
        while pool.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| ()).await, Err(PoolFull));
        for _ in 0..ADMITTED {
            release.send(()).unwrap();
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }
}
