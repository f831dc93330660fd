//! Whether a form is one of ours (UI-24), and how much a session may send (UI-28).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use model::seams::ReservedContext;
use model::{SessionId, Timestamp};

use crate::http::cookies::CONSOLE;
use crate::http::portal::Portal;
use crate::http::reserved::is_own_origin;

/// The largest form.
pub(super) const BODY_BYTES: usize = 1 << 20;
/// The most fields of a form or filters of a query.
pub(super) const MAX_FIELDS: usize = 200;
/// Requests a session may send in a second.
const PER_SECOND: f64 = 20.0;
/// How many it may send at once after a pause: a page with its styles is several.
const BURST: f64 = 60.0;
/// The most sessions that are counted; beyond it the count begins anew.
const MAX_COUNTED: usize = 10_000;

/// Why a form was not taken. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotOurs {
    /// More than [`BODY_BYTES`].
    Body,
    /// More than [`MAX_FIELDS`].
    Fields,
    /// Another origin, a missing cookie or token.
    Origin,
}

/// Checks a form before anything in it is believed.
pub(super) fn check(
    portal: &Portal,
    context: &ReservedContext,
    request: &Request<Bytes>,
    form: &[(String, String)],
    session: SessionId,
) -> Result<(), NotOurs> {
    if request.body().len() > BODY_BYTES {
        return Err(NotOurs::Body);
    }
    if form.len() > MAX_FIELDS {
        return Err(NotOurs::Fields);
    }
    let site = request.headers().get("sec-fetch-site");
    let token = form.iter().find(|(name, _)| name == "token").map_or("", |(_, value)| value.as_str());
    let is_ours = is_own_origin(context, request)
        && site.is_none_or(|site| site == "same-origin")
        && has_companion(portal, request, session)
        && portal.is_form_token(session, token);
    if is_ours { Ok(()) } else { Err(NotOurs::Origin) }
}

/// Whether the companion cookie of this session came, once.
pub(super) fn has_companion(portal: &Portal, request: &Request<Bytes>, session: SessionId) -> bool {
    let mut values = companions(request.headers());
    let (first, second) = (values.next(), values.next());
    second.is_none() && first.is_some_and(|value| portal.is_companion(session, value))
}

fn companions(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == CONSOLE).map(|(_, value)| value)
}

/// Counts the requests of each session.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<SessionId, (f64, Timestamp)>>);

impl Limiter {
    /// Whether one more may pass now.
    pub(super) fn passes(&self, session: SessionId, now: Timestamp) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MAX_COUNTED && !counted.contains_key(&session) {
            counted.clear();
        }
        let (left, last) = counted.entry(session).or_insert((BURST, now));
        *left = (*left + now.since(*last).as_secs_f64() * PER_SECOND).min(BURST);
        *last = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use uuid::Uuid;

    #[test]
    fn a_session_that_asks_too_often_waits_and_nobody_else_does() {
        let limiter = Limiter::default();
        let (one, other) = (SessionId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        let now = Timestamp::from_unix_secs(1_000);
        let passed = (0..1_000).filter(|_| limiter.passes(one, now)).count();
        assert_eq!(passed, BURST as usize);
        assert!(limiter.passes(other, now));
        assert!(!limiter.passes(one, now));
        let passed = (0..1_000).filter(|_| limiter.passes(one, now + Duration::from_secs(1))).count();
        assert_eq!(passed, PER_SECOND as usize);
    }

    #[test]
    fn counting_is_bounded() {
        let limiter = Limiter::default();
        for n in 0..3 * MAX_COUNTED as u128 {
            assert!(limiter.passes(SessionId(Uuid::from_u128(n)), Timestamp(0)));
        }
        assert!(limiter.0.lock().unwrap().len() <= MAX_COUNTED);
    }
}
