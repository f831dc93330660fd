//! The return ticket `rt` of a sign-in (GW-12, R-14): where a person was going, sealed by the door and
//! opened by the auth host. Both use a [`Sealer`] of the purpose [`PURPOSE`].
//!
//! It is not a session and proves nothing about anybody: who presents it still has to sign in, and comes back only in
//! the browser that holds the login-binding cookie.
//!
//! Invariants: the host is the authority the door served, never one the client chose; a target starts with exactly
//! one `/` and cannot be read as another authority by any browser (ATK-30); a ticket is of no use after
//! [`RETURN_TICKET_LIFE`].

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use model::{Ids, Timestamp, TokenHash};
use serde::{Deserialize, Serialize};

use crate::seal::{SealError, Sealer};

/// The purpose for which the key is derived.
pub const PURPOSE: &str = "return-ticket";
/// How long a ticket may be used: as long as a login transaction (ID-28).
pub const RETURN_TICKET_LIFE: Duration = Duration::from_secs(600);
/// The longest target a ticket carries itself; longer ones are parked on the server (GW-12).
pub const MAX_INLINE_TARGET_BYTES: usize = 2 * 1024;
/// The longest target at all: the gate's limit (GW-83).
pub const MAX_TARGET_BYTES: usize = 8 * 1024;
/// The longest printed ticket that is looked at.
pub const MAX_TICKET_BYTES: usize = 8 * 1024;

const AAD: &[u8] = b"countersign return ticket 1";

/// Where to go after signing in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnTarget {
    /// `path?query` on the ticket's host.
    Inline(String),
    /// The key of a target kept by `ReservedService::park_target`.
    Parked(String),
}

/// The contents of `rt`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReturnTicket {
    /// The authority of the app host as browsers write it: with port where it is not the default.
    pub authority: String,
    /// The target.
    pub target: ReturnTarget,
    /// SHA-256 of the login-binding cookie of that browser on that host.
    pub binding: TokenHash,
    /// When the door made it.
    pub created: Timestamp,
}

/// Why a ticket is of no use. The caller starts over silently, without the target (GW-11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Too old, or from the future.
    #[error("the return ticket is too old; start over")]
    Expired,
    /// Altered, made under another key, or no ticket at all.
    #[error("the return ticket does not open; start over")]
    Invalid,
    /// The target could lead to another host.
    #[error("the return target does not stay on its host; start over")]
    NotLocal,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    a: String,
    t: ReturnTarget,
    b: String,
    c: i64,
}

impl ReturnTicket {
    /// Seals the ticket into text for a URL.
    ///
    /// # Errors
    /// [`TicketError::NotLocal`] for a target that is not local; [`TicketError::Invalid`] for one that is too long.
    pub fn seal(&self, sealer: &Sealer, ids: &dyn Ids) -> Result<String, TicketError> {
        self.check_target()?;
        let wire = Wire {
            a: self.authority.clone(),
            t: self.target.clone(),
            b: BASE64URL_NOPAD.encode(&self.binding.0),
            c: self.created.0,
        };
        let json = serde_json::to_vec(&wire).map_err(|_| TicketError::Invalid)?;
        let sealed = sealer.seal(AAD, &json, ids).map_err(|_: SealError| TicketError::Invalid)?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// Opens a ticket.
    ///
    /// # Errors
    /// [`TicketError`]: start over without the target.
    pub fn open(text: &str, sealer: &Sealer, now: Timestamp) -> Result<Self, TicketError> {
        if text.len() > MAX_TICKET_BYTES {
            return Err(TicketError::Invalid);
        }
        let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TicketError::Invalid)?;
        let json = sealer.open(AAD, &sealed).map_err(|_: SealError| TicketError::Invalid)?;
        let wire: Wire = serde_json::from_slice(json.expose()).map_err(|_| TicketError::Invalid)?;
        let binding = BASE64URL_NOPAD.decode(wire.b.as_bytes()).map_err(|_| TicketError::Invalid)?;
        let binding = TokenHash(binding.try_into().map_err(|_| TicketError::Invalid)?);
        let ticket = Self { authority: wire.a, target: wire.t, binding, created: Timestamp(wire.c) };
        ticket.check_target()?;
        // Door and auth host may run on machines whose clocks differ a little (GW-47).
        let is_alive =
            now.since(ticket.created) <= RETURN_TICKET_LIFE && now.until(ticket.created) <= RETURN_TICKET_LIFE;
        if is_alive { Ok(ticket) } else { Err(TicketError::Expired) }
    }

