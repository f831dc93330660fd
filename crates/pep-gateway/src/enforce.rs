//! One request, one question, one record (architecture §4): the only place where a [`Permit`] is made.
//!
//! In order: host, canonical form, route, session, person, Origin rules, the question, the stream, the record. The
//! record is kept before anything flows, also before a refusal does.
//!
//! Invariants: whatever goes wrong on the way, a panic included, is a refusal; a request sees one snapshot; no
//! withdrawal slips between the facts a request was judged by and its stream (see `StreamTable::generation`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use http_gate::cookies::{self, Credentials};
use http_gate::{GateRefusal, Presented, RawRequest};
use model::record::{AuditRecord, EndCause, RecordType};
use model::seams::Durability;
use model::{Effect, Reason, SessionLookup, TokenHash};

use crate::completion::Completion;
use crate::connection::ConnectionInfo;
use crate::gateway::Gateway;
use crate::permit::Permit;
use crate::record;
use crate::refusal::{self, Detail, Refusal};
use crate::trace::Trace;
use crate::visit::{Caller, Visit};

mod allow;
mod case;
mod origin;
mod refuse;
mod standing;

pub use crate::reserved_call::ReservedCall;
use case::Case;
pub(crate) use standing::ServiceProof;

/// What becomes of a request.
pub enum Outcome {
    /// Send it upstream.
    Forward(Box<Permit>),
    /// Answer it in process.
    Reserved(Box<ReservedCall>),
    /// Send this: what a preflight is told. It lets nobody in.
    Preflight(Refusal),
    /// Send this instead.
    Refuse(Refusal),
}

/// A judged request whose record is not kept yet.
struct Judged {
    record: AuditRecord,
    durability: Durability,
    visit: Visit,
    verdict: Outcome,
}

impl Gateway {
    /// Judges a request. The record is kept before this returns; without it the answer is 503 `audit_unavailable`.
    pub async fn enforce(self: &Arc<Self>, raw: RawRequest, connection: &ConnectionInfo) -> Outcome {
        if self.sessions.may_lag() {
            self.find_session(&raw).await;
        }
        let judged = catch_unwind(AssertUnwindSafe(move || Case::begin(self, &raw, connection).judge(raw)))
            .unwrap_or_else(|_| self.broken(connection));
        self.keep(judged).await
    }

    /// The answer to bytes that never became a request, recorded.
    pub async fn refuse_gate(self: &Arc<Self>, gate: &GateRefusal, connection: &ConnectionInfo) -> Refusal {
        let now = self.now();
        let (visit, trace) = self.bare_visit(connection);
        let mut record = record::begin(RecordType::GateRefused, visit.access, now, &trace, connection);
        record.decision.decision_id = Some(visit.decision);
        record::add_gate_refusal(&mut record, gate);
        self.metrics.gate_refused();
        match self.recorder.append(record, Durability::Standard).await {
            Ok(_) => refusal::gate(gate, visit.access, visit.decision),
            Err(_) => visit.denied(Reason::AuditUnavailable, &Detail::default()),
        }
    }

    /// A cookie that stands for nothing here may stand for a session that began a moment ago at another gateway: that is
    /// asked before it counts as absent, and nothing else ever waits (GW-12).
    async fn find_session(&self, raw: &RawRequest) {
        let values: Vec<Bytes> = raw.fields().all("cookie").cloned().collect();
        let mut credentials = Credentials::default();
        cookies::cut(&values, &mut credentials);
        let Presented::Once(secret) = &credentials.session else { return };
        let (token, host) = (TokenHash::of(secret.expose()), raw.host().name());
        if self.sessions.look_up(&token, host, self.now()) == SessionLookup::Unknown {
            self.sessions.find(token, host).await;
        }
    }

    /// Keeps the record, then lets the verdict out.
    async fn keep(self: &Arc<Self>, judged: Judged) -> Outcome {
        let Judged { record, durability, visit, verdict } = judged;
        let completion = record::completion_of(&record);
        let told = (record.kind, record.decision.effect, record.decision.reason);
        if let Err(error) = self.recorder.append(record, durability).await {
            tracing::error!(%error, reason = Reason::AuditUnavailable.audit_code(), "a request is refused");
            self.metrics.decided(Effect::Deny, Reason::AuditUnavailable);
            return Outcome::Refuse(visit.denied(Reason::AuditUnavailable, &Detail::default()));
        }
        match told {
            (RecordType::GateRefused, ..) => self.metrics.gate_refused(),
            (_, Some(effect), Some(reason)) => self.metrics.decided(effect, reason),
            _ => {}
        }
        match verdict {
            Outcome::Forward(mut permit) => {
                permit.arm(completion);
                if permit.stream().is_cut() {
                    // Withdrawn while the record was written: the record of the end says what the client got instead.
                    let refusal = visit.denied(Reason::FactsStale, &Detail::default());
                    let status = Some(refusal.status().as_u16());
                    permit.finish(Completion { status, ..Completion::ended(EndCause::Revoked) });
                    return Outcome::Refuse(refusal);
                }
                Outcome::Forward(permit)
            }
            Outcome::Reserved(mut call) => {
                call.arm(completion);
                Outcome::Reserved(call)
            }
            told @ (Outcome::Preflight(_) | Outcome::Refuse(_)) => told,
        }
    }

    /// Something panicked while judging: nothing is known but that the answer is no.
    fn broken(self: &Arc<Self>, connection: &ConnectionInfo) -> Judged {
        tracing::error!("a panic while judging a request; it is refused");
        let (visit, trace) = self.bare_visit(connection);
        let mut record = record::begin(RecordType::AccessDecision, visit.access, self.now(), &trace, connection);
        record.decision.decision_id = Some(visit.decision);
        let refusal = visit.denied(Reason::Internal, &Detail::default());
        record::refuse(&mut record, Effect::Deny, Reason::Internal, refusal.status().as_u16());
        Judged { record, durability: Durability::Standard, visit, verdict: Outcome::Refuse(refusal) }
    }

    /// A visit of which only the connection is known.
    fn bare_visit(&self, connection: &ConnectionInfo) -> (Visit, Trace) {
        let now = self.now();
        let trace = Trace::begin(None, false, self.ids.as_ref());
        let visit = Visit {
            access: self.new_access_id(now),
            decision: self.new_decision_id(now),
            trace_id: Arc::clone(&trace.trace_id),
            caller: Caller::Code,
            origin: None,
            app: None,
            cors: Arc::default(),
            identity: None,
            is_tls: connection.tls.is_some(),
            is_localhost: false,
        };
        (visit, trace)
    }
}
