//! The outbox in SQLite.

use model::BoxFuture;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::Store;
use super::rows::Columns;
use crate::error::{StoreError, check_size};
use crate::outbox::{MAX_NOTE_BYTES, Note, OutboxStore};

impl OutboxStore for Store {
    fn notes(&self) -> BoxFuture<'_, Result<Vec<Note>, StoreError>> {
        Box::pin(async move { self.read_notes().await.map_err(|error| error.at(self.path())) })
    }

    fn forget_note(&self, id: Uuid) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.delete_note(id).await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn read_notes(&self) -> Result<Vec<Note>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT id, at, body FROM outbox ORDER BY at, id").fetch_all(&mut *view).await?;
        rows.iter().map(|row| Ok(Note { id: row.uuid("id")?, at: row.time("at")?, body: row.text("body")? })).collect()
    }

    async fn delete_note(&self, id: Uuid) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM outbox WHERE id = ?").bind(id.as_bytes().to_vec()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Puts a note down within the transaction of what it tells of; one with this id is replaced.
pub(super) async fn put_note(connection: &mut SqliteConnection, note: &Note) -> Result<(), StoreError> {
    check_size("a note for the record", note.body.len(), MAX_NOTE_BYTES)?;
    sqlx::query("INSERT OR REPLACE INTO outbox (id, at, body) VALUES (?, ?, ?)")
        .bind(note.id.as_bytes().to_vec())
        .bind(note.at.0)
        .bind(note.body.clone())
        .execute(connection)
        .await?;
    Ok(())
}
