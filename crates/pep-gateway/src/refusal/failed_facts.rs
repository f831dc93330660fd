//! The facts that failed, in words for the person they are about (GW-16): what, its value, who says so, and how old it is.
//!
//! Only facts that a remedy of the answer would change, and of these only a person's own sign-in, device and approvals.
//! Never a threshold, a list, a score, a network or anybody else's group (PO-11): a fact without a row here is not named.

use model::Facts;
use model::Fix;
use model::facts::{NEVER_SECS, PostureFact};

/// A fact that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FailedFact {
    /// Its path without what follows the attribute: `device.encrypted`.
    pub(crate) path: String,
    /// "Disk encryption".
    pub(crate) name: &'static str,
    /// "off".
    pub(crate) value: String,
    /// Who says so.
    pub(crate) source: &'static str,
    /// How old it is, where it has an age.
    pub(crate) age_secs: Option<i64>,
}

const SIGN_IN: &str = "your sign-in";
const DEVICE: &str = "your device's last report";

/// The facts `fix` would change, as `facts` has them; each once, in the order of the set.
pub(crate) fn failed_facts(facts: &Facts, fix: &[Fix]) -> Vec<FailedFact> {
    let mut failed: Vec<FailedFact> = Vec::new();
    for path in fix.iter().flat_map(|fix| &fix.facts) {
        let mut parts = path.strip_prefix("context.").unwrap_or(path).split('.');
        let (Some(record), Some(attribute)) = (parts.next(), parts.next()) else { continue };
        if failed.iter().any(|known| known.path.split_once('.') == Some((record, attribute))) {
            continue;
        }
        failed.extend(failed_fact(facts, record, attribute));
    }
    failed
}

fn failed_fact(facts: &Facts, record: &str, attribute: &str) -> Option<FailedFact> {
    let (name, value, source, age_secs) = match record {
        "auth" => of_sign_in(facts, attribute)?,
        "device" => of_device(facts, attribute)?,
        "session" if attribute == "granted" => ("Approved request", "none".to_owned(), "the approvals on record", None),
        _ => return None,
    };
    Some(FailedFact { path: format!("{record}.{attribute}"), name, value, source, age_secs })
}

type Row = (&'static str, String, &'static str, Option<i64>);

fn of_sign_in(facts: &Facts, attribute: &str) -> Option<Row> {
    let auth = &facts.auth;
    let not_used = |name| (name, "not used".to_owned(), SIGN_IN, known_age(auth.auth_age_secs));
    Some(match attribute {
        "acr" | "amr" => ("Strength of the sign-in", "not enough".to_owned(), SIGN_IN, known_age(auth.auth_age_secs)),
        "auth_age_secs" => ("Last sign-in", ago(auth.auth_age_secs), SIGN_IN, None),
        "mfa" => not_used("Second factor"),
        "phishing_resistant" => not_used("Passkey"),
        "step_up_age_secs" => ("Last confirmation for this", ago(auth.step_up_age_secs), SIGN_IN, None),
        _ => return None,
    })
}

fn of_device(facts: &Facts, attribute: &str) -> Option<Row> {
    let device = &facts.device;
    let posture = |name, fact: &PostureFact| (name, posture_value(fact).to_owned(), DEVICE, known_age(fact.age_secs));
    Some(match attribute {
        "compliant" => posture("Device settings", &device.compliant),
        "edr" => posture("Endpoint protection", &device.edr),
        "encrypted" => posture("Disk encryption", &device.encrypted),
        "firewall" => posture("Firewall", &device.firewall),
        "known" => ("Device", "not enrolled".to_owned(), "the devices on record", None),
        "managed" => posture("Device management", &device.managed),
        "os_patched" => posture("System updates", &device.os_patched),
        "screen_lock" => posture("Screen lock", &device.screen_lock),
        _ => return None,
    })
}

/// A fact that holds and failed all the same was seen too long ago.
fn posture_value(fact: &PostureFact) -> &'static str {
    match (fact.age_secs >= NEVER_SECS, fact.ok) {
        (true, _) => "not known",
        (false, true) => "seen too long ago",
        (false, false) => "not in order",
    }
}

fn known_age(secs: i64) -> Option<i64> {
    (0..NEVER_SECS).contains(&secs).then_some(secs)
}

/// An age for people, in its largest whole unit.
pub(super) fn ago(secs: i64) -> String {
    let (count, unit) = match secs {
        NEVER_SECS.. => return "never".to_owned(),
        ..60 => return "just now".to_owned(),
        60..3600 => (secs / 60, "minute"),
        3600..86_400 => (secs / 3600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Remedy;
    use std::sync::Arc;

    fn fix(paths: &[&str]) -> Vec<Fix> {
        let facts = paths.iter().map(|path| Arc::from(*path)).collect();
        vec![Fix { remedy: Remedy::Passkey, acr_values: String::new(), max_age_secs: 0, facts }]
    }

    #[test]
    fn ages_are_said_in_their_largest_whole_unit() {
        for (secs, said) in [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (7200, "2 hours ago"),
            (86_400 * 3 + 5, "3 days ago"),
            (NEVER_SECS, "never"),
            (i64::MAX, "never"),
        ] {
            assert_eq!(ago(secs), said, "{secs}");
        }
    }

    #[test]
    fn a_fact_is_told_once_with_its_source_and_age() {
        let mut facts = Facts::unknown();
        facts.device.encrypted = PostureFact { ok: false, age_secs: 7200, level: 2 };
        facts.auth.step_up_age_secs = 600;
        let paths =
            ["context.device.encrypted.ok", "context.device.encrypted.age_secs", "context.auth.step_up_age_secs"];
        let told = failed_facts(&facts, &fix(&paths));
        let rows: Vec<_> = told.iter().map(|fact| (fact.name, fact.value.as_str(), fact.age_secs)).collect();
        assert_eq!(
            rows,
            [("Disk encryption", "not in order", Some(7200)), ("Last confirmation for this", "10 minutes ago", None)]
        );
    }

    #[test]
    fn scores_networks_groups_and_what_is_not_known_here_are_never_told() {
        let paths = [
            "context.risk.points",
            "context.risk.anomaly",
            "context.net.country",
            "context.net.zones",
            "context.request.path",
            "context.session.grants",
            "context.device.id",
            "principal.groups",
            "resource.sensitivity",
            "context",
            "",
        ];
        assert_eq!(failed_facts(&Facts::unknown(), &fix(&paths)), []);
    }
}
