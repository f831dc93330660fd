//! Cases of [`OutboxStore`]. Notes come with what they tell of, here with a configuration.

use model::ids::Digest32;
use store::{
    ConfigFile, ConfigStore, KeyStore, MAX_NOTE_BYTES, NewConfig, Note, OutboxStore, SealedSecret, SecretKind, Store,
    StoreError,
};
use uuid::Uuid;

use super::{at, cases};

cases! { Store;
    a_note_stays_until_it_is_forgotten covers "notes" "forget_note";
    a_note_too_large_keeps_its_change_from_being_made covers "notes";
    a_key_and_its_note_are_kept_together_or_not_at_all covers "notes";
}

fn note(n: u128, body: &str) -> Note {
    Note { id: Uuid::from_u128(n), at: at(i64::try_from(n).unwrap()), body: body.to_owned() }
}

async fn kept(store: &Store, base: u64) -> u64 {
    let files = vec![ConfigFile { name: "a".to_owned(), text: base.to_string() }];
    let digest = Digest32::of(&base.to_be_bytes());
    let (author, reason) = ("carol".to_owned(), String::new());
    store.add_config(NewConfig { base, digest, author, reason, applied_at: at(0), files }).await.unwrap()
}

async fn a_note_stays_until_it_is_forgotten(store: &Store) {
    assert_eq!(store.notes().await.unwrap(), []);
    for n in [2, 1] {
        let base = store.config_state().await.unwrap().live;
        let number = kept(store, base).await;
        store.confirm_config(number, note(n, "done")).await.unwrap();
    }
    assert_eq!(store.notes().await.unwrap(), [note(1, "done"), note(2, "done")], "oldest first");
    store.forget_note(Uuid::from_u128(1)).await.unwrap();
    store.forget_note(Uuid::from_u128(1)).await.unwrap();
    assert_eq!(store.notes().await.unwrap(), [note(2, "done")]);
}

async fn a_note_too_large_keeps_its_change_from_being_made(store: &Store) {
    let number = kept(store, 0).await;
    let refusal = store.confirm_config(number, note(1, &"x".repeat(MAX_NOTE_BYTES + 1))).await;
    assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
    assert_eq!(store.notes().await.unwrap(), []);
    assert_eq!(store.config_state().await.unwrap().live, 0);
}

async fn a_key_and_its_note_are_kept_together_or_not_at_all(store: &Store) {
    let kind = SecretKind::SigningKeyRing;
    let ring = |byte| SealedSecret { kind, name: "receipt".to_owned(), sealed: vec![byte; 60], put_at: at(0) };
    let too_large = note(9, &"x".repeat(MAX_NOTE_BYTES + 1));
    assert!(store.add_secret(ring(1), Some(too_large.clone())).await.is_err());
    assert_eq!(store.secret(kind, "receipt").await.unwrap(), None, "no key without its note");
    store.add_secret(ring(1), Some(note(1, "made"))).await.unwrap();
    assert_eq!(store.add_secret(ring(2), Some(note(2, "made"))).await.unwrap(), ring(1));
    assert_eq!(store.notes().await.unwrap(), [note(1, "made")], "no note of a key that was not kept");
    assert!(store.put_secret(ring(3), Some(too_large)).await.is_err());
    assert_eq!(store.secret(kind, "receipt").await.unwrap(), Some(ring(1)), "the old key stands");
    store.put_secret(ring(3), Some(note(3, "rotated"))).await.unwrap();
    assert_eq!(store.notes().await.unwrap(), [note(1, "made"), note(3, "rotated")]);
    assert_eq!(store.secret(kind, "receipt").await.unwrap(), Some(ring(3)));
}
