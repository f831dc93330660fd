//! Preferences in SQLite.

use model::{BoxFuture, Timestamp, UserId};

use super::Store;
use super::rows::Columns;
use crate::error::{StoreError, check_size};
use crate::preferences::{MAX_PREFERENCE_BYTES, MAX_PREFERENCE_NAME_BYTES, PreferenceStore};

impl PreferenceStore for Store {
    fn preferences(&self, user: UserId) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        Box::pin(async move { self.read_preferences(user).await.map_err(|error| error.at(self.path())) })
    }

    fn set_preference<'a>(
        &'a self,
        user: UserId,
        name: &'a str,
        value: Option<&'a str>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(
            async move { self.write_preference(user, name, value, now).await.map_err(|error| error.at(self.path())) },
        )
    }
}

impl Store {
    async fn read_preferences(&self, user: UserId) -> Result<Vec<(String, String)>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT name, value FROM preferences WHERE user = ? ORDER BY name")
            .bind(user.0.as_bytes().to_vec())
            .fetch_all(&mut *view)
            .await?;
        rows.iter().map(|row| Ok((row.text("name")?, row.text("value")?))).collect()
    }

    async fn write_preference(
        &self,
        user: UserId,
        name: &str,
        value: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        check_size("the name of a preference", name.len(), MAX_PREFERENCE_NAME_BYTES)?;
        check_size("a preference", value.map_or(0, str::len), MAX_PREFERENCE_BYTES)?;
        let mut transaction = self.write().await?;
        let (user, name) = (user.0.as_bytes().to_vec(), name.to_owned());
        let statement = match value {
            // Somebody who was deleted meanwhile has no preferences; the foreign key would fail the call instead.
            Some(value) => {
                let sql =
                    "INSERT INTO preferences (user, name, value, set_at) SELECT id, ?, ?, ? FROM users WHERE id = ?
                           ON CONFLICT (user, name) DO UPDATE SET value = excluded.value, set_at = excluded.set_at";
                sqlx::query(sql).bind(name).bind(value.to_owned()).bind(now.0).bind(user)
            }
            None => sqlx::query("DELETE FROM preferences WHERE name = ? AND user = ?").bind(name).bind(user),
        };
        statement.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}
