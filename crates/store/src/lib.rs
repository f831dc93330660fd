//! Where state is kept: SQLite behind small traits (AUD-53 to AUD-55, R-31).
//!
//! A trait per reader, each a handful of methods; [`Store`] implements all of them, and
//! [`pip_identity::DirectoryStore`]. No rule lives here: what may change is decided before it arrives. Values that
//! must not be readable on disk arrive sealed.
//!
//! Invariants: every method that writes is one transaction, durable when it answers (WAL, `synchronous=FULL`); a file
//! of a newer version, of another program or damaged is refused and left as it is.

#![forbid(unsafe_code)]

mod config;
mod error;
mod keys;
mod meta;
mod outbox;
mod preferences;
mod proposals;
mod sessions;
mod sqlite;

pub use config::{
    ConfigFile, ConfigState, ConfigStore, ConfigSummary, ConfigVersion, KEPT_VERSIONS, MAX_CONFIG_BYTES,
    MAX_CONFIG_FILES, NewConfig,
};
pub use error::StoreError;
pub use keys::{KeyStore, MAX_SEALED_BYTES, MAX_SECRET_NAME_BYTES, SealedSecret, SecretKind};
pub use meta::{LINEAGE, MAX_FACT_BYTES, MetaStore, RP_ID};
pub use outbox::{MAX_NOTE_BYTES, Note, OutboxStore};
pub use preferences::{MAX_PREFERENCE_BYTES, MAX_PREFERENCE_NAME_BYTES, PreferenceStore};
pub use proposals::{Approval, Kept as KeptProposal, MAX_KEPT_APPROVALS, MAX_PROPOSALS, Proposal, ProposalStore};
pub use sessions::{MAX_CHANGES, SessionStore};
pub use sqlite::{READERS, SCHEMA_VERSION, Store};
