//! Cases of [`ConfigStore`].

use model::ids::Digest32;
use store::{
    ConfigFile, ConfigState, ConfigStore, ConfigSummary, ConfigVersion, KEPT_VERSIONS, MAX_CONFIG_BYTES,
    MAX_CONFIG_FILES, NewConfig, Note, StoreError,
};

use uuid::Uuid;

use super::{at, cases};

cases! { dyn ConfigStore;
    a_configuration_reads_back_as_it_was_given covers "add_config" "config" "current_config";
    two_applies_on_the_same_base_cannot_both_win covers "add_config" "current_config";
    of_applies_at_the_same_moment_one_wins covers "add_config" "config_history";
    the_last_versions_are_kept_and_listed_newest_first covers "config_history" "config";
    a_configuration_that_fails_half_way_leaves_nothing covers "add_config" "current_config" "config_history";
    what_is_pending_is_live_only_when_confirmed covers "config_state" "confirm_config" "abandon_config" "current_config";
    an_earlier_version_can_be_made_live_again covers "begin_config" "confirm_config" "abandon_config" "config";
    the_live_version_is_kept_however_old covers "begin_config" "config";
    a_configuration_too_large_is_refused covers "add_config" "current_config";
}

fn file(name: &str, text: &str) -> ConfigFile {
    ConfigFile { name: name.to_owned(), text: text.to_owned() }
}

fn new(base: u64, files: Vec<ConfigFile>) -> NewConfig {
    let digest = Digest32::of(&base.to_be_bytes());
    let reason = "new wiki".to_owned();
    NewConfig { base, digest, author: "usr_carol".to_owned(), reason, applied_at: at(1), files }
}

fn kept(number: u64, config: &NewConfig) -> ConfigVersion {
    let summary = ConfigSummary {
        number,
        digest: config.digest,
        author: config.author.clone(),
        reason: config.reason.clone(),
        applied_at: config.applied_at,
    };
    ConfigVersion { summary, files: config.files.clone() }
}

async fn live(store: &dyn ConfigStore, number: u64) {
    let note = Note { id: Uuid::from_u128(number.into()), at: at(2), body: String::new() };
    store.confirm_config(number, note).await.unwrap();
}

async fn state(store: &dyn ConfigStore) -> (u64, Option<u64>) {
    let ConfigState { live, pending } = store.config_state().await.unwrap();
    (live, pending)
}

async fn what_is_pending_is_live_only_when_confirmed(store: &dyn ConfigStore) {
    assert_eq!(state(store).await, (0, None));
    store.add_config(new(0, vec![file("a", "1")])).await.unwrap();
    assert_eq!(state(store).await, (0, Some(1)));
    assert_eq!(store.current_config().await.unwrap(), None);
    store.abandon_config(2).await.unwrap();
    store.abandon_config(1).await.unwrap();
    assert_eq!((state(store).await, store.config(1).await.unwrap()), ((0, None), None), "refused is forgotten");
    assert_eq!(store.add_config(new(0, vec![file("a", "2")])).await.unwrap(), 1);
    live(store, 1).await;
    assert_eq!(state(store).await, (1, None));
    let note = Note { id: Uuid::nil(), at: at(2), body: String::new() };
    let again = store.confirm_config(1, note).await;
    assert!(matches!(again, Err(StoreError::ConfigMoved { .. })), "{again:?}");
}

async fn an_earlier_version_can_be_made_live_again(store: &dyn ConfigStore) {
    for base in 0..2 {
        let number = store.add_config(new(base, vec![file("a", &base.to_string())])).await.unwrap();
        live(store, number).await;
    }
    for (number, base) in [(1, 1), (3, 2), (u64::MAX, 2)] {
        assert!(store.begin_config(number, base).await.is_err(), "{number} on {base}");
    }
    store.begin_config(1, 2).await.unwrap();
    assert_eq!(state(store).await, (2, Some(1)));
    store.abandon_config(1).await.unwrap();
    assert!(store.config(1).await.unwrap().is_some(), "it was live once");
    store.begin_config(1, 2).await.unwrap();
    live(store, 1).await;
    assert_eq!(state(store).await, (1, None));
    assert_eq!(store.add_config(new(1, vec![file("a", "3")])).await.unwrap(), 3, "numbers go on");
}

