//! Time zones as tables: when each offset from UTC begins. `config` makes them from the names operators write; here is
//! only arithmetic, so that doors and engine need no database of zones and no clock (GW-21).
//!
//! Invariant: between two changes of a table local time runs exactly like UTC.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

const DAY_SECS: i64 = 86_400;
const DAY_MINUTES: i64 = 1_440;

/// A time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeZone {
    name: Arc<str>,
    /// Seconds ahead of UTC before the first change.
    before: i32,
    /// From when (seconds since 1970) each next offset holds, in order of time.
    changes: Arc<[(i64, i32)]>,
}

impl TimeZone {
    /// Coordinated universal time, which never changes.
    pub fn utc() -> Self {
        Self { name: Arc::from("UTC"), before: 0, changes: Arc::from([]) }
    }

    /// A zone that is `before` seconds ahead of UTC until the first of `changes`, and then as each of them says from its
    /// moment (seconds since 1970) on.
    pub fn new(name: &str, before: i32, mut changes: Vec<(i64, i32)>) -> Self {
        changes.sort_by_key(|(from, _)| *from);
        Self { name: Arc::from(name), before, changes: changes.into() }
    }

    /// `Europe/Berlin`
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Minute of the day (0–1439) and ISO weekday (1 = Monday) there.
    pub fn minute_and_weekday(&self, at: Timestamp) -> (i64, i64) {
        let local = self.local_secs(at);
        (local.rem_euclid(DAY_SECS) / 60, (local.div_euclid(DAY_SECS) + 3).rem_euclid(7) + 1)
    }

    /// When its clocks are next set forward or back.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let upcoming = self.changes.get(self.behind(after)..)?;
        upcoming.first().map(|(from, _)| Timestamp::from_unix_secs(*from))
    }

    /// When one of `minutes` of the day next begins there, or its clocks are set before that.
    pub fn next_of(&self, minutes: &[i64], after: Timestamp) -> Timestamp {
        let into_day = self.local_secs(after).rem_euclid(DAY_SECS);
        let until = |minute: &i64| match (minute.rem_euclid(DAY_MINUTES) * 60 - into_day).rem_euclid(DAY_SECS) {
            0 => DAY_SECS,
            secs => secs,
        };
        let secs = minutes.iter().map(until).min().unwrap_or(DAY_SECS);
        let next = Timestamp::from_unix_secs(after.unix_secs()) + Duration::from_secs(secs.unsigned_abs());
        self.next_change(after).map_or(next, |change| change.min(next))
    }

    fn local_secs(&self, at: Timestamp) -> i64 {
        let last = self.behind(at).checked_sub(1).and_then(|at| self.changes.get(at));
        at.unix_secs().saturating_add(i64::from(last.map_or(self.before, |(_, offset)| *offset)))
    }

    /// How many changes are over.
    fn behind(&self, at: Timestamp) -> usize {
        self.changes.partition_point(|(from, _)| *from <= at.unix_secs())
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 January 1970 was a Thursday. An hour ahead from the second day at 01:00 UTC, back from the third on.
    fn zone() -> TimeZone {
        TimeZone::new("Test/Zone", 3_600, vec![(2 * DAY_SECS, 3_600), (DAY_SECS + 3_600, 7_200)])
    }

    #[test]
    fn local_time_follows_the_table() {
        let at = |secs| zone().minute_and_weekday(Timestamp::from_unix_secs(secs));
        assert_eq!(at(0), (60, 4));
        assert_eq!(at(-3_601), (1_439, 3));
        assert_eq!(at(DAY_SECS + 3_599), (119, 5));
        assert_eq!(at(DAY_SECS + 3_600), (180, 5));
        assert_eq!(at(2 * DAY_SECS - 1), (119, 6), "after midnight there");
        assert_eq!(at(2 * DAY_SECS), (60, 6), "set back an hour");
        let utc = TimeZone::utc();
        for secs in [0, 61, -1, 4 * DAY_SECS] {
            let at = Timestamp::from_unix_secs(secs);
            assert_eq!(utc.minute_and_weekday(at), at.minute_and_weekday());
        }
        assert_eq!(utc.next_change(Timestamp::from_unix_secs(0)), None);
    }

    #[test]
    fn the_next_minute_is_found_and_never_over_a_change_of_the_clock() {
        let zone = zone();
        let next = |minutes: &[i64], secs| zone.next_of(minutes, Timestamp::from_unix_secs(secs)).unix_secs();
        assert_eq!(next(&[0, 61], 0), 60);
        assert_eq!(next(&[60], 0), DAY_SECS, "now is over at once");
        assert_eq!(next(&[150], DAY_SECS), DAY_SECS + 3_600, "02:30 there does not exist that day");
        assert_eq!(next(&[181], DAY_SECS + 3_600), DAY_SECS + 3_660);
        assert_eq!(next(&[], 0), DAY_SECS);
        assert_eq!(next(&[90], 2 * DAY_SECS - 1), 2 * DAY_SECS, "the hour comes twice: asked again at the change");
        assert_eq!(next(&[90], 2 * DAY_SECS), 2 * DAY_SECS + 1_800);
    }
}
