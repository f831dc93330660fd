//! What the product has promised so far, and what it was seen to do about it.
//!
//! A change that was answered is a promise. One that was not may have happened or not; what is seen after the next start
//! is then the promise: a session once seen dead is dead for ever.

use std::collections::BTreeMap;
use std::time::Instant;

use audit::floods::{COALESCE_FOR, PER_SECOND};
use http::StatusCode;
use serde_json::Value;

use super::app::{Answered, PAGE};
use super::operator::{Asked, Change};
use super::sides::Side;

const WITHDRAWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// What is promised of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Promise {
    Lives,
    /// Its end was asked for and never answered.
    Either,
    Ended,
}

/// A session.
pub(super) struct Held {
    pub(super) id: String,
    pub(super) cookie: String,
    pub(super) person: usize,
    pub(super) promise: Promise,
    ended: Option<Instant>,
}

/// What is promised of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    /// The newest that was answered, with its version.
    pub(super) live: (Side, u64),
    /// One that was asked for after it and not answered.
    pub(super) perhaps: Option<Side>,
}

/// Everything that is counted.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) kills: usize,
    pub(super) answered: usize,
    pub(super) without_record: usize,
    pub(super) withdrawals: usize,
    pub(super) resurrected: usize,
    pub(super) applies: usize,
    pub(super) half_applied: usize,
}

/// The promises.
pub(super) struct Ledger {
    pub(super) sessions: Vec<Held>,
    pub(super) config: Config,
    pub(super) tally: Tally,
    /// Accesses that were answered or reached the app since the last look at the record; the status where one was seen.
    unproven: BTreeMap<String, Option<StatusCode>>,
    /// How many denials are recorded, by the second they began in.
    denied_in: BTreeMap<u128, u32>,
    /// Promises that were broken, in words.
    pub(super) broken: Vec<String>,
    /// Accesses among them.
    pub(super) suspects: Vec<String>,
}

impl Ledger {
    /// Nothing is promised but the configuration that is live.
    pub(super) fn new(live: (Side, u64)) -> Self {
        let config = Config { live, perhaps: None };
        Self {
            sessions: Vec::new(),
            config,
            tally: Tally::default(),
            unproven: BTreeMap::new(),
            denied_in: BTreeMap::new(),
            broken: Vec::new(),
            suspects: Vec::new(),
        }
    }

    /// A sign-in that was answered.
    pub(super) fn signed_in(&mut self, person: usize, id: String, cookie: String) {
        self.sessions.push(Held { id, cookie, person, promise: Promise::Lives, ended: None });
    }

    /// The places of sessions for which `is_wanted` holds.
    pub(super) fn places(&self, is_wanted: impl Fn(&Held) -> bool) -> Vec<usize> {
        (0..self.sessions.len()).filter(|place| is_wanted(&self.sessions[*place])).collect()
    }

    /// Takes down what the operator asked for.
    pub(super) fn asked(&mut self, asked: &[Asked]) {
        for Asked { change, answered } in asked {
            match *change {
                Change::Apply(side) => self.applied(side, answered.as_ref().map(|(_, answer)| answer)),
                Change::EndOne(session) => self.ended(&[session], answered.as_ref().map(|(at, _)| *at)),
                Change::EndAll(person) | Change::Disable(person) => {
                    let theirs = self.places(|held| held.person == person);
                    self.ended(&theirs, answered.as_ref().map(|(at, _)| *at));
                }
                Change::Enable(_) => {}
            }
        }
    }

    fn applied(&mut self, side: Side, answer: Option<&Value>) {
        let Some(answer) = answer else {
            self.config.perhaps = Some(side);
            return;
        };
        self.tally.applies += 1;
        self.config = Config { live: (side, answer["version"].as_u64().unwrap()), perhaps: None };
    }

    fn ended(&mut self, sessions: &[usize], answered: Option<Instant>) {
        self.tally.withdrawals += usize::from(answered.is_some());
        for session in sessions {
            let held = &mut self.sessions[*session];
            match answered {
                Some(at) if held.promise != Promise::Ended => (held.promise, held.ended) = (Promise::Ended, Some(at)),
                None if held.promise == Promise::Lives => held.promise = Promise::Either,
                _ => {}
            }
        }
    }

