//! Passkeys as they are meant to work: enrolment, discoverable sign-in, step-up, another passkey, removal.

use model::UserState;
use model::directory::ADMINS_GROUP;
use pip_identity::passkeys::{MAX_PASSKEYS, Notice, PasskeyRefusal};
use pip_identity::store::{DirectoryChange, DirectoryStore};
use serde_json::json;

use crate::device::{BE, BS, Device, UP, UV, set_counter, set_flags};
use crate::world::{HOME, World, login, page};

#[tokio::test]
async fn the_set_up_link_makes_the_first_administrator_with_passkey_and_codes() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let carol = world.entry(enrolled.signed_in.user);
    assert_eq!(carol.state, UserState::Active);
    assert!(carol.groups.is_empty() && carol.direct_groups.is_empty(), "nothing before the codes are saved");
    let change = world.people.codes_saved(carol.id).await.unwrap();
    assert_eq!(change.facts_moved.len(), 1);
    let carol = world.entry(enrolled.signed_in.user);
    assert!(carol.groups.iter().any(|group| group.as_str() == ADMINS_GROUP));
    assert_eq!(enrolled.recovery_codes.len(), 10);
    assert_eq!(enrolled.change.created.len(), 1);
    assert!(!world.people.needs_set_up());

    let signed_in = world.sign_in(&mut device).await.unwrap();
    assert_eq!(signed_in.user, carol.id);
    assert_eq!(signed_in.acr, "phr");
    assert_eq!(signed_in.amr.iter().map(String::as_str).collect::<Vec<_>>(), ["mfa", "pop", "user"]);
    assert_eq!(signed_in.credential, enrolled.signed_in.credential);
    assert_eq!(signed_in.notices, []);
    assert_eq!(world.passkeys.count().await.unwrap(), 1);
}

#[tokio::test]
async fn creation_options_demand_what_the_relying_party_relies_on() {
    let world = World::new().await;
    let (user, _) = world.add("alice@corp.example").await;
    let link = world.links.invite(user, "carol@corp.example", None).await.unwrap();
    let options = world.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
    let key = &options["publicKey"];
    assert_eq!(key["rp"]["id"], "localhost");
    assert_eq!(key["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(key["authenticatorSelection"]["requireResidentKey"], true);
    assert_eq!(key["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(key["attestation"], "none");
    let algorithms: Vec<_> = key["pubKeyCredParams"].as_array().unwrap().iter().map(|p| p["alg"].clone()).collect();
    assert_eq!(algorithms, [json!(-7), json!(-257)]);
    // 64 bytes and 32 bytes in base64url: the handle says nothing about the person, the challenge is long enough.
    assert_eq!(key["user"]["id"].as_str().unwrap().len(), 86);
    assert_eq!(key["challenge"].as_str().unwrap().len(), 43);
    assert!(!options.to_string().contains(&user.to_string()));
}

#[tokio::test]
async fn sign_in_options_name_no_credential_and_no_person() {
    let (world, _, _) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let key = &options["publicKey"];
    assert_eq!(key["allowCredentials"], json!([]));
    assert_eq!(key["userVerification"], "required");
    assert_eq!(key["rpId"], "localhost");
    let another = world.passkeys.start_sign_in(login(1)).unwrap();
    assert_ne!(key["challenge"], another["publicKey"]["challenge"]);
}

#[tokio::test]
async fn a_step_up_proves_the_person_of_the_session() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let options = world.passkeys.start_step_up(&session, page()).await.unwrap();
    assert_eq!(options["publicKey"]["allowCredentials"].as_array().unwrap().len(), 1);
    let answer = device.get(&options).await;
    let proof = world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap();
    assert_eq!(proof.user, session.user);
}

#[tokio::test]
async fn several_tabs_of_one_browser_may_each_finish_their_own_sign_in() {
    let (world, mut device, _) = World::with_admin().await;
    let first = world.passkeys.start_sign_in(login(1)).unwrap();
    let second = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&first).await;
    world.finish(&answer).await.unwrap();
    let answer = device.get(&second).await;
    world.finish(&answer).await.unwrap();
}

#[tokio::test]
async fn another_passkey_is_added_and_the_first_removed() {
    let (world, _, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let mut phone = Device::default();
    let options = world.passkeys.start_registration(&session).await.unwrap();
    assert_eq!(options["publicKey"]["excludeCredentials"].as_array().unwrap().len(), 1);
    let answer = phone.create(&options).await;
    let view = world.passkeys.finish_registration(&session, &answer.json(), "Phone").await.unwrap();
    assert_eq!(view.name, "Phone");

    world.passkeys.remove(&session, &enrolled.signed_in.credential).await.unwrap();
    let left = world.passkeys.list(session.user).await.unwrap();
    assert_eq!(left.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["Phone"]);
    assert_eq!(world.sign_in(&mut phone).await.unwrap().user, session.user);
}

#[tokio::test]
async fn the_last_passkey_stays_while_there_are_no_recovery_codes() {
    let (world, _, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let clear = DirectoryChange::SetRecoveryCodes { user: session.user, codes: Vec::new() };
    world.store.apply(None, vec![clear]).await.unwrap();
    let refusal = world.passkeys.remove(&session, &enrolled.signed_in.credential).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::LastPasskey);
    world.accounts.codes.regenerate(&session).await.unwrap();
    world.passkeys.remove(&session, &enrolled.signed_in.credential).await.unwrap();
}

#[tokio::test]
async fn a_person_has_at_most_twenty_passkeys() {
    let (world, _, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    for _ in 1..MAX_PASSKEYS {
        let options = world.passkeys.start_registration(&session).await.unwrap();
        let answer = Device::default().create(&options).await;
        world.passkeys.finish_registration(&session, &answer.json(), "").await.unwrap();
    }
    let refusal = world.passkeys.start_registration(&session).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::TooManyPasskeys);
}

#[tokio::test]
async fn a_growing_counter_passes_and_is_kept() {
    let (world, mut device, enrolled) = World::with_admin().await;
    for counter in [5, 6, 900] {
        world.sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_counter(counter))).await.unwrap();
        assert_eq!(world.passkey_of(enrolled.signed_in.user).await.counter, counter);
    }
}

#[tokio::test]
async fn a_counter_of_zero_is_not_compared() {
    let (world, mut device, enrolled) = World::with_admin().await;
    world.sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_counter(9))).await.unwrap();
    let signed_in =
        world.sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_counter(0))).await.unwrap();
    assert_eq!(signed_in.notices, []);
    assert_eq!(world.passkey_of(enrolled.signed_in.user).await.counter, 9);
}

