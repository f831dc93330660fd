//! One audit record with the columns of AUD-8 and R-2. Typed; unknown is `None`, never "".
//!
//! Invariant: no field here can hold a body, cookie, token, password or key (AUD-10). Columns marked *sealed* are
//! encrypted by the log and only their commitments enter the tree (AUD-40).

use std::net::IpAddr;
use std::sync::Arc;

use crate::decision::{Effect, EntitySlice};
use crate::ids::{AccessId, DecisionId, Digest32, RevocationId, SessionId, UserId};
use crate::reason::Reason;
use crate::time::Timestamp;

macro_rules! record_types {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $code:literal;)*) => {
        /// What happened (AUD-6, AUD-7). The number is part of the canonical entry and never re-used.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum RecordType {
            $($(#[$doc])* $variant,)*
        }

        impl RecordType {
            /// Every type.
            pub const ALL: &'static [RecordType] = &[$(RecordType::$variant,)*];

            /// The name, e.g. `access.decision`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(RecordType::$variant => $text,)*
                }
            }

            /// The number in the canonical entry.
            pub fn code(self) -> u16 {
                match self {
                    $(RecordType::$variant => $code,)*
                }
            }
        }
    };
}

record_types! {
    /// A door asked and got an answer; before the first byte flows.
    AccessDecision = "access.decision", 1;
    /// The access ended.
    AccessCompletion = "access.completion", 2;
    /// A stream older than five minutes still flows.
    AccessProgress = "access.progress", 3;
    /// The gate refused bytes.
    GateRefused = "gate.refused", 4;
    /// A person signed in.
    AuthSignin = "auth.signin", 10;
    /// A person signed out.
    AuthSignout = "auth.signout", 11;
    /// A step-up succeeded.
    AuthStepUp = "auth.step_up", 12;
    /// A sign-in or step-up failed.
    AuthFailed = "auth.failed", 13;
    /// A credential was enrolled.
    AuthMfaEnrolled = "auth.mfa_enrolled", 14;
    /// A credential was removed.
    AuthMfaRemoved = "auth.mfa_removed", 15;
    /// A person got back in without the usual factor, or asked to.
    AuthRecovery = "auth.recovery", 16;
    /// Something sensitive happened to an account and its person has to hear of it (ID-7).
    AuthNotice = "auth.notice", 17;
    /// A session began on a host.
    SessionCreated = "session.created", 20;
    /// A session was withdrawn.
    SessionRevoked = "session.revoked", 21;
    /// A session ran out.
    SessionExpired = "session.expired", 22;
    /// A user was made.
    IdentityUserCreated = "identity.user_created", 30;
    /// A user was changed.
    IdentityUserChanged = "identity.user_changed", 31;
    /// A user was disabled.
    IdentityUserDisabled = "identity.user_disabled", 32;
    /// A user was deleted.
    IdentityUserDeleted = "identity.user_deleted", 33;
    /// A group was made or changed.
    IdentityGroupChanged = "identity.group_changed", 34;
    /// A membership was changed.
    IdentityMembershipChanged = "identity.membership_changed", 35;
    /// An invitation or set-up link was made, used or voided.
    IdentityInvitation = "identity.invitation", 36;
    /// A service account was made, changed or deleted.
    IdentityServiceChanged = "identity.service_changed", 37;
    /// A service token was made, rotated or revoked.
    IdentityServiceTokenChanged = "identity.service_token_changed", 38;
    /// A configuration was applied.
    ConfigApplied = "config.applied", 40;
    /// A configuration was refused.
    ConfigRefused = "config.refused", 41;
    /// A policy version went live.
    PolicyPublished = "policy.published", 42;
    /// An earlier policy version went live again.
    PolicyRolledBack = "policy.rolled_back", 43;
    /// A configuration was proposed and waits for approval (PO-35).
    ConfigProposed = "config.proposed", 44;
    /// A person approved a proposed configuration.
    ConfigApproved = "config.approved", 45;
    /// A proposed configuration was taken back or refused.
    ConfigWithdrawn = "config.withdrawn", 46;
    /// A proposed configuration is to go live without the approvals asked for.
    ConfigBreakGlass = "config.break_glass", 47;
    /// A key was made.
    KeyIssued = "key.issued", 50;
    /// A key was rotated.
    KeyRotated = "key.rotated", 51;
    /// A token to join as a gateway was made.
    GatewayInvited = "gateway.invited", 80;
    /// A gateway joined.
    GatewayJoined = "gateway.joined", 81;
    /// A gateway was removed.
    GatewayRemoved = "gateway.removed", 82;
    /// The record was read.
    AuditQuery = "audit.query", 60;
    /// A range of the record is missing or not provable.
    AuditGap = "audit.gap", 61;
    /// A signed receipt of cuts (GW-58).
    RevocationReceipt = "revocation.receipt", 62;
    /// The record was found damaged, moved, deleted or without room (AUD-18, AUD-19).
    AuditAlert = "audit.alert", 63;
    /// A drill of the record ran (AUD-21).
    AuditDrill = "audit.drill", 64;
    /// Refusals before authentication, coalesced (AUD-12).
    AccessFlood = "access.flood", 65;
    /// A sink was tried (AUD-38).
    AuditSinkTested = "audit.sink_tested", 66;
    /// The wall clock jumped or is not synchronised (AUD-13).
    SystemClock = "system.clock", 72;
    /// The process started.
    SystemStart = "system.start", 70;
    /// The process stopped.
    SystemStop = "system.stop", 71;
}

