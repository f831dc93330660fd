//! Users, groups and memberships edited by hand (ID-58, ID-76; ).

use std::collections::{BTreeMap, BTreeSet};

use model::UserState;
use model::directory::GroupId;
use pip_identity::directory::DirectoryError;
use pip_identity::people::{Declared, DeclaredGroup, LastAdmin, NewUser, PeopleError};
use pip_identity::store::MembershipSource;

use crate::world::World;

fn group(id: &str) -> GroupId {
    GroupId::new(id)
}

#[tokio::test]
async fn a_new_person_is_invited_and_found_by_address_and_id() {
    let world = World::new().await;
    let (id, change) = world.add("Alice@Corp.Example").await;
    assert_eq!(change.created, BTreeSet::from([id]));
    let alice = world.people.user("alice@corp.example").unwrap();
    assert_eq!(alice.email, "Alice@corp.example");
    assert_eq!(alice.state, UserState::Invited);
    assert_eq!(world.people.user(&id.to_string()).unwrap().id, id);
    assert_eq!(
        world.people.user("bob@corp.example").unwrap_err().to_string(),
        "there is no user `bob@corp.example`; `countersign user list` shows all"
    );
}

#[tokio::test]
async fn an_address_in_another_case_is_taken() {
    let world = World::new().await;
    world.add("alice@corp.example").await;
    let twin = NewUser {
        email: "ALICE@corp.example".into(),
        name: "Alice".into(),
        is_external: false,
        tags: BTreeMap::new(),
        groups: BTreeSet::new(),
    };
    let error = world.people.create_user(twin).await.unwrap_err();
    assert_eq!(error, PeopleError::EmailTaken("ALICE@corp.example".into()));
}

#[tokio::test]
async fn disabling_moves_the_epoch_once_and_enabling_never_back() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled("bob@corp.example").await;
    let change = world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(change.ended, BTreeMap::from([(bob, 1)]));
    assert_eq!(change.disabled, BTreeSet::from([bob]));
    assert_eq!(change.facts_moved, BTreeSet::from([bob]));
    assert!(world.people.disable_user(bob, LastAdmin::Keep).await.unwrap().is_empty());
    let change = world.people.enable_user(bob).await.unwrap();
    assert!(change.ended.is_empty());
    assert_eq!(world.entry(bob).epoch, 1);
    let change = world.people.end_sessions(bob).await.unwrap();
    assert_eq!(change.ended, BTreeMap::from([(bob, 2)]));
}

#[tokio::test]
async fn a_person_who_never_enrolled_is_invited_again_after_enabling() {
    let world = World::new().await;
    let (bob, _) = world.add("bob@corp.example").await;
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    world.people.enable_user(bob).await.unwrap();
    assert_eq!(world.entry(bob).state, UserState::Invited);
}

#[tokio::test]
async fn deleting_ends_every_session_of_the_person() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled("bob@corp.example").await;
    let change = world.people.delete_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(change.deleted, BTreeSet::from([bob]));
    assert_eq!(change.ended, BTreeMap::from([(bob, 1)]));
    assert!(!world.people.directory().users.contains_key(&bob));
}

