//! Tokens and tickets: what somebody without our keys can make of them.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use model::{Ids, SessionId, Timestamp, TokenHash};
use pki::jose::VerifyingKeys;
use pki::jose::assertion::{LEEWAY, MAX_LIFE, TYP};
use pki::return_ticket::{PURPOSE, ReturnTarget, ReturnTicket, TicketError};
use pki::step_up_ticket::StepUpTicket;
use pki::{AssertionClaims, Jwks, Kek, Sealer, SigningKey};

/// Somewhere in 2026.
const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);
const ISSUER: &str = "https://auth.localhost";
const APP: &str = "wiki";

/// The same bytes always, so that a run can be repeated.
struct Fixed;

impl Ids for Fixed {
    fn uuid_v7(&self, _: Timestamp) -> uuid::Uuid {
        uuid::Uuid::nil()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

static KEY: LazyLock<Option<(SigningKey, VerifyingKeys)>> = LazyLock::new(|| {
    let key = SigningKey::generate("fuzz").ok()?;
    let keys = VerifyingKeys::from_jwks(&Jwks::new([key.public_jwk()])).ok()?;
    Some((key, keys))
});

static SEALER: LazyLock<Option<Sealer>> = LazyLock::new(|| Kek::from_bytes(&[9; 32]).ok()?.sealer(PURPOSE).ok());

/// Even: a token as it is. Odd: a type and claims that are signed with the right key first.
pub(crate) fn assertion(data: &[u8]) {
    let Some((key, keys)) = KEY.as_ref() else { return };
    let [mode, rest @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if mode & 1 == 0 {
        let verified = AssertionClaims::verify(text, keys, ISSUER, APP, NOW);
        assert!(verified.is_err(), "a token nobody signed passed: {verified:?}");
        return;
    }
    let Some((typ, claims)) = text.split_once('\n') else { return };
    let Ok(claims) = serde_json::from_str::<serde_json::Value>(claims) else { return };
    let Ok(token) = key.sign(typ, &claims) else { return };
    let Ok(verified) = AssertionClaims::verify(&token, keys, ISSUER, APP, NOW) else { return };
    assert_eq!(typ, TYP, "of another type");
    assert_eq!((verified.iss.as_str(), verified.aud.as_str()), (ISSUER, APP));
    let (now, leeway) = (NOW.unix_secs(), i64::try_from(LEEWAY.as_secs()).unwrap_or(0));
    assert!(verified.exp.saturating_add(leeway) >= now, "it has ended");
    assert!(verified.iat.saturating_sub(leeway) <= now, "it has not begun");
    let life = verified.exp.saturating_sub(verified.iat);
    assert!(life <= i64::try_from(MAX_LIFE.as_secs()).unwrap_or(0), "it lives {life} s");
    // Cut or altered anywhere, it is worth nothing.
    let mut altered = token.into_bytes();
    if let Some(byte) = altered.get_mut(usize::from(*mode)) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    let altered = String::from_utf8_lossy(&altered).into_owned();
    assert!(AssertionClaims::verify(&altered, keys, ISSUER, APP, NOW).is_err(), "altered and still good: {altered}");
}

/// 0: a ticket as it is. 1: a target to seal. Else: the plain text under a seal of ours for another purpose.
pub(crate) fn tickets(data: &[u8]) {
    let Some(sealer) = SEALER.as_ref() else { return };
    let [mode, rest @ ..] = data else { return };
    match mode {
        0 => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            refuse(text, sealer);
        }
        1 => {
            let Ok(target) = std::str::from_utf8(rest) else { return };
            check_target(target, sealer);
        }
        _ => {
            let Ok(sealed) = sealer.seal(b"something else", rest, &Fixed) else { return };
            refuse(&BASE64URL_NOPAD.encode(&sealed), sealer);
        }
    }
}

fn refuse(text: &str, sealer: &Sealer) {
    assert!(ReturnTicket::open(text, sealer, NOW).is_err(), "`{text}` opened as a return ticket");
    let session = SessionId(uuid::Uuid::nil());
    assert!(StepUpTicket::open(text, sealer, session, NOW).is_err(), "`{text}` opened as a step-up ticket");
}

/// What is sealed opens unaltered, as nothing else, and stays on its host in the eyes of a browser (ATK-30).
fn check_target(target: &str, sealer: &Sealer) {
    let ticket = ReturnTicket {
        authority: "wiki.localhost:8443".to_owned(),
        target: ReturnTarget::Inline(target.to_owned()),
        binding: TokenHash([3; 32]),
        created: NOW,
    };
    let sealed = match ticket.seal(sealer, &Fixed) {
        Ok(sealed) => sealed,
        Err(TicketError::NotLocal | TicketError::Invalid) => return,
        Err(error) => {
            assert_eq!(error, TicketError::NotLocal, "no other reason is possible here");
            return;
        }
    };
    let opened = ReturnTicket::open(&sealed, sealer, NOW);
    assert_eq!(opened.as_ref(), Ok(&ticket), "sealed and opened differently");
    let session = SessionId(uuid::Uuid::nil());
    assert!(StepUpTicket::open(&sealed, sealer, session, NOW).is_err(), "opened as a ticket of another kind");
    let base = url::Url::parse("https://wiki.localhost:8443/login");
    let led = base.and_then(|base| base.join(target));
    let stays = led.as_ref().is_ok_and(|url| url.origin().ascii_serialization() == "https://wiki.localhost:8443");
    assert!(stays, "`{target}` leads to {led:?}");
}
