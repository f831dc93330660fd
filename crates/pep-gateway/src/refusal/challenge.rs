//! The challenge of RFC 9470 §3: one `WWW-Authenticate` for a whole set of remedies.
//!
//! Invariant: whoever satisfies the challenge has done every ceremony of the set; nothing of a session or policy can
//! leave its quotes.

use model::decision::FixKind;
use model::{Fix, Reason};

/// The longest level that is named.
const MAX_ACR_BYTES: usize = 128;

/// The challenge for the ceremonies in `set`; `None` without any.
///
/// `acr_values` means *any of these*, so a set becomes its strongest level alone, and its shortest age.
pub(super) fn insufficient_user_authentication(reason: Reason, set: &[Fix]) -> Option<String> {
    let ceremonies = || set.iter().filter(|fix| fix.remedy.kind() == FixKind::Auth);
    let max_age = ceremonies().map(|fix| fix.max_age_secs.max(0)).min()?;
    let levels = ceremonies().flat_map(|fix| fix.acr_values.split(' ')).filter(|acr| is_token(acr));
    let strongest = levels.max_by_key(|acr| strength(acr));
    let acr_values = strongest.map(|acr| format!("acr_values=\"{acr}\", ")).unwrap_or_default();
    Some(format!(
        "Bearer error=\"insufficient_user_authentication\", error_description=\"{}\", {acr_values}max_age=\"{max_age}\"",
        reason.sentence(),
    ))
}

/// The levels of one set, for JSON: each once.
pub(super) fn levels(fix: &Fix) -> Vec<&str> {
    fix.acr_values.split(' ').filter(|acr| is_token(acr)).collect()
}

/// What RFC 6749 §3.3 lets stand between quotes and spaces.
fn is_token(acr: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !acr.is_empty() && acr.len() <= MAX_ACR_BYTES && acr.bytes().all(is_plain)
}

fn strength(acr: &str) -> u8 {
    match acr {
        "phrh" => 3,
        "phr" => 2,
        "urn:countersign:acr:mfa" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Remedy;

    fn fix(remedy: Remedy, acr: &str, max_age_secs: i64) -> Fix {
        Fix { remedy, acr_values: acr.to_owned(), max_age_secs, facts: Vec::new() }
    }

    fn check(set: &[Fix], tail: &str) {
        let challenge = insufficient_user_authentication(Reason::StepUpMfa, set).unwrap();
        assert!(challenge.ends_with(tail), "{challenge}");
        assert!(http::HeaderValue::try_from(&challenge).is_ok(), "{challenge}");
        assert_eq!(challenge.matches('"').count() % 2, 0, "{challenge}");
    }

    #[test]
    fn a_set_is_challenged_by_its_strongest_level_and_shortest_age() {
        let mfa = || fix(Remedy::Mfa, "urn:countersign:acr:mfa", 900);
        let passkey = || fix(Remedy::Passkey, "phr", 3600);
        check(&[mfa(), passkey()], "acr_values=\"phr\", max_age=\"900\"");
        check(&[mfa(), fix(Remedy::Reauth, "phr", 60)], "acr_values=\"phr\", max_age=\"60\"");
        check(&[mfa(), fix(Remedy::Enrol, "", 5)], "acr_values=\"urn:countersign:acr:mfa\", max_age=\"900\"");
        check(
            &[fix(Remedy::Reauth, "", 60)],
            "error_description=\"Please confirm with a second factor.\", max_age=\"60\"",
        );
        check(&[fix(Remedy::Reauth, "", -5)], "max_age=\"0\"");
        let only_device = [fix(Remedy::Enrol, "", 0), fix(Remedy::Grant, "", 0)];
        assert_eq!(insufficient_user_authentication(Reason::StepUpDevice, &only_device), None);
    }

    #[test]
    fn header_injection_through_a_level_of_a_foreign_identity_provider_is_refused() {
        let long = "x".repeat(MAX_ACR_BYTES + 1);
        for acr in ["a\r\nSet-Cookie:x=1", "a\",error=\"none", "a\\", "ä", "a\u{0}", long.as_str()] {
            check(&[fix(Remedy::Reauth, acr, 60)], "factor.\", max_age=\"60\"");
            assert!(levels(&fix(Remedy::Reauth, acr, 60)).is_empty(), "{acr:?}");
        }
    }

    #[test]
    fn every_sentence_may_stand_in_a_challenge() {
        for reason in Reason::ALL {
            let sentence = reason.sentence();
            assert!(
                sentence.bytes().all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\'),
                "{sentence}"
            );
        }
    }
}