#[tokio::test]
async fn a_membership_moves_the_facts_of_everybody_it_reaches() {
    let world = World::new().await;
    let (alice, _) = world.add("alice@corp.example").await;
    let (bob, _) = world.add("bob@corp.example").await;
    world.people.create_group("staff", "Staff", BTreeSet::new()).await.unwrap();
    world.people.create_group("engineering", "Engineering", BTreeSet::from([group("staff")])).await.unwrap();
    let change = world.people.add_member(&group("engineering"), alice).await.unwrap();
    assert_eq!(change.facts_moved, BTreeSet::from([alice]));
    assert_eq!(change.joined, BTreeSet::from([(group("engineering"), alice)]));
    let names: Vec<String> = world.entry(alice).groups.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["engineering", "staff"]);
    assert!(world.people.add_member(&group("engineering"), alice).await.unwrap().is_empty());

    let change = world.people.remove_member(&group("engineering"), alice, LastAdmin::Keep).await.unwrap();
    assert_eq!(change.facts_moved, BTreeSet::from([alice]));
    assert_eq!(change.left, BTreeSet::from([(group("engineering"), alice)]));
    assert!(world.entry(alice).groups.is_empty());
    assert!(world.people.remove_member(&group("engineering"), bob, LastAdmin::Keep).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_group_that_is_somebodys_parent_is_not_deleted() {
    let world = World::new().await;
    world.people.create_group("staff", "Staff", BTreeSet::new()).await.unwrap();
    world.people.create_group("engineering", "Engineering", BTreeSet::from([group("staff")])).await.unwrap();
    let error = world.people.delete_group(&group("staff"), LastAdmin::Keep).await.unwrap_err();
    let wanted = DirectoryError::NoParent { group: group("engineering"), parent: group("staff") };
    assert_eq!(error, PeopleError::Directory(wanted));
    world.people.delete_group(&group("engineering"), LastAdmin::Keep).await.unwrap();
    world.people.delete_group(&group("staff"), LastAdmin::Keep).await.unwrap();
}

#[tokio::test]
async fn the_last_administrator_stays_unless_it_is_forced() {
    let (world, _, enrolled) = World::with_admin().await;
    let carol = enrolled.signed_in.user;
    let people = &world.people;
    assert_eq!(people.disable_user(carol, LastAdmin::Keep).await.unwrap_err(), PeopleError::LastAdmin);
    assert_eq!(people.delete_user(carol, LastAdmin::Keep).await.unwrap_err(), PeopleError::LastAdmin);
    let removed = people.remove_member(&group("admins"), carol, LastAdmin::Keep).await;
    assert_eq!(removed.unwrap_err(), PeopleError::LastAdmin);
    assert_eq!(people.delete_group(&group("admins"), LastAdmin::Keep).await.unwrap_err(), PeopleError::LastAdmin);
    assert_eq!(world.entry(carol).state, UserState::Active);

    let (bob, _) = world.add("bob@corp.example").await;
    people.add_member(&group("admins"), bob).await.unwrap();
    let still = people.disable_user(carol, LastAdmin::Keep).await.unwrap_err();
    assert_eq!(still, PeopleError::LastAdmin, "somebody who is only invited administers nothing");

    people.disable_user(carol, LastAdmin::MayGo).await.unwrap();
    assert!(people.needs_set_up());
}

#[tokio::test]
async fn edits_of_what_files_declare_are_refused_and_name_the_file() {
    let world = World::new().await;
    let (alice, _) = world.add("alice@corp.example").await;
    let (bob, _) = world.add("bob@corp.example").await;
    let declare = |id: &str, membership| DeclaredGroup {
        id: id.into(),
        title: id.into(),
        parents: BTreeSet::new(),
        members: BTreeSet::from(["alice@corp.example".into()]),
        membership,
        declared_at: "groups.yaml:7".into(),
    };
    let declared = Declared {
        users: Vec::new(),
        groups: vec![declare("closed", MembershipSource::Applied), declare("open", MembershipSource::External)],
    };
    world.people.reconcile(&declared, LastAdmin::Keep).await.unwrap();

    let error = world.people.add_member(&group("closed"), bob).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "who is in group `closed` is declared in groups.yaml:7; change it there and run `countersign apply`"
    );
    for id in ["closed", "open"] {
        let error = world.people.remove_member(&group(id), alice, LastAdmin::Keep).await.unwrap_err();
        assert!(matches!(error, PeopleError::OwnedByFile { .. }), "{error}");
        let error = world.people.delete_group(&group(id), LastAdmin::Keep).await.unwrap_err();
        assert!(matches!(error, PeopleError::OwnedByFile { .. }), "{error}");
    }
    world.people.add_member(&group("open"), bob).await.unwrap();
    assert_eq!(
        world.people.members(&group("open")).into_iter().map(|(_, source)| source).collect::<BTreeSet<_>>(),
        BTreeSet::from([MembershipSource::Applied, MembershipSource::External])
    );
    world.people.remove_member(&group("open"), bob, LastAdmin::Keep).await.unwrap();
}

#[tokio::test]
async fn edits_at_the_same_time_both_count() {
    let world = World::new().await;
    let other = world.beside().await.people;
    world.people.create_group("a", "A", BTreeSet::new()).await.unwrap();
    // `other` has not seen group a: its first attempt is refused by version, the second counts.
    other.create_group("b", "B", BTreeSet::new()).await.unwrap();
    assert_eq!(other.directory().groups.len(), 2);
    assert_eq!(world.people.directory().groups.len(), 1);
    assert_eq!(world.people.reload().await.unwrap().groups.len(), 2);
}