    fn check_target(&self) -> Result<(), TicketError> {
        match &self.target {
            ReturnTarget::Inline(target) if target.len() > MAX_INLINE_TARGET_BYTES => Err(TicketError::Invalid),
            ReturnTarget::Inline(target) if !is_local_target(target) => Err(TicketError::NotLocal),
            ReturnTarget::Inline(_) | ReturnTarget::Parked(_) => Ok(()),
        }
    }
}

/// Whether `target` stays on the host it is sent to, however a browser reads it: one leading `/`, visible ASCII only,
/// no backslash, no `#`. Browsers drop tabs and line ends and read `\` as `/` (WHATWG URL §4.4), so both are refused
/// rather than interpreted; so is a second `/` or an encoded one right behind the first.
pub fn is_local_target(target: &str) -> bool {
    let Some(rest) = target.strip_prefix('/') else {
        return false;
    };
    let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    let lower = rest.get(..3).unwrap_or_default().to_ascii_lowercase();
    let starts_encoded = ["%2f", "%5c", "%09", "%0a", "%0d"].contains(&lower.as_str());
    target.len() <= MAX_TARGET_BYTES && rest.bytes().all(is_visible) && !rest.starts_with('/') && !starts_encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{KEK_BYTES, Kek};
    use testkit::{SeqIds, SimClock};

    const MADE: Timestamp = SimClock::START;

    fn sealer(purpose: &str) -> Sealer {
        Kek::from_bytes(&[1; KEK_BYTES]).unwrap().sealer(purpose).unwrap()
    }

    fn ticket(target: ReturnTarget) -> ReturnTicket {
        ReturnTicket {
            authority: "wiki.localhost:8443".to_owned(),
            target,
            binding: TokenHash::of(b"cookie"),
            created: MADE,
        }
    }

    fn sealed() -> (ReturnTicket, String) {
        let ticket = ticket(ReturnTarget::Inline("/a?b".to_owned()));
        let text = ticket.seal(&sealer(PURPOSE), &SeqIds::default()).unwrap();
        (ticket, text)
    }

    #[test]
    fn a_sealed_ticket_opens_as_it_was_until_its_time_is_over() {
        let (ticket, text) = sealed();
        let open = |now| ReturnTicket::open(&text, &sealer(PURPOSE), now);
        assert_eq!(open(MADE), Ok(ticket.clone()));
        assert_eq!(open(MADE + RETURN_TICKET_LIFE), Ok(ticket));
        assert_eq!(open(MADE + RETURN_TICKET_LIFE + Duration::from_nanos(1)), Err(TicketError::Expired));
    }

    #[test]
    fn an_altered_ticket_or_one_of_another_purpose_is_refused() {
        let (_, text) = sealed();
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(ReturnTicket::open(&altered, &sealer(PURPOSE), MADE), Err(TicketError::Invalid), "{position}");
        }
        assert_eq!(ReturnTicket::open(&text, &sealer("other"), MADE), Err(TicketError::Invalid));
        let long = "A".repeat(MAX_TICKET_BYTES + 1);
        assert_eq!(ReturnTicket::open(&long, &sealer(PURPOSE), MADE), Err(TicketError::Invalid));
    }

    #[test]
    fn a_ticket_is_not_made_for_a_target_that_is_foreign_or_too_long() {
        let seal =
            |target: &str| ticket(ReturnTarget::Inline(target.to_owned())).seal(&sealer(PURPOSE), &SeqIds::default());
        assert_eq!(seal("//evil.test"), Err(TicketError::NotLocal));
        assert!(seal(&format!("/{}", "a".repeat(MAX_INLINE_TARGET_BYTES - 1))).is_ok());
        assert_eq!(seal(&format!("/{}", "a".repeat(MAX_INLINE_TARGET_BYTES))), Err(TicketError::Invalid));
        let parked = ticket(ReturnTarget::Parked("key".to_owned()));
        let text = parked.seal(&sealer(PURPOSE), &SeqIds::default()).unwrap();
        assert_eq!(ReturnTicket::open(&text, &sealer(PURPOSE), MADE), Ok(parked));
    }

    #[test]
    fn atk_30_a_target_that_could_leave_the_host_is_refused() {
        for target in [
            "",
            "evil",
            "//evil.test",
            "/\\evil.test",
            "/%5cevil.test",
            "/%2Fevil.test",
            "/%09/evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            "https:evil.test",
            "https://evil.test/",
            "javascript:alert(1)",
            "user@evil.test",
            "/\u{ff0f}evil.test",
            "/a\u{2024}b",
            "/a#b",
            "/a b",
            "\\\\evil.test",
        ] {
            assert!(!is_local_target(target), "{target:?}");
        }
        for target in ["/", "/wiki", "/a/b?c=d//e&f=https://x.test/", "/a%2Fb", "/@user", "/:80"] {
            assert!(is_local_target(target), "{target:?}");
        }
    }
}
