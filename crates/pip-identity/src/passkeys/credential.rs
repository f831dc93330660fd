//! A verified credential as a row and back. The row's columns are the truth about counter and backup flags; the
//! serialised credential brings the public key.

use model::{Timestamp, UserId};
use webauthn_rs_core::proto::Credential;

use super::refusal::PasskeyRefusal;
use crate::people::PeopleError;
use crate::store::{MAX_CREDENTIAL_ID_BYTES, PasskeyRow, StoreError};

/// The row of a credential that was just attested.
pub(super) fn to_row(
    credential: &Credential,
    user: UserId,
    name: String,
    now: Timestamp,
) -> Result<PasskeyRow, PasskeyRefusal> {
    if credential.cred_id.is_empty() || credential.cred_id.len() > MAX_CREDENTIAL_ID_BYTES {
        return Err(PasskeyRefusal::Malformed { what: "credential id" });
    }
    let serialised = serde_json::to_vec(credential).map_err(|error| backend(&error))?;
    Ok(PasskeyRow {
        credential_id: credential.cred_id.clone(),
        user,
        name,
        created_at: now,
        last_used_at: None,
        counter: credential.counter,
        is_backup_eligible: credential.backup_eligible,
        is_backed_up: credential.backup_state,
        credential: serialised,
    })
}

/// The credential of a row. Its counter is zero, so that the core crate, which refuses every regression, compares
/// nothing: the rule of ID-19 depends on BE and is ours.
pub(super) fn from_row(row: &PasskeyRow) -> Result<Credential, PasskeyRefusal> {
    let mut credential: Credential = serde_json::from_slice(&row.credential).map_err(|error| backend(&error))?;
    credential.counter = 0;
    credential.backup_eligible = row.is_backup_eligible;
    credential.backup_state = row.is_backed_up;
    Ok(credential)
}

fn backend(error: &serde_json::Error) -> PasskeyRefusal {
    PasskeyRefusal::People(PeopleError::Store(StoreError::Backend(format!("a passkey's row is unreadable: {error}"))))
}
