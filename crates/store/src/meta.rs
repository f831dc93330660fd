//! Facts about this installation that are fixed once and then stand; the relying party moves only with the loss of every
//! passkey (ID-24).

use model::{BoxFuture, Timestamp};

use crate::error::StoreError;

/// The WebAuthn relying party id. Passkeys are bound to it for ever.
pub const RP_ID: &str = "rp_id";
/// The id of this line of stores; a restored backup gets a new one (AUD-54).
pub const LINEAGE: &str = "lineage";
/// The longest name or value.
pub const MAX_FACT_BYTES: usize = 4096;

/// Keeps facts that stand.
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

    /// How many passkeys there are, and of how many people: what a new relying party would cost.
    fn passkeys_at_stake(&self) -> BoxFuture<'_, Result<(u64, u64), StoreError>>;

    /// Makes `rp_id` the relying party and removes every passkey, in one step. Gives how many went.
    fn move_relying_party<'a>(&'a self, rp_id: &'a str, now: Timestamp) -> BoxFuture<'a, Result<u64, StoreError>>;
}
