//! What remedies make of the facts (PO-5, PO-6).
//!
//! Not the search for a set of them: that is [`crate::search`]. Invariants: facts are changed only as the schema's
//! annotations say; a fact without a row in [`flag`], [`age`] or [`posture`] cannot be annotated, so that where a
//! request comes from, how risky it is and what groups somebody is in are never flipped; undoing a change restores the
//! fact exactly.

use model::Facts;
use model::facts::PostureFact;

/// What a remedy makes of one fact.
pub(crate) struct Change {
    /// `auth.step_up_age_secs`, `device.managed`
    pub(crate) fact: String,
    setting: Setting,
}

impl Change {
    /// Whether it sets the fact at `path` (`auth.mfa`, `device.managed.ok`): as a whole, or as a field of a posture.
    pub(crate) fn sets(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.fact.as_str()) else { return false };
        match (&self.setting, rest) {
            (Setting::Flag(..) | Setting::Age(..), "") => true,
            (Setting::Posture(_, change), ".ok") => change.ok.is_some(),
            (Setting::Posture(_, change), ".age_secs") => change.age_secs.is_some(),
            (Setting::Posture(_, change), ".level") => change.level.is_some(),
            _ => false,
        }
    }
}

enum Setting {
    Flag(Field<bool>, bool),
    Age(Field<i64>, i64),
    Posture(Field<PostureFact>, PostureChange),
}

/// Which fields of a posture a remedy sets.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct PostureChange {
    ok: Option<bool>,
    age_secs: Option<i64>,
    level: Option<i64>,
}

/// A way to one fact.
struct Field<T> {
    read: fn(&Facts) -> &T,
    write: fn(&mut Facts) -> &mut T,
}

impl<T: Copy> Field<T> {
    fn copy(&self, from: &Facts, to: &mut Facts) {
        *(self.write)(to) = *(self.read)(from);
    }
}

macro_rules! field {
    ($record:ident.$attribute:ident) => {
        Field { read: |facts| &facts.$record.$attribute, write: |facts| &mut facts.$record.$attribute }
    };
}

fn flag(fact: &str) -> Option<Field<bool>> {
    Some(match fact {
        "auth.mfa" => field!(auth.mfa),
        "auth.phishing_resistant" => field!(auth.phishing_resistant),
        "device.known" => field!(device.known),
        "session.granted" => field!(session.granted),
        _ => return None,
    })
}

fn age(fact: &str) -> Option<Field<i64>> {
    Some(match fact {
        "auth.auth_age_secs" => field!(auth.auth_age_secs),
        "auth.step_up_age_secs" => field!(auth.step_up_age_secs),
        _ => return None,
    })
}

fn posture(fact: &str) -> Option<Field<PostureFact>> {
    Some(match fact {
        "device.compliant" => field!(device.compliant),
        "device.edr" => field!(device.edr),
        "device.encrypted" => field!(device.encrypted),
        "device.firewall" => field!(device.firewall),
        "device.managed" => field!(device.managed),
        "device.os_patched" => field!(device.os_patched),
        "device.screen_lock" => field!(device.screen_lock),
        _ => return None,
    })
}

impl Change {
    /// What `@remedy_…("<value>")` on `fact` means; `None` if no remedy may touch this fact or the value does not fit it.
    pub(crate) fn parse(fact: &str, value: &str) -> Option<Self> {
        let setting = if let Some(field) = flag(fact) {
            Setting::Flag(field, value.parse().ok()?)
        } else if let Some(field) = age(fact) {
            Setting::Age(field, whole(value)?)
        } else {
            Setting::Posture(posture(fact)?, PostureChange::parse(value)?)
        };
        Some(Self { fact: fact.to_owned(), setting })
    }

    /// Whether both set the same fact, or field of it, to different values.
    pub(crate) fn contradicts(&self, other: &Change) -> bool {
        let differ = |a: Option<i64>, b: Option<i64>| a.zip(b).is_some_and(|(a, b)| a != b);
        self.fact == other.fact
            && match (&self.setting, &other.setting) {
                (Setting::Flag(_, a), Setting::Flag(_, b)) => a != b,
                (Setting::Age(_, a), Setting::Age(_, b)) => a != b,
                (Setting::Posture(_, a), Setting::Posture(_, b)) => {
                    a.ok.zip(b.ok).is_some_and(|(a, b)| a != b)
                        || differ(a.age_secs, b.age_secs)
                        || differ(a.level, b.level)
                }
                _ => true,
            }
    }

    /// The setting in one form, for the schema's hash.
    pub(crate) fn canonical(&self) -> String {
        let value = match &self.setting {
            Setting::Flag(_, value) => value.to_string(),
            Setting::Age(_, value) => value.to_string(),
            Setting::Posture(_, change) => format!("{:?}", (change.ok, change.age_secs, change.level)),
        };
        format!("{}={value}", self.fact)
    }

