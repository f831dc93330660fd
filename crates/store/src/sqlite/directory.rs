//! People, groups, credentials, links and codes in SQLite: [`DirectoryStore`] of pip-identity.

mod accounts;
mod apply;
mod read;
mod services;

use model::{BoxFuture, TokenHash, UserId};
use pip_identity::store::{
    DirectoryChange, DirectoryRows, DirectoryStore, Factors, LinkRow, NoticeRow, PasskeyRow, RecoveryRow, StoreError,
    Unique,
};

use super::Store;

impl DirectoryStore for Store {
    fn load(&self) -> BoxFuture<'_, Result<DirectoryRows, StoreError>> {
        Box::pin(async move { self.directory_rows().await.map_err(|error| self.backend(error)) })
    }

    fn apply(&self, expected: Option<u64>, changes: Vec<DirectoryChange>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.apply_batch(expected, changes).await.map_err(|failure| self.refuse(failure)) })
    }

    fn passkey<'a>(&'a self, credential_id: &'a [u8]) -> BoxFuture<'a, Result<Option<PasskeyRow>, StoreError>> {
        Box::pin(async move { self.passkey_row(credential_id).await.map_err(|error| self.backend(error)) })
    }

    fn passkeys_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<PasskeyRow>, StoreError>> {
        Box::pin(async move { self.passkey_rows(user).await.map_err(|error| self.backend(error)) })
    }

    fn link(&self, secret_hash: TokenHash) -> BoxFuture<'_, Result<Option<LinkRow>, StoreError>> {
        Box::pin(async move { self.link_row(secret_hash).await.map_err(|error| self.backend(error)) })
    }

    fn links(&self) -> BoxFuture<'_, Result<Vec<LinkRow>, StoreError>> {
        Box::pin(async move { self.link_rows().await.map_err(|error| self.backend(error)) })
    }

    fn recovery_codes_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<TokenHash>, StoreError>> {
        Box::pin(async move { self.recovery_codes(user).await.map_err(|error| self.backend(error)) })
    }

    fn factors_of(&self, user: UserId) -> BoxFuture<'_, Result<Factors, StoreError>> {
        Box::pin(async move { self.factors(user).await.map_err(|error| self.backend(error)) })
    }

    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<RecoveryRow>, StoreError>> {
        Box::pin(async move { self.recovery_rows().await.map_err(|error| self.backend(error)) })
    }

    fn notices_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<NoticeRow>, StoreError>> {
        Box::pin(async move { self.notice_rows(user).await.map_err(|error| self.backend(error)) })
    }

    fn notice(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<NoticeRow>, StoreError>> {
        Box::pin(async move { self.notice_of(token).await.map_err(|error| self.backend(error)) })
    }
}

/// Why a batch was rolled back: a condition of the trait, or the database.
enum Failure {
    Condition(StoreError),
    Store(crate::StoreError),
}

impl From<crate::StoreError> for Failure {
    fn from(error: crate::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Condition(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let taken = error.as_database_error().filter(|cause| cause.is_unique_violation()).and_then(|cause| {
            // "UNIQUE constraint failed: users.email_key"
            let column = cause.message().rsplit(' ').next()?;
            match column {
                "links.id" | "links.secret_hash" => Some(Unique::Link),
                "notices.token" => Some(Unique::Notice),
                "passkeys.credential_id" | "security_keys.credential_id" => Some(Unique::CredentialId),
                "recoveries.ticket" => Some(Unique::Recovery),
                "users.email_key" => Some(Unique::Email),
                "users.handle" => Some(Unique::Handle),
                _ => None,
            }
        });
        match taken {
            Some(unique) => Self::Condition(StoreError::Taken(unique)),
            None => Self::Store(error.into()),
        }
    }
}

impl Store {
    fn backend(&self, error: crate::StoreError) -> StoreError {
        StoreError::Backend(error.at(self.path()).to_string())
    }

    fn refuse(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Condition(condition) => condition,
            Failure::Store(error) => self.backend(error),
        }
    }
}
