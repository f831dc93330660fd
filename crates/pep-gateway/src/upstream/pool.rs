//! Idle connections, by (target, TLS identity, protocol) (GW-69).
//!
//! Invariants: an HTTP/1.1 connection serves one request at a time and comes back only after both messages ended well;
//! whatever was odd about it, it never comes back. An HTTP/2 connection is shared.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;

use super::connect::{Connection, Http1Connection, PoolKey};
use super::upload::UploadBody;

/// How long a connection may wait for its next request.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// How many HTTP/1.1 connections may wait for one target.
pub(crate) const MAX_IDLE_PER_TARGET: usize = 128;

#[derive(Default)]
struct Shelf {
    idle: Vec<(Http1Connection, Instant)>,
    shared: Option<(http2::SendRequest<UploadBody>, Instant)>,
}

/// The connections that wait.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: Mutex<HashMap<PoolKey, Shelf>>,
}

impl Pool {
    /// A connection that can take a request now: the one used last, so that the others may age.
    pub(crate) fn take(&self, key: &PoolKey, now: Instant) -> Option<Connection> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.get_mut(key)?;
        if let Some((sender, used)) = &mut shelf.shared {
            if sender.is_ready() {
                *used = now;
                return Some(Connection::Http2(sender.clone()));
            }
            shelf.shared = None;
        }
        while let Some((connection, since)) = shelf.idle.pop() {
            if is_fresh(since, now) && connection.sender.is_ready() {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    /// Takes back a connection whose exchange ended well.
    pub(crate) fn put_back(&self, key: PoolKey, connection: Http1Connection, now: Instant) {
        if !connection.sender.is_ready() {
            return;
        }
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(key).or_default();
        if shelf.idle.len() < MAX_IDLE_PER_TARGET {
            shelf.idle.push((connection, now));
        }
    }

    /// Shares an HTTP/2 connection; one that is already shared stays.
    pub(crate) fn share(&self, key: PoolKey, sender: http2::SendRequest<UploadBody>, now: Instant) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.entry(key).or_default();
        if !shelf.shared.as_ref().is_some_and(|(known, _)| known.is_ready()) {
            shelf.shared = Some((sender, now));
        }
    }

    /// Drops what waited too long or was closed by its upstream.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.retain(|_, shelf| {
            shelf.idle.retain(|(connection, since)| is_fresh(*since, now) && !connection.sender.is_closed());
            // Requests under way hold the connection open by clones of their own.
            if shelf.shared.as_ref().is_some_and(|(sender, used)| sender.is_closed() || !is_fresh(*used, now)) {
                shelf.shared = None;
            }
            !shelf.idle.is_empty() || shelf.shared.is_some()
        });
    }

    /// Forgets every connection.
    pub(crate) fn clear(&self) {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

pub(super) fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < IDLE_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_waited_too_long_is_not_fresh() {
        let since = Instant::now();
        assert!(is_fresh(since, since + IDLE_LIMIT - Duration::from_millis(1)));
        assert!(!is_fresh(since, since + IDLE_LIMIT));
    }
}