    /// Takes down what a visitor was answered.
    pub(super) fn answered(&mut self, answered: &Answered) {
        self.tally.answered += 1;
        self.unproven.insert(answered.access.clone(), Some(answered.status));
        let is_ending = answered.session.is_some_and(|place| self.sessions[place].promise != Promise::Lives);
        // 503 is for those whose access was withdrawn while the decision to let them in was being recorded.
        let is_withdrawn = answered.status == WITHDRAWN && is_ending;
        if !is_withdrawn && !matches!(answered.status.as_u16(), 200 | 401 | 403) {
            self.suspects.push(answered.access.clone());
            self.broken.push(format!("an answer that nothing explains: {answered:?}"));
        }
        let Some(place) = answered.session.filter(|_| answered.target == PAGE) else { return };
        let held = &mut self.sessions[place];
        match (held.promise, answered.status == StatusCode::OK) {
            // An answer may be older than the end that was promised meanwhile.
            (Promise::Ended, true) if held.ended.is_none_or(|ended| answered.asked >= ended) => {
                self.tally.resurrected += 1;
                self.broken.push(format!("session {place} ({}) was ended and lives: {answered:?}", held.id));
            }
            (Promise::Lives, false) => {
                self.broken.push(format!("session {place} ({}) was never ended and is dead: {answered:?}", held.id));
            }
            (Promise::Either, false) => (held.promise, held.ended) = (Promise::Ended, Some(answered.asked)),
            _ => {}
        }
    }

    /// Takes down what reached the app.
    pub(super) fn reached(&mut self, accesses: Vec<String>) {
        for access in accesses {
            self.unproven.entry(access).or_default();
        }
    }

    /// What is seen at the first look after a start holds from then on.
    pub(super) fn settle_session(&mut self, place: usize) {
        let held = &mut self.sessions[place];
        if held.promise == Promise::Either {
            held.promise = Promise::Lives;
        }
    }

    /// Holds what was seen of the configuration against what was promised.
    pub(super) fn settle_config(&mut self, version: u64, seen: &BTreeMap<&'static str, Option<Side>>) {
        let Config { live: (live, last), perhaps } = self.config;
        let sides: Vec<Option<Side>> = seen.values().copied().collect();
        let is_whole = sides.windows(2).all(|pair| pair[0] == pair[1]);
        let side = sides.first().copied().flatten();
        let is_promised = match side {
            Some(side) if version == last => side == live,
            Some(side) if version == last + 1 => perhaps == Some(side),
            _ => false,
        };
        if !is_whole || !is_promised {
            self.tally.half_applied += 1;
            self.broken.push(format!("version {version} shows {seen:?}; promised was {:?}", self.config));
        }
        if let Some(side) = side {
            self.config = Config { live: (side, version), perhaps: None };
        }
    }

    /// Looks every access up in what the record has: effects by access.
    pub(super) fn prove(&mut self, recorded: &BTreeMap<String, String>) {
        let denied =
            recorded.iter().filter(|(_, effect)| *effect == "DENY").filter_map(|(access, _)| second_of(access));
        denied.for_each(|second| *self.denied_in.entry(second).or_default() += 1);
        let denied_in = &self.denied_in;
        // Strangers refused beyond so many in a second have no record of their own: they are counted for ten seconds, and
        // the count is in the record. The second of the gate begins with a refusal, so it lies in two of the clock.
        let at = |second: u128| denied_in.get(&second).copied().unwrap_or_default();
        let is_flood = |access: &str| {
            let begun = second_of(access).unwrap_or_default();
            let window = begun.saturating_sub(COALESCE_FOR.as_secs().into())..=begun;
            window.into_iter().any(|second| at(second) + at(second.saturating_sub(1)) >= PER_SECOND)
        };
        for (access, status) in std::mem::take(&mut self.unproven) {
            let effect = recorded.get(&access).map(String::as_str);
            let is_proven = match (status, effect) {
                (Some(StatusCode::UNAUTHORIZED), None) => is_flood(&access),
                (_, None) => false,
                (Some(StatusCode::OK) | None, effect) => effect == Some("ALLOW"),
                (Some(WITHDRAWN), Some(_)) => true,
                (Some(_), effect) => effect == Some("DENY"),
            };
            if !is_proven {
                self.tally.without_record += 1;
                self.broken.push(format!("access {access} was answered {status:?}, the record says {effect:?}"));
            }
        }
    }
}

/// The second in which the access began: its id begins with the milliseconds (RFC 9562 §5.7).
fn second_of(access: &str) -> Option<u128> {
    let id = access.parse::<model::AccessId>().ok()?;
    Some((id.0.as_u128() >> 80) / 1000)
}
