//! For how many different accounts an address failed (ID-26). Bounded: an address has at most
//! [`MAX_ACCOUNTS_PER_ADDRESS`] accounts noted, and of addresses those with the fewest give way.

use std::collections::HashMap;
use std::time::Duration;

use model::Timestamp;

use super::{AccountKey, BAN, MAX_ACCOUNTS_PER_ADDRESS, MAX_LANES, Prefix};

/// The addresses.
#[derive(Default)]
pub(super) struct Spreads {
    by_prefix: HashMap<Prefix, Spread>,
}

struct Spread {
    accounts: Vec<AccountKey>,
    /// Of the last account that was new.
    last: Timestamp,
    banned_until: Option<Timestamp>,
}

impl Spreads {
    /// For how long an address is shut out.
    pub(super) fn ban(&mut self, prefix: Prefix, now: Timestamp) -> Option<Duration> {
        let spread = self.by_prefix.get(&prefix)?;
        match spread.banned_until {
            Some(until) if now < until => return Some(now.until(until)),
            None if now.since(spread.last) < BAN => return None,
            _ => {}
        }
        self.by_prefix.remove(&prefix);
        None
    }

    /// An attempt begins; it counts as failed until it is forgiven.
    pub(super) fn note(&mut self, prefix: Prefix, account: AccountKey, now: Timestamp) {
        if !self.by_prefix.contains_key(&prefix) && self.by_prefix.len() >= MAX_LANES {
            self.make_room();
        }
        let spread =
            self.by_prefix.entry(prefix).or_insert(Spread { accounts: Vec::new(), last: now, banned_until: None });
        if spread.accounts.contains(&account) {
            return;
        }
        spread.last = now;
        if spread.accounts.len() >= MAX_ACCOUNTS_PER_ADDRESS {
            spread.banned_until = Some(now + BAN);
        } else {
            spread.accounts.push(account);
        }
    }

    /// The attempt was good after all.
    pub(super) fn forgive(&mut self, prefix: Prefix, account: AccountKey) {
        if let Some(spread) = self.by_prefix.get_mut(&prefix) {
            spread.accounts.retain(|noted| *noted != account);
        }
    }

    fn make_room(&mut self) {
        let mut order: Vec<(bool, usize, Prefix)> = self
            .by_prefix
            .iter()
            .map(|(prefix, spread)| (spread.banned_until.is_some(), spread.accounts.len(), *prefix))
            .collect();
        order.sort_unstable();
        for (_, _, prefix) in order.iter().take(MAX_LANES / 8) {
            self.by_prefix.remove(prefix);
        }
    }
}
