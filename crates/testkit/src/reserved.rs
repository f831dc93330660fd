//! The endpoints of our own, as a door sees them.

use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use model::seams::ReservedContext;
use model::{BoxFuture, ReservedService, Timestamp};

use crate::lock;

type Answer = dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync;

/// How many targets are parked at most.
const MAX_PARKED: usize = 16;

/// Answers with a closure, and remembers what it was asked.
pub struct FakeReserved {
    answer: Box<Answer>,
    calls: Mutex<Vec<Request<Bytes>>>,
    parked: Mutex<Vec<String>>,
}

impl FakeReserved {
    /// Answers with `answer`.
    pub fn new(answer: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), calls: Mutex::default(), parked: Mutex::default() }
    }

    /// Answers 200 with `text` to everything.
    pub fn saying(text: &'static str) -> Self {
        Self::new(move |_| Response::new(Bytes::from_static(text.as_bytes())))
    }

    /// Method and target of each call so far.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.calls).iter().map(|request| format!("{} {}", request.method(), request.uri())).collect()
    }

    /// The context of each call so far that carried one; a door gives one with every call.
    pub fn contexts(&self) -> Vec<ReservedContext> {
        lock(&self.calls).iter().filter_map(|request| request.extensions().get().cloned()).collect()
    }

    /// The target parked under `key`.
    pub fn parked(&self, key: &str) -> Option<String> {
        lock(&self.parked).get(key.parse::<usize>().ok()?).cloned()
    }
}

impl ReservedService for FakeReserved {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Response<Bytes>> {
        let response = (self.answer)(&request);
        lock(&self.calls).push(request);
        Box::pin(std::future::ready(response))
    }

    fn park_target(&self, target: &str, _now: Timestamp) -> Option<String> {
        let mut parked = lock(&self.parked);
        if parked.len() >= MAX_PARKED {
            return None;
        }
        parked.push(target.to_owned());
        Some((parked.len() - 1).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::tests::now_or_panic;

    #[test]
    fn calls_are_answered_and_remembered() {
        let reserved = FakeReserved::saying("ok");
        let response = now_or_panic(reserved.call(Request::get("/login").body(Bytes::new()).unwrap()));
        assert_eq!(response.body(), "ok");
        assert_eq!(reserved.calls(), ["GET /login"]);
        assert!(reserved.contexts().is_empty());
    }

    #[test]
    fn parked_targets_are_bounded() {
        let reserved = FakeReserved::saying("ok");
        let key = reserved.park_target("/a?b", Timestamp(0)).unwrap();
        assert_eq!(reserved.parked(&key).as_deref(), Some("/a?b"));
        let rest = (0..100).filter_map(|_| reserved.park_target("/", Timestamp(0))).count();
        assert_eq!(rest, MAX_PARKED - 1);
    }
}