impl std::str::FromStr for RecordType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        RecordType::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a record type"))
    }
}

/// What kind of principal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SubjectKind {
    /// Nobody has proven anything.
    Anonymous,
    /// A person.
    Person,
    /// The product itself or its local operator.
    Service,
    /// A workload.
    Workload,
}

impl SubjectKind {
    /// `anonymous`, `person`, `service` or `workload`.
    pub fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Anonymous => "anonymous",
            SubjectKind::Person => "person",
            SubjectKind::Service => "service",
            SubjectKind::Workload => "workload",
        }
    }
}

/// Why an access ended (AUD-8 `end_cause`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EndCause {
    /// The client went away.
    ClientAbort,
    /// Complete.
    Closed,
    /// The door was stopped.
    DoorStop,
    /// Idle too long.
    Idle,
    /// The maximum age passed.
    MaxAge,
    /// Refused; nothing flowed.
    Refused,
    /// The answer was withdrawn and the stream cut.
    Revoked,
    /// Nobody knows: the door is gone (AUD-6).
    Unknown,
    /// The upstream failed.
    UpstreamError,
}

impl EndCause {
    /// Every cause.
    pub const ALL: &'static [EndCause] = &[
        EndCause::ClientAbort,
        EndCause::Closed,
        EndCause::DoorStop,
        EndCause::Idle,
        EndCause::MaxAge,
        EndCause::Refused,
        EndCause::Revoked,
        EndCause::Unknown,
        EndCause::UpstreamError,
    ];

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            EndCause::ClientAbort => "client_abort",
            EndCause::Closed => "closed",
            EndCause::DoorStop => "door_stop",
            EndCause::Idle => "idle",
            EndCause::MaxAge => "max_age",
            EndCause::Refused => "refused",
            EndCause::Revoked => "revoked",
            EndCause::Unknown => "unknown",
            EndCause::UpstreamError => "upstream_error",
        }
    }
}

/// Who (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WhoColumns {
    /// The person's pseudonymous id; the key under which sealed columns are sealed.
    pub subject_id: Option<UserId>,
    /// Kind.
    pub subject_kind: Option<SubjectKind>,
    /// Name of a workload or service (not a person).
    pub subject: Option<Arc<str>>,
    /// Sealed: display name.
    pub subject_name: Option<Arc<str>>,
    /// Sealed: e-mail address.
    pub subject_email: Option<Arc<str>>,
    /// Identity provider.
    pub idp: Option<Arc<str>>,
    /// Session.
    pub session_id: Option<SessionId>,
}

/// With which credential (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CredentialColumns {
    /// `passkey`, `recovery_code`, `none` …
    pub kind: Option<&'static str>,
    /// Public handle.
    pub id: Option<Arc<str>>,
    /// `phr` …
    pub acr: Option<Arc<str>>,
    /// RFC 8176.
    pub amr: Vec<Arc<str>>,
    /// When proven.
    pub auth_time: Option<Timestamp>,
}

/// What (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WhatColumns {
    /// App.
    pub app: Option<Arc<str>>,
    /// `payroll/records`.
    pub resource: Option<Arc<str>>,
    /// `App`, `Route`, `User`, `Group`, `Session` …
    pub resource_type: Option<&'static str>,
    /// `http.get` …
    pub action: Option<&'static str>,
    /// HTTP method as sent.
    pub method: Option<Arc<str>>,
    /// Route name.
    pub route: Option<Arc<str>>,
    /// Canonical host.
    pub host: Option<Arc<str>>,
    /// Canonical path, after `audit.mask`.
    pub url_path: Option<Arc<str>>,
    /// Sealed: names of query parameters, values dropped (AUD-10), `a&b`.
    pub url_query: Option<Arc<str>>,
    /// Data label.
    pub label: Option<Arc<str>>,
}

/// From where (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FromColumns {
    /// Sealed.
    pub src_ip: Option<IpAddr>,
    /// Port.
    pub src_port: Option<u16>,
    /// /24 or /48, in the clear.
    pub src_net: Option<Arc<str>>,
    /// Sealed.
    pub user_agent: Option<Arc<str>>,
    /// `1.3` or `1.2`.
    pub tls_version: Option<&'static str>,
    /// Key exchange group.
    pub tls_group: Option<Arc<str>>,
    /// Server name asked for.
    pub sni: Option<Arc<str>>,
    /// `h2` or `http/1.1`.
    pub alpn: Option<Arc<str>>,
    /// `1.1`, `2` …
    pub http_version: Option<&'static str>,
}

