//! Idle connections, by (target, TLS identity, protocol) (GW-69).
//!
//! Invariants: an HTTP/1.1 connection serves one request at a time and comes back only after both messages ended well;
//! whatever was odd about it, it never comes back. An HTTP/2 connection is shared. No request waits for another here
//! the places are found in a snapshot, and each is a [`Shelf`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::client::conn::http2;

use super::connect::{Connection, Http1Connection, PoolKey};
use super::shelf::Shelf;
use super::upload::UploadBody;

/// How long a connection may wait for its next request.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// How many HTTP/1.1 connections may wait for one target.
pub(crate) const MAX_IDLE_PER_TARGET: usize = 128;

type Idle = (Http1Connection, Instant);

/// Where the connections of one key wait.
struct Place {
    idle: Shelf<Idle>,
    shared: ArcSwapOption<Shared>,
}

/// A connection for many requests at once.
struct Shared {
    sender: http2::SendRequest<UploadBody>,
    opened: Instant,
    /// Milliseconds from `opened` to its last request.
    used_ms: AtomicU64,
}

impl Shared {
    fn note_use(&self, now: Instant) {
        let since = now.saturating_duration_since(self.opened).as_millis();
        self.used_ms.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_worth_keeping(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.opened);
        let idle = idle.saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)));
        idle < IDLE_LIMIT && !self.sender.is_closed()
    }
}

/// The connections that wait.
#[derive(Default)]
pub(crate) struct Pool {
    places: ArcSwap<HashMap<PoolKey, Arc<Place>>>,
}

impl Pool {
    /// A connection that can take a request now: one of the few used last, so that the others may age.
    pub(crate) fn take(&self, key: &PoolKey, now: Instant) -> Option<Connection> {
        let places = self.places.load();
        let place = places.get(key)?;
        if let Some(shared) = place.shared.load().as_ref().filter(|shared| shared.sender.is_ready()) {
            shared.note_use(now);
            return Some(Connection::Http2(shared.sender.clone()));
        }
        while let Some((connection, since)) = place.idle.take() {
            if is_fresh(since, now) && connection.sender.is_ready() {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    /// Takes back a connection whose exchange ended well; one too many is closed.
    pub(crate) fn put_back(&self, key: PoolKey, connection: Http1Connection, now: Instant) {
        if connection.sender.is_ready() {
            drop(self.place(key).idle.put((connection, now)));
        }
    }

    /// Shares an HTTP/2 connection; one that is already shared stays.
    pub(crate) fn share(&self, key: PoolKey, sender: http2::SendRequest<UploadBody>, now: Instant) {
        let place = self.place(key);
        if !place.shared.load().as_ref().is_some_and(|known| known.sender.is_ready()) {
            // Of two that come at the same time the later stays; the other ends with its requests.
            place.shared.store(Some(Arc::new(Shared { sender, opened: now, used_ms: AtomicU64::new(0) })));
        }
    }

    /// Drops what waited too long or was closed by its upstream.
    pub(crate) fn sweep(&self, now: Instant) {
        for place in self.places.load().values() {
            place.idle.retain(|(connection, since)| is_fresh(*since, now) && !connection.sender.is_closed());
            // Requests under way hold the connection open by clones of their own.
            if place.shared.load().as_ref().is_some_and(|shared| !shared.is_worth_keeping(now)) {
                place.shared.store(None);
            }
        }
        let is_used = |place: &Place| !place.idle.is_empty() || place.shared.load().is_some();
        if self.places.load().values().all(|place| is_used(place)) {
            return;
        }
        // What is put into a place just as it goes is closed: one connection is opened anew.
        self.places.rcu(|places| {
            let used = places.iter().filter(|(_, place)| is_used(place));
            used.map(|(key, place)| (key.clone(), Arc::clone(place))).collect::<HashMap<_, _>>()
        });
    }

    /// Forgets every connection.
    pub(crate) fn clear(&self) {
        self.places.store(Arc::default());
    }

    /// The place of `key`, made where there is none: once per target, not per request.
    fn place(&self, key: PoolKey) -> Arc<Place> {
        if let Some(place) = self.places.load().get(&key) {
            return Arc::clone(place);
        }
        let new = Arc::new(Place { idle: Shelf::new(MAX_IDLE_PER_TARGET), shared: ArcSwapOption::empty() });
        self.places.rcu(|places| {
            let mut places = HashMap::clone(places);
            places.entry(key.clone()).or_insert_with(|| Arc::clone(&new));
            places
        });
        self.places.load().get(&key).map_or(new, Arc::clone)
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
