//! How many wrong service tokens came from where: beyond [`WRONG_PER_MINUTE`] nothing more is tried for the rest of the
//! minute (GW-52). Memory only, no lock wait.
//!
//! Not a defence of the secrets, which nobody guesses: it keeps a misconfigured client from costing others anything.

use std::net::{IpAddr, Ipv6Addr};

use model::Timestamp;

/// How many wrong tokens an address (an IPv6 /64) may send in a minute.
pub const WRONG_PER_MINUTE: u32 = 60;
/// How many addresses are counted at a time; with more, all counts begin anew.
const COUNTED_MAX: usize = 8192;

/// The counts of this minute.
#[derive(Default)]
pub(crate) struct WrongTokens {
    counts: papaya::HashMap<IpAddr, (i64, u32)>,
}

impl WrongTokens {
    /// Whether nothing more is tried from there in this minute.
    pub(crate) fn is_over(&self, from: IpAddr, now: Timestamp) -> bool {
        let counted = self.counts.pin().get(&network(from)).copied();
        counted.is_some_and(|(minute, count)| minute == minute_of(now) && count >= WRONG_PER_MINUTE)
    }

    /// One more.
    pub(crate) fn note(&self, from: IpAddr, now: Timestamp) {
        let minute = minute_of(now);
        let counts = self.counts.pin();
        if counts.len() >= COUNTED_MAX {
            counts.clear();
        }
        let next = |(was, count): &(i64, u32)| match *was == minute {
            true => (minute, count.saturating_add(1)),
            false => (minute, 1),
        };
        counts.update_or_insert(network(from), next, (minute, 1));
    }
}

fn minute_of(now: Timestamp) -> i64 {
    now.unix_secs().div_euclid(60)
}

fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tokens_are_counted_by_minute_and_network_and_what_is_counted_is_bounded() {
        let wrong = WrongTokens::default();
        let (now, later) = (Timestamp::from_unix_secs(60), Timestamp::from_unix_secs(120));
        let (one, near, far) = ("2001:db8::1", "2001:db8::2", "2001:db8:1::1");
        let [one, near, far] = [one, near, far].map(|text| text.parse::<IpAddr>().unwrap());
        for _ in 0..WRONG_PER_MINUTE {
            assert!(!wrong.is_over(one, now));
            wrong.note(one, now);
        }
        assert!(wrong.is_over(one, now) && wrong.is_over(near, now));
        assert!(!wrong.is_over(far, now) && !wrong.is_over(one, later));
        for number in 0..3 * COUNTED_MAX as u32 {
            wrong.note(IpAddr::V4(number.into()), now);
        }
        assert!(wrong.counts.len() <= COUNTED_MAX);
    }
}
