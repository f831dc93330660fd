//! Who is at the door: the session cookie or a service token, looked up in memory (GW-43, GW-52, GW-54, ID-55, ATK-48).
//!
//! Invariants: a cookie that is not whole, not of this host or not of an active person counts as none; a service token
//! that does not open this app is refused, and never taken for nobody.

use std::sync::Arc;

use http_gate::{CanonicalRequest, Presented};
use model::{
    AppName, Directory, Reason, ServiceEntry, ServiceTokenId, Session, SessionLookup, Timestamp, TokenHash, UserEntry,
    UserState,
};

use super::case::Case;
use crate::record;
use crate::refusal::Caller;

/// Who is at the door.
pub(super) enum Standing {
    /// Nobody, and what to tell them.
    Nobody(Reason),
    /// A person with a live session.
    Person { session: Arc<Session>, user: Arc<UserEntry> },
    /// A service account, and until when its secret opens this app.
    Service { service: Arc<ServiceEntry>, proof: ServiceProof, ends: Timestamp },
}

/// What a service account proved itself with: enough to ask again whether it still counts.
#[derive(Clone, Copy)]
pub(crate) struct ServiceProof {
    pub(crate) token: ServiceTokenId,
    pub(crate) secret: TokenHash,
}

impl ServiceProof {
    /// Whose it is and until when it opens `app`, by what is known now.
    pub(crate) fn standing<'d>(
        &self,
        directory: &'d Directory,
        app: &AppName,
        now: Timestamp,
    ) -> Option<(&'d Arc<ServiceEntry>, Timestamp)> {
        directory.service_standing(self.token, &self.secret, app, now)
    }
}

impl Case<'_> {
    /// Who asks for something of `app`.
    ///
    /// # Errors
    /// A service token that opens nothing there, came in pieces or came with another credential. Nothing of it says which
    /// part was wrong.
    pub(super) fn standing(&mut self, request: &CanonicalRequest, app: &AppName) -> Result<Standing, Reason> {
        let credentials = request.credentials();
        let (id, secret) = (&credentials.client_id, &credentials.client_secret);
        if *id == Presented::Absent && *secret == Presented::Absent {
            return Ok(self.person(request));
        }
        // Whoever sends a token is a program, whatever else it says of itself: no page, no redirect, no cookie.
        self.visit.caller = Caller::Code;
        let is_alone = credentials.session == Presented::Absent && credentials.bearer == Presented::Absent;
        if !is_alone || id.is_ambiguous() || secret.is_ambiguous() {
            return Err(Reason::CredentialsAmbiguous);
        }
        if self.gateway.wrong_tokens.is_over(self.client.ip(), self.now) {
            return Err(Reason::TooMany);
        }
        let text = id.once().and_then(|id| std::str::from_utf8(id.expose()).ok());
        let token: Option<ServiceTokenId> = text.and_then(|text| text.parse().ok());
        let secret = TokenHash::of(secret.once().map_or(&[], |secret| secret.expose()));
        // An id that is none is looked up all the same.
        let proof = ServiceProof { token: token.unwrap_or(ServiceTokenId(Default::default())), secret };
        let directory = Arc::clone(&self.snapshot.directory);
        let Some((service, ends)) = proof.standing(&directory, app, self.now) else {
            self.gateway.wrong_tokens.note(self.client.ip(), self.now);
            match token {
                Some(token) => self.note(&format!("the service token {token} with this secret opens nothing here")),
                None => self.note("the client id is none of ours"),
            }
            return Err(Reason::CredentialInvalid);
        };
        record::add_service(&mut self.record, service, proof.token);
        Ok(Standing::Service { service: Arc::clone(service), proof, ends })
    }

    /// Who the session cookie stands for. A cookie that is doubled, damaged or unknown here counts as absent, and the
    /// record says so (ID-55, ATK-48).
    fn person(&mut self, request: &CanonicalRequest) -> Standing {
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