async fn the_live_version_is_kept_however_old(store: &dyn ConfigStore) {
    store.add_config(new(0, vec![file("a", "0")])).await.unwrap();
    live(store, 1).await;
    for _ in 0..KEPT_VERSIONS + 2 {
        let number = store.add_config(new(1, vec![file("a", "1")])).await.unwrap();
        live(store, number).await;
        store.begin_config(1, number).await.unwrap();
        live(store, 1).await;
    }
    assert!(store.config(1).await.unwrap().is_some());
    assert_eq!(store.config(2).await.unwrap(), None);
}

async fn a_configuration_reads_back_as_it_was_given(store: &dyn ConfigStore) {
    assert_eq!(store.current_config().await.unwrap(), None);
    // Order matters to a reader, so it is not the order of names; texts may be anything.
    let config =
        new(0, vec![file("z.yaml", "kind: App\n"), file("a.cedar", ""), file("ü/ß.yaml", "'; DROP TABLE x; \0")]);
    assert_eq!(store.add_config(config.clone()).await.unwrap(), 1);
    live(store, 1).await;
    assert_eq!(store.current_config().await.unwrap(), Some(kept(1, &config)));
    assert_eq!(store.config(1).await.unwrap(), Some(kept(1, &config)));
    for absent in [0, 2, u64::MAX] {
        assert_eq!(store.config(absent).await.unwrap(), None);
    }
}

async fn two_applies_on_the_same_base_cannot_both_win(store: &dyn ConfigStore) {
    let first = new(0, vec![file("a", "1")]);
    store.add_config(first.clone()).await.unwrap();
    live(store, 1).await;
    for base in [0, 2] {
        let refusal = store.add_config(new(base, vec![file("a", "2")])).await;
        assert!(
            matches!(refusal, Err(StoreError::ConfigMoved { expected, found: 1 }) if expected == base),
            "{refusal:?}"
        );
    }
    assert_eq!(store.current_config().await.unwrap(), Some(kept(1, &first)));
}

async fn of_applies_at_the_same_moment_one_wins(store: &dyn ConfigStore) {
    let apply = |text: &'static str| async move {
        let number = store.add_config(new(0, vec![file("a", text)])).await?;
        let note = Note { id: Uuid::from_u128(number.into()), at: at(2), body: String::new() };
        store.confirm_config(number, note).await.map(|()| number)
    };
    let outcomes = tokio::join!(apply("1"), apply("2"), apply("3"), apply("4"));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(state(store).await.1, None);
}

async fn the_last_versions_are_kept_and_listed_newest_first(store: &dyn ConfigStore) {
    for base in 0..KEPT_VERSIONS + 2 {
        let number = store.add_config(new(base, vec![file("a", &base.to_string())])).await.unwrap();
        live(store, number).await;
    }
    let numbers: Vec<u64> = store.config_history().await.unwrap().iter().map(|version| version.number).collect();
    let expected: Vec<u64> = (3..=KEPT_VERSIONS + 2).rev().collect();
    assert_eq!(numbers, expected);
    assert_eq!(store.config(2).await.unwrap(), None);
    assert_eq!(store.config(3).await.unwrap(), Some(kept(3, &new(2, vec![file("a", "2")]))));
}

async fn a_configuration_that_fails_half_way_leaves_nothing(store: &dyn ConfigStore) {
    let twice = new(0, vec![file("a", "1"), file("b", "2"), file("a", "3")]);
    assert!(matches!(store.add_config(twice).await, Err(StoreError::Database(_))));
    assert_eq!(store.current_config().await.unwrap(), None);
    assert_eq!(store.config_history().await.unwrap(), []);
    assert_eq!(store.add_config(new(0, vec![file("a", "1")])).await.unwrap(), 1);
}

async fn a_configuration_too_large_is_refused(store: &dyn ConfigStore) {
    let many = (0..=MAX_CONFIG_FILES).map(|number| file(&number.to_string(), "")).collect();
    let large = vec![file("a", &"x".repeat(MAX_CONFIG_BYTES))];
    for files in [many, large] {
        let refusal = store.add_config(new(0, files)).await;
        assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
    }
    assert_eq!(store.current_config().await.unwrap(), None);
}
