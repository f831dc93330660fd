//! What the log decides about records themselves: how durable each type must be, and the records it makes on its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::record::{AuditRecord, EndCause, RecordType};
use model::seams::Durability;
use model::{AccessId, Effect, Timestamp};

use super::ladder::Unkept;
use super::walk::Hole;
use crate::alerts::Alert;
use crate::index::Row;

/// The `door` of records the log itself makes.
pub const LOG_DOOR: &str = "audit";

/// Records of administration, keys and withdrawals are strict whatever was asked (AUD-17).
pub fn least_durability(kind: RecordType) -> Durability {
    use RecordType as T;
    match kind {
        T::AccessDecision
        | T::AccessCompletion
        | T::AccessProgress
        | T::GateRefused
        | T::AuthSignin
        | T::AuthSignout
        | T::AuthStepUp
        | T::AuthFailed
        | T::AccessFlood
        | T::SessionCreated
        | T::SessionExpired
        | T::ConfigRefused
        | T::AuditDrill
        | T::AuditQuery
        | T::SystemClock
        | T::SystemStart
        | T::SystemStop => Durability::Standard,
        T::AuthRecovery
        | T::AuthNotice
        | T::PolicyRolledBack
        | T::AuditAlert
        | T::AuditSinkTested
        | T::AuthMfaEnrolled
        | T::AuthMfaRemoved
        | T::SessionRevoked
        | T::IdentityUserCreated
        | T::IdentityUserChanged
        | T::IdentityUserDisabled
        | T::IdentityUserDeleted
        | T::IdentityGroupChanged
        | T::IdentityMembershipChanged
        | T::IdentityInvitation
        | T::IdentityServiceChanged
        | T::IdentityServiceTokenChanged
        | T::ConfigApplied
        | T::ConfigProposed
        | T::ConfigApproved
        | T::ConfigWithdrawn
        | T::ConfigBreakGlass
        | T::PolicyPublished
        | T::KeyIssued
        | T::KeyRotated
        | T::GatewayInvited
        | T::GatewayJoined
        | T::GatewayRemoved
        | T::AuditGap
        | T::RevocationReceipt => Durability::Strict,
    }
}

/// Completions for accesses that began and have none: whoever would have written them is gone (AUD-6). A refusal ends with
/// its decision.
pub(super) fn abandoned_accesses(rows: &[Row]) -> Vec<AuditRecord> {
    let mut open: BTreeMap<AccessId, &Row> = BTreeMap::new();
    for row in rows {
        match row.keys.kind {
            Some(RecordType::AccessDecision) if row.keys.effect == Some(Effect::Allow) => {
                open.insert(row.keys.access_id, row);
            }
            Some(RecordType::AccessCompletion) => {
                open.remove(&row.keys.access_id);
            }
            _ => {}
        }
    }
    open.into_values().map(unknown_end).collect()
}

/// The end of an access that nobody told the end of.
pub(super) fn unknown_end(row: &Row) -> AuditRecord {
    let keys = &row.keys;
    let mut record = AuditRecord::new(RecordType::AccessCompletion, keys.access_id, keys.time, LOG_DOOR);
    record.who.subject_id = keys.subject;
    record.who.session_id = keys.session;
    record.what.app = keys.app.clone();
    record.completion.end_cause = Some(EndCause::Unknown);
    record
}

/// What the log says of trouble with itself.
pub(super) fn alert_record(alert: &Alert, access_id: AccessId, now: Timestamp) -> AuditRecord {
    let mut record = AuditRecord::new(RecordType::AuditAlert, access_id, now, LOG_DOOR);
    record.change.object_kind = Some("log");
    record.change.object_id = Some(Arc::from(alert.kind.as_str()));
    let (since, count) = (alert.since, alert.count);
    record.change.change = Some(Arc::from(format!("{} (since {since}, seen {count} times)", alert.detail)));
    record
}

/// What the log says of records it could not keep.
pub(super) fn unkept_record(unkept: &Unkept, access_id: AccessId, now: Timestamp) -> AuditRecord {
    let mut record = AuditRecord::new(RecordType::AuditGap, access_id, now, LOG_DOOR);
    record.change.object_kind = Some("log");
    record.change.object_id = Some(Arc::from("unkept"));
    if unkept.allowed > 0 {
        record.decision.degraded = vec!["audit_marked"];
    }
    let (first, last) = unkept.between.unwrap_or((now, now));
    let text = format!(
        "{} records could not be kept between {first} and {last}: {} refused, {} accesses allowed without a record, \
         {} ends of accesses; the log said: {}",
        unkept.total(),
        unkept.refused,
        unkept.allowed,
        unkept.ends,
        unkept.cause,
    );
    record.change.change = Some(Arc::from(text));
    record
}

/// What the log says of a hole.
pub(super) fn gap_record(hole: &Hole, access_id: AccessId, now: Timestamp) -> AuditRecord {
    let mut record = AuditRecord::new(RecordType::AuditGap, access_id, now, LOG_DOOR);
    record.change.object_kind = Some("log");
    record.change.object_id = Some(Arc::from(hole.file.as_str()));
    record.change.change = Some(Arc::from(hole.to_string()));
    record
}
