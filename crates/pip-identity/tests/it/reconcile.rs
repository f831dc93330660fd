//! Applied files against the directory.

use std::collections::{BTreeMap, BTreeSet};

use model::UserState;
use model::directory::GroupId;
use pip_identity::people::{Declared, DeclaredGroup, DeclaredUser, LastAdmin, PeopleError};
use pip_identity::store::{MembershipSource, Origin};

use crate::world::World;

fn user(email: &str, groups: &[&str]) -> DeclaredUser {
    DeclaredUser {
        email: email.into(),
        name: "Somebody".into(),
        is_external: false,
        is_disabled: false,
        tags: BTreeMap::new(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        declared_at: "people.yaml:1".into(),
    }
}

fn group(id: &str, parents: &[&str], members: &[&str]) -> DeclaredGroup {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    DeclaredGroup {
        id: id.into(),
        title: id.into(),
        parents: set(parents),
        members: set(members),
        membership: MembershipSource::Applied,
        declared_at: "groups.yaml:1".into(),
    }
}

fn sample() -> Declared {
    Declared {
        users: vec![user("alice@corp.example", &["engineering"]), user("bob@corp.example", &[])],
        groups: vec![group("staff", &[], &["bob@corp.example"]), group("engineering", &["staff"], &[])],
    }
}

async fn apply(world: &World, declared: &Declared) -> pip_identity::people::Change {
    world.people.reconcile(declared, LastAdmin::Keep).await.unwrap()
}

fn groups_of(world: &World, email: &str) -> Vec<String> {
    world.people.user(email).unwrap().groups.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn applying_twice_changes_nothing_the_second_time() {
    let world = World::new().await;
    let planned = world.people.plan(&sample(), LastAdmin::Keep).await.unwrap();
    assert!(world.people.directory().users.is_empty(), "a plan changed something");
    let change = apply(&world, &sample()).await;
    assert_eq!(change.created.len(), 2);
    assert_eq!(change.groups, planned.groups);
    assert_eq!(groups_of(&world, "alice@corp.example"), ["engineering", "staff"]);
    assert_eq!(groups_of(&world, "bob@corp.example"), ["staff"]);

    let before = world.people.directory();
    let again = apply(&world, &sample()).await;
    assert!(again.is_empty());
    assert_eq!(world.people.directory(), before);
}

#[tokio::test]
async fn a_declared_person_takes_over_the_account_made_by_hand() {
    let world = World::new().await;
    let (alice, _) = world.add("alice@corp.example").await;
    let mut declared = sample();
    declared.users[0].email = "Alice@Corp.example".into();
    let change = apply(&world, &declared).await;
    assert_eq!(world.people.user("alice@corp.example").unwrap().id, alice);
    assert_eq!(change.created.len(), 1);
    assert!(matches!(world.people.user_origin(alice), Some(Origin::Applied { .. })));
}

#[tokio::test]
async fn a_person_who_vanishes_from_the_files_is_disabled_and_free() {
    let world = World::new().await;
    apply(&world, &sample()).await;
    let bob = world.people.user("bob@corp.example").unwrap().id;
    let mut fewer = sample();
    fewer.users.pop();
    fewer.groups[0].members.clear();
    let change = apply(&world, &fewer).await;
    assert_eq!(change.ended, BTreeMap::from([(bob, 1)]));
    assert_eq!(world.entry(bob).state, UserState::Disabled);
    assert!(world.entry(bob).groups.is_empty());
    world.people.delete_user(bob, LastAdmin::Keep).await.unwrap();
}

#[tokio::test]
async fn a_group_that_vanishes_moves_the_facts_of_its_members() {
    let world = World::new().await;
    apply(&world, &sample()).await;
    let bob = world.people.user("bob@corp.example").unwrap().id;
    let mut fewer = sample();
    fewer.groups[0].members.clear();
    let change = apply(&world, &fewer).await;
    assert_eq!(change.facts_moved, BTreeSet::from([bob]));
    assert_eq!(change.left, BTreeSet::from([(GroupId::new("staff"), bob)]));

    let none = Declared {
        users: fewer.users.iter().map(|u| DeclaredUser { groups: BTreeSet::new(), ..u.clone() }).collect(),
        groups: Vec::new(),
    };
    let change = apply(&world, &none).await;
    assert_eq!(change.groups.len(), 2);
    assert!(groups_of(&world, "alice@corp.example").is_empty());
}

#[tokio::test]
async fn members_added_by_hand_stay_in_external_groups_and_leave_applied_ones() {
    let world = World::new().await;
    let mut declared = sample();
    declared.groups[0].membership = MembershipSource::External;
    apply(&world, &declared).await;
    let (carol, _) = world.add("carol@corp.example").await;
    world.people.add_member(&GroupId::new("staff"), carol).await.unwrap();
    assert!(apply(&world, &declared).await.is_empty());
    assert_eq!(groups_of(&world, "carol@corp.example"), ["staff"]);
    let change = apply(&world, &sample()).await;
    assert_eq!(change.left, BTreeSet::from([(GroupId::new("staff"), carol)]));
    assert_eq!(world.entry(carol).state, UserState::Invited, "files say nothing about people made by hand");
}

#[tokio::test]
async fn a_file_disables_and_only_the_file_enables_again() {
    let world = World::new().await;
    apply(&world, &sample()).await;
    let bob = world.people.user("bob@corp.example").unwrap().id;
    let mut declared = sample();
    declared.users[1].is_disabled = true;
    let change = apply(&world, &declared).await;
    assert_eq!(change.ended, BTreeMap::from([(bob, 1)]));
    assert!(apply(&world, &declared).await.is_empty());
    let error = world.people.enable_user(bob).await.unwrap_err();
    assert!(matches!(error, PeopleError::OwnedByFile { .. }), "{error}");
    apply(&world, &sample()).await;
    assert_eq!(world.entry(bob).state, UserState::Invited);
    assert_eq!(world.entry(bob).epoch, 1);
}

#[tokio::test]
async fn a_person_disabled_by_hand_is_not_revived_by_the_next_apply() {
    let world = World::new().await;
    apply(&world, &sample()).await;
    let bob = world.people.user("bob@corp.example").unwrap().id;
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    assert!(apply(&world, &sample()).await.is_empty());
    assert_eq!(world.entry(bob).state, UserState::Disabled);
    world.people.enable_user(bob).await.unwrap();
}

#[tokio::test]
async fn every_fault_is_reported_at_once_and_nothing_changes() {
    let world = World::new().await;
    let declared = Declared {
        users: vec![
            user("alice@corp.example", &["none"]),
            user("ALICE@corp.example", &[]),
            user("not-an-address", &[]),
        ],
        groups: vec![
            group("staff", &["missing"], &["nobody@corp.example"]),
            group("staff", &[], &[]),
            group("No Group", &[], &[]),
        ],
    };
    let error = world.people.reconcile(&declared, LastAdmin::Keep).await.unwrap_err();
    let PeopleError::Declared(faults) = &error else { panic!("{error}") };
    assert_eq!(faults.len(), 7, "{error}");
    assert!(error.to_string().contains("groups.yaml:1: group `staff` names the member `nobody@corp.example`"));
    assert_eq!(world.people.directory().version, 0);
}

#[tokio::test]
async fn groups_in_a_circle_are_refused() {
    let world = World::new().await;
    let declared = Declared { users: Vec::new(), groups: vec![group("a", &["b"], &[]), group("b", &["a"], &[])] };
    let error = world.people.reconcile(&declared, LastAdmin::Keep).await.unwrap_err();
    assert!(error.to_string().contains("is inside itself"), "{error}");
}

#[tokio::test]
async fn an_apply_that_takes_away_the_last_administrator_is_refused() {
    let (world, _, _) = World::with_admin().await;
    let declared = Declared { users: Vec::new(), groups: vec![group("admins", &[], &[])] };
    assert_eq!(world.people.reconcile(&declared, LastAdmin::Keep).await.unwrap_err(), PeopleError::LastAdmin);
    assert_eq!(world.people.plan(&declared, LastAdmin::Keep).await.unwrap_err(), PeopleError::LastAdmin);
    let kept = Declared { users: Vec::new(), groups: vec![group("admins", &[], &["carol@corp.example"])] };
    apply(&world, &kept).await;
    world.people.reconcile(&declared, LastAdmin::MayGo).await.unwrap();
    assert!(world.people.needs_set_up());
}
