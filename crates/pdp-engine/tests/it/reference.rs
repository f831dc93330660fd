//! Remedies and the search for a fix set as PO-5 and PO-6 word them, written a second time: no pruning, no memory.

use model::Facts;
use model::facts::PostureFact;

use crate::oracle::Answer;

/// What doing something makes of the facts.
pub(crate) type Remedy = (&'static str, fn(&mut Facts));

/// Cheapest first.
pub(crate) const REMEDIES: [Remedy; 9] = [
    ("reauth", step_up),
    ("mfa", |facts| {
        step_up(facts);
        facts.auth.mfa = true;
    }),
    ("recheck", |facts| {
        let device = &mut facts.device;
        for posture in [
            &mut device.managed,
            &mut device.encrypted,
            &mut device.compliant,
            &mut device.os_patched,
            &mut device.firewall,
            &mut device.screen_lock,
            &mut device.edr,
        ] {
            posture.age_secs = 0;
        }
    }),
    ("passkey", |facts| {
        step_up(facts);
        facts.auth.mfa = true;
        facts.auth.phishing_resistant = true;
    }),
    ("patch", |facts| mend(&mut facts.device.os_patched)),
    ("comply", |facts| mend(&mut facts.device.compliant)),
    ("encrypt", |facts| mend(&mut facts.device.encrypted)),
    ("enrol", |facts| {
        facts.device.known = true;
        mend(&mut facts.device.managed);
    }),
    ("grant", |facts| facts.session.granted = true),
];

fn step_up(facts: &mut Facts) {
    facts.auth.auth_age_secs = 0;
    facts.auth.step_up_age_secs = 0;
}

fn mend(posture: &mut PostureFact) {
    posture.ok = true;
    posture.age_secs = 0;
}

/// The facts once all of `names` is done.
pub(crate) fn after(facts: &Facts, names: &[&str]) -> Facts {
    let mut facts = facts.clone();
    REMEDIES.iter().filter(|(name, _)| names.contains(name)).for_each(|(_, act)| act(&mut facts));
    facts
}

/// The fix set, as `enrol+mfa`, or the ids of the policies that raise an error on the way.
pub(crate) fn fix(
    facts: &Facts,
    is_requestable: bool,
    ask: &impl Fn(&Facts) -> Answer,
) -> Result<Option<String>, Vec<String>> {
    let opens = |names: &[&str]| match ask(&after(facts, names)) {
        Answer::Allow(_) => Ok(true),
        Answer::Error(errors) => Err(errors),
        Answer::Hard(_) | Answer::NotPermitted(_) | Answer::Soft(_) => Ok(false),
    };
    let offered = REMEDIES.iter().map(|(name, _)| *name).filter(|name| *name != "grant" || is_requestable);
    let mut kept: Vec<&str> = offered.collect();
    if !opens(&kept)? {
        return Ok(None);
    }
    loop {
        let before = kept.len();
        for name in REMEDIES.iter().rev().map(|(name, _)| *name) {
            let without: Vec<&str> = kept.iter().copied().filter(|kept| *kept != name).collect();
            if without.len() < kept.len() && opens(&without)? {
                kept = without;
            }
        }
        if kept.len() == before {
            kept.sort_unstable();
            return Ok(Some(kept.join("+")));
        }
    }
}
