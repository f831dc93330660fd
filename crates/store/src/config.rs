//! Applied configurations, as text: what `countersign apply` loaded, by whom and why. Parsing them is `config`'s.
//!
//! A configuration is kept, then pending until it is live. What is pending at a start was never refused and never
//! finished: the caller does one of the two before it serves.

use model::ids::Digest32;
use model::{BoxFuture, Timestamp};

use crate::error::StoreError;
use crate::outbox::Note;

/// How many versions are kept; older ones go when a new one comes.
pub const KEPT_VERSIONS: u64 = 20;
/// How many files one configuration may have.
pub const MAX_CONFIG_FILES: usize = 10_000;
/// How large all names and texts of one configuration may be together.
pub const MAX_CONFIG_BYTES: usize = 32 * 1024 * 1024;

/// One file as the operator wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFile {
    /// Relative path, unique within the configuration.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A configuration about to become current.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewConfig {
    /// The version it was built on, 0 for none. If another one is current, nothing changes.
    pub base: u64,
    /// Digest over all files.
    pub digest: Digest32,
    /// Who applied it.
    pub author: String,
    /// Why, in their words.
    pub reason: String,
    /// When.
    pub applied_at: Timestamp,
    /// In the order they are to be read back in.
    pub files: Vec<ConfigFile>,
}

/// What is known of a version beside its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSummary {
    /// 1, 2, 3 …
    pub number: u64,
    /// Digest over all files.
    pub digest: Digest32,
    /// Who applied it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub applied_at: Timestamp,
}

/// A version with its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigVersion {
    /// Number, digest, author, reason, time.
    pub summary: ConfigSummary,
    /// In the order they were given in.
    pub files: Vec<ConfigFile>,
}

/// Which version counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConfigState {
    /// The version that is live, 0 before the first.
    pub live: u64,
    /// The version on its way; it takes the place of `live` when it is confirmed.
    pub pending: Option<u64>,
}

/// Keeps configurations.
pub trait ConfigStore: Send + Sync {
    /// Keeps a configuration, whole or not at all, makes it pending, and gives its number.
    ///
    /// # Errors
    /// [`StoreError::ConfigMoved`] if `base` is not the live version; [`StoreError::TooLarge`].
    fn add_config(&self, config: NewConfig) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Makes a kept version pending again: a rollback.
    ///
    /// # Errors
    /// [`StoreError::ConfigMoved`] if `base` is not the live version, or there is no version `number`.
    fn begin_config(&self, number: u64, base: u64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes the pending version live, and puts down what the record must say of it in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::ConfigMoved`] if `number` is not pending.
    fn confirm_config(&self, number: u64, note: Note) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Gives the pending version up; if it never was live, it is forgotten. Nothing happens if it is not pending.
    fn abandon_config(&self, number: u64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What is live and what is pending.
    fn config_state(&self) -> BoxFuture<'_, Result<ConfigState, StoreError>>;

    /// The version with this number, while it is among the newest [`KEPT_VERSIONS`] or live.
    fn config(&self, number: u64) -> BoxFuture<'_, Result<Option<ConfigVersion>, StoreError>>;

    /// The kept versions, newest first.
    fn config_history(&self) -> BoxFuture<'_, Result<Vec<ConfigSummary>, StoreError>>;

    /// The live version; `None` before the first.
    fn current_config(&self) -> BoxFuture<'_, Result<Option<ConfigVersion>, StoreError>>;
}
