//! The rule for sensitive changes (ID-7; SP 800-63B-4 §4.1.2.1): a proof of the last five minutes, at the highest level
//! the account has; and nobody removes their last way in while they have no way back. Pure.

use std::time::Duration;

use model::decision::Remedy;
use model::{Session, Timestamp};

/// How old a proof may be.
pub const FRESH_SIGN_IN: Duration = Duration::from_secs(5 * 60);

/// What an account can prove with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// How many passkeys.
    pub passkeys: usize,
    /// Password with one-time codes.
    pub has_pair: bool,
    /// How many recovery codes are left.
    pub codes: usize,
}

/// What is to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// Password and one-time codes.
    Pair,
    /// One passkey.
    Passkey,
}

/// Why a sensitive change is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SensitiveRefusal {
    /// The sign-in was withdrawn while the change was on its way.
    #[error("this sign-in was ended meanwhile, and nothing was changed; sign in again")]
    Ended,
    /// The last way in, and no way back.
    #[error("this is the only way left into the account; add another passkey or recovery codes first")]
    LastWayIn,
    /// Too old, or proven with less than the account has.
    #[error("this needs a proof of the last five minutes; confirm with {} and try again", if *.with_passkey { "your passkey" } else { "password and one-time code" })]
    Stale {
        /// The proof must be a passkey.
        with_passkey: bool,
    },
}

/// Whether a session may change what its person signs in with.
///
/// A step-up counts for an account with passkeys only where it says that it was made with one: whoever notes a step-up
/// by password and one-time code must not put [`Remedy::Passkey`] into its fix.
///
/// # Errors
/// [`SensitiveRefusal::Stale`].
pub fn check_fresh(session: &Session, standing: Standing, now: Timestamp) -> Result<(), SensitiveRefusal> {
    let with_passkey = standing.passkeys > 0;
    let by_sign_in = (!with_passkey || session.is_phishing_resistant).then_some(session.auth_time);
    let step_ups = session.step_ups.iter().filter(|step_up| !with_passkey || step_up.fix.contains(&Remedy::Passkey));
    let newest = step_ups.map(|step_up| step_up.at).chain(by_sign_in).max();
    match newest {
        Some(at) if now.since(at) <= FRESH_SIGN_IN => Ok(()),
        _ => Err(SensitiveRefusal::Stale { with_passkey }),
    }
}

/// Whether a way in may be removed.
///
/// # Errors
/// [`SensitiveRefusal::LastWayIn`].
pub fn check_removal(standing: Standing, removal: Removal) -> Result<(), SensitiveRefusal> {
    let ways_left = match removal {
        Removal::Pair => standing.passkeys,
        Removal::Passkey => standing.passkeys.saturating_sub(1) + usize::from(standing.has_pair),
    };
    // A code is half of a recovery; with another factor still bound, or an administrator, it is a way back.
    if ways_left == 0 && standing.codes == 0 { Err(SensitiveRefusal::LastWayIn) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::session::StepUp;
    use model::{Action, AppName, SessionId, UserId};
    use uuid::Uuid;

    const PASSKEY: Standing = Standing { passkeys: 1, has_pair: true, codes: 10 };
    const PAIR: Standing = Standing { passkeys: 0, has_pair: true, codes: 10 };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    fn session(is_phishing_resistant: bool, step_up: Option<(i64, Vec<Remedy>)>) -> Session {
        let mut session = testkit::session(SessionId(Uuid::nil()), UserId(Uuid::nil()), at(0));
        session.is_phishing_resistant = is_phishing_resistant;
        session.step_ups = step_up
            .into_iter()
            .map(|(secs, fix)| StepUp { app: AppName::new("wiki"), action: Action::HttpGet, at: at(secs), fix })
            .collect();
        session
    }

    #[test]
    fn five_minutes_are_fresh_and_a_second_more_is_not() {
        let check = |secs| check_fresh(&session(true, None), PASSKEY, at(secs));
        assert_eq!(check(300), Ok(()));
        assert_eq!(check(301), Err(SensitiveRefusal::Stale { with_passkey: true }));
    }

    #[test]
    fn the_highest_level_the_account_has_is_asked_for() {
        // A password sign-in is fresh for an account without passkeys and for no other.
        assert_eq!(check_fresh(&session(false, None), PAIR, at(1)), Ok(()));
        assert!(check_fresh(&session(false, None), PASSKEY, at(1)).is_err());
        let check =
            |fix: &[Remedy], standing| check_fresh(&session(true, Some((1_000, fix.to_vec()))), standing, at(1_001));
        assert_eq!(check(&[Remedy::Passkey], PASSKEY), Ok(()));
        assert!(check(&[Remedy::Mfa], PASSKEY).is_err());
        assert!(check(&[], PASSKEY).is_err());
        assert_eq!(check(&[Remedy::Mfa], PAIR), Ok(()));
    }

    #[test]
    fn the_last_way_in_stays_while_there_is_no_way_back() {
        for (passkeys, has_pair, codes, removal, is_allowed) in [
            (1, false, 0, Removal::Passkey, false),
            (1, false, 1, Removal::Passkey, true),
            (2, false, 0, Removal::Passkey, true),
            (1, true, 0, Removal::Passkey, true),
            (0, true, 0, Removal::Pair, false),
            (0, true, 1, Removal::Pair, true),
            (1, true, 0, Removal::Pair, true),
        ] {
            let standing = Standing { passkeys, has_pair, codes };
            assert_eq!(check_removal(standing, removal).is_ok(), is_allowed, "{standing:?} {removal:?}");
        }
    }
}
