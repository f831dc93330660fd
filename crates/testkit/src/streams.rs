//! The far end of the kill path, and the sink of signals, as lists a test can read.

use std::sync::{Arc, Mutex};

use model::seams::{Cause, CutReport, CutStream, Scope};
use model::{BoxFuture, Clock, LiveStreams, SignalSink};

use crate::{SimClock, lock};

/// Live streams that a test lists beforehand: the next order cuts those, whatever its scope.
pub struct FakeLiveStreams {
    clock: Arc<SimClock>,
    to_cut: Mutex<Vec<CutStream>>,
    orders: Mutex<Vec<(Scope, Cause)>>,
}

impl FakeLiveStreams {
    /// Nothing is open.
    pub fn new(clock: Arc<SimClock>) -> Self {
        Self { clock, to_cut: Mutex::default(), orders: Mutex::default() }
    }

    /// The next order reports these as cut.
    pub fn cut_next(&self, streams: Vec<CutStream>) {
        *lock(&self.to_cut) = streams;
    }

    /// The orders so far.
    pub fn orders(&self) -> Vec<(Scope, Cause)> {
        lock(&self.orders).clone()
    }
}

impl LiveStreams for FakeLiveStreams {
    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, CutReport> {
        let received = self.clock.now();
        lock(&self.orders).push((scope, cause));
        let mut streams = std::mem::take(&mut *lock(&self.to_cut));
        streams.sort_by_key(|stream| stream.stream);
        let last_cut = streams.iter().map(|stream| stream.cut).max().unwrap_or(received);
        Box::pin(std::future::ready(CutReport {
            examined: streams.len(),
            streams,
            unproven: Vec::new(),
            received,
            last_cut,
        }))
    }
}

/// Remembers which facts were said to have moved.
#[derive(Debug, Default)]
pub struct FakeSignals(Mutex<Vec<(Scope, Cause)>>);

impl FakeSignals {
    /// What was said so far.
    pub fn heard(&self) -> Vec<(Scope, Cause)> {
        lock(&self.0).clone()
    }
}

impl SignalSink for FakeSignals {
    fn facts_changed(&self, scope: Scope, cause: Cause) {
        lock(&self.0).push((scope, cause));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    /// The value of a future that a fake answers at once.
    pub(crate) fn now_or_panic<T>(mut future: BoxFuture<'_, T>) -> T {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a fake answers at once"),
        }
    }

    #[test]
    fn orders_and_signals_are_remembered() {
        let streams = FakeLiveStreams::new(Arc::default());
        let report = now_or_panic(streams.reevaluate(Scope::Everything, Cause::ConfigApplied));
        assert_eq!((report.examined, report.last_cut), (0, report.received));
        assert_eq!(streams.orders(), [(Scope::Everything, Cause::ConfigApplied)]);

        let signals = FakeSignals::default();
        signals.facts_changed(Scope::Everything, Cause::FactsChanged);
        assert_eq!(signals.heard(), [(Scope::Everything, Cause::FactsChanged)]);
    }
}