/// The decision (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DecisionColumns {
    /// The decision's own id.
    pub decision_id: Option<DecisionId>,
    /// Yes, no, step up.
    pub effect: Option<Effect>,
    /// Stable code.
    pub reason: Option<Reason>,
    /// More precise text where the reason alone does not say it: the gate's code and offset.
    pub reason_text: Option<Arc<str>>,
    /// Determining policies, sorted.
    pub policies: Vec<Arc<str>>,
    /// Shadow policies that would have refused.
    pub would: Vec<Arc<str>>,
    /// Remedies offered.
    pub step_up: Vec<Arc<str>>,
    /// Until when it holds.
    pub valid_until: Option<Timestamp>,
    /// True when a door answered from its decision cache.
    pub cached: Option<bool>,
    /// `offline_pdp`, `audit_marked` …
    pub degraded: Vec<&'static str>,
}

/// What it was computed from (AUD-36).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PinColumns {
    /// Policies.
    pub policy_set_hash: Option<Digest32>,
    /// Schema.
    pub schema_hash: Option<Digest32>,
    /// Directory and apps.
    pub entities_version: Option<u64>,
    /// The entity slice; the log stores its bytes once per hash.
    pub entity_slice: Option<Arc<EntitySlice>>,
    /// Canonical context bytes; `context_hash` is derived by the log.
    pub context: Option<Arc<[u8]>>,
    /// Engine.
    pub engine_version: Option<&'static str>,
    /// Applied configuration.
    pub config_version: Option<u64>,
    /// Evaluation time.
    pub eval_ns: Option<u64>,
}

/// How it ended (AUD-8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CompletionColumns {
    /// HTTP status sent to the client.
    pub status: Option<u16>,
    /// Body bytes from the client.
    pub bytes_in: Option<u64>,
    /// Body bytes to the client.
    pub bytes_out: Option<u64>,
    /// From the request head to the end.
    pub duration_ns: Option<u64>,
    /// Why it ended.
    pub end_cause: Option<EndCause>,
    /// Target that served it.
    pub upstream: Option<Arc<str>>,
    /// Time to connect.
    pub upstream_connect_ns: Option<u64>,
    /// Time to the first response byte.
    pub upstream_first_byte_ns: Option<u64>,
    /// `jti` of the assertion sent.
    pub assertion_jti: Option<Arc<str>>,
}

/// What an administrative record is about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangeColumns {
    /// `user`, `group`, `session`, `invitation`, `config`, `key` …
    pub object_kind: Option<&'static str>,
    /// Its id.
    pub object_id: Option<Arc<str>>,
    /// The person it is about, when another than the actor.
    pub object_subject: Option<UserId>,
    /// One line in the glossary's words: `removed from group engineering`.
    pub change: Option<Arc<str>>,
    /// The withdrawal it belongs to.
    pub revocation: Option<RevocationId>,
    /// A compact JWS (receipts only, GW-58).
    pub receipt: Option<Arc<str>>,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// What happened.
    pub kind: RecordType,
    /// Joins decision, progress and completion.
    pub access_id: AccessId,
    /// When, as the recording room saw it.
    pub time: Timestamp,
    /// `http`, `control`, `portal` …
    pub door: &'static str,
    /// Listener address.
    pub listener: Option<Arc<str>>,
    /// W3C trace id, 32 hex digits, in every record.
    pub trace_id: Option<Arc<str>>,
    /// W3C span id.
    pub span_id: Option<Arc<str>>,
    /// The trace id an untrusted client sent (GW-34).
    pub client_trace_id: Option<Arc<str>>,
    /// How many accesses it stands for, where that is not one (AUD-12).
    pub count: Option<u64>,
    /// The first and the last of them.
    pub between: Option<(Timestamp, Timestamp)>,
    /// Who.
    pub who: WhoColumns,
    /// With which credential.
    pub credential: CredentialColumns,
    /// What.
    pub what: WhatColumns,
    /// From where.
    pub from: FromColumns,
    /// The decision.
    pub decision: DecisionColumns,
    /// Pins.
    pub pins: PinColumns,
    /// The end.
    pub completion: CompletionColumns,
    /// Administrative change.
    pub change: ChangeColumns,
}

impl AuditRecord {
    /// An empty record of `kind`.
    pub fn new(kind: RecordType, access_id: AccessId, time: Timestamp, door: &'static str) -> Self {
        Self {
            kind,
            access_id,
            time,
            door,
            listener: None,
            trace_id: None,
            span_id: None,
            client_trace_id: None,
            count: None,
            between: None,
            who: WhoColumns::default(),
            credential: CredentialColumns::default(),
            what: WhatColumns::default(),
            from: FromColumns::default(),
            decision: DecisionColumns::default(),
            pins: PinColumns::default(),
            completion: CompletionColumns::default(),
            change: ChangeColumns::default(),
        }
    }
}
