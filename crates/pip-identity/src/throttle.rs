//! How often a proof may be tried (identity.md ID-26): per account and per address, a delay of one second that
//! doubles to a quarter of an hour, and a hard cap per account (SP 800-63B-4 §3.2.2). The known-device lane comes with
//! devices. Memory only: a restart forgets failures, which is why secrets behind it have 64 bits or more.
//!
//! Invariants: an attempt counts as failed from the moment it begins, so that parallel guesses gain nothing; unknown
//! accounts are counted like known ones; memory is bounded and what is forgotten first has failed least.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Timestamp, TokenHash, UserId};

/// The first delay.
pub const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
pub const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);
/// Consecutive failures after which an account is closed to this kind of proof (SP 800-63B-4 §3.2.2).
pub const MAX_ACCOUNT_FAILURES: u32 = 100;
/// Failures of an account that cost no delay: a typing error.
pub const FREE_ACCOUNT_FAILURES: u32 = 2;
/// Failures of an address that cost no delay: an office behind one address.
pub const FREE_ADDRESS_FAILURES: u32 = 20;
/// How long an address must be quiet to be forgotten.
pub const ADDRESS_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// The most accounts, and the most addresses, that are remembered.
pub const MAX_LANES: usize = 65_536;

/// Whose proof is tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccountKey {
    /// A person.
    Known(UserId),
    /// An address that belongs to nobody, hashed.
    Unknown(TokenHash),
}

/// Why an attempt may not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Throttled {
    /// Too soon.
    #[error("too many failed attempts; try again in {} s", retry_after.as_secs().max(1))]
    Wait {
        /// How long.
        retry_after: Duration,
    },
    /// The hard cap.
    #[error("too many failed attempts for this account; sign in with a passkey or ask an administrator")]
    Closed,
}

/// Counts attempts.
#[derive(Default)]
pub struct Throttle {
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    accounts: HashMap<AccountKey, Lane>,
    prefixes: HashMap<Prefix, Lane>,
}

#[derive(Clone, Copy)]
struct Lane {
    failures: u32,
    last: Timestamp,
}

/// An IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Prefix {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Throttle {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an attempt from an address, before it is known whose. Counts it as failed.
    ///
    /// # Errors
    /// The address must wait.
    pub fn begin_address(&self, from: IpAddr, now: Timestamp) -> Result<(), Throttled> {
        begin(&mut self.lanes().prefixes, Prefix::of(from), FREE_ADDRESS_FAILURES, u32::MAX, now)
    }

    /// Begins an attempt for an account. Counts it as failed.
    ///
    /// # Errors
    /// The account must wait, or is closed until [`Throttle::succeeded`].
    pub fn begin_account(&self, account: AccountKey, now: Timestamp) -> Result<(), Throttled> {
        begin(&mut self.lanes().accounts, account, FREE_ACCOUNT_FAILURES, MAX_ACCOUNT_FAILURES, now)
    }

    /// The attempt was good: the account starts afresh, and the address gets back what this attempt cost. It does
    /// not start afresh, or one account of one's own would reset it between guesses at others.
    pub fn succeeded(&self, account: AccountKey, from: IpAddr) {
        let mut lanes = self.lanes();
        lanes.accounts.remove(&account);
        if let Some(lane) = lanes.prefixes.get_mut(&Prefix::of(from)) {
            lane.failures = lane.failures.saturating_sub(1);
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prefix {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Prefix::V4(v4.octets()),
            IpAddr::V6(v6) => Prefix::of_v6(v6),
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Self {
        if let Some(v4) = v6.to_ipv4_mapped() {
            return Prefix::V4(v4.octets());
        }
        let [a, b, c, d, ..] = v6.segments();
        Prefix::V6([a, b, c, d])
    }
}

fn begin<K: Eq + std::hash::Hash + Copy>(
    lanes: &mut HashMap<K, Lane>,
    key: K,
    free: u32,
    cap: u32,
    now: Timestamp,
) -> Result<(), Throttled> {
    let mut failures = 0;
    if let Some(lane) = lanes.get(&key) {
        if lane.failures >= cap {
            return Err(Throttled::Closed);
        }
        let is_forgotten = cap == u32::MAX && now.since(lane.last) >= ADDRESS_MEMORY;
        failures = if is_forgotten { 0 } else { lane.failures };
        let ready_at = lane.last + delay(failures, free);
        if now < ready_at {
            return Err(Throttled::Wait { retry_after: now.until(ready_at) });
        }
    } else if lanes.len() >= MAX_LANES {
        forget_least_failed(lanes);
    }
    lanes.insert(key, Lane { failures: failures.saturating_add(1), last: now });
    Ok(())
}

fn delay(failures: u32, free: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(free + 1) else { return Duration::ZERO };
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

/// Drops an eighth at once, so that a flood of new keys pays for one sort per thousands of them.
fn forget_least_failed<K: Eq + std::hash::Hash + Copy>(lanes: &mut HashMap<K, Lane>) {
    let mut order: Vec<(u32, Timestamp, K)> =
        lanes.iter().map(|(key, lane)| (lane.failures, lane.last, *key)).collect();
    order.sort_by_key(|(failures, last, _)| (*failures, *last));
    for (_, _, key) in order.iter().take(MAX_LANES / 8) {
        lanes.remove(key);
    }
}
