//! Orders to the doors and who still owes an answer. A withdrawal is an order with its id; it is settled when every
//! door that served when it was given has acknowledged or is listed as stale.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::ids::{RevocationId, SessionId};
use model::seams::{Cause, Scope};
use model::time::Timestamp;

use crate::messages::StaleDoor;

/// How long a door may take to acknowledge before it is listed as stale. The goal is one second (GW-56).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a door that hears nothing goes on serving on old facts (GW-47 `max_staleness`).
pub const STALE_FACTS_AFTER: Duration = Duration::from_secs(300);
/// How long a withdrawal is remembered, so that late and doubled acknowledgements are known for what they are.
pub const WITHDRAWAL_KEPT: Duration = Duration::from_secs(600);
/// How many doors one administrator orders about.
pub const MAX_DOORS: usize = 1024;

/// One order and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withdrawal {
    /// Whose streams.
    pub scope: Scope,
    /// Why.
    pub cause: Cause,
    /// When it was last given.
    pub accepted: Timestamp,
    /// Sessions it ended, sorted.
    pub sessions: Vec<SessionId>,
    /// Doors that have not answered and still have time.
    pub awaiting: BTreeSet<String>,
    /// Doors that have not answered in time.
    pub stale: BTreeSet<String>,
}

impl Withdrawal {
    /// Whether every door answered.
    pub fn is_proven(&self) -> bool {
        self.awaiting.is_empty() && self.stale.is_empty()
    }
}

/// All orders still remembered.
#[derive(Debug, Default)]
pub(crate) struct Withdrawals {
    /// Every door, and for one that is known to be away when it stops serving on what it knew.
    doors: BTreeMap<String, Option<Timestamp>>,
    orders: BTreeMap<RevocationId, Withdrawal>,
    /// INVARIANT: holds exactly the orders with a door in `awaiting`, by the time it becomes stale.
    due: BTreeSet<(Timestamp, RevocationId)>,
    /// INVARIANT: holds every order, by the time it is forgotten.
    kept_until: BTreeSet<(Timestamp, RevocationId)>,
}

impl Withdrawals {
    /// False when there are too many.
    pub(crate) fn add_door(&mut self, door: String) -> bool {
        if self.doors.len() >= MAX_DOORS && !self.doors.contains_key(&door) {
            return false;
        }
        self.doors.insert(door, None);
        true
    }

    /// A door that is away is not waited for: it is listed with the time at which it fails closed. Orders it owes from
    /// before keep their time, because it may come back.
    pub(crate) fn set_away(&mut self, door: &str, fails_closed_at: Timestamp) {
        if let Some(known) = self.doors.get_mut(door) {
            *known = Some(fails_closed_at);
        }
    }

    pub(crate) fn remove_door(&mut self, door: &str) -> Vec<StaleDoor> {
        self.doors.remove(door);
        let mut stale = Vec::new();
        for (id, order) in &mut self.orders {
            if order.awaiting.remove(door) {
                order.stale.insert(door.to_owned());
                stale.push(stale_door(*id, door, order));
                if order.awaiting.is_empty() {
                    self.due.remove(&(order.accepted + ACK_TIMEOUT, *id));
                }
            }
        }
        stale
    }

    /// Begins an order. Given again under its id, it is owed again by every door: judging a stream twice does no harm,
    /// leaving one out would.
    pub(crate) fn begin(
        &mut self,
        id: RevocationId,
        scope: Scope,
        cause: Cause,
        mut sessions: Vec<SessionId>,
        now: Timestamp,
    ) -> Vec<StaleDoor> {
        if let Some(order) = self.orders.remove(&id) {
            sessions.extend(order.sessions);
            self.due.remove(&(order.accepted + ACK_TIMEOUT, id));
            self.kept_until.remove(&(order.accepted + WITHDRAWAL_KEPT, id));
        }
        sessions.sort_unstable();
        sessions.dedup();
        let is_here = |(door, away): (&String, &Option<Timestamp>)| away.is_none().then(|| door.clone());
        let awaiting: BTreeSet<String> = self.doors.iter().filter_map(is_here).collect();
        let away: Vec<StaleDoor> = self
            .doors
            .iter()
            .filter_map(|(door, away)| {
                Some(StaleDoor { revocation: id, door: door.clone(), fails_closed_at: (*away)? })
            })
            .collect();
        if !awaiting.is_empty() {
            self.due.insert((now + ACK_TIMEOUT, id));
        }
        self.kept_until.insert((now + WITHDRAWAL_KEPT, id));
        let stale = away.iter().map(|stale| stale.door.clone()).collect();
        self.orders.insert(id, Withdrawal { scope, cause, accepted: now, sessions, awaiting, stale });
        away
    }

    /// The order this door has now answered, or `None` if no answer was owed.
    pub(crate) fn acknowledge(&mut self, id: RevocationId, door: &str) -> Option<&Withdrawal> {
        let order = self.orders.get_mut(&id)?;
        let was_awaited = order.awaiting.remove(door);
        let was_stale = order.stale.remove(door);
        if order.awaiting.is_empty() {
            self.due.remove(&(order.accepted + ACK_TIMEOUT, id));
        }
        (was_awaited || was_stale).then_some(order)
    }

    /// Doors whose time to answer is over now; forgets old orders.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<StaleDoor> {
        let mut stale = Vec::new();
        while let Some(&(at, id)) = self.due.first() {
            if at > now {
                break;
            }
            self.due.pop_first();
            let Some(order) = self.orders.get_mut(&id) else { continue };
            let late = std::mem::take(&mut order.awaiting);
            stale.extend(late.iter().map(|door| stale_door(id, door, order)));
            order.stale.extend(late);
        }
        while let Some(&(at, id)) = self.kept_until.first() {
            if at > now {
                break;
            }
            self.kept_until.pop_first();
            self.orders.remove(&id);
        }
        stale
    }

    pub(crate) fn order(&self, id: RevocationId) -> Option<&Withdrawal> {
        self.orders.get(&id)
    }
}

fn stale_door(revocation: RevocationId, door: &str, order: &Withdrawal) -> StaleDoor {
    StaleDoor { revocation, door: door.to_owned(), fails_closed_at: order.accepted + STALE_FACTS_AFTER }
}
