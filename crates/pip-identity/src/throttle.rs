//! How often a proof may be tried (ID-26): per account and per address, a delay of one second that
//! doubles to a quarter of an hour, and a hard cap per account (SP 800-63B-4 §3.2.2). A browser somebody has signed in
//! from before has a lane of its own, which strangers cannot close. An address that fails for many accounts is shut out.
//! Memory only: a restart forgets failures, which is why secrets behind it have 64 bits or more.
//!
//! Invariants: an attempt counts as failed from the moment it begins, so that parallel guesses gain nothing; unknown
//! accounts are counted like known ones; memory is bounded and what is forgotten first has failed least.

mod spread;

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
/// How often an address is forgiven one failure, so that the typing errors of an office do not add up for weeks. Equal
/// to the longest delay, so that whoever goes on guessing stays there.
pub const FORGIVEN_EVERY: Duration = LONGEST_DELAY;
/// How many different accounts an address may fail for before it is shut out.
pub const MAX_ACCOUNTS_PER_ADDRESS: usize = 20;
/// How long it is shut out, and how long its failures are remembered for that.
pub const BAN: Duration = Duration::from_secs(60 * 60);
/// The most accounts, and the most addresses, that are remembered.
pub const MAX_LANES: usize = 65_536;

/// Which proof of whom is tried. Each proof has a lane of its own: whoever guesses codes, for which an address is
/// enough, must not keep the owner from signing in with a passkey.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AccountKey {
    /// A recovery code of a person.
    Code(UserId),
    /// A recovery code for an address that belongs to nobody, hashed.
    CodeOfNobody(TokenHash),
    /// A recovery code of a person, tried in a browser they have signed in from.
    CodeOnDevice(UserId, TokenHash),
    /// Password and one-time code of a person.
    Pair(UserId),
    /// Password and one-time code for an address that belongs to nobody, hashed.
    PairOfNobody(TokenHash),
    /// Password and one-time code of a person, tried in a browser they have signed in from.
    PairOnDevice(UserId, TokenHash),
    /// A passkey of a person.
    Passkey(UserId),
}

impl AccountKey {
    /// Tried in a browser its person has signed in from.
    fn is_on_known_device(&self) -> bool {
        matches!(self, AccountKey::CodeOnDevice(..) | AccountKey::PairOnDevice(..))
    }
}

/// Why an attempt may not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Throttled {
    /// The address failed for too many accounts.
    #[error("too many accounts were tried from this address; try again in {} min", retry_after.as_secs().div_ceil(60))]
    Banned {
        /// How long.
        retry_after: Duration,
    },
    /// Too soon.
    #[error("too many failed attempts; try again in {} s", retry_after.as_secs().max(1))]
    Wait {
        /// How long.
        retry_after: Duration,
    },
    /// The hard cap.
    #[error("too many failed attempts for this account; sign in with a passkey, which opens it again")]
    Closed,
}

impl Throttled {
    /// When it is worth trying again; `None` if no time is long enough.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Throttled::Banned { retry_after } | Throttled::Wait { retry_after } => Some(*retry_after),
            Throttled::Closed => None,
        }
    }
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
    spreads: spread::Spreads,
}

#[derive(Clone, Copy)]
struct Lane {
    failures: u32,
    last: Timestamp,
    /// Up to when failures have been forgiven.
    forgiven: Timestamp,
}

impl Lane {
    fn forgive(&mut self, now: Timestamp) {
        let due = now.since(self.forgiven).as_secs() / FORGIVEN_EVERY.as_secs();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(due);
        self.forgiven = if self.failures == 0 { now } else { self.forgiven + FORGIVEN_EVERY.saturating_mul(due) };
    }
}

/// Which failures are ever forgiven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Account,
    Address,
}

