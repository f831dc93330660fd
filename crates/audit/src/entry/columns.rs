//! The columns of a record as one table: number, name and kind (AUD-8, R-2), and the one place where
//! an [`AuditRecord`] is taken apart into them.
//!
//! Invariants: a number is never re-used or re-typed, because it is part of every canonical entry ever written; an
//! unknown value has no column at all, and no column holds an empty text or list.

use std::sync::Arc;

use model::Timestamp;
use model::ids::Digest32;
use model::record::AuditRecord;
use uuid::Uuid;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ColumnKind {
    /// Yes or no.
    Bool,
    /// SHA-256.
    Digest,
    /// Sixteen bytes, printed as base32.
    Id,
    /// Texts in order.
    List,
    /// A text of which the entry holds the commitment only (AUD-40).
    Sealed,
    /// UTF-8.
    Text,
    /// Nanoseconds since 1970, UTC.
    Time,
    /// A number.
    Uint,
}

macro_rules! columns {
    ($($variant:ident = $number:literal, $name:literal, $kind:ident;)*) => {
        /// A column of the record; the documentation of each is the table of AUD-8.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Column {
            $(#[doc = concat!("`", $name, "`")] $variant = $number,)*
        }

        impl Column {
            /// Every column, by number.
            pub const ALL: &'static [Column] = &[$(Column::$variant,)*];

            /// The key in the canonical entry.
            pub fn number(self) -> u8 {
                match self {
                    $(Column::$variant => $number,)*
                }
            }

            /// The name in JSON, CSV and tables.
            pub fn name(self) -> &'static str {
                match self {
                    $(Column::$variant => $name,)*
                }
            }

            /// What it holds.
            pub fn kind(self) -> ColumnKind {
                match self {
                    $(Column::$variant => ColumnKind::$kind,)*
                }
            }

            pub(crate) fn of_number(number: u64) -> Option<Column> {
                match number {
                    $($number => Some(Column::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

// 0, 1 and 2 are schema, log and seq.
columns! {
    Type = 3, "type", Uint;
    AccessId = 4, "access_id", Id;
    Time = 5, "time", Time;
    Door = 6, "door", Text;
    Listener = 7, "listener", Text;
    TraceId = 8, "trace_id", Text;
    SpanId = 9, "span_id", Text;
    ClientTraceId = 10, "client_trace_id", Text;
    IsTruncated = 11, "is_truncated", Bool;
    UntruncatedSize = 12, "untruncated_size", Uint;
    Count = 13, "count", Uint;
    FirstTime = 14, "first_time", Time;
    LastTime = 15, "last_time", Time;
    SubjectId = 20, "subject_id", Id;
    SubjectKind = 21, "subject_kind", Text;
    Subject = 22, "subject", Text;
    SubjectName = 23, "subject_name", Sealed;
    SubjectEmail = 24, "subject_email", Sealed;
    Idp = 25, "idp", Text;
    SessionId = 26, "session_id", Id;
    CredentialKind = 30, "credential_kind", Text;
    CredentialId = 31, "credential_id", Text;
    Acr = 32, "acr", Text;
    Amr = 33, "amr", List;
    AuthTime = 34, "auth_time", Time;
    App = 40, "app", Text;
    Resource = 41, "resource", Text;
    ResourceType = 42, "resource_type", Text;
    Action = 43, "action", Text;
    Method = 44, "method", Text;
    Route = 45, "route", Text;
    Host = 46, "host", Text;
    UrlPath = 47, "url_path", Text;
    UrlQuery = 48, "url_query", Sealed;
    Label = 49, "label", Text;
    SrcIp = 60, "src_ip", Sealed;
    SrcPort = 61, "src_port", Uint;
    SrcNet = 62, "src_net", Text;
    UserAgent = 63, "user_agent", Sealed;
    TlsVersion = 64, "tls_version", Text;
    TlsGroup = 65, "tls_group", Text;
    Sni = 66, "sni", Text;
    Alpn = 67, "alpn", Text;
    HttpVersion = 68, "http_version", Text;
    DecisionId = 80, "decision_id", Id;
    Effect = 81, "effect", Text;
    Reason = 82, "reason", Text;
    ReasonText = 83, "reason_text", Text;
    Policies = 84, "policies", List;
    Would = 85, "would", List;
    StepUp = 86, "step_up", List;
    ValidUntil = 87, "valid_until", Time;
    Cached = 88, "cached", Bool;
    Degraded = 89, "degraded", List;
    PolicySetHash = 100, "policy_set_hash", Digest;
    SchemaHash = 101, "schema_hash", Digest;
    EntitiesVersion = 102, "entities_version", Uint;
    EntitySliceHash = 103, "entity_slice_hash", Digest;
    ContextHash = 104, "context_hash", Digest;
    EngineVersion = 105, "engine_version", Text;
    ConfigVersion = 106, "config_version", Uint;
    EvalNs = 107, "eval_ns", Uint;
    Status = 120, "status", Uint;
    BytesIn = 121, "bytes_in", Uint;
    BytesOut = 122, "bytes_out", Uint;
    DurationNs = 123, "duration_ns", Uint;
    EndCause = 124, "end_cause", Text;
    Upstream = 125, "upstream", Text;
    UpstreamConnectNs = 126, "upstream_connect_ns", Uint;
    UpstreamFirstByteNs = 127, "upstream_first_byte_ns", Uint;
    AssertionJti = 128, "assertion_jti", Text;
    ObjectKind = 140, "object_kind", Text;
    ObjectId = 141, "object_id", Text;
    ObjectSubject = 142, "object_subject", Id;
    Change = 143, "change", Text;
    RevocationId = 144, "revocation_id", Id;
    Receipt = 145, "receipt", Text;
}

/// The value of a column before anything is sealed: [`ColumnKind::Sealed`] columns are still [`Value::Text`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of [`ColumnKind::Bool`].
    Bool(bool),
    /// Of [`ColumnKind::Digest`].
    Digest(Digest32),
    /// Of [`ColumnKind::Id`].
    Id(Uuid),
    /// Of [`ColumnKind::List`].
    List(Vec<Arc<str>>),
    /// Of [`ColumnKind::Sealed`], as read back from a log.
    Sealed(Sealed),
    /// Of [`ColumnKind::Text`].
    Text(Arc<str>),
    /// Of [`ColumnKind::Time`].
    Time(Timestamp),
    /// Of [`ColumnKind::Uint`].
    Uint(u64),
}

/// A sealed value as a reader finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sealed {
    /// The reader has no right to open it.
    Closed,
    /// Its key no longer exists: erased, or an anonymous day over 90 days old.
    KeyDestroyed,
    /// Opened, and the commitment in the entry matches.
    Open(Arc<str>),
    /// It does not open, or it is not what the entry committed to.
    Tampered,
}

impl Sealed {
    /// The value, or the word that stands in for it.
    pub fn as_str(&self) -> &str {
        match self {
            Sealed::Closed => "sealed",
            Sealed::KeyDestroyed => "erased",
            Sealed::Open(text) => text,
            Sealed::Tampered => "tampered",
        }
    }
}

/// Every column `record` has, by number. Pins that are stored beside the entry appear as their hashes.
pub(crate) fn columns_of(record: &AuditRecord) -> Vec<(Column, Value)> {
    let mut row = Row(Vec::with_capacity(48));
    row.uint(Column::Type, Some(u64::from(record.kind.code())));
    row.id(Column::AccessId, Some(record.access_id.0));
    row.time(Column::Time, Some(record.time));
    row.text(Column::Door, Some(record.door));
    row.shared(Column::Listener, &record.listener);
    row.shared(Column::TraceId, &record.trace_id);
    row.shared(Column::SpanId, &record.span_id);
    row.shared(Column::ClientTraceId, &record.client_trace_id);
    row.uint(Column::Count, record.count);
    row.time(Column::FirstTime, record.between.map(|(first, _)| first));
    row.time(Column::LastTime, record.between.map(|(_, last)| last));
    who(&mut row, record);
    what(&mut row, record);
    from(&mut row, record);
    decision(&mut row, record);
    pins(&mut row, record);
    completion(&mut row, record);
    change(&mut row, record);
    row.0
}

fn who(row: &mut Row, record: &AuditRecord) {
    let (who, credential) = (&record.who, &record.credential);
    row.id(Column::SubjectId, who.subject_id.map(|id| id.0));
    row.text(Column::SubjectKind, who.subject_kind.map(|kind| kind.as_str()));
    row.shared(Column::Subject, &who.subject);
    row.shared(Column::SubjectName, &who.subject_name);
    row.shared(Column::SubjectEmail, &who.subject_email);
    row.shared(Column::Idp, &who.idp);
    row.id(Column::SessionId, who.session_id.map(|id| id.0));
    row.text(Column::CredentialKind, credential.kind);
    row.shared(Column::CredentialId, &credential.id);
    row.shared(Column::Acr, &credential.acr);
    row.list(Column::Amr, credential.amr.clone());
    row.time(Column::AuthTime, credential.auth_time);
}

fn what(row: &mut Row, record: &AuditRecord) {
    let what = &record.what;
    row.shared(Column::App, &what.app);
    row.shared(Column::Resource, &what.resource);
    row.text(Column::ResourceType, what.resource_type);
    row.text(Column::Action, what.action);
    row.shared(Column::Method, &what.method);
    row.shared(Column::Route, &what.route);
    row.shared(Column::Host, &what.host);
    row.shared(Column::UrlPath, &what.url_path);
    row.shared(Column::UrlQuery, &what.url_query);
    row.shared(Column::Label, &what.label);
}

fn from(row: &mut Row, record: &AuditRecord) {
    let from = &record.from;
    row.text(Column::SrcIp, from.src_ip.map(|ip| ip.to_string()).as_deref());
    row.uint(Column::SrcPort, from.src_port.map(u64::from));
    row.shared(Column::SrcNet, &from.src_net);
    row.shared(Column::UserAgent, &from.user_agent);
    row.text(Column::TlsVersion, from.tls_version);
    row.shared(Column::TlsGroup, &from.tls_group);
    row.shared(Column::Sni, &from.sni);
    row.shared(Column::Alpn, &from.alpn);
    row.text(Column::HttpVersion, from.http_version);
}

fn decision(row: &mut Row, record: &AuditRecord) {
    let decision = &record.decision;
    row.id(Column::DecisionId, decision.decision_id.map(|id| id.0));
    row.text(Column::Effect, decision.effect.map(|effect| effect.as_str()));
    row.text(Column::Reason, decision.reason.map(|reason| reason.audit_code()));
    row.shared(Column::ReasonText, &decision.reason_text);
    row.list(Column::Policies, decision.policies.clone());
    row.list(Column::Would, decision.would.clone());
    row.list(Column::StepUp, decision.step_up.clone());
    row.time(Column::ValidUntil, decision.valid_until);
    row.bool(Column::Cached, decision.cached);
    row.list(Column::Degraded, decision.degraded.iter().map(|text| Arc::from(*text)).collect());
}

fn pins(row: &mut Row, record: &AuditRecord) {
    let pins = &record.pins;
    row.digest(Column::PolicySetHash, pins.policy_set_hash);
    row.digest(Column::SchemaHash, pins.schema_hash);
    row.uint(Column::EntitiesVersion, pins.entities_version);
    row.digest(Column::EntitySliceHash, pins.entity_slice.as_ref().map(|slice| slice.hash));
    row.digest(Column::ContextHash, pins.context.as_ref().map(|context| Digest32::of(context)));
    row.text(Column::EngineVersion, pins.engine_version);
    row.uint(Column::ConfigVersion, pins.config_version);
    row.uint(Column::EvalNs, pins.eval_ns);
}

fn completion(row: &mut Row, record: &AuditRecord) {
    let completion = &record.completion;
    row.uint(Column::Status, completion.status.map(u64::from));
    row.uint(Column::BytesIn, completion.bytes_in);
    row.uint(Column::BytesOut, completion.bytes_out);
    row.uint(Column::DurationNs, completion.duration_ns);
    row.text(Column::EndCause, completion.end_cause.map(|cause| cause.as_str()));
    row.shared(Column::Upstream, &completion.upstream);
    row.uint(Column::UpstreamConnectNs, completion.upstream_connect_ns);
    row.uint(Column::UpstreamFirstByteNs, completion.upstream_first_byte_ns);
    row.shared(Column::AssertionJti, &completion.assertion_jti);
}

fn change(row: &mut Row, record: &AuditRecord) {
    let change = &record.change;
    row.text(Column::ObjectKind, change.object_kind);
    row.shared(Column::ObjectId, &change.object_id);
    row.id(Column::ObjectSubject, change.object_subject.map(|id| id.0));
    row.shared(Column::Change, &change.change);
    row.id(Column::RevocationId, change.revocation.map(|id| id.0));
    row.shared(Column::Receipt, &change.receipt);
}

struct Row(Vec<(Column, Value)>);

impl Row {
    fn push(&mut self, column: Column, value: Option<Value>) {
        self.0.extend(value.map(|value| (column, value)));
    }

    fn text(&mut self, column: Column, text: Option<&str>) {
        self.push(column, text.filter(|text| !text.is_empty()).map(|text| Value::Text(Arc::from(text))));
    }

    fn shared(&mut self, column: Column, text: &Option<Arc<str>>) {
        self.push(column, text.as_ref().filter(|text| !text.is_empty()).map(|text| Value::Text(text.clone())));
    }

    fn list(&mut self, column: Column, list: Vec<Arc<str>>) {
        self.push(column, (!list.is_empty()).then_some(Value::List(list)));
    }

    fn uint(&mut self, column: Column, number: Option<u64>) {
        self.push(column, number.map(Value::Uint));
    }

    fn time(&mut self, column: Column, time: Option<Timestamp>) {
        self.push(column, time.map(Value::Time));
    }

    fn id(&mut self, column: Column, id: Option<Uuid>) {
        self.push(column, id.map(Value::Id));
    }

    fn digest(&mut self, column: Column, digest: Option<Digest32>) {
        self.push(column, digest.map(Value::Digest));
    }

    fn bool(&mut self, column: Column, value: Option<bool>) {
        self.push(column, value.map(Value::Bool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_read_back_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for pair in Column::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{:?}", pair);
        }
        for column in Column::ALL {
            assert!(column.number() > 2);
            assert_eq!(Column::of_number(u64::from(column.number())), Some(*column));
            assert!(names.insert(column.name()));
        }
    }
}
