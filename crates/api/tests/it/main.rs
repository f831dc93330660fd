//! The control plane and its pages over fakes of every seam: who may call what, what each change leaves in the record,
//! what survives a caller who hangs up or a store that fails, and journeys that somebody tries to bend. Beside them, the
//! examples for operators.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod authorisation;
mod examples;
mod failures;
mod journeys;
mod records;
mod world;
