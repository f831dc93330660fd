//! Questions of a gateway to its control plane: sign-in hand-offs, cookies it does not know, its next certificate.
//!
//! Invariant: nobody waits for longer than they said; without a connection the answer is none at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use feed::{Ask, Reply, Up};
use tokio::sync::{mpsc, oneshot};

/// The most questions that wait for their answer.
const MAX_WAITING: usize = 1_024;

/// The way up, while there is one.
#[derive(Default)]
pub(super) struct Uplink {
    line: ArcSwapOption<mpsc::Sender<Up>>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
}

impl Uplink {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection.
    pub(super) fn connected(&self, line: mpsc::Sender<Up>) {
        self.line.store(Some(Arc::new(line)));
    }

    /// There is none any more; who waits is told so.
    pub(super) fn lost(&self) {
        self.line.store(None);
        self.waiting().clear();
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.line.load().is_some()
    }

    /// Tells without waiting for an answer; false without a connection.
    pub(super) fn tell(&self, question: Ask) -> bool {
        let ask = self.next.fetch_add(1, Ordering::Relaxed);
        self.line.load().as_ref().is_some_and(|line| line.try_send(Up::Ask { ask, question }).is_ok())
    }

    /// The answer, if one comes within `limit`.
    pub(super) async fn ask(&self, question: Ask, limit: Duration) -> Option<Reply> {
        let line = self.line.load_full()?;
        let ask = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.len() >= MAX_WAITING {
                return None;
            }
            waiting.insert(ask, reply);
        }
        let answered = match line.try_send(Up::Ask { ask, question }) {
            Ok(()) => tokio::time::timeout(limit, answer).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        self.waiting().remove(&ask);
        answered
    }

    /// An answer came.
    pub(super) fn answered(&self, ask: u64, reply: Reply) {
        if let Some(waiting) = self.waiting().remove(&ask) {
            waiting.send(reply).ok();
        }
    }
}
