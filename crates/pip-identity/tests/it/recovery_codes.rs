//! Recovery codes (ID-5, ID-26), tried where they are used: at the beginning of a recovery.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::UserId;
use pip_identity::people::LastAdmin;
use pip_identity::recovery::RecoveryRefusal;
use pip_identity::recovery_codes::CodeRefusal;
use pip_identity::store::DirectoryStore;
use pip_identity::throttle::{FREE_ACCOUNT_FAILURES, MAX_ACCOUNT_FAILURES, Throttled};

use crate::world::{HOME, World};

const CAROL: &str = "carol@corp.example";

async fn spend(world: &World, email: &str, code: &str, from: IpAddr) -> Result<UserId, RecoveryRefusal> {
    world.accounts.recovery.open(email, code, from, None).await.map(|opened| opened.view.row.user)
}

fn wrong() -> Option<RecoveryRefusal> {
    Some(RecoveryRefusal::Code(CodeRefusal::Wrong))
}

#[tokio::test]
async fn a_code_is_good_once() {
    let (world, _, enrolled) = World::with_admin().await;
    let code = enrolled.recovery_codes[3].expose();
    let user = spend(&world, CAROL, &code, HOME).await.unwrap();
    assert_eq!(user, enrolled.signed_in.user);
    assert_eq!(world.accounts.codes.left(user).await.unwrap(), 9);
    assert_eq!(spend(&world, CAROL, &code, HOME).await.err(), wrong());
    spend(&world, CAROL, &enrolled.recovery_codes[4].expose(), HOME).await.unwrap();
}

#[tokio::test]
async fn a_code_is_read_in_any_case_and_spacing() {
    let (world, _, enrolled) = World::with_admin().await;
    let code = enrolled.recovery_codes[0].expose();
    assert_eq!(code.len(), 19);
    assert_eq!(code.matches('-').count(), 3);
    let typed = code.to_uppercase().replace('-', " ");
    spend(&world, " Carol@CORP.example ", &typed, HOME).await.unwrap();
}

#[tokio::test]
async fn codes_are_distinct_and_only_their_hashes_are_kept() {
    let (world, _, enrolled) = World::with_admin().await;
    let codes: BTreeSet<String> = enrolled.recovery_codes.iter().map(|code| code.expose()).collect();
    assert_eq!(codes.len(), 10);
    let kept = world.store.recovery_codes_of(enrolled.signed_in.user).await.unwrap();
    assert_eq!(kept.len(), 10);
    for code in &codes {
        let plain = model::TokenHash::of(code.replace('-', "").as_bytes());
        assert!(!kept.contains(&plain), "the hash is not bound to the person");
    }
}

#[tokio::test]
async fn regenerating_voids_all_earlier_codes() {
    let (world, _, enrolled) = World::with_admin().await;
    let old = enrolled.recovery_codes[0].expose();
    let new = world.accounts.codes.regenerate(&world.session(enrolled.signed_in.user)).await.unwrap();
    assert_eq!(spend(&world, CAROL, &old, HOME).await.err(), wrong());
    spend(&world, CAROL, &new[0].expose(), HOME).await.unwrap();
}

#[tokio::test]
async fn a_code_of_another_person_is_refused() {
    let (world, _, enrolled) = World::with_admin().await;
    world.add_enrolled("bob@corp.example").await;
    let code = enrolled.recovery_codes[0].expose();
    assert_eq!(spend(&world, "bob@corp.example", &code, HOME).await.err(), wrong());
    spend(&world, CAROL, &code, HOME).await.unwrap();
}

#[tokio::test]
async fn unknown_disabled_and_mistaken_people_are_refused_alike() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled("bob@corp.example").await;
    let codes = world.accounts.codes.regenerate(&world.session(bob)).await.unwrap();
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    let disabled = spend(&world, "bob@corp.example", &codes[0].expose(), HOME).await.err();
    let unknown = spend(&world, "nobody@corp.example", &codes[0].expose(), HOME).await.err();
    let mistaken = spend(&world, CAROL, "aaaa-aaaa-aaaa-aaaa", HOME).await.err();
    let malformed = spend(&world, CAROL, "not a code!", HOME).await.err();
    assert_eq!(disabled, wrong());
    assert_eq!([unknown, mistaken, malformed], [disabled.clone(), disabled.clone(), disabled]);
}

#[tokio::test]
async fn guessing_codes_is_slowed_down_for_known_and_unknown_people_alike() {
    for email in [CAROL, "nobody@corp.example"] {
        let (world, _, _) = World::with_admin().await;
        for _ in 0..=FREE_ACCOUNT_FAILURES {
            let refusal = spend(&world, email, "aaaa-aaaa-aaaa-aaaa", HOME).await.err();
            assert_eq!(refusal, wrong());
        }
        let refusal = spend(&world, email, "aaaa-aaaa-aaaa-aaaa", HOME).await.err();
        let wait = Throttled::Wait { retry_after: std::time::Duration::from_secs(1) };
        assert_eq!(refusal, Some(RecoveryRefusal::Throttled(wait)), "{email}");
    }
}

#[tokio::test]
async fn guessing_from_many_addresses_ends_at_the_hard_cap() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let good = enrolled.recovery_codes[0].expose();
    for n in 0..MAX_ACCOUNT_FAILURES {
        let from = std::net::IpAddr::from([10, 0, 0, u8::try_from(n).unwrap()]);
        let refusal = spend(&world, CAROL, "aaaa-aaaa-aaaa-aaaa", from).await.err();
        assert_eq!(refusal, wrong());
        world.pass(15 * 60);
    }
    let closed = spend(&world, CAROL, &good, HOME).await.err();
    assert_eq!(closed, Some(RecoveryRefusal::Throttled(Throttled::Closed)));
    // The passkey still opens: guesses at codes never lock its owner out.
    world.sign_in(&mut device).await.unwrap();
}

#[tokio::test]
async fn one_code_used_twice_at_the_same_time_is_good_once() {
    let (world, _, enrolled) = World::with_admin().await;
    let code = enrolled.recovery_codes[0].expose();
    let (one, two) = tokio::join!(spend(&world, CAROL, &code, HOME), spend(&world, CAROL, &code, HOME));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
}
