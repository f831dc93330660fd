//! Sealed secrets in SQLite.

use model::BoxFuture;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::outbox::put_note;
use super::rows::Columns;
use crate::error::{StoreError, check_size};
use crate::keys::{KeyStore, MAX_SEALED_BYTES, MAX_SECRET_NAME_BYTES, SealedSecret, SecretKind};
use crate::outbox::Note;

impl KeyStore for Store {
    fn add_secret(&self, secret: SealedSecret, note: Option<Note>) -> BoxFuture<'_, Result<SealedSecret, StoreError>> {
        Box::pin(async move { self.add(secret, note).await.map_err(|error| error.at(self.path())) })
    }

    fn delete_secret<'a>(&'a self, kind: SecretKind, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.shred(kind, name).await.map_err(|error| error.at(self.path())) })
    }

    fn put_secret(&self, secret: SealedSecret, note: Option<Note>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.put(secret, note).await.map_err(|error| error.at(self.path())) })
    }

    fn secret<'a>(
        &'a self,
        kind: SecretKind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<SealedSecret>, StoreError>> {
        Box::pin(async move {
            let mut view = self.read().await?;
            find(&mut view, kind, name).await.map_err(|error| error.at(self.path()))
        })
    }

    fn secrets(&self, kind: SecretKind) -> BoxFuture<'_, Result<Vec<SealedSecret>, StoreError>> {
        Box::pin(async move { self.of_kind(kind).await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn add(&self, secret: SealedSecret, note: Option<Note>) -> Result<SealedSecret, StoreError> {
        check(&secret)?;
        let mut transaction = self.write().await?;
        if let Some(known) = find(&mut transaction, secret.kind, &secret.name).await? {
            return Ok(known);
        }
        insert(&mut transaction, &secret).await?;
        if let Some(note) = note {
            put_note(&mut transaction, &note).await?;
        }
        transaction.commit().await?;
        Ok(secret)
    }

    async fn put(&self, secret: SealedSecret, note: Option<Note>) -> Result<(), StoreError> {
        check(&secret)?;
        let mut transaction = self.write().await?;
        insert(&mut transaction, &secret).await?;
        if let Some(note) = note {
            put_note(&mut transaction, &note).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn shred(&self, kind: SecretKind, name: &str) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let done = sqlx::query("DELETE FROM secrets WHERE kind = ? AND name = ?")
            .bind(kind.as_str())
            .bind(name.to_owned())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        // `secure_delete` wiped the page; older copies of it are in the journal until it is folded in and cut.
        let outcome = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await?;
        if outcome.flag("busy")? { Err(StoreError::NotWiped) } else { Ok(done.rows_affected() > 0) }
    }

    async fn of_kind(&self, kind: SecretKind) -> Result<Vec<SealedSecret>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM secrets WHERE kind = ? ORDER BY name")
            .bind(kind.as_str())
            .fetch_all(&mut *view)
            .await?;
        rows.iter().map(secret).collect()
    }
}

fn check(secret: &SealedSecret) -> Result<(), StoreError> {
    check_size("the name of a secret", secret.name.len(), MAX_SECRET_NAME_BYTES)?;
    check_size("a sealed secret", secret.sealed.len(), MAX_SEALED_BYTES)
}

async fn insert(connection: &mut SqliteConnection, secret: &SealedSecret) -> Result<(), StoreError> {
    let sql = "INSERT INTO secrets (kind, name, sealed, put_at) VALUES (?, ?, ?, ?)
               ON CONFLICT (kind, name) DO UPDATE SET sealed = excluded.sealed, put_at = excluded.put_at";
    sqlx::query(sql)
        .bind(secret.kind.as_str())
        .bind(secret.name.clone())
        .bind(secret.sealed.clone())
        .bind(secret.put_at.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    kind: SecretKind,
    name: &str,
) -> Result<Option<SealedSecret>, StoreError> {
    let row = sqlx::query("SELECT * FROM secrets WHERE kind = ? AND name = ?")
        .bind(kind.as_str())
        .bind(name.to_owned())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(secret).transpose()
}

fn secret(row: &SqliteRow) -> Result<SealedSecret, StoreError> {
    Ok(SealedSecret {
        kind: row.word("kind", SecretKind::ALL, SecretKind::as_str)?,
        name: row.text("name")?,
        sealed: row.blob("sealed")?,
        put_at: row.time("put_at")?,
    })
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_keeps_the_bytes_of_a_deleted_key_alive_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), Timestamp(1)).await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 20").execute(&store.writer).await.unwrap();
        let secret =
            SealedSecret { kind: SecretKind::SubjectKey, name: "a".into(), sealed: vec![1], put_at: Timestamp(1) };
        store.put_secret(secret, None).await.unwrap();
        let mut view = store.read().await.unwrap();
        assert!(find(&mut view, SecretKind::SubjectKey, "a").await.unwrap().is_some());
        let outcome = store.delete_secret(SecretKind::SubjectKey, "a").await;
        assert!(matches!(outcome, Err(StoreError::NotWiped)), "{outcome:?}");
        drop(view);
        assert!(!store.delete_secret(SecretKind::SubjectKey, "a").await.unwrap(), "gone, and wiped now");
    }
}
