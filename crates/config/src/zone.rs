//! Names of time zones as tables of their changes, from the IANA database in the binary (GW-21).
//!
//! The one user of that database; everybody else has the table. Invariant: the same name gives the same table on every
//! machine, whatever zones it has installed.

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use model::TimeZone;

use crate::problem::nearest;

/// Changes before this are nobody's business: 2020.
const FIRST_SECS: i64 = 1_577_836_800;
/// After this the last offset stays: 2100. Laws change sooner than that.
const LAST_SECS: i64 = 4_102_444_800;
/// The most changes taken; a zone has two a year.
const MAX_CHANGES: usize = 400;

/// The zone of a name, in any case.
///
/// # Errors
/// There is no such zone; with the nearest name.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::utc());
    }
    let database = TimeZoneDatabase::bundled();
    let unknown = || {
        let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
        let hint = match nearest(name, names.iter().map(String::as_str)) {
            Some(close) => format!("did you mean `{close}`?"),
            None => "write it as in the IANA database, e.g. `Europe/Berlin` or `UTC`".to_owned(),
        };
        format!("the time zone `{name}` is not known; {hint}")
    };
    let zone = database.get(name).map_err(|_| unknown())?;
    let (Ok(first), Some(canonical)) = (Timestamp::from_second(FIRST_SECS), zone.iana_name()) else {
        return Err(unknown());
    };
    let changes =
        zone.following(first).take(MAX_CHANGES).take_while(|change| change.timestamp().as_second() < LAST_SECS);
    let changes = changes.map(|change| (change.timestamp().as_second(), change.offset().seconds())).collect();
    Ok(TimeZone::new(canonical, zone.to_offset(first).seconds(), changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(zone: &TimeZone, utc: &str) -> (i64, i64) {
        zone.minute_and_weekday(model::Timestamp::parse_rfc3339(utc).unwrap())
    }

    #[test]
    fn berlin_sets_its_clocks_forward_and_back() {
        let berlin = time_zone("Europe/Berlin").unwrap();
        // 2026-03-29, a Sunday: 02:00 becomes 03:00 at 01:00 UTC.
        assert_eq!(local(&berlin, "2026-03-29T00:59:59Z"), (119, 7));
        assert_eq!(local(&berlin, "2026-03-29T01:00:00Z"), (180, 7));
        // 2026-10-25, a Sunday: 03:00 becomes 02:00 at 01:00 UTC, so that hour comes twice.
        assert_eq!(local(&berlin, "2026-10-25T00:59:59Z"), (179, 7));
        assert_eq!(local(&berlin, "2026-10-25T01:00:00Z"), (120, 7));
        let change = berlin.next_change(model::Timestamp::parse_rfc3339("2026-06-01T00:00:00Z").unwrap());
        assert_eq!(change, model::Timestamp::parse_rfc3339("2026-10-25T01:00:00Z"));
    }

    #[test]
    fn zones_without_daylight_saving_never_change_and_southern_ones_do_the_other_way() {
        let tokyo = time_zone("Asia/Tokyo").unwrap();
        assert_eq!(tokyo.next_change(model::Timestamp::from_unix_secs(FIRST_SECS)), None);
        assert_eq!(local(&tokyo, "2026-11-22T15:30:00Z"), (30, 1));
        let sydney = time_zone("Australia/Sydney").unwrap();
        assert_eq!((local(&sydney, "2026-01-15T00:00:00Z").0, local(&sydney, "2026-07-15T00:00:00Z").0), (660, 600));
        let kathmandu = time_zone("Asia/Kathmandu").unwrap();
        assert_eq!(local(&kathmandu, "2026-11-22T00:00:00Z").0, 345);
        let late = local(&time_zone("Europe/Berlin").unwrap(), "2099-07-01T00:00:00Z");
        assert_eq!(late.0, 120, "far ahead the rules of today hold");
    }

    #[test]
    fn a_name_has_one_form_and_a_wrong_one_names_the_nearest() {
        assert_eq!(time_zone("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(time_zone("utc").unwrap(), TimeZone::utc());
        assert!(time_zone("Europe/Berlim").unwrap_err().ends_with("did you mean `Europe/Berlin`?"));
        for name in ["", "CEST", "+01:00", "Europe", "../../etc/localtime", "Mars/Olympus_Mons"] {
            assert!(time_zone(name).unwrap_err().contains("is not known"), "{name}");
        }
    }
}