    /// The fact as the remedy leaves it.
    pub(crate) fn apply(&self, facts: &mut Facts) {
        match &self.setting {
            Setting::Flag(field, value) => *(field.write)(facts) = *value,
            Setting::Age(field, value) => *(field.write)(facts) = *value,
            Setting::Posture(field, change) => {
                let fact = (field.write)(facts);
                *fact = change.of(*fact);
            }
        }
    }

    /// The fact as it is in `base`.
    pub(crate) fn undo(&self, base: &Facts, facts: &mut Facts) {
        match &self.setting {
            Setting::Flag(field, _) => field.copy(base, facts),
            Setting::Age(field, _) => field.copy(base, facts),
            Setting::Posture(field, _) => field.copy(base, facts),
        }
    }

    /// As [`Self::apply`], but what the remedy makes new is `age_secs` old.
    pub(crate) fn apply_aged(&self, facts: &mut Facts, age_secs: i64) {
        self.apply(facts);
        match &self.setting {
            Setting::Flag(..) => {}
            Setting::Age(field, _) => *(field.write)(facts) = age_secs,
            Setting::Posture(field, change) => {
                if change.age_secs.is_some() {
                    (field.write)(facts).age_secs = age_secs;
                }
            }
        }
    }

    /// Whether it makes any difference to `facts`.
    pub(crate) fn matters(&self, facts: &Facts) -> bool {
        match &self.setting {
            Setting::Flag(field, value) => (field.read)(facts) != value,
            Setting::Age(field, value) => (field.read)(facts) != value,
            Setting::Posture(field, change) => {
                let fact = (field.read)(facts);
                change.of(*fact) != *fact
            }
        }
    }
}

impl PostureChange {
    /// `ok=true,age_secs=0`: each field at most once, at least one.
    fn parse(value: &str) -> Option<Self> {
        let mut change = Self::default();
        for part in value.split(',') {
            let (field, value) = part.split_once('=')?;
            let is_new = match field {
                "ok" => change.ok.replace(value.parse().ok()?).is_none(),
                "age_secs" => change.age_secs.replace(whole(value)?).is_none(),
                "level" => change.level.replace(whole(value)?).is_none(),
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(change)
    }

    fn of(self, fact: PostureFact) -> PostureFact {
        PostureFact {
            ok: self.ok.unwrap_or(fact.ok),
            age_secs: self.age_secs.unwrap_or(fact.age_secs),
            level: self.level.unwrap_or(fact.level),
        }
    }
}

/// A whole number that is not negative.
fn whole(value: &str) -> Option<i64> {
    value.parse().ok().filter(|value| *value >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_fact_or_is_refused() {
        let fits = |fact: &str, value: &str| Change::parse(fact, value).is_some();
        assert!(fits("auth.mfa", "true") && fits("auth.step_up_age_secs", "0") && fits("session.granted", "true"));
        assert!(fits("device.managed", "ok=true,age_secs=0") && fits("device.edr", "level=2"));
        for (fact, value) in [
            ("auth.mfa", "yes"),
            ("auth.mfa", "0"),
            ("auth.step_up_age_secs", "true"),
            ("auth.step_up_age_secs", "-1"),
            ("device.managed", ""),
            ("device.managed", "true"),
            ("device.managed", "ok=0"),
            ("device.managed", "ok=true,ok=true"),
            ("device.managed", "ok=true,"),
            ("device.managed", "ok=true,state=fine"),
        ] {
            assert!(!fits(fact, value), "{fact} {value}");
        }
    }

    #[test]
    fn facts_nobody_can_mend_are_never_flipped() {
        for fact in ["net.tor", "net.country", "risk.points", "risk.anomaly", "auth.authenticated", "session.grants"] {
            for value in ["true", "false", "0", "ok=true"] {
                assert!(Change::parse(fact, value).is_none(), "{fact}");
            }
        }
    }

    #[test]
    fn a_change_sets_what_it_names_and_undoing_restores_it() {
        let mut base = Facts::unknown();
        base.device.managed = PostureFact { ok: false, age_secs: 77, level: 3 };
        for (fact, value) in
            [("auth.mfa", "true"), ("auth.auth_age_secs", "0"), ("device.managed", "ok=true,age_secs=0")]
        {
            let change = Change::parse(fact, value).unwrap();
            let mut facts = base.clone();
            assert!(change.matters(&facts));
            change.apply(&mut facts);
            assert!(!change.matters(&facts) && facts != base, "{fact}");
            change.undo(&base, &mut facts);
            assert_eq!(facts, base, "{fact}");
        }
        let mut facts = base.clone();
        Change::parse("device.managed", "ok=true,age_secs=0").unwrap().apply_aged(&mut facts, 5);
        assert_eq!(facts.device.managed, PostureFact { ok: true, age_secs: 5, level: 3 });
    }
}
