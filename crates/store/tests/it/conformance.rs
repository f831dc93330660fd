//! The conformance suite (AUD-53): one module of cases per trait, each case an async function over the trait, run
//! here on SQLite. PostgreSQL joins with one more [`on_sqlite`]. A method of a trait without a case fails the suite.

mod config;
mod keys;
mod meta;
mod outbox;
mod preferences;
mod proposals;
mod sessions;

use model::{BoxFuture, Timestamp};
use store::Store;

/// One case: what it shows, the methods it covers, and how to run it on an empty store.
pub(crate) struct Case<T: ?Sized> {
    name: &'static str,
    covers: &'static [&'static str],
    run: for<'a> fn(&'a T) -> BoxFuture<'a, ()>,
}

/// Lists the cases of a module: `cases! { dyn Trait; name covers "method" …; }`.
macro_rules! cases {
    ($trait:ty; $($name:ident covers $($method:literal)*;)*) => {
        pub(crate) const CASES: &[crate::conformance::Case<$trait>] = &[$(crate::conformance::Case {
            name: stringify!($name),
            covers: &[$($method),*],
            run: |store| Box::pin($name(store)),
        },)*];
    };
}
pub(crate) use cases;

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000 + secs)
}

/// Runs every case on an empty SQLite store of its own.
async fn on_sqlite<T: ?Sized>(cases: &[Case<T>], as_trait: fn(&Store) -> &T) {
    for case in cases {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), at(0)).await.unwrap();
        eprintln!("case {}", case.name);
        (case.run)(as_trait(&store)).await;
        store.close().await;
    }
}

/// The methods of the one trait declared in `source`, as written there.
fn methods_in(source: &str) -> Vec<&str> {
    let body = source.split("pub trait ").nth(1).unwrap();
    let names = body.lines().filter_map(|line| line.strip_prefix("    fn "));
    names.map(|line| line.split(['(', '<']).next().unwrap()).collect()
}

#[track_caller]
fn check_coverage<T: ?Sized>(cases: &[Case<T>], source: &str, count: usize) {
    let methods = methods_in(source);
    assert_eq!(methods.len(), count, "methods found: {methods:?}");
    for method in &methods {
        assert!(cases.iter().any(|case| case.covers.contains(method)), "no case covers `{method}`");
    }
    for covered in cases.iter().flat_map(|case| case.covers) {
        assert!(methods.contains(covered), "`{covered}` is no method");
    }
}

#[test]
fn every_method_of_every_trait_has_a_case() {
    check_coverage(sessions::CASES, include_str!("../../src/sessions.rs"), 2);
    check_coverage(config::CASES, include_str!("../../src/config.rs"), 8);
    check_coverage(keys::CASES, include_str!("../../src/keys.rs"), 5);
    check_coverage(outbox::CASES, include_str!("../../src/outbox.rs"), 2);
    check_coverage(preferences::CASES, include_str!("../../src/preferences.rs"), 2);
    check_coverage(proposals::CASES, include_str!("../../src/proposals.rs"), 5);
    check_coverage(meta::CASES, include_str!("../../src/meta.rs"), 5);
}

#[tokio::test]
async fn sqlite_keeps_preferences() {
    on_sqlite(preferences::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_proposals() {
    on_sqlite(proposals::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_sessions() {
    on_sqlite(sessions::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_the_outbox() {
    on_sqlite(outbox::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_configurations() {
    on_sqlite(config::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_keys() {
    on_sqlite(keys::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_facts() {
    on_sqlite(meta::CASES, |store| store).await;
}

#[tokio::test]
async fn sqlite_keeps_people() {
    for case in pip_identity::conformance::CASES {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.db"), at(0)).await.unwrap();
        if let Err(found) = (case.run)(&store).await {
            panic!("{}: {found}", case.name);
        }
        store.close().await;
    }
}
