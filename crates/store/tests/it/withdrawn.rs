//! Sessions and directory are one database: what a single sign-in asks for is not kept once that sign-in has ended,
//! though its person's epoch never moved.

use std::collections::{BTreeMap, BTreeSet};

use model::changes::{SessionChange, Tombstone};
use model::ids::{SessionId, TokenHash, UserId};
use model::seams::Cause;
use model::{Timestamp, UserState};
use pip_identity::store::{DirectoryChange, DirectoryStore, Origin, SignIn, StoreError, USER_HANDLE_BYTES, UserRow};
use store::{SessionStore, Store};
use uuid::Uuid;

use crate::conformance::at;

const BOB: UserId = UserId(Uuid::from_u128(1));

fn bob() -> UserRow {
    UserRow {
        id: BOB,
        email: "bob@corp.example".into(),
        name: "Bob".into(),
        state: UserState::Active,
        is_external: false,
        created_at: Timestamp(0),
        epoch: 3,
        tags: BTreeMap::<String, BTreeSet<String>>::new(),
        origin: Origin::Local,
        handle: [7; USER_HANDLE_BYTES],
    }
}

fn codes(session: u128, word: &str) -> Vec<DirectoryChange> {
    let sign_in = SignIn { user: BOB, session: SessionId(Uuid::from_u128(session)), epoch: 3, global_epoch: 0 };
    let codes = vec![TokenHash::of(word.as_bytes())];
    vec![DirectoryChange::RequireSignIn(sign_in), DirectoryChange::SetRecoveryCodes { user: BOB, codes }]
}

#[tokio::test]
async fn a_factor_asked_for_by_one_session_is_not_kept_once_that_session_is_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store.db"), at(0)).await.unwrap();
    store.apply(Some(0), vec![DirectoryChange::PutUser(bob())]).await.unwrap();
    store.apply(None, codes(1, "before")).await.unwrap();
    let tombstone = Tombstone {
        session: SessionId(Uuid::from_u128(1)),
        user: Some(BOB),
        cause: Cause::SessionRevoked,
        until: at(60),
    };
    store.keep_sessions(vec![SessionChange::Tombstone(tombstone)]).await.unwrap();
    assert_eq!(store.apply(None, codes(1, "after")).await, Err(StoreError::SignInEnded));
    assert_eq!(store.recovery_codes_of(BOB).await.unwrap(), vec![TokenHash::of(b"before")]);
    store.apply(None, codes(2, "another")).await.unwrap();

    store.keep_sessions(vec![SessionChange::GlobalEpoch(1)]).await.unwrap();
    assert_eq!(store.apply(None, codes(2, "after")).await, Err(StoreError::SignInEnded), "everybody was signed out");
    assert_eq!(store.recovery_codes_of(BOB).await.unwrap(), vec![TokenHash::of(b"another")]);
    store.close().await;
}
