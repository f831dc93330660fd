//! What the log decides about records themselves: how durable each type must be, and the records it makes on its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::record::{AuditRecord, EndCause, RecordType};
use model::seams::Durability;
use model::{AccessId, Effect, Timestamp};

use super::walk::Hole;
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
        | T::AuditQuery
        | T::SystemClock
        | T::SystemStart
        | T::SystemStop => Durability::Standard,
        T::AuthRecovery
        | T::AuthNotice
        | T::PolicyRolledBack
        | T::AuditAlert
        | T::AuditDrill
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
        | T::ConfigApplied
        | T::PolicyPublished
        | T::KeyIssued
        | T::KeyRotated
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
    open.into_values()
        .map(|row| {
            let keys = &row.keys;
            let mut record = AuditRecord::new(RecordType::AccessCompletion, keys.access_id, keys.time, LOG_DOOR);
            record.who.subject_id = keys.subject;
            record.who.session_id = keys.session;
            record.what.app = keys.app.clone();
            record.completion.end_cause = Some(EndCause::Unknown);
            record
        })
        .collect()
}

/// What the log says of a hole.
pub(super) fn gap_record(hole: &Hole, access_id: AccessId, now: Timestamp) -> AuditRecord {
    let mut record = AuditRecord::new(RecordType::AuditGap, access_id, now, LOG_DOOR);
    record.change.object_kind = Some("log");
    record.change.object_id = Some(Arc::from(hole.file.as_str()));
    record.change.change = Some(Arc::from(hole.to_string()));
    record
}
