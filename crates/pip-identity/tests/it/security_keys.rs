//! Security keys beside a password (ID-11, ID-22): with it they sign in, alone and elsewhere they are nothing.

use model::TokenHash;
use pip_identity::passkeys::{MAX_KEYS, PasskeyRefusal};
use pip_identity::passwords::{ACR_PAIR, PairRefusal, Second};
use pip_identity::store::{DirectoryStore, NoticeKind};
use serde_json::Value;

use crate::device::{Answer, BE, Device, UP, UV, set_counter, set_flags};
use crate::passwords::{App, BOB, GOOD, with_pair};
use crate::world::{HOME, World, login};

/// A key that asks nobody anything: what it attests has no UV.
async fn add_key(world: &World, bob: model::UserId, name: &str) -> Result<Device, PasskeyRefusal> {
    let session = world.session(bob);
    let mut device = Device::default();
    let options = world.passkeys.start_key(&session).await.map_err(|refusal| refusal.why)?;
    let mut answer = device.create(&options).await;
    answer.change_attested_data("localhost", set_flags(UP | 0x40));
    world.passkeys.finish_key(&session, &answer.json(), name).await.map_err(|refusal| refusal.why)?;
    Ok(device)
}

async fn touched(world: &World, device: &mut Device, email: &str, counter: u32) -> Answer {
    let options = world.passkeys.start_second_factor(email, login(1)).await.unwrap();
    let mut answer = device.get(&options).await;
    answer.change_authenticator_data(set_flags(UP));
    answer.change_authenticator_data(set_counter(counter));
    device.sign(&mut answer);
    answer
}

async fn sign_in(world: &World, password: &str, answer: &Answer, at: TokenHash) -> Result<String, PairRefusal> {
    // Longer than the throttle asks for after the failures here.
    world.pass(30);
    let answer = answer.json();
    let second = Second::Key { keys: &world.passkeys, login: at, answer: &answer };
    let signed_in = world.accounts.passwords.sign_in(BOB, password, second, HOME, None).await;
    signed_in.map(|signed_in| signed_in.proof().credential).map_err(|failure| failure.why)
}

#[tokio::test]
async fn password_and_touched_key_sign_in_at_the_level_of_the_pair() {
    let (world, bob, _) = with_pair().await;
    let mut key = add_key(&world, bob, "Blue key").await.unwrap();
    let answer = touched(&world, &mut key, " BOB@corp.example", 10).await;
    let bytes = answer.json();
    let second = Second::Key { keys: &world.passkeys, login: login(1), answer: &bytes };
    let proof = world.accounts.passwords.sign_in(BOB, GOOD, second, HOME, None).await.unwrap().proof();
    assert_eq!((proof.acr.as_str(), proof.is_mfa, proof.is_phishing_resistant), (ACR_PAIR, true, false));
    assert_eq!(proof.amr.iter().map(String::as_str).collect::<Vec<_>>(), ["mfa", "pop", "pwd"]);
    assert_eq!(world.passkeys.keys(bob).await.unwrap()[0].handle, proof.credential);
    let told = world.store.notices_of(bob).await.unwrap();
    assert!(told.iter().any(|notice| notice.kind == NoticeKind::KeyAdded && notice.detail == "Blue key"));
}

#[tokio::test]
async fn a_key_alone_a_used_answer_and_an_answer_from_another_browser_let_nobody_in() {
    let (world, bob, _) = with_pair().await;
    let mut key = add_key(&world, bob, "").await.unwrap();
    let answer = touched(&world, &mut key, BOB, 10).await;
    for password in ["", "another password entirely"] {
        assert_eq!(sign_in(&world, password, &answer, login(1)).await, Err(PairRefusal::Wrong));
    }
    assert_eq!(sign_in(&world, GOOD, &answer, login(2)).await, Err(PairRefusal::Wrong), "another browser");
    sign_in(&world, GOOD, &answer, login(1)).await.unwrap();
    assert_eq!(sign_in(&world, GOOD, &answer, login(1)).await, Err(PairRefusal::Wrong), "replayed");
    let copied = touched(&world, &mut key, BOB, 10).await;
    assert_eq!(sign_in(&world, GOOD, &copied, login(1)).await, Err(PairRefusal::Wrong), "a copy: the counter stood");
    let mut forged = touched(&world, &mut key, BOB, 11).await;
    forged.change_authenticator_data(set_counter(12));
    assert_eq!(sign_in(&world, GOOD, &forged, login(1)).await, Err(PairRefusal::Wrong), "changed after signing");
    let absent = {
        let mut answer = touched(&world, &mut key, BOB, 13).await;
        answer.change_authenticator_data(set_flags(0));
        key.sign(&mut answer);
        answer
    };
    assert_eq!(sign_in(&world, GOOD, &absent, login(1)).await, Err(PairRefusal::Wrong), "nobody touched it");
}

