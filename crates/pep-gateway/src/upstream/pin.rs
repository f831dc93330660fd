//! Connection-bound authentication (`Negotiate`, `NTLM`): the upstream knows a *connection* as a person, so one client
//! connection gets one upstream connection, which is never pooled (GW-69).
//!
//! Only for HTTP/1.1 clients: over a multiplexed connection there is no such pair, and browsers do not try it there.
//!
//! Invariants: a pinned connection serves the session it was pinned for and no other, and ends with its client's
//! connection; behind a proxy that carries many clients only signed-in requests pin.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName};
use http_gate::CanonicalRequest;
use model::SessionId;

use super::connect::{Http1Connection, PoolKey};
use super::pool::is_fresh;

/// The place of one client connection.
pub(crate) struct Pin {
    /// The peer speaks for many clients.
    is_shared: bool,
    /// Only ever taken by the one request under way; never waited for.
    held: Mutex<Option<Held>>,
}

struct Held {
    key: PoolKey,
    session: Option<SessionId>,
    connection: Http1Connection,
    since: Instant,
}

impl Pin {
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { is_shared, held: Mutex::new(None) }
    }

    /// The connection pinned for this session and target. One pinned for anybody else ends here.
    pub(super) fn take(&self, key: &PoolKey, session: Option<SessionId>, now: Instant) -> Option<Http1Connection> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Another target of the same client keeps its place.
        if held.as_ref().is_some_and(|held| held.session == session && held.key != *key) {
            return None;
        }
        let held = held.take()?;
        let is_good = held.session == session && is_fresh(held.since, now) && held.connection.sender.is_ready();
        is_good.then_some(held.connection)
    }

    /// Keeps a connection for the next request of this client. What was pinned before ends.
    pub(super) fn keep(&self, key: PoolKey, session: Option<SessionId>, connection: Http1Connection, now: Instant) {
        if self.is_shared && session.is_none() {
            return;
        }
        let held = Held { key, session, connection, since: now };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

/// Whether the request proves itself by its connection.
pub(super) fn asks(request: &CanonicalRequest) -> bool {
    request.fields().all(AUTHORIZATION.as_str()).any(|value| is_bound_scheme(value))
}

/// Whether the upstream wants that.
pub(super) fn is_asked_for(fields: &HeaderMap) -> bool {
    let all = |name: HeaderName| fields.get_all(name).into_iter();
    all(WWW_AUTHENTICATE).any(|challenge| is_bound_scheme(challenge.as_bytes()))
}

fn is_bound_scheme(credentials: &[u8]) -> bool {
    // Several challenges may stand in one field.
    credentials.split(|byte| *byte == b',').any(|part| {
        let scheme = part.trim_ascii_start().split(|byte| *byte == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"negotiate") || scheme.eq_ignore_ascii_case(b"ntlm")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_that_bind_a_connection_are_known_in_any_writing() {
        for (text, is_bound) in [
            ("Negotiate", true),
            ("negotiate YII=", true),
            ("NTLM TlRMTVNTUAAB", true),
            ("Basic realm=\"x\", NTLM", true),
            ("Basic realm=x", false),
            ("Bearer ntlm", false),
            ("NTLMx", false),
            ("", false),
        ] {
            assert_eq!(is_bound_scheme(text.as_bytes()), is_bound, "{text}");
        }
    }
}
