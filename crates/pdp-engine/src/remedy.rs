//! What a remedy makes of the facts (PO-5, PO-6): one remedy at a time, cheapest first.
//!
//! Invariant: facts are changed only as the schema's annotations say.

use model::Facts;

use crate::schema::Change;

/// Applies `change`; `None` if no remedy may touch this fact or the value does not fit it.
pub(crate) fn assign(facts: &mut Facts, change: &Change) -> Option<()> {
    match change.fact.as_str() {
        "auth.auth_age_secs" => facts.auth.auth_age_secs = change.value.parse().ok()?,
        "auth.mfa" => facts.auth.mfa = change.value.parse().ok()?,
        "auth.phishing_resistant" => facts.auth.phishing_resistant = change.value.parse().ok()?,
        "auth.step_up_age_secs" => facts.auth.step_up_age_secs = change.value.parse().ok()?,
        _ => return None,
    }
    Some(())
}

/// The facts as they would be once a remedy's `changes` came true.
pub(crate) fn remedied(facts: &Facts, changes: &[Change]) -> Facts {
    let mut facts = facts.clone();
    for change in changes {
        // The schema was refused at load if a change did not fit, so nothing is skipped here.
        let _fits = assign(&mut facts, change);
    }
    facts
}
