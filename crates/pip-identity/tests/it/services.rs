//! Service accounts and their tokens (ID-9, GW-52): what is kept, what ends when, and what never comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{AppName, Clock, GroupId, ServiceTokenId, TokenHash};
use pip_identity::people::{LastAdmin, PeopleError};
use pip_identity::services::{Issued, MAX_TOKEN_LIFE, MAX_TOKENS, NewService, ROTATION_OVERLAP, TOKEN_LIFE, is_whole};

use crate::world::World;

async fn with_nightly() -> World {
    let world = World::new().await;
    world.people.create_group("robots", "Robots", BTreeSet::new()).await.unwrap();
    let new = NewService {
        name: "nightly".into(),
        title: String::new(),
        owner: None,
        groups: [GroupId::new("robots")].into(),
    };
    world.people.create_service(new).await.unwrap();
    world
}

fn wiki() -> BTreeSet<AppName> {
    [AppName::new("wiki")].into()
}

async fn token(world: &World) -> Issued {
    world.people.create_service_token("nightly", wiki(), TOKEN_LIFE).await.unwrap()
}

fn opens(world: &World, id: ServiceTokenId, issued: &Issued) -> bool {
    let secret = TokenHash::of(issued.secret.expose().as_bytes());
    let directory = world.people.directory();
    directory.service_standing(id, &secret, &AppName::new("wiki"), world.clock.now()).is_some()
}

#[tokio::test]
async fn a_secret_is_given_once_and_only_its_hash_is_kept() {
    let world = with_nightly().await;
    let issued = token(&world).await;
    assert!(is_whole(issued.secret.expose()) && opens(&world, issued.id, &issued));
    let kept = format!("{:?} {:?}", world.people.directory(), issued.change);
    assert!(!kept.contains(issued.secret.expose()) && !kept.contains("csk_"), "{kept}");
    let other = token(&world).await;
    assert!(!opens(&world, issued.id, &other), "the secret of another token");
    let directory = world.people.directory();
    let secret = TokenHash::of(issued.secret.expose().as_bytes());
    let now = world.clock.now();
    assert!(directory.service_standing(issued.id, &secret, &AppName::new("payroll"), now).is_none());
    assert_eq!(directory.service_of("service-account:nightly").unwrap().title, "nightly");
}

#[tokio::test]
async fn a_rotation_leaves_two_secrets_for_a_day_and_a_second_one_ends_the_oldest_at_once() {
    let world = with_nightly().await;
    let first = token(&world).await;
    let second = world.people.rotate_service_token(first.id, TOKEN_LIFE).await.unwrap();
    assert!(opens(&world, first.id, &first) && opens(&world, first.id, &second));
    assert_eq!(second.change.service_apps, wiki(), "open streams are judged afresh");
    let third = world.people.rotate_service_token(first.id, TOKEN_LIFE).await.unwrap();
    assert!(!opens(&world, first.id, &first) && opens(&world, first.id, &second) && opens(&world, first.id, &third));
    world.clock.advance(ROTATION_OVERLAP);
    assert!(!opens(&world, first.id, &second) && opens(&world, first.id, &third));
    world.clock.advance(TOKEN_LIFE);
    assert!(!opens(&world, first.id, &third));
}

#[tokio::test]
async fn a_rotation_never_makes_an_old_secret_live_longer() {
    let world = with_nightly().await;
    let short = Duration::from_secs(3600);
    let first = world.people.create_service_token("nightly", wiki(), short).await.unwrap();
    world.people.rotate_service_token(first.id, TOKEN_LIFE).await.unwrap();
    world.clock.advance(short);
    assert!(!opens(&world, first.id, &first));
}

#[tokio::test]
async fn what_was_withdrawn_is_not_revived() {
    let world = with_nightly().await;
    let (one, two) = (token(&world).await, token(&world).await);
    let change = world.people.revoke_service_token(one.id).await.unwrap();
    assert!(!opens(&world, one.id, &one) && opens(&world, two.id, &two));
    assert_eq!((change.service_apps, change.service_tokens.len()), (wiki(), 1));
    let change = world.people.disable_service("nightly").await.unwrap();
    assert_eq!(change.service_apps, wiki());
    world.people.enable_service("nightly").await.unwrap();
    assert!(!opens(&world, two.id, &two), "enabling brings no token back");
    let three = token(&world).await;
    let change = world.people.delete_service("nightly").await.unwrap();
    assert_eq!(change.service_apps, wiki());
    let again = NewService { name: "nightly".into(), title: String::new(), owner: None, groups: BTreeSet::new() };
    world.people.create_service(again).await.unwrap();
    assert!(!opens(&world, three.id, &three), "nor does a new account of the same name");
    assert!(world.beside().await.people.directory().service_tokens.is_empty());
}

#[tokio::test]
async fn a_new_group_of_an_old_name_has_no_old_members() {
    let world = with_nightly().await;
    token(&world).await;
    let robots = GroupId::new("robots");
    let change = world.people.delete_group(&robots, LastAdmin::Keep).await.unwrap();
    assert_eq!(change.service_apps, wiki(), "its streams may have leaned on the group");
    world.people.create_group("robots", "Robots", BTreeSet::new()).await.unwrap();
    assert!(world.people.directory().services["nightly"].groups.is_empty());
}

#[tokio::test]
async fn what_no_token_may_be_is_refused() {
    let world = with_nightly().await;
    let refused = |apps: &[&str], life| {
        let apps = apps.iter().map(|app| AppName::new(app)).collect();
        let people = world.people.clone();
        async move { people.create_service_token("nightly", apps, life).await.err().unwrap().to_string() }
    };
    assert!(refused(&["countersign"], TOKEN_LIFE).await.contains("people administer"));
    assert!(refused(&["wiki", "countersign"], TOKEN_LIFE).await.contains("people administer"));
    assert!(refused(&[], TOKEN_LIFE).await.contains("name them"));
    assert!(refused(&["wiki"], Duration::ZERO).await.contains("1 to 365"));
    assert!(refused(&["wiki"], MAX_TOKEN_LIFE + Duration::from_secs(1)).await.contains("1 to 365"));
    for _ in 0..MAX_TOKENS {
        token(&world).await;
    }
    assert!(refused(&["wiki"], TOKEN_LIFE).await.contains("revoke one first"));
    let error = world.people.create_service_token("nobody", wiki(), TOKEN_LIFE).await.err().unwrap();
    assert_eq!(error, PeopleError::NoService("nobody".into()));
    world.people.disable_service("nightly").await.unwrap();
    assert!(refused(&["wiki"], TOKEN_LIFE).await.contains("enable it first"));
    for name in ["Nightly", "", "a b", "-a"] {
        let new = NewService { name: name.into(), title: String::new(), owner: None, groups: BTreeSet::new() };
        assert!(world.people.create_service(new).await.is_err(), "{name:?}");
    }
}
