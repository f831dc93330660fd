//! Who asks the control plane, and the record that says so.

use std::net::IpAddr;
use std::sync::Arc;

use model::decision::LOCAL_OPERATOR;
use model::facts::recorded_network;
use model::record::{AuditRecord, RecordType, SubjectKind};
use model::{AccessId, Directory, Principal, Session, Timestamp};

/// The asking side of an operation.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who.
    pub principal: Principal,
    /// Their name for people: an e-mail address or `local-operator`.
    pub name: String,
    /// Their session, for people.
    pub session: Option<Arc<Session>>,
    /// The access this is part of; joins the change with the decision that allowed it.
    pub access_id: AccessId,
    /// Trace id.
    pub trace_id: Option<Arc<str>>,
    /// `http`, `control` or `system`.
    pub door: &'static str,
    /// Where from.
    pub client: Option<IpAddr>,
}

impl Actor {
    /// The local command line.
    pub fn local_operator(access_id: AccessId) -> Self {
        Self {
            principal: Principal::Workload(Arc::from(LOCAL_OPERATOR)),
            name: LOCAL_OPERATOR.to_owned(),
            session: None,
            access_id,
            trace_id: None,
            door: "control",
            client: None,
        }
    }

    /// The product itself, at start.
    pub fn system(access_id: AccessId) -> Self {
        Self {
            principal: Principal::Workload(Arc::from("countersign")),
            name: "countersign".to_owned(),
            door: "system",
            ..Self::local_operator(access_id)
        }
    }

    /// A record of something this actor did.
    pub fn record(&self, kind: RecordType, now: Timestamp, directory: &Directory) -> AuditRecord {
        let mut record = AuditRecord::new(kind, self.access_id, now, self.door);
        record.trace_id = self.trace_id.clone();
        match &self.principal {
            Principal::Anonymous => record.who.subject_kind = Some(SubjectKind::Anonymous),
            Principal::Workload(name) => {
                record.who.subject_kind = Some(SubjectKind::Service);
                record.who.subject = Some(Arc::clone(name));
            }
            Principal::User(id) => {
                record.who.subject_kind = Some(SubjectKind::Person);
                record.who.subject_id = Some(*id);
                if let Some(user) = directory.users.get(id) {
                    record.who.subject_name = Some(Arc::from(user.name.as_str()));
                    record.who.subject_email = Some(Arc::from(user.email.as_str()));
                }
            }
        }
        if let Some(session) = &self.session {
            record.who.session_id = Some(session.id);
            record.who.idp = Some(Arc::from(session.idp.as_str()));
            // A password has no public handle.
            let is_passkey = !session.credential.is_empty();
            record.credential.kind = Some(if is_passkey { "passkey" } else { "password" });
            record.credential.id = is_passkey.then(|| Arc::from(session.credential.as_str()));
            record.credential.acr = Some(Arc::from(session.acr.as_str()));
            record.credential.auth_time = Some(session.auth_time);
        }
        if let Some(client) = self.client {
            record.from.src_ip = Some(client);
            record.from.src_net = Some(Arc::from(recorded_network(client)));
        }
        record
    }
}
