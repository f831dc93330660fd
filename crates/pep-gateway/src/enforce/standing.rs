//! Who is at the door: the session cookie, looked up in memory (GW-43, ID-55, ATK-48).
//!
//! Invariant: a cookie that is not whole, not of this host or not of an active person counts as none.

use std::sync::Arc;

use http_gate::{CanonicalRequest, Presented};
use model::{Reason, Session, SessionLookup, TokenHash, UserEntry, UserState};

use super::case::Case;
use crate::record;

/// Who is at the door.
pub(super) enum Standing {
    /// Nobody, and what to tell them.
    Nobody(Reason),
    /// A person with a live session.
    Person { session: Arc<Session>, user: Arc<UserEntry> },
}

impl Case<'_> {
    /// Who the session cookie stands for. A cookie that is doubled, damaged or unknown here counts as absent, and the
    /// record says so (ID-55, ATK-48).
    pub(super) fn standing(&mut self, request: &CanonicalRequest) -> Standing {
        let hash = match &request.credentials().session {
            Presented::Absent => return Standing::Nobody(Reason::LoginRequired),
            Presented::Ambiguous => {
                self.note("the session cookie came twice or damaged; counted as absent");
                return Standing::Nobody(Reason::LoginRequired);
            }
            Presented::Once(secret) => TokenHash::of(secret.expose()),
        };
        let session = match self.gateway.sessions.look_up(&hash, request.host().name(), self.now) {
            SessionLookup::Live(session) => session,
            SessionLookup::Expired => return Standing::Nobody(Reason::SessionExpired),
            SessionLookup::Revoked => return Standing::Nobody(Reason::SessionRevoked),
            SessionLookup::Unknown => {
                self.note(&format!("the session cookie {} is not known on this host", hash.prefix()));
                return Standing::Nobody(Reason::LoginRequired);
            }
        };
        match self.snapshot.directory.users.get(&session.user) {
            Some(user) if user.state == UserState::Active => {
                record::add_person(&mut self.record, &session, user);
                self.visit.identity = Some(Arc::from(user.email.as_str()));
                Standing::Person { session, user: Arc::clone(user) }
            }
            _ => Standing::Nobody(Reason::UserDisabled),
        }
    }

    fn note(&mut self, text: &str) {
        self.record.decision.reason_text = Some(Arc::from(text));
    }
}
