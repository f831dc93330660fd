//! Opening a session after a ceremony, and giving hosts their cookies.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use model::facts::recorded_network;
use model::record::RecordType;
use model::seams::{Cause, ReservedContext};
use model::session::Epochs;
use model::{Principal, Session, SessionId};
use pip_identity::passkeys::{Notice, SignedIn};

use super::Portal;
use crate::failure::Failure;
use crate::http::cookies;

/// How much of a user agent is kept.
const USER_AGENT_BYTES: usize = 256;

/// A session that is durable and known to the doors, with the cookie for the host it was opened on.
pub(super) struct Opened {
    pub(super) session: SessionId,
    pub(super) cookie: String,
}

impl Portal {
    /// A fresh session with a fresh cookie: whatever cookie the browser came with is never adopted (ATK-33).
    pub(super) async fn open_session(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        signed_in: &SignedIn,
    ) -> Result<Opened, Failure> {
        let control = self.control();
        let now = control.now();
        let proof = signed_in.proof();
        let session = Session {
            id: SessionId(control.ids.uuid_v7(now)),
            user: signed_in.user,
            idp: "local".to_owned(),
            acr: proof.acr,
            amr: proof.amr,
            is_mfa: proof.is_mfa,
            is_phishing_resistant: proof.is_phishing_resistant,
            is_passkey_synced: proof.is_passkey_synced,
            credential: proof.credential,
            auth_time: now,
            created: now,
            last_active: now,
            idle_limit: control.settings.session_idle,
            absolute_limit: control.settings.session_absolute,
            epochs: Epochs { user: signed_in.epoch, ..Epochs::default() },
            step_ups: Vec::new(),
            rounds: Vec::new(),
            src_net: recorded_network(context.client.ip()),
            user_agent: user_agent(request),
        };
        let id = session.id;
        control.sessions.open(session).await?;
        let cookie = match self.bind_and_record(context, id, signed_in).await {
            Ok(cookie) => cookie,
            Err(failure) => {
                // Nobody will ever hold a cookie of it; it must not stay open unrecorded.
                control.sessions.end(id, Cause::SignedOut).await.ok();
                return Err(failure);
            }
        };
        if let Some(old) = &context.session {
            // The browser had another sign-in on this host: it ends with the cookie it loses.
            let actor = self.actor(context);
            if let Err(failure) = control.end_session(&actor, old.id, Cause::SignedOut).await {
                tracing::warn!(%failure, session = %old.id, "the sign-in that this one replaces did not end cleanly");
            }
        }
        Ok(Opened { session: id, cookie })
    }

    async fn bind_and_record(
        &self,
        context: &ReservedContext,
        session: SessionId,
        signed_in: &SignedIn,
    ) -> Result<String, Failure> {
        let cookie = self.bind(session, &context.host).await?;
        self.record_sign_in(context, session, signed_in).await?;
        Ok(cookie)
    }

    /// A new cookie for a host; the host's earlier one lives ten seconds longer (GW-45).
    pub(super) async fn bind(&self, session: SessionId, host: &str) -> Result<String, Failure> {
        let (token, hash) = cookies::new_token(self.control().ids.as_ref());
        self.control().sessions.bind_host(session, host.to_owned(), hash).await?;
        Ok(cookies::set_session(&token))
    }

    async fn record_sign_in(
        &self,
        context: &ReservedContext,
        session: SessionId,
        signed_in: &SignedIn,
    ) -> Result<(), Failure> {
        let mut actor = self.actor(context);
        actor.principal = Principal::User(signed_in.user);
        actor.session = self.control().session_view.session(session, self.control().now());
        let mut record = self.control().actor_record(&actor, RecordType::AuthSignin);
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(session.to_string()));
        record.change.change = Some(Arc::from(notices(signed_in)));
        self.control().record(record).await
    }
}

/// What the ceremony noticed without refusing (ID-19, ID-20).
fn notices(signed_in: &SignedIn) -> String {
    let with = if signed_in.proof().is_phishing_resistant { "a passkey" } else { "password and one-time code" };
    let mut text = format!("signed in with {with}");
    for notice in &signed_in.notices {
        match notice {
            Notice::BackupStateChanged { is_backed_up } => {
                text.push_str(if *is_backed_up { "; it is backed up now" } else { "; it is no longer backed up" });
            }
            Notice::CounterRegressed { stored, seen } => {
                text.push_str(&format!("; its counter went from {stored} to {seen}"));
            }
        }
    }
    text
}

fn user_agent(request: &Request<Bytes>) -> String {
    let value = request.headers().get(header::USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > USER_AGENT_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}
