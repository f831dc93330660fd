//! Files that must not be opened, what opening leaves alone, and what survives.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::Timestamp;
use sqlx::{Connection, SqliteConnection};
use store::{KeyStore, MetaStore, RP_ID, SCHEMA_VERSION, SealedSecret, SecretKind, Store, StoreError};

use crate::conformance::at;

const NOW: Timestamp = Timestamp(1);

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    Place { _directory: directory, path }
}

/// A store with one fact, closed.
async fn made(path: &Path) {
    let store = Store::open(path, NOW).await.unwrap();
    store.fix_fact(RP_ID, "localhost", NOW).await.unwrap();
    store.close().await;
}

async fn run(path: &Path, sql: &'static str) {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Opening fails, and the file is byte for byte what it was.
async fn refused(path: &Path) -> StoreError {
    let before = std::fs::read(path).unwrap();
    let error = Store::open(path, NOW).await.err().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), before, "the file was changed");
    error
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let place = place();
    made(&place.path).await;
    run(&place.path, "PRAGMA user_version = 99; CREATE TABLE from_the_future (x INTEGER) STRICT;").await;
    let error = refused(&place.path).await;
    assert!(matches!(error, StoreError::Newer { found: 99, known: SCHEMA_VERSION, .. }), "{error}");
    assert!(error.to_string().contains("run the newer version"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let place = place();
    run(&place.path, "CREATE TABLE bookmarks (url TEXT);").await;
    assert!(matches!(refused(&place.path).await, StoreError::NotOurs(_)));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = place();
    std::fs::write(&place.path, "kind: App\n".repeat(1000)).unwrap();
    let error = refused(&place.path).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore the last good backup"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_alone() {
    let place = place();
    made(&place.path).await;
    let mut bytes = std::fs::read(&place.path).unwrap();
    // Page 2 and what follows hold the tables; page 1 is left sound so that the damage is deeper than the header.
    for byte in bytes.iter_mut().skip(4096).step_by(3) {
        *byte = 0x5a;
    }
    std::fs::write(&place.path, bytes).unwrap();
    let error = refused(&place.path).await;
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_store_cut_off_before_its_first_step_is_begun_afresh() {
    let place = place();
    std::fs::write(&place.path, "").unwrap();
    made(&place.path).await;
    let store = Store::open(&place.path, NOW).await.unwrap();
    assert_eq!(store.fact(RP_ID).await.unwrap().as_deref(), Some("localhost"));
}

#[tokio::test]
async fn a_store_whose_directory_is_missing_names_the_path() {
    let place = place();
    let path = place.path.with_file_name("nowhere").join("store.db");
    let error = Store::open(&path, NOW).await.err().unwrap();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    assert!(error.to_string().contains("nowhere/store.db"), "{error}");
}

#[tokio::test]
async fn only_the_owner_can_read_the_store_and_its_journal() {
    let place = place();
    let store = Store::open(&place.path, NOW).await.unwrap();
    store.fix_fact(RP_ID, "localhost", NOW).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(place.path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 3, "the file, its journal and its index");
}

#[tokio::test]
async fn a_deleted_key_leaves_no_trace_in_the_file_or_its_journal() {
    let place = place();
    let store = Store::open(&place.path, NOW).await.unwrap();
    let marker = b"sealed-bytes-of-a-person-to-be-erased".to_vec();
    let secret =
        SealedSecret { kind: SecretKind::SubjectKey, name: "usr_a".into(), sealed: marker.clone(), put_at: at(0) };
    store.put_secret(secret, None).await.unwrap();
    let is_on_disk = || {
        std::fs::read_dir(place.path.parent().unwrap()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(marker.len()).any(|window| window == marker)
        })
    };
    assert!(is_on_disk(), "it was written in the first place");
    assert!(store.delete_secret(SecretKind::SubjectKey, "usr_a").await.unwrap());
    assert!(!is_on_disk());
}
