//! The schema and how a file gets there (AUD-55): forward only, each step in a transaction of its own. SQLite's
//! `user_version` is the number of steps taken; each step sets it, so it moves with the step or not at all.
//!
//! A step is never changed once released; a change of the schema is a new step.

use model::Timestamp;
use sqlx::sqlite::SqlitePool;

use crate::error::StoreError;

/// The steps, in order. The first also sets `application_id`.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema/0001_first.sql"),
    include_str!("schema/0002_accounts.sql"),
    include_str!("schema/0003_live.sql"),
    include_str!("schema/0004_preferences.sql"),
    include_str!("schema/0005_wishes.sql"),
    include_str!("schema/0006_recovery_waits.sql"),
    include_str!("schema/0007_security_keys.sql"),
    include_str!("schema/0008_proposals.sql"),
    include_str!("schema/0009_services.sql"),
];

/// The schema this program writes: the number of steps.
pub const SCHEMA_VERSION: i64 = 9;

/// Takes the steps the file has not taken yet.
pub(super) async fn migrate(writer: &SqlitePool, steps: &[&'static str], now: Timestamp) -> Result<(), StoreError> {
    for (number, step) in (1_i64..).zip(steps) {
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        let taken: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        if taken >= number {
            continue;
        }
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO schema_steps (number, taken_at) VALUES (?, ?)")
            .bind(number)
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        let taken: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        if taken != number {
            return Err(StoreError::malformed("schema step", number));
        }
        transaction.commit().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    const NOW: Timestamp = Timestamp(1_000);

    async fn version(store: &Store) -> i64 {
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&store.writer).await.unwrap()
    }

    /// One step more, that does one thing, counts itself, and does another.
    fn next(before: &str, after: &str) -> &'static str {
        format!("{before}; PRAGMA user_version = {}; {after};", SCHEMA_VERSION + 1).leak()
    }

    #[test]
    fn the_schema_version_is_the_number_of_steps() {
        assert_eq!(usize::try_from(SCHEMA_VERSION).unwrap(), STEPS.len());
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), NOW).await.unwrap();
        let mut steps = STEPS.to_vec();
        steps.push(next("CREATE TABLE half (x INTEGER) STRICT", "INSERT INTO nowhere VALUES (1)"));
        assert!(migrate(&store.writer, &steps, NOW).await.is_err());
        assert_eq!(version(&store).await, SCHEMA_VERSION);
        let half: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'half'")
            .fetch_one(&store.writer)
            .await
            .unwrap();
        assert_eq!(half, 0);
    }

    #[tokio::test]
    async fn a_step_that_does_not_count_itself_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), NOW).await.unwrap();
        let mut steps = STEPS.to_vec();
        steps.push("CREATE TABLE uncounted (x INTEGER) STRICT;");
        assert!(migrate(&store.writer, &steps, NOW).await.is_err());
        assert_eq!(version(&store).await, SCHEMA_VERSION);
    }

    #[tokio::test]
    async fn later_steps_are_taken_once_and_keep_the_rows() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), NOW).await.unwrap();
        sqlx::query("INSERT INTO facts VALUES ('rp_id', 'localhost', 1)").execute(&store.writer).await.unwrap();
        let mut steps = STEPS.to_vec();
        steps.push(next("ALTER TABLE facts ADD COLUMN note TEXT", ""));
        migrate(&store.writer, &steps, NOW).await.unwrap();
        migrate(&store.writer, &steps, NOW).await.unwrap();
        assert_eq!(version(&store).await, SCHEMA_VERSION + 1);
        let kept: String =
            sqlx::query_scalar("SELECT value FROM facts WHERE note IS NULL").fetch_one(&store.writer).await.unwrap();
        assert_eq!(kept, "localhost");
    }
}
