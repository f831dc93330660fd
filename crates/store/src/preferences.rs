//! How a person likes pages: small values under names that the control plane knows. Nothing here is a fact anybody
//! decides by.

use model::{BoxFuture, Timestamp, UserId};

use crate::error::StoreError;

/// The longest name of a preference.
pub const MAX_PREFERENCE_NAME_BYTES: usize = 64;
/// The longest value.
pub const MAX_PREFERENCE_BYTES: usize = 4096;

/// Keeps preferences; they go with their person.
pub trait PreferenceStore: Send + Sync {
    /// All that a person has set, by name.
    fn preferences(&self, user: UserId) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>>;

    /// Sets a preference, or takes it away.
    fn set_preference<'a>(
        &'a self,
        user: UserId,
        name: &'a str,
        value: Option<&'a str>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
