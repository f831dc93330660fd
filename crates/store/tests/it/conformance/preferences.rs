//! Cases of [`PreferenceStore`].

use std::collections::BTreeMap;

use model::{UserId, UserState};
use pip_identity::DirectoryStore;
use pip_identity::store::{DirectoryChange, Origin, USER_HANDLE_BYTES, UserRow};
use store::{MAX_PREFERENCE_BYTES, MAX_PREFERENCE_NAME_BYTES, PreferenceStore, Store, StoreError};
use uuid::Uuid;

use super::{at, cases};

/// Preferences are of people, so the cases need some.
pub(crate) trait WithPeople: PreferenceStore + DirectoryStore {}

impl WithPeople for Store {}

cases! { dyn WithPeople;
    what_is_set_stands_until_it_is_set_anew_or_taken_away covers "preferences" "set_preference";
    preferences_go_with_their_person covers "preferences" "set_preference";
    a_preference_too_large_is_refused covers "set_preference";
}

const ADA: UserId = UserId(Uuid::from_u128(1));
const BEN: UserId = UserId(Uuid::from_u128(2));

async fn with_people(store: &dyn WithPeople) {
    let row = |id: UserId, name: &str| {
        DirectoryChange::PutUser(UserRow {
            id,
            email: format!("{name}@corp.test"),
            name: name.to_owned(),
            state: UserState::Active,
            is_external: false,
            created_at: at(0),
            epoch: 1,
            tags: BTreeMap::new(),
            origin: Origin::Local,
            handle: [id.0.as_bytes()[15]; USER_HANDLE_BYTES],
        })
    };
    let version = store.load().await.unwrap().version;
    store.apply(Some(version), vec![row(ADA, "ada"), row(BEN, "ben")]).await.unwrap();
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn what_is_set_stands_until_it_is_set_anew_or_taken_away(store: &dyn WithPeople) {
    with_people(store).await;
    store.set_preference(ADA, "zone", Some("Europe/Berlin"), at(1)).await.unwrap();
    store.set_preference(ADA, "keys", Some(""), at(1)).await.unwrap();
    store.set_preference(BEN, "zone", Some("Asia/Tokyo"), at(1)).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap(), pairs(&[("keys", ""), ("zone", "Europe/Berlin")]));
    store.set_preference(ADA, "zone", Some("UTC"), at(2)).await.unwrap();
    store.set_preference(ADA, "keys", None, at(2)).await.unwrap();
    store.set_preference(ADA, "nothing", None, at(2)).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap(), pairs(&[("zone", "UTC")]));
    assert_eq!(store.preferences(BEN).await.unwrap(), pairs(&[("zone", "Asia/Tokyo")]));
}

async fn preferences_go_with_their_person(store: &dyn WithPeople) {
    with_people(store).await;
    store.set_preference(ADA, "zone", Some("UTC"), at(1)).await.unwrap();
    let rows = store.load().await.unwrap();
    // Changing somebody keeps what they set.
    let ada = rows.users.iter().find(|user| user.id == ADA).unwrap();
    let renamed = UserRow { name: "Ada L".to_owned(), ..ada.clone() };
    let version = store.apply(Some(rows.version), vec![DirectoryChange::PutUser(renamed)]).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap(), pairs(&[("zone", "UTC")]));
    store.apply(Some(version), vec![DirectoryChange::DeleteUser(ADA)]).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap(), pairs(&[]));
    // Nobody has preferences, and setting one for nobody changes nothing.
    store.set_preference(ADA, "zone", Some("UTC"), at(2)).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap(), pairs(&[]));
}

async fn a_preference_too_large_is_refused(store: &dyn WithPeople) {
    with_people(store).await;
    let name = "n".repeat(MAX_PREFERENCE_NAME_BYTES + 1);
    let value = "v".repeat(MAX_PREFERENCE_BYTES + 1);
    for (name, value) in [(name.as_str(), "v"), ("n", value.as_str())] {
        let refusal = store.set_preference(ADA, name, Some(value), at(0)).await;
        assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
    }
    store.set_preference(ADA, &name[1..], Some(&value[1..]), at(0)).await.unwrap();
    assert_eq!(store.preferences(ADA).await.unwrap().len(), 1);
}
