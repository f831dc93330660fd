//! Set-up links and invitations (ID-1, ID-3, ID-4).

use std::time::Duration;

use model::UserState;
use model::directory::GroupId;
use pip_identity::links::{INVITATION_LIFETIME, IssuedLink, LinkRefusal, MAX_INVITATION_LIFETIME, SET_UP_LIFETIME};
use pip_identity::passkeys::{Enrolled, NewAdmin, PasskeyRefusal};
use pip_identity::people::{LastAdmin, PeopleError};
use pip_identity::store::{DirectoryStore, LinkKind, LinkState};

use crate::device::Device;
use crate::world::World;

const CAROL: &str = "carol@corp.example";

async fn enrol(world: &World, link: &IssuedLink, person: Option<&NewAdmin>) -> Result<Enrolled, PasskeyRefusal> {
    let secret = link.secret.expose();
    let options = world.passkeys.start_enrolment(secret, person).await.map_err(|refusal| refusal.why)?;
    let answer = Device::default().create(&options).await;
    world.passkeys.finish_enrolment(secret, &answer.json(), "x").await.map_err(|refusal| refusal.why)
}

#[tokio::test]
async fn a_link_secret_has_160_bits_and_only_its_hash_is_kept() {
    let world = World::new().await;
    let link = world.links.set_up(None, "local-operator").await.unwrap();
    let secret = link.secret.expose();
    assert_eq!(data_encoding::BASE32_NOPAD.decode(secret.to_ascii_uppercase().as_bytes()).unwrap().len(), 20);
    let rows = format!("{:?}", world.store.links().await.unwrap());
    assert!(!rows.contains(secret));
    let again = world.links.set_up(None, "local-operator").await.unwrap();
    assert_ne!(again.secret.expose(), secret);
}

#[tokio::test]
async fn a_mail_scanner_that_follows_an_invitation_does_not_use_it_up() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, CAROL, None).await.unwrap();
    for _ in 0..10 {
        let view = world.links.peek(link.secret.expose()).await.unwrap();
        assert_eq!(view.user.unwrap().email, "bob@corp.example");
        world.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
    }
    enrol(&world, &link, None).await.unwrap();
    assert_eq!(world.entry(bob).state, UserState::Active);
}

#[tokio::test]
async fn a_used_invitation_is_refused_and_says_whom_to_ask() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, CAROL, None).await.unwrap();
    enrol(&world, &link, None).await.unwrap();
    let refusal = world.links.peek(link.secret.expose()).await.unwrap_err();
    assert_eq!(refusal, LinkRefusal::Used { kind: LinkKind::Invitation, ask: CAROL.into() });
    assert_eq!(refusal.to_string(), "this link was used already; sign in, or ask `carol@corp.example` for a new one");
    assert_eq!(enrol(&world, &link, None).await.err(), Some(PasskeyRefusal::Link(refusal)));
}

#[tokio::test]
async fn an_expired_invitation_is_refused_even_if_the_ceremony_began_in_time() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, CAROL, None).await.unwrap();
    world.pass(INVITATION_LIFETIME.as_secs() - 1);
    let options = world.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
    let answer = Device::default().create(&options).await;
    world.pass(1);
    let expired = LinkRefusal::Expired { kind: LinkKind::Invitation, ask: CAROL.into() };
    let refusal = world.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "x").await.err().unwrap();
    assert_eq!(refusal.why, PasskeyRefusal::Link(expired.clone()));
    assert_eq!(refusal.to_string(), "this link has expired; ask `carol@corp.example` for a new one");
    assert_eq!(world.links.peek(link.secret.expose()).await.unwrap_err(), expired);
}

#[tokio::test]
async fn a_new_invitation_voids_the_old_one_of_the_same_person_only() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let (alice, _) = world.add("alice@corp.example").await;
    let old = world.links.invite(bob, CAROL, None).await.unwrap();
    let alices = world.links.invite(alice, CAROL, None).await.unwrap();
    let new = world.links.invite(bob, CAROL, None).await.unwrap();
    let refusal = world.links.peek(old.secret.expose()).await.unwrap_err();
    assert_eq!(refusal, LinkRefusal::Voided { kind: LinkKind::Invitation, ask: CAROL.into() });
    world.links.peek(alices.secret.expose()).await.unwrap();
    enrol(&world, &new, None).await.unwrap();
}

#[tokio::test]
async fn an_invitation_follows_the_account_not_the_address() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, CAROL, None).await.unwrap();
    world.people.delete_user(bob, LastAdmin::Keep).await.unwrap();
    let (other, _) = world.add("bob@corp.example").await;
    assert_ne!(bob, other);
    assert_eq!(world.links.peek(link.secret.expose()).await.unwrap_err(), LinkRefusal::Unknown);
}

