//! Cases of [`MetaStore`].

use store::{LINEAGE, MAX_FACT_BYTES, MetaStore, RP_ID, StoreError};

use super::{at, cases};

cases! { dyn MetaStore;
    a_fact_once_fixed_stands covers "fact" "fix_fact";
    facts_are_listed_by_name covers "facts";
    a_fact_too_large_is_refused covers "fix_fact";
    the_relying_party_moves_when_told_to covers "passkeys_at_stake" "move_relying_party";
}

async fn a_fact_once_fixed_stands(store: &dyn MetaStore) {
    assert_eq!(store.fact(RP_ID).await.unwrap(), None);
    assert_eq!(store.fix_fact(RP_ID, "localhost", at(0)).await.unwrap(), "localhost");
    assert_eq!(store.fix_fact(RP_ID, "evil.example", at(1)).await.unwrap(), "localhost");
    assert_eq!(store.fact(RP_ID).await.unwrap().as_deref(), Some("localhost"));
}

async fn facts_are_listed_by_name(store: &dyn MetaStore) {
    for (name, value) in [(RP_ID, "localhost"), (LINEAGE, "one"), ("a", "")] {
        store.fix_fact(name, value, at(0)).await.unwrap();
    }
    let listed: Vec<_> = store.facts().await.unwrap();
    let expected = [("a", ""), (LINEAGE, "one"), (RP_ID, "localhost")];
    assert_eq!(listed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

async fn the_relying_party_moves_when_told_to(store: &dyn MetaStore) {
    store.fix_fact(RP_ID, "old.example", at(0)).await.unwrap();
    assert_eq!(store.passkeys_at_stake().await.unwrap(), (0, 0));
    assert_eq!(store.move_relying_party("new.example", at(1)).await.unwrap(), 0);
    assert_eq!(store.fix_fact(RP_ID, "old.example", at(2)).await.unwrap(), "new.example");
    let large = "x".repeat(MAX_FACT_BYTES + 1);
    assert!(matches!(store.move_relying_party(&large, at(3)).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.fact(RP_ID).await.unwrap().as_deref(), Some("new.example"));
}

async fn a_fact_too_large_is_refused(store: &dyn MetaStore) {
    let large = "x".repeat(MAX_FACT_BYTES + 1);
    for (name, value) in [(large.as_str(), "v"), ("n", large.as_str())] {
        let refusal = store.fix_fact(name, value, at(0)).await;
        assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
    }
    store.fix_fact("n", &large[1..], at(0)).await.unwrap();
}
