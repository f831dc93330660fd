//! The control plane and its pages over fakes of every seam: who may call what, what each change leaves in the record,
//! what survives a caller who hangs up or a store that fails, and journeys that somebody tries to bend. Beside them, the
//! examples for operators.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod account;
mod approvals;
mod authorisation;
mod console;
// The software authenticator of the passkey tests.
#[allow(dead_code, unreachable_pub, reason = "the passkey tests use more of it")]
#[path = "../../../pip-identity/tests/it/device.rs"]
mod device;
mod examples;
mod failures;
mod flaky;
mod import;
mod journeys;
mod linked;
mod outbox;
mod own_decisions;
mod passwords;
mod records;
mod recover;
mod step_up;
mod versions;
mod world;
