//! Facts about this installation that are fixed once and then stand (ID-24).

use model::{BoxFuture, Timestamp};

use crate::error::StoreError;

/// The WebAuthn relying party id. Passkeys are bound to it for ever.
pub const RP_ID: &str = "rp_id";
/// The id of this line of stores; a restored backup gets a new one (AUD-54).
pub const LINEAGE: &str = "lineage";
/// The longest name or value.
pub const MAX_FACT_BYTES: usize = 4096;

/// Keeps facts that never change.
pub trait MetaStore: Send + Sync {
    /// A fact, if it was fixed.
    fn fact<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>>;

    /// All facts, by name.
    fn facts(&self) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>>;

    /// Fixes a fact if it is not fixed yet, and gives the value that stands: the caller compares.
    fn fix_fact<'a>(
        &'a self,
        name: &'a str,
        value: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<String, StoreError>>;
}
