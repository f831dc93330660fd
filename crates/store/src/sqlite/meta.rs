//! Install facts in SQLite.

use model::{BoxFuture, Timestamp};

use super::Store;
use super::rows::Columns;
use crate::error::{StoreError, check_size};
use crate::meta::{MAX_FACT_BYTES, MetaStore, RP_ID};

impl MetaStore for Store {
    fn fact<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async move { self.read_fact(name).await.map_err(|error| error.at(self.path())) })
    }

    fn facts(&self) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        Box::pin(async move { self.read_facts().await.map_err(|error| error.at(self.path())) })
    }

    fn fix_fact<'a>(
        &'a self,
        name: &'a str,
        value: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<String, StoreError>> {
        Box::pin(async move { self.write_fact(name, value, now).await.map_err(|error| error.at(self.path())) })
    }

    fn passkeys_at_stake(&self) -> BoxFuture<'_, Result<(u64, u64), StoreError>> {
        Box::pin(async move { self.count_passkeys().await.map_err(|error| error.at(self.path())) })
    }

    fn move_relying_party<'a>(&'a self, rp_id: &'a str, now: Timestamp) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.move_to(rp_id, now).await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn read_fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut view = self.read().await?;
        let value = sqlx::query_scalar("SELECT value FROM facts WHERE name = ?")
            .bind(name.to_owned())
            .fetch_optional(&mut *view)
            .await?;
        Ok(value)
    }

    async fn read_facts(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT name, value FROM facts ORDER BY name").fetch_all(&mut *view).await?;
        rows.iter().map(|row| Ok((row.text("name")?, row.text("value")?))).collect()
    }

    async fn write_fact(&self, name: &str, value: &str, now: Timestamp) -> Result<String, StoreError> {
        check_size("the name of a fact", name.len(), MAX_FACT_BYTES)?;
        check_size("a fact", value.len(), MAX_FACT_BYTES)?;
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO facts (name, value, fixed_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name.to_owned())
            .bind(value.to_owned())
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        let standing = sqlx::query_scalar("SELECT value FROM facts WHERE name = ?")
            .bind(name.to_owned())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(standing)
    }

    async fn count_passkeys(&self) -> Result<(u64, u64), StoreError> {
        let mut view = self.read().await?;
        let sql = "SELECT count(*) AS passkeys, count(DISTINCT user) AS people FROM passkeys";
        let row = sqlx::query(sql).fetch_one(&mut *view).await?;
        Ok((row.count("passkeys")?, row.count("people")?))
    }

    async fn move_to(&self, rp_id: &str, now: Timestamp) -> Result<u64, StoreError> {
        check_size("a fact", rp_id.len(), MAX_FACT_BYTES)?;
        let mut transaction = self.write().await?;
        let gone = sqlx::query("DELETE FROM passkeys").execute(&mut *transaction).await?.rows_affected();
        let sql = "INSERT INTO facts (name, value, fixed_at) VALUES (?, ?, ?)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value, fixed_at = excluded.fixed_at";
        sqlx::query(sql).bind(RP_ID.to_owned()).bind(rp_id.to_owned()).bind(now.0).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(gone)
    }
}
