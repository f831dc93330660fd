//! Until when an answer holds if no fact changes (PO-14).
//!
//! Invariant: never later than the moment a time-derived fact of the slice can cross a literal it is compared with,
//! apart from the last second (facts are whole seconds), nor later than [`MAX_HOLD`].

use std::time::Duration;

use model::{Facts, Timestamp};

use crate::analysis::{Flip, TimeUse};
use crate::slice::Slice;

/// The longest an answer holds.
pub(crate) const MAX_HOLD: Duration = Duration::from_secs(300);
/// The shortest: also for comparisons that are not understood.
pub(crate) const MIN_HOLD: Duration = Duration::from_secs(1);

/// The facts of local clocks, which are set forward and back.
const CLOCK: [&str; 3] = ["context.request.hours", "context.request.minute_of_day", "context.request.weekday"];

/// The earliest of session end, the crossings of `slice` and [`MAX_HOLD`].
pub(crate) fn hold_until(
    slice: Option<&Slice>,
    facts: &Facts,
    session_ends: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let crossing = slice.into_iter().flat_map(|slice| &slice.time).map(|time| until_crossing(time, facts, now));
    let clock = slice.filter(|slice| CLOCK.iter().any(|path| slice.reads(path))).and(facts.request.clock_until);
    let crossing = crossing.chain(clock.map(|change| now.until(change))).min();
    let until = now + crossing.unwrap_or(MAX_HOLD).clamp(MIN_HOLD, MAX_HOLD);
    session_ends.map_or(until, |ends| until.min(ends).max(now))
}

fn until_crossing(time: &TimeUse, facts: &Facts, now: Timestamp) -> Duration {
    let TimeUse::Literal { fact, literal, flip } = time else { return MIN_HOLD };
    match *fact {
        "context.request.minute_of_day" => until_minute(facts.request.minute_of_day, *literal, now),
        "context.request.weekday" => until_minute(facts.request.minute_of_day, 0, now),
        fact => rising(fact, facts).map_or(MIN_HOLD, |value| until_value(value, *literal, *flip)),
    }
}

/// Seconds until a fact that rises by one a second can reach the next value that matters. The fact is rounded down, so
/// the step to the next second may be due at once: one second is taken off.
fn until_value(value: i64, literal: i64, flip: Flip) -> Duration {
    let after = literal.saturating_add(1);
    let next = match flip {
        Flip::At => Some(literal),
        Flip::After => Some(after),
        Flip::AtAndAfter if value < literal => Some(literal),
        Flip::AtAndAfter => Some(after),
    };
    match next.filter(|next| *next > value) {
        Some(next) => Duration::from_secs(u64::try_from(next.saturating_sub(value).saturating_sub(1)).unwrap_or(0)),
        None => MAX_HOLD,
    }
}

/// Until the minute of the day becomes `literal`, passes it, or starts again at midnight.
fn until_minute(minute: i64, literal: i64, now: Timestamp) -> Duration {
    let into_minute = now.unix_secs().rem_euclid(60);
    let until = |target: i64| {
        let minutes = (target - minute).rem_euclid(1440);
        (if minutes == 0 { 1440 } else { minutes }) * 60 - into_minute
    };
    let seconds = [0, literal.rem_euclid(1440), literal.saturating_add(1).rem_euclid(1440)].map(until);
    Duration::from_secs(u64::try_from(seconds.into_iter().min().unwrap_or(0)).unwrap_or(0).saturating_sub(1))
}

fn rising(fact: &str, facts: &Facts) -> Option<i64> {
    Some(match fact {
        "context.auth.auth_age_secs" => facts.auth.auth_age_secs,
        "context.auth.step_up_age_secs" => facts.auth.step_up_age_secs,
        "context.device.compliant.age_secs" => facts.device.compliant.age_secs,
        "context.device.edr.age_secs" => facts.device.edr.age_secs,
        "context.device.encrypted.age_secs" => facts.device.encrypted.age_secs,
        "context.device.firewall.age_secs" => facts.device.firewall.age_secs,
        "context.device.managed.age_secs" => facts.device.managed.age_secs,
        "context.device.os_patched.age_secs" => facts.device.os_patched.age_secs,
        "context.device.screen_lock.age_secs" => facts.device.screen_lock.age_secs,
        "context.request.epoch_secs" => facts.request.epoch_secs,
        "context.risk.age_secs" => facts.risk.age_secs,
        "context.session.age_secs" => facts.session.age_secs,
        "context.session.idle_secs" => facts.session.idle_secs,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_fact_crosses_its_literal_once() {
        let check = |value, literal, flip, expected| {
            assert_eq!(until_value(value, literal, flip), Duration::from_secs(expected), "{value} {literal} {flip:?}");
        };
        check(10, 100, Flip::At, 89);
        check(10, 100, Flip::After, 90);
        check(99, 100, Flip::At, 0);
        check(100, 100, Flip::At, MAX_HOLD.as_secs());
        check(100, 100, Flip::After, 0);
        check(101, 100, Flip::After, MAX_HOLD.as_secs());
        check(10, 100, Flip::AtAndAfter, 89);
        check(100, 100, Flip::AtAndAfter, 0);
        check(i64::MAX, i64::MAX, Flip::After, MAX_HOLD.as_secs());
        check(i64::MIN, i64::MAX, Flip::At, (i64::MAX as u64) - 1);
    }

    #[test]
    fn minutes_of_the_day_wrap_at_midnight() {
        let now = Timestamp::from_unix_secs(30);
        assert_eq!(until_minute(539, 540, now), Duration::from_secs(29));
        assert_eq!(until_minute(540, 540, now), Duration::from_secs(29));
        assert_eq!(until_minute(1439, 540, now), Duration::from_secs(29));
        assert_eq!(until_minute(541, 540, now), Duration::from_secs((1440 - 541) * 60 - 31));
    }
}
