//! Audit records of the door (GW-82, AUD-6, AUD-8, AUD-10; R-2).
//!
//! Invariant: no value of a query, cookie or credential header enters a record; texts from the client are cut.

use std::net::SocketAddr;
use std::sync::Arc;

use http_gate::{CanonicalRequest, GateRefusal, HttpVersion, RawRequest};
use model::app::App;
use model::facts::recorded_network;
use model::record::{
    AuditRecord, CompletionColumns, DecisionColumns, EndCause, FromColumns, PinColumns, RecordType, SubjectKind,
    WhatColumns, WhoColumns,
};
use model::seams::Durability;
use model::{
    AccessId, Action, Decision, Effect, Reason, ResourceRef, ServiceEntry, ServiceTokenId, Session, Timestamp,
    UserEntry,
};

use crate::connection::ConnectionInfo;
use crate::gateway::Gateway;
use crate::trace::Trace;
use crate::visit::text;

/// How much of a user agent is kept.
pub(crate) const USER_AGENT_MAX_BYTES: usize = 256;
/// How many query names are kept.
pub(crate) const QUERY_NAMES_MAX: usize = 64;
/// A longer query name is no name but a value: it is left out.
pub(crate) const QUERY_NAME_MAX_BYTES: usize = 64;

impl Gateway {
    /// Appends without waiting: completions, which nothing follows. A failure is logged; the next decision meets it.
    pub(crate) fn append_in_background(&self, record: AuditRecord, durability: Durability) {
        let appended = self.recorder.append(record, durability);
        let wait = async move {
            if let Err(error) = appended.await {
                tracing::error!(%error, "a completion record is lost");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(self.completions.spawn_on(wait, &runtime)),
            // The runtime is gone: the process stops, and the log closes the access as unknown (AUD-6).
            Err(_) => drop(wait),
        }
    }
}

/// The beginning of every record of one access.
pub(crate) fn begin(
    kind: RecordType,
    access: AccessId,
    now: Timestamp,
    trace: &Trace,
    connection: &ConnectionInfo,
) -> AuditRecord {
    let mut record = AuditRecord::new(kind, access, now, "http");
    record.listener = Some(Arc::clone(&connection.listener));
    record.trace_id = Some(Arc::clone(&trace.trace_id));
    record.span_id = Some(Arc::clone(&trace.span_id));
    record.client_trace_id = trace.client_trace_id.clone();
    let tls = connection.tls.as_ref();
    record.from = FromColumns {
        src_ip: None,
        src_port: None,
        src_net: None,
        user_agent: None,
        tls_version: tls.map(|tls| tls.version),
        tls_group: tls.map(|tls| Arc::clone(&tls.group)),
        sni: tls.and_then(|tls| tls.sni.clone()),
        alpn: tls.and_then(|tls| tls.alpn.clone()),
        http_version: Some(connection.protocol.http_version()),
    };
    add_client(&mut record, connection.client);
    record
}

/// Where the request came from. Port 0 is a port nobody named.
pub(crate) fn add_client(record: &mut AuditRecord, client: SocketAddr) {
    record.from.src_ip = Some(client.ip().to_canonical());
    record.from.src_port = (client.port() != 0).then_some(client.port());
    record.from.src_net = Some(Arc::from(recorded_network(client.ip())));
}

/// What a well-formed request adds before its path is canonical.
pub(crate) fn add_raw(record: &mut AuditRecord, raw: &RawRequest) {
    record.what.method = Some(Arc::from(raw.method()));
    record.what.host = Some(Arc::from(raw.host().name()));
    record.from.user_agent = text(raw.fields(), "user-agent").map(|agent| Arc::from(cut(agent, USER_AGENT_MAX_BYTES)));
    if raw.version() == HttpVersion::Http10 {
        record.from.http_version = Some("1.0");
    }
}

/// What the canonical request adds.
pub(crate) fn add_request(record: &mut AuditRecord, request: &CanonicalRequest) {
    record.what.method = Some(Arc::from(request.method()));
    record.what.url_path = Some(Arc::from(request.path()));
    record.what.url_query = request.query().and_then(query_names);
}

/// What the app and route add.
pub(crate) fn add_resource(record: &mut AuditRecord, app: &App, resource: &ResourceRef, action: Action) {
    record.door = if app.is_control_plane() { "control" } else { "http" };
    let what = &mut record.what;
    what.app = Some(Arc::from(resource.app.as_str()));
    what.resource = Some(Arc::from(resource.to_string()));
    what.resource_type = Some(if resource.route.is_some() { "Route" } else { "App" });
    what.action = Some(action.as_str());
    what.route = resource.route.as_ref().map(|route| Arc::from(route.as_str()));
    what.label = Some(Arc::from(app.label.as_str()));
}

/// Nobody.
pub(crate) fn add_nobody(record: &mut AuditRecord) {
    record.who.subject_kind = Some(SubjectKind::Anonymous);
    record.credential.kind = Some("none");
}

/// A signed-in person.
pub(crate) fn add_person(record: &mut AuditRecord, session: &Session, user: &UserEntry) {
    record.who = WhoColumns {
        subject_id: Some(user.id),
        subject_kind: Some(SubjectKind::Person),
        subject: None,
        subject_name: Some(Arc::from(user.name.as_str())),
        subject_email: Some(Arc::from(user.email.as_str())),
        idp: Some(Arc::from(session.idp.as_str())),
        session_id: Some(session.id),
    };
    record.credential.kind = session.is_phishing_resistant.then_some("passkey");
    record.credential.id = Some(Arc::from(session.credential.as_str()));
    record.credential.acr = Some(Arc::from(session.acr.as_str()));
    record.credential.amr = session.amr.iter().map(|method| Arc::from(method.as_str())).collect();
    record.credential.auth_time = Some(session.auth_time);
}

/// A service account with the token it came with.
pub(crate) fn add_service(record: &mut AuditRecord, service: &ServiceEntry, token: ServiceTokenId) {
    record.who = WhoColumns {
        subject_kind: Some(SubjectKind::Service),
        subject: Some(service.principal()),
        ..WhoColumns::default()
    };
    record.credential.kind = Some("service_token");
    record.credential.id = Some(Arc::from(token.to_string()));
}

/// The engine's answer with its pins.
pub(crate) fn add_decision(record: &mut AuditRecord, decision: &Decision, config_version: u64) {
    let columns = &mut record.decision;
    columns.effect = Some(decision.effect);
    columns.reason = Some(decision.reason);
    columns.policies = decision.policies.iter().map(|policy| Arc::clone(&policy.id)).collect();
    columns.would = decision.would.clone();
    // Beside a DENY the fix is advice: nobody was asked to step up.
    let asked = decision.fix.iter().filter(|_| decision.effect == Effect::StepUp);
    columns.step_up = asked.map(|fix| Arc::from(fix.remedy.as_str())).collect();
    columns.valid_until = (decision.effect == Effect::Allow).then_some(decision.hold_until);
    columns.cached = Some(false);
    record.pins = PinColumns {
        policy_set_hash: Some(decision.pins.policy_hash),
        schema_hash: Some(decision.pins.schema_hash),
        entities_version: Some(decision.pins.entities_version),
        entity_slice: Some(Arc::clone(&decision.pins.entity_slice)),
        context: Some(Arc::clone(&decision.pins.context)),
        engine_version: Some(decision.pins.engine_version),
        config_version: Some(config_version),
        eval_ns: Some(decision.eval_ns),
    };
}

/// The record says no, whatever the engine said or before it was asked.
pub(crate) fn refuse(record: &mut AuditRecord, effect: Effect, reason: Reason, status: u16) {
    record.decision.effect = Some(effect);
    record.decision.reason = Some(reason);
    record.decision.valid_until = None;
    record.completion.status = Some(status);
    record.completion.end_cause = Some(EndCause::Refused);
}

/// The record of refused bytes.
pub(crate) fn add_gate_refusal(record: &mut AuditRecord, refusal: &GateRefusal) {
    record.kind = RecordType::GateRefused;
    refuse(record, Effect::Deny, Reason::Gate, refusal.status().as_u16());
    record.decision.reason_text = Some(Arc::from(format!("{} at byte {}", refusal.code, refusal.offset)));
}

/// The completion that belongs to a decision record: what joins and finds it, nothing twice that is sealed or large.
pub(crate) fn completion_of(decision: &AuditRecord) -> AuditRecord {
    let mut record = AuditRecord::new(RecordType::AccessCompletion, decision.access_id, decision.time, decision.door);
    record.listener = decision.listener.clone();
    record.trace_id = decision.trace_id.clone();
    record.span_id = decision.span_id.clone();
    record.client_trace_id = decision.client_trace_id.clone();
    record.who.subject_id = decision.who.subject_id;
    record.who.subject_kind = decision.who.subject_kind;
    record.who.session_id = decision.who.session_id;
    let what = &decision.what;
    record.what = WhatColumns {
        app: what.app.clone(),
        resource: what.resource.clone(),
        resource_type: what.resource_type,
        action: what.action,
        method: what.method.clone(),
        route: what.route.clone(),
        host: what.host.clone(),
        url_path: what.url_path.clone(),
        url_query: None,
        label: what.label.clone(),
    };
    record.decision = DecisionColumns {
        decision_id: decision.decision.decision_id,
        effect: decision.decision.effect,
        reason: decision.decision.reason,
        ..DecisionColumns::default()
    };
    record.completion = CompletionColumns::default();
    record
}

/// The names of a query, without values: `a&b`. `None` without any.
fn query_names(query: &str) -> Option<Arc<str>> {
    let names: Vec<&str> = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .map(|name| if name.len() > QUERY_NAME_MAX_BYTES { "***" } else { name })
        .take(QUERY_NAMES_MAX)
        .collect();
    (!names.is_empty()).then(|| Arc::from(names.join("&")))
}

/// The longest beginning of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_recorded_without_values() {
        for (query, names) in [
            ("a=1&b=secret", Some("a&b")),
            ("token", Some("token")),
            ("=x&&", None),
            (&format!("{}&b", "x".repeat(QUERY_NAME_MAX_BYTES + 1)), Some("***&b")),
            ("a=1=2", Some("a")),
        ] {
            assert_eq!(query_names(query).as_deref(), names, "{query}");
        }
        let many = "n=1&".repeat(QUERY_NAMES_MAX + 10);
        assert_eq!(query_names(&many).map(|names| names.split('&').count()), Some(QUERY_NAMES_MAX));
    }

    #[test]
    fn a_user_agent_is_cut_between_characters() {
        let agent = "é".repeat(USER_AGENT_MAX_BYTES);
        assert_eq!(cut(&agent, USER_AGENT_MAX_BYTES - 1).len(), USER_AGENT_MAX_BYTES - 2);
        assert_eq!(cut("short", USER_AGENT_MAX_BYTES), "short");
    }
}