#[tokio::test]
async fn a_counter_regression_of_a_synced_passkey_is_reported_and_lets_in() {
    let (world, mut device, _) = World::with_admin().await;
    let count =
        |counter| move |answer: &mut crate::device::Answer| answer.change_authenticator_data(set_counter(counter));
    world.sign_in_with(&mut device, count(9)).await.unwrap();
    let signed_in = world.sign_in_with(&mut device, count(4)).await.unwrap();
    assert!(signed_in.is_synced);
    assert_eq!(signed_in.notices, [Notice::CounterRegressed { stored: 9, seen: 4 }]);
}

#[tokio::test]
async fn a_change_of_the_backup_state_is_reported() {
    let (world, mut device, enrolled) = World::with_admin().await;
    assert!(world.passkey_of(enrolled.signed_in.user).await.is_backed_up);
    let signed_in = world
        .sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_flags(UP | UV | BE)))
        .await
        .unwrap();
    assert_eq!(signed_in.notices, [Notice::BackupStateChanged { is_backed_up: false }]);
    assert!(!world.passkey_of(enrolled.signed_in.user).await.is_backed_up);
    let again = world
        .sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_flags(UP | UV | BE | BS)))
        .await
        .unwrap();
    assert_eq!(again.notices, [Notice::BackupStateChanged { is_backed_up: true }]);
}

#[tokio::test]
async fn the_outcome_of_a_ceremony_can_cross_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (world, mut device, enrolled) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&options).await;
    is_send(world.finish(&answer)).await.unwrap();
    let user = enrolled.signed_in.user;
    is_send(world.people.end_sessions(user)).await.unwrap();
    is_send(world.links.list()).await.unwrap();
    is_send(world.accounts.codes.left(user)).await.unwrap();
    is_send(world.people.reconcile(&Default::default(), pip_identity::people::LastAdmin::Keep)).await.unwrap();
    is_send(world.passkeys.finish_enrolment("x", b"", "")).await.err().unwrap();
}
