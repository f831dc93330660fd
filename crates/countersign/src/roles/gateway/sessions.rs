//! The sessions as the doors of a gateway process read them: the table, and for a cookie that is not in it one question to
//! the control plane (GW-12), so that a gateway that is a moment behind never bounces a person.
//!
//! Invariants: at most one question per cookie at a time, none again within [`NEGATIVE_LIFE`], and no more than
//! [`MAX_PER_SECOND`] of all; a request waits at most [`LOOK_UP_LIMIT`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use feed::{Ask, Reply};
use model::{BoxFuture, Session, SessionId, SessionLookup, SessionView, Timestamp, TokenHash};
use pdp_administrator::SessionTable;
use tokio::sync::watch;
use tokio::time::Instant;

use super::uplink::Uplink;

/// How long a look-up may take.
pub(super) const LOOK_UP_LIMIT: Duration = Duration::from_millis(250);
/// How long nobody asks again for a cookie that stood for nothing.
pub(super) const NEGATIVE_LIFE: Duration = Duration::from_secs(2);
/// How many look-ups a gateway makes in a second.
pub(super) const MAX_PER_SECOND: u32 = 100;
/// How many cookies are remembered that stood for nothing.
const MAX_NEGATIVE: usize = 10_000;

/// Cookies being looked up, and those that stood for nothing.
struct Flights {
    under_way: HashMap<TokenHash, watch::Receiver<()>>,
    negative: HashMap<TokenHash, Instant>,
    second: Instant,
    made: u32,
}

/// The sessions of a gateway process.
pub(super) struct GatewaySessions {
    table: Arc<SessionTable>,
    uplink: Arc<Uplink>,
    /// The last event the table has.
    applied: watch::Receiver<u64>,
    flights: Arc<Mutex<Flights>>,
}

impl GatewaySessions {
    /// Over the table and the way up.
    pub(super) fn new(table: Arc<SessionTable>, uplink: Arc<Uplink>, applied: watch::Receiver<u64>) -> Self {
        let flights = Flights { under_way: HashMap::new(), negative: HashMap::new(), second: Instant::now(), made: 0 };
        Self { table, uplink, applied, flights: Arc::new(Mutex::new(flights)) }
    }

    /// What to wait for, if anything.
    fn board(&self, token: TokenHash, host: &str) -> Option<watch::Receiver<()>> {
        let now = Instant::now();
        let mut flights = lock(&self.flights);
        if let Some(under_way) = flights.under_way.get(&token) {
            return Some(under_way.clone());
        }
        if !self.uplink.is_connected() || !flights.may_start(&token, now) {
            return None;
        }
        let (landed, landing) = watch::channel(());
        flights.under_way.insert(token, landing.clone());
        drop(flights);
        let (uplink, flights, applied) = (Arc::clone(&self.uplink), Arc::clone(&self.flights), self.applied.clone());
        let question = Ask::LookUp { token, host: host.to_owned() };
        // A task of its own: the request that began it may go away while others wait with it.
        tokio::spawn(async move {
            let is_found = tokio::time::timeout(LOOK_UP_LIMIT, fly(&uplink, question, applied)).await;
            let mut flights = lock(&flights);
            flights.under_way.remove(&token);
            if is_found != Ok(true) {
                flights.remember(token, Instant::now());
            }
            drop(landed);
        });
        Some(landing)
    }
}

/// True when the session is in the table.
async fn fly(uplink: &Uplink, question: Ask, mut applied: watch::Receiver<u64>) -> bool {
    match uplink.ask(question, LOOK_UP_LIMIT).await {
        Some(Reply::Session(Some(event))) => applied.wait_for(|done| *done >= event).await.is_ok(),
        _ => false,
    }
}

fn lock(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flights {
    fn may_start(&mut self, token: &TokenHash, now: Instant) -> bool {
        if self.negative.get(token).is_some_and(|until| now < *until) {
            return false;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.made) = (now, 0);
        }
        self.made += 1;
        self.made <= MAX_PER_SECOND
    }

    fn remember(&mut self, token: TokenHash, now: Instant) {
        if self.negative.len() >= MAX_NEGATIVE {
            self.negative.retain(|_, until| now < *until);
        }
        if self.negative.len() < MAX_NEGATIVE {
            self.negative.insert(token, now + NEGATIVE_LIFE);
        }
    }
}

impl SessionView for GatewaySessions {
    fn look_up(&self, token: &TokenHash, host: &str, now: Timestamp) -> SessionLookup {
        self.table.look_up(token, host, now)
    }

    fn session(&self, id: SessionId, now: Timestamp) -> Option<Arc<Session>> {
        self.table.session(id, now)
    }

    fn touch(&self, id: SessionId, now: Timestamp) {
        self.table.touch(id, now);
    }

    fn may_lag(&self) -> bool {
        true
    }

    fn find<'a>(&'a self, token: TokenHash, host: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(mut landing) = self.board(token, host) {
                // Closed when it has landed.
                let _ = tokio::time::timeout(LOOK_UP_LIMIT, landing.changed()).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use feed::Up;
    use tokio::sync::mpsc;

    fn sessions() -> (Arc<GatewaySessions>, mpsc::Receiver<Up>, Arc<Uplink>) {
        let (uplink, (line, asked)) = (Arc::<Uplink>::default(), mpsc::channel(1_000));
        uplink.connected(line);
        let (_, applied) = watch::channel(0);
        let sessions = GatewaySessions::new(Arc::default(), Arc::clone(&uplink), applied);
        (Arc::new(sessions), asked, uplink)
    }

    fn count(asked: &mut mpsc::Receiver<Up>) -> usize {
        std::iter::from_fn(|| asked.try_recv().ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_requests_with_one_unknown_cookie_ask_once_and_nobody_asks_again_for_two_seconds() {
        let (sessions, mut asked, _uplink) = sessions();
        let token = TokenHash([1; 32]);
        let requests: Vec<_> = (0..20)
            .map(|_| {
                let sessions = Arc::clone(&sessions);
                tokio::spawn(async move { sessions.find(token, "wiki.test").await })
            })
            .collect();
        let began = Instant::now();
        for request in requests {
            request.await.unwrap();
        }
        assert!(began.elapsed() <= LOOK_UP_LIMIT + Duration::from_millis(50), "{:?}", began.elapsed());
        assert_eq!(count(&mut asked), 1);
        sessions.find(token, "wiki.test").await;
        assert_eq!(count(&mut asked), 0, "it stood for nothing a moment ago");
        tokio::time::advance(NEGATIVE_LIFE).await;
        sessions.find(token, "wiki.test").await;
        assert_eq!(count(&mut asked), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attack_a_flood_of_invented_cookies_asks_a_hundred_times_a_second_and_no_more() {
        let (sessions, mut asked, _uplink) = sessions();
        let requests: Vec<_> = (0..500_u32)
            .map(|number| {
                let sessions = Arc::clone(&sessions);
                let token = TokenHash::of(&number.to_be_bytes());
                tokio::spawn(async move { sessions.find(token, "wiki.test").await })
            })
            .collect();
        for request in requests {
            request.await.unwrap();
        }
        assert_eq!(count(&mut asked), MAX_PER_SECOND as usize);
    }

    #[tokio::test]
    async fn without_a_connection_nobody_waits() {
        let (sessions, _asked, uplink) = sessions();
        uplink.lost();
        let began = Instant::now();
        sessions.find(TokenHash([1; 32]), "wiki.test").await;
        assert!(began.elapsed() < Duration::from_millis(100));
    }
}
