//! Fakes for the seams of `model`, a settable clock, predictable ids and a test authority. For tests only: no crate
//! may depend on it outside `[dev-dependencies]`.
//!
//! Fakes, not mocks: each keeps the promises its trait makes (a token is good on one host only, an expired session is
//! not live) and can be asked afterwards what happened. Nothing here sleeps; whoever waits, waits for the condition.

#![forbid(unsafe_code)]

mod ca;
mod fixes;
mod ids;
mod pdp;
mod recorder;
mod reserved;
mod sessions;
mod streams;

pub use ca::TestCa;
pub use fixes::FakeFixBudget;
pub use ids::{SeqIds, SimClock};
pub use pdp::{FakePdp, decision};
pub use recorder::FakeRecorder;
pub use reserved::FakeReserved;
pub use sessions::control::{ControlCall, FakeSessionControl};
pub use sessions::{FakeSessions, session};
pub use streams::{FakeLiveStreams, FakeSignals};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A test that panicked elsewhere has failed already; its lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
