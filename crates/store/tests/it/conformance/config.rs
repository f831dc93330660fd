//! Cases of [`ConfigStore`].

use model::ids::Digest32;
use store::{
    ConfigFile, ConfigStore, ConfigSummary, ConfigVersion, KEPT_VERSIONS, MAX_CONFIG_BYTES, MAX_CONFIG_FILES,
    NewConfig, StoreError,
};

use super::{at, cases};

cases! { dyn ConfigStore;
    a_configuration_reads_back_as_it_was_given covers "add_config" "config" "current_config";
    two_applies_on_the_same_base_cannot_both_win covers "add_config" "current_config";
    of_applies_at_the_same_moment_one_wins covers "add_config" "config_history";
    the_last_versions_are_kept_and_listed_newest_first covers "config_history" "config";
    a_configuration_that_fails_half_way_leaves_nothing covers "add_config" "current_config" "config_history";
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

async fn a_configuration_reads_back_as_it_was_given(store: &dyn ConfigStore) {
    assert_eq!(store.current_config().await.unwrap(), None);
    // Order matters to a reader, so it is not the order of names; texts may be anything.
    let config =
        new(0, vec![file("z.yaml", "kind: App\n"), file("a.cedar", ""), file("ü/ß.yaml", "'; DROP TABLE x; \0")]);
    assert_eq!(store.add_config(config.clone()).await.unwrap(), 1);
    assert_eq!(store.current_config().await.unwrap(), Some(kept(1, &config)));
    assert_eq!(store.config(1).await.unwrap(), Some(kept(1, &config)));
    for absent in [0, 2, u64::MAX] {
        assert_eq!(store.config(absent).await.unwrap(), None);
    }
}

async fn two_applies_on_the_same_base_cannot_both_win(store: &dyn ConfigStore) {
    let first = new(0, vec![file("a", "1")]);
    store.add_config(first.clone()).await.unwrap();
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
    let apply = |text: &str| store.add_config(new(0, vec![file("a", text)]));
    let outcomes = tokio::join!(apply("1"), apply("2"), apply("3"), apply("4"));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(1))).count(), 1, "{outcomes:?}");
    assert_eq!(store.config_history().await.unwrap().len(), 1);
}

async fn the_last_versions_are_kept_and_listed_newest_first(store: &dyn ConfigStore) {
    for base in 0..KEPT_VERSIONS + 2 {
        store.add_config(new(base, vec![file("a", &base.to_string())])).await.unwrap();
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
