//! The SQLite store: one connection writes, a few read (AUD-54).
//!
//! Invariants: the file is readable by its owner only; foreign keys are enforced; a write answers after its
//! transaction is synced to disk. Group commit across callers is not done: each call is its own transaction.

mod config;
mod directory;
mod keys;
mod meta;
mod migrations;
mod mounts;
mod outbox;
mod preferences;
mod proposals;
mod rows;
mod sessions;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};

use crate::error::StoreError;
pub use migrations::SCHEMA_VERSION;

/// How many connections read beside the one that writes.
pub const READERS: u32 = 4;
/// How long a call waits for its connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long SQLite waits for another process (a backup) that holds the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `PRAGMA application_id` of our files: "CSGN".
const APPLICATION_ID: i64 = 0x4353_474e;

/// An open store. Cheap to clone: clones share the connections.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens the store at `path`, makes it if there is none (its directory must exist), and brings its schema up to
    /// this program's.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::NotOurs`], [`StoreError::Corrupt`], [`StoreError::NetworkFileSystem`]:
    /// the file was left as it is. Otherwise what the system or SQLite said.
    pub async fn open(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        mounts::refuse_network(path)?;
        if make_private(path)? {
            inspect(path).await?;
        }
        let writing = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            // Deleted rows are overwritten, so that deleting a key shreds it.
            .pragma("secure_delete", "ON")
            // Rows refer to each other by what we say, never by a damaged schema's functions.
            .pragma("trusted_schema", "OFF");
        let reading = writing.clone().read_only(true);
        let writer = pool_options(1).connect_with(writing).await.map_err(|error| StoreError::from(error).at(path))?;
        migrations::migrate(&writer, migrations::STEPS, now).await.map_err(|error| error.at(path))?;
        let readers =
            pool_options(READERS).connect_with(reading).await.map_err(|error| StoreError::from(error).at(path))?;
        Ok(Store { path: path.to_owned(), writer, readers })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes every connection; the journal is folded into the file. Calls under way finish first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Takes the one writing connection and its lock.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|error| StoreError::from(error).at(&self.path))
    }

    /// One consistent view for several queries.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.readers.begin().await.map_err(|error| StoreError::from(error).at(&self.path))
    }
}

fn pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the file readable by its owner only (SQLite gives its journals the same mode). True if it was there.
fn make_private(path: &Path) -> Result<bool, StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(true),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// Looks at an existing file without changing it: is it ours, sound, and not newer than this program?
async fn inspect(path: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let mut connection =
        SqliteConnection::connect_with(&options).await.map_err(|error| StoreError::from(error).at(path))?;
    let outcome = inspect_with(path, &mut connection).await;
    connection.close().await.map_err(|error| StoreError::from(error).at(path))?;
    outcome
}

async fn inspect_with(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let fail = |error| StoreError::from(error).at(path);
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(fail)?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await.map_err(fail)?;
    if tables == 0 && id == 0 {
        // Killed between making the file and the first migration.
        return Ok(());
    }
    if id != APPLICATION_ID {
        return Err(StoreError::NotOurs(path.to_owned()));
    }
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(fail)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    let verdict: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(fail)?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt { path: path.to_owned(), detail: verdict }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_are_synced_references_enforced_and_deleted_rows_wiped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), Timestamp(1)).await.unwrap();
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
        assert_eq!(journal, "wal");
        for (sql, expected) in [
            ("PRAGMA synchronous", 2_i64),
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA secure_delete", 1),
            ("PRAGMA trusted_schema", 0),
        ] {
            let found: i64 = sqlx::query_scalar(sql).fetch_one(&store.writer).await.unwrap();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), Timestamp(1)).await.unwrap();
        assert!(sqlx::query("DELETE FROM facts").execute(&store.readers).await.is_err());
    }
}