#[tokio::test]
async fn a_second_factor_is_never_taken_for_a_passkey_nor_a_passkey_without_verification_for_itself() {
    let (world, bob, _) = with_pair().await;
    let mut key = add_key(&world, bob, "").await.unwrap();
    // Even where it claims a verification, and says whose it is.
    let handle = world.passkeys.accepted(bob).await.unwrap().user_handle;
    for flags in [UP, UP | UV, UP | UV | BE] {
        let refusal = world
            .sign_in_with(&mut key, |answer| {
                answer.0["response"]["userHandle"] = Value::from(handle.clone());
                answer.change_authenticator_data(set_flags(flags));
            })
            .await
            .unwrap_err();
        assert_eq!(refusal, PasskeyRefusal::UnknownPasskey, "{flags}");
    }
    // Its answer to the question beside a password answers no other one.
    let answer = touched(&world, &mut key, BOB, 10).await;
    assert_eq!(world.finish(&answer).await.unwrap_err().why, PasskeyRefusal::WrongType);
    // A passkey whose device verified nobody is refused as ever, and is no second factor either.
    let (carla, mut passkey) = world.add_enrolled("carla@corp.example").await;
    let refusal = world.sign_in_with(&mut passkey, |answer| answer.change_authenticator_data(set_flags(UP))).await;
    assert_eq!(refusal, Err(PasskeyRefusal::UserNotVerified));
    assert!(world.passkeys.keys(carla).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_needs_a_password_a_fresh_sign_in_and_room_and_goes_with_the_password() {
    let (world, bob, app) = with_pair().await;
    let (carla, _) = world.add_enrolled("carla@corp.example").await;
    assert_eq!(add_key(&world, carla, "").await.err(), Some(PasskeyRefusal::NoPassword));
    for n in 0..MAX_KEYS {
        add_key(&world, bob, &format!("Key {n}")).await.unwrap();
    }
    assert_eq!(add_key(&world, bob, "").await.err(), Some(PasskeyRefusal::TooManyKeys));
    let session = world.session(bob);
    let handle = world.passkeys.keys(bob).await.unwrap()[0].handle.clone();
    world.pass(301);
    assert!(world.passkeys.remove_key(&session, &handle).await.is_err(), "the sign-in is too old");
    assert!(world.passkeys.remove_key(&world.session(carla), &handle).await.is_err(), "somebody else's");
    world.passkeys.remove_key(&world.session(bob), &handle).await.unwrap();
    assert_eq!(world.passkeys.keys(bob).await.unwrap().len(), MAX_KEYS - 1);
    // Keys are no way in of their own: one-time codes stay beside them, and all of it goes together.
    let passwords = &world.accounts.passwords;
    passwords.sign_in(BOB, GOOD, Second::Code(&App::code(&app, &world)), HOME, None).await.unwrap();
    passwords.remove(&world.session(bob)).await.unwrap();
    assert!(world.passkeys.keys(bob).await.unwrap().is_empty());
}

#[tokio::test]
async fn oracle_asking_for_a_key_tells_nobody_who_has_one() {
    let (world, bob, _) = with_pair().await;
    world.add_enrolled("carla@corp.example").await;
    add_key(&world, bob, "").await.unwrap();
    let ids = async |email: &str| {
        let asked = world.passkeys.start_second_factor(email, login(1)).await.unwrap();
        let list = asked["publicKey"]["allowCredentials"].as_array().unwrap().clone();
        assert_eq!(asked["publicKey"]["userVerification"], "discouraged", "{asked}");
        assert!(list.iter().all(|entry| entry["type"] == "public-key" && entry["id"].is_string()), "{asked}");
        list
    };
    for email in [BOB, "carla@corp.example", "nobody@corp.example", ""] {
        let (first, again) = (ids(email).await, ids(&email.to_uppercase()).await);
        assert_eq!((first.len(), &first), (1, &again), "{email}: the same each time");
    }
    assert_ne!(ids("nobody@corp.example").await, ids("nothing@corp.example").await);
}

#[tokio::test]
async fn no_authenticator_is_told_to_forget_a_security_key_that_counts() {
    let (world, bob, _) = with_pair().await;
    let before = world.passkeys.accepted(bob).await.unwrap().credential_ids;
    add_key(&world, bob, "").await.unwrap();
    let options = world.passkeys.start_second_factor(BOB, login(1)).await.unwrap();
    let key = options["publicKey"]["allowCredentials"][0]["id"].as_str().unwrap();
    let after = world.passkeys.accepted(bob).await.unwrap().credential_ids;
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.iter().any(|id| id == key) && before.iter().all(|id| after.contains(id)), "{after:?}");
}
