//! The demand of a STEP_UP on its way from the door to the page that drives it (GW-17): what has to be proven, for which
//! action of which app, in which session. Sealed by the door and opened by the auth host with a [`Sealer`] of the purpose
//! [`crate::return_ticket::PURPOSE`], so that nobody weakens it in the address bar.
//!
//! It permits nothing: after the ceremony the request is judged afresh (PO-7).
//!
//! Invariants: a ticket is of use in the session it was made for and in no other, and not after [`STEP_UP_TICKET_LIFE`];
//! it never opens as a return ticket, nor a return ticket as one.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use model::{Action, AppName, Fix, Ids, Remedy, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::return_ticket::TicketError;
use crate::seal::{SealError, Sealer};

/// How long a demand may be used: as long as the way back.
pub const STEP_UP_TICKET_LIFE: Duration = crate::return_ticket::RETURN_TICKET_LIFE;
/// The longest printed ticket that is looked at.
pub const MAX_TICKET_BYTES: usize = 4 * 1024;

const AAD: &[u8] = b"countersign step-up ticket 1";

/// What a person has to prove, and where it will count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepUpTicket {
    /// The session that was refused.
    pub session: SessionId,
    /// The app.
    pub app: AppName,
    /// Exactly this action.
    pub action: Action,
    /// The whole set, sorted by remedy, without [`Fix::facts`].
    pub fix: Vec<Fix>,
    /// When the door made it.
    pub created: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    s: String,
    p: String,
    a: String,
    f: Vec<WireFix>,
    c: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFix {
    r: String,
    l: String,
    m: i64,
}

impl StepUpTicket {
    /// Seals the ticket into text for a URL.
    ///
    /// # Errors
    /// [`TicketError::Invalid`] when it would be longer than [`MAX_TICKET_BYTES`].
    pub fn seal(&self, sealer: &Sealer, ids: &dyn Ids) -> Result<String, TicketError> {
        let fix = |fix: &Fix| WireFix { r: fix.remedy.token(), l: fix.acr_values.clone(), m: fix.max_age_secs };
        let wire = Wire {
            s: self.session.to_string(),
            p: self.app.as_str().to_owned(),
            a: self.action.as_str().to_owned(),
            f: self.fix.iter().map(fix).collect(),
            c: self.created.0,
        };
        let json = serde_json::to_vec(&wire).map_err(|_| TicketError::Invalid)?;
        let sealed = sealer.seal(AAD, &json, ids).map_err(|_: SealError| TicketError::Invalid)?;
        let text = BASE64URL_NOPAD.encode(&sealed);
        if text.len() > MAX_TICKET_BYTES { Err(TicketError::Invalid) } else { Ok(text) }
    }

    /// Opens a ticket made for `session`.
    ///
    /// # Errors
    /// [`TicketError`]: ask as if nothing was demanded, or send the person back to the app.
    pub fn open(text: &str, sealer: &Sealer, session: SessionId, now: Timestamp) -> Result<Self, TicketError> {
        if text.len() > MAX_TICKET_BYTES {
            return Err(TicketError::Invalid);
        }
        let sealed = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TicketError::Invalid)?;
        let json = sealer.open(AAD, &sealed).map_err(|_: SealError| TicketError::Invalid)?;
        let wire: Wire = serde_json::from_slice(json.expose()).map_err(|_| TicketError::Invalid)?;
        let fix = |fix: WireFix| {
            let remedy: Remedy = fix.r.parse().ok()?;
            Some(Fix { remedy, acr_values: fix.l, max_age_secs: fix.m, facts: Vec::new() })
        };
        let ticket = Self {
            session: wire.s.parse().map_err(|_| TicketError::Invalid)?,
            app: AppName::new(&wire.p),
            action: wire.a.parse().map_err(|_| TicketError::Invalid)?,
            fix: wire.f.into_iter().map(fix).collect::<Option<_>>().ok_or(TicketError::Invalid)?,
            created: Timestamp(wire.c),
        };
        if ticket.session != session {
            return Err(TicketError::Invalid);
        }
        let is_alive =
            now.since(ticket.created) <= STEP_UP_TICKET_LIFE && now.until(ticket.created) <= STEP_UP_TICKET_LIFE;
        if is_alive { Ok(ticket) } else { Err(TicketError::Expired) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::return_ticket::{PURPOSE, ReturnTarget, ReturnTicket};
    use crate::seal::{KEK_BYTES, Kek};
    use model::TokenHash;
    use testkit::{SeqIds, SimClock};
    use uuid::Uuid;

    const MADE: Timestamp = SimClock::START;
    const MINE: SessionId = SessionId(Uuid::from_u128(1));

    fn sealer() -> Sealer {
        Kek::from_bytes(&[1; KEK_BYTES]).unwrap().sealer(PURPOSE).unwrap()
    }

    fn ticket() -> StepUpTicket {
        let fix = Fix { remedy: Remedy::Passkey, acr_values: "phr".to_owned(), max_age_secs: 300, facts: Vec::new() };
        StepUpTicket {
            session: MINE,
            app: AppName::new("payroll"),
            action: Action::HttpDelete,
            fix: vec![fix],
            created: MADE,
        }
    }

    #[test]
    fn a_demand_opens_in_its_session_until_its_time_is_over() {
        let text = ticket().seal(&sealer(), &SeqIds::default()).unwrap();
        let open = |session, now| StepUpTicket::open(&text, &sealer(), session, now);
        assert_eq!(open(MINE, MADE + STEP_UP_TICKET_LIFE), Ok(ticket()));
        assert_eq!(open(MINE, MADE + STEP_UP_TICKET_LIFE + Duration::from_nanos(1)), Err(TicketError::Expired));
        assert_eq!(open(SessionId(Uuid::from_u128(2)), MADE), Err(TicketError::Invalid));
    }

    #[test]
    fn a_weakened_demand_is_refused_and_a_return_ticket_is_none() {
        let text = ticket().seal(&sealer(), &SeqIds::default()).unwrap();
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(StepUpTicket::open(&altered, &sealer(), MINE, MADE), Err(TicketError::Invalid), "{position}");
        }
        let way_back = ReturnTicket {
            authority: "wiki.localhost:8443".to_owned(),
            target: ReturnTarget::Inline("/".to_owned()),
            binding: TokenHash::of(b"cookie"),
            created: MADE,
        };
        let other = way_back.seal(&sealer(), &SeqIds::default()).unwrap();
        assert_eq!(StepUpTicket::open(&other, &sealer(), MINE, MADE), Err(TicketError::Invalid));
        assert_eq!(ReturnTicket::open(&text, &sealer(), MADE), Err(TicketError::Invalid));
        let long = "A".repeat(MAX_TICKET_BYTES + 1);
        assert_eq!(StepUpTicket::open(&long, &sealer(), MINE, MADE), Err(TicketError::Invalid));
    }

    #[test]
    fn a_demand_too_long_for_an_address_is_not_made() {
        let mut long = ticket();
        long.fix[0].acr_values = "x".repeat(MAX_TICKET_BYTES);
        assert_eq!(long.seal(&sealer(), &SeqIds::default()), Err(TicketError::Invalid));
    }
}
