//! Cases of [`KeyStore`].

use store::{KeyStore, MAX_SEALED_BYTES, MAX_SECRET_NAME_BYTES, SealedSecret, SecretKind, StoreError};

use super::{at, cases};

cases! { dyn KeyStore;
    a_secret_reads_back_and_is_replaced covers "put_secret" "secret";
    the_first_of_two_that_make_the_same_key_wins covers "add_secret" "secret";
    kinds_are_kept_apart_and_listed_by_name covers "secrets" "secret";
    a_deleted_secret_is_gone covers "delete_secret" "secret" "secrets";
    a_secret_too_large_is_refused covers "add_secret" "put_secret";
}

fn sealed(kind: SecretKind, name: &str, byte: u8) -> SealedSecret {
    SealedSecret { kind, name: name.to_owned(), sealed: vec![byte; 60], put_at: at(i64::from(byte)) }
}

async fn a_secret_reads_back_and_is_replaced(store: &dyn KeyStore) {
    for kind in SecretKind::ALL {
        assert_eq!(store.secret(*kind, "assertion").await.unwrap(), None);
        for byte in [1, 2] {
            let secret = sealed(*kind, "assertion", byte);
            store.put_secret(secret.clone(), None).await.unwrap();
            assert_eq!(store.secret(*kind, "assertion").await.unwrap(), Some(secret));
        }
    }
}

async fn the_first_of_two_that_make_the_same_key_wins(store: &dyn KeyStore) {
    let (first, second) = (sealed(SecretKind::SubjectKey, "usr_a", 1), sealed(SecretKind::SubjectKey, "usr_a", 2));
    assert_eq!(store.add_secret(first.clone(), None).await.unwrap(), first);
    assert_eq!(store.add_secret(second, None).await.unwrap(), first);
    assert_eq!(store.secret(SecretKind::SubjectKey, "usr_a").await.unwrap(), Some(first));
}

async fn kinds_are_kept_apart_and_listed_by_name(store: &dyn KeyStore) {
    let days = ["2026-11-21", "2026-11-22"].map(|name| sealed(SecretKind::AuditDayKey, name, 3));
    for secret in days.iter().rev() {
        store.put_secret(secret.clone(), None).await.unwrap();
    }
    store.put_secret(sealed(SecretKind::SystemKey, "2026-11-22", 4), None).await.unwrap();
    assert_eq!(store.secrets(SecretKind::AuditDayKey).await.unwrap(), days);
    assert_eq!(store.secrets(SecretKind::SubjectKey).await.unwrap(), []);
}

async fn a_deleted_secret_is_gone(store: &dyn KeyStore) {
    for name in ["usr_a", "usr_b"] {
        store.put_secret(sealed(SecretKind::SubjectKey, name, 5), None).await.unwrap();
    }
    assert!(!store.delete_secret(SecretKind::SystemKey, "usr_a").await.unwrap());
    assert!(store.delete_secret(SecretKind::SubjectKey, "usr_a").await.unwrap());
    assert!(!store.delete_secret(SecretKind::SubjectKey, "usr_a").await.unwrap());
    assert_eq!(store.secret(SecretKind::SubjectKey, "usr_a").await.unwrap(), None);
    assert_eq!(store.secrets(SecretKind::SubjectKey).await.unwrap(), [sealed(SecretKind::SubjectKey, "usr_b", 5)]);
}

async fn a_secret_too_large_is_refused(store: &dyn KeyStore) {
    let long_name = "n".repeat(MAX_SECRET_NAME_BYTES + 1);
    let mut large = sealed(SecretKind::SystemKey, "large", 1);
    large.sealed = vec![0; MAX_SEALED_BYTES + 1];
    for secret in [sealed(SecretKind::SystemKey, &long_name, 1), large.clone()] {
        let added = store.add_secret(secret.clone(), None).await.map(|_| ());
        for refusal in [store.put_secret(secret.clone(), None).await, added] {
            assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
        }
    }
    large.sealed.pop();
    store.put_secret(large, None).await.unwrap();
}
