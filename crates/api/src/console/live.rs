//! The live tail as server-sent events (AUD-3, UI-27).
//!
//! Endpoints of ours answer whole, so one answer is one batch: it waits for news, sends them and ends, and the browser
//! comes back with `Last-Event-ID` by itself. Coming back is a request like any other, decided and recorded at the door;
//! while one waits, session and right are looked at every second.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit::{Column, Tail, TailItem};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use model::{Action, UserId};
use serde::Serialize;

use super::access;
use super::rights::Rights;
use super::visit::Visit;
use crate::http::reserved::status;

/// How long one answer waits for news.
const WAIT_ROUNDS: usize = 15;
/// How long it waits before it looks whether the reader may still read.
const ROUND: Duration = Duration::from_secs(1);
/// How long the browser waits before it comes back: with the wait for company below, at most two answers a second.
const RETRY_MS: u64 = 300;
/// How long news wait for company, so that a busy log is not an answer a record.
const COLLECT: Duration = Duration::from_millis(200);
/// The most records in one answer; the rest comes with the next.
const MAX_RECORDS: usize = 256;
/// Tails a person may have open; a newer one takes the place of the oldest.
const MAX_TAILS: usize = 2;
/// The requests of tails themselves: each leaves a record, and would wake every tail for ever.
const POLLS: [&str; 2] = ["/console/access/live", "/api/v1/audit/tail"];

/// Who has tails open.
#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<UserId, VecDeque<Arc<AtomicBool>>>>);

/// An open tail. Dropped: closed.
struct Slot<'a> {
    tails: &'a Tails,
    user: UserId,
    is_replaced: Arc<AtomicBool>,
}

impl Tails {
    fn open(&self, user: UserId) -> Slot<'_> {
        let is_replaced = Arc::new(AtomicBool::new(false));
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = tails.entry(user).or_default();
        while mine.len() >= MAX_TAILS {
            if let Some(oldest) = mine.pop_front() {
                oldest.store(true, Ordering::Relaxed);
            }
        }
        mine.push_back(Arc::clone(&is_replaced));
        Slot { tails: self, user, is_replaced }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut tails = self.tails.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = tails.get_mut(&self.user) {
            mine.retain(|other| !Arc::ptr_eq(other, &self.is_replaced));
            if mine.is_empty() {
                tails.remove(&self.user);
            }
        }
    }
}

pub(super) async fn events(visit: &Visit<'_>) -> Response<Bytes> {
    let mut filters = visit.query();
    let asked = filters.iter().position(|(name, _)| name == "from").map(|at| filters.swap_remove(at).1);
    let from = visit.header("last-event-id").map(str::to_owned).or(asked).and_then(|from| from.parse().ok());
    let mut tail = match visit.control().follow(&visit.actor(), &filters, from).await {
        Ok(tail) => tail,
        Err(failure) => return visit.failed(&failure),
    };
    let slot = visit.console().tails.open(visit.session().user);
    let mut body = format!("retry: {RETRY_MS}\n");
    let mut items = Vec::new();
    for _ in 0..WAIT_ROUNDS {
        items = news(&mut tail).await;
        if let Some(why) = over(visit, &slot) {
            // What came meanwhile is not theirs to read any more.
            items.clear();
            body.push_str(&event("end", &Ended { why }));
            break;
        }
        if !items.is_empty() {
            break;
        }
    }
    for item in items.iter().rev().take(MAX_RECORDS).rev() {
        body.push_str(&match item {
            TailItem::Record(record) => event("record", &Row::of(&access::row(visit, record))),
            TailItem::Skipped { records, .. } => event("skipped", &Skipped { records: *records }),
            TailItem::Unreadable { .. } => event("skipped", &Skipped { records: 1 }),
        });
    }
    // An id without data moves the place to come back to, and is no event.
    body.push_str(&format!("id: {}\n\n", tail.next_seq()));
    visit.control().will_go_on(&visit.actor(), &filters, tail.next_seq());
    stream(body)
}

/// What is new within a second, and what comes right behind it.
async fn news(tail: &mut Tail) -> Vec<TailItem> {
    let Ok(Some(mut items)) = tokio::time::timeout(ROUND, tail.next()).await else { return Vec::new() };
    items.retain(|item| !is_poll(item));
    if !items.is_empty() {
        tokio::time::sleep(COLLECT).await;
        items.extend(tail.take_ready().into_iter().filter(|item| !is_poll(item)));
    }
    items
}

fn is_poll(item: &TailItem) -> bool {
    let path = |record: &audit::StoredRecord| record.text(Column::UrlPath).is_some_and(|path| POLLS.contains(&path));
    matches!(item, TailItem::Record(record) if path(record))
}

/// Why a tail ends now, if it does.
fn over(visit: &Visit<'_>, slot: &Slot<'_>) -> Option<&'static str> {
    let control = visit.control();
    let now = control.now();
    let Some(session) = control.session_view.session(visit.session().id, now) else {
        return Some("Your sign-in has ended.");
    };
    let rights = Rights::of(&control.published(), visit.context(), &session, now);
    if !rights.may(Action::AuditRead) {
        return Some("You may not read the record any more.");
    }
    slot.is_replaced.load(Ordering::Relaxed).then_some("You opened the live view elsewhere.")
}

/// A row as the script reads it.
#[derive(Serialize)]
struct Row<'a> {
    url: &'a str,
    time: &'a str,
    effect: &'a str,
    effect_class: &'a str,
    who: &'a str,
    action: &'a str,
    target: &'a str,
    reason: &'a str,
    sentence: &'a str,
    door: &'a str,
}

impl<'a> Row<'a> {
    fn of(row: &'a pages::console::AccessRow) -> Self {
        Self {
            url: &row.url,
            time: &row.time.0,
            effect: &row.effect.text,
            effect_class: row.effect.class,
            who: &row.who,
            action: &row.action,
            target: &row.target,
            reason: &row.reason,
            sentence: &row.sentence,
            door: &row.door,
        }
    }
}

#[derive(Serialize)]
struct Ended {
    why: &'static str,
}

#[derive(Serialize)]
struct Skipped {
    records: u64,
}

/// One event; JSON has no line ends of its own.
fn event(name: &str, data: &impl Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}

fn stream(body: String) -> Response<Bytes> {
    let mut response = status(StatusCode::OK);
    *response.body_mut() = Bytes::from(body);
    for (name, value) in pages::PAGE_HEADERS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_person_has_two_tails_and_a_third_ends_the_oldest() {
        let tails = Tails::default();
        let user = UserId(Uuid::from_u128(1));
        let slots: Vec<Slot<'_>> = (0..3).map(|_| tails.open(user)).collect();
        let replaced: Vec<bool> = slots.iter().map(|slot| slot.is_replaced.load(Ordering::Relaxed)).collect();
        assert_eq!(replaced, [true, false, false]);
        drop(slots);
        assert!(tails.0.lock().unwrap().is_empty(), "nothing is left of who went away");
    }
}
