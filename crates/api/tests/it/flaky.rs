//! The product's own store as a store of people that can refuse to change anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{BoxFuture, TokenHash, UserId};
use pip_identity::DirectoryStore;
use pip_identity::store::{
    DirectoryChange, DirectoryRows, Factors, LinkRow, NoticeRow, PasskeyRow, RecoveryRow, StoreError,
};
use store::Store;

/// Delegates; while it fails, nothing changes.
pub(crate) struct Flaky {
    inner: Arc<Store>,
    is_failing: AtomicBool,
}

impl Flaky {
    pub(crate) fn new(inner: Arc<Store>) -> Self {
        Self { inner, is_failing: AtomicBool::new(false) }
    }

    /// From now on every change is refused (`true`) or made again (`false`).
    pub(crate) fn fail(&self, is_failing: bool) {
        self.is_failing.store(is_failing, Ordering::SeqCst);
    }
}

impl DirectoryStore for Flaky {
    fn load(&self) -> BoxFuture<'_, Result<DirectoryRows, StoreError>> {
        DirectoryStore::load(self.inner.as_ref())
    }

    fn apply(&self, expected: Option<u64>, changes: Vec<DirectoryChange>) -> BoxFuture<'_, Result<u64, StoreError>> {
        if self.is_failing.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(StoreError::Backend("the fake disk is full".to_owned()))));
        }
        self.inner.apply(expected, changes)
    }

    fn passkey<'a>(&'a self, credential_id: &'a [u8]) -> BoxFuture<'a, Result<Option<PasskeyRow>, StoreError>> {
        self.inner.passkey(credential_id)
    }

    fn passkeys_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<PasskeyRow>, StoreError>> {
        self.inner.passkeys_of(user)
    }

    fn link(&self, secret_hash: TokenHash) -> BoxFuture<'_, Result<Option<LinkRow>, StoreError>> {
        self.inner.link(secret_hash)
    }

    fn links(&self) -> BoxFuture<'_, Result<Vec<LinkRow>, StoreError>> {
        self.inner.links()
    }

    fn recovery_codes_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<TokenHash>, StoreError>> {
        self.inner.recovery_codes_of(user)
    }

    fn factors_of(&self, user: UserId) -> BoxFuture<'_, Result<Factors, StoreError>> {
        self.inner.factors_of(user)
    }

    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<RecoveryRow>, StoreError>> {
        self.inner.recoveries()
    }

    fn notices_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<NoticeRow>, StoreError>> {
        self.inner.notices_of(user)
    }

    fn notice(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<NoticeRow>, StoreError>> {
        self.inner.notice(token)
    }
}
