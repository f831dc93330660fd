//! When a request may be sent a second time (GW-72). Times are passed in.
//!
//! Invariant: never after a response byte, never a second retry, and never a request that the upstream may have acted
//! on, unless its method makes that harmless.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Retries allowed before the share of [`BUDGET_PERCENT`] counts.
const BUDGET_FLOOR: u64 = 10;
/// The largest share of requests that may be retries.
const BUDGET_PERCENT: u64 = 10;
/// How long a request counts in full.
const WINDOW: Duration = Duration::from_secs(10);

/// What is known of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Retries made before it.
    pub(crate) retries: u32,
    /// How it failed.
    pub(crate) failure: Failure,
    /// The request can be made again: it has no body, or came back unsent.
    pub(crate) is_repeatable: bool,
    /// RFC 9110 §9.2.2.
    pub(crate) is_idempotent: bool,
    /// The upstream has another target.
    pub(crate) has_other_target: bool,
}

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// After response bytes, or while waiting for them.
    Answering,
    /// A connection that had waited in the pool was closed before any response byte.
    ClosedWhilePooled,
    /// No connection.
    Connect,
    /// The upstream said it did not look at the request, or it never left.
    Unprocessed,
}

/// Whether to try again.
pub(crate) fn may_retry(attempt: Attempt) -> bool {
    if attempt.retries > 0 || !attempt.is_repeatable {
        return false;
    }
    match attempt.failure {
        Failure::Answering => false,
        Failure::ClosedWhilePooled => attempt.is_idempotent,
        Failure::Connect => attempt.has_other_target,
        Failure::Unprocessed => true,
    }
}

/// Whether repeating a request of this method changes nothing (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &str) -> bool {
    matches!(method, "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PUT")
}

/// Keeps retries a small share of recent requests, so that a failing upstream is not hit twice as hard. What lies back
/// counts half as much with every [`WINDOW`].
pub(crate) struct RetryBudget {
    began: Instant,
    /// The window the counts were last halved in.
    window: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
}

impl RetryBudget {
    /// An unspent budget.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, window: AtomicU64::new(0), requests: AtomicU64::new(0), retries: AtomicU64::new(0) }
    }

    /// Counts a request.
    pub(crate) fn note_request(&self, now: Instant) {
        self.decay(now);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Spends one retry, if the budget has one left.
    pub(crate) fn spend(&self, now: Instant) -> bool {
        self.decay(now);
        let share = self.requests.load(Ordering::Relaxed).saturating_mul(BUDGET_PERCENT) / 100;
        let limit = share.saturating_add(BUDGET_FLOOR);
        self.retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |spent| (spent < limit).then_some(spent + 1))
            .is_ok()
    }

    /// Whoever comes first in a new window halves for everybody; a count that is lost beside it is one request.
    fn decay(&self, now: Instant) {
        let window = now.saturating_duration_since(self.began).as_secs() / WINDOW.as_secs();
        let seen = self.window.load(Ordering::Relaxed);
        if window <= seen || self.window.compare_exchange(seen, window, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let halvings = u32::try_from(window - seen).unwrap_or(u32::MAX);
        for count in [&self.requests, &self.retries] {
            let halve = |count: u64| Some(count.checked_shr(halvings).unwrap_or(0));
            // The closure always answers.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_only_when_nothing_can_have_happened() {
        use Failure::*;
        // failure, repeatable, idempotent, other target, earlier retries, expected
        let rows = [
            (Connect, true, false, true, 0, true),
            (Connect, true, false, false, 0, false),
            (Connect, true, false, true, 1, false),
            (Connect, false, true, true, 0, false),
            (Unprocessed, true, false, false, 0, true),
            (Unprocessed, false, true, true, 0, false),
            (ClosedWhilePooled, true, true, false, 0, true),
            (ClosedWhilePooled, true, false, true, 0, false),
            (ClosedWhilePooled, false, true, true, 0, false),
            (Answering, true, true, true, 0, false),
        ];
        for (failure, is_repeatable, is_idempotent, has_other_target, retries, expected) in rows {
            let attempt = Attempt { retries, failure, is_repeatable, is_idempotent, has_other_target };
            assert_eq!(may_retry(attempt), expected, "{attempt:?}");
        }
    }

    #[test]
    fn retries_stay_a_tenth_of_recent_requests() {
        let now = Instant::now();
        let spent = |budget: &RetryBudget, now| (0..10_000).filter(|_| budget.spend(now)).count();
        let budget = RetryBudget::new(now);
        for _ in 0..100 {
            budget.note_request(now);
        }
        assert_eq!(spent(&budget, now), 20);
        // A busy morning buys no storm at noon.
        let budget = RetryBudget::new(now);
        for _ in 0..1_000_000 {
            budget.note_request(now);
        }
        assert_eq!(spent(&budget, now + WINDOW * 30), 10);
        assert_eq!(spent(&budget, now + WINDOW * 200), 10);
    }

    #[test]
    fn a_post_is_not_idempotent_and_nor_is_an_unknown_method() {
        for method in ["PATCH", "POST", "PURGE", "get"] {
            assert!(!is_idempotent(method), "{method}");
        }
    }
}
