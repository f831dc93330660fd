//! The record: an append-only, tree-hashed log of everything that was decided and changed, and the questions one asks it.
//!
//! [`AuditLog`] takes records (it is the [`model::Recorder`] of the product) and answers [`Query`], explain and tail.
//! Not here: proofs, the network side of sinks (AUD-20) and the cold tier, and who may ask what: callers ask the
//! policy decision point first and record that they asked (AUD-5).
//!
//! Requirements AUD-1 to AUD-21, AUD-32, AUD-38, AUD-40.
//! Invariants: a record that was answered `Ok` is in the log after a crash of the process, and after loss of power if it
//! was strict; nothing in the log is ever rewritten; a caller is never kept waiting longer than a named constant.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod clock;
pub mod drill;
pub mod entry;
pub mod explain;
pub mod floods;
mod index;
pub mod keyring;
pub mod log;
pub mod mask;
pub mod query;
pub mod render;
pub mod sinks;
pub mod tail;
pub mod tally;
pub mod verify;

pub use alerts::{Alert, AlertKind, Alerts};
pub use entry::{Column, Sealed, SealedAccess, StoredRecord, Value};
pub use explain::{ExplainError, Story};
pub use keyring::{DailyKeyStore, Day, KeyStoreError, SealKey, SubjectKeys};
pub use log::{AuditLog, Health, LogConfig, LogSeams, OnFailure, OpenError, OpenReport, Rung, SpaceMarks, Unkept};
pub use query::{Answer, Coverage, Query, QueryError};
pub use sinks::{Batch, Sink, SinkError, SinkSettings, SinkStatus, Sinks};
pub use tail::{Tail, TailItem};
pub use tally::{Counts, Tally};