/// An IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        begin(&mut self.lanes().prefixes, Prefix::of(from), Kind::Address, now)
    }

    /// Begins an attempt for an account. Counts it as failed.
    ///
    /// # Errors
    /// The account must wait, or is closed until [`Throttle::succeeded`].
    pub fn begin_account(&self, account: AccountKey, now: Timestamp) -> Result<(), Throttled> {
        begin(&mut self.lanes().accounts, account, Kind::Account, now)
    }

    /// Begins an attempt with a secret that could be guessed. Counts it as failed, for the address and for the account;
    /// in a browser its person has signed in from, for that browser alone: whatever strangers do, from wherever, its
    /// owner may go on there.
    ///
    /// # Errors
    /// Address or account must wait, or one of them is closed.
    pub fn begin_guess(&self, account: AccountKey, from: IpAddr, now: Timestamp) -> Result<(), Throttled> {
        if !account.is_on_known_device() {
            let prefix = Prefix::of(from);
            let mut lanes = self.lanes();
            if let Some(retry_after) = lanes.spreads.ban(prefix, now) {
                return Err(Throttled::Banned { retry_after });
            }
            begin(&mut lanes.prefixes, prefix, Kind::Address, now)?;
            lanes.spreads.note(prefix, account, now);
        }
        self.begin_account(account, now)
    }

    /// The attempt was good: the account starts afresh, after a passkey also for codes, and the address gets back what
    /// this attempt cost. It does not start afresh, or one account of one's own would reset it between guesses at
    /// others.
    pub fn succeeded(&self, account: AccountKey, from: IpAddr) {
        let mut lanes = self.lanes();
        lanes.accounts.remove(&account);
        if let AccountKey::Passkey(user) = account {
            lanes.accounts.remove(&AccountKey::Code(user));
            lanes.accounts.remove(&AccountKey::Pair(user));
        }
        lanes.spreads.forgive(Prefix::of(from), account);
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
    kind: Kind,
    now: Timestamp,
) -> Result<(), Throttled> {
    if !lanes.contains_key(&key) && lanes.len() >= MAX_LANES {
        forget_least_failed(lanes);
    }
    let lane = lanes.entry(key).or_insert(Lane { failures: 0, last: now, forgiven: now });
    let free = match kind {
        Kind::Account if lane.failures >= MAX_ACCOUNT_FAILURES => return Err(Throttled::Closed),
        Kind::Account => FREE_ACCOUNT_FAILURES,
        Kind::Address => {
            lane.forgive(now);
            FREE_ADDRESS_FAILURES
        }
    };
    let ready_at = lane.last + delay(lane.failures, free);
    if now < ready_at {
        return Err(Throttled::Wait { retry_after: now.until(ready_at) });
    }
    lane.failures = lane.failures.saturating_add(1);
    lane.last = now;
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn alice() -> AccountKey {
        AccountKey::Code(UserId(Uuid::from_u128(1)))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn delays_double_from_one_second_to_a_quarter_of_an_hour() {
        let delays: Vec<u64> = (0..16).map(|failures| delay(failures, FREE_ACCOUNT_FAILURES).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(delay(u32::MAX, 0), LONGEST_DELAY);
    }

    #[test]
    fn parallel_guesses_gain_nothing() {
        let throttle = Throttle::new();
        let begun = (0..50).filter(|_| throttle.begin_account(alice(), at(0)).is_ok()).count();
        assert_eq!(begun, FREE_ACCOUNT_FAILURES as usize + 1);
    }

    #[test]
    fn a_refused_attempt_says_how_long_and_does_not_count() {
        let throttle = Throttle::new();
        for _ in 0..=FREE_ACCOUNT_FAILURES {
            throttle.begin_account(alice(), at(0)).unwrap();
        }
        for _ in 0..10 {
            let wait = Throttled::Wait { retry_after: FIRST_DELAY };
            assert_eq!(throttle.begin_account(alice(), at(0)), Err(wait));
        }
        throttle.begin_account(alice(), at(1)).unwrap();
    }

    #[test]
    fn a_hundred_failures_close_the_account_for_good_until_its_owner_signs_in() {
        let throttle = Throttle::new();
        let mut now = 0;
        for _ in 0..MAX_ACCOUNT_FAILURES {
            throttle.begin_account(alice(), at(now)).unwrap();
            now += 900;
        }
        assert_eq!(throttle.begin_account(alice(), at(now + 1_000_000)), Err(Throttled::Closed));
        throttle.succeeded(AccountKey::Passkey(UserId(Uuid::from_u128(1))), HOME);
        throttle.begin_account(alice(), at(now)).unwrap();
    }

    #[test]
    fn one_s_own_success_does_not_reset_the_address() {
        let throttle = Throttle::new();
        let own = AccountKey::Code(UserId(Uuid::from_u128(2)));
        let mut begun = 0;
        for _ in 0..100 {
            if throttle.begin_address(HOME, at(0)).is_err() {
                break;
            }
            begun += 1;
            if throttle.begin_address(HOME, at(0)).is_ok() {
                throttle.succeeded(own, HOME);
            }
        }
        assert_eq!(begun, FREE_ADDRESS_FAILURES + 1);
    }

    #[test]
    fn addresses_of_one_v6_network_share_a_lane_and_mapped_v4_is_v4() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert!(of("2001:db8:0:1::1") == of("2001:db8:0:1:ffff::2"));
        assert!(of("2001:db8:0:1::1") != of("2001:db8:0:2::1"));
        assert!(of("::ffff:192.0.2.1") == of("192.0.2.1"));
        assert!(of("192.0.2.1") != of("192.0.2.2"));
    }

    #[test]
    fn an_address_is_forgiven_one_failure_a_quarter_of_an_hour_and_an_account_none() {
        let throttle = Throttle::new();
        for _ in 0..=FREE_ADDRESS_FAILURES {
            throttle.begin_address(HOME, at(0)).unwrap();
        }
        assert!(throttle.begin_address(HOME, at(0)).is_err());
        throttle.begin_address(HOME, at(900)).unwrap();
        assert!(throttle.begin_address(HOME, at(900)).is_err());

        for _ in 0..=FREE_ACCOUNT_FAILURES {
            throttle.begin_account(alice(), at(0)).unwrap();
        }
        throttle.begin_account(alice(), at(24 * 3600)).unwrap();
        let wait = Throttled::Wait { retry_after: FIRST_DELAY * 2 };
        assert_eq!(throttle.begin_account(alice(), at(24 * 3600)), Err(wait));
    }

    #[test]
    fn a_busy_office_with_a_typing_error_an_hour_is_never_slowed_down() {
        let throttle = Throttle::new();
        for minute in 0..(14 * 24 * 60) {
            throttle.begin_address(HOME, at(minute * 60)).unwrap();
            if minute % 60 != 0 {
                throttle.succeeded(alice(), HOME);
            }
        }
    }

    #[test]
    fn whoever_goes_on_guessing_from_one_address_ends_near_the_longest_delay() {
        let throttle = Throttle::new();
        let (mut now, mut begun_on_the_second_day) = (0, 0);
        while now < 2 * 24 * 3600 {
            if throttle.begin_address(HOME, at(now)).is_ok() && now >= 24 * 3600 {
                begun_on_the_second_day += 1;
            }
            now += 1;
        }
        assert!(begun_on_the_second_day <= 24 * 4 + 1, "{begun_on_the_second_day}");
    }

    #[test]
    fn a_flood_of_invented_accounts_is_bounded_and_does_not_free_the_closed_one() {
        let throttle = Throttle::new();
        for n in 0..i64::from(MAX_ACCOUNT_FAILURES) {
            throttle.begin_account(alice(), at(n * 900)).unwrap();
        }
        for n in 0..(MAX_LANES as u64 * 2) {
            let nobody = AccountKey::CodeOfNobody(TokenHash::of(&n.to_be_bytes()));
            throttle.begin_account(nobody, at(1_000_000)).unwrap();
        }
        assert!(throttle.lanes().accounts.len() <= MAX_LANES);
        assert_eq!(throttle.begin_account(alice(), at(2_000_000)), Err(Throttled::Closed));
    }

    fn nobody(n: u64) -> AccountKey {
        AccountKey::PairOfNobody(TokenHash::of(&n.to_be_bytes()))
    }

    #[test]
    fn an_address_that_tries_many_accounts_is_shut_out_for_an_hour() {
        let throttle = Throttle::new();
        let (mut now, mut tried) = (0, 0);
        while !matches!(throttle.begin_guess(nobody(tried), HOME, at(now)), Err(Throttled::Banned { .. })) {
            // Slow enough for the lane of the address; forgiveness there does not help here.
            now += 60;
            tried += 1;
            assert!(tried < 100, "never shut out");
        }
        assert_eq!(tried as usize, MAX_ACCOUNTS_PER_ADDRESS + 1);
        let elsewhere = "198.51.100.7".parse().unwrap();
        throttle.begin_guess(nobody(tried), elsewhere, at(now)).unwrap();
        assert!(throttle.begin_guess(nobody(tried), HOME, at(now + 60 * 50)).is_err());
        throttle.begin_guess(nobody(tried), HOME, at(now + 2 * 60 * 60)).unwrap();
    }

    #[test]
    fn an_office_where_everybody_gets_in_is_not_shut_out() {
        let throttle = Throttle::new();
        for n in 0..200 {
            let person = AccountKey::Pair(UserId(Uuid::from_u128(n)));
            throttle.begin_guess(person, HOME, at(i64::try_from(n).unwrap())).unwrap();
            throttle.succeeded(person, HOME);
        }
    }

    #[test]
    fn a_stranger_s_failures_never_close_the_known_browser_of_the_owner() {
        let throttle = Throttle::new();
        let alice = UserId(Uuid::from_u128(1));
        let own = AccountKey::PairOnDevice(alice, TokenHash::of(b"browser"));
        let mut now = 0;
        for n in 0..MAX_ACCOUNT_FAILURES {
            // From everywhere, the owner's own address included.
            let from = if n % 2 == 0 { HOME } else { IpAddr::from([198, 51, 100, n as u8]) };
            let lane = throttle.begin_account(AccountKey::Pair(alice), at(now));
            throttle.begin_guess(nobody(u64::from(n)), from, at(now)).ok();
            assert!(lane.is_ok(), "{n}");
            now += 900;
        }
        assert_eq!(throttle.begin_account(AccountKey::Pair(alice), at(now)), Err(Throttled::Closed));
        throttle.begin_guess(own, HOME, at(now)).unwrap();
        // It is a lane like any other for whoever sits there.
        for _ in 0..FREE_ACCOUNT_FAILURES {
            throttle.begin_guess(own, HOME, at(now)).unwrap();
        }
        assert!(throttle.begin_guess(own, HOME, at(now)).is_err());
    }
}
