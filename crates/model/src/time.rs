//! Points in time. Nothing here reads a clock: `now` is always an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// UTC nanoseconds since 1970-01-01. Prints as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds since 1970, clamped to the representable range.
    pub fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// How long ago `earlier` was; zero if it lies ahead, so that a clock set back never makes a fact fresher than new.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// How long until `later`; zero if it has passed.
    pub fn until(self, later: Timestamp) -> Duration {
        later.since(self)
    }

    /// Seconds since `earlier`, as a policy fact.
    pub fn age_secs(self, earlier: Timestamp) -> i64 {
        i64::try_from(self.since(earlier).as_secs()).unwrap_or(i64::MAX)
    }

    /// Minute of the day (0–1439) and ISO weekday (1 = Monday) in UTC.
    pub fn minute_and_weekday(self) -> (i64, i64) {
        let days = self.unix_secs().div_euclid(86_400);
        let minute = self.unix_secs().rem_euclid(86_400) / 60;
        (minute, (days + 3).rem_euclid(7) + 1)
    }

    /// The calendar form, or the epoch when out of its range.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// For people: `22 Nov 2026, 11:10 UTC`.
    pub fn readable(self) -> String {
        let t = self.to_datetime();
        let month = t.month().to_string();
        let month: String = month.chars().take(3).collect();
        format!("{} {month} {}, {:02}:{:02} UTC", t.day(), t.year(), t.hour(), t.minute())
    }

    /// Reads RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(parsed.unix_timestamp_nanos()).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = Timestamp(self.0 - self.0.rem_euclid(1_000_000));
        let t = millis.to_datetime();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_never_gives_a_negative_age() {
        assert_eq!(Timestamp::from_unix_secs(5).since(Timestamp::from_unix_secs(9)), Duration::ZERO);
    }

    #[test]
    fn weekdays_start_on_monday() {
        // 1970-01-01 was a Thursday.
        assert_eq!(Timestamp::from_unix_secs(61).minute_and_weekday(), (1, 4));
        assert_eq!(Timestamp::from_unix_secs(4 * 86_400).minute_and_weekday(), (0, 1));
    }

    #[test]
    fn people_read_day_month_and_minute() {
        assert_eq!(Timestamp(1_795_340_000_123_000_000).readable(), "22 Nov 2026, 09:33 UTC");
    }

    #[test]
    fn the_printed_form_reads_back() {
        let time = Timestamp(1_795_340_000_123_000_000);
        assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Some(time));
    }
}
