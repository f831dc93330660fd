//! Applied configurations in SQLite.

use model::BoxFuture;
use model::ids::Digest32;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::outbox::put_note;
use super::proposals::forget_proposals;
use super::rows::{Columns, to_integer};
use crate::config::{
    ConfigFile, ConfigState, ConfigStore, ConfigSummary, ConfigVersion, KEPT_VERSIONS, MAX_CONFIG_BYTES,
    MAX_CONFIG_FILES, NewConfig,
};
use crate::error::{StoreError, check_size};
use crate::outbox::Note;

const CURRENT: &str = "SELECT * FROM config_versions WHERE number = (SELECT number FROM config_live)";

impl ConfigStore for Store {
    fn add_config(&self, config: NewConfig) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.add_version(&config).await.map_err(|error| error.at(self.path())) })
    }

    fn begin_config(&self, number: u64, base: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.begin(number, base).await.map_err(|error| error.at(self.path())) })
    }

    fn confirm_config(&self, number: u64, note: Note) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.confirm(number, &note).await.map_err(|error| error.at(self.path())) })
    }

    fn abandon_config(&self, number: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.abandon(number).await.map_err(|error| error.at(self.path())) })
    }

    fn config_state(&self) -> BoxFuture<'_, Result<ConfigState, StoreError>> {
        Box::pin(async move {
            let state = async { state(&mut *self.read().await?).await };
            state.await.map_err(|error| error.at(self.path()))
        })
    }

    fn config(&self, number: u64) -> BoxFuture<'_, Result<Option<ConfigVersion>, StoreError>> {
        Box::pin(async move { self.version(number).await.map_err(|error| error.at(self.path())) })
    }

    fn config_history(&self) -> BoxFuture<'_, Result<Vec<ConfigSummary>, StoreError>> {
        Box::pin(async move { self.history().await.map_err(|error| error.at(self.path())) })
    }

    fn current_config(&self) -> BoxFuture<'_, Result<Option<ConfigVersion>, StoreError>> {
        Box::pin(async move { self.current().await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn add_version(&self, config: &NewConfig) -> Result<u64, StoreError> {
        check_config_size(&config.files, config.author.len() + config.reason.len())?;
        let mut transaction = self.write().await?;
        expect_live(&mut transaction, config.base).await?;
        // Callers resolve what is pending before they add; whatever a crash left is not in the way.
        sqlx::query("DELETE FROM config_versions WHERE was_live = 0").execute(&mut *transaction).await?;
        let newest = sqlx::query("SELECT coalesce(max(number), 0) AS number FROM config_versions")
            .fetch_one(&mut *transaction)
            .await?;
        let number = newest.count("number")? + 1;
        insert(&mut transaction, number, config).await?;
        sqlx::query("DELETE FROM config_versions WHERE number <= ? AND number != ?")
            .bind(to_integer("configuration number", number.saturating_sub(KEPT_VERSIONS))?)
            .bind(to_integer("configuration number", config.base)?)
            .execute(&mut *transaction)
            .await?;
        set_pending(&mut transaction, Some(number)).await?;
        transaction.commit().await?;
        Ok(number)
    }

    async fn begin(&self, number: u64, base: u64) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let live = expect_live(&mut transaction, base).await?;
        let kept = sqlx::query("SELECT number FROM config_versions WHERE number = ?")
            .bind(to_integer("configuration number", number)?)
            .fetch_optional(&mut *transaction)
            .await?;
        if kept.is_none() {
            return Err(StoreError::ConfigMoved { expected: number, found: live });
        }
        set_pending(&mut transaction, Some(number)).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn confirm(&self, number: u64, note: &Note) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let found = state(&mut transaction).await?;
        if found.pending != Some(number) {
            return Err(StoreError::ConfigMoved { expected: number, found: found.pending.unwrap_or(found.live) });
        }
        let number = to_integer("configuration number", number)?;
        sqlx::query("UPDATE config_live SET number = ?, pending = NULL")
            .bind(number)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE config_versions SET was_live = 1 WHERE number = ?")
            .bind(number)
            .execute(&mut *transaction)
            .await?;
        // What waits was proposed for the version that was live.
        forget_proposals(&mut transaction).await?;
        put_note(&mut transaction, note).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn abandon(&self, number: u64) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        if state(&mut transaction).await?.pending != Some(number) {
            return Ok(());
        }
        set_pending(&mut transaction, None).await?;
        sqlx::query("DELETE FROM config_versions WHERE number = ? AND was_live = 0")
            .bind(to_integer("configuration number", number)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn version(&self, number: u64) -> Result<Option<ConfigVersion>, StoreError> {
        // A number beyond SQLite's integers was never given out.
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let mut view = self.read().await?;
        let row = sqlx::query("SELECT * FROM config_versions WHERE number = ?")
            .bind(number)
            .fetch_optional(&mut *view)
            .await?;
        with_files(&mut view, row).await
    }

    async fn history(&self) -> Result<Vec<ConfigSummary>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM config_versions ORDER BY number DESC").fetch_all(&mut *view).await?;
        rows.iter().map(summary).collect()
    }

    async fn current(&self) -> Result<Option<ConfigVersion>, StoreError> {
        let mut view = self.read().await?;
        let row = sqlx::query(CURRENT).fetch_optional(&mut *view).await?;
        with_files(&mut view, row).await
    }
}

async fn state(connection: &mut SqliteConnection) -> Result<ConfigState, StoreError> {
    let row =
        sqlx::query("SELECT number, coalesce(pending, 0) AS pending FROM config_live").fetch_one(connection).await?;
    Ok(ConfigState { live: row.count("number")?, pending: Some(row.count("pending")?).filter(|number| *number > 0) })
}

/// The sizes of files, and of what is kept beside them.
pub(super) fn check_config_size(files: &[ConfigFile], beside: usize) -> Result<(), StoreError> {
    check_size("the number of configuration files", files.len(), MAX_CONFIG_FILES)?;
    let size = files.iter().map(|file| file.name.len() + file.text.len()).sum::<usize>();
    check_size("a configuration", size + beside, MAX_CONFIG_BYTES)
}

/// The version the caller built on must be the live one.
pub(super) async fn expect_live(connection: &mut SqliteConnection, expected: u64) -> Result<u64, StoreError> {
    let found = state(connection).await?.live;
    if found == expected { Ok(found) } else { Err(StoreError::ConfigMoved { expected, found }) }
}

async fn set_pending(connection: &mut SqliteConnection, number: Option<u64>) -> Result<(), StoreError> {
    let number = number.map(|number| to_integer("configuration number", number)).transpose()?;
    sqlx::query("UPDATE config_live SET pending = ?").bind(number).execute(connection).await?;
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, number: u64, config: &NewConfig) -> Result<(), StoreError> {
    let number = to_integer("configuration number", number)?;
    sqlx::query("INSERT INTO config_versions (number, digest, author, reason, applied_at) VALUES (?, ?, ?, ?, ?)")
        .bind(number)
        .bind(config.digest.0.to_vec())
        .bind(config.author.clone())
        .bind(config.reason.clone())
        .bind(config.applied_at.0)
        .execute(&mut *connection)
        .await?;
    for (position, file) in (0_i64..).zip(&config.files) {
        sqlx::query("INSERT INTO config_files (version, position, name, text) VALUES (?, ?, ?, ?)")
            .bind(number)
            .bind(position)
            .bind(file.name.clone())
            .bind(file.text.clone())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn with_files(
    connection: &mut SqliteConnection,
    row: Option<SqliteRow>,
) -> Result<Option<ConfigVersion>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    let summary = summary(&row)?;
    let rows = sqlx::query("SELECT name, text FROM config_files WHERE version = ? ORDER BY position")
        .bind(row.integer("number")?)
        .fetch_all(connection)
        .await?;
    let files = rows
        .iter()
        .map(|row| Ok(ConfigFile { name: row.text("name")?, text: row.text("text")? }))
        .collect::<Result<_, StoreError>>()?;
    Ok(Some(ConfigVersion { summary, files }))
}

fn summary(row: &SqliteRow) -> Result<ConfigSummary, StoreError> {
    Ok(ConfigSummary {
        number: row.count("number")?,
        digest: Digest32(row.bytes("digest")?),
        author: row.text("author")?,
        reason: row.text("reason")?,
        applied_at: row.time("applied_at")?,
    })
}