#[tokio::test]
async fn an_invitation_of_a_disabled_person_is_void_and_stays_void() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, CAROL, None).await.unwrap();
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(world.links.invite(bob, CAROL, None).await.err(), Some(LinkRefusal::Disabled));
    world.people.enable_user(bob).await.unwrap();
    let refusal = world.links.peek(link.secret.expose()).await.unwrap_err();
    assert!(matches!(refusal, LinkRefusal::Voided { .. }), "{refusal}");
}

#[tokio::test]
async fn an_invitation_is_not_made_for_somebody_who_has_a_passkey() {
    let (world, _, enrolled) = World::with_admin().await;
    let refusal = world.links.invite(enrolled.signed_in.user, CAROL, None).await.err().unwrap();
    assert_eq!(refusal, LinkRefusal::AlreadyEnrolled(CAROL.into()));
}

#[tokio::test]
async fn an_invitation_lives_for_a_week_at_most() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let long = MAX_INVITATION_LIFETIME + Duration::from_secs(1);
    assert_eq!(world.links.invite(bob, CAROL, Some(long)).await.err(), Some(LinkRefusal::LifetimeTooLong));
    let link = world.links.invite(bob, CAROL, Some(MAX_INVITATION_LIFETIME)).await.unwrap();
    assert_eq!(link.row.expires_at, world.now() + MAX_INVITATION_LIFETIME);
}

#[tokio::test]
async fn a_guessed_secret_is_unknown() {
    let world = World::new().await;
    world.links.set_up(None, "local-operator").await.unwrap();
    for guess in ["", "a", "ü", &"a".repeat(32), &"a".repeat(100_000), "../../etc"] {
        assert_eq!(world.links.peek(guess).await.unwrap_err(), LinkRefusal::Unknown);
    }
}

#[tokio::test]
async fn a_voided_invitation_is_listed_as_closed() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    world.links.invite(bob, CAROL, None).await.unwrap();
    assert!(world.links.list().await.unwrap().iter().any(|link| link.is_open));
    world.links.void(bob).await.unwrap();
    let links = world.links.list().await.unwrap();
    assert!(links.iter().all(|link| !link.is_open));
    assert!(links.iter().any(|link| link.row.state == LinkState::Voided));
}

#[tokio::test]
async fn a_set_up_link_lives_ten_minutes_and_names_the_command_for_a_new_one() {
    let world = World::new().await;
    let link = world.links.set_up(None, "local-operator").await.unwrap();
    world.pass(SET_UP_LIFETIME.as_secs());
    let refusal = world.links.peek(link.secret.expose()).await.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "this link has expired; run `countersign admin setup-link` on the server for a new one"
    );
}

#[tokio::test]
async fn a_second_administrator_through_a_set_up_link_is_refused() {
    let world = World::new().await;
    let old = world.links.set_up(None, "local-operator").await.unwrap();
    let new = world.links.set_up(None, "local-operator").await.unwrap();
    assert!(matches!(world.links.peek(old.secret.expose()).await, Err(LinkRefusal::Voided { .. })));
    let carol = NewAdmin { email: CAROL.into(), name: "Carol".into() };
    enrol(&world, &new, Some(&carol)).await.unwrap();
    assert_eq!(world.links.set_up(None, "local-operator").await.err(), Some(LinkRefusal::SetUpDone));
    assert!(matches!(enrol(&world, &new, Some(&carol)).await, Err(PasskeyRefusal::Link(LinkRefusal::Used { .. }))));
}

#[tokio::test]
async fn a_set_up_link_bound_to_a_person_makes_that_person_administrator() {
    let world = World::new().await;
    let (carol, _) = world.add(CAROL).await;
    let link = world.links.set_up(Some(carol), "local-operator").await.unwrap();
    let mallory = NewAdmin { email: "mallory@evil.example".into(), name: "Mallory".into() };
    let enrolled = enrol(&world, &link, Some(&mallory)).await.unwrap();
    assert_eq!(enrolled.signed_in.user, carol);
    assert_eq!(world.people.directory().users.len(), 1);
    assert!(world.people.administrators().contains(&carol) && world.people.awaits_codes(carol));
    world.people.codes_saved(carol).await.unwrap();
    assert!(world.entry(carol).groups.contains(&GroupId::new("admins")));
    assert!(!world.people.needs_set_up());
}

#[tokio::test]
async fn a_set_up_link_needs_a_well_formed_person() {
    let world = World::new().await;
    let link = world.links.set_up(None, "local-operator").await.unwrap();
    assert_eq!(enrol(&world, &link, None).await.err(), Some(PasskeyRefusal::PersonMissing));
    let nobody = NewAdmin { email: "carol".into(), name: "Carol".into() };
    let refusal = enrol(&world, &link, Some(&nobody)).await.err().unwrap();
    assert!(matches!(refusal, PasskeyRefusal::People(PeopleError::Directory(_))), "{refusal}");
}
